//! Single scenes: a store that is being made, held, damaged, expiring or rotated when the daemon dies or starts.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::thread::sleep;
use std::time::Duration;

use ringhookd::clock;
use ringhookd::store::LOG_BYTES as LOG;
use serde_json::{Value, json};

use super::daemon::{Daemon, Installed};
use super::event::{Event, account_name};
use super::points::{CREATING, ERASING, EXPIRING, REWRAPPING};
use super::sender::user_entry;
use crate::support::configuration::OPEN_QUEUE;
use crate::support::http::Client;

const ENDS_WITHIN: Duration = Duration::from_mins(1);

#[test]
fn a_creation_that_was_cut_off_is_begun_anew() {
    for point in CREATING {
        let installed = Installed::new(OPEN_QUEUE);
        killed_at(&installed, &format!("{point}:kill"));
        works(&installed, point);
    }
    // Cut off again while it is begun anew.
    let installed = Installed::new(OPEN_QUEUE);
    for point in CREATING.iter().rev() {
        // Once the marker is gone the store is whole; and a master key is made once.
        let whole = ["daemon.prepared", "tokens.planning", "create.unmarked"];
        if !whole.contains(point) && !["create.key", "create.half_a_key"].contains(point) {
            killed_at(&installed, &format!("{point}:kill"));
        }
    }
    works(&installed, "all of them");
}

#[test]
fn a_creation_killed_at_any_time_is_begun_anew_or_whole() {
    for ms in 0..15 {
        let installed = Installed::new(OPEN_QUEUE);
        let mut daemon = installed.spawn(None);
        sleep(Duration::from_millis(ms * 2));
        daemon.kill();
        works(&installed, &format!("after {} ms", ms * 2));
    }
}

