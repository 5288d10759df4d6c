//! A link as the simulated Ring plays it against a partner's server: codes, events, nonces and mails.

use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{self, Receiver};

use super::*;
use crate::domain::signature::sign;
use crate::domain::time::Millis;

const A: &str = "ava1.ring.account.A";
const KEY: &str = "sim-hmac-key-made-up";
const PATH: &str = "/v1/accounts/me/app-integrations";

/// The partner's server: what came to it, head and body.
struct Server {
    address: SocketAddr,
    came: Receiver<(String, String)>,
}

impl Server {
    /// Answers the first requests at a path with these statuses, and every other one with 200.
    fn start(path: &'static str, statuses: &'static [u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, came) = mpsc::sync_channel(1000);
        std::thread::spawn(move || {
            let mut statuses = statuses.iter();
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let request = read(&mut stream);
                let at_path = request.0.starts_with(&format!("POST {path}"));
                let status = at_path.then(|| statuses.next()).flatten().unwrap_or(&200);
                // It may have gone, as the test may have.
                let _ = write!(stream, "HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n");
                let _ = tell.send(request);
            }
        });
        Self { address, came }
    }

    fn ring(&self, shape: CodeShape, options: Options) -> Ring {
        self.ring_at("/token", shape, options)
    }

    fn ring_at(&self, path: &str, shape: CodeShape, options: Options) -> Ring {
        let codes = CodeSender::new(Peer { to: self.address, path: path.into() }, shape);
        let webhook = Sender::new(self.address, "/hook", KEY.as_bytes());
        let partner = Partner { webhook: Some(webhook), codes: Some(codes), link_url: None };
        Ring::start(Options { partner, ..options }).unwrap()
    }

    fn next(&self) -> (String, String) {
        self.came.recv_timeout(PATIENCE).unwrap()
    }

    /// The code that comes next.
    fn code(&self) -> String {
        let (head, body) = self.next();
        assert!(head.starts_with("POST /token"), "{head}");
        code_in(&format!("{head}{body}"))
    }

    /// The event that comes next, signed.
    fn event(&self) -> Value {
        let (head, body) = self.next();
        assert!(head.starts_with("POST /hook "), "{head}");
        assert!(head.contains(&format!("x-signature: {}\r\n", sign(KEY.as_bytes(), body.as_bytes()))));
        serde_json::from_str(&body).unwrap()
    }

    /// The types of the next events, which may come in any order.
    fn kinds(&self, count: usize) -> Vec<String> {
        let kind = |_| self.event()["data"]["type"].as_str().unwrap().to_owned();
        let mut kinds: Vec<_> = (0..count).map(kind).collect();
        kinds.sort();
        kinds
    }
}

fn read(stream: &mut TcpStream) -> (String, String) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut text = String::new();
    let mut buffer = [0; 4096];
    loop {
        let n = stream.read(&mut buffer).unwrap();
        text.push_str(std::str::from_utf8(&buffer[..n]).unwrap());
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if n == 0 || body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
            return (format!("{head}\r\n"), body.to_owned());
        }
    }
}

fn code_in(request: &str) -> String {
    let from = &request[request.find("sim-code-").unwrap()..];
    from.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-').collect()
}

/// The access token that a code is exchanged for.
fn exchanged(ring: &Ring, code: &str) -> String {
    let (status, answer) = token(ring, &format!("grant_type=authorization_code&code={code}")).unwrap();
    assert_eq!(status, 200, "{answer}");
    document(&answer)["access_token"].as_str().unwrap().to_owned()
}

fn post(ring: &Ring, access: &str, visit: &Visit) -> (u16, String) {
    api(ring, "POST", PATH, access, &json!({ "nonce": visit.nonce }).to_string())
}

fn complete(ring: &Ring, access: &str) -> u16 {
    api(ring, "PATCH", PATH, access, &json!({ "status": "completed" }).to_string()).0
}

