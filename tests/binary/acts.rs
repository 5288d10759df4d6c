//! Each act of a caller is in the audit once it is answered: who, what, and whom. A call that changes something and has no act fails here.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use ringhookd::clock;
use ringhookd::sim::Options;
use ringhookd::store::{LeaseRequest, Leased, Outcome, Scope};
use serde_json::{Value, json};

use crate::support::http::request;
use crate::support::linking::LinkHarness;
use crate::support::queue;

const OPENAPI: &str = include_str!("../../docs/openapi.json");
/// Consumption, which receipts have.
const NO_ACTS: [&str; 3] = ["lease", "settle", "extend"];
const FRAGILE: &str =
    "[[queue]]\nname = \"fragile\"\nkind = \"embedded\"\nmax_attempts = 1\nunclaimed = \"deliver\"\n";
const NARROW: &str = "[[socket]]\npath = \"FOLDER/ann.sock\"\ncalls = [\"audit\"]\nusers = [\"ann\"]\n";
const ACCOUNT: &str = "account-of-the-test";

struct Walk {
    harness: LinkHarness,
    walked: BTreeSet<String>,
}

/// What an act has to say.
struct Expected<'a> {
    act: &'a str,
    account: Option<&'a str>,
    user: Option<&'a str>,
    former: Option<&'a str>,
    detail: Option<&'a str>,
}

fn act(act: &str) -> Expected<'_> {
    Expected { act, account: None, user: None, former: None, detail: None }
}

