//! The doors of the admin API as they are served, each with what lets callers in.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::admin::{Admin, Door};
use crate::config::Config;
use crate::domain::secret::Secret;

/// The admin API's sockets and addresses, whose rights can change.
#[derive(Debug, Default)]
pub(super) struct Doors {
    pub sockets: Vec<(PathBuf, Arc<Door>)>,
    pub addresses: Vec<(SocketAddr, Arc<Door>)>,
}

impl Doors {
    /// Gives each that is still configured its rights and its token. The others stay as they are until a restart.
    pub(super) fn change(&self, admin: &Admin, config: &Config, tokens: &[Secret<String>]) {
        for (path, door) in &self.sockets {
            if let Some(socket) = config.sockets.iter().find(|socket| socket.path == *path) {
                admin.change(door, socket.rights.clone(), None);
            }
        }
        for (address, door) in &self.addresses {
            let tokens = config.sources.api_tokens.iter().zip(tokens);
            let mut listed = config.api_listeners.iter().zip(tokens);
            if let Some((of, (name, token))) = listed.find(|(of, _)| of.address == *address) {
                admin.change(door, of.rights.clone(), Some((&name.source.to_string(), token)));
            }
        }
    }
}
