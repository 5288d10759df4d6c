//! A store whose accounts are all due for a refresh, and the simulated Ring that honours their tokens.

use std::error::Error;
use std::fs;
use std::path::Path;

use ringhookd::clock;
use ringhookd::domain::tokens::{Pair, Span};
use ringhookd::sim::{Options, Pair as Given, Ring};

use super::{MORE, fill_devices, import_with, open};
use crate::load::events::account;

/// Tells the simulated Ring's process how many accounts it has.
const COUNT: &str = "due";

/// Puts `accounts` accounts that are due into a store.
pub(crate) fn fill(folder: &Path, accounts: u64) -> Result<(), Box<dyn Error>> {
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
    Ok(fs::write(folder.join(COUNT), accounts.to_string())?)
}

/// A daemon on this store refreshes nothing.
pub(crate) fn without_ring(folder: &Path) -> Result<(), Box<dyn Error>> {
    Ok(fs::write(folder.join(MORE), "")?)
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

/// A simulated Ring; every one gives the same tokens to the same accounts.
pub(crate) fn ring() -> Result<Ring, Box<dyn Error>> {
    Ok(Ring::start(Options::default())?)
}

pub(crate) fn link(ring: &Ring, accounts: u64) -> Vec<Given> {
    (0..accounts).map(|number| ring.add_account(&account(number))).collect()
}

/// Of the accounts that [`fill`] put in.
pub(crate) fn count(folder: &Path) -> Result<u64, Box<dyn Error>> {
    Ok(fs::read_to_string(folder.join(COUNT))?.parse()?)
}
