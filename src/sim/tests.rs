//! The simulated Ring over real sockets: tokens, the API, the rate, and every fault as a client sees it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;

mod link;

/// Far more than anything takes; only a hang meets it.
const PATIENCE: Duration = Duration::from_mins(1);

/// A status and a body; nothing when the connection was closed without an answer.
type Heard = Option<(u16, String)>;

fn ring() -> Ring {
    Ring::start(Options::default()).unwrap()
}

fn send(ring: &Ring, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(ring.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

fn heard(mut stream: TcpStream) -> Heard {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1)?.parse().unwrap();
    Some((status, answer))
}

fn request(method: &str, path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    )
}

fn form(secret: &str, grant: &str) -> String {
    let body = format!("client_id=sim-client&client_secret={secret}&{grant}");
    request("POST", "/oauth/token", "Content-Type: application/x-www-form-urlencoded\r\n", &body)
}

fn token(ring: &Ring, grant: &str) -> Heard {
    heard(send(ring, &form(&ring.client().secret, grant)))
}

fn refresh(ring: &Ring, refresh_token: &str) -> Heard {
    token(ring, &format!("grant_type=refresh_token&refresh_token={refresh_token}"))
}

fn api(ring: &Ring, method: &str, path: &str, bearer: &str, body: &str) -> (u16, String) {
    let headers = format!("Authorization: Bearer {bearer}\r\n");
    heard(send(ring, &request(method, path, &headers, body))).unwrap()
}

