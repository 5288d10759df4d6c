//! Standard output that is closed, full or broken off: an error in every command, and nothing is acknowledged that was not written.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::cli::{code, config, err, json_lines, keys};
use crate::support::api::{Api, Door_};
use crate::support::*;

/// Runs a shell's line, in which `$r` is the binary and `$s` a socket; its own standard output is a pipe.
async fn sh(line: &str, socket: &Path) -> Output {
    let mut shell = Command::new("sh");
    shell.args(["-c", line]).env("r", env!("CARGO_BIN_EXE_ringhookd")).env("s", socket).stdin(Stdio::null());
    tokio::task::spawn_blocking(move || shell.output().unwrap()).await.unwrap()
}

/// A daemon with so many events in the queue `all`.
async fn with_events(count: usize) -> (Api, Door_) {
    let api = Api::start().await;
    let door = api.open_door();
    link(&api.store, "a", "ann").await;
    for id in 0..count {
        api.store.inbox().accept(event(&id.to_string(), "a")).await.unwrap();
    }
    (api, door)
}

#[tokio::test(flavor = "multi_thread")]
async fn queue_read_acknowledges_nothing_that_its_output_did_not_take() {
    let (api, door) = with_events(3).await;
    for (output, words) in [
        (">&-", "closed"),
        ("> /dev/full", "No space left"),
        ("1< /dev/null", "Bad file descriptor"),
        ("1<> /dev/null", "closed"),
    ] {
        for json in ["", "--json"] {
            let ended =
                sh(&format!("\"$r\" --socket \"$s\" {json} queue read all {output}"), &door.path).await;
            assert_eq!(code(&ended), 1, "{output}");
            assert!(err(&ended).contains(words), "{output}: {}", err(&ended));
            assert_eq!(api.leased("all"), 0, "{output}");
        }
    }
    assert_eq!(keys(&json_lines(&door, &["queue", "read", "all"]).await), ["0", "1", "2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_thrown_away_or_written_to_a_file_is_acknowledged() {
    let (api, door) = with_events(3).await;
    let thrown_away = sh("\"$r\" --socket \"$s\" queue read all --max 1 > /dev/null", &door.path).await;
    assert_eq!(code(&thrown_away), 0, "{}", err(&thrown_away));
    let file = api.dir.path().join("events");
    let line = format!("\"$r\" --json --socket \"$s\" queue read all > {}", file.display());
    let kept = sh(&line, &door.path).await;
    assert_eq!(code(&kept), 0, "{}", err(&kept));
    let text = std::fs::read_to_string(&file).unwrap();
    let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(keys(&events), ["1", "2"]);
    assert!(json_lines(&door, &["queue", "read", "all"]).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_takes_a_line_and_goes_leaves_the_rest_in_the_queue() {
    // Far more than a pipe holds, so that the break comes while it is printed.
    let (api, door) = with_events(1000).await;
    let ended = sh("\"$r\" --socket \"$s\" --json queue read all --max 100000 | head -n 1", &door.path).await;
    assert_eq!(err(&ended), "", "whoever closed the pipe knows");
    assert_eq!(api.leased("all"), 0);
    let left = json_lines(&door, &["queue", "read", "all", "--max", "100000"]).await;
    assert!(left.len() >= 100, "{} were in no lease whose output failed", left.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_that_prints_fails_on_a_closed_or_full_output() {
    let (api, door) = with_events(1).await;
    let file = config(api.dir.path(), "create = true\n");
    let on_socket = [
        "status",
        "accounts list",
        "accounts show a",
        "accounts set-user a bob --replace",
        "accounts export a",
        "accounts disconnect a --anyway --yes",
        "accounts forget a --yes",
        "token a",
        "queue list",
        "queue tail all --last 1",
        "queue remove all --yes",
        "dead-letters list",
        "dead-letters drop --all --yes",
        "keys show",
        "keys rotate",
        "accept-restored --yes",
        "compact",
        "metrics",
    ];
    let on_socket = on_socket.iter().map(|args| format!("--socket \"$s\" {args}"));
    let alone = [format!("check --config {file}"), format!("init --config {file}")];
    let alone = alone.into_iter().chain(["--help", "--version", "demo", "simulate"].map(str::to_owned));
    for args in on_socket.chain(alone) {
        let ended = sh(&format!("\"$r\" {args} >&-"), &door.path).await;
        assert_eq!(code(&ended), 1, "{args}");
        assert!(err(&ended).contains("standard output"), "{args}: {}", err(&ended));
    }
    let view = api.store.links().account(account("a")).await.unwrap().unwrap();
    assert_eq!(view.user, Some(user("ann")), "nothing was done that nobody would be told of");
    for args in ["--socket \"$s\" accounts list", "--socket \"$s\" keys rotate", "--help", "demo", "simulate"]
    {
        let ended = sh(&format!("\"$r\" {args} > /dev/full"), &door.path).await;
        assert_eq!(
            (code(&ended), err(&ended).contains("No space left")),
            (1, true),
            "{args}: {}",
            err(&ended)
        );
    }
}
