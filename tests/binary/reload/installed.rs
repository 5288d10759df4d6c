//! A daemon whose configuration is written anew while it runs, and what a reload, `status` and a consumer say of it.

use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::configuration::{Configuration, KEY, SOCKET};
use crate::support::http::Client;
use crate::support::installation::Ran;
use crate::support::process::{Running, run};
use ringhookd::domain::signature::sign;

pub(super) struct Installed(TempDir);

impl Installed {
    pub(super) fn new(sections: &str) -> Self {
        let installed = Self(tempfile::tempdir().unwrap());
        installed.configure(sections);
        installed
    }

    fn configuration(sections: &str) -> Configuration {
        Configuration::of(sections).with(SOCKET)
    }

    pub(super) fn configure(&self, sections: &str) {
        Self::configuration(sections).write(self.0.path());
    }

    /// What [`Self::configure`] would write.
    pub(super) fn text(&self, sections: &str) -> String {
        Self::configuration(sections).text(self.0.path())
    }

    /// With these keys in place of the one.
    pub(super) fn configure_keys(&self, sections: &str, keys: &[&str]) {
        let text = self.text(sections).replace(&format!("[\"{KEY}\"]"), &format!("{keys:?}"));
        std::fs::write(self.config(), text).unwrap();
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(super) fn config(&self) -> PathBuf {
        self.path("config.toml")
    }

    pub(super) fn start(&self) -> Running {
        Running::start(&self.config())
    }

    pub(super) fn run(&self, args: &[&str]) -> Ran {
        let socket = self.path("admin.sock");
        Ran::of(run(&[&["--socket", socket.to_str().unwrap()], args].concat(), b""))
    }

    /// Exit code and output of a reload.
    pub(super) fn reloaded(&self) -> (i32, String) {
        let ran = self.run(&["reload"]);
        assert_eq!(ran.err, "", "{ran:?}");
        (ran.code, ran.out)
    }

    /// A reload that leaves nothing to be done.
    pub(super) fn reload(&self) -> String {
        let (code, out) = self.reloaded();
        assert_eq!(code, 0, "{out}");
        out
    }

    pub(super) fn call(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        self.call_on("admin.sock", method, path, body)
    }

    pub(super) fn call_on(&self, socket: &str, method: &str, path: &str, body: &str) -> (u16, Value) {
        let mut client = Client::unix(&self.path(socket)).unwrap();
        let (status, answer) = client.send(method, path, "", body.as_bytes()).unwrap();
        (status, serde_json::from_slice(&answer).unwrap())
    }

    pub(super) fn report(&self) -> Value {
        self.call("GET", "/v1/status", "").1
    }

    pub(super) fn problems(&self) -> Vec<String> {
        let report = self.report();
        let problems = report["problems"].as_array().unwrap();
        problems.iter().map(|problem| problem["name"].as_str().unwrap().to_owned()).collect()
    }

    /// What `status` says of a queue.
    pub(super) fn queue(&self, name: &str) -> Value {
        let report = self.report();
        report["queues"].as_array().unwrap().iter().find(|queue| queue["name"] == name).unwrap().clone()
    }

    pub(super) fn queue_names(&self) -> Vec<String> {
        let report = self.report();
        let queues = report["queues"].as_array().unwrap().iter();
        queues.map(|queue| queue["name"].as_str().unwrap().to_owned()).collect()
    }

    /// The ids of all that can be had from a queue, which is acknowledged.
    pub(super) fn drain(&self, queue: &str) -> Vec<String> {
        let mut ids = Vec::new();
        loop {
            let body = json!({"max": 1000, "max_bytes": 8 << 20}).to_string();
            let (_, leased) = self.call("POST", &format!("/v1/queues/{queue}/lease"), &body);
            let events = leased["events"].as_array().unwrap_or_else(|| panic!("{leased}")).clone();
            if events.is_empty() {
                return ids;
            }
            ids.extend(events.iter().map(|event| event["event"]["id"].as_str().unwrap().to_owned()));
            let acks: Vec<&Value> = events.iter().map(|event| &event["seq"]).collect();
            let settled = json!({"lease": leased["lease"], "ack": acks}).to_string();
            let (status, answer) = self.call("POST", &format!("/v1/queues/{queue}/settle"), &settled);
            assert_eq!(status, 200, "{answer}");
        }
    }
}

/// A webhook's body.
pub(super) fn body(id: &str, account: &str, kind: &str) -> Vec<u8> {
    let event = json!({"meta": {"request_id": id, "account_id": account}, "data": {"type": kind}});
    event.to_string().into_bytes()
}

/// The status of the answer to a webhook that is signed with `key`.
pub(super) fn post(daemon: &Running, key: &str, body: &[u8]) -> u16 {
    daemon.post(&format!("X-Signature: {}\r\n", sign(key.as_bytes(), body)), body)
}

/// One of one account that is taken.
pub(super) fn webhook(daemon: &Running, id: &str, kind: &str) {
    assert_eq!(post(daemon, KEY, &body(id, "a", kind)), 200, "{id}");
}
