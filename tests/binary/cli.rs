//! The real binary: usage, help and exit codes, and its commands against an admin socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use crate::support::api::{Api, Door_};
use crate::support::*;
use serde_json::{Value, json};

pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringhookd"));
    command.args(args).stdin(Stdio::null());
    command
}

fn run(args: &[&str]) -> Output {
    command(args).output().unwrap()
}

pub(crate) fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

pub(crate) fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

/// Runs a command against the socket, with `input`, beside the daemon in this process.
pub(crate) async fn against(door: &Door_, args: &[&str], input: &str) -> Output {
    let mut command = command(&["--socket", door.path.to_str().unwrap()]);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let input = input.to_owned();
    let work = move || {
        let mut child = command.spawn().unwrap();
        // It may have refused to read it.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    };
    tokio::task::spawn_blocking(work).await.unwrap()
}

/// The same for a command that is fine; its lines as JSON.
pub(crate) async fn json_lines(door: &Door_, args: &[&str]) -> Vec<Value> {
    let output = against(door, &[&["--json"], args].concat(), "").await;
    assert_eq!(code(&output), 0, "{args:?}: {}", err(&output));
    out(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub(crate) fn keys(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["id"].as_str().unwrap()).collect()
}

#[test]
fn wrong_usage_exits_2_and_says_what_is_right() {
    for (args, words) in [
        (&[][..], "Usage"),
        (&["frobnicate"], "frobnicate"),
        (&["queue", "read"], "<NAME>"),
        (&["queue", "read", "q", "--max", "0"], "--max"),
        (&["queue", "read", "q", "--max", "many"], "--max"),
        (&["dead-letters", "drop"], "--all"),
        (&["dead-letters", "drop", "--class", "alive"], "quarantined"),
        (&["dead-letters", "replay", "dead-1-2-3", "--all"], "--all"),
        (&["serve"], "--config FILE"),
        (&["init"], "--config FILE"),
        (&["check"], "--config FILE"),
    ] {
        let output = run(args);
        assert_eq!(code(&output), 2, "{args:?}");
        assert!(err(&output).contains(words), "{args:?}: {}", err(&output));
        assert_eq!(out(&output), "", "{args:?}");
    }
}

#[test]
fn help_names_every_command() {
    let output = run(&["--help"]);
    assert_eq!(code(&output), 0);
    for name in
        ["init", "serve", "check", "demo", "status", "accounts", "queue", "dead-letters", "keys", "--json"]
    {
        assert!(out(&output).contains(&format!("  {name} ")), "{name} in {}", out(&output));
    }
    for (group, commands) in [
        ("accounts", &["list", "show", "import", "set-user", "export", "disconnect", "forget"][..]),
        ("queue", &["list", "read", "tail", "remove"]),
        ("dead-letters", &["list", "show", "replay", "drop"]),
        ("keys", &["show", "rotate"]),
    ] {
        let help = out(&run(&[group, "--help"]));
        assert!(commands.iter().all(|name| help.contains(&format!("  {name} "))), "{help}");
    }
    assert_eq!(out(&run(&["--version"])).trim(), concat!("ringhookd ", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_daemon_that_is_not_there_is_said_with_the_place() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("none.sock");
    let output = run(&["status", "--socket", socket.to_str().unwrap()]);
    assert_eq!(code(&output), 1);
    assert!(err(&output).contains(socket.to_str().unwrap()), "{}", err(&output));
    assert!(err(&run(&["status"])).contains("/run/ringhookd/admin.sock"));
}

/// A configuration in a folder of its own, with these lines added.
pub(crate) fn config(dir: &Path, lines: &str) -> String {
    let folder = dir.join("data");
    let text = format!(
        "listen = \"127.0.0.1:0\"\nhmac_keys = [\"{}\"]\n[store]\nfolder = \"{}\"\nenvironment = \"test\"\n{lines}",
        "k".repeat(32),
        folder.display(),
    );
    let file = dir.join("config.toml");
    std::fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

#[test]
fn check_lists_every_problem_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let bad = config(dir.path(), "creat = true\n[webhook]\nmax_body = \"-1\"\n");
    let output = run(&["check", "--config", &bad]);
    assert_eq!(code(&output), 1);
    assert!(["creat", "max_body"].iter().all(|key| out(&output).contains(key)), "{}", out(&output));
    assert_eq!(code(&run(&["serve", "--config", &bad])), 78);
    assert_eq!(code(&run(&["check", "--config", "/none/at/all"])), 1);

    let group = "[[socket]]\npath = \"/none/x.sock\"\ngroup = \"no-such-group\"\n";
    let spool = "[[queue]]\nname = \"s\"\nkind = \"spool\"\nfolder = \"/dev/null/x\"\n";
    let output = run(&["check", "--json", "--config", &config(dir.path(), &format!("{group}{spool}"))]);
    assert_eq!(code(&output), 1);
    let found: Value = serde_json::from_str(&out(&output)).unwrap();
    assert_eq!(found["ok"], false);
    for words in ["no store", "no-such-group", "/dev/null is no folder"] {
        assert!(found["problems"].to_string().contains(words), "{words} in {found}");
    }
    assert!(!dir.path().join("data").exists());
}

#[test]
fn check_looks_into_the_store_and_at_the_key() {
    let dir = tempfile::tempdir().unwrap();
    let file = config(dir.path(), "create = true\n");
    let folder = dir.path().join("data");
    let check = || run(&["check", "--config", &file]);
    let output = check();
    assert_eq!((code(&output), out(&output).contains("serve makes it")), (0, true), "{}", out(&output));
    let store = store(&folder, vec![]);
    let key = folder.join("master.key");
    assert!(out(&check()).contains("keys.master"), "{}", out(&check()));
    std::fs::write(&key, "cd".repeat(32)).unwrap();
    assert!(out(&check()).contains("chmod 600"), "{}", out(&check()));
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let output = check();
    assert_eq!((code(&output), out(&output).contains("in use by pid")), (0, true), "{}", out(&output));
    store.close();
    let output = check();
    assert_eq!(
        (code(&output), out(&output).contains("sealed under master key")),
        (1, true),
        "{}",
        out(&output)
    );
    std::fs::write(&key, "ab".repeat(32)).unwrap();
    assert_eq!(code(&check()), 0, "{}", out(&check()));
}

#[tokio::test(flavor = "multi_thread")]
async fn status_and_lists_are_json_or_tables() {
    let api = Api::start().await;
    let door = api.open_door();
    link(&api.store, "a\u{202e}b", "ann").await;
    let status = json_lines(&door, &["status"]).await;
    assert_eq!((status.len(), &status[0]["store"]["state"]), (1, &json!("ready")));
    let queues = json_lines(&door, &["queue", "list"]).await;
    assert_eq!(
        (&queues[0]["name"], &queues[0]["kind"], queues.len()),
        (&json!("all"), &json!("embedded"), 3)
    );
    assert_eq!(json_lines(&door, &["accounts", "list"]).await[0]["user"], "ann");
    assert_eq!(json_lines(&door, &["keys", "show"]).await[0]["webhook_keys"][0]["fingerprint"], "f1");
    let table = out(&against(&door, &["accounts", "list"], "").await);
    let lines: Vec<_> = table.lines().collect();
    assert!(lines[0].starts_with("ACCOUNT") && lines[1].starts_with("a\\u{202e}b"), "{table}");
    assert_eq!(lines[0].find("USER"), lines[1].find("ann"), "{table}");
    let status = out(&against(&door, &["status"], "").await);
    assert!(status.starts_with("all well\n\nringhookd ") && status.contains("\nWEBHOOK KEY "), "{status}");
    let rotated = json_lines(&door, &["keys", "rotate"]).await;
    assert_eq!((&rotated[0]["left"], &rotated[0]["changed"]), (&json!(0), &json!(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_are_imported_from_a_file_or_standard_input() {
    let api = Api::start().await;
    let door = api.open_door();
    let lines = "{\"account_id\":\"a\",\"user\":\"ann\",\"refresh_token\":\"hunter2\"}\n\n{\"account_id\":\"b\",\"access_token\":\"hunter2\"}\n";
    let output = against(&door, &["accounts", "import"], lines).await;
    assert_eq!(code(&output), 1);
    assert!(
        out(&output).starts_with("imported 1 account, 1 of them new") && err(&output).contains("line 3: ")
    );
    assert!(!format!("{}{}", out(&output), err(&output)).contains("hunter2"));
    let broken = against(&door, &["accounts", "import", "-"], "{\"account_id\":\"c\"}\n{hunter2").await;
    assert_eq!((code(&broken), err(&broken).contains("line 2: ")), (1, true), "{}", err(&broken));
    assert!(!err(&broken).contains("hunter2"));
    assert_eq!(api.store.links().account(account("c")).await.unwrap(), None, "nothing was sent");

    let file = api.dir.path().join("accounts.json");
    std::fs::write(&file, "{\n \"account_id\": \"a\",\n \"user\": \"bob\"\n}\n").unwrap();
    let file = file.to_str().unwrap();
    let refused = against(&door, &["accounts", "import", file], "").await;
    assert_eq!((code(&refused), err(&refused).contains("line 1: ")), (1, true), "{}", err(&refused));
    assert_eq!(json_lines(&door, &["accounts", "import", file, "--replace"]).await[0]["imported"], 1);
    assert_eq!(json_lines(&door, &["accounts", "show", "a"]).await[0]["user"], "bob");
    assert_eq!(code(&against(&door, &["accounts", "set-user", "a", "ann"], "").await), 1);
    assert_eq!(code(&against(&door, &["accounts", "set-user", "a", "ann", "--replace"], "").await), 0);
    let export = api.dir.path().join("export.json");
    let to_file = ["accounts", "export", "a", "--output", export.to_str().unwrap()];
    assert_eq!(code(&against(&door, &to_file, "").await), 0);
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&export).unwrap());
    let document: Value = serde_json::from_slice(&std::fs::read(&export).unwrap()).unwrap();
    assert_eq!(
        (mode & 0o777, &document["user"], &document["complete"]),
        (0o600, &json!("ann"), &json!(true))
    );
    assert_eq!(code(&against(&door, &to_file, "").await), 1, "no file is written over");
    assert_eq!(code(&against(&door, &["accounts", "export", "unknown"], "").await), 1);
    let unsure = against(&door, &["accounts", "forget", "a"], "y\n").await;
    assert_eq!((code(&unsure), err(&unsure).contains("--yes")), (2, true), "{}", err(&unsure));
    assert_eq!(code(&against(&door, &["accounts", "forget", "a", "--yes"], "").await), 0);
    assert_eq!(code(&against(&door, &["accounts", "show", "a"], "").await), 1);
    assert_eq!(code(&against(&door, &["accounts", "import"], "\n").await), 1, "nothing to import");
}

#[tokio::test(flavor = "multi_thread")]
async fn queue_read_acknowledges_what_it_has_printed() {
    let api = Api::start().await;
    let door = api.open_door();
    link(&api.store, "a", "ann").await;
    for id in 0..250 {
        api.store.inbox().accept(event(&id.to_string(), "a")).await.unwrap();
    }
    let three = json_lines(&door, &["queue", "read", "all", "--max", "3"]).await;
    assert_eq!(keys(&three), ["0", "1", "2"]);
    assert_eq!(three[0]["specversion"], "1.0");
    let rest = json_lines(&door, &["queue", "read", "all", "--max", "1000", "--user", "ann"]).await;
    assert_eq!(rest.len(), 247, "in several leases");
    assert!(json_lines(&door, &["queue", "read", "all"]).await.is_empty());
    let people = out(&against(&door, &["queue", "read", "raws", "--max", "1"], "").await);
    assert!(people.starts_with("0  {"), "{people}");
    assert_eq!(code(&against(&door, &["queue", "read", "none"], "").await), 1);
}

/// The events that Python finds line by line, as JSON.
fn lines_of_python(text: &[u8]) -> Vec<Value> {
    let program = "import json, sys\nfor line in sys.stdin.buffer.read().decode().splitlines(): print(json.dumps(json.loads(line)))";
    let mut python = Command::new("python3");
    python.args(["-c", program]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut python = python.spawn().unwrap();
    python.stdin.take().unwrap().write_all(text).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success(), "a line is not JSON: {}", String::from_utf8_lossy(text));
    out(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_one_line_for_readers_that_split_where_unicode_does() {
    let api = Api::start().await;
    let door = api.open_door();
    let odd = "a\u{2028}b\u{2029}c\u{85}d";
    let name = odd.replace('\u{85}', "");
    let body = format!(r#"{{"meta":{{"request_id":"1"}},"data":{{"type":"t","{odd}":"\\{odd}"}}}}"#);
    link(&api.store, &name, &name).await;
    let incoming = || with_body(event_of("1", Some(&name), &name, Some(&name)), body.clone());
    api.store.inbox().accept(incoming()).await.unwrap();
    let anomaly = Some("no JSON");
    let quarantined = ringhookd::store::Incoming { anomaly, ..incoming() };
    let (_, identity) = ringhookd::domain::dedup::Identity::of(Some("2"), b"2");
    api.store.inbox().accept(ringhookd::store::Incoming { identity, ..quarantined }).await.unwrap();

    let sent: Value = serde_json::from_str(&body).unwrap();
    let read = against(&door, &["--json", "queue", "read", "all"], "").await.stdout;
    let [event] = &lines_of_python(&read)[..] else { panic!("one event is one line") };
    assert_eq!((&event["data"], &event["subject"]), (&sent, &json!(name)));
    let mut tail = door.tail("raws", 9).await;
    assert_eq!(lines_of_python(tail.line().await.as_bytes()).len(), 1);
    let (_, leased) = door.text("POST", "/v1/queues/raws/lease", "{}").await;
    let [document] = &lines_of_python(leased.as_bytes())[..] else { panic!("one document is one line") };
    assert_eq!(document["events"][0]["event"]["body"], body, "raw is to the byte");
    for (list, lines) in [(["dead-letters", "list"], 1), (["accounts", "list"], 1)] {
        let shown = against(&door, &[&["--json"], &list[..]].concat(), "").await.stdout;
        assert_eq!(lines_of_python(&shown).len(), lines, "{list:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn queue_read_gives_back_what_nobody_read() {
    let api = Api::start().await;
    let door = api.open_door();
    link(&api.store, "a", "ann").await;
    api.store.inbox().accept(event("1", "a")).await.unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut closed = command(&["--socket", door.path.to_str().unwrap(), "queue", "read", "all"]);
    closed.stdout(writer).stderr(Stdio::piped());
    let output = tokio::task::spawn_blocking(move || closed.output().unwrap()).await.unwrap();
    assert_eq!((code(&output), err(&output)), (1, String::new()));
    assert_eq!(api.leased("all"), 0);
    assert_eq!(keys(&json_lines(&door, &["queue", "read", "all"]).await), ["1"]);
}

/// Stops the child when a test ends early.
struct Reaped(Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn queue_tail_and_a_waiting_read_show_what_arrives() {
    let api = Api::start().await;
    let door = api.open_door();
    link(&api.store, "a", "ann").await;
    api.store.inbox().accept(event("1", "a")).await.unwrap();
    let socket = door.path.to_str().unwrap();
    let mut tail = command(&["--json", "--socket", socket, "queue", "tail", "all", "--last", "1"]);
    let mut tail = Reaped(tail.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(tail.0.stdout.take().unwrap()).lines();
    let (first, mut lines) = tokio::task::spawn_blocking(move || (lines.next(), lines)).await.unwrap();
    assert!(first.unwrap().unwrap().contains(r#""id":"1""#));
    api.store.inbox().accept(event("2", "a")).await.unwrap();
    // Kept, since a tail whose output is closed ends at the next event.
    let (second, _lines) = tokio::task::spawn_blocking(move || (lines.next(), lines)).await.unwrap();
    assert!(second.unwrap().unwrap().contains(r#""id":"2""#));
    assert_eq!(keys(&json_lines(&door, &["queue", "read", "all"]).await), ["1", "2"], "nothing was taken");

    let mut read = command(&["--json", "--socket", socket, "queue", "read", "all", "--wait", "--max", "1"]);
    let mut read = Reaped(read.stdout(Stdio::piped()).spawn().unwrap());
    api.store.inbox().accept(event("3", "a")).await.unwrap();
    let mut stdout = read.0.stdout.take().unwrap();
    let read_all = move || {
        let mut text = String::new();
        stdout.read_to_string(&mut text).map(|_| text)
    };
    let text = tokio::task::spawn_blocking(read_all).await.unwrap().unwrap();
    assert!(text.contains(r#""id":"3""#), "{text}");

    api.admin.stop();
    let ended = move || {
        let mut said = String::new();
        tail.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (tail.0.wait().unwrap().code(), said)
    };
    let (code, said) = tokio::task::spawn_blocking(ended).await.unwrap();
    assert_eq!((code, said.contains("ended the stream")), (Some(1), true), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_handled() {
    let api = Api::start().await;
    let door = api.open_door();
    let quarantined = |id: &str| ringhookd::store::Incoming { anomaly: Some("no JSON"), ..event(id, "a") };
    for id in ["1", "2"] {
        api.store.inbox().accept(quarantined(id)).await.unwrap();
    }
    let letters = json_lines(&door, &["dead-letters", "list", "--class", "quarantined"]).await;
    assert_eq!((letters.len(), &letters[0]["why"]), (2, &json!("no JSON")));
    assert!(json_lines(&door, &["dead-letters", "list", "--class", "dead"]).await.is_empty());
    let id = letters[0]["id"].as_str().unwrap();
    assert_eq!(json_lines(&door, &["dead-letters", "show", id]).await[0]["event"]["id"], "1");
    let replayed = against(&door, &["dead-letters", "replay", id], "").await;
    assert_eq!(
        (code(&replayed), out(&replayed).starts_with("0 replayed, 1 not")),
        (1, true),
        "{}",
        out(&replayed)
    );
    assert_eq!(code(&against(&door, &["dead-letters", "drop", id], "").await), 2, "no terminal, no --yes");
    assert_eq!(
        json_lines(&door, &["dead-letters", "drop", id, "--yes"]).await,
        [json!({"done": 1, "refused": 0})]
    );
    assert_eq!(json_lines(&door, &["dead-letters", "drop", "--all", "--yes"]).await[0]["done"], 1);
    let table = out(&against(&door, &["dead-letters", "list"], "").await);
    assert_eq!(table.lines().count(), 1, "{table}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_socket_is_found_in_the_configuration_without_its_secrets() {
    let api = Api::start().await;
    let door = api.open_door();
    let sockets =
        format!("[[socket]]\npath = \"/none/x.sock\"\n[[socket]]\npath = \"{}\"\n", door.path.display());
    let file = config(api.dir.path(), &sockets);
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("hmac_key_files = [\"/none/key\"]\n{text}")).unwrap();
    let work = move || run(&["status", "--json", "--config", &file]);
    let output = tokio::task::spawn_blocking(work).await.unwrap();
    assert_eq!(code(&output), 0, "{}", err(&output));
}
