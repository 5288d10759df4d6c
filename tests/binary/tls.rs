//! HTTPS of the daemon's own: webhooks over it, its certificate changed while they flow, and what is said of a wrong one.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use rustls::ClientConfig;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::certificates::{Authority, Pair, VALID};
use crate::support::configuration::{Configuration, OPEN_QUEUE, SOCKET, signature};
use crate::support::http::{Client, exchange, request};
use crate::support::installation::{Ran, soon};
use crate::support::process::{Running, run};

const HOST: &str = "hooks.example.com";

/// A folder with a configuration and a certificate.
struct Secured {
    dir: TempDir,
    authority: Authority,
}

impl Secured {
    /// With more lines in `[tls]`.
    fn new(more: &str) -> Self {
        let secured = Self { dir: tempfile::tempdir().unwrap(), authority: Authority::new("an authority") };
        secured.configure(more);
        secured.signed(&[HOST]).write(secured.dir.path());
        secured
    }

    fn configure(&self, more: &str) {
        let tls = format!(
            "[tls]\ncertificate_file = \"FOLDER/tls.pem\"\nkey_file = \"FOLDER/tls.key\"\nnames = [\"{HOST}\"]\n{more}\n"
        );
        Configuration::of(OPEN_QUEUE).with(SOCKET).with(&tls).write(self.dir.path());
    }

