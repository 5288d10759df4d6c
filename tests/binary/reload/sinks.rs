//! Where a queue's events are sent changes by a reload: the old way ends before the new one begins, and nothing is lost.

use std::fs::{self, Permissions};
use std::io::{ErrorKind, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use super::installed::{Installed, webhook};
use crate::http_queue::{Receiver, header};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
const TOKENS: [&str; 2] = ["the-first-token-of-the-receiver", "the-second-token-of-the-receiver"];

fn receiver() -> Receiver {
    Receiver(TcpListener::bind("127.0.0.1:0").unwrap())
}

fn to(receiver: &Receiver, lines: &str) -> String {
    let address = receiver.0.local_addr().unwrap();
    format!(
        "[[queue]]\nname = \"out\"\nkind = \"http\"\nurl = \"http://{address}/x\"\nunclaimed = \"deliver\"\n{lines}\n"
    )
}

fn token_file(installed: &Installed, token: &str) -> String {
    let file = installed.path("token");
    fs::write(&file, token).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    format!("bearer_file = \"{}\"", file.display())
}

#[test]
fn a_new_address_gets_nothing_before_the_old_ones_answer_and_then_all() {
    let (old, new) = (receiver(), receiver());
    let installed = Installed::new(&to(&old, ""));
    let daemon = installed.start();
    webhook(&daemon, "1", "motion_detected");
    let (mut unanswered, head, _) = old.next();
    assert_eq!(header(&head, "webhook-id"), "1");
    webhook(&daemon, "2", "motion_detected");
    installed.configure(&to(&new, ""));
    assert_eq!(installed.reload(), "queue \"out\".url has changed\n");
    new.0.set_nonblocking(true).unwrap();
    assert_eq!(
        new.0.accept().map(drop).unwrap_err().kind(),
        ErrorKind::WouldBlock,
        "the old one is not done"
    );
    new.0.set_nonblocking(false).unwrap();
    unanswered.write_all(OK).unwrap();
    let (mut stream, head, _) = new.next();
    assert_eq!(header(&head, "webhook-id"), "2", "what the old one took is not sent again");
    stream.write_all(OK).unwrap();
    assert!(daemon.stop().0.success());
}

#[test]
fn what_the_old_address_does_not_answer_goes_to_the_new_one_under_its_id() {
    let (old, new) = (receiver(), receiver());
    let installed = Installed::new(&to(&old, "timeout = \"60s\""));
    let daemon = installed.start();
    webhook(&daemon, "1", "motion_detected");
    let (_never_answered, _, _) = old.next();
    installed.configure(&to(&new, ""));
    installed.reload();
    // Again before the first has begun: it is passed over.
    installed.configure(&to(&new, "timeout = \"9s\""));
    installed.reload();
    let (mut stream, head, _) = new.next();
    assert_eq!(header(&head, "webhook-id"), "1");
    stream.write_all(OK).unwrap();
    crate::support::installation::soon("delivered", || installed.queue("out")["waiting"] == 0);
    assert!(daemon.stop().0.success());
}

#[test]
fn a_secret_in_a_file_is_read_anew_and_a_queue_may_change_its_kind() {
    let out = receiver();
    let installed = Installed::new("");
    installed.configure(&to(&out, &token_file(&installed, TOKENS[0])));
    let daemon = installed.start();
    let sent = |id: &str, token: &str| {
        webhook(&daemon, id, "motion_detected");
        let (mut stream, head, _) = out.next();
        assert_eq!(header(&head, "authorization"), format!("Bearer {token}"));
        stream.write_all(OK).unwrap();
    };
    sent("1", TOKENS[0]);
    let lines = token_file(&installed, TOKENS[1]);
    assert_eq!(installed.reload(), "queue \"out\" has changed in its file\n");
    sent("2", TOKENS[1]);
    assert!(installed.reload().contains("nothing has changed"));
    // Read by consumers for a while.
    installed.configure("[[queue]]\nname = \"out\"\nkind = \"embedded\"\nunclaimed = \"deliver\"\n");
    installed.reload();
    assert_eq!(installed.queue("out")["delivery"], serde_json::Value::Null);
    webhook(&daemon, "3", "motion_detected");
    crate::support::installation::soon("read", || installed.drain("out") == ["3"]);
    installed.configure(&to(&out, &lines));
    installed.reload();
    sent("4", TOKENS[1]);
    let (_, _, log) = daemon.stop();
    assert!(!TOKENS.iter().any(|token| String::from_utf8_lossy(&log).contains(token)));
}
