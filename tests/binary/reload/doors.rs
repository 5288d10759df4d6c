//! Sockets and addresses come and go by a reload: each new one is bound before anything changes, and one that goes leaves nothing behind.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::{Value, json};

use super::PATIENCE;
use super::installed::{Installed, body, post, webhook};
use crate::support::configuration::{KEY, OPEN_QUEUE};
use crate::support::http::{Client, exchange, request};
use crate::support::process::Running;

const TOKEN: &str = "a-made-up-token-for-the-address-of-the-api";

fn with(lines: &str) -> String {
    format!("{OPEN_QUEUE}[[socket]]\npath = \"FOLDER/more.sock\"\n{lines}\n")
}

fn named(installed: &Installed, words: &str) -> String {
    format!("socket \"{}\"{words}\n", installed.path("more.sock").display())
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Where the privacy sheet says that data may be read.
fn readers(installed: &Installed) -> Vec<(String, Value)> {
    let (_, sheet) = installed.call("GET", "/v1/privacy", "");
    let readers = sheet["readers"].as_array().unwrap_or_else(|| panic!("{sheet}")).iter();
    readers.map(|reader| (reader["place"].as_str().unwrap().to_owned(), reader["rights"].clone())).collect()
}

/// The address that a line of the log names after those words, in the part of the log that is not `known`.
fn address(daemon: &Running, known: usize, words: &str) -> SocketAddr {
    daemon.wait_for(|log| {
        let line = log.lines().filter(|line| line.contains(words)).nth(known)?;
        let at = line.find("127.0.0.1:")?;
        let end = line[at + 10..].find(|c: char| !c.is_ascii_digit()).map_or(line.len(), |end| at + 10 + end);
        line[at..end].parse().ok()
    })
}

fn newest_act(installed: &Installed) -> Value {
    let (_, audit) = installed.call("GET", "/v1/audit?limit=1", "");
    audit["acts"][0].clone()
}

#[test]
fn a_socket_comes_with_its_rights_gets_another_mode_and_goes_with_its_file() {
    let installed = Installed::new(OPEN_QUEUE);
    let daemon = installed.start();
    let path = installed.path("more.sock");
    installed.configure(&with("calls = [\"status\"]"));
    assert_eq!(installed.reload(), named(&installed, " is new"));
    assert_eq!(mode(&path), 0o600);
    let status = |path: &str| installed.call_on("more.sock", "GET", path, "").0;
    assert_eq!((status("/v1/status"), status("/v1/accounts")), (200, 403));
    let place = path.display().to_string();
    assert!(readers(&installed).contains(&(place.clone(), json!(["status"]))), "{:?}", readers(&installed));
    // Its rights, as those of any other.
    installed.configure(&with("calls = [\"accounts.read\"]"));
    assert_eq!(installed.reload(), named(&installed, ".calls has changed"));
    assert_eq!((status("/v1/status"), status("/v1/accounts")), (403, 200));
    assert!(readers(&installed).contains(&(place.clone(), json!(["accounts.read"]))));
    // Another file takes the place of the first, and the connection of before has no rights left.
    let mut open = Client::unix(&path).unwrap();
    assert_eq!(open.send("GET", "/v1/accounts", "", b"").unwrap().0, 200);
    installed.configure(&with("calls = [\"accounts.read\"]\nmode = \"0644\""));
    assert_eq!(installed.reload(), named(&installed, ".mode has changed"));
    assert_eq!((mode(&path), status("/v1/accounts")), (0o644, 200));
    assert!(open.send("GET", "/v1/accounts", "", b"").map_or(true, |(status, _)| status == 403));
    installed.configure(OPEN_QUEUE);
    assert_eq!(installed.reload(), named(&installed, " is taken out"));
    assert!(!path.exists() && Client::unix(&path).is_err());
    assert!(readers(&installed).iter().all(|(reader, _)| *reader != place));
    // It comes back on the same path.
    installed.configure(&with(""));
    installed.reload();
    assert_eq!(status("/v1/status"), 200);
    assert!(daemon.stop().0.success());
    assert!(!path.exists() && !installed.path("admin.sock").exists(), "none is left behind");
}

#[test]
fn an_address_that_is_taken_refuses_the_reload_as_a_whole() {
    let installed = Installed::new(OPEN_QUEUE);
    let daemon = installed.start();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = taken.local_addr().unwrap();
    let more = "[[queue]]\nname = \"more\"\nkind = \"embedded\"\n";
    installed.configure(&with(&format!("{more}[metrics]\nlisten = \"{at}\"")));
    let ran = installed.run(&["reload"]);
    assert!(ran.code == 1 && ran.err.contains(&format!("[metrics] listen = \"{at}\"")), "{ran:?}");
    assert_eq!(installed.queue_names(), ["all"], "nothing of it is in force");
    assert!(!installed.path("more.sock").exists(), "the socket that could be bound is gone again");
    assert_eq!(installed.problems(), ["configuration_refused"]);
    // The same of a path on which somebody else answers.
    let _other = std::os::unix::net::UnixListener::bind(installed.path("more.sock")).unwrap();
    installed.configure(&with(more));
    let ran = installed.run(&["reload"]);
    assert!(ran.code == 1 && ran.err.contains("more.sock: somebody answers on it"), "{ran:?}");
    assert_eq!(installed.queue_names(), ["all"]);
    drop(taken);
    std::fs::remove_file(installed.path("more.sock")).unwrap();
    let out = installed.reload();
    assert!(out.contains("queue \"more\" is new") && out.contains("more.sock\" is new"), "{out}");
    assert!(daemon.stop().0.success());
}

#[test]
fn addresses_of_the_api_and_of_metrics_open_move_and_close() {
    let installed = Installed::new(OPEN_QUEUE);
    let token = installed.path("token");
    std::fs::write(&token, TOKEN).unwrap();
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600)).unwrap();
    let daemon = installed.start();
    let get = |at: SocketAddr, path: &str, headers: &str| {
        let mut client = Client::tcp(at).ok()?;
        client.send("GET", path, headers, b"").ok().map(|(status, _)| status)
    };
    let metrics = "[metrics]\nlisten = \"127.0.0.1:0\"\n";
    installed.configure(&format!("{OPEN_QUEUE}{metrics}"));
    assert_eq!(installed.reload(), "metrics.listen has changed\n");
    let first = address(&daemon, 0, "metrics and probes listen");
    assert_eq!((get(first, "/readyz", ""), get(first, "/v1/status", "")), (Some(200), Some(404)));
    let api = format!(
        "[[socket]]\nlisten = \"127.0.0.1:0\"\ntoken_file = \"{}\"\ncalls = [\"status\"]\n",
        token.display()
    );
    installed.configure(&format!("{OPEN_QUEUE}{metrics}{api}"));
    assert_eq!(installed.reload(), "socket \"127.0.0.1:0\" is new\n");
    let second = address(&daemon, 0, "the admin API listens");
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    assert_eq!(
        (
            get(second, "/v1/status", &bearer),
            get(second, "/v1/accounts", &bearer),
            get(second, "/v1/status", "")
        ),
        (Some(200), Some(403), Some(401))
    );
    // A call without the token is counted, and in the audit.
    let audit = newest_act(&installed);
    assert_eq!(audit["act"], "refused", "{audit}");
    assert_eq!(audit["by"]["socket"], second.to_string(), "{audit}");
    assert!(audit["detail"].as_str().unwrap().contains("without the token"), "{audit}");
    let metrics_now = exchange(first, &request("GET", "/metrics", "", "")).0;
    assert!(metrics_now.contains("\nringhookd_unknown_callers_total 1\n"), "{metrics_now}");
    assert_eq!(get(first, "/readyz", ""), Some(200), "it stayed");
    installed.configure(&format!("{OPEN_QUEUE}{}", metrics.replace("127.0.0.1", "127.0.0.2")));
    let out = installed.reload();
    assert!(
        out.contains("metrics.listen has changed") && out.contains("socket \"127.0.0.1:0\" is taken out"),
        "{out}"
    );
    // Another process may have got the port since.
    assert_ne!(get(first, "/readyz", ""), Some(200), "it has moved");
    assert_ne!(get(second, "/v1/status", &bearer), Some(200), "it is closed");
    daemon.wait_for(|log| log.contains("127.0.0.2:").then_some(()));
    assert!(daemon.stop().0.success());
}

