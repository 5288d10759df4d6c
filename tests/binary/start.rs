//! A start: a store has one daemon, a daemon whose addresses are taken leaves the store alone, and nothing runs before READY.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use crate::support::configuration::{Configuration, OPEN_QUEUE, signature};
use crate::support::process::{Running, run};

/// A configuration over the store in `folder`, with sockets of its own.
fn config(folder: &Path, name: &str, listen: &str, socket: &str) -> PathBuf {
    configuration(listen, socket).write_as(folder, name)
}

fn configuration(listen: &str, socket: &str) -> Configuration {
    let socket = format!("[[socket]]\npath = \"FOLDER/{socket}\"\n");
    Configuration::of(OPEN_QUEUE).with(&socket).listen(listen)
}

fn serve(config: &Path) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = run(&["serve", "--config", config.to_str().unwrap()], b"");
    (status.code(), String::from_utf8_lossy(&stderr).into_owned())
}

fn post(daemon: &Running, id: &str) -> u16 {
    let body =
        format!(r#"{{"meta":{{"request_id":"{id}","account_id":"a"}},"data":{{"type":"motion_detected"}}}}"#);
    daemon.post(&signature(body.as_bytes()), body.as_bytes())
}

#[test]
fn a_second_daemon_is_refused_whatever_was_deleted_beside_the_store_file() {
    let dir = tempfile::tempdir().unwrap();
    let first = config(dir.path(), "first.toml", "127.0.0.1:0", "first.sock");
    let second = config(dir.path(), "second.toml", "127.0.0.1:0", "second.sock");
    let daemon = Running::start(&first);
    assert_eq!(post(&daemon, "1"), 200);
    let store = dir.path().join("data");
    for name in ["holder", "identity.json", "reserve"] {
        let file = store.join(name);
        let before = fs::read(&file).unwrap();
        fs::remove_file(&file).unwrap();
        let (code, said) = serve(&second);
        assert_eq!(code, Some(75), "without {name}: {said}");
        fs::write(&file, before).unwrap();
    }
    assert!(!dir.path().join("second.sock").exists(), "its socket is gone with it");
    assert_eq!(post(&daemon, "2"), 200);
    assert!(daemon.stop().0.success());
    let daemon = Running::start(&second);
    assert_eq!((post(&daemon, "1"), post(&daemon, "3")), (200, 200));
    assert!(daemon.stop().0.success());
}

#[test]
fn a_daemon_whose_address_is_taken_leaves_the_store_alone() {
    let dir = tempfile::tempdir().unwrap();
    let first = config(dir.path(), "first.toml", "127.0.0.1:0", "first.sock");
    let daemon = Running::start(&first);
    // The store is in use, which would be 75: it is not even looked at.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, said) = serve(&config(dir.path(), "second.toml", &address, "second.sock"));
    assert!(code == Some(1) && said.contains(&address), "{code:?}: {said}");
    let (code, said) = serve(&config(dir.path(), "third.toml", "127.0.0.1:0", "first.sock"));
    assert!(code == Some(1) && said.contains("first.sock"), "{code:?}: {said}");
    assert_eq!(post(&daemon, "1"), 200);
    assert!(daemon.stop().0.success());
}

/// A supervisor that the daemon tells of READY.
struct Supervisor {
    socket: UnixDatagram,
    told: Mutex<bool>,
}

impl Supervisor {
    fn at(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { socket, told: Mutex::new(false) }
    }

    fn knows(&self) -> bool {
        let mut told = self.told.lock().unwrap();
        let mut text = [0; 64];
        *told |= self.socket.recv(&mut text).is_ok_and(|n| text[..n].starts_with(b"READY=1"));
        *told
    }
}

/// Tries until the daemon is there.
fn connected<T>(connect: impl Fn() -> std::io::Result<T>) -> T {
    for _ in 0..3000 {
        if let Ok(stream) = connect() {
            return stream;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("nothing is bound");
}

/// The first line of the answer.
fn ask(mut stream: impl Read + Write, head: &str, body: &str) -> String {
    let length = body.len();
    let request = format!("{head}Host: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn nothing_runs_before_ready() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    // A refresh that is overdue, as soon as there is a client of Ring.
    let daemon = Running::start(&config(dir.path(), "first.toml", "127.0.0.1:0", "first.sock"));
    let long_ago = ringhookd::clock::now().0 / 1000 - 10 * 24 * 3600;
    let token =
        format!(r#"{{"account_id":"a","access_token":"at","refresh_token":"rt","expires_at":{long_ago}}}"#);
    let import = run(&["--socket", &path("first.sock"), "accounts", "import"], token.as_bytes());
    assert!(import.status.success(), "{}", String::from_utf8_lossy(&import.stderr));
    assert!(daemon.stop().0.success());

    let oauth = TcpListener::bind("127.0.0.1:0").unwrap();
    oauth.set_nonblocking(true).unwrap();
    let ring = format!(
        "[ring]\nclient_id = \"id\"\nclient_secret = \"secret\"\noauth_url = \"http://{0}/token\"\napi_url = \"http://{0}\"",
        oauth.local_addr().unwrap()
    );
    // No other test binds or calls that address.
    let address = TcpListener::bind("127.83.19.7:0").unwrap().local_addr().unwrap();
    let config =
        configuration(&address.to_string(), "second.sock").with(&ring).write_as(dir.path(), "second.toml");
    let supervisor = Supervisor::at(Path::new(&path("notify")));
    // Time enough to answer in, if anything ran already.
    let variables =
        [("NOTIFY_SOCKET", path("notify")), ("RINGHOOKD_FAILPOINT", "daemon.prepared:sleep:2000".into())];
    let variables = variables.each_ref().map(|(name, value)| (*name, value.as_str()));
    thread::scope(|scope| {
        let webhook = scope.spawn(|| {
            let body = r#"{"meta":{"request_id":"1","account_id":"a"},"data":{"type":"motion_detected"}}"#;
            let head = format!("POST /webhooks/ring HTTP/1.1\r\n{}", signature(body.as_bytes()));
            let answer = ask(connected(|| TcpStream::connect(address)), &head, body);
            assert!(supervisor.knows(), "a webhook was answered before READY");
            answer
        });
        let status = scope.spawn(|| {
            let answer = ask(
                connected(|| UnixStream::connect(path("second.sock"))),
                "GET /v1/status HTTP/1.1\r\n",
                "",
            );
            assert!(supervisor.knows(), "the admin API answered before READY");
            answer
        });
        let refresh = scope.spawn(|| {
            drop(connected(|| oauth.accept()));
            assert!(supervisor.knows(), "a refresh was sent before READY");
        });
        let _daemon = Running::start_with(&config, &variables);
        assert_eq!(webhook.join().unwrap(), "HTTP/1.1 200 OK");
        assert_eq!(status.join().unwrap(), "HTTP/1.1 200 OK");
        refresh.join().unwrap();
    });
}
