//! Real servers from Debian's packages: each in a folder of its own on a free port of 127.0.0.1, killed, frozen and started again by
//! the tests.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Looks at a server that starts, 100 ms apart. Far more than anything takes; only a hang meets it.
const LOOKS: usize = 1200;

/// A port that nothing listens on. Below those that the system gives to outgoing connections, so that it stays free while its server is
/// down; no other test process of this machine is given it until this one has ended.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 20_000 + u16::try_from(std::process::id() % 97).unwrap() * 100;
    loop {
        let port = first + NEXT.fetch_add(1, Ordering::Relaxed) % 2_000;
        if is_ours(port) && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// Takes the port's name among abstract sockets, which the system frees with this process.
fn is_ours(port: u16) -> bool {
    let name = SocketAddr::from_abstract_name(format!("ringhookd-test-port-{port}")).unwrap();
    UnixListener::bind_addr(&name).map(std::mem::forget).is_ok()
}

/// Where a server's program is.
///
/// # Panics
/// Where it is not installed, with the name of its Debian package.
pub(crate) fn program(name: &str, package: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    let found = folders.map(|folder| folder.join(name)).find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("this test needs {name}: install Debian's package {package}"))
}

/// Kills the process `id`, and removes its folder, once this process has ended, however it ends: for a server that all tests share, which
/// no value's end would stop.
pub(crate) fn until_we_end(id: u32, folder: Option<&Path>) {
    const WATCH: &str = "trap '' INT TERM HUP; cat > /dev/null; kill -9 $1; while kill -0 $1; do sleep 0.1; done; [ -z \"$2\" ] || rm -rf \"$2\"";
    let mut command = Command::new("sh");
    command.args(["-c", WATCH, "sh", &id.to_string()]).arg(folder.unwrap_or(Path::new("")));
    let quiet = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    // Its input ends with this process.
    std::mem::forget(quiet.spawn().unwrap());
}

/// The command that starts a server, given its folder and its port.
type Start = dyn Fn(&Path, u16) -> Command + Send + Sync;

/// One server that listens, and all that it keeps.
pub(crate) struct Broker {
    folder: TempDir,
    port: u16,
    command: Box<Start>,
    child: Option<Child>,
}

impl Broker {
    /// Starts what `command` says, given the server's folder and its port, and waits until it takes connections.
    pub(crate) fn start(command: impl Fn(&Path, u16) -> Command + Send + Sync + 'static) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut broker = Self { folder, port: free_port(), command: Box::new(command), child: None };
        broker.again();
        broker
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts it where it is down, over what it kept.
    pub(crate) fn again(&mut self) {
        assert!(self.child.is_none(), "it runs");
        let log = File::options().append(true).create(true).open(self.log_file()).unwrap();
        let mut command = (self.command)(self.folder.path(), self.port);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let mut child = command.spawn().unwrap();
        for _ in 0..LOOKS {
            if TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok() {
                self.child = Some(child);
                return;
            }
            if let Some(status) = child.try_wait().unwrap() {
                panic!("the server ended with {status}: {}", self.said());
            }
            thread::sleep(Duration::from_millis(100));
        }
        panic!("the server does not listen: {}", self.said());
    }

    /// What it has written.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("server.log")
    }

    /// Kills it, as a power cut does.
    pub(crate) fn kill(&mut self) {
        self.thaw();
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Stops it where it is: it keeps its connections and does nothing.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        if let Some(child) = &self.child {
            kill_process(Pid::from_child(child), signal).unwrap();
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
