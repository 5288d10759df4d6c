//! Webhooks flow during many reloads: none is refused, none is lost, and each reaches its queue once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::installed::{Installed, body};
use crate::support::configuration::{KEY, OPEN_QUEUE};
use crate::support::http::Client;
use ringhookd::domain::signature::sign;

const RELOADS: usize = 20;
const SENDERS: usize = 2;
const OTHER: &str = "another-made-up-signing-key";

/// A queue that comes and goes, one whose filter changes, and a key beside the one that stays.
fn configure(installed: &Installed, n: usize) {
    let queue =
        |name: &str, lines: &str| format!("[[queue]]\nname = \"{name}\"\nkind = \"embedded\"\n{lines}\n");
    let mut sections = OPEN_QUEUE.to_owned();
    if n % 2 == 1 {
        sections += &queue("comes-and-goes", "unclaimed = \"deliver\"");
    }
    sections += &queue("changes", ["types = [\"a\"]", "types = [\"b\"]", ""][n % 3]);
    let keys: &[&str] = if n % 2 == 1 { &[KEY, OTHER] } else { &[KEY] };
    installed.configure_keys(&sections, keys);
}

#[test]
fn no_webhook_is_refused_or_lost_during_many_reloads() {
    let installed = Installed::new(OPEN_QUEUE);
    configure(&installed, 0);
    let daemon = installed.start();
    let over = AtomicBool::new(false);
    let send = |sender: usize| {
        let mut client = Client::tcp(daemon.address()).unwrap();
        let mut ids = Vec::new();
        while !over.load(Ordering::Relaxed) {
            let id = format!("{sender}-{}", ids.len());
            let body = body(&id, &format!("account-{sender}"), "motion_detected");
            let headers = format!("X-Signature: {}\r\n", sign(KEY.as_bytes(), &body));
            let (status, _) = client.send("POST", "/webhooks/ring", &headers, &body).unwrap();
            assert_eq!(status, 200, "{id}");
            ids.push(id);
        }
        ids
    };
    let send = &send;
    let taken: Vec<Vec<String>> = thread::scope(|threads| {
        let senders: Vec<_> = (0..SENDERS).map(|sender| threads.spawn(move || send(sender))).collect();
        for n in 1..=RELOADS {
            configure(&installed, n);
            installed.reload();
        }
        over.store(true, Ordering::Relaxed);
        senders.into_iter().map(|sender| sender.join().unwrap()).collect()
    });
    let got = installed.drain("all");
    for (sender, ids) in taken.iter().enumerate() {
        assert!(!ids.is_empty());
        let of_sender: Vec<&String> = got.iter().filter(|id| id.starts_with(&format!("{sender}-"))).collect();
        assert!(
            of_sender.iter().copied().eq(ids),
            "each once, and in order: {} sent, {} got",
            ids.len(),
            of_sender.len()
        );
    }
    assert_eq!(got.len(), taken.iter().map(Vec::len).sum::<usize>());
    assert!(daemon.stop().0.success());
}
