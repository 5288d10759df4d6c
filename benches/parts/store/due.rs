//! A store whose accounts are all due for a refresh, and the simulated Ring that honours their tokens.

use std::error::Error;
use std::fs;
use std::path::Path;

use ringhookd::clock;
use ringhookd::domain::tokens::{Pair, Span};
use ringhookd::sim::{Options, Pair as Given, Ring};

use super::{MORE, fill_devices, import_with, make, open};
use crate::load::events::account;
use crate::servers::{Role, Server};

/// Tells the simulated Ring's process how many accounts it has.
const COUNT: &str = "due";

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
    let twin = ring()?;
    let span = Span::of_import(None, clock::now());
    let pairs = link(&twin, accounts);
    let imports = (0..)
        .zip(pairs)
        .map(|(number, given)| import_with(number, Pair::of(Some(&given.access), &given.refresh), span));
    let store = open(folder)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let imports = imports.collect::<Result<_, _>>()?;
    runtime.block_on(async {
        store.fill_accounts(imports).await?;
        fill_devices(&store, accounts, 1).await
    })?;
    store.close();
    fs::write(folder.join(COUNT), accounts.to_string())?;
    Server::start(Role::Ring, folder)
}

/// A daemon on this store refreshes so many a second from now on; with none, nothing at all.
pub(crate) fn let_refresh(folder: &Path, ring: &Server, per_second: u32) -> Result<(), Box<dyn Error>> {
    if per_second == 0 {
        return Ok(fs::write(folder.join(MORE), "")?);
    }
    ring_settings(folder, &ring.address, per_second)
}

/// A daemon on this store has a Ring there.
pub(crate) fn ring_settings(folder: &Path, address: &str, per_second: u32) -> Result<(), Box<dyn Error>> {
    let client = Options::default().client;
    let (id, secret) = (client.id, client.secret);
    let text = format!(
        r#"
        [ring]
        client_id = "{id}"
        client_secret = "{secret}"
        oauth_url = "http://{address}/oauth/token"
        api_url = "http://{address}"
        requests_per_second = {per_second}
        [linking]
        codes_per_second = 5
        "#
    );
    Ok(fs::write(folder.join(MORE), text)?)
}

pub(crate) fn used(ring: &mut Server) -> Result<Used, Box<dyn Error>> {
    let said = ring.ask()?;
    let (granted, peak) = said.trim().split_once(' ').ok_or("the simulated Ring says nothing")?;
    Ok(Used { granted: granted.parse()?, peak: peak.parse()? })
}

/// A simulated Ring; every one gives the same tokens to the same accounts.
pub(crate) fn ring() -> Result<Ring, Box<dyn Error>> {
    Ok(Ring::start(Options::default())?)
}

pub(crate) fn link(ring: &Ring, accounts: u64) -> Vec<Given> {
    (0..accounts).map(|number| ring.add_account(&account(number))).collect()
}

/// Of the accounts that [`make_due`] made.
pub(crate) fn count(folder: &Path) -> Result<u64, Box<dyn Error>> {
    Ok(fs::read_to_string(folder.join(COUNT))?.parse()?)
}
