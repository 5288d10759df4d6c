//! `ringhookd accounts export`: writes what is kept of an account's user to standard output, or to a file for its owner alone.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde_json::json;

use super::client::{Client, encoded, query};
use super::failure::Failure;
use super::output::Output;

/// The end of a document that was not broken off.
const WHOLE: &[u8] = b"\"complete\":true}\n";

pub(super) async fn run(
    account: &str,
    user: Option<&str>,
    file: Option<&Path>,
    daemon: &Client,
    out: &mut Output,
) -> Result<(), Failure> {
    let path = format!("/v1/accounts/{}/export{}", encoded(account), query(&[("user", user)]));
    let Some(file) = file else {
        return copy(daemon, &path, |piece| out.bytes(piece)).await.map(drop);
    };
    let failed = |error: std::io::Error| Failure::no(format!("{}: {error}", file.display()));
    let mut to = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).map_err(failed)?;
    let copied = async {
        let bytes = copy(daemon, &path, |piece| to.write_all(piece).map_err(failed)).await?;
        File::sync_all(&to).map_err(failed)?;
        Ok::<_, Failure>(bytes)
    };
    match copied.await {
        Ok(bytes) => {
            let done = json!({"file": file.display().to_string(), "bytes": bytes});
            out.done(
                &done,
                &format!("wrote {bytes} bytes to {}, readable by its owner alone", file.display()),
            )
        }
        Err(failure) => {
            // Part of a document is none.
            fs::remove_file(file).map_err(failed)?;
            Err(failure)
        }
    }
}

/// Hands on the whole document; how long it was.
async fn copy(
    daemon: &Client,
    path: &str,
    mut write: impl FnMut(&[u8]) -> Result<(), Failure>,
) -> Result<u64, Failure> {
    let (mut pieces, mut bytes, mut end) = (daemon.get_pieces(path).await?, 0, Vec::new());
    while let Some(piece) = pieces.next().await? {
        write(&piece)?;
        bytes += piece.len() as u64;
        end.extend_from_slice(&piece[piece.len().saturating_sub(WHOLE.len())..]);
        end.drain(..end.len().saturating_sub(WHOLE.len()));
    }
    if end == WHOLE {
        return Ok(bytes);
    }
    Err(Failure::no(
        "the export was broken off and is not whole; the daemon's log says why. Run the command again",
    ))
}