    fn signed(&self, hosts: &[&str]) -> Pair {
        self.authority.sign("a server", hosts, VALID)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn serve(&self) -> Running {
        Running::start(&self.path("config.toml"))
    }

    fn command(&self, args: &[&str]) -> Ran {
        let config = self.path("config.toml");
        Ran::of(run(&[&["--config", config.to_str().unwrap()], args].concat(), b""))
    }

    fn status(&self) -> Value {
        serde_json::from_str(&self.command(&["--json", "status"]).out).unwrap()
    }

    fn problems(&self) -> Vec<String> {
        let problems = self.status()["problems"].clone();
        problems.as_array().unwrap().iter().map(|problem| problem["name"].as_str().unwrap().into()).collect()
    }

    fn client(&self, daemon: &Running) -> Client {
        Client::tls(daemon.address(), &self.authority.trusted(), HOST).unwrap()
    }
}

fn post(client: &mut Client, id: &str) -> u16 {
    let body = event(id);
    client.send("POST", "/webhooks/ring", &signature(body.as_bytes()), body.as_bytes()).unwrap().0
}

fn event(id: &str) -> String {
    format!(r#"{{"meta":{{"request_id":"{id}","account_id":"a"}},"data":{{"type":"motion_detected"}}}}"#)
}

fn told(daemon: &Running, words: &str) {
    daemon.wait_for(|log| log.contains(words).then_some(()));
}

/// Sends webhooks until `over`: one sender on one connection, the other with a connection for each. No answer but 200, and no broken connection.
fn send(secured: &Secured, daemon: &Running, keeps: bool, over: &AtomicBool, answered: &AtomicUsize) {
    let mut client = secured.client(daemon);
    for n in 0.. {
        if over.load(Ordering::Acquire) {
            return;
        }
        assert_eq!(post(&mut client, &format!("{keeps}-{n}")), 200);
        answered.fetch_add(1, Ordering::AcqRel);
        if !keeps {
            client = secured.client(daemon);
        }
    }
}

#[test]
fn certificates_change_while_webhooks_flow_and_none_is_lost() {
    const CHANGES: usize = 8;
    let secured = Secured::new("");
    let daemon = secured.serve();
    let (over, answered) = (AtomicBool::new(false), [AtomicUsize::new(0), AtomicUsize::new(0)]);
    thread::scope(|scope| {
        let senders = [true, false].map(|keeps| {
            let (secured, daemon, over, answered) = (&secured, &daemon, &over, &answered[usize::from(keeps)]);
            scope.spawn(move || send(secured, daemon, keeps, over, answered))
        });
        for n in 0..CHANGES {
            let before = answered.each_ref().map(|count| count.load(Ordering::Acquire));
            secured.signed(&[HOST, &format!("{n}.example.com")]).write(secured.dir.path());
            let ran = secured.command(&["reload"]);
            let words = "tls.certificate_file has changed in its file\n";
            assert_eq!((ran.code, ran.out.as_str()), (0, words), "{ran:?}");
            soon("both senders went on", || {
                let now = answered.each_ref().map(|count| count.load(Ordering::Acquire));
                senders.iter().any(thread::ScopedJoinHandle::is_finished)
                    || now.iter().zip(before).all(|(now, before)| *now > before)
            });
        }
        over.store(true, Ordering::Release);
    });
    let status = secured.status();
    let sent: usize = answered.into_iter().map(AtomicUsize::into_inner).sum();
    assert_eq!(status["queues"][0]["waiting"], sent, "each that was acknowledged");
    let names = serde_json::json!([HOST, format!("{}.example.com", CHANGES - 1)]);
    assert_eq!(status["certificate"]["names"], names);
    assert_eq!(status["certificate"]["not_after"], "2100-01-01T00:00:00Z");
    let mut open = secured.client(&daemon);
    assert_eq!(post(&mut open, "last"), 200);
    assert!(daemon.stop().0.success());
    // An end without TLS's own word would be another error.
    assert_eq!(open.send("GET", "/", "", b"").unwrap_err().to_string(), "unexpected end of file");
}

#[test]
fn a_new_pair_that_is_no_good_is_refused_and_the_old_one_stays() {
    let secured = Secured::new("");
    let (good, other) = (secured.signed(&[HOST]), Authority::new("another").sign("a server", &[HOST], VALID));
    let daemon = secured.serve();
    let sign = |hosts: &[&str], years| secured.authority.sign("a server", hosts, years);
    let wrong = [
        (Pair { key: other.key.clone(), ..good.clone() }, "is not the key of certificate_file"),
        (Pair { chain: "x".into(), ..good.clone() }, "holds none"),
        (sign(&["elsewhere.example.com"], VALID), "it is not for hooks.example.com"),
        (sign(&[HOST], (2020, 2021)), "it has expired"),
        (sign(&[HOST], (2098, 2099)), "it is valid from 2098-01-01T00:00:00Z on only"),
        (Pair { chain: good.chain.clone() + &other.chain, ..good.clone() }, "certificate 2 of the chain"),
    ];
    for (n, (pair, words)) in wrong.iter().enumerate() {
        pair.write(secured.dir.path());
        let ran = secured.command(&["reload"]);
        assert!(ran.code == 1 && ran.err.contains(words), "{words}: {ran:?}");
        assert_eq!(secured.problems(), ["configuration_refused", "certificate_refused"], "{words}");
        let why = secured.status()["certificate"]["refused"]["why"].clone();
        assert!(why.as_str().unwrap().contains(words), "{words}: {why}");
        assert_eq!(post(&mut secured.client(&daemon), &n.to_string()), 200, "the old one is shown");
        let page = secured.command(&["status"]);
        assert!(page.code == 3 && page.has_line("certificate_refused: "), "{page:?}");
    }
    fs::remove_file(secured.path("tls.key")).unwrap();
    let ran = secured.command(&["reload"]);
    assert!(ran.code == 1 && ran.err.contains("tls.key_file") && ran.err.contains("no such file"), "{ran:?}");
    told(&daemon, "a new certificate is refused, and the old one stays");
    good.write(secured.dir.path());
    assert_eq!(secured.command(&["reload"]).code, 0);
    assert_eq!(secured.problems(), [""; 0]);
    let (_, _, log) = daemon.stop();
    assert!(!String::from_utf8(log).unwrap().contains("PRIVATE KEY"));
}

#[test]
fn files_are_looked_at_by_themselves_and_a_disk_that_hangs_holds_up_nothing() {
    let secured = Secured::new("look_every = \"1s\"\n");
    let daemon = secured.serve();
    secured.signed(&[HOST, "new.example.com"]).write(secured.dir.path());
    told(&daemon, "new connections get a new certificate");
    assert_eq!(secured.status()["certificate"]["names"][1], "new.example.com");
    // A pipe without a writer: opening it waits for one, and reading it waits for the writer's end.
    let pipe = secured.path("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    fs::rename(&pipe, secured.path("tls.pem")).unwrap();
    let hanging = fs::File::options().write(true).open(secured.path("tls.pem")).unwrap();
    for n in 0..3 {
        assert_eq!(post(&mut secured.client(&daemon), &n.to_string()), 200);
        assert_eq!(secured.problems(), [""; 0]);
    }
    assert!(daemon.stop().0.success(), "it ends while the read hangs");
    drop(hanging);
}

#[test]
fn check_and_serve_say_what_is_wrong_with_a_certificate() {
    let secured = Secured::new("");
    let other = Authority::new("another").sign("a server", &[HOST], VALID);
    let good = secured.signed(&[HOST]);
    let check = || secured.command(&["check"]);
    assert_eq!(check().code, 0, "{:?}", check());
    let sign = |hosts: &[&str], years| secured.authority.sign("a server", hosts, years);
    for (pair, words) in [
        (sign(&["elsewhere.example.com"], VALID), "it is not for hooks.example.com"),
        (sign(&[HOST], (2020, 2021)), "it has expired"),
        (sign(&[HOST], (2098, 2099)), "valid from"),
        (Pair { chain: good.chain.clone() + &other.chain, ..good.clone() }, "certificate 2 of the chain"),
        (Pair { key: other.key.clone(), ..good.clone() }, "is not the key of certificate_file"),
    ] {
        pair.write(secured.dir.path());
        let ran = check();
        assert!(ran.code == 1 && ran.out.contains(words) && ran.out.contains("tls."), "{words}: {ran:?}");
    }
    assert_eq!(secured.command(&["serve"]).code, 78, "the key is another's");
    // It starts with one that clients refuse, because all else goes on.
    sign(&[HOST], (2020, 2021)).write(secured.dir.path());
    let daemon = secured.serve();
    assert_eq!(secured.problems(), ["certificate_expired"]);
    assert!(Client::tls(daemon.address(), &secured.authority.trusted(), HOST).is_err());
    let metrics = secured.command(&["check"]);
    assert!(metrics.out.contains("it has expired at 2021-01-01T00:00:00Z"), "{metrics:?}");
    // The way out needs no restart.
    good.write(secured.dir.path());
    assert_eq!(secured.command(&["reload"]).code, 0);
    assert_eq!((secured.problems(), post(&mut secured.client(&daemon), "1")), (Vec::new(), 200));
}

/// Peers that make one handshake after another, some of them half, while a webhook's connection is open.
#[test]
fn a_flood_of_handshakes_starves_no_webhook() {
    const FLOODERS: usize = 4;
    let secured = Secured::new("");
    let daemon = secured.serve();
    let (over, done) = (AtomicBool::new(false), AtomicUsize::new(0));
    let flood = |trusted: Arc<ClientConfig>| {
        while !over.load(Ordering::Acquire) {
            let Ok(mut half) = TcpStream::connect(daemon.address()) else { continue };
            let _ = half.write_all(b"\x16\x03\x01\x01\x00\x01");
            if Client::tls(daemon.address(), &trusted, HOST).is_ok() {
                done.fetch_add(1, Ordering::AcqRel);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..FLOODERS {
            let trusted = secured.authority.trusted();
            scope.spawn(|| flood(trusted));
        }
        let mut client = secured.client(&daemon);
        let mut sent = 0;
        while sent < 100 || done.load(Ordering::Acquire) < 200 {
            assert_eq!(post(&mut client, &sent.to_string()), 200, "the client waits 5 s, as Ring does");
            sent += 1;
        }
        over.store(true, Ordering::Release);
    });
    assert!(daemon.stop().0.success());
}

#[test]
fn plain_http_is_told_and_a_renegotiation_is_refused() {
    let secured = Secured::new("");
    let daemon = secured.serve();
    let body = event("plain");
    let plain = request("POST", "/webhooks/ring", &signature(body.as_bytes()), body);
    let answer = exchange(daemon.address(), &plain);
    assert!(answer.status() == 400 && answer.body().contains("https://"), "{answer:?}");
    let address = daemon.address().to_string();
    let mut client = Command::new("openssl")
        .args(["s_client", "-tls1_2", "-connect", &address])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A line with R alone asks for it.
    let _ = client.stdin.as_mut().unwrap().write_all(b"R\n");
    let mut said = String::new();
    client.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    client.wait().unwrap();
    assert!(said.contains("RENEGOTIATING") && said.contains("no renegotiation"), "{said}");
    assert_eq!(post(&mut secured.client(&daemon), "1"), 200);
    assert_eq!(secured.status()["queues"][0]["waiting"], 1);
}
