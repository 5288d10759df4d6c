//! Makes the store's file small by itself where that is worth it; `domain/compaction.rs` says when.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::sleep;

use crate::clock;
use crate::domain::compaction::{Compaction, Seen};
use crate::store::Store;

/// Between two looks.
const EVERY: Duration = Duration::from_mins(1);

/// Looks until `stopping` resolves, at a file in which more than `above` bytes are to be free. How a compaction ends is in the log.
pub async fn keep_small(store: Store, above: u64, stopping: impl Future) {
    let mut stopping = std::pin::pin!(stopping);
    let started = clock::ticks();
    let mut compaction = Compaction::new(above);
    loop {
        if compaction.look(clock::ticks() - started, seen(&store)) {
            tracing::info!("much of the store's file is free; it is compacted");
            // It ends when nobody waits for it any more.
            let (waiting, waits) = tokio::sync::watch::channel(());
            match store.compact(move || waits.has_changed().is_err()) {
                Ok(mut steps) => {
                    let all = async { while steps.recv().await.is_some() {} };
                    tokio::select! {
                        () = all => {}
                        _ = &mut stopping => return,
                    }
                }
                Err(error) => tracing::warn!(%error, "the store's file was not compacted"),
            }
            drop(waiting);
        }
        tokio::select! {
            () = sleep(EVERY) => {}
            _ = &mut stopping => return,
        }
    }
}

fn seen(store: &Store) -> Seen {
    let stats = store.stats();
    let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let webhooks = get(&stats.accepted) + get(&stats.duplicates);
    Seen { file: get(&stats.file_bytes), free: stats.free_bytes(), webhooks }
}
