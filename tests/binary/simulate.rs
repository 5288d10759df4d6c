//! `ringhookd simulate` as an app's developer uses it: the banner, tokens, faults, the endpoints under /sim/, scenarios.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::support::http::{exchange, request};
use crate::support::process::ringhookd;
use ringhookd::domain::signature::sign;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// Far more than anything takes; only a hang meets it.
const PATIENCE: Duration = Duration::from_mins(1);

/// A running simulation, and its banner.
struct Simulation {
    child: Child,
    banner: Value,
}

impl Simulation {
    fn start(args: &[&str]) -> Self {
        let all = [&["simulate", "--json", "--listen", "127.0.0.1:0"], args].concat();
        let mut child = ringhookd(&all).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, banner: serde_json::from_str(&line).unwrap() }
    }

    fn account(&self, number: usize, field: &str) -> String {
        self.banner["accounts"][number][field].as_str().unwrap().to_owned()
    }

    /// Status and body; nothing when the connection is closed without an answer.
    fn call(&self, method: &str, path: &str, headers: &str, body: &str) -> Option<(u16, Value)> {
        let address = self.banner["api_url"].as_str().unwrap().trim_start_matches("http://");
        let address: SocketAddr = address.parse().unwrap();
        let answer = exchange(address, &request(method, path, headers, body));
        let body = answer.body();
        (answer.status() > 0)
            .then(|| (answer.status(), serde_json::from_str(body).unwrap_or_else(|_| body.into())))
    }

    fn exchange(&self, grant: &str) -> Option<(u16, Value)> {
        let (id, secret) = (&self.banner["client_id"], &self.banner["client_secret"]);
        let (id, secret) = (id.as_str().unwrap(), secret.as_str().unwrap());
        let body = format!("client_id={id}&client_secret={secret}&{grant}");
        self.call("POST", "/oauth/token", "Content-Type: application/x-www-form-urlencoded\r\n", &body)
    }

    fn refresh(&self, token: &str) -> Option<(u16, Value)> {
        self.exchange(&format!("grant_type=refresh_token&refresh_token={token}"))
    }

    fn sim(&self, name: &str, body: &Value) -> (u16, Value) {
        self.call("POST", &format!("/sim/{name}"), "", &body.to_string()).unwrap()
    }

    fn state(&self) -> Value {
        self.call("GET", "/sim/state", "", "").unwrap().1
    }
}

