//! `ringhookd backup`: writes what the daemon tells of its store to a file, and checks it.

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::client::{Client, Pieces};
use super::failure::Failure;
use super::output::Output;
use super::progress::Progress;
use crate::store::{Backup, BackupHead, StoreError};

/// Between two looks whether the check has ended.
const TELL_EVERY: Duration = Duration::from_millis(200);

pub(super) async fn run(file: &Path, daemon: &Client, out: &mut Output) -> Result<(), Failure> {
    let path = file;
    let backup = Backup::begin(path).map_err(failed)?;
    let pieces = daemon.pieces("/v1/backup").await?;
    let (mut interrupted, mut terminated) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    // The file goes with the backup that is dropped.
    let head = tokio::select! {
        written = write(backup, pieces, out.json) => written?,
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

async fn write(mut backup: Backup, mut pieces: Pieces, json: bool) -> Result<BackupHead, Failure> {
    let mut progress = Progress::new(json);
    while let Some(piece) = pieces.next().await? {
        backup.write(&piece).map_err(failed)?;
        if let Some((rows, all)) = backup.progress() {
            progress.of_all(rows, all, "rows");
        }
    }
    let mut checking = tokio::task::spawn_blocking(move || backup.finish());
    let finished = loop {
        tokio::select! {
            finished = &mut checking => break finished,
            () = tokio::time::sleep(TELL_EVERY) => progress.tell(|| "all rows are written, and are checked".into()),
        }
    };
    finished.map_err(|error| Failure::no(error.to_string()))?.map_err(failed)
}

fn failed(error: StoreError) -> Failure {
    match error {
        // Its words are of a store that is at work.
        StoreError::Damaged(why) => Failure::no(format!("{why}; nothing was written")),
        error => Failure::no(error.to_string()),
    }
}
