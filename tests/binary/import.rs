//! `accounts import` with much input: a summary however it ends, progress, and bounded batches.

use std::io::{Read, Write};
use std::process::{Child, ChildStderr, ChildStdout, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::cli::{against, code, command, err, out};
use crate::support::api::Api;
use crate::support::*;

/// More than a pipe and a buffer hold.
const MANY: usize = 20_000;

fn lines(count: usize) -> String {
    let line = |n| {
        let refresh_token = format!("{n:0>60}");
        json!({"account_id": format!("a{n}"), "user": "ann", "refresh_token": refresh_token}).to_string()
    };
    (1..=count).map(line).collect::<Vec<_>>().join("\n") + "\n"
}

fn text(from: &mut impl Read) -> String {
    let mut text = String::new();
    from.read_to_string(&mut text).unwrap();
    text
}

/// Waits until the account is in the store.
async fn has(api: &Api, id: &str) {
    while api.store.links().account(account(id)).await.unwrap().is_none() {
        tokio::task::yield_now().await;
    }
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap(), signal).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_is_stopped_tells_what_is_imported() {
    for (number, by) in [Signal::INT, Signal::TERM].into_iter().enumerate() {
        let api = Api::start().await;
        let door = api.open_door();
        let mut import = command(&["--json", "--socket", door.path.to_str().unwrap(), "accounts", "import"]);
        import.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut import = import.spawn().unwrap();
        let mut stdin = import.stdin.take().unwrap();
        let (mut stdout, mut stderr): (ChildStdout, ChildStderr) =
            (import.stdout.take().unwrap(), import.stderr.take().unwrap());
        // Its input stays open, so that it does not end by itself.
        let writing = tokio::task::spawn_blocking(move || {
            stdin.write_all(lines(MANY).as_bytes()).unwrap();
            stdin
        });
        let stdin = writing.await.unwrap();
        has(&api, "a2000").await;
        signal(&import, by);
        let ended = tokio::task::spawn_blocking(move || {
            let said = (text(&mut stdout), text(&mut stderr));
            (import.wait().unwrap().code(), said)
        });
        let (code, (summary, said)) = ended.await.unwrap();
        drop(stdin);
        assert_eq!(code, Some(1), "{number}: {said}");
        let summary: Value = serde_json::from_str(&summary).unwrap();
        let imported = summary["imported"].as_u64().unwrap();
        assert!(imported >= 2000, "{summary}");
        let words = format!("stopped before line {}; what is above is imported", imported + 1);
        assert!(said.contains(&words) && said.contains("does no harm"), "{said}");
        let (all, _) = api.store.links().accounts(0, usize::MAX).await.unwrap();
        assert_eq!(all.len() as u64, imported);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_meets_broken_json_late_tells_what_is_imported_and_a_file_is_looked_at_first() {
    let api = Api::start().await;
    let door = api.open_door();
    let input = lines(MANY) + "{hunter2\n";
    let file = api.dir.path().join("accounts.json");
    std::fs::write(&file, &input).unwrap();
    let refused = against(&door, &["accounts", "import", file.to_str().unwrap()], "").await;
    let words = format!("line {}: this is no JSON", MANY + 1);
    assert_eq!(code(&refused), 1);
    assert!(
        err(&refused).contains(&words) && err(&refused).contains("nothing was imported"),
        "{}",
        err(&refused)
    );
    assert!(api.store.links().accounts(0, 1).await.unwrap().0.is_empty());

    let late = against(&door, &["accounts", "import", "-"], &input).await;
    assert_eq!((code(&late), err(&late).contains(&words)), (1, true), "{}", err(&late));
    let summary = out(&late);
    let imported = summary.strip_prefix("imported ").and_then(|rest| rest.split_once(' ')).unwrap().0;
    assert_eq!(
        imported.parse::<usize>().unwrap(),
        api.store.links().accounts(0, usize::MAX).await.unwrap().0.len()
    );

    let again = against(&door, &["accounts", "import"], &lines(MANY)).await;
    assert_eq!(code(&again), 0, "{}", err(&again));
    assert!(
        out(&again).starts_with(&format!("imported {MANY} accounts")),
        "a repeat does no harm: {}",
        out(&again)
    );
}
