//! The client at Ring, its secret in a file, the pace of refreshes and the clock of visits change by a reload.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use ringhookd::clock;
use ringhookd::sim::{Options, Ring};
use serde_json::{Value, json};

use crate::support::http::request;
use crate::support::installation::{Installation, soon};

const WRONG: &str = "wrong";

/// Its secret is in a file.
fn installation() -> Installation {
    let installation = Installation::new(Ring::start(Options::default()).unwrap(), "");
    configure(&installation, "");
    keep(&installation, &installation.ring().client().secret);
    installation
}

fn configure(installation: &Installation, sections: &str) {
    installation.configure(WRONG, sections);
    let (file, config) = (installation.path("secret"), installation.path("config.toml"));
    let text = fs::read_to_string(&config).unwrap();
    let in_file = format!("client_secret_file = \"{}\"", file.display());
    fs::write(config, text.replace(&format!("client_secret = \"{WRONG}\""), &in_file)).unwrap();
}

fn keep(installation: &Installation, secret: &str) {
    fs::write(installation.path("secret"), secret).unwrap();
    fs::set_permissions(installation.path("secret"), Permissions::from_mode(0o600)).unwrap();
}

fn reload(installation: &Installation) -> String {
    let ran = installation.run(&["reload"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    ran.out
}

/// Milliseconds until the account's next refresh.
fn until_next(installation: &Installation) -> i64 {
    let account = installation.json(&["accounts", "show", "A"]);
    let at: jiff::Timestamp =
        account["next_try_at"].as_str().unwrap_or_else(|| panic!("{account}")).parse().unwrap();
    at.as_millisecond() - i64::try_from(clock::now().0).unwrap()
}

#[test]
fn a_secret_that_was_wrong_is_put_right_and_nobody_waits_for_the_pause() {
    let installation = installation();
    keep(&installation, WRONG);
    let given = installation.ring().add_account("A");
    let daemon = installation.serve();
    installation.imported(&json!({"account_id": "A", "user": "ann", "refresh_token": given.refresh}));
    soon("it halts", || installation.problems().first().is_some_and(|name| name == "client_refused"));
    keep(&installation, &installation.ring().client().secret);
    assert_eq!(reload(&installation), "ring.client_secret_file has changed in its file\n");
    // The pause is longer than that.
    soon("it is refreshed", || installation.lend("A", &[]).code == 0);
    assert!(!installation.problems().iter().any(|name| name == "client_refused"));
    let (_, _, log) = daemon.stop();
    assert!(!String::from_utf8_lossy(&log).contains(&installation.ring().client().secret));
}

#[test]
fn a_code_that_is_tried_again_is_sent_with_the_secret_that_was_put_right() {
    let installation = installation();
    keep(&installation, WRONG);
    installation.ring().add_account("A");
    let code = installation.ring().new_code("A");
    let daemon = installation.serve();
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    assert_eq!(daemon.send(&request("POST", "/ring/token", form, format!("code={code}"))), 200);
    daemon.wait_for(|log| log.contains("a code is not exchanged yet").then_some(()));
    keep(&installation, &installation.ring().client().secret);
    assert_eq!(reload(&installation), "ring.client_secret_file has changed in its file\n");
    soon("it is exchanged", || installation.run(&["accounts", "show", "A"]).code == 0);
    assert!(daemon.stop().0.success());
}

#[test]
fn tokens_and_visits_go_by_the_settings_that_hold_now() {
    const HOUR: i64 = 3_600_000;
    let installation = installation();
    let given = installation.ring().add_account("A");
    let daemon = installation.serve();
    installation.imported(&json!({"account_id": "A", "user": "ann", "refresh_token": given.refresh}));
    soon("it is refreshed", || installation.lend("A", &[]).code == 0);
    assert!(until_next(&installation) > 12 * HOUR, "once a day");
    // Ring has told the time, so a visit of a later one is refused.
    let visit = || {
        let time = (clock::now().0 + 150_000).to_string();
        let claim = json!({"nonce": "A".repeat(43), "time": time, "user": "ann"});
        let (_, told) = installation.call("admin.sock", "POST", "/v1/claims", &claim.to_string());
        let told: Value = serde_json::from_str(&told).unwrap();
        told["outcome"].as_str().unwrap_or_else(|| panic!("{told}")).to_owned()
    };
    assert_eq!(visit(), "expired");
    configure(&installation, "[tokens]\nrefresh = \"6h\"\n[linking]\nclock_skew = \"5m\"\n");
    assert_eq!(reload(&installation), "linking.clock_skew has changed\ntokens.refresh has changed\n");
    assert!(until_next(&installation) <= 6 * HOUR);
    assert_ne!(visit(), "expired");
    // Without [ring] nothing is refreshed, and with it all goes on.
    let with_ring = fs::read_to_string(installation.path("config.toml")).unwrap();
    let (before, after) = with_ring.split_once("[ring]").unwrap();
    let (_, after) = after.split_once("[[").unwrap();
    fs::write(installation.path("config.toml"), format!("{before}[[{after}")).unwrap();
    reload(&installation);
    let is_off = || installation.problems().iter().any(|name| name == "refresh_off");
    assert!(is_off());
    fs::write(installation.path("config.toml"), with_ring).unwrap();
    reload(&installation);
    assert!(!is_off());
    assert_eq!(installation.lend("A", &[]).code, 0);
    assert!(daemon.stop().0.success());
}
