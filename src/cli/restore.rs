//! `ringhookd restore` and `accept-restored`: a backup becomes the store, and the word that lets it go on.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use serde_json::{Value, json};

use super::args::Common;
use super::client::Client;
use super::confirm::confirm;
use super::failure::Failure;
use super::output::Output;
use super::progress;
use crate::{access, daemon};

pub(super) fn run(common: &Common, file: &Path) -> Result<(), Failure> {
    let config = daemon::load_text(common.configuration()?).map_err(daemon::Error::from)?;
    let mut out = Output::open(common.json)?;
    let (backup, name) = open(file)?;
    let folder = config.store.folder.display().to_string();
    let work = move || daemon::restore_store(&config, &backup, &name);
    let stopped = "there is no whole store yet, and another restore begins anew";
    let head = progress::blocking(common.json, "the backup is copied and checked", stopped, work)??.snapshot;
    let words = format!(
        "restored store {} as it was at {} into {folder}. Start the daemon, then see what `ringhookd status` says of its tokens",
        head.identity.store, head.taken_at
    );
    let done = json!({
        "store": head.identity.store,
        "folder": folder,
        "taken_at": head.taken_at,
        "rows": head.rows,
    });
    out.done(&done, &words)?;
    out.flush()
}

/// The backup, and its name for people. It is read at any place, which a pipe can't be.
fn open(path: &Path) -> Result<(File, String), Failure> {
    let is_input = path.as_os_str() == "-";
    let name = if is_input { "standard input".to_owned() } else { path.display().to_string() };
    let opened =
        if is_input { io::stdin().as_fd().try_clone_to_owned().map(File::from) } else { File::open(path) };
    let file = opened.map_err(|error| Failure::no(access::explain(path, &error)))?;
    match file.metadata() {
        Ok(found) if found.is_file() => Ok((file, name)),
        Ok(_) => Err(Failure::no(format!("{name} is no file"))),
        Err(error) => Err(Failure::no(format!("{name}: {error}"))),
    }
}

pub(super) async fn accept(yes: bool, daemon: &Client, out: &mut Output) -> Result<(), Failure> {
    confirm("Going on with an older copy of the store (links that a newer copy keeps alive may end)", yes)?;
    let done: Value = daemon.post("/v1/restore/accept", &json!({})).await?;
    out.done(&done, "accepted; refreshes go on. `ringhookd accounts list` shows which links did not survive")
}
