//! A certificate from an authority: Debian's pebble gives it, over the daemon's own listener, and what a daemon without one says.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::broker::{Broker, free_port, program};
use crate::support::certificates::{Authority, VALID, put};
use crate::support::configuration::{Configuration, OPEN_QUEUE, SOCKET, signature};
use crate::support::http::Client;
use crate::support::installation::{Ran, soon};
use crate::support::process::{Running, run};

const NAME: &str = "hooks.example.com";

/// An authority, its DNS, and a folder with the configuration of a daemon on the port at which the authority looks.
struct Site {
    dir: TempDir,
    /// Signs the certificate of the authority's own server.
    trusted: Authority,
    pebble: Broker,
    management: u16,
    _names: Broker,
    listen: u16,
}

impl Site {
    /// The certificates of the authority live so many seconds, and it looks at the daemon's port, or at one where nothing is.
    fn new(life: u32, looks_here: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (listen, management, trusted) = (free_port(), free_port(), Authority::new("trusted"));
        let names = Broker::start(|_, port| {
            let mut command = Command::new(program("pebble-challtestsrv", "pebble"));
            command.args([
                "-defaultIPv4",
                "127.0.0.1",
                "-defaultIPv6",
                "",
                "-http01",
                "",
                "-https01",
                "",
                "-tlsalpn01",
                "",
            ]);
            command.args([
                "-dns01",
                &format!("127.0.0.1:{port}"),
                "-management",
                &format!("127.0.0.1:{}", free_port()),
            ]);
            command
        });
        let pair = trusted.sign("pebble", &["localhost"], VALID);
        pair.write(dir.path());
        put(dir.path(), "ca.pem", &trusted.ca);
        let (folder, looks_at, dns) =
            (dir.path().to_owned(), if looks_here { listen } else { free_port() }, names.port());
        let pebble = Broker::start(move |own, port| {
            let config = json!({"pebble": {
                "listenAddress": format!("127.0.0.1:{port}"),
                "managementListenAddress": format!("127.0.0.1:{management}"),
                "certificate": folder.join("tls.pem"),
                "privateKey": folder.join("tls.key"),
                "httpPort": free_port(),
                "tlsPort": looks_at,
                "certificateValidityPeriod": life,
            }});
            fs::write(own.join("pebble.json"), config.to_string()).unwrap();
            let mut command = Command::new(program("pebble", "pebble"));
            command
                .arg("-config")
                .arg(own.join("pebble.json"))
                .args(["-dnsserver", &format!("127.0.0.1:{dns}")]);
            // Else it waits for up to 15 s, and refuses one nonce in twenty, three of which in a row fail an order.
            command.env("PEBBLE_VA_NOSLEEP", "1").env("PEBBLE_WFE_NONCEREJECT", "0");
            command
        });
        let site = Self { dir, trusted, pebble, management, _names: names, listen };
        site.configure(&[NAME], "");
        site
    }

    /// The authority's directory has more than one address, by its query.
    fn configure(&self, names: &[&str], query: &str) {
        let acme = format!(
            "[acme]\nnames = {names:?}\nterms_agreed = true\ncontacts = [\"someone@example.com\"]\n\
             directory = \"https://localhost:{}/dir{query}\"\nca_file = \"FOLDER/ca.pem\"\n",
            self.pebble.port()
        );
        Configuration::of(OPEN_QUEUE)
            .listen(&format!("127.0.0.1:{}", self.listen))
            .with(SOCKET)
            .with(&acme)
            .write(self.dir.path());
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

    /// Clients that trust what the authority signs.
    fn clients(&self) -> Arc<ClientConfig> {
        let management = ([127, 0, 0, 1], self.management).into();
        let mut client = Client::tls(management, &self.trusted.trusted(), "localhost").unwrap();
        let (status, body) = client.send("GET", "/roots/0", "", b"").unwrap();
        assert_eq!(status, 200);
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&body).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        Arc::new(config.unwrap().with_root_certificates(roots).with_no_client_auth())
    }
}

