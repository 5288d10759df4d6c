//! Restarts while a supervisor holds the sockets, as systemd does: no connection is refused, and no webhook is lost.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, sleep};
use std::time::Duration;

use ringhookd::clock;
use rustix::process::geteuid;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::configuration::{Configuration, OPEN_QUEUE, SOCKET, signature};
use crate::support::http::{Client, request};
use crate::support::installation::soon;
use crate::support::process::{Running, Stranger, open_to_all, run};
use crate::support::whole::share;

/// Each keeps its connection for as long as it lasts.
const KEEPERS: usize = 3;
/// Each makes a connection for each webhook.
const DIALERS: usize = 2;
/// Between two webhooks of a sender, so that the events stay few.
const PACE: Duration = Duration::from_millis(2);
/// A peer that is so slow to ask on its new connection may find it closed by a stop, which gives it a second.
const SLOW: Duration = Duration::from_millis(500);
/// Far more than anything takes; only a hang meets it.
const PATIENCE: Duration = Duration::from_mins(1);

const JSON: &str = "Content-Type: application/json\r\n";

/// Two sockets that outlive the daemon, and what it needs beside them.
struct Held {
    dir: TempDir,
    webhooks: TcpListener,
    admin: UnixListener,
    address: SocketAddr,
}

impl Held {
    fn new() -> Self {
        Self::with_mode(0o600)
    }

    /// The admin socket has that mode, and the configuration says 0600.
    fn with_mode(mode: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let webhooks = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = webhooks.local_addr().unwrap();
        let path = dir.path().join("admin.sock");
        let admin = UnixListener::bind(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        Configuration::of(OPEN_QUEUE).with(SOCKET).listen(&address.to_string()).write(dir.path());
        Self { dir, webhooks, admin, address }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What becomes a daemon to which both are handed over; the shell gives them their places, and its own number.
    fn command(&self) -> Command {
        let script = "exec 3<&0 4<&1 </dev/null >/dev/null; export LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=webhooks:admin; \
                      exec \"$0\" serve --config \"$1\"";
        let duplicate = |socket: &dyn AsFd| -> OwnedFd { socket.as_fd().try_clone_to_owned().unwrap() };
        let mut command = Command::new("sh");
        command.args(["-c", script, env!("CARGO_BIN_EXE_ringhookd")]).arg(self.path("config.toml"));
        command.stdin(duplicate(&self.webhooks)).stdout(duplicate(&self.admin)).stderr(Stdio::piped());
        command
    }

    fn serve(&self) -> Running {
        Running::launch(self.command())
    }

    /// The exit code of a daemon that does not start, and its last words.
    fn refused(&self) -> (Option<i32>, String) {
        let output = self.command().output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    }

    fn call(&self, method: &str, path: &str, body: &str) -> Value {
        let mut client = Client::unix(&self.path("admin.sock")).unwrap();
        let (status, answer) = client.send(method, path, JSON, body.as_bytes()).unwrap();
        assert_eq!(status, 200, "{path}: {}", String::from_utf8_lossy(&answer));
        serde_json::from_slice(&answer).unwrap_or_default()
    }

    /// The ids of all that waits in the queue, which are settled.
    fn take_all(&self) -> Vec<String> {
        let mut ids = Vec::new();
        loop {
            let leased = self.call("POST", "/v1/queues/all/lease", r#"{"max":100,"wait_ms":0}"#);
            let events = leased["events"].as_array().unwrap();
            if events.is_empty() {
                return ids;
            }
            ids.extend(events.iter().map(|event| event["event"]["id"].as_str().unwrap().to_owned()));
            let done: Vec<&Value> = events.iter().map(|event| &event["seq"]).collect();
            let done = json!({"lease": leased["lease"], "ack": done});
            self.call("POST", "/v1/queues/all/settle", &done.to_string());
        }
    }
}

fn event(id: &str) -> String {
    format!(r#"{{"meta":{{"request_id":"{id}","account_id":"a"}},"data":{{"type":"motion_detected"}}}}"#)
}

/// What the senders saw.
#[derive(Default)]
struct Seen {
    over: AtomicBool,
    /// How often each sender was answered.
    answered: [AtomicUsize; KEEPERS + DIALERS],
    acknowledged: Mutex<Vec<String>>,
    /// Webhooks that were sent again, as Ring does.
    repeated: AtomicUsize,
    wrong: Mutex<Vec<String>>,
}

impl Seen {
    fn complain(&self, what: String) {
        self.wrong.lock().unwrap().push(what);
    }

    fn send(&self, sender: usize, address: SocketAddr) {
        let mut client = None;
        for n in 0.. {
            if self.over.load(Ordering::Acquire) {
                return;
            }
            let id = format!("{sender}-{n}");
            while !self.post(&mut client, address, &id) {
                self.repeated.fetch_add(1, Ordering::AcqRel);
            }
            self.acknowledged.lock().unwrap().push(id);
            self.answered[sender].fetch_add(1, Ordering::AcqRel);
            if sender >= KEEPERS {
                client = None;
            }
            sleep(PACE);
        }
    }

    /// Whether it was answered. A connection that has had an answer may be closed before the next, and no other.
    fn post(&self, client: &mut Option<Client>, address: SocketAddr, id: &str) -> bool {
        let body = event(id);
        let began = clock::instant();
        let is_new = client.is_none();
        let connection =
            client.get_or_insert_with(|| Client::tcp(address).expect("no connection is refused"));
        let answer = connection.send("POST", "/webhooks/ring", &signature(body.as_bytes()), body.as_bytes());
        match answer {
            Ok((200, _)) => return true,
            Ok((status, _)) => self.complain(format!("{id} was answered {status}")),
            Err(error) if is_new && began.elapsed() < SLOW => {
                self.complain(format!("{id}: a new connection was closed: {error}"));
            }
            Err(_) => {}
        }
        *client = None;
        false
    }

    /// The operator's commands are refused as little: each is a connection of its own.
    fn ask(&self, held: &Held) {
        while !self.over.load(Ordering::Acquire) {
            held.call("GET", "/v1/status", "");
            sleep(PACE);
        }
    }

    /// Waits until each sender has been answered once more.
    fn all_go_on(&self) {
        let counts = || self.answered.each_ref().map(|count| count.load(Ordering::Acquire));
        let before = counts();
        soon("all were answered", || {
            assert!(self.wrong.lock().unwrap().is_empty(), "{:?}", self.wrong.lock().unwrap());
            counts().iter().zip(before).all(|(now, before)| *now > before)
        });
    }
}

/// Ends the senders.
struct Over<'a>(&'a Seen);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Release);
    }
}