/// What Ring sees of a disk that stands still: a 503 while it still listens, so that it sends again.
#[test]
fn what_is_not_durable_in_time_is_503_and_kept_once_all_the_same() {
    let installed = Installed::new(OPEN_QUEUE);
    let mut daemon = installed.spawn(Some("store.before_commit:sleep:8000"));
    let address = installed.ready(&mut daemon).unwrap();
    let event = Event { account: 0, n: 0 };
    assert_eq!(try_post(address, event), Some(503));
    let answered = (0..200).find_map(|_| {
        sleep(Duration::from_millis(100));
        try_post(address, event).filter(|status| *status == 200)
    });
    assert_eq!(answered, Some(200));
    let leased = call(&installed, "POST", "/v1/queues/all/lease", r#"{"max":9}"#);
    assert_eq!(leased["events"].as_array().unwrap().len(), 1);
    assert!(daemon.log().contains(r#""verdict":"not_durable""#), "{}", daemon.log());
}

#[test]
fn a_second_daemon_is_told_who_holds_the_store() {
    let installed = Installed::new(OPEN_QUEUE);
    let (first, address) = installed.start();
    let second = Installed::new(OPEN_QUEUE);
    let text = fs::read_to_string(second.config()).unwrap();
    let store = |installed: &Installed| format!("folder = \"{}\"", installed.store().display());
    fs::write(second.config(), text.replace(&store(&second), &store(&installed))).unwrap();
    let mut refused = second.spawn(None);
    let status = refused.wait(ENDS_WITHIN).unwrap();
    let said = refused.log();
    assert_eq!(status.code(), Some(75), "{said}");
    assert!(said.contains(&format!("pid {}", first.pid())), "{said}");
    post(address, Event { account: 0, n: 0 });
}

#[test]
fn a_damaged_store_is_refused_and_left_alone() {
    type Damage = fn(&mut Vec<u8>);
    let damages: [(&str, Damage); 4] = [
        ("cut to nothing", Vec::clear),
        ("cut in half", |file| file.truncate(file.len() / 2)),
        ("without its header", |file| file[LOG..LOG + 64].fill(0)),
        ("another file", |file| *file = b"not a store at all\n".repeat(500)),
    ];
    for (what, damage) in damages {
        let installed = Installed::new(OPEN_QUEUE);
        let (mut daemon, address) = installed.start();
        post(address, Event { account: 0, n: 0 });
        assert_eq!(daemon.terminate(ENDS_WITHIN).unwrap().0.code(), Some(0));
        let path = installed.store().join("store.redb");
        let mut bytes = fs::read(&path).unwrap();
        damage(&mut bytes);
        fs::write(&path, &bytes).unwrap();
        let mut refused = installed.spawn(None);
        let status = refused.wait(ENDS_WITHIN).unwrap();
        assert_eq!(status.code(), Some(65), "{what}: {}", refused.log());
        assert!(fs::read(&path).unwrap() == bytes, "{what}: the file was changed");
    }
}

/// Events that nobody reads leave by their age: each is in the dead letters once, however often that was cut off.
#[test]
fn events_that_run_out_are_dead_letters_once() {
    let installed = Installed::new(
        "[[queue]]\nname = \"all\"\nkind = \"embedded\"\nunclaimed = \"deliver\"\nmax_age = \"1s\"\n",
    );
    let sent = 60;
    let (mut daemon, address) = installed.start();
    (0..sent).for_each(|n| post(address, Event { account: n % 3, n: n / 3 }));
    daemon.kill();
    for pass in 1..=4 {
        killed_at(&installed, &format!("{EXPIRING}={}:kill", pass * 5));
        killed_at(&installed, "store.before_commit:kill");
    }
    killed_at(&installed, "store.committed:kill");
    let (_daemon, _) = installed.start();
    let deadline = clock::instant() + ENDS_WITHIN;
    let mut letters = BTreeMap::new();
    while letters.values().sum::<u32>() < sent && clock::instant() < deadline {
        sleep(Duration::from_millis(50));
        letters = dead_letters(&installed);
    }
    let expected: BTreeMap<String, u32> =
        (0..sent).map(|n| (Event { account: n % 3, n: n / 3 }.key(), 1)).collect();
    assert_eq!(letters, expected);
    assert_eq!(lease_all(&installed), [""; 0]);
}

/// The way of the documentation: restart with both keys, rotate, restart without the old one; killed in between.
#[test]
fn a_rotation_that_was_cut_off_loses_no_key() {
    let installed = Installed::new(OPEN_QUEUE);
    let (mut daemon, address) = installed.start();
    let accounts = 12;
    for account in 0..accounts {
        post(address, Event { account, n: 0 });
        let entry = user_entry(account).replace('}', r#","refresh_token":"made-up"}"#);
        assert_eq!(call(&installed, "POST", "/v1/accounts", &entry)["imported"], 1);
    }
    daemon.kill();
    let old = installed.store().join("master.key");
    let (new, previous) = (installed.folder().join("new.key"), old.display().to_string());
    fs::copy(&old, &new).unwrap();
    fs::write(&new, "cd".repeat(32)).unwrap();
    let with = |keys: &str| {
        let master = new.display();
        installed.configure(&format!("[keys]\nmaster = \"{master}\"\n{keys}\n{OPEN_QUEUE}"));
    };
    with(&format!("previous = \"{previous}\""));
    for failpoint in
        [format!("{REWRAPPING}:kill"), format!("{REWRAPPING}=9:kill"), "store.committed=2:kill".into()]
    {
        let mut daemon = installed.spawn(Some(&failpoint));
        assert!(installed.ready(&mut daemon).is_some(), "{}", daemon.log());
        while try_call(&installed, "POST", "/v1/keys/rotate", "{}").is_ok() {}
        assert_killed(&mut daemon, &failpoint);
    }
    let (mut daemon, address) = installed.start();
    assert_eq!(call(&installed, "POST", "/v1/keys/rotate", "{}")["next"], Value::Null);
    post(address, Event { account: 0, n: 1 });
    daemon.kill();
    fs::remove_file(&old).unwrap();
    with("");
    let (_daemon, _) = installed.start();
    let mut expected: Vec<String> = (0..accounts).map(|account| Event { account, n: 0 }.key()).collect();
    expected.push(Event { account: 0, n: 1 }.key());
    let mut found = lease_all(&installed);
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
}

/// The receipts of a forgotten account are gone in the end, however often that was cut off.
#[test]
fn receipts_of_a_forgotten_account_are_erased_though_that_was_cut_off() {
    let installed = Installed::new(OPEN_QUEUE);
    let (mut daemon, address) = installed.start();
    (0..3).for_each(|n| post(address, Event { account: 0, n }));
    assert!(receipt_bytes(&installed) > 0);
    daemon.kill();
    let mut daemon = installed.spawn(Some(&format!("{ERASING}:kill")));
    assert!(installed.ready(&mut daemon).is_some(), "{}", daemon.log());
    let path = format!("/v1/accounts/{}", account_name(0));
    assert!(try_call(&installed, "DELETE", &path, "").is_err());
    assert_killed(&mut daemon, ERASING);
    killed_at(&installed, &format!("{ERASING}:kill"));
    let (_daemon, _) = installed.start();
    let deadline = clock::instant() + ENDS_WITHIN;
    while receipt_bytes(&installed) > 0 && clock::instant() < deadline {
        sleep(Duration::from_millis(50));
    }
    assert_eq!(receipt_bytes(&installed), 0);
}

fn receipt_bytes(installed: &Installed) -> u64 {
    let mut client = Client::unix(&installed.socket()).unwrap();
    let (_, text) = client.send("GET", "/v1/metrics", "", b"").unwrap();
    let text = String::from_utf8(text).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("ringhookd_receipt_bytes "));
    line.unwrap_or_else(|| panic!("{text}")).parse().unwrap()
}

/// Starts a daemon that has to die at that point.
fn killed_at(installed: &Installed, failpoint: &str) {
    assert_killed(&mut installed.spawn(Some(failpoint)), failpoint);
}

fn assert_killed(daemon: &mut Daemon, failpoint: &str) {
    let status = daemon.wait(ENDS_WITHIN);
    let signal = status.and_then(|status| status.signal());
    assert_eq!(signal, Some(9), "{failpoint}: {status:?}\n{}", daemon.log());
}

/// Whatever happened to the site, it starts and keeps an event.
fn works(installed: &Installed, what: &str) {
    let event = Event { account: 0, n: 0 };
    for _ in 0..2 {
        let (mut daemon, address) = installed.start();
        post(address, event);
        daemon.kill();
    }
    let (_daemon, _) = installed.start();
    assert_eq!(lease_all(installed), [event.key()], "{what}");
}

pub(super) fn post(address: std::net::SocketAddr, event: Event) {
    assert_eq!(try_post(address, event), Some(200));
}

fn try_post(address: std::net::SocketAddr, event: Event) -> Option<u16> {
    let mut client = Client::tcp(address).ok()?;
    let answer = client.send("POST", "/webhooks/ring", &event.signature(), event.body().as_bytes());
    Some(answer.ok()?.0)
}

pub(super) fn call(installed: &Installed, method: &str, path: &str, body: &str) -> Value {
    let (status, answer) = try_call(installed, method, path, body).unwrap();
    assert_eq!(status, 200, "{method} {path}: {answer}");
    answer
}

fn try_call(installed: &Installed, method: &str, path: &str, body: &str) -> std::io::Result<(u16, Value)> {
    let mut client = Client::unix(&installed.socket())?;
    let (status, text) = client.send(method, path, "Content-Type: application/json\r\n", body.as_bytes())?;
    Ok((status, serde_json::from_slice(&text).unwrap()))
}

/// The keys of all that can be leased.
fn lease_all(installed: &Installed) -> Vec<String> {
    let request = json!({"max": 1000, "max_bytes": 8 << 20, "visibility_ms": 600_000}).to_string();
    let leased = call(installed, "POST", "/v1/queues/all/lease", &request);
    let events = leased["events"].as_array().unwrap().iter();
    events.map(|event| event["event"]["id"].as_str().unwrap().to_owned()).collect()
}

/// How often each key is in the dead letters.
fn dead_letters(installed: &Installed) -> BTreeMap<String, u32> {
    let mut letters = BTreeMap::new();
    let mut after = String::new();
    loop {
        let page = call(installed, "GET", &format!("/v1/dead-letters?class=dead{after}"), "");
        for letter in page["letters"].as_array().unwrap() {
            *letters.entry(letter["key"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return letters,
        }
    }
}
