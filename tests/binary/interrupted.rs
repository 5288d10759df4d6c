//! Ctrl-C in the middle of a command that takes long: it says how far it came, and the same command again does the rest.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use ringhookd::sim::{Options, Ring};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::support::configuration::{Configuration, OPEN_QUEUE};
use crate::support::installation::{Installation, Ran, soon};
use crate::support::process::ringhookd;

/// What a gate does with a request.
enum Then {
    /// Answers it itself.
    Answer(&'static str),
    /// Begins an answer by this line, and goes no further.
    Begin(&'static str),
    /// Hands it to the daemon and keeps the answer back.
    Keep,
}

/// A socket before the daemon's, whose last answer never ends. Tells when that stage is reached.
fn gate(installation: &Installation, script: Vec<Then>) -> (PathBuf, Receiver<Vec<UnixStream>>) {
    let (path, daemon) = (installation.path("gate.sock"), installation.path("admin.sock"));
    let _ = fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    let (tell, told) = sync_channel(1);
    thread::spawn(move || {
        let mut kept = Vec::new();
        for then in script {
            // A command may look first whether the daemon is there.
            let asked = listener.incoming().find_map(|stream| whole(stream.unwrap()));
            let (mut stream, request) = asked.unwrap();
            match then {
                Then::Answer(body) => {
                    let length = body.len();
                    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
                }
                Then::Begin(line) => {
                    let length = line.len() + 1;
                    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
                    write!(stream, "{head}{length:x}\r\n{line}\n\r\n").unwrap();
                }
                Then::Keep => {
                    let mut to = UnixStream::connect(&daemon).unwrap();
                    to.write_all(&request).unwrap();
                    to.read_exact(&mut [0]).unwrap();
                    kept.push(to);
                }
            }
            kept.push(stream);
        }
        // Who gets them keeps them open.
        tell.send(kept).unwrap();
    });
    (path, told)
}

/// A request with its body; nothing of a connection on which nothing is asked.
fn whole(mut stream: UnixStream) -> Option<(UnixStream, Vec<u8>)> {
    let (mut request, mut byte) = (Vec::new(), [0]);
    while !request.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        request.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&request).to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).unwrap();
    Some((stream, [request, body].concat()))
}

fn interrupted(command: Child) -> Ran {
    kill_process(Pid::from_child(&command), Signal::INT).unwrap();
    Ran::of(command.wait_with_output().unwrap())
}

/// What the command says that is interrupted once the gate holds its request.
fn held(installation: &Installation, script: Vec<Then>, args: &[&str]) -> Ran {
    let (gate, told) = gate(installation, script);
    let command = ringhookd(&[&["--socket", gate.to_str().unwrap()], args].concat()).spawn().unwrap();
    let _kept = told.recv().unwrap();
    interrupted(command)
}

#[test]
fn rotate_forget_and_compact_say_how_far_they_came_and_can_be_run_again() {
    let installation = Installation::new(Ring::start(Options::default()).unwrap(), "");
    let daemon = installation.serve();
    for account in ["A", "B"] {
        let given = installation.ring().add_account(account);
        installation.imported(&json!({"account_id": account, "user": "ann", "refresh_token": given.refresh}));
    }
    let step = Then::Answer(r#"{"changed":3,"next":"more"}"#);
    let stopped = held(&installation, vec![step, Then::Keep], &["keys", "rotate"]);
    stopped.is_refused("stopped; 3 data keys re-wrapped, and not all are done: run it again");
    let again = installation.run(&["keys", "rotate"]);
    assert!(again.code == 0 && again.out.contains("; 0 are under another"), "{again:?}");

    let stopped = held(&installation, vec![Then::Keep], &["accounts", "forget", "A", "--yes"]);
    stopped.is_refused("stopped waiting; what has begun the daemon ends by itself");
    soon("it is forgotten all the same", || {
        let accounts = installation.run(&["accounts", "list"]).out;
        !accounts.lines().any(|line| line.starts_with("A "))
    });
    assert_eq!(installation.run(&["accounts", "forget", "B", "--yes"]).code, 0);

    let begun = Then::Begin(r#"{"rows":1,"of":10}"#);
    let stopped = held(&installation, vec![begun], &["compact"]);
    stopped.is_refused("stopped waiting");
    assert!(stopped.err.contains("the daemon goes on"), "{stopped:?}");
    let stopped = held(&installation, vec![Then::Keep], &["compact"]);
    stopped.is_refused("the daemon goes on");
    // The one that nobody waits for may be under way still.
    soon("it is compacted", || installation.run(&["compact"]).code == 0);
    assert!(daemon.stop().0.success());
}

fn files(folder: &Path) -> Vec<String> {
    let files = fs::read_dir(folder).into_iter().flatten();
    files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_restore_leaves_no_store_and_a_check_changes_nothing() {
    let installation = Installation::new(Ring::start(Options::default()).unwrap(), "");
    let daemon = installation.serve();
    installation.back_up();
    assert!(daemon.stop().0.success());
    let data = installation.path("data");
    for name in ["store.redb", "identity.json"] {
        fs::remove_file(data.join(name)).unwrap();
    }
    let before = files(&data);
    let (config, backup) = (installation.path("config.toml"), installation.path("backup"));
    let mut command = ringhookd(&["--config", config.to_str().unwrap(), "restore", backup.to_str().unwrap()]);
    // Longer than anybody waits.
    let command = command.env("RINGHOOKD_FAILPOINT", "restore.copied:sleep:600000").spawn().unwrap();
    soon("it has begun", || files(&data).len() > before.len());
    let stopped = interrupted(command);
    stopped.is_refused("stopped; there is no whole store yet, and another restore begins anew");
    let again = installation.run(&["restore", backup.to_str().unwrap()]);
    assert!(again.code == 0 && again.out.starts_with("restored store "), "{again:?}");
    assert_eq!(installation.run(&["check"]).code, 0);

    // A receiver that never answers.
    let receiver = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}/0", receiver.local_addr().unwrap());
    let queue = format!("[[queue]]\nname = \"out\"\nkind = \"redis\"\nurl = \"{url}\"\ntimeout = \"1m\"\n");
    let other = tempfile::tempdir().unwrap();
    let config = Configuration::of(OPEN_QUEUE).with(&queue).write(other.path());
    let command = ringhookd(&["--config", config.to_str().unwrap(), "check", "--connect"]).spawn().unwrap();
    let _connection = receiver.accept().unwrap();
    interrupted(command).is_refused("stopped; nothing was changed");
    assert!(!other.path().join("data").exists());
    let again = Ran::of(ringhookd(&["--config", config.to_str().unwrap(), "check"]).output().unwrap());
    assert_eq!(again.code, 0, "{again:?}");
}
