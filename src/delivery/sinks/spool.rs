//! Kind `spool`: one file per event in a folder, for shell scripts.
//!
//! The reader's side of the contract, all of it:
//!
//! ```sh
//! for file in /var/spool/ringhookd/alerts/[!.]*; do   # no dot files; the shell sorts by name, which is the order
//!     [ -e "$file" ] || continue                      # an empty folder
//!     handle "$file" && rm "$file"                    # delete (or move out) when done, not before
//! done
//! ```
//!
//! - A file is there whole or not at all: it is written and synced under a name with a dot, then renamed.
//! - Names begin with the event's sequence in 20 digits. Within an account the order is that of acceptance; across accounts
//!   a lower name may still appear after a higher one.
//! - At least once: after a crash or a failed write an event is written again under the same name, which does nothing while
//!   the file is still there, and brings it once more when the reader has taken it. Its id is the same; act on it once.
//! - The folder waits for its reader at either bound, and the queue behind it keeps what comes. Only a file that is alone may
//!   be larger than the bound on bytes.
//! - Files get the folder's own permissions for reading: make the folder beforehand (`chgrp readers`, `chmod 2770`) to let
//!   others read and delete. A folder that is missing at the start is made for the daemon's own user; one that goes missing later is
//!   not, since that is more likely a disk that was unmounted.

mod folder;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

use self::folder::{Folder, Stopped};
use crate::config;
use crate::delivery::{Sink, Verdict};
use crate::domain::format::Format;
use crate::store::Leased;

/// How often a full folder is looked at.
const FULL: Duration = Duration::from_secs(1);
/// Longest part of an idempotency key in a name, in bytes.
const KEY_BYTES: usize = 48;

/// The sink of one spool queue. It writes one batch at a time.
#[derive(Debug)]
pub struct Spool {
    format: Format,
    folder: Arc<Mutex<Folder>>,
}

impl Spool {
    /// Makes the folder when it is missing, and clears away what a crash left half written. Where that fails, it is tried
    /// again with the first event. Blocks.
    pub fn open(options: config::Spool, format: Format) -> Self {
        let folder = Folder::open(options);
        Self { format, folder: Arc::new(Mutex::new(folder)) }
    }
}

impl Sink for Spool {
    async fn deliver(&self, events: Arc<[Leased]>) -> Vec<Verdict> {
        let format = self.format;
        // Waited for here, so that a disk that hangs holds up one blocking thread and no more.
        let mut folder = Arc::clone(&self.folder).lock_owned().await;
        let count = events.len();
        let write = move || {
            let files = events
                .iter()
                .map(|e| (name(e.seq, &e.event.key), format.content(&e.event, e.seq, e.attempt)));
            folder.write(files)
        };
        let written = tokio::task::spawn_blocking(write).await;
        let (files, rest) = written.unwrap_or_else(|panic| (0, Err(Stopped::Panic(panic.to_string()))));
        let mut verdicts = vec![Verdict::Done; files];
        if let Err(stopped) = rest {
            // Nothing of this is an event's own fault: the rest waits until the folder takes it.
            let retry_after = matches!(stopped, Stopped::Full { .. }).then_some(FULL);
            verdicts.resize(count, Verdict::Busy { retry_after, why: stopped.to_string() });
        }
        verdicts
    }
}

/// A file's name, which sorts as the event does, with as much of the key as is safe in any shell.
fn name(seq: u64, key: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    let key: String = key.chars().take(KEY_BYTES).map(safe).collect();
    format!("{seq:020}-{key}.json")
}

#[cfg(test)]
mod tests;
