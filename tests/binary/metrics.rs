//! `[metrics] listen`: metrics and probes for monitoring, and nothing else, on an address of their own.

use std::fs;
use std::net::SocketAddr;

use crate::support::configuration::{Configuration, KEY, OPEN_QUEUE, SOCKET, signature};
use crate::support::http::{Answer, exchange, request};
use crate::support::installation::soon;
use crate::support::process::{Running, run};

fn get(address: SocketAddr, path: &str) -> Answer {
    exchange(address, &request("GET", path, "", ""))
}

fn configuration(address: impl std::fmt::Display) -> Configuration {
    let section = format!("[metrics]\nlisten = \"{address}\"\n");
    Configuration::of(OPEN_QUEUE).with(SOCKET).with(&section)
}

#[test]
fn metrics_and_probes_are_served_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Running::start(&configuration("127.0.0.1:0").write(dir.path()));
    let address = daemon.address_of("metrics and probes listen");
    let body = br#"{"meta":{"request_id":"1","account_id":"the-account"},"data":{"type":"button_press"}}"#;
    assert_eq!(daemon.post(&signature(body), body), 200);
    let metrics = get(address, "/metrics");
    assert_eq!(metrics.status(), 200);
    for line in [
        "ringhookd_webhooks_total{verdict=\"accepted\"} 1\n",
        "ringhookd_answer_duration_seconds_count 1\n",
        "ringhookd_queue_waiting_events{queue=\"all\"} 1\n",
        "ringhookd_queue_stalled{queue=\"all\"} 0\n",
        "ringhookd_problems{name=\"dead_letters\"} 0\n",
        "ringhookd_http_connections{listener=\"metrics\"} 1\n",
        concat!("ringhookd_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1\n"),
    ] {
        assert!(metrics.body().contains(line), "{line} in {}", metrics.body());
    }
    for secret in [KEY, "the-account"] {
        assert!(!metrics.body().contains(secret), "{secret}");
    }
    let size = metrics
        .body()
        .lines()
        .find_map(|line| line.strip_prefix("ringhookd_queue_waiting_bytes{queue=\"all\"} "));
    assert!(size.unwrap().parse::<u64>().unwrap() > 0);
    assert_eq!((get(address, "/livez").status(), get(address, "/readyz").status()), (200, 200));
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/v1/metrics"),
        ("GET", "/v1/status"),
        ("GET", "/metrics/"),
        ("GET", "/webhooks/ring"),
        ("POST", "/metrics"),
        ("POST", "/webhooks/ring"),
        ("DELETE", "/livez"),
    ] {
        assert_eq!(exchange(address, &request(method, path, "", "")).status(), 404, "{method} {path}");
    }
    let status = run(&["status", "--socket", dir.path().join("admin.sock").to_str().unwrap()], b"");
    assert!(status.status.success(), "a POST here is none that Ring has lost");
    // It is bound before the store is opened, as all listeners are.
    let other = tempfile::tempdir().unwrap();
    let taken =
        run(&["serve", "--config", configuration(address).write(other.path()).to_str().unwrap()], b"");
    let said = String::from_utf8(taken.stderr).unwrap();
    assert_eq!(taken.status.code(), Some(1), "{said}");
    assert!(
        said.contains(&format!("[metrics] listen = \\\"{address}\\\""))
            || said.contains(&format!("[metrics] listen = \"{address}\"")),
        "{said}"
    );
    assert!(!other.path().join("data/store.redb").exists());
    assert!(daemon.stop().0.success());
}

#[test]
fn a_daemon_that_can_keep_nothing_lives_and_is_not_ready() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Running::start(&configuration("127.0.0.1:0").write(dir.path()));
    let address = daemon.address_of("metrics and probes listen");
    let (file, away) = (dir.path().join("data/store.redb"), dir.path().join("away"));
    fs::rename(&file, &away).unwrap();
    soon("it is noticed", || get(address, "/readyz").status() == 503);
    assert_eq!(get(address, "/readyz").body(), "the store can't be read or written\n");
    assert_eq!(get(address, "/livez").status(), 200);
    assert!(get(address, "/metrics").body().contains("ringhookd_problems{name=\"store_failing\"} 1\n"));
    let status = run(&["status", "--socket", dir.path().join("admin.sock").to_str().unwrap()], b"");
    let said = String::from_utf8(status.stdout).unwrap();
    assert!(status.status.code() == Some(3) && said.starts_with("store_failing: "), "{said}");
    assert!(said.lines().next().unwrap().contains("put it back"), "{said}");
    fs::rename(&away, &file).unwrap();
    soon("it goes on", || get(address, "/readyz").status() == 200);
}

#[test]
fn check_names_an_address_that_is_none() {
    let dir = tempfile::tempdir().unwrap();
    // 192.0.2.0/24 is no network anywhere.
    for (address, hint) in [
        ("localhost:9464", "not an IP address with a port"),
        ("9464", "not an IP address with a port"),
        ("192.0.2.1:9464", "can't be listened on"),
    ] {
        let config = configuration(address).write(dir.path());
        let check = run(&["check", "--config", config.to_str().unwrap()], b"");
        let said = String::from_utf8(check.stdout).unwrap();
        let named =
            |line: &str| line.contains("metrics.listen") && line.contains(address) && line.contains(hint);
        assert!(check.status.code() == Some(1) && said.lines().any(named), "{address}: {said}");
    }
}
