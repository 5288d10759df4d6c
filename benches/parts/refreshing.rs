//! Refreshes beside what is measured: a store whose accounts are due, and their Ring in a process of its own.

use std::error::Error;
use std::path::Path;

use crate::servers::{Role, Server};
use crate::stores::due::{self, ring_settings, without_ring};
use crate::stores::make;

/// What the simulated Ring says of itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Used {
    pub(crate) granted: u64,
    /// Requests of its worst second, which slides.
    pub(crate) peak: u64,
}

/// Makes a store with `accounts` accounts that are due, and starts the Ring that they are at.
pub(crate) fn make_due(folder: &Path, accounts: u64) -> Result<Server, Box<dyn Error>> {
    make(folder)?;
    // A store that has tokens before its guard folder saw it would be taken for an older copy.
    Server::start(Role::Durable, folder)?.stop()?;
    due::fill(folder, accounts)?;
    Server::start(Role::Ring, folder)
}

/// A daemon on this store refreshes so many a second from now on; with none, nothing at all.
pub(crate) fn let_refresh(folder: &Path, ring: &Server, per_second: u32) -> Result<(), Box<dyn Error>> {
    if per_second == 0 {
        return without_ring(folder);
    }
    ring_settings(folder, &ring.address, per_second)
}

pub(crate) fn used(ring: &mut Server) -> Result<Used, Box<dyn Error>> {
    let said = ring.ask()?;
    let (granted, peak) = said.trim().split_once(' ').ok_or("the simulated Ring says nothing")?;
    Ok(Used { granted: granted.parse()?, peak: peak.parse()? })
}
