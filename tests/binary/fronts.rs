//! nginx and Caddy before the daemon, configured as `examples/front` says: webhooks pass unchanged, and none meets a connection that
//! is being closed.

use std::fs;
use std::process::Command;
use std::thread::{self, sleep};
use std::time::Duration;

use crate::support::broker::{Broker, program};
use crate::support::certificates::{Authority, VALID};
use crate::support::configuration::{Configuration, OPEN_QUEUE, SOCKET, signature};
use crate::support::http::{Client, exchange, request};
use crate::support::process::Running;

const NGINX: &str = include_str!("../../examples/front/nginx.conf");
const CADDY: &str = include_str!("../../examples/front/Caddyfile");
/// What is around the site of the example, in a folder of its own and as one process.
const AROUND_NGINX: &str = "daemon off; master_process off; error_log stderr; pid FOLDER/pid;\nevents {}\nhttp {\n\
    client_body_temp_path FOLDER/a; proxy_temp_path FOLDER/b; fastcgi_temp_path FOLDER/c; uwsgi_temp_path FOLDER/d; scgi_temp_path FOLDER/e;\n";
const AROUND_CADDY: &str = "{\n\tadmin off\n\tauto_https off\n}\n";

const HOST: &str = "localhost";
const SENDERS: usize = 16;
/// Each sends so many after each pause.
const BURST: usize = 25;
/// How long the front keeps a connection to the daemon, and how long the daemon does.
const FRONT_KEEPS: Duration = Duration::from_secs(1);
const DAEMON_KEEPS: Duration = Duration::from_secs(5);

/// A daemon whose idle connections end early, and the authority that its front's certificate is from.
struct Behind {
    dir: tempfile::TempDir,
    daemon: Running,
    authority: Authority,
}

impl Behind {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let http = format!("[http]\nkeep_alive_idle = \"{}s\"\n", DAEMON_KEEPS.as_secs());
        let file = Configuration::of(OPEN_QUEUE).with(SOCKET).with(&http).write(dir.path());
        Self { dir, daemon: Running::start(&file), authority: Authority::new("an authority") }
    }

    /// Starts a front with the example's text, each of `changes` made once in it, and with this around it.
    fn front(&self, text: &str, changes: &[(&str, &str)], command: fn() -> Command) -> Broker {
        let mut text = text.to_owned();
        let address = self.daemon.address().to_string();
        let keeps = format!("{}s", FRONT_KEEPS.as_secs());
        for (from, to) in
            [("127.0.0.1:8480", address.as_str()), ("60s", keeps.as_str())].iter().chain(changes)
        {
            assert_eq!(text.matches(from).count(), 1, "{from} in {text}");
            text = text.replace(from, to);
        }
        let pair = self.authority.sign("a front", &[HOST], VALID);
        Broker::start(move |folder, port| {
            pair.write(folder);
            let place = |text: &str| {
                text.replace("FOLDER", folder.to_str().unwrap()).replace("PORT", &port.to_string())
            };
            fs::write(folder.join("front.conf"), place(&text)).unwrap();
            let mut command = command();
            command.arg(folder.join("front.conf")).env("HOME", folder);
            command
        })
    }

    fn client(&self, front: &Broker) -> Client {
        let address = ([127, 0, 0, 1], front.port()).into();
        Client::tls(address, &self.authority.trusted(), HOST).unwrap()
    }

    fn open_connections(&self) -> u64 {
        let metrics = exchange(&self.dir.path().join("admin.sock"), &request("GET", "/v1/metrics", "", ""));
        let of = "ringhookd_http_connections{listener=\"public\"} ";
        metrics.body().lines().find_map(|line| line.strip_prefix(of)).unwrap().parse().unwrap()
    }

    fn waiting(&self) -> u64 {
        let status =
            exchange(&self.dir.path().join("admin.sock"), &request("GET", "/v1/status", "", "")).json();
        status["queues"][0]["waiting"].as_u64().unwrap()
    }

    /// Whether the front keeps its connections. One look may come too late.
    fn keeps_connections(&self, front: &Broker) -> bool {
        let mut client = self.client(front);
        (0..60).any(|_| {
            assert_eq!(post(&mut client, "again"), 200);
            sleep(FRONT_KEEPS / 4);
            self.open_connections() > 0
        })
    }
}

fn post(client: &mut Client, id: &str) -> u16 {
    let body = format!(
        r#"{{ "meta" : {{"request_id":"{id}","account_id":"a"}},"data":{{"type":"motion_detected","n":1.50e0}}}}"#
    );
    client.send("POST", "/webhooks/ring", &signature(body.as_bytes()), body.as_bytes()).unwrap().0
}

/// Pauses that end just before, at and just after the end of a kept connection: of the front's thrice, of the daemon's once.
fn pauses(sender: usize) -> impl Iterator<Item = Duration> {
    let nudge = Duration::from_millis(10) * u32::try_from(sender).unwrap();
    let early = Duration::from_millis(5) * u32::try_from(SENDERS).unwrap();
    let around = move |time: Duration| (time + nudge).saturating_sub(early);
    [
        Duration::ZERO,
        around(FRONT_KEEPS),
        around(FRONT_KEEPS),
        around(DAEMON_KEEPS),
        around(FRONT_KEEPS),
        Duration::ZERO,
    ]
    .into_iter()
}

fn nothing_is_lost_behind(behind: &Behind, front: &Broker) {
    assert!(
        behind.keeps_connections(front),
        "the front makes a connection for each request ({} wait): {}",
        behind.waiting(),
        front.said()
    );
    thread::scope(|scope| {
        for sender in 0..SENDERS {
            scope.spawn(move || {
                let mut client = behind.client(front);
                for (round, pause) in pauses(sender).enumerate() {
                    sleep(pause);
                    for n in 0..BURST {
                        let status = post(&mut client, &format!("{sender}-{round}-{n}"));
                        assert_eq!(status, 200, "{sender}-{round}-{n}: {}", front.said());
                    }
                }
            });
        }
    });
    let sent = SENDERS * pauses(0).count() * BURST;
    // And the one that was sent again and again.
    assert_eq!(behind.waiting(), sent as u64 + 1);
}

#[test]
fn behind_nginx_no_webhook_is_lost() {
    let behind = Behind::new();
    let text = format!("{AROUND_NGINX}{NGINX}\n}}\n");
    let changes = [
        ("listen 443 ssl", "listen 127.0.0.1:PORT ssl"),
        ("/etc/ssl/hooks.example.com/fullchain.pem", "FOLDER/tls.pem"),
        ("/etc/ssl/hooks.example.com/privkey.pem", "FOLDER/tls.key"),
    ];
    let front = behind.front(&text, &changes, || {
        let mut command = Command::new(program("nginx", "nginx-light"));
        command.args(["-e", "stderr", "-c"]);
        command
    });
    nothing_is_lost_behind(&behind, &front);
}

#[test]
fn behind_caddy_no_webhook_is_lost() {
    let behind = Behind::new();
    let text = format!("{AROUND_CADDY}{CADDY}");
    let site = "https://localhost:PORT {\n\tbind 127.0.0.1\n\ttls FOLDER/tls.pem FOLDER/tls.key\n";
    let front = behind.front(&text, &[("hooks.example.com {\n", site)], || {
        let mut command = Command::new(program("caddy", "caddy"));
        command.args(["run", "--adapter", "caddyfile", "--config"]);
        command
    });
    nothing_is_lost_behind(&behind, &front);
}