impl Walk {
    fn operations() -> Vec<(String, String, String)> {
        let description: Value = serde_json::from_str(OPENAPI).unwrap();
        let mut all = Vec::new();
        for (path, methods) in description["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                let id = operation["operationId"].as_str().unwrap().to_owned();
                all.push((id, method.to_uppercase(), path.clone()));
            }
        }
        all
    }

    /// The whole answer's status, and what is behind its head.
    fn send(&self, socket: &str, method: &str, path: &str, body: &str) -> (u16, Vec<u8>) {
        let mut stream = UnixStream::connect(self.harness.socket(socket)).unwrap();
        stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        stream.write_all(&request(method, path, "", body)).unwrap();
        let mut said = Vec::new();
        stream.read_to_end(&mut said).unwrap();
        let head = said.windows(4).position(|at| at == b"\r\n\r\n").unwrap();
        let status = String::from_utf8_lossy(&said[9..12]).parse().unwrap();
        (status, said[head + 4..].to_vec())
    }

    /// The same from a task: the daemon runs in this process.
    fn said(&self, socket: &str, method: &str, path: &str, body: &str) -> (u16, Vec<u8>) {
        tokio::task::block_in_place(|| self.send(socket, method, path, body))
    }

    /// Makes the call, which has to be fine and to leave this act.
    fn acts(&mut self, operation: &str, filler: &str, body: &Value, expected: &Expected<'_>) {
        let (_, method, path) = Self::operations().into_iter().find(|(id, ..)| id == operation).unwrap();
        let segments: Vec<&str> =
            path.split('/').map(|part| if part.starts_with('{') { filler } else { part }).collect();
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (status, said) = self.said("admin.sock", &method, &segments.join("/"), &body);
        assert_eq!(status, 200, "{operation}: {}", String::from_utf8_lossy(&said));
        let newest = self.audit("admin.sock", "?limit=1").remove(0);
        let &Expected { act, account, user, former, detail } = expected;
        for (name, value) in [("act", Some(act)), ("account", account), ("user", user), ("former", former)] {
            assert_eq!(newest[name].as_str(), value, "{operation}: {newest}");
        }
        if let Some(detail) = detail {
            assert!(newest["detail"].as_str().is_some_and(|told| told.contains(detail)), "{newest}");
        }
        let by = json!({
            "socket": self.harness.socket("admin.sock"),
            "token": null,
            "uid": rustix::process::getuid().as_raw(),
            "gid": rustix::process::getgid().as_raw(),
            "pid": std::process::id(),
        });
        assert_eq!(newest["by"], by, "{operation}");
        self.walked.insert(operation.to_owned());
    }

    fn audit(&self, socket: &str, query: &str) -> Vec<Value> {
        let (status, said) = self.said(socket, "GET", &format!("/v1/audit{query}"), "");
        let said: Value = serde_json::from_slice(&said).unwrap();
        assert_eq!(status, 200, "{said}");
        said["acts"].as_array().unwrap().clone()
    }

    /// An event becomes a dead letter.
    async fn dead_letter(&self) {
        self.harness.event("button_press", "nobody").await;
        let (queues, queue, now) = (self.harness.daemon().store().queues(), queue("fragile"), clock::now());
        let until = now.plus(Duration::from_hours(1));
        let request = LeaseRequest { max_events: 1000, max_bytes: 1 << 20, until, scope: Scope::default() };
        let lease = queues.lease(&queue, &request, now).await.unwrap().unwrap();
        let dead = |leased: &Leased| (leased.seq, Outcome::Dead { why: "no".into() });
        let dead: Vec<_> = lease.events.iter().map(dead).collect();
        assert!(queues.settle(&queue, lease.id, dead).await.unwrap() > 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_call_that_changes_something_leaves_an_act_with_who_what_and_whom() {
    let left = "[[queue]]\nname = \"left\"\nkind = \"embedded\"\n";
    let harness = LinkHarness::with(&format!("{FRAGILE}{left}{NARROW}"), Options::default()).await;
    let mut walk = Walk { harness, walked: BTreeSet::new() };
    let refresh_token = walk.harness.ring.add_account(ACCOUNT).refresh;
    let entry = json!({"account_id": ACCOUNT, "user": "bob", "refresh_token": refresh_token, "expires_at": "2030-01-01T00:00:00Z"});
    let of = |name, user| Expected { account: Some(ACCOUNT), user: Some(user), ..act(name) };
    walk.acts("importAccounts", "", &entry, &of("import_account", "bob"));
    let user = json!({"user": "ann", "replace": true});
    let moved = Expected { former: Some("bob"), ..of("set_user", "ann") };
    walk.acts("setUser", ACCOUNT, &user, &moved);
    let given = Expected { detail: Some("generation "), ..of("give_access_token", "ann") };
    walk.acts("getAccessToken", ACCOUNT, &Value::Null, &given);
    walk.harness.add_app("new").await;
    let visit = walk.harness.visit("new");
    let claim = json!({"nonce": visit.nonce, "time": visit.time, "user": "ann"});
    let claimed = Expected { account: Some("new"), user: Some("ann"), ..act("claim") };
    walk.acts("claim", "", &claim, &claimed);
    let of_queue = |name| Expected { detail: Some("queue fragile"), ..act(name) };
    walk.acts("pauseQueue", "fragile", &Value::Null, &of_queue("pause_queue"));
    walk.acts("resumeQueue", "fragile", &Value::Null, &of_queue("resume_queue"));
    let all = json!({"all": true});
    let letters = |name| Expected { detail: Some(" letters in this step"), ..act(name) };
    walk.dead_letter().await;
    walk.acts("replayDeadLetters", "", &all, &letters("replay_dead_letters"));
    walk.dead_letter().await;
    walk.acts("dropDeadLetters", "", &all, &letters("drop_dead_letters"));
    for (operation, name) in [
        ("rotateKeys", "rotate_keys"),
        ("acceptRestored", "accept_restored"),
        ("backUp", "back_up"),
        ("compact", "compact"),
        ("reload", "reload"),
        ("announceTestEvent", "announce_test_event"),
    ] {
        walk.acts(operation, "", &Value::Null, &act(name));
    }
    // The configuration names the queue no more.
    walk.harness.stop().await;
    walk.harness.set_settings(&format!("{FRAGILE}{NARROW}"));
    walk.harness.start().await;
    let removed = Expected { detail: Some("queue left"), ..act("remove_queue") };
    walk.acts("removeQueue", "left", &Value::Null, &removed);
    refusals_and_restricted_sockets(&walk);
    let why = Expected { detail: Some("disconnected"), ..act("forget_account") };
    walk.acts("disconnectAccount", "new", &json!({"anyway": true}), &why);
    walk.acts("forgetAccount", ACCOUNT, &Value::Null, &act("forget_account"));
    let acts = walk.audit("admin.sock", "?limit=1000");
    let forgotten = acts.iter().filter(|act| act["forgotten"] == true);
    let forgotten: Vec<&str> = forgotten.map(|act| act["act"].as_str().unwrap()).collect();
    assert_eq!(
        forgotten,
        [
            "forget_account",
            "forget_account",
            "disconnect_account",
            "claim",
            "give_access_token",
            "set_user",
            "import_account"
        ]
    );
    assert!(!json!(acts).to_string().contains(ACCOUNT), "{acts:?}");
    assert!(walk.audit("admin.sock", &format!("?account={ACCOUNT}")).is_empty());
    let changing = Walk::operations().into_iter().filter(|(_, method, _)| method != "GET");
    let changing: BTreeSet<String> =
        changing.map(|(id, ..)| id).filter(|id| !NO_ACTS.contains(&id.as_str())).collect();
    assert_eq!(walk.walked, changing, "each call that changes something leaves an act");
}

fn refusals_and_restricted_sockets(walk: &Walk) {
    let before = walk.audit("admin.sock", "?limit=1000").len();
    for _ in 0..100 {
        assert_eq!(walk.said("ann.sock", "POST", "/v1/reload", "").0, 403);
    }
    let refused = walk.audit("admin.sock", "?limit=1000");
    let ones = refused.iter().filter(|act| act["act"] == "refused").count();
    // A minute may have ended meanwhile, or two.
    assert!((1..100).contains(&ones), "a flood is bounded: {ones}");
    assert_eq!(refused.len(), before + ones, "and pushes nothing out");
    assert!(refused[0]["detail"].as_str().unwrap().contains("does not allow reload"), "{}", refused[0]);
    let seen = walk.audit("ann.sock", "?limit=1000");
    assert!(!seen.is_empty() && seen.iter().all(|act| act["user"] == "ann"), "{seen:?}");
    assert!(!json!(seen).to_string().contains("bob"), "who had the account before is not theirs to see");
    let of = walk.audit("admin.sock", &format!("?account={ACCOUNT}&since=2020-01-01T00:00:00Z"));
    assert_eq!(of.len(), 3, "{of:?}");
    assert!(walk.audit("admin.sock", "?since=2100-01-01T00:00:00Z").is_empty());
}