#[test]
fn a_token_that_is_replaced_ends_the_calls_that_wait() {
    let installed = Installed::new(OPEN_QUEUE);
    let token = installed.path("token");
    let keep = |text: &str| {
        std::fs::write(&token, text).unwrap();
        std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600)).unwrap();
    };
    keep(TOKEN);
    let api = format!(
        "[[socket]]\nlisten = \"127.0.0.1:0\"\ntoken_file = \"{}\"\ncalls = [\"queue.tail\"]\n",
        token.display()
    );
    installed.configure(&format!("{OPEN_QUEUE}{api}"));
    let daemon = installed.start();
    let at = address(&daemon, 0, "the admin API listens");
    let mut tail = std::net::TcpStream::connect(at).unwrap();
    tail.set_read_timeout(Some(PATIENCE)).unwrap();
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    tail.write_all(&request("GET", "/v1/queues/all/tail", &bearer, "")).unwrap();
    let mut head = [0; 15];
    tail.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK");
    keep(&TOKEN.replace('a', "b").to_uppercase());
    assert_eq!(installed.reload(), "socket \"127.0.0.1:0\".token_file has changed in its file\n");
    let mut rest = String::new();
    tail.read_to_string(&mut rest).unwrap();
    let status = Client::tcp(at).unwrap().send("GET", "/v1/queues/all/tail", &bearer, b"").unwrap().0;
    assert_eq!(status, 401);
    assert!(daemon.stop().0.success());
}

