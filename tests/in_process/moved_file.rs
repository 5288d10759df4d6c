//! A store's file that is moved away or replaced under a running daemon.

use std::time::Duration;

use ringhookd::store::StoreError;
use tokio::time::sleep;

use crate::support::{drain_keys, event, link, spec, store};

#[tokio::test]
async fn nothing_is_acknowledged_that_a_file_which_was_moved_away_would_take_along() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("store");
    let store_ = store(&folder, vec![spec("all")]);
    link(&store_, "a", "ann").await;
    let (file, away) = (folder.join("store.redb"), folder.join("away"));
    std::fs::rename(&file, &away).unwrap();
    let mut kept = Vec::new();
    let refused = loop {
        let id = kept.len().to_string();
        match store_.inbox().accept(event(&id, "a")).await {
            Ok(_) => kept.push(id),
            Err(error) => break error,
        }
        sleep(Duration::from_millis(20)).await;
    };
    assert!(matches!(&refused, StoreError::Unavailable(why) if why.contains("put it back")), "{refused}");
    // Another one in its place is not taken for it.
    std::fs::copy(&away, &file).unwrap();
    sleep(Duration::from_millis(50)).await;
    assert!(store_.inbox().accept(event("other", "a")).await.is_err());
    std::fs::rename(&away, &file).unwrap();
    while store_.inbox().accept(event("last", "a")).await.is_err() {
        sleep(Duration::from_millis(20)).await;
    }
    kept.push("last".into());
    assert_eq!(drain_keys(&store_, "all").await, kept);
}