impl Drop for Simulation {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn an_app_lives_with_it_and_it_ends_on_sigterm() {
    let mut ring = Simulation::start(&["--accounts", "2"]);
    let (status, pair) = ring.refresh(&ring.account(0, "refresh_token")).unwrap();
    assert_eq!((status, &pair["token_type"]), (200, &json!("Bearer")));
    let bearer = format!("Authorization: Bearer {}\r\n", pair["access_token"].as_str().unwrap());
    let (status, user) = ring.call("GET", "/v1/users/me", &bearer, "").unwrap();
    assert_eq!((status, user["data"]["id"].as_str().unwrap()), (200, ring.account(0, "account_id").as_str()));
    assert_eq!(ring.refresh(&ring.account(0, "refresh_token")).unwrap().0, 400, "dead at once");
    kill_process(Pid::from_child(&ring.child), Signal::TERM).unwrap();
    assert!(ring.child.wait().unwrap().success());
}

#[test]
fn the_banner_for_people_has_lines_that_work() {
    let mut child = ringhookd(&["simulate", "--listen", "127.0.0.1:0", "--accounts", "7"]).spawn().unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let lines: Vec<String> =
        said.by_ref().take_while(|line| !line.contains("/sim/state") || line.contains("more")).collect();
    let text = lines.join("\n");
    for part in
        ["OAuth URL", "client_secret", "SIM5 ", "and 2 more", "grant_type=refresh_token", "/v1/users/me"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("SIM6") && !text.contains("Play a link"));
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn the_banner_has_the_steps_of_a_link_where_the_partner_is_known() {
    let listen = ["simulate", "--listen", "127.0.0.1:0", "--accounts", "1"];
    let partner =
        ["--token-exchange-url", "http://127.0.0.1:1/t", "--account-link-url", "https://p.example/"];
    let mut child = ringhookd(&[&listen[..], &partner].concat()).spawn().unwrap();
    let said = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let text: Vec<String> = said.take_while(|line| !line.contains("/sim/state")).collect();
    let at = |part: &str| {
        text.iter().position(|line| line.contains(part)).unwrap_or_else(|| panic!("{part}: {text:?}"))
    };
    let (install, visit) = (at("/sim/install"), at("/sim/visit"));
    assert!(at("Play a link:") < install && install < visit && visit < at("/sim/revoke"));
    let _ = child.kill();
    let _ = child.wait();
}

#[test]
fn a_link_is_played_from_beginning_to_end() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = format!("http://{}/token", listener.local_addr().unwrap());
    let args = ["--accounts", "0", "--token-exchange-url", &to, "--code-shape", "json"];
    let args = [&args[..], &["--account-link-url", "https://partner.example/link?from=ring"]].concat();
    let ring = Simulation::start(&args);
    let path = "/v1/accounts/me/app-integrations";
    for mails in 1..=2 {
        assert_eq!(ring.sim("install", &json!({ "account": "new" })).0, 200);
        let grant = format!("grant_type=authorization_code&code={}", code(&listener));
        let (_, pair) = ring.exchange(&grant).unwrap();
        let bearer = format!("Authorization: Bearer {}\r\n", pair["access_token"].as_str().unwrap());
        let (_, visit) = ring.sim("visit", &json!({ "account": "new" }));
        let (nonce, time) = (visit["nonce"].as_str().unwrap(), visit["time"].as_str().unwrap());
        assert_eq!(visit["url"], format!("https://partner.example/link?from=ring&nonce={nonce}&time={time}"));
        ring.call("POST", path, &bearer, &json!({ "nonce": nonce }).to_string());
        let (status, link) = ring.call("PATCH", path, &bearer, r#"{"status":"completed"}"#).unwrap();
        assert_eq!((status, &link["status"]), (200, &json!("completed")));
        let account = &ring.state()["accounts"][0];
        assert_eq!((&account["link"], &account["mails"]), (&json!("completed"), &json!(mails)));
        assert_eq!(ring.sim("revoke", &json!({ "account": "new", "silent": true })).0, 200);
        assert_eq!(ring.call("GET", "/v1/users/me", &bearer, "").unwrap().0, 403);
    }
}

/// The code that is brought next, as JSON; it is answered 200.
fn code(listener: &TcpListener) -> String {
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut request = String::new();
    while !request.ends_with("\"}") {
        let mut buffer = [0; 1024];
        let n = stream.read(&mut buffer).unwrap();
        assert_ne!(n, 0, "{request}");
        request.push_str(std::str::from_utf8(&buffer[..n]).unwrap());
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /token HTTP/1.1\r\n"), "{head}");
    serde_json::from_str::<Value>(body).unwrap()["code"].as_str().unwrap().to_owned()
}

#[test]
fn grace_is_a_policy_and_a_seed_repeats() {
    let args = ["--policy", "grace", "--seed", "7"];
    let (ring, same) = (Simulation::start(&args), Simulation::start(&args));
    let token = ring.account(0, "refresh_token");
    assert_eq!(token, same.account(0, "refresh_token"));
    assert_eq!((ring.refresh(&token).unwrap().0, ring.refresh(&token).unwrap().0), (200, 200));
    assert_eq!(ring.sim("advance", &json!({ "by": "2m" })).0, 200);
    assert_eq!(ring.refresh(&token).unwrap().0, 400);
}

#[test]
fn every_fault_of_the_help_can_be_seen() {
    let ring = Simulation::start(&["--fault", "oauth-500=1"]);
    let mut token = ring.account(0, "refresh_token");
    assert_eq!(ring.refresh(&token).unwrap().0, 500, "from the command line");
    for (fault, answered) in [
        ("oauth-lost-request", None),
        ("oauth-lost-answer", None),
        ("oauth-slow-before:10ms", Some(200)),
        ("oauth-slow-after:10ms", Some(200)),
        ("oauth-502", Some(502)),
        ("oauth-503-after-work", Some(503)),
        ("oauth-429:7", Some(429)),
        ("oauth-html", Some(200)),
        ("oauth-truncated", Some(200)),
        ("oauth-duplicate-keys", Some(200)),
        ("oauth-no-refresh-token", Some(200)),
        ("oauth-no-expires-in", Some(200)),
        ("oauth-absurd-expires-in", Some(200)),
        ("oauth-same-refresh-token", Some(200)),
        ("oauth-invalid-grant", Some(400)),
        ("oauth-invalid-client", Some(401)),
    ] {
        assert_eq!(ring.sim("fault", &json!({ "fault": fault, "times": 1 })).0, 200);
        let answer = ring.refresh(&token);
        assert_eq!(answer.map(|(status, _)| status), answered, "{fault}");
        let state = ring.state();
        let name = fault.split(':').next().unwrap();
        assert_eq!(state["fired"][name], 1, "{fault}");
        state["accounts"][0]["refresh_token"].as_str().unwrap().clone_into(&mut token);
    }
    let bearer = format!("Authorization: Bearer {}\r\n", ring.account(1, "access_token"));
    for status in [500, 404] {
        ring.sim("fault", &json!({ "fault": format!("users-me-{status}"), "times": 1 }));
        assert_eq!(ring.call("GET", "/v1/users/me", &bearer, "").unwrap().0, status);
    }
}

#[test]
fn developers_steer_it_while_it_runs() {
    let ring = Simulation::start(&["--accounts", "1"]);
    let account = ring.account(0, "account_id");
    let (_, code) = ring.sim("code", &json!({ "account": "new" }));
    let grant = format!("grant_type=authorization_code&code={}", code["code"].as_str().unwrap());
    let (status, pair) = ring.exchange(&grant).unwrap();
    assert_eq!(status, 200);
    let (_, visit) = ring.sim("visit", &json!({ "account": "new" }));
    let bearer = format!("Authorization: Bearer {}\r\n", pair["access_token"].as_str().unwrap());
    let body = json!({ "nonce": visit["nonce"] }).to_string();
    let (_, link) = ring.call("POST", "/v1/accounts/me/app-integrations", &bearer, &body).unwrap();
    assert_eq!(link["status"], "awaiting");
    assert_eq!(ring.sim("account", &json!({ "account": "third" })).0, 200);
    assert_eq!(ring.sim("revoke", &json!({ "account": account })).0, 200);
    assert_eq!(ring.refresh(&ring.account(0, "refresh_token")).unwrap().0, 400);
    ring.sim("advance", &json!({ "by": "31d" }));
    let state = ring.state();
    assert_eq!(
        (&state["accounts_in_all"], &state["accounts"][1]["refresh_token"]),
        (&json!(3), &Value::Null)
    );
    for (name, body, says) in [
        ("fault", json!({ "fault": "oauth-1" }), "no kind `1`"),
        ("fault", json!({}), "`fault` is missing"),
        ("advance", json!({ "by": "soon" }), "is not a time"),
        ("revoke", json!({ "account": "nobody" }), "no account `nobody`"),
        ("send", json!({ "event": "button_press" }), "no webhook URL"),
        ("visit", json!({ "account": "nobody" }), "install it first"),
        ("install", json!({ "account": "new" }), "no token exchange URL"),
        ("revoke", json!({ "account": "nobody", "silent": true }), "no account `nobody`"),
        ("code", json!({ "acount": "x" }), "unknown field"),
        ("other", json!({}), "there are state, fault"),
    ] {
        let (status, answer) = ring.sim(name, &body);
        assert!(status == 400 && answer["error"].as_str().unwrap().contains(says), "{name}: {answer}");
    }
}

#[test]
fn the_rate_is_limited() {
    let ring = Simulation::start(&["--rate", "1"]);
    let bearer = format!("Authorization: Bearer {}\r\n", ring.account(0, "access_token"));
    // However slow the machine is: until two fit into one second.
    let over = || ring.call("GET", "/v1/devices", &bearer, "").unwrap().0 == 429;
    assert!((0..10_000).any(|_| over()));
    assert!(ring.state()["peak_per_second"].as_u64().unwrap() > 1);
}

#[test]
fn events_are_sent_signed_and_a_scenario_runs() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let key = write("key", "a key\n");
    let steps =
        "[[step]]\nsend = \"button_press\"\n[[step]]\nafter = \"1ms\"\nrevoke = \"ava1.ring.account.SIM2\"\n";
    let scenario = write("scenario.toml", steps);
    let hook = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook?x=1", hook.local_addr().unwrap());
    let args = ["--webhook-url", &url, "--hmac-key-file", &key, "--scenario", &scenario, "--every", "0s"];
    let ring = Simulation::start(&args);
    assert_eq!(ring.banner["hmac_key"], Value::Null, "one from a file may be real");
    // In whatever order, and again where this machine is slower than Ring's patience.
    let mut due = HashSet::from(["app_integration_removed".to_owned(), "button_press".to_owned()]);
    while !due.is_empty() {
        due.remove(&received(&hook));
    }
    let args = ["--webhook-url", &url, "--hmac-key-file", &key, "--every", "10ms"];
    let _ring = Simulation::start(&args);
    for _ in 0..3 {
        received(&hook);
    }
}

/// The type of the next event, which carries a good signature, and is answered 200.
fn received(hook: &TcpListener) -> String {
    hook.set_nonblocking(true).unwrap();
    let wait = || std::thread::sleep(Duration::from_millis(1));
    let accepted = std::iter::repeat_with(|| hook.accept().inspect_err(|_| wait()).ok()).take(60_000);
    let (mut stream, _) = accepted.flatten().next().expect("an event in a minute");
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(reader.read_line(&mut head).unwrap(), 0, "{head}");
    }
    let header = |name: &str| {
        let line = head.lines().find(|line| line.to_lowercase().starts_with(name)).unwrap();
        line.split_once(": ").unwrap().1.to_owned()
    };
    let mut body = vec![0; header("content-length").parse().unwrap()];
    reader.read_exact(&mut body).unwrap();
    assert_eq!(header("x-signature"), sign(b"a key", &body));
    assert!(head.starts_with("POST /hook?x=1 "), "{head}");
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
    let event: Value = serde_json::from_slice(&body).unwrap();
    event["data"]["type"].as_str().unwrap().to_owned()
}

#[test]
fn the_scenario_of_the_docs_is_one() {
    let docs = include_str!("../../docs/SIMULATE.md");
    let (_, rest) = docs.split_once("```toml\n").unwrap();
    let (text, _) = rest.split_once("```").unwrap();
    let accounts = [1, 2, 3].map(|n| format!("ava1.ring.account.SIM{n}").into());
    assert_eq!(ringhookd::sim::scenario(text, &accounts).unwrap().len(), 8);
}

#[test]
fn what_can_t_be_is_refused_with_words() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scenario.toml");
    let scenario = path.to_str().unwrap();
    let steps = "[[step]]\nfault = \"oauth-x\"\n\n[[step]]\nrevoke = \"nobody\"\n";
    std::fs::write(&path, steps).unwrap();
    let refused = |args: &[&str], code: i32| {
        let args = [&["simulate", "--listen", "127.0.0.1:0"], args].concat();
        let output = crate::support::process::run(&args, b"");
        assert_eq!(output.status.code(), Some(code), "{args:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let said = refused(&["--scenario", scenario], 1);
    assert!(said.contains("the step at line 1: `oauth-x` is no fault"), "{said}");
    assert!(said.contains("the step at line 4: there is no account `nobody`"), "{said}");
    std::fs::write(&path, "[[step]]\nsend = \"button_press\"\n").unwrap();
    assert!(refused(&["--scenario", scenario], 1).contains("there is no --webhook-url"));
    std::fs::write(&path, "[[step]]\ninstall = \"new\"\n").unwrap();
    assert!(refused(&["--scenario", scenario], 1).contains("there is no --token-exchange-url"));
    assert!(refused(&["--code-shape", "json"], 2).contains("--token-exchange-url"));
    let shape = ["--token-exchange-url", "http://127.0.0.1:1/", "--code-shape", "xml"];
    assert!(refused(&shape, 2).contains("`xml` is no shape"));
    assert!(refused(&["--token-exchange-url", "https://127.0.0.1:1/"], 2).contains("http:// is due"));
    assert!(refused(&["--scenario", "/nowhere/x"], 1).contains("/nowhere/x: "));
    assert!(refused(&["--fault", "oauth-500=0"], 2).contains("is not how often"));
    assert!(refused(&["--fault", "500"], 2).contains("begins with oauth-"));
    assert!(refused(&["--webhook-url", "http://127.0.0.1:1/"], 2).contains("--hmac-key-file"));
    let https = ["--webhook-url", "https://127.0.0.1:1/", "--hmac-key-file", scenario];
    assert!(refused(&https, 2).contains("http:// is due"));
    let public = crate::support::process::run(&["simulate", "--listen", "0.0.0.0:0"], b"");
    assert_eq!(public.status.code(), Some(1));
    assert!(String::from_utf8(public.stderr).unwrap().contains("not a loopback address"));
}
