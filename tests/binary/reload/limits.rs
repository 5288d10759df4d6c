//! The limits and the paths of the public address change by a reload, for the next connection and the next request.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use super::PATIENCE;
use super::installed::{Installed, body, post};
use crate::support::configuration::{KEY, OPEN_QUEUE, signature};
use crate::support::http::{exchange, request};
use crate::support::process::Running;

fn get(at: SocketAddr, path: &str) -> String {
    exchange(at, &request("GET", path, "", "")).0
}

/// A signed webhook with so many headers more.
fn with_headers(daemon: &Running, id: &str, headers: usize) -> u16 {
    let body = body(id, "a", "motion_detected");
    let more: Vec<String> = (0..headers).map(|n| format!("X-{n}: x\r\n")).collect();
    daemon.post(&(signature(&body) + &more.concat()), &body)
}

/// One that is so large.
fn with_bytes(daemon: &Running, id: &str, bytes: usize) -> u16 {
    let mut body = body(id, "a", "motion_detected");
    body.resize(bytes, b' ');
    post(daemon, KEY, &body)
}

#[test]
fn limits_hold_for_the_next_connection_and_the_next_request() {
    let installed = Installed::new("");
    let configure = |http: &str, max_body: &str| {
        let (http, webhook) =
            (format!("[http]\n{http}\n"), format!("[webhook]\nmax_body = \"{max_body}\"\n"));
        installed.configure(&format!("{OPEN_QUEUE}{http}{webhook}"));
    };
    configure("max_headers = 16\nkeep_alive_idle = \"1h\"", "64 KiB");
    let daemon = installed.start();
    assert_eq!((with_headers(&daemon, "1", 0), with_headers(&daemon, "2", 50)), (200, 431));
    assert_eq!(with_bytes(&daemon, "3", 100 << 10), 413);
    configure("max_headers = 90\nkeep_alive_idle = \"50ms\"", "1 MiB");
    let told = installed.reload();
    let keys = ["http.keep_alive_idle", "http.max_headers", "webhook.max_body"];
    assert_eq!(told, keys.map(|key| format!("{key} has changed\n")).concat());
    assert_eq!((with_headers(&daemon, "2", 50), with_bytes(&daemon, "3", 100 << 10)), (200, 200));
    // With the hour of before, nobody would close it here.
    let mut stream = TcpStream::connect(daemon.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    assert_eq!(installed.drain("all"), ["1", "2", "3"]);
    assert!(daemon.stop().0.success());
}

#[test]
fn paths_and_the_page_to_sign_in_hold_for_the_next_request() {
    let installed = Installed::new(OPEN_QUEUE);
    let daemon = installed.start();
    let at = |path: &str, id: &str| {
        let body = body(id, "a", "motion_detected");
        daemon.send(&request("POST", path, &signature(&body), &body))
    };
    let link = format!("/ring/link?nonce={}&time=1", "A".repeat(43));
    let code = |path: &str| exchange(daemon.address(), &request("POST", path, "", "")).status();
    assert_eq!((at("/webhooks/ring", "1"), at("/elsewhere", "2")), (200, 404));
    assert_eq!((code("/ring/token"), code("/other/token")), (400, 404));
    assert!(get(daemon.address(), &link).starts_with("HTTP/1.1 404"));
    let sections = "[webhook]\npath = \"/elsewhere\"\n[linking]\ncode_path = \"/other/token\"\n\
                    sign_in_url = \"https://example.com/sign-in\"\n";
    installed.configure(&format!("{OPEN_QUEUE}{sections}"));
    installed.reload();
    assert_eq!((at("/webhooks/ring", "3"), at("/elsewhere", "4")), (404, 200));
    assert_eq!((code("/ring/token"), code("/other/token")), (404, 400));
    let led_on = get(daemon.address(), &link).to_lowercase();
    assert!(
        led_on.starts_with("http/1.1 303") && led_on.contains("location: https://example.com/sign-in?"),
        "{led_on}"
    );
    installed.configure(OPEN_QUEUE);
    installed.reload();
    assert!(get(daemon.address(), &link).starts_with("HTTP/1.1 404"));
    assert_eq!(
        (at("/webhooks/ring", "5"), installed.drain("all")),
        (200, vec!["1".into(), "4".into(), "5".into()])
    );
    assert!(daemon.stop().0.success());
}
