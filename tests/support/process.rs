//! Runs the real binary: a daemon in a folder of its own, commands beside it, and webhooks over its socket.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::http::{exchange, request};

/// Far more than anything takes; only a hang meets it.
const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) fn ringhookd(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringhookd"));
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs a command to its end with `input` on its standard input.
pub(crate) fn run(args: &[&str], input: &[u8]) -> Output {
    let mut child = ringhookd(args).spawn().unwrap();
    // It may have refused to read it.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

#[derive(Default)]
struct Said {
    bytes: Vec<u8>,
    ended: bool,
}

#[derive(Default)]
struct Log {
    said: Mutex<Said>,
    grown: Condvar,
}

/// A daemon that has said it is ready; killed when a test ends early.
pub(crate) struct Running {
    child: Child,
    address: SocketAddr,
    log: Arc<Log>,
    reader: Option<JoinHandle<()>>,
}

impl Running {
    /// Starts `serve` and waits for its line that it is ready, so the log level must be `info` or finer.
    pub(crate) fn start(config: &Path) -> Self {
        Self::start_with(config, &[])
    }

    /// The same with more variables in its environment.
    pub(crate) fn start_with(config: &Path, variables: &[(&str, &str)]) -> Self {
        let mut command = ringhookd(&["serve", "--config", config.to_str().unwrap()]);
        command.envs(variables.iter().copied());
        Self::launch(command)
    }

    /// The same by a command that becomes the daemon, and whose standard error is a pipe.
    pub(crate) fn launch(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let log = Arc::new(Log::default());
        let (mut from, to) = (child.stderr.take().unwrap(), Arc::clone(&log));
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = from.read(&mut buffer) {
                let mut said = to.said.lock().unwrap();
                said.bytes.extend_from_slice(&buffer[..n]);
                to.grown.notify_all();
                if said.ended {
                    return;
                }
            }
            to.said.lock().unwrap().ended = true;
            to.grown.notify_all();
        });
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut running = Self { child, address: nowhere, log, reader: Some(reader) };
        running.address = running.address_of("ready for webhooks");
        running
    }

    /// The address in the line of its log with these words.
    pub(crate) fn address_of(&self, words: &str) -> SocketAddr {
        self.wait_for(|log| address_in(log, words))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The status of the answer to a POST on the webhook path.
    pub(crate) fn post(&self, headers: &str, body: &[u8]) -> u16 {
        self.send(&request("POST", "/webhooks/ring", headers, body))
    }

    pub(crate) fn send(&self, request: &[u8]) -> u16 {
        exchange(self.address, request).status()
    }

    /// Waits until `find` finds something in the log so far.
    pub(crate) fn wait_for<T>(&self, find: impl Fn(&str) -> Option<T>) -> T {
        let mut found = None;
        let said = self.log.said.lock().unwrap();
        let (said, _) = self
            .log
            .grown
            .wait_timeout_while(said, PATIENCE, |said| {
                found = find(&String::from_utf8_lossy(&said.bytes));
                found.is_none() && !said.ended
            })
            .unwrap();
        found.unwrap_or_else(|| panic!("not in the log: {}", String::from_utf8_lossy(&said.bytes)))
    }

    /// Closes its standard error at this end, after whatever it says next.
    pub(crate) fn stop_reading(&self) {
        self.log.said.lock().unwrap().ended = true;
    }

    /// SIGTERM; how it ended, its standard output, and its whole log.
    pub(crate) fn stop(mut self) -> (ExitStatus, Vec<u8>, Vec<u8>) {
        self.end(Signal::TERM)
    }

    /// SIGKILL; the same.
    pub(crate) fn kill(mut self) -> (ExitStatus, Vec<u8>, Vec<u8>) {
        self.end(Signal::KILL)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// How it ended by itself, and its whole log.
    pub(crate) fn ended(mut self) -> (ExitStatus, String) {
        let status = self.child.wait().unwrap();
        self.reader.take().unwrap().join().unwrap();
        (status, String::from_utf8_lossy(&self.log.said.lock().unwrap().bytes).into_owned())
    }

    fn end(&mut self, signal: Signal) -> (ExitStatus, Vec<u8>, Vec<u8>) {
        self.signal(signal);
        let status = self.child.wait().unwrap();
        self.reader.take().unwrap().join().unwrap();
        let mut out = Vec::new();
        if let Some(mut stdout) = self.child.stdout.take() {
            stdout.read_to_end(&mut out).unwrap();
        }
        (status, out, self.log.said.lock().unwrap().bytes.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The address in the line with these words, as JSON or for people.
fn address_in(log: &str, words: &str) -> Option<SocketAddr> {
    let (whole, _) = log.rsplit_once('\n')?;
    let line = whole.lines().find(|line| line.contains(words))?;
    let address = &line[line.find("127.")?..];
    let end = address.find(['"', ' ']).unwrap_or(address.len());
    address[..end].parse().ok()
}

/// Another user of this machine than the one the tests run as, in a group of its own or in a given one.
pub(crate) struct Stranger {
    /// The binary where anybody can enter.
    folder: tempfile::TempDir,
}

impl Stranger {
    const UID: u32 = 65534;

    /// None where this process may not become another user, which is a failure in CI.
    pub(crate) fn new() -> Option<Self> {
        let setpriv = Command::new("setpriv").args(["--reuid=65534", "--clear-groups", "true"]).status();
        if !setpriv.is_ok_and(|status| status.success()) {
            let ci = std::env::var_os("CI").is_some_and(|ci| ci == "true");
            assert!(!ci, "in CI this test needs root and setpriv (util-linux), to become another user");
            println!("not tried as another user: that takes root and setpriv");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        open_to_all(folder.path());
        std::fs::copy(env!("CARGO_BIN_EXE_ringhookd"), folder.path().join("ringhookd")).unwrap();
        Some(Self { folder })
    }

    /// Runs the binary as the stranger.
    pub(crate) fn run(&self, gid: u32, args: &[&str]) -> Output {
        Self::run_program(gid, self.folder.path().join("ringhookd").to_str().unwrap(), args)
    }

    pub(crate) fn run_program(gid: u32, program: &str, args: &[&str]) -> Output {
        let ids = [format!("--reuid={}", Self::UID), format!("--regid={gid}"), "--clear-groups".into()];
        let mut command = Command::new("setpriv");
        command.args(ids).arg("--").arg(program).args(args).stdin(Stdio::null());
        command.output().unwrap()
    }
}

/// Lets anybody enter a folder, as a temporary one lets nobody.
pub(crate) fn open_to_all(folder: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
}
