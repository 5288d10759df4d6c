//! A queue of kind `http` through the real daemon: a webhook comes in, a signed request goes out, and a kill in the middle loses nothing.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use data_encoding::BASE64;
use ring::hmac;

use crate::support::configuration::{Configuration, SOCKET, signature};
use crate::support::process::{Running, run};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const TOKEN: &str = "a-token-never-shown";
const BODY: &[u8] =
    br#"{"meta":{"request_id":"r-1","account_id":"ava1.ring.account.X"},"data":{"type":"button_press"}}"#;
const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
/// Far more than anything takes; only a hang meets it.
const PATIENCE: Duration = Duration::from_mins(1);

/// A receiver that takes one request at a time, each over a connection of its own or over the last.
pub(crate) struct Receiver(pub(crate) TcpListener);

impl Receiver {
    /// The next request over a new connection: its head in small letters, and its body.
    pub(crate) fn next(&self) -> (TcpStream, String, Vec<u8>) {
        let (mut stream, _) = self.0.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let (mut raw, mut piece) = (Vec::new(), [0; 4096]);
        loop {
            let n = stream.read(&mut piece).unwrap();
            assert!(n > 0, "{}", String::from_utf8_lossy(&raw));
            raw.extend_from_slice(&piece[..n]);
            let Some(at) = raw.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { continue };
            let head = String::from_utf8(raw[..at].to_vec()).unwrap();
            let length: usize = header(&head, "content-length").parse().unwrap();
            if raw.len() == at + 4 + length {
                return (stream, head, raw.split_off(at + 4));
            }
        }
    }
}

pub(crate) fn header<'h>(head: &'h str, name: &str) -> &'h str {
    let found = head.lines().find_map(|line| {
        let (of, value) = line.split_once(": ")?;
        of.eq_ignore_ascii_case(name).then_some(value)
    });
    found.unwrap_or_else(|| panic!("{name} in {head}"))
}

fn configured(folder: &Path, receiver: &Receiver) -> PathBuf {
    for (name, content) in [("signing.secret", SECRET), ("receiver.token", TOKEN)] {
        fs::write(folder.join(name), content).unwrap();
        fs::set_permissions(folder.join(name), Permissions::from_mode(0o600)).unwrap();
    }
    let address = receiver.0.local_addr().unwrap();
    let queue = format!(
        "[[queue]]\nname = \"out\"\nkind = \"http\"\nurl = \"http://{address}/hush-path\"\nunclaimed = \"deliver\"\n\
         secret_files = [\"FOLDER/signing.secret\"]\nbearer_file = \"FOLDER/receiver.token\"\nformat = \"cloudevents-binary\"\n"
    );
    Configuration::of(&queue).with(SOCKET).write(folder)
}

fn check(head: &str, body: &[u8]) {
    assert!(head.starts_with("POST /hush-path HTTP/1.1\r\n"), "{head}");
    assert_eq!(body, BODY);
    assert_eq!(header(head, "ce-id"), "r-1");
    assert_eq!(header(head, "authorization"), format!("Bearer {TOKEN}"));
    let signed = [b"r-1.", header(head, "webhook-timestamp").as_bytes(), b".", body].concat();
    let key = BASE64.decode(&SECRET.as_bytes()["whsec_".len()..]).unwrap();
    let given = BASE64.decode(header(head, "webhook-signature").strip_prefix("v1,").unwrap().as_bytes());
    hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, &key), &signed, &given.unwrap()).unwrap();
}

#[test]
fn a_webhook_goes_out_and_comes_again_after_a_kill_and_a_refusal_shows_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver(TcpListener::bind("127.0.0.1:0").unwrap());
    let config = configured(folder.path(), &receiver);
    let daemon = Running::start(&config);
    assert_eq!(daemon.post(&signature(BODY), BODY), 200);
    let (_unanswered, head, body) = receiver.next();
    check(&head, &body);
    daemon.kill();

    // Again, under the same id; and again after a refusal.
    let daemon = Running::start(&config);
    let (mut stream, head, body) = receiver.next();
    check(&head, &body);
    let words = format!("no: {TOKEN} is not it, nor {SECRET}");
    let refusal = format!(
        "HTTP/1.1 401 Unauthorized\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{words}",
        words.len()
    );
    stream.write_all(refusal.as_bytes()).unwrap();
    let (mut stream, head, body) = receiver.next();
    check(&head, &body);
    assert_eq!(header(&head, "ce-ringattempt"), "2");
    let busy = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    stream.write_all(busy).unwrap();
    let (mut stream, head, body) = receiver.next();
    check(&head, &body);
    assert_eq!(header(&head, "ce-ringattempt"), "2", "a receiver that can't costs no attempt");
    let status = run(&["status", "--json", "--config", config.to_str().unwrap()], b"");
    let status = String::from_utf8(status.stdout).unwrap();
    assert!(status.contains("sink_busy") && status.contains("503 Service Unavailable"), "{status}");
    stream.write_all(OK).unwrap();
    daemon.wait_for(|log| log.contains("delivering again").then_some(()));
    let list = run(&["queue", "list", "--json", "--config", config.to_str().unwrap()], b"");
    let list = String::from_utf8(list.stdout).unwrap();
    assert!(list.contains("\"waiting\":0") && list.contains("\"kind\":\"http\""), "{list}");
    let (ended, _, log) = daemon.stop();
    assert!(ended.success());
    let shown = format!("{status}{list}{}", String::from_utf8_lossy(&log));
    for secret in [TOKEN, SECRET, "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "hush-path"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}
