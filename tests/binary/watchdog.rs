//! What a supervisor hears from the daemon: that it is ready, how it stands, and that it is alive for as long as it is.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use tempfile::TempDir;

use crate::support::configuration::{Configuration, OPEN_QUEUE, signature};
use crate::support::process::Running;

/// Far more than anything takes; only a hang meets it.
const PATIENCE: Duration = Duration::from_mins(1);
/// Some ticks of the daemon would come in this time, if any came.
const SILENCE: Duration = Duration::from_secs(1);

/// A supervisor that hears under an abstract name, as systemd may; and the daemon's folder, after which that is named.
struct Supervisor {
    dir: TempDir,
    socket: UnixDatagram,
}

impl Supervisor {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let name = SocketAddr::from_abstract_name(dir.path().as_os_str().as_bytes()).unwrap();
        let socket = UnixDatagram::bind_addr(&name).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { dir, socket }
    }

    /// A daemon with a watchdog of so many microseconds.
    fn serve(&self, watchdog: &str, failpoint: &str) -> Running {
        let config = Configuration::of(OPEN_QUEUE).write(self.dir.path());
        let name = format!("@{}", self.dir.path().display());
        // A thread that stands still must leave another to the watchdog.
        let threads = ("TOKIO_WORKER_THREADS", "2");
        let variables = [("NOTIFY_SOCKET", name.as_str()), ("WATCHDOG_USEC", watchdog), threads];
        Running::start_with(&config, &[&variables[..], &[("RINGHOOKD_FAILPOINT", failpoint)]].concat())
    }

    fn hear(&self) -> Option<String> {
        let mut bytes = [0; 1024];
        let n = self.socket.recv(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes[..n]).into_owned())
    }

    /// Hears on until that is said.
    fn hears(&self, beginning: &str) -> String {
        let mut heard = Vec::new();
        while let Some(said) = self.hear() {
            if said.starts_with(beginning) {
                return said;
            }
            heard.push(said);
        }
        panic!("not {beginning:?}, but {heard:?}")
    }
}

#[test]
fn a_supervisor_hears_ready_first_then_ticks_and_how_the_daemon_stands() {
    let supervisor = Supervisor::new();
    let daemon = supervisor.serve("2000000", "made.up:panic");
    assert_eq!(supervisor.hear().unwrap(), "READY=1\n");
    for _ in 0..3 {
        assert_eq!(supervisor.hears("WATCHDOG"), "WATCHDOG=1\n");
    }
    // Signed, and not understood.
    assert_eq!(daemon.post(&signature(b"?"), b"?"), 200);
    let worst = supervisor.hears("STATUS=quarantined: ");
    assert!(worst.ends_with('\n') && worst.lines().count() == 1, "{worst:?}");
    assert!(daemon.stop().0.success());
    supervisor.hears("STOPPING=1\nSTATUS=");
}

#[test]
fn all_is_well_says_the_line_of_a_daemon_that_has_just_begun() {
    let supervisor = Supervisor::new();
    let daemon = supervisor.serve("", "made.up:panic");
    assert_eq!(supervisor.hears("STATUS"), "STATUS=all well: 0 links, 0 events waiting\n");
    assert!(daemon.stop().0.success());
}

#[test]
fn a_planner_that_stands_still_or_is_dead_starves_the_watchdog() {
    for fault in ["sleep:600000", "panic"] {
        let supervisor = Supervisor::new();
        let daemon = supervisor.serve("1000000", &format!("tokens.planning:{fault}"));
        daemon.wait_for(|log| log.contains("the watchdog is fed no more").then_some(()));
        // What was said before.
        supervisor.socket.set_nonblocking(true).unwrap();
        while supervisor.hear().is_some() {}
        supervisor.socket.set_nonblocking(false).unwrap();
        supervisor.socket.set_read_timeout(Some(SILENCE)).unwrap();
        while let Some(said) = supervisor.hear() {
            assert!(!said.starts_with("WATCHDOG"), "{fault}: {said}");
        }
        daemon.kill();
    }
}