fn document(answer: &str) -> Value {
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

fn inject(ring: &Ring, fault: &str, times: Option<u64>, account: Option<&str>) {
    ring.inject(Plan { fault: fault.parse().unwrap(), times, account: account.map(Into::into) });
}

#[test]
fn tokens_are_exchanged_and_their_user_is_shown() {
    let ring = ring();
    let first = ring.add_account("ava1.ring.account.A");
    let (status, answer) = refresh(&ring, &first.refresh).unwrap();
    let pair = document(&answer);
    assert_eq!((status, &pair["expires_in"], &pair["token_type"]), (200, &json!(14_400), &json!("Bearer")));
    assert_eq!(ring.live("ava1.ring.account.A").as_deref(), pair["refresh_token"].as_str());
    assert!(!ring.honours(&first.refresh));
    let access = pair["access_token"].as_str().unwrap();
    let (status, answer) = api(&ring, "GET", "/v1/users/me", access, "");
    assert_eq!((status, &document(&answer)["data"]["id"]), (200, &json!("ava1.ring.account.A")));
    let (_, answer) = api(&ring, "GET", "/v1/devices", access, "");
    assert_eq!(document(&answer)["data"].as_array().unwrap().len(), 2);
    let refresh_token = ring.live("ava1.ring.account.A").unwrap();
    assert_eq!(api(&ring, "GET", "/v1/users/me", &refresh_token, "").0, 401);
    assert_eq!(api(&ring, "GET", "/v1/users/me", "sim-at-00", "").0, 403);
    let (status, answer) = refresh(&ring, &first.refresh).unwrap();
    assert_eq!((status, &document(&answer)["error"]), (400, &json!("invalid_grant")));
    let code = ring.new_code("ava1.ring.account.B");
    assert_eq!(token(&ring, &format!("grant_type=authorization_code&code={code}")).unwrap().0, 200);
    assert_eq!(heard(send(&ring, &form("wrong", "grant_type=refresh_token"))).unwrap().0, 401);
    assert_eq!(token(&ring, "grant_type=password").unwrap().0, 400);
    let outcomes: Vec<_> = ring.exchanges().into_iter().map(|exchange| exchange.outcome).collect();
    let refused = Outcome::Refused;
    assert_eq!(
        outcomes,
        [
            Outcome::Granted(2),
            refused("invalid_grant"),
            Outcome::Granted(1),
            refused("invalid_client"),
            refused("unsupported_grant_type")
        ]
    );
}

#[test]
fn time_passes_when_told_to() {
    let ring = ring();
    let first = ring.add_account("a");
    ring.advance(ACCESS_LIFE);
    assert_eq!(api(&ring, "GET", "/v1/users/me", &first.access, "").0, 403);
    ring.advance(REFRESH_LIFE);
    assert!(!ring.honours(&first.refresh) && ring.live("a").is_none());
    assert!(refresh(&ring, &first.refresh).unwrap().1.contains("30 days"));
}

#[test]
fn what_is_lost_was_worked_on_or_not() {
    let ring = ring();
    let first = ring.add_account("a").refresh;
    inject(&ring, "oauth-lost-request", Some(1), None);
    assert_eq!((refresh(&ring, &first), ring.honours(&first)), (None, true));
    inject(&ring, "oauth-lost-answer", Some(1), None);
    assert_eq!((refresh(&ring, &first), ring.honours(&first)), (None, false));
    assert_eq!((ring.fired("oauth-lost-request"), ring.fired("oauth-lost-answer")), (1, 1));
    let second = ring.live("a").unwrap();
    inject(&ring, "oauth-503-after-work", Some(1), None);
    assert_eq!((refresh(&ring, &second).unwrap().0, ring.honours(&second)), (503, false));
    assert_eq!((ring.counts("a").granted, ring.exchanges()[1].outcome.clone()), (2, Outcome::Granted(2)));
}

#[test]
fn every_fault_without_work_leaves_the_token_as_it_is() {
    let ring = ring();
    let first = ring.add_account("a").refresh;
    for (fault, status, says) in [
        ("oauth-500", 500, "server_error"),
        ("oauth-502", 502, "server_error"),
        ("oauth-503", 503, "server_error"),
        ("oauth-429:30", 429, "retry-after: 30\r\n"),
        ("oauth-html", 200, "<!doctype html>"),
        ("oauth-invalid-grant", 400, "\"invalid_grant\""),
        ("oauth-invalid-client", 401, "\"invalid_client\""),
    ] {
        inject(&ring, fault, Some(1), None);
        let (code, answer) = refresh(&ring, &first).unwrap();
        assert!(code == status && answer.contains(says), "{fault}: {answer}");
        assert!(ring.honours(&first), "{fault}");
    }
    assert_eq!(refresh(&ring, &first).unwrap().0, 200, "each was for once");
}

#[test]
fn every_odd_answer_is_as_odd_as_it_says() {
    let ring = ring();
    ring.add_account("a");
    let odd = |fault: &str| {
        inject(&ring, fault, Some(1), None);
        let before = ring.live("a").unwrap();
        let (status, answer) = refresh(&ring, &before).unwrap();
        assert_eq!(status, 200, "{fault}");
        let kept = ring.live("a").unwrap() == before;
        (answer.split_once("\r\n\r\n").unwrap().1.to_owned(), kept)
    };
    let (text, kept) = odd("oauth-truncated");
    assert!(serde_json::from_str::<Value>(&text).is_err() && !kept, "{text}");
    let (text, kept) = odd("oauth-duplicate-keys");
    assert!(text.matches("access_token").count() == 2 && !kept, "{text}");
    let (text, kept) = odd("oauth-no-refresh-token");
    assert!(!text.contains("refresh_token") && kept, "{text}");
    let (text, kept) = odd("oauth-same-refresh-token");
    assert!(text.contains(&ring.live("a").unwrap()) && kept, "{text}");
    let (text, kept) = odd("oauth-no-expires-in");
    assert!(!text.contains("expires_in") && !kept, "{text}");
    let (text, kept) = odd("oauth-absurd-expires-in:-1");
    assert!(text.contains("\"expires_in\":-1") && !kept, "{text}");
}

#[test]
fn delays_are_before_or_after_the_work_and_outlive_the_client() {
    let ring = ring();
    let first = ring.add_account("a").refresh;
    inject(&ring, "oauth-slow-after:1h", Some(1), None);
    let waiting =
        send(&ring, &form(&ring.client().secret, &format!("grant_type=refresh_token&refresh_token={first}")));
    until(|| !ring.honours(&first));
    assert_eq!(ring.counts("a").in_flight, 1);
    drop(waiting);
    until(|| ring.counts("a").in_flight == 0);
    let second = ring.live("a").unwrap();
    inject(&ring, "oauth-slow-before:50ms", Some(1), None);
    let grant = format!("grant_type=refresh_token&refresh_token={second}");
    let waiting = send(&ring, &form(&ring.client().secret, &grant));
    until(|| ring.counts("a").in_flight == 1 || !ring.honours(&second));
    drop(waiting);
    until(|| !ring.honours(&second));
    assert_eq!(ring.most_in_flight(), 1);
}

fn until(done: impl Fn() -> bool) {
    let began = crate::clock::instant();
    while !done() {
        assert!(began.elapsed() < PATIENCE, "it did not come to that");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn faults_of_one_account_and_of_the_api() {
    let ring = ring();
    let (a, b) = (ring.add_account("a"), ring.add_account("b"));
    inject(&ring, "oauth-500", None, Some("a"));
    assert_eq!((refresh(&ring, &a.refresh).unwrap().0, refresh(&ring, &b.refresh).unwrap().0), (500, 200));
    assert_eq!(refresh(&ring, &a.refresh).unwrap().0, 500);
    ring.clear_faults();
    assert_eq!(refresh(&ring, &a.refresh).unwrap().0, 200);
    for (fault, status) in [("users-me-500", 500), ("users-me-404", 404)] {
        inject(&ring, fault, Some(1), None);
        assert_eq!(api(&ring, "GET", "/v1/users/me", &a.access, "").0, status);
    }
    assert_eq!(api(&ring, "GET", "/v1/users/me", &a.access, "").0, 200);
    assert_eq!((ring.requests(Place::UsersMe), ring.requests(Place::OAuth)), (3, 4));
}

#[test]
fn more_than_the_rate_is_refused_and_counted() {
    let ring = Ring::start(Options { rate: Some(3), ..Options::default() }).unwrap();
    let pair = ring.add_account("a");
    // However slow the machine is: until three more fit into one second.
    let refused = || {
        let (status, answer) = api(&ring, "GET", "/v1/devices", &pair.access, "");
        let says = answer.contains("x-ratelimit-limit: 3\r\n");
        assert!(says && matches!(status, 200 | 429), "{answer}");
        status == 429
            && answer.contains("retry-after: 1\r\n")
            && answer.contains("x-ratelimit-remaining: 0\r\n")
    };
    until(refused);
    assert!(ring.peak_per_second() > 3);
}

#[test]
fn a_link_is_claimed_with_its_nonce() {
    let ring = ring();
    assert_eq!(ring.visit("a"), None);
    let code = ring.new_code("a");
    let (_, answer) = token(&ring, &format!("grant_type=authorization_code&code={code}")).unwrap();
    let access = document(&answer)["access_token"].as_str().unwrap().to_owned();
    let path = "/v1/accounts/me/app-integrations";
    let call = |method: &str, body: Value| api(&ring, method, path, &access, &body.to_string()).0;
    assert_eq!(call("POST", json!({ "nonce": "guessed" })), 400);
    assert_eq!(call("PATCH", json!({ "status": "completed" })), 400);
    let visit = ring.visit("a").unwrap();
    assert_eq!(call("POST", json!({ "nonce": visit.nonce, "account_identifier": "u***r@example.com" })), 200);
    assert_eq!(ring.link_state("a"), Some(LinkState::Awaiting));
    assert_eq!(call("PATCH", json!({ "status": "completed" })), 200);
    assert_eq!(call("DELETE", json!({})), 403);
    assert_eq!(ring.link_state("a"), Some(LinkState::Completed));
    assert!(ring.revoke("a") && !ring.honours_access(&access) && ring.link_state("a").is_none());
}

#[test]
fn it_is_for_this_machine_only() {
    let listen = "0.0.0.0:0".parse().unwrap();
    let error = Ring::start(Options { listen, ..Options::default() }).unwrap_err();
    assert!(error.to_string().contains("not a loopback address"));
}

#[test]
fn many_accounts_and_many_requests_are_no_matter() {
    let ring = Ring::start(Options { rate: None, ..Options::default() }).unwrap();
    let pairs: Vec<_> = (0..100_000).map(|n| ring.add_account(&format!("account-{n}"))).collect();
    let mut stream = TcpStream::connect(ring.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let keep_alive = |pair: &Pair| {
        let grant = format!("grant_type=refresh_token&refresh_token={}", pair.refresh);
        form(&ring.client().secret, &grant).replace("Connection: close\r\n", "")
    };
    let requests: String = pairs.iter().take(2000).map(keep_alive).collect();
    let mut reader = stream.try_clone().unwrap();
    let asking = std::thread::spawn(move || stream.write_all(requests.as_bytes()).unwrap());
    let mut answers = Vec::new();
    let mut buffer = [0; 8192];
    while answers.windows(15).filter(|window| window == b"HTTP/1.1 200 OK").count() < 2000 {
        let n = reader.read(&mut buffer).unwrap();
        assert_ne!(n, 0);
        answers.extend_from_slice(&buffer[..n]);
    }
    asking.join().unwrap();
    assert_eq!(ring.counts("account-1999").granted, 1);
}
