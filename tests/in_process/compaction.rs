//! The store's file is made small by itself, where much of it is free.

use std::fs;
use std::time::Duration;

use ringhookd::clock;
use ringhookd::daemon::keep_small;

use crate::support::*;

/// The time of the runtime jumps over what it waits for; the store's threads have their own.
#[tokio::test(start_paused = true)]
async fn a_file_that_is_mostly_free_shrinks_by_itself_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir.path().join("store"), vec![spec("all")]);
    link(&store, "A", "ann").await;
    for number in 0..30 {
        let big =
            with_body(event(&number.to_string(), "A"), format!("{{\"x\":\"{}\"}}", "x".repeat(500_000)));
        store.inbox().accept(big).await.unwrap();
    }
    let file = dir.path().join("store/store.redb");
    let size = || fs::metadata(&file).unwrap().len();
    let full = size();
    let stop = tokio::sync::Notify::new();
    let keeping = keep_small(store.clone(), 1 << 20, stop.notified());
    assert_eq!(drain(&store, "all", 27).await.len(), 27);
    let shrinks = async {
        let patience = clock::instant();
        while size() > full / 2 {
            assert!(patience.elapsed() < Duration::from_mins(1), "{} of {full}", size());
            tokio::time::sleep(Duration::from_secs(1)).await;
            // The writer tells its figures in its own time.
            tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_millis(20))).await.unwrap();
        }
        stop.notify_waiters();
    };
    tokio::join!(keeping, shrinks);
    assert_eq!(drain_keys(&store, "all").await, ["27", "28", "29"]);
    store.inbox().accept(event("29", "A")).await.unwrap();
    assert!(drain_keys(&store, "all").await.is_empty(), "what came before is remembered");
}
