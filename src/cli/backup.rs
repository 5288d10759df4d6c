//! `ringhookd backup`: writes what the daemon tells of its store to a file, and checks it.

use std::io::{self, IsTerminal};
use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::client::{Client, Pieces};
use super::failure::Failure;
use super::output::Output;
use crate::clock;
use crate::store::{Backup, BackupHead, StoreError};

/// How often a terminal is told how far it is.
const TELL_EVERY: Duration = Duration::from_millis(200);

pub(super) async fn run(file: &Path, daemon: &Client, out: &mut Output) -> Result<(), Failure> {
    let path = file;
    let backup = Backup::begin(path).map_err(failed)?;
    let pieces = daemon.pieces("/v1/backup").await?;
    let (mut interrupted, mut terminated) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    // The file goes with the backup that is dropped.
    let head = tokio::select! {
        written = write(backup, pieces) => written?,
        _ = interrupted.recv() => return Err(Failure::no("interrupted; nothing was written")),
        _ = terminated.recv() => return Err(Failure::no("terminated; nothing was written")),
    };
    let BackupHead { snapshot, bytes, .. } = head;
    let done = json!({
        "file": path.display().to_string(),
        "store": snapshot.identity.store,
        "master": snapshot.master,
        "taken_at": snapshot.taken_at,
        "rows": snapshot.rows,
        "bytes": bytes,
    });
    let words = format!(
        "backed up store {} as of {} to {}: {} rows, {bytes} bytes, checked. Master key {} opens it",
        snapshot.identity.store,
        snapshot.taken_at,
        path.display(),
        snapshot.rows,
        snapshot.master
    );
    out.done(&done, &words)
}

async fn write(mut backup: Backup, mut pieces: Pieces) -> Result<BackupHead, Failure> {
    let progress = io::stderr().is_terminal();
    let mut told = clock::instant();
    while let Some(piece) = pieces.next().await? {
        backup.write(&piece).map_err(failed)?;
        if let Some((rows, all)) = backup.progress().filter(|_| progress && told.elapsed() >= TELL_EVERY) {
            told = clock::instant();
            eprint!("\r{rows} of {all} rows ({} %)", rows.saturating_mul(100) / all.max(1));
        }
    }
    if progress {
        eprintln!("\rall rows are written; checking them");
    }
    let finished = tokio::task::spawn_blocking(move || backup.finish()).await;
    finished.map_err(|error| Failure::no(error.to_string()))?.map_err(failed)
}

fn failed(error: StoreError) -> Failure {
    match error {
        // Its words are of a store that is at work.
        StoreError::Damaged(why) => Failure::no(format!("{why}; nothing was written")),
        error => Failure::no(error.to_string()),
    }
}
