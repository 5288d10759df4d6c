//! Log lines of the real binary: whose webhook each is about, and text from outside that can't forge, hide or flood them.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::support::configuration::{Configuration, OPEN_QUEUE, SOCKET, signature};
use crate::support::http::{Answer, exchange, request};
use crate::support::process::{Running, ringhookd};
use ringhookd::clock;
use serde_json::{Value, json};

/// What a line of JSON may be long with two texts of 256 bytes in it, escaped once more.
const LONGEST: usize = 2048;

fn config(dir: &Path, min_free: &str, log: &str) -> PathBuf {
    let store = format!("min_free = \"{min_free}\"");
    Configuration::of(OPEN_QUEUE).with(SOCKET).with(&format!("[log]\n{log}")).store(&store).write(dir)
}

fn event(id: &str, account: &str, kind: &str, device: &str) -> Vec<u8> {
    let event = json!({
        "meta": {"request_id": id, "account_id": account},
        "data": {"type": kind, "attributes": {"source": device, "source_type": "devices"}},
    });
    event.to_string().into_bytes()
}

fn post(daemon: &Running, body: &[u8], more: &str) -> u16 {
    daemon.post(&(signature(body) + more), body)
}

fn log_of(daemon: Running) -> String {
    let (status, _, log) = daemon.stop();
    assert!(status.success());
    String::from_utf8(log).unwrap()
}

/// Each line as JSON, short, and with nothing in it that a terminal would obey.
fn lines(log: &str) -> Vec<Value> {
    let read = |line: &str| {
        assert!(line.len() <= LONGEST && !line.chars().any(char::is_control), "{line:?}");
        let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        let texts = value.as_object().unwrap().values().filter_map(Value::as_str);
        assert!(!texts.into_iter().any(misleads), "{line:?}");
        value
    };
    assert!(log.ends_with('\n'));
    log.lines().map(read).collect()
}

fn misleads(text: &str) -> bool {
    text.chars().any(|c| c.is_control() || c == '\u{202e}')
}

/// Texts to put wherever the sender may write.
fn nasty() -> Vec<String> {
    vec![
        "line\nERROR ringhookd: all is lost".into(),
        "line\r\n{\"level\":\"ERROR\",\"message\":\"forged\"}".into(),
        "\u{1b}[2J\u{1b}]0;title\u{7}".into(),
        "\u{9b}31mred".into(),
        "right\u{202e}tfel".into(),
        "quote\" \\ back\\u000a".into(),
        "\u{2028}\u{0}\u{7f}".into(),
        "x".repeat(10 << 10),
        "\u{202e}".repeat(160),
        "\"".repeat(500),
    ]
}

fn send_nasty(daemon: &Running) {
    for (n, text) in nasty().iter().enumerate() {
        let (id, account) = (format!("id-{n}"), format!("account-{n}"));
        for body in [
            event(text, &account, "button_press", "dev"),
            event(&id, text, "button_press", "dev"),
            event(&id, &account, text, "dev"),
            event(&id, &account, "button_press", text),
            event(text, text, text, text),
            text.clone().into_bytes(),
        ] {
            assert_eq!(post(daemon, &body, ""), 200, "{text:?}");
        }
        let header: String = text.chars().filter(|c| !c.is_control()).collect();
        let headers = format!("User-Agent: {header}\r\nX-Request-Id: {header}\r\n");
        // Over the limit of heads with 10 kB twice.
        assert!(matches!(post(daemon, &event(&id, &account, "odd", "dev"), &headers), 200 | 431));
        assert!(matches!(daemon.post(&format!("X-Signature: {header}\r\n"), b"{}"), 401));
        let target: String = header.chars().filter(char::is_ascii_alphanumeric).collect();
        assert_eq!(daemon.send(&request("GET", &format!("/%1b%5b2J{target}"), "", "")), 404);
    }
}

#[test]
fn every_line_about_a_known_webhook_says_which_and_whose() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Running::start(&config(dir.path(), "1 MiB", "format = \"json\"\nlevel = \"debug\""));
    let first = event("id-1", "account-1", "device_added", "dev-1");
    assert_eq!((post(&daemon, &first, ""), post(&daemon, &first, "")), (200, 200));
    assert_eq!(post(&daemon, &event("id-2", "account-2", "app_integration_added", "x"), ""), 200);
    let unnamed =
        br#"{"meta":{"request_id":"id-3"},"data":{"type":"button_press","attributes":{"source":"dev-1"}}}"#;
    assert_eq!(post(&daemon, unnamed, ""), 200);
    let lines = lines(&log_of(daemon));
    let kept: Vec<_> = lines
        .iter()
        .filter(|line| line["message"] == "kept")
        .map(|line| ["id", "account", "outcome"].map(|field| line[field].as_str().unwrap()))
        .collect();
    assert_eq!(
        kept,
        [
            ["id-1", "account-1", "queued"],
            ["id-1", "account-1", "duplicate"],
            ["id-2", "account-2", "queued"],
            ["id-3", "account-1", "queued"],
        ],
        "the last by its device"
    );
    let of_intake = |line: &&Value| line["target"] == "ringhookd::intake";
    assert_eq!(lines.iter().filter(of_intake).count(), kept.len());
}

#[test]
fn a_webhook_that_could_not_be_kept_is_named_at_the_usual_level() {
    // In memory, where there never is as much room as the configuration asks for.
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let daemon = Running::start(&config(dir.path(), "1 TiB", "format = \"json\""));
    assert_eq!(post(&daemon, &event("id-1", "account-1", "button_press", "dev"), ""), 503);
    let lines = lines(&log_of(daemon));
    let warned = lines.iter().find(|line| line["verdict"] == "low_disk").unwrap();
    assert_eq!(
        (&warned["id"], &warned["account"], &warned["level"]),
        (&json!("id-1"), &json!("account-1"), &json!("WARN"))
    );
}

