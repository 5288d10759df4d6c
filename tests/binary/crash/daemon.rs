//! Starts, kills and stops the real daemon over a folder of its own, and says when it was READY.

use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::Duration;

use ringhookd::clock;
use ringhookd::sim::Ring;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::support::configuration::{Configuration, SOCKET};

/// Longer than any start on a busy machine takes.
const STARTS_WITHIN: Duration = Duration::from_mins(1);
const STEP: Duration = Duration::from_millis(2);

/// A folder with configuration, store, sockets and logs.
pub(crate) struct Installed {
    dir: TempDir,
    ready: UnixDatagram,
}

/// A daemon that was started; killed when it is dropped.
pub(crate) struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Installed {
    /// Writes the configuration: `queues` are its `[[queue]]` entries and whatever else follows the store's.
    pub(crate) fn new(queues: &str) -> Self {
        Self::of(&Configuration::of(queues))
    }

    fn of(configuration: &Configuration) -> Self {
        let installed = Self::empty();
        installed.write(configuration);
        installed
    }

    fn write(&self, configuration: &Configuration) {
        configuration.clone().with("[log]\nformat = \"json\"").with(SOCKET).write(self.folder());
    }

    fn empty() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ready = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        Self { dir, ready }
    }

    /// Before a simulated Ring, with a queue that takes everything.
    pub(crate) fn before(ring: &Ring, settings: &str) -> Self {
        let queue = "[[queue]]\nname = \"all\"\nkind = \"embedded\"\n";
        Self::of(&Configuration::new().ring(ring, settings).with(queue))
    }

    /// Writes the configuration anew.
    pub(crate) fn configure(&self, queues: &str) {
        self.write(&Configuration::of(queues));
    }

    pub(crate) fn folder(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.folder().join("config.toml")
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.folder().join("data")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder().join("admin.sock")
    }

    /// Starts `ringhookd serve`, which is to pass `failpoint` when there is one.
    pub(crate) fn spawn(&self, failpoint: Option<&str>) -> Daemon {
        self.ready.set_nonblocking(true).unwrap();
        // Of a daemon before.
        while self.ready.recv(&mut [0; 256]).is_ok() {}
        let log = self.folder().join("log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringhookd"));
        command.args(["serve", "--config"]).arg(self.config()).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(File::create(&log).unwrap()).env("NOTIFY_SOCKET", self.folder().join("notify"));
        if let Some(failpoint) = failpoint {
            command.env("RINGHOOKD_FAILPOINT", failpoint);
        }
        Daemon { child: command.spawn().unwrap(), log }
    }

    /// Waits until the daemon is READY and tells its address, or nothing when it ended before.
    pub(crate) fn ready(&self, daemon: &mut Daemon) -> Option<SocketAddr> {
        let deadline = clock::instant() + STARTS_WITHIN;
        while clock::instant() < deadline {
            if self.is_ready() {
                return daemon.address();
            }
            if daemon.ended().is_some() {
                return None;
            }
            sleep(STEP);
        }
        panic!("not READY within {STARTS_WITHIN:?}:\n{}", daemon.log());
    }

    /// Starts one that has to get READY.
    pub(crate) fn start(&self) -> (Daemon, SocketAddr) {
        let mut daemon = self.spawn(None);
        let Some(address) = self.ready(&mut daemon) else { panic!("it ended:\n{}", daemon.log()) };
        (daemon, address)
    }

    fn is_ready(&self) -> bool {
        let mut text = [0; 256];
        match self.ready.recv(&mut text) {
            Ok(length) => String::from_utf8_lossy(&text[..length]).lines().any(|line| line == "READY=1"),
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "{error}");
                false
            }
        }
    }
}

impl Daemon {
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop, and returns its exit code and how long that took; none when it did not end.
    pub(crate) fn terminate(&mut self, within: Duration) -> Option<(ExitStatus, Duration)> {
        let began = clock::instant();
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        let status = self.wait(within)?;
        Some((status, began.elapsed()))
    }

    /// How it ended, if it did within that time.
    pub(crate) fn wait(&mut self, within: Duration) -> Option<ExitStatus> {
        let deadline = clock::instant() + within;
        loop {
            let ended = self.ended();
            if ended.is_some() || clock::instant() >= deadline {
                return ended;
            }
            sleep(STEP);
        }
    }

    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it said so far.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap()).into_owned()
    }

    /// Lines of its log that no crash excuses.
    pub(crate) fn errors(&self) -> Vec<String> {
        self.log().lines().filter(|line| line.contains(r#""level":"ERROR""#)).map(str::to_owned).collect()
    }

    /// The log is written by a thread of its own, so the line may come after READY, and never when it is killed.
    fn address(&mut self) -> Option<SocketAddr> {
        let deadline = clock::instant() + STARTS_WITHIN;
        loop {
            let log = self.log();
            let line = log.lines().find(|line| line.contains("ready for webhooks") && line.ends_with('}'));
            if let Some(line) = line {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                return Some(line["address"].as_str().unwrap().parse().unwrap());
            }
            if self.ended().is_some() {
                return None;
            }
            assert!(clock::instant() < deadline, "no address in the log:\n{log}");
            sleep(STEP);
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It has ended: fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