#[test]
fn a_code_comes_in_each_shape() {
    for (shape, path, line, kind, body) in [
        ("form", "/token", "/token", Some("application/x-www-form-urlencoded"), "code=CODE"),
        ("json", "/token?a=b", "/token?a=b", Some("application/json"), r#"{"code":"CODE"}"#),
        ("query", "/token", "/token?code=CODE", None, ""),
        ("query", "/token?a=b", "/token?a=b&code=CODE", None, ""),
        (
            "multipart",
            "/token",
            "/token",
            Some("multipart/form-data; boundary=simulated-ring"),
            "--simulated-ring\r\nContent-Disposition: form-data; name=\"code\"\r\n\r\nCODE\r\n--simulated-ring--\r\n",
        ),
    ] {
        let server = Server::start("/token", &[]);
        let ring = server.ring_at(
            path,
            shape.parse().unwrap(),
            Options { first: First::Code, ..Options::default() },
        );
        ring.install(A).unwrap();
        let (head, came) = server.next();
        let code = code_in(&format!("{head}{came}"));
        assert_eq!(came, body.replace("CODE", &code), "{shape}");
        assert!(head.starts_with(&format!("POST {} HTTP/1.1\r\n", line.replace("CODE", &code))), "{head}");
        let header = head.lines().find_map(|line| line.strip_prefix("content-type: "));
        assert_eq!(header, kind, "{head}");
        exchanged(&ring, &code);
    }
    assert_eq!("xml".parse::<CodeShape>().unwrap_err(), "`xml` is no shape: form, json, query or multipart");
}

#[tokio::test]
async fn a_code_is_brought_again_until_it_is_answered_for_good() {
    for (statuses, status, attempts) in
        [(&[503, 500][..], 200, 3), (&[400], 400, 1), (&[500, 500, 500, 502], 502, 4)]
    {
        let server = Server::start("/token", statuses);
        let sender = CodeSender::new(Peer { to: server.address, path: "/token".into() }, CodeShape::Form);
        let delivery = sender.bring("sim-code-1", 1_000_000).await;
        assert_eq!(delivery, Delivery { status: Some(status), attempts });
        assert!((0..attempts).all(|_| server.code() == "sim-code-1"));
    }
}

#[test]
fn devices_come_before_the_code_or_after_it() {
    let server = Server::start("/token", &[]);
    let ring = server.ring(CodeShape::Form, Options::default());
    ring.install(A).unwrap();
    assert_eq!(server.kinds(2), ["device_added", "device_added"]);
    exchanged(&ring, &server.code());
    let late = server.ring(CodeShape::Form, Options { first: First::Code, ..Options::default() });
    late.install(A).unwrap();
    exchanged(&late, &server.code());
    let mut devices = [(); 2].map(|()| server.event()["data"]["attributes"]["source"].clone());
    devices.sort_by_key(ToString::to_string);
    assert_eq!(devices, device_ids(A).map(Value::from));
}

/// An event's retries take more than an hour, and a code is good for a minute.
#[test]
fn a_code_does_not_wait_for_a_webhook_that_fails() {
    let server = Server::start("/hook", &[503; 100]);
    let ring = server.ring(CodeShape::Form, Options::default());
    ring.install(A).unwrap();
    let before =
        std::iter::repeat_with(|| server.next()).take_while(|(head, _)| head.starts_with("POST /hook "));
    assert!(before.count() >= 2);
    assert_eq!(ring.link_state(A), Some(LinkState::Added));
    let server = Server::start("/token", &[503]);
    let ring = server.ring(CodeShape::Form, Options { first: First::Code, ..Options::default() });
    ring.install(A).unwrap();
    let code = server.code();
    assert_eq!(server.code(), code);
    exchanged(&ring, &code);
}

#[test]
fn a_link_is_made_ended_and_made_anew() {
    let server = Server::start("/token", &[]);
    let ring = server.ring(CodeShape::Form, Options::default());
    for round in 1..=2 {
        ring.install(A).unwrap();
        server.kinds(2);
        let access = exchanged(&ring, &server.code());
        let user = api(&ring, "GET", "/v1/users/me", &access, "");
        assert_eq!((user.0, document(&user.1)["data"]["id"].as_str()), (200, Some(A)), "before it is linked");
        let visit = ring.visit(A).unwrap();
        // Not yet completed, it may be posted again, and the user is mailed again.
        assert_eq!([post(&ring, &access, &visit).0, post(&ring, &access, &visit).0], [200, 200]);
        assert_eq!((complete(&ring, &access), ring.mails(A)), (200, round * 2));
        let added = server.event();
        let attributes = &added["data"]["attributes"];
        assert_eq!(
            (&added["data"]["type"], &attributes["source"]),
            (&json!("app_integration_added"), &json!(A))
        );
        assert_eq!(attributes["source_type"], "users");
        let (status, answer) = post(&ring, &access, &visit);
        assert!(status == 400 && answer.contains("Invalid Nonce"), "{answer}");
        assert_eq!((ring.mails(A), ring.link_state(A)), (round * 2, Some(LinkState::Completed)));
        assert!(ring.revoke(A) && !ring.honours_access(&access));
        assert_eq!(server.kinds(3), ["app_integration_removed", "device_removed", "device_removed"]);
        assert_eq!(post(&ring, &access, &visit).0, 403);
    }
}

#[test]
fn what_is_not_told_does_not_come_and_what_is_late_says_so() {
    let server = Server::start("/token", &[]);
    let ring = server.ring(CodeShape::Form, Options { tells_added: false, ..Options::default() });
    let old = ring.clock().now();
    ring.install(A).unwrap();
    server.kinds(2);
    let access = exchanged(&ring, &server.code());
    assert_eq!(post(&ring, &access, &ring.visit(A).unwrap()).0, 200);
    assert_eq!(complete(&ring, &access), 200);
    // Added anew, as after a removal that nobody heard of.
    ring.install(A).unwrap();
    assert_eq!((ring.link_state(A), server.kinds(2).len()), (Some(LinkState::Added), 2));
    server.code();
    assert!(ring.revoke_silently(A) && ring.link_state(A).is_none());
    for (kind, at) in [("app_integration_removed", old), ("app_integration_added", Millis(old.0 - 1))] {
        ring.send_at(kind, A, at).unwrap();
        let event = server.event();
        assert_eq!(
            (&event["data"]["type"], &event["data"]["attributes"]["timestamp"]),
            (&json!(kind), &json!(at.0))
        );
    }
    assert!(ring.send_at("app_integration", A, old).unwrap_err().contains("is no event of Ring's"));
}

#[test]
fn post_and_patch_fail_apart() {
    let server = Server::start("/token", &[]);
    let ring = server.ring(CodeShape::Form, Options::default());
    let access = exchanged(&ring, &ring.new_code(A));
    let visit = ring.visit(A).unwrap();
    let headers = format!("Authorization: Bearer {access}\r\n");
    let lost =
        |method: &str, body: Value| heard(send(&ring, &request(method, PATH, &headers, &body.to_string())));
    inject(&ring, "link-post-lost-request", Some(1), None);
    assert_eq!(lost("POST", json!({ "nonce": visit.nonce })), None);
    assert_eq!((ring.mails(A), ring.link_state(A)), (0, Some(LinkState::Added)));
    inject(&ring, "link-post-lost-answer", Some(1), None);
    assert_eq!(lost("POST", json!({ "nonce": visit.nonce })), None);
    assert_eq!((ring.mails(A), ring.link_state(A)), (1, Some(LinkState::Awaiting)));
    inject(&ring, "link-patch-503", Some(1), None);
    inject(&ring, "link-patch-lost-answer", Some(1), None);
    assert_eq!(post(&ring, &access, &visit).0, 200, "a fault of the PATCH alone");
    assert_eq!((complete(&ring, &access), ring.link_state(A)), (503, Some(LinkState::Awaiting)));
    assert_eq!(lost("PATCH", json!({ "status": "completed" })), None);
    assert_eq!(server.kinds(1), ["app_integration_added"], "Ring has it, whoever heard the answer");
    assert_eq!((ring.requests(Place::LinkPost), ring.requests(Place::LinkPatch)), (3, 2));
}