#[test]
fn text_from_outside_stays_on_its_line_of_json() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Running::start(&config(dir.path(), "1 MiB", "format = \"json\"\nlevel = \"trace\""));
    send_nasty(&daemon);
    let lines = lines(&log_of(daemon));
    assert!(lines.iter().all(|line| line["message"] != "forged" && line["level"] != "ERROR"));
    let shown =
        |wanted: &str| lines.iter().any(|line| line["id"].as_str().is_some_and(|id| id.contains(wanted)));
    assert!(shown("quote") && shown("id-0"), "what can be shown is");
    assert!(lines.iter().filter(|line| line["message"] == "kept").count() > 5 * nasty().len());
}

#[test]
fn text_from_outside_stays_on_its_line_for_people() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Running::start(&config(dir.path(), "1 MiB", "format = \"human\"\nlevel = \"trace\""));
    send_nasty(&daemon);
    let log = log_of(daemon);
    for line in log.lines() {
        assert!(line.len() <= LONGEST && !misleads(line), "{line:?}");
        let mut words = line.split_whitespace();
        let time = words.next().unwrap().parse::<jiff::Timestamp>();
        assert!(time.is_ok() && matches!(words.next(), Some("INFO" | "WARN" | "DEBUG")), "{line:?}");
    }
    assert!(log.contains("id=id-0"), "{log}");
}

#[test]
fn lines_that_nobody_takes_are_counted_and_hold_up_no_webhook() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Running::start(&config(dir.path(), "1 MiB", "level = \"debug\""));
    let lost = || metric(&dir.path().join("admin.sock"), "ringhookd_log_lines_lost_total");
    assert_eq!(lost(), 0);
    daemon.stop_reading();
    // The reader leaves with the first line that it still takes, and the log's thread writes in its own time.
    let posted = (1..1000).find(|n| {
        assert_eq!(post(&daemon, &event(&format!("id-{n}"), "account-1", "button_press", "dev"), ""), 200);
        lost() >= 3
    });
    assert!(posted.is_some(), "{} lines lost", lost());
}

fn metric(socket: &Path, name: &str) -> u64 {
    let Answer(text) = exchange(&socket, &request("GET", "/v1/metrics", "", ""));
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {name} in\n{text}")).trim().parse().unwrap()
}

/// What a start says on standard error that is `journal`, or is not, and how it ends.
fn ends(config: &Path, journal: bool) -> (Option<i32>, String) {
    let file = tempfile::NamedTempFile::new().unwrap();
    let found = file.as_file().metadata().unwrap();
    let mut command = ringhookd(&["serve", "--config", config.to_str().unwrap()]);
    if journal {
        command.env("JOURNAL_STREAM", format!("{}:{}", found.dev(), found.ino()));
    }
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file.reopen().unwrap()).status();
    (status.unwrap().code(), std::fs::read_to_string(file.path()).unwrap())
}

#[test]
fn a_fatal_error_is_a_line_of_json_where_that_was_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let json = config(dir.path(), "1 MiB", "format = \"json\"");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let text = std::fs::read_to_string(&json).unwrap();
    for (wrong, code, words) in [
        (format!("no_such_key = 1\n{text}"), 78, "no_such_key"),
        (text.replace("127.0.0.1:0", &address), 1, address.as_str()),
    ] {
        std::fs::write(&json, wrong).unwrap();
        let (ended, said) = ends(&json, false);
        let told = lines(&said);
        assert_eq!(ended, Some(code), "{said}");
        let told = told.last().unwrap();
        assert_eq!((&told["level"], &told["exit_code"]), (&json!("ERROR"), &json!(code)), "{said}");
        assert!(told["message"].as_str().unwrap().contains(words), "{said}");
    }
}

#[test]
fn the_journal_gets_the_rank_of_a_fatal_error() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), "1 MiB", "format = \"human\"");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("no_such_key = 1\n{text}")).unwrap();
    assert!(ends(&config, true).1.starts_with("<3>ringhookd: "));
    assert!(ends(&config, false).1.starts_with("ringhookd: "));
}

#[test]
fn the_environment_says_what_is_written_where_it_says_something() {
    for (filter, is_told) in [("", false), ("info,ringhookd::intake=debug", true)] {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path(), "1 MiB", "format = \"json\"\nlevel = \"info\"");
        let daemon = Running::start_with(&config, &[("RUST_LOG", filter)]);
        assert_eq!(post(&daemon, &event("id-1", "account-1", "button_press", "dev"), ""), 200);
        let told = lines(&log_of(daemon)).iter().any(|line| line["message"] == "kept");
        assert_eq!(told, is_told, "{filter:?}");
    }
}

#[test]
fn a_device_that_moves_to_another_account_is_told_once() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Running::start(&config(dir.path(), "1 MiB", "format = \"json\""));
    let now = clock::now().0;
    for (n, account) in ["account-1", "account-1", "account-2", "account-2"].iter().enumerate() {
        let at = now - 60_000 + 1000 * n as u64;
        let event = json!({
            "meta": {"request_id": format!("id-{n}"), "account_id": account},
            "data": {"type": "device_added", "attributes": {"source": "dev", "source_type": "devices", "timestamp": at}},
        });
        assert_eq!(post(&daemon, event.to_string().as_bytes(), ""), 200);
    }
    let lines = lines(&log_of(daemon));
    let moved: Vec<&Value> =
        lines.iter().filter(|line| line["message"] == "a device has moved to another account").collect();
    assert_eq!(moved.len(), 1, "{lines:?}");
    assert_eq!(
        (&moved[0]["account"], &moved[0]["detail"]),
        (&json!("account-2"), &json!("from account account-1"))
    );
}