/// A webhook on a new connection.
fn post(daemon: &Running, trusting: &Arc<ClientConfig>, name: &str, id: &str) -> u16 {
    let body =
        format!(r#"{{"meta":{{"request_id":"{id}","account_id":"a"}},"data":{{"type":"motion_detected"}}}}"#);
    let mut client = Client::tls(daemon.address(), trusting, name).unwrap();
    client.send("POST", "/webhooks/ring", &signature(body.as_bytes()), body.as_bytes()).unwrap().0
}

fn ordered(daemon: &Running, times: usize) {
    daemon.wait_for(|log| {
        (log.matches("new connections get a new certificate").count() == times).then_some(())
    });
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn an_authority_gives_the_certificate_and_a_restart_needs_none() {
    let site = Site::new(90 * 24 * 3600, true);
    let daemon = site.serve();
    ordered(&daemon, 1);
    let clients = site.clients();
    assert_eq!(post(&daemon, &clients, NAME, "1"), 200);
    let status = site.status();
    assert_eq!(status["certificate"]["names"], json!([NAME]));
    assert_eq!(status["authority"]["failed"], Value::Null);
    assert!(status["authority"]["renew_at"].is_string());
    let folder = site.path("data/acme");
    assert_eq!(mode(&folder), 0o700);
    assert_eq!((mode(&folder.join("certificate.pem")), mode(&folder.join("account.json"))), (0o600, 0o600));
    assert!(daemon.stop().0.success());
    let (orders, daemon) = (site.pebble.said().matches("is ready").count(), site.serve());
    assert_eq!(post(&daemon, &clients, NAME, "2"), 200);
    assert!(daemon.stop().0.success());
    assert_eq!(site.pebble.said().matches("is ready").count(), orders, "no order");
    // Another name is another certificate, by the same account.
    site.configure(&[NAME, "other.example.com"], "");
    let account = fs::read(folder.join("account.json")).unwrap();
    let daemon = site.serve();
    assert_eq!(post(&daemon, &clients, NAME, "3"), 200, "the old one is shown meanwhile");
    ordered(&daemon, 1);
    assert_eq!(post(&daemon, &clients, "other.example.com", "4"), 200);
    assert_eq!(fs::read(folder.join("account.json")).unwrap(), account);
    assert!(daemon.stop().0.success());
    // So is another authority: the first may have been one for trying.
    site.configure(&[NAME, "other.example.com"], "?another");
    let daemon = site.serve();
    ordered(&daemon, 1);
    assert_ne!(fs::read(folder.join("account.json")).unwrap(), account);
    assert!(daemon.stop().0.success());
}

#[test]
fn it_is_renewed_in_time_and_open_connections_go_on() {
    let site = Site::new(12, true);
    let daemon = site.serve();
    ordered(&daemon, 1);
    let clients = site.clients();
    let mut open = Client::tls(daemon.address(), &clients, NAME).unwrap();
    assert_eq!(open.send("GET", "/", "", b"").unwrap().0, 404);
    let first = site.status()["certificate"]["not_after"].clone();
    ordered(&daemon, 2);
    assert_ne!(site.status()["certificate"]["not_after"], first);
    assert_eq!(open.send("GET", "/", "", b"").unwrap().0, 404);
    assert!(daemon.stop().0.success());
}

#[test]
fn an_order_that_fails_says_why_and_is_tried_again_at_an_operators_word() {
    let mut site = Site::new(90 * 24 * 3600, false);
    let daemon = site.serve();
    let failed = |site: &Site, words: &str| {
        soon("the order failed", || {
            let status = site.status();
            let names: Vec<_> = status["problems"]
                .as_array()
                .unwrap()
                .iter()
                .map(|problem| problem["name"].clone())
                .collect();
            let why = status["authority"]["failed"]["why"].as_str().unwrap_or_default().to_owned();
            names.contains(&json!("certificate_missing"))
                && names.contains(&json!("certificate_order_failed"))
                && why.contains(words)
        });
    };
    failed(&site, NAME);
    assert!(Client::tls(daemon.address(), &site.trusted.trusted(), NAME).is_err(), "there is none to show");
    site.pebble.kill();
    assert_eq!(site.command(&["reload"]).code, 0);
    failed(&site, "can't be reached");
    assert_eq!(site.status()["authority"]["failed"]["times"], 2);
    assert_eq!(site.command(&["status"]).code, 3);
    // One that has forgotten the account gets a new one.
    let account = site.path("data/acme/account.json");
    let before = fs::read(&account).unwrap();
    site.pebble.again();
    assert_eq!(site.command(&["reload"]).code, 0);
    failed(&site, NAME);
    assert_ne!(fs::read(account).unwrap(), before);
    assert!(daemon.stop().0.success());
}

#[test]
fn a_configuration_that_no_authority_would_take_is_refused() {
    let site = |acme: &str| {
        let dir = tempfile::tempdir().unwrap();
        Configuration::of(OPEN_QUEUE).with(SOCKET).with(&format!("[acme]\n{acme}\n")).write(dir.path());
        let ran = Ran::of(run(&["--config", dir.path().join("config.toml").to_str().unwrap(), "check"], b""));
        assert_eq!(ran.code, 1, "{ran:?}");
        ran.out + &ran.err
    };
    assert!(site("names = [\"hooks.example.com\"]").contains("terms_agreed"));
    assert!(site("contacts = [\"someone@example.com\"]\nterms_agreed = true").contains("acme.names"));
    for name in ["192.0.2.1", "localhost", "*.example.com", "-a.example.com", "a..example.com"] {
        assert!(
            site(&format!("terms_agreed = true\nnames = [{name:?}]")).contains("a public name"),
            "{name}"
        );
    }
    let both = "terms_agreed = true\nnames = [\"a.example.com\"]\n[tls]\ncertificate_file = \"./a\"\nkey_file = \"./b\"";
    assert!(site(both).contains("is there beside [acme]"));
}
