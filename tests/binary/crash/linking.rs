//! Links that are cut off: the process dies at each step from Ring's code to Ring's confirmation, and the next start goes on.

use std::os::unix::process::ExitStatusExt;
use std::thread::sleep;
use std::time::Duration;

use ringhookd::clock;
use ringhookd::sim::{LinkState, Options, Place, Ring, Visit};
use serde_json::{Value, json};

use super::daemon::{Daemon, Installed};
use super::points::{CLAIMING, CODES, DISCONNECTING};
use crate::support::configuration::KEY;
use crate::support::http::Client;

const A: &str = "ava1.ring.account.A";
const PATIENCE: Duration = Duration::from_mins(1);

/// A daemon's site before a simulated Ring.
struct Scene {
    installed: Installed,
    ring: Ring,
}

impl Scene {
    fn new() -> Self {
        let ring = Ring::start(Options { hmac_key: KEY.into(), ..Options::default() }).unwrap();
        let installed = Installed::before(&ring, "");
        Self { installed, ring }
    }

    /// Starts one that dies at `point`, lets `act` bring it there, and starts the next.
    fn cut_off_at(&self, point: &str, act: impl FnOnce(&Self, &mut Daemon, std::net::SocketAddr)) -> Daemon {
        let mut daemon = self.installed.spawn(Some(&format!("{point}:kill")));
        let Some(address) = self.installed.ready(&mut daemon) else { panic!("{point}: {}", daemon.log()) };
        act(self, &mut daemon, address);
        let status = daemon.wait(PATIENCE).unwrap_or_else(|| panic!("{point}: {}", daemon.log()));
        assert_eq!(status.signal(), Some(9), "{point}: {}", daemon.log());
        self.installed.start().0
    }

    /// The daemon may die before it has answered.
    fn bring(address: std::net::SocketAddr, code: &str) -> Option<u16> {
        let headers = "Content-Type: application/x-www-form-urlencoded\r\n";
        let body = format!("code={code}");
        let sent =
            Client::tcp(address).and_then(|mut c| c.send("POST", "/ring/token", headers, body.as_bytes()));
        sent.ok().map(|(status, _)| status)
    }

    fn call(&self, method: &str, path: &str, body: &str) -> std::io::Result<(u16, Value)> {
        let mut client = Client::unix(&self.installed.socket())?;
        let (status, text) = client.send(method, path, "", body.as_bytes())?;
        Ok((status, serde_json::from_slice(&text).unwrap_or_default()))
    }

    fn claim(&self, visit: &Visit, user: &str) -> std::io::Result<Value> {
        let claim = json!({ "nonce": visit.nonce, "time": visit.time, "user": user });
        Ok(self.call("POST", "/v1/claims", &claim.to_string())?.1["outcome"].take())
    }

    fn show(&self) -> Value {
        self.call("GET", &format!("/v1/accounts/{A}"), "").unwrap().1
    }

    fn metrics(&self) -> String {
        let mut client = Client::unix(&self.installed.socket()).unwrap();
        String::from_utf8(client.send("GET", "/v1/metrics", "", b"").unwrap().1).unwrap()
    }

    fn soon(&self, what: &str, daemon: &Daemon, is_so: impl Fn(&Self) -> bool) {
        let deadline = clock::instant() + PATIENCE;
        while !is_so(self) {
            assert!(clock::instant() < deadline, "not so: {what}: {}", daemon.log());
            sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn a_code_that_was_cut_off_anywhere_is_exchanged_or_said_to_be_lost() {
    for point in CODES {
        let scene = Scene::new();
        let code = scene.ring.new_code(A);
        let bring = |_: &Scene, _: &mut Daemon, address| {
            // Once it has its 200, it is on disk.
            let answered = Scene::bring(address, &code);
            assert!(matches!(answered, None | Some(200)), "{point}: {answered:?}");
        };
        let daemon = scene.cut_off_at(point, bring);
        // What OAuth gave was in the process's memory alone, and a code is good once.
        if *point == "code.answered" {
            scene.soon("the code is lost", &daemon, |scene| {
                scene.metrics().contains("ringhookd_codes_total{outcome=\"lost\"} 1\n")
            });
            assert_eq!(scene.call("GET", &format!("/v1/accounts/{A}"), "").unwrap().0, 404);
            assert_eq!(scene.ring.requests(Place::OAuth), 2, "{point}: one retry");
            continue;
        }
        scene.soon("the account has come", &daemon, |scene| scene.show()["has_tokens"] == true);
        let shown = scene.show();
        assert!(shown["state"] == "unclaimed" && shown["user"].is_null(), "{point}: {shown}");
        let visit = scene.ring.visit(A).unwrap();
        assert_eq!(scene.claim(&visit, "ann").unwrap(), "linked", "{point}: {}", daemon.log());
        assert_eq!(scene.ring.counts(A).granted, 1, "{point}");
    }
}

#[test]
fn a_claim_that_was_cut_off_anywhere_goes_on_by_itself() {
    for point in CLAIMING {
        let scene = Scene::new();
        let code = scene.ring.new_code(A);
        let claim = |scene: &Scene, daemon: &mut Daemon, address| {
            assert_eq!(Scene::bring(address, &code), Some(200));
            scene.soon("the account has come", daemon, |scene| scene.show()["has_tokens"] == true);
            let visit = scene.ring.visit(A).unwrap();
            assert!(scene.claim(&visit, "ann").is_err(), "{point}");
        };
        let daemon = scene.cut_off_at(point, claim);
        scene.soon("the link is complete", &daemon, |scene| scene.show()["state"] == "linked");
        assert_eq!(scene.show()["user"], "ann", "{point}");
        assert_eq!(scene.ring.link_state(A), Some(LinkState::Completed), "{point}");
        // Wherever it died, the user was mailed once.
        assert_eq!(scene.ring.mails(A), 1, "{point}");
    }
}

#[test]
fn an_account_whose_disconnection_was_cut_off_is_whole_says_so_and_is_disconnected_by_the_same_call() {
    for point in DISCONNECTING {
        let scene = Scene::new();
        let code = scene.ring.new_code(A);
        let disconnect = format!("/v1/accounts/{A}/disconnect");
        let cut_off = |scene: &Scene, daemon: &mut Daemon, address| {
            assert_eq!(Scene::bring(address, &code), Some(200));
            scene.soon("the account has come", daemon, |scene| scene.show()["has_tokens"] == true);
            assert_eq!(scene.claim(&scene.ring.visit(A).unwrap(), "ann").unwrap(), "linked", "{point}");
            assert!(scene.call("POST", &disconnect, "").is_err(), "{point}");
        };
        let daemon = scene.cut_off_at(point, cut_off);
        let shown = scene.show();
        assert!(shown["state"] == "linked" && shown["has_tokens"] == true, "{point}: {shown}");
        assert!(shown["disconnecting_since"].is_string(), "{point}: {shown}");
        let (status, receipt) = scene.call("POST", &disconnect, "").unwrap();
        assert_eq!(
            (status, &receipt["ring"]),
            (200, &json!("paused")),
            "{point}: {receipt} {}",
            daemon.log()
        );
        assert_eq!(scene.ring.link_state(A), Some(LinkState::Awaiting), "{point}");
        assert_eq!(scene.call("GET", &format!("/v1/accounts/{A}"), "").unwrap().0, 404, "{point}");
    }
}
