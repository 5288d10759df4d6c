//! The stores that the daemon is started on: its configuration, and what is in them beforehand.

pub(crate) mod due;

use std::error::Error;
use std::path::Path;

use ringhookd::clock;
use ringhookd::config::{self, Config};
use ringhookd::daemon;
use ringhookd::domain::dedup::Identity;
use ringhookd::domain::ids::{AccountId, DeviceId, UserId};
use ringhookd::domain::tokens::{ACCESS_LIFE, Pair, Span};
use ringhookd::store::{Import, NewTokens, Store};
use ringhookd::vault::Vault;

use crate::load::events::{HMAC_KEY, account, device};

/// Accounts written in one commit.
const AT_ONCE: u64 = 20_000;
/// Rows written in one commit where nothing waits for it.
const IN_BULK: u64 = 200_000;
/// Bytes of a made-up token pair.
pub(crate) const TOKENS: usize = 600;

/// What a part adds to the configuration lies here, in the folder of the store.
pub(crate) const MORE: &str = "more.toml";

/// The daemon's defaults, but for bounds that a bench would reach.
pub(crate) fn config(folder: &Path) -> Result<Config, Box<dyn Error>> {
    let more = std::fs::read_to_string(folder.join(MORE)).unwrap_or_default();
    let at = folder.display();
    let text = format!(
        r#"
        listen = "127.0.0.1:0"
        hmac_keys = ["{HMAC_KEY}"]
        [store]
        folder = "{at}/store"
        environment = "bench"
        max_bytes = "900 GiB"
        [seen]
        max_ids = 50_000_000
        [[queue]]
        name = "all"
        kind = "embedded"
        max_bytes = "800 GiB"
        [[socket]]
        path = "{at}/admin.sock"
        {more}
        "#
    );
    config::parse(&text, folder).map_err(|problems| format!("{problems:?}").into())
}

/// What is put into a store before anything is measured.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Content {
    /// Linked to a user each, with tokens, a key and devices.
    pub(crate) accounts: u64,
    /// Of an account, if more than one.
    pub(crate) devices: u64,
    /// Remembered from events that are gone.
    pub(crate) ids: u64,
}

/// Makes an empty store.
pub(crate) fn make(folder: &Path) -> Result<(), Box<dyn Error>> {
    std::fs::create_dir_all(folder)?;
    daemon::create_store(&config(folder)?)?;
    Ok(())
}

/// Adds `content` to a store that no daemon runs on; accounts are numbered from 0.
pub(crate) fn add(folder: &Path, content: Content) -> Result<(), Box<dyn Error>> {
    let store = open(folder)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(fill(&store, content))?;
    store.close();
    Ok(())
}

/// The store, without a daemon.
pub(crate) fn open(folder: &Path) -> Result<Store, Box<dyn Error>> {
    let config = config(folder)?;
    let vault = Vault::from_hex(config.sources.master.source.read()?.expose(), None)?;
    Ok(Store::open(&config.store.folder, &config.store.environment, vault, daemon::options(&config))?)
}

/// Size of the store's file in bytes.
pub(crate) fn file_bytes(folder: &Path) -> Result<u64, Box<dyn Error>> {
    Ok(std::fs::metadata(folder.join("store/store.redb"))?.len())
}

async fn fill(store: &Store, content: Content) -> Result<(), Box<dyn Error>> {
    for numbers in steps(content.accounts, AT_ONCE) {
        store.fill_accounts(numbers.map(import).collect::<Result<_, _>>()?).await?;
    }
    fill_devices(store, content.accounts, content.devices.max(1)).await?;
    for numbers in steps(content.ids, IN_BULK) {
        let ids = numbers.map(|number| Identity::of(Some(&format!("gone-{number}")), b"").1);
        store.fill_ids(ids.collect()).await?;
    }
    Ok(())
}

async fn fill_devices(store: &Store, accounts: u64, each: u64) -> Result<(), Box<dyn Error>> {
    for numbers in steps(accounts, IN_BULK) {
        let mut devices = Vec::new();
        for number in numbers {
            for n in 0..each {
                devices.push((AccountId::new(&account(number))?, DeviceId::new(&device(number, n))?));
            }
        }
        store.fill_devices(devices).await?;
    }
    Ok(())
}

fn steps(count: u64, step: u64) -> impl Iterator<Item = std::ops::Range<u64>> {
    (0..count.div_ceil(step)).map(move |n| n * step..count.min((n + 1) * step))
}

fn import(number: u64) -> Result<Import, Box<dyn Error>> {
    let half = "x".repeat(TOKENS / 2);
    import_with(number, Pair::of(Some(&half), &half), Span::from_now(clock::now(), ACCESS_LIFE))
}

pub(crate) fn import_with(number: u64, pair: Pair, span: Span) -> Result<Import, Box<dyn Error>> {
    Ok(Import {
        account: AccountId::new(&account(number))?,
        user: Some(UserId::new(&format!("user-{number}"))?),
        tokens: Some(NewTokens { pair, span }),
        replace: false,
    })
}
