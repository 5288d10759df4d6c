//! A folder with a configuration, a simulated Ring before it, and the real commands beside the daemon there.

use std::fs;
use std::path::PathBuf;
use std::process::Output;
use std::time::Duration;

use ringhookd::clock;
use ringhookd::sim::Ring;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::configuration::{Configuration, SOCKET};
use crate::support::http::{exchange, request};
use crate::support::process::{Running, run};

/// Far more than anything takes; only a hang meets it.
const PATIENCE: Duration = Duration::from_mins(1);

/// What a command did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    pub(crate) fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// Whether a line begins so, however wide its columns are.
    pub(crate) fn has_line(&self, beginning: &str) -> bool {
        let narrow = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        self.out.lines().any(|line| narrow(line).starts_with(beginning.trim_end()))
    }

    /// What was printed, which is one line and nothing else.
    pub(crate) fn token(&self) -> &str {
        let line = self.out.strip_suffix('\n').unwrap();
        assert!(line.starts_with("sim-at-") && !line.contains(char::is_whitespace), "{self:?}");
        line
    }

    /// Said on standard error, with exit code 1 and nothing on standard output.
    pub(crate) fn is_refused(&self, words: &str) {
        assert_eq!((self.code, self.out.as_str()), (1, ""), "{self:?}");
        assert!(self.err.starts_with("ringhookd: ") && self.err.contains(words), "{words} in {self:?}");
    }

    /// An import of one line that was refused.
    pub(crate) fn is_not_imported(&self, words: &str) {
        assert!(self.code == 1 && self.out.starts_with("imported 0 accounts"), "{self:?}");
        assert!(
            self.err.starts_with("ringhookd: line 1: ") && self.err.contains(words),
            "{words} in {self:?}"
        );
    }
}

pub(crate) struct Installation {
    dir: TempDir,
    ring: Option<Ring>,
}

impl Installation {
    /// Before `ring`, with its secret and the open socket besides those in `sockets`, where FOLDER is the installation's own.
    pub(crate) fn new(ring: Ring, sockets: &str) -> Self {
        let secret = ring.client().secret.clone();
        let installation = Self { dir: tempfile::tempdir().unwrap(), ring: Some(ring) };
        installation.configure(&secret, sockets);
        installation
    }

    pub(crate) fn configure(&self, client_secret: &str, sockets: &str) {
        let queue = "[[queue]]\nname = \"all\"\nkind = \"embedded\"\n";
        let configuration = Configuration::new()
            .ring_with(self.ring(), client_secret, "connect_timeout = \"1s\"\ncall_timeout = \"4s\"\n")
            .with(queue)
            .with(SOCKET)
            .with(sockets);
        configuration.write(self.dir.path());
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn ring(&self) -> &Ring {
        self.ring.as_ref().unwrap()
    }

    pub(crate) fn stop_ring(&mut self) {
        self.ring.take().unwrap().stop();
    }

    pub(crate) fn serve(&self) -> Running {
        Running::start(&self.path("config.toml"))
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        let config = self.path("config.toml");
        Ran::of(run(&[&["--config", config.to_str().unwrap()], args].concat(), b""))
    }

    /// The only line of JSON of a command that is fine.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let ran = self.run(&[&["--json"], args].concat());
        assert_eq!((ran.code, ran.out.lines().count()), (0, 1), "{args:?}: {ran:?}");
        serde_json::from_str(&ran.out).unwrap()
    }

    /// What `status` says, whether or not all is well.
    pub(crate) fn report(&self) -> Value {
        let ran = self.run(&["--json", "status"]);
        assert!([0, 3].contains(&ran.code) && ran.out.lines().count() == 1, "{ran:?}");
        serde_json::from_str(&ran.out).unwrap()
    }

    /// The names of the problems that `status` tells.
    pub(crate) fn problems(&self) -> Vec<String> {
        let problems = self.report()["problems"].clone();
        problems.as_array().unwrap().iter().map(|problem| problem["name"].as_str().unwrap().into()).collect()
    }

    /// What `status` says of tokens.
    pub(crate) fn status(&self) -> Value {
        self.report()["tokens"].clone()
    }

    pub(crate) fn lend(&self, account: &str, args: &[&str]) -> Ran {
        self.run(&[&["token", account], args].concat())
    }

    /// From standard input.
    pub(crate) fn import(&self, entry: &Value) -> Ran {
        self.import_through("admin.sock", entry)
    }

    pub(crate) fn imported(&self, entry: &Value) {
        let ran = self.import(entry);
        assert_eq!(ran.code, 0, "{ran:?}");
    }

    pub(crate) fn import_through(&self, socket: &str, entry: &Value) -> Ran {
        let socket = self.path(socket);
        let args = ["--socket", socket.to_str().unwrap(), "accounts", "import"];
        Ran::of(run(&args, entry.to_string().as_bytes()))
    }

    /// An account of Ann's whose access token is good for another hour, so that nobody refreshes it unasked.
    pub(crate) fn import_ageing(&self, account: &str) {
        let given = self.ring().add_account(account);
        let (access, refresh) = (given.access, given.refresh);
        self.imported(&json!({
            "account_id": account,
            "user": "ann",
            "access_token": access,
            "refresh_token": refresh,
            "expires_in": 3600,
        }));
    }

    /// The status and body of a call over a socket.
    pub(crate) fn call(&self, socket: &str, method: &str, path: &str, body: &str) -> (u16, String) {
        let answer = exchange(&self.path(socket), &request(method, path, "", body));
        (answer.status(), answer.body().to_owned())
    }

    /// Of the daemon that runs.
    pub(crate) fn back_up(&self) {
        let made = self.run(&["backup", self.path("backup").to_str().unwrap()]);
        assert_eq!(made.code, 0, "{made:?}");
    }

    /// Puts the backup in the place of the store, which nobody has open.
    pub(crate) fn restore(&self) {
        for name in ["store.redb", "identity.json"] {
            fs::remove_file(self.path("data").join(name)).unwrap();
        }
        let restored = self.run(&["restore", self.path("backup").to_str().unwrap()]);
        assert!(restored.code == 0 && restored.out.starts_with("restored store "), "{restored:?}");
    }
}

/// Waits for something that the daemon is about to do.
pub(crate) fn soon(what: &str, is_so: impl Fn() -> bool) {
    let deadline = clock::ticks() + PATIENCE;
    while !is_so() {
        assert!(clock::ticks() < deadline, "not so: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
