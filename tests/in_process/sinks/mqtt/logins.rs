//! Who we are at the broker: passwords, rights, TLS with its certificates, and two of one name.

use std::fs;

use ringhookd::domain::secret::Secret;

use super::super::certificates::{Certificates, both_sides_show_a_certificate};
use super::*;

/// A user with a password, made by mosquitto's own tool.
pub(super) fn protected(acl: &'static str) -> Mosquitto {
    let listener = move |port| {
        format!(
            "listener {port} 127.0.0.1\nallow_anonymous false\npassword_file FOLDER/passwords\nacl_file FOLDER/acl\n"
        )
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("passwords");
    let made = std::process::Command::new(crate::support::broker::program("mosquitto_passwd", "mosquitto"))
        .args(["-b", "-c"])
        .arg(&file)
        .args(["ann", "hush-hush"])
        .status();
    assert!(made.unwrap().success());
    let passwords = fs::read_to_string(file).unwrap();
    Mosquitto::start(listener, &[("passwords", &passwords), ("acl", acl)], &["-u", "ann", "-P", "hush-hush"])
}

pub(super) const ALL: &str = "user ann\ntopic readwrite #\n";

pub(super) fn ann(port: u16, password: &str) -> Mqtt {
    let mut options = options(port, "out");
    options.target.username = Some("ann".into());
    let password = Some(Secret::new(password.to_owned()));
    sink_of(options, ReceiverSecrets { password, ..ReceiverSecrets::default() })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_told_without_it() {
    let server = protected(ALL);
    assert_eq!(ann(server.port(), "hush-hush").deliver(one()).await, [Verdict::Done]);
    let wrong = ann(server.port(), "hush-and-wrong");
    let why = busy(&wrong.deliver(one()).await);
    assert!(why.contains("the broker refuses the session: not authorized (0x87)"), "{why}");
    assert!(!why.contains("hush") && !format!("{wrong:?}").contains("hush"), "{why}");
    let why = busy(&sink(server.port()).deliver(one()).await);
    assert!(why.contains("refuses the session"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_not_allowed_holds_the_queue_until_it_is() {
    let server = protected(
        "user ann\ntopic readwrite probe\ntopic read #\ntopic write ringhookd/ann/+/motion_detected\n",
    );
    let why = busy(&ann(server.port(), "hush-hush").deliver(one()).await);
    assert!(why.ends_with(": not authorized (0x87), topic ringhookd/ann/door-1/button_press"), "{why}");
    assert!(server.messages().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_with_one_client_id_the_first_is_told_that_the_second_came() {
    let server = Mosquitto::open("");
    let (first, second) = (sink(server.port()), sink(server.port()));
    assert_eq!(first.deliver([leased(1, "a")].into()).await, [Verdict::Done]);
    assert_eq!(second.deliver([leased(2, "a")].into()).await, [Verdict::Done]);
    // Either it has heard already, and takes the session back, or it hears now.
    let verdicts = first.deliver([leased(3, "a")].into()).await;
    if verdicts != [Verdict::Done] {
        assert!(busy(&verdicts).contains("session taken over"), "{verdicts:?}");
        delivered(&first, [leased(3, "a")].into()).await;
    }
    server.until(3).await;
}

fn secured(certificates: &Certificates, more: &'static str) -> Mosquitto {
    let listener = move |port| {
        format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\ncafile FOLDER/ca.pem\ncertfile FOLDER/server.pem\nkeyfile FOLDER/server.key\n{more}"
        )
    };
    let (certificate, key) = &certificates.server;
    let files = [
        ("ca.pem", certificates.ca.as_str()),
        ("server.pem", certificate),
        ("server.key", key),
        ("client.pem", &certificates.client.0),
        ("client.key", &certificates.client.1),
    ];
    let login = ["--cafile", "FOLDER/ca.pem", "--cert", "FOLDER/client.pem", "--key", "FOLDER/client.key"];
    Mosquitto::start(listener, &files, &login)
}

fn over_tls(port: u16, secrets: ReceiverSecrets) -> Mqtt {
    let mut options = options(port, "out");
    options.target.url = Receiver::parse(&format!("mqtts://127.0.0.1:{port}"), &["mqtts"]).unwrap();
    sink_of(options, secrets)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_authority_is_trusted_where_it_is_named() {
    let certificates = Certificates::new("daemon");
    let server = secured(&certificates, "");
    let trusting = over_tls(server.port(), certificates.trusting());
    assert_eq!(trusting.deliver(one()).await, [Verdict::Done]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_shown_and_asked_for() {
    let certificates = Certificates::new("daemon");
    let server = secured(&certificates, "require_certificate true\n");
    both_sides_show_a_certificate(&certificates, |secrets| over_tls(server.port(), secrets)).await;
}