/// Restarts the daemon so often, while the senders send; the last one runs on.
fn restart(held: &Held, seen: &Seen, times: usize) -> Running {
    let mut daemon = held.serve();
    for _ in 0..times {
        seen.all_go_on();
        let (status, _, log) = daemon.stop();
        assert!(status.success(), "{}", String::from_utf8_lossy(&log));
        daemon = held.serve();
    }
    seen.all_go_on();
    daemon
}

#[test]
fn no_restart_refuses_a_connection_or_loses_a_webhook() {
    let held = Held::new();
    let seen = Seen::default();
    let daemon = thread::scope(|scope| {
        // However this ends, the others end too.
        let _over = Over(&seen);
        for sender in 0..KEEPERS + DIALERS {
            let (seen, address) = (&seen, held.address);
            scope.spawn(move || seen.send(sender, address));
        }
        scope.spawn(|| seen.ask(&held));
        restart(&held, &seen, share("restarts under load"))
    });
    let acknowledged = seen.acknowledged.into_inner().unwrap();
    let mut waiting = held.take_all();
    println!("{} webhooks, {} sent again", acknowledged.len(), seen.repeated.into_inner());
    assert_eq!(seen.wrong.into_inner().unwrap(), Vec::<String>::new());
    let acknowledged = BTreeSet::from_iter(acknowledged);
    waiting.sort_unstable();
    assert!(waiting.windows(2).all(|pair| pair[0] != pair[1]), "each once");
    let waiting = BTreeSet::from_iter(waiting);
    let missing: Vec<_> = acknowledged.difference(&waiting).collect();
    assert!(missing.is_empty(), "acknowledged and lost: {missing:?}");
    assert!(daemon.stop().0.success());
    assert!(held.path("admin.sock").exists(), "whoever made a socket removes it");
}

