//! The example partner app as its own process, and a daemon's admin socket that answers as told.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tempfile::TempDir;

pub(crate) const PASSWORD: &str = "made-up-password";

pub(crate) fn command(args: &[&str]) -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/partner/partner.py");
    let mut command = python(&[script.to_str().unwrap()]);
    command.args(args);
    command
}

/// Leaves no compiled files beside the example.
pub(crate) fn python(args: &[&str]) -> Command {
    let mut command = Command::new("python3");
    command.arg("-B").args(args).env_remove("PARTNER_PASSWORD");
    command
}

/// The app, ready; killed at the end.
pub(crate) struct Partner {
    child: Child,
    pub(crate) address: SocketAddr,
    log: PathBuf,
    _folder: TempDir,
}

impl Partner {
    /// For a daemon whose admin socket is, or is not, at this path.
    pub(crate) fn start(socket: &Path) -> Self {
        Self::start_with(socket, &["--plain-http"])
    }

    pub(crate) fn start_with(socket: &Path, more: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        let log = folder.path().join("log");
        let args = ["--listen", "127.0.0.1:0", "--socket", socket.to_str().unwrap()];
        let mut child = command(&[&args, more].concat())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .expect("python3, which runs the example partner app, is missing");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready = line.strip_prefix("ready: http://").and_then(|rest| rest.split('/').next());
        let address = ready.and_then(|address| address.parse().ok());
        let address = address.unwrap_or_else(|| panic!("{line:?}: {}", fs::read_to_string(&log).unwrap()));
        Self { child, address, log, _folder: folder }
    }

    /// All that it has written so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Resident memory, in KiB.
    pub(crate) fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Partner {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the socket says next, to everybody.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    Json(u16, String),
    /// These bytes and the end.
    Bytes(&'static [u8]),
    /// Nothing, for as long as the caller waits.
    Silence,
}

#[derive(Debug)]
struct Desk {
    reply: Reply,
    heard: Vec<(String, Value)>,
}

/// A Unix socket that plays the daemon's admin socket.
pub(crate) struct Daemon {
    pub(crate) socket: PathBuf,
    desk: Arc<Mutex<Desk>>,
    _folder: TempDir,
}

impl Daemon {
    pub(crate) fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let socket = folder.path().join("admin.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let reply = Reply::Bytes(b"");
        let desk = Arc::new(Mutex::new(Desk { reply, heard: Vec::new() }));
        let shared = Arc::clone(&desk);
        std::thread::spawn(move || {
            let mut waiting = Vec::new();
            for stream in listener.incoming() {
                waiting.extend(serve(stream.unwrap(), &shared));
            }
        });
        Self { socket, desk, _folder: folder }
    }

    pub(crate) fn says(&self, reply: Reply) {
        self.desk.lock().unwrap().reply = reply;
    }

    /// An outcome as the daemon words it.
    pub(crate) fn decides(&self, status: u16, outcome: &str) {
        let answer = serde_json::json!({"outcome": outcome, "message": "words-of-the-daemon",
            "account_id": "ava1.ring.account.X", "reason": "reason-of-the-daemon", "retry_after_s": 7});
        self.says(Reply::Json(status, answer.to_string()));
    }

    /// Request lines and bodies since the last time.
    pub(crate) fn heard(&self) -> Vec<(String, Value)> {
        std::mem::take(&mut self.desk.lock().unwrap().heard)
    }
}

/// Reads one request and answers it; a stream that is left to wait is given back.
fn serve(stream: UnixStream, desk: &Mutex<Desk>) -> Option<UnixStream> {
    let mut reader = BufReader::new(stream);
    let (mut lines, mut length) = (Vec::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        if let Some(n) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
            length = n.parse().unwrap();
        }
        lines.push(line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let mut desk = desk.lock().unwrap();
    let line = lines.first().cloned().unwrap_or_default();
    desk.heard.push((line, serde_json::from_slice(&body).unwrap_or_default()));
    let mut stream = reader.into_inner();
    let answer = match &desk.reply {
        Reply::Silence => return Some(stream),
        Reply::Bytes(bytes) => bytes.to_vec(),
        Reply::Json(status, body) => format!(
            "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nRetry-After: 7\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes(),
    };
    // The app may have gone.
    let _ = stream.write_all(&answer);
    None
}