#[test]
fn what_is_under_way_on_a_socket_that_goes_ends_decently_and_its_leases_cost_no_attempt() {
    let installed = Installed::new(&with(""));
    let daemon = installed.start();
    webhook(&daemon, "1", "motion_detected");
    let lease = |socket: &str, wait: u32| {
        let wish = json!({"max": 9, "wait_ms": wait, "visibility_ms": 3_600_000}).to_string();
        installed.call_on(socket, "POST", "/v1/queues/all/lease", &wish)
    };
    let (status, leased) = lease("more.sock", 0);
    assert_eq!((status, &leased["events"][0]["attempt"]), (200, &json!(1)), "{leased}");
    let mut waits = Client::unix(&installed.path("more.sock")).unwrap();
    std::thread::scope(|threads| {
        let waiting = threads.spawn(move || {
            let wish = json!({"max": 9, "wait_ms": 60_000}).to_string();
            waits.send("POST", "/v1/queues/all/lease", "", wish.as_bytes())
        });
        installed.configure(OPEN_QUEUE);
        installed.reload();
        // It may have come too late to be answered, or to be allowed.
        if let Ok((status, answer)) = waiting.join().unwrap() {
            let answer: Value = serde_json::from_slice(&answer).unwrap();
            assert!(status == 403 || status == 200 && answer["lease"].is_null(), "{status}: {answer}");
        }
    });
    // Its hour has not run out.
    let (status, again) = lease("admin.sock", 0);
    assert_eq!((status, &again["events"][0]["attempt"]), (200, &json!(1)), "{again}");
    assert_eq!(post(&daemon, KEY, &body("2", "b", "motion_detected")), 200);
    assert!(daemon.stop().0.success());
}
