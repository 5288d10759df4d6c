//! A server of Debian's package in a folder of its own, and what a reader sees of its table.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard};

use rustix::process::{Pid, Signal, getuid, kill_process};

use crate::support::broker::Broker;

/// The server's superuser; the server trusts it, whatever its configuration for others says.
const ADMIN: &str = "admin";

pub(super) struct Server {
    broker: Mutex<Broker>,
    port: u16,
}

impl Server {
    /// With a line of `pg_hba.conf` for all but the superuser, and more settings.
    pub(super) fn start(login: &str, settings: &[&str]) -> Self {
        let login = login.to_owned();
        let settings: Vec<String> = settings.iter().map(|&setting| setting.to_owned()).collect();
        let broker = Broker::start(move |folder, port| command(folder, port, &login, &settings));
        let server = Self { port: broker.port(), broker: Mutex::new(broker) };
        // It listens a moment before it answers.
        while !server.psql("SELECT 1").0 {
            std::thread::yield_now();
        }
        server.ask(
            "CREATE ROLE ringhookd LOGIN PASSWORD 'right-password'; CREATE DATABASE events OWNER ringhookd",
        );
        server
    }

    pub(super) fn trusting() -> Self {
        Self::start("host all all 127.0.0.1/32 trust", &[])
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn folder(&self) -> PathBuf {
        self.broker().folder().to_owned()
    }

    fn broker(&self) -> MutexGuard<'_, Broker> {
        self.broker.lock().unwrap()
    }

    /// As an operator at the server.
    pub(super) fn ask(&self, sql: &str) -> String {
        let database = if sql.contains("DATABASE") || sql.contains("SYSTEM") { "postgres" } else { "events" };
        let (good, said) = self.psql_in(database, sql);
        assert!(good, "{sql}: {said}");
        said
    }

    /// The rows in the order in which they came, each by its columns.
    pub(super) fn rows(&self, columns: &str) -> Vec<Vec<String>> {
        let (good, said) =
            self.psql_in("events", &format!("SELECT {columns} FROM ringhookd_events ORDER BY position"));
        // There is no table before the first event.
        let lines = if good { said } else { String::new() };
        lines.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect()
    }

    fn psql(&self, sql: &str) -> (bool, String) {
        self.psql_in("postgres", sql)
    }

    fn psql_in(&self, database: &str, sql: &str) -> (bool, String) {
        let mut psql = Command::new(tool("psql"));
        psql.args([
            "-XAtq",
            "-F",
            "\t",
            "-h",
            "127.0.0.1",
            "-U",
            ADMIN,
            "-d",
            database,
            "-v",
            "ON_ERROR_STOP=1",
        ]);
        psql.args(["-p", &self.port.to_string()]);
        // Each as a statement of its own, since some stand in no transaction.
        sql.split("; ").for_each(|sql| {
            psql.args(["-c", sql]);
        });
        let done = psql.output().unwrap();
        let said = if done.status.success() { done.stdout } else { done.stderr };
        (done.status.success(), String::from_utf8(said).unwrap())
    }

    /// Kills all its processes, as a power cut does.
    pub(super) fn kill(&self) {
        let all = self.processes();
        self.broker().kill();
        signal_all(&all, Signal::KILL);
        // One that still ends would keep the next from the shared memory.
        while all.iter().any(|pid| is_alive(*pid)) {
            std::thread::yield_now();
        }
    }

    pub(super) fn again(&self) {
        self.broker().again();
        while !self.psql("SELECT 1").0 {
            std::thread::yield_now();
        }
    }

    pub(super) fn freeze(&self) {
        signal_all(&self.processes(), Signal::STOP);
    }

    pub(super) fn thaw(&self) {
        signal_all(&self.processes(), Signal::CONT);
    }

    /// The first, and one for each connection and task.
    fn processes(&self) -> Vec<i32> {
        let file = fs::read_to_string(self.folder().join("data/postmaster.pid")).unwrap();
        let first: i32 = file.lines().next().unwrap().parse().unwrap();
        let children = fs::read_to_string(format!("/proc/{first}/task/{first}/children")).unwrap();
        [first].into_iter().chain(children.split_whitespace().map(|pid| pid.parse().unwrap())).collect()
    }
}

impl Drop for Server {
    /// Its other processes would end a moment after their folder.
    fn drop(&mut self) {
        if self.folder().join("data/postmaster.pid").exists() {
            self.thaw();
            let stop = ["-D", "data", "-m", "immediate", "stop"];
            let _ = as_owner("pg_ctl", &self.folder()).args(stop).output();
        }
    }
}

/// A process that has ended and that nobody has asked for is none.
fn is_alive(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

/// Gives a folder and its files to the user that the server runs as, to be read by nobody else: it runs as no root.
pub(super) fn own(folder: &Path) {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    for file in files.chain([folder.to_owned()]) {
        let mode = if file.is_dir() { 0o700 } else { 0o600 };
        fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        if getuid().is_root() {
            let id = |option: &str| -> u32 {
                let id = Command::new("id").args([option, "postgres"]).output().unwrap().stdout;
                String::from_utf8(id).unwrap().trim().parse().unwrap()
            };
            chown(&file, Some(id("-u")), Some(id("-g"))).unwrap();
        }
    }
}

fn command(folder: &Path, port: u16, login: &str, settings: &[String]) -> Command {
    let data = folder.join("data");
    if !data.exists() {
        own(folder);
        let made = as_owner("initdb", folder)
            .args(["-D", "data", "-U", ADMIN, "--no-sync", "--locale=C", "--encoding=UTF8", "--auth=trust"])
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let logins = format!("host all {ADMIN} 127.0.0.1/32 trust\n{login}\n");
        fs::write(data.join("pg_hba.conf"), logins).unwrap();
    }
    let mut command = as_owner("postgres", folder);
    command.args(["-D", "data", "-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
    // No power is cut here, so nothing is lost without.
    for setting in ["unix_socket_directories=", "fsync=off", "shared_buffers=8MB"] {
        command.args(["-c", setting]);
    }
    for setting in settings {
        command.args(["-c", setting]);
    }
    command
}

fn signal_all(processes: &[i32], signal: Signal) {
    for pid in processes {
        // One may have ended by itself.
        let _ = kill_process(Pid::from_raw(*pid).unwrap(), signal);
    }
}

/// A program of the server in its folder, by a user that it takes.
fn as_owner(name: &str, folder: &Path) -> Command {
    let mut command = if getuid().is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]).arg(tool(name));
        command
    } else {
        Command::new(tool(name))
    };
    command.current_dir(folder);
    command
}

/// Debian keeps them where no PATH leads.
fn tool(name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let found = versions.map(|version| version.path().join("bin").join(name)).find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("this test needs {name}: install Debian's package postgresql-15"))
}