#[test]
fn what_comes_while_no_daemon_runs_is_answered_by_the_next_one() {
    let held = Held::new();
    assert!(held.serve().stop().0.success());
    let body = event("1");
    let mut stream = TcpStream::connect(held.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let post = request("POST", "/webhooks/ring", &signature(body.as_bytes()), &body);
    stream.write_all(&post).unwrap();
    let _daemon = held.serve();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
    assert_eq!(held.take_all(), ["1"]);
}

#[test]
fn a_socket_that_lets_in_more_than_configured_or_fits_nothing_is_refused() {
    let open = Held::with_mode(0o666);
    let (code, said) = open.refused();
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("mode 0666") && said.contains("SocketMode=0600"), "{said}");
    let narrow = Held::with_mode(0o400);
    let daemon = narrow.serve();
    daemon.wait_for(|log| log.contains("lets in fewer than configured").then_some(()));
    assert!(daemon.stop().0.success());

    let stray = Held::new();
    Configuration::of(OPEN_QUEUE).with(SOCKET).write(stray.dir.path());
    let (code, said) = stray.refused();
    let named = format!("no listener for {} (webhooks)", stray.address);
    assert!(code == Some(78) && said.contains(&named), "{code:?}: {said}");
    assert!(!stray.path("data/store.redb").exists(), "the store was left alone");
}

#[test]
fn a_reload_names_a_socket_that_systemd_holds_and_opens_another() {
    let held = Held::new();
    let daemon = held.serve();
    let other = "[[socket]]\npath = \"FOLDER/other.sock\"\n";
    Configuration::of(OPEN_QUEUE).with(other).listen(&held.address.to_string()).write(held.dir.path());
    let done = held.call("POST", "/v1/reload", "");
    let named = |name: &str| format!("socket {:?}", held.path(name).display().to_string());
    assert_eq!(done["applied"], json!([{"key": named("other.sock"), "words": "is new"}]), "{done}");
    assert_eq!(done["needs_restart"][0]["key"], named("admin.sock"), "{done}");
    assert!(done["needs_restart"][0]["why"].as_str().unwrap().contains("systemd holds it"), "{done}");
    // Both are open, because the connections to the one would wait in the kernel for nobody.
    for socket in ["admin.sock", "other.sock"] {
        let mut client = Client::unix(&held.path(socket)).unwrap();
        assert_eq!(client.send("GET", "/v1/status", "", b"").unwrap().0, 200, "{socket}");
    }
    // Its mode is its unit's.
    let wider = SOCKET.replace("admin.sock\"", "admin.sock\"\nmode = \"0660\"");
    Configuration::of(OPEN_QUEUE).with(&wider).listen(&held.address.to_string()).write(held.dir.path());
    let done = held.call("POST", "/v1/reload", "");
    assert_eq!(done["needs_restart"][0]["key"], format!("{}.mode", named("admin.sock")), "{done}");
    assert!(!held.path("other.sock").exists(), "{done}");
    assert!(daemon.stop().0.success());
    assert!(held.path("admin.sock").exists());
}

#[test]
fn check_finds_that_a_socket_unit_lets_in_too_many() {
    let dir = tempfile::tempdir().unwrap();
    open_to_all(dir.path());
    let folder = dir.path().join("run");
    fs::create_dir(&folder).unwrap();
    let path = folder.join("admin.sock");
    let _admin = UnixListener::bind(&path).unwrap();
    let config = Configuration::of("[[socket]]\npath = \"FOLDER/run/admin.sock\"\n").write(dir.path());
    let args = ["check", "--config", config.to_str().unwrap()];
    fs::set_permissions(&folder, Permissions::from_mode(0o555)).unwrap();
    let check = || {
        let output = match Stranger::new() {
            Some(stranger) => stranger.run(65534, &args),
            None if geteuid().is_root() => return None,
            None => run(&args, b""),
        };
        Some(String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap())
    };
    for (mode, is_found) in [(0o666, true), (0o600, false)] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let Some(said) = check() else { return };
        assert_eq!(said.contains("SocketMode=0600"), is_found, "{mode:o}: {said}");
        assert!(!said.contains("socket: the folder"), "systemd writes there: {said}");
    }
    fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn sockets_that_were_meant_for_another_process_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let config = Configuration::of(OPEN_QUEUE).with(SOCKET).write(dir.path());
    let daemon = Running::start_with(&config, &[("LISTEN_FDS", "2"), ("LISTEN_PID", "1")]);
    assert!(daemon.stop().0.success());
    assert!(!dir.path().join("admin.sock").exists(), "it made that one itself");
}
