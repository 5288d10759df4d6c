//! A full run with a canary for every secret, and all that it printed, logged and wrote.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ringhookd::domain::signature::sign;
use serde_json::Value;
use tempfile::TempDir;

use super::scan::{Scan, Secret};
use crate::support::http::{Answer, exchange, request};
use crate::support::process::{Running, ringhookd, run};

/// Something to look through.
struct Said {
    what: String,
    bytes: Vec<u8>,
    /// Whether bodies belong there: what prints events to their reader.
    shows_events: bool,
    /// The one access token that belongs there, once: `token` was asked for it.
    lent: Option<String>,
}

impl Said {
    /// Without what belongs there.
    fn rest(&self) -> Vec<u8> {
        let Some(lent) = &self.lent else { return self.bytes.clone() };
        let lent = lent.as_bytes();
        let at = self.bytes.windows(lent.len()).position(|bytes| bytes == lent);
        at.map_or(self.bytes.clone(), |at| [&self.bytes[..at], b" ", &self.bytes[at + lent.len()..]].concat())
    }
}

pub(crate) struct Show {
    dir: TempDir,
    pub(crate) hmac: [Secret; 2],
    secrets: Vec<Secret>,
    bodies: Vec<Secret>,
    said: Vec<Said>,
    /// More of the configuration.
    ring: String,
}

/// What the tokens of the simulated Ring begin with.
const PREFIXES: [&str; 2] = ["sim-rt-", "sim-at-"];

impl Show {
    pub(crate) fn new() -> Self {
        let hmac = [Secret::canary("hmac key inline"), Secret::canary("hmac key in a file")];
        let dir = tempfile::tempdir().unwrap();
        let (bodies, said, ring) = (Vec::new(), Vec::new(), String::new());
        let show = Self { dir, secrets: hmac.to_vec(), hmac, bodies, said, ring };
        show.key_file("hmac", show.hmac[1].text());
        show
    }

    /// From now on configurations end with these lines.
    pub(crate) fn before_ring(&mut self, lines: String) {
        self.ring = lines;
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn secret(&mut self, name: &str) -> String {
        let secret = Secret::canary(name);
        self.secrets.push(secret.clone());
        secret.text().into()
    }

    /// Another secret that was not made here.
    pub(crate) fn guard(&mut self, name: &str, text: &str) {
        self.secrets.push(Secret::new(name, text.trim().as_bytes()));
    }

    /// Text for an event's body.
    pub(crate) fn body(&mut self, name: &str) -> String {
        let secret = Secret::canary(name);
        self.bodies.push(secret.clone());
        secret.text().into()
    }

    pub(crate) fn key_file(&self, name: &str, text: &str) -> PathBuf {
        let keys = self.path("keys");
        fs::create_dir_all(&keys).unwrap();
        let file = keys.join(name);
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        file
    }

    /// A configuration at the level `trace` with these lines in front of its sections and these in `[keys]`.
    pub(crate) fn config(&self, format: &str, keys: &str) -> PathBuf {
        let text = format!(
            r#"listen = "127.0.0.1:0"
hmac_keys = ["{inline}"]
hmac_key_files = ["{0}/keys/hmac"]
[store]
folder = "{0}/data"
reserve = "8 MiB"
min_free = "1 MiB"
[keys]
{keys}
[[queue]]
name = "all"
kind = "embedded"
unclaimed = "deliver"
[[queue]]
name = "mine"
kind = "embedded"
[[queue]]
name = "files"
kind = "spool"
unclaimed = "deliver"
folder = "{0}/spool"
[log]
level = "trace"
format = "{format}"
{ring}"#,
            self.dir.path().display(),
            inline = self.hmac[0].text(),
            ring = self.ring,
        );
        let file = self.path("config.toml");
        fs::write(&file, text).unwrap();
        file
    }

    fn heard(&mut self, what: impl Into<String>, bytes: Vec<u8>, shows_events: bool) {
        self.said.push(Said { what: what.into(), bytes, shows_events, lent: None });
    }

    /// Runs a command and keeps what it printed; its exit code and standard output.
    pub(crate) fn command(&mut self, args: &[&str], input: &str) -> (i32, String) {
        let output = run(args, input.as_bytes());
        let shows_events =
            args.contains(&"read") || args.windows(2).any(|two| two == ["dead-letters", "show"]);
        self.heard(format!("standard output of {args:?}"), output.stdout.clone(), shows_events);
        if args.contains(&"token") {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let known = serde_json::from_str(&text).map(|lent: Value| lent["access_token"].clone());
            let lent = known.map_or(text.trim().to_owned(), |token| token.as_str().unwrap().to_owned());
            self.said.last_mut().unwrap().lent = Some(lent).filter(|lent| lent.starts_with(PREFIXES[1]));
        }
        self.heard(format!("standard error of {args:?}"), output.stderr, false);
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    }

    /// The same against the daemon, for people and as JSON; the JSON.
    pub(crate) fn both(&mut self, args: &[&str]) -> String {
        let config = self.path("config.toml");
        let at = ["--config", config.to_str().unwrap()];
        self.command(&[&at[..], args].concat(), "");
        self.command(&[&at[..], &["--json"], args].concat(), "").1
    }

    /// Posts a webhook, and holds its signature for a secret.
    pub(crate) fn post(&mut self, daemon: &Running, key: &str, body: &[u8], header: &str) -> u16 {
        let signature = sign(key.as_bytes(), body);
        self.guard("signature", &signature["sha256=".len()..]);
        daemon.post(&format!("{header}: {signature}\r\n"), body)
    }

    /// The first lines of a tail.
    pub(crate) fn tail(&mut self, json: &[&str]) {
        let config = self.path("config.toml");
        let args = [json, &["--config", config.to_str().unwrap(), "queue", "tail", "all"]].concat();
        let mut tail = ringhookd(&args).spawn().unwrap();
        let mut line = Vec::new();
        BufReader::new(tail.stdout.take().unwrap()).read_until(b'\n', &mut line).unwrap();
        tail.kill().unwrap();
        let mut error = Vec::new();
        tail.stderr.take().unwrap().read_to_end(&mut error).unwrap();
        tail.wait().unwrap();
        assert!(!line.is_empty());
        self.heard("standard output of tail", line, true);
        self.heard("standard error of tail", error, false);
    }

    pub(crate) fn metrics(&mut self) {
        let Answer(text) = exchange(&self.path("data/admin.sock"), &request("GET", "/v1/metrics", "", ""));
        assert!(text.contains("ringhookd_webhooks_total"));
        self.heard("metrics", text.into_bytes(), false);
    }

    /// The answer to a claim, head and all.
    pub(crate) fn claim(&mut self, claim: &Value) -> String {
        let request = request("POST", "/v1/claims", "", claim.to_string());
        let Answer(answer) = exchange(&self.path("data/admin.sock"), &request);
        self.heard("the answer to a claim", answer.clone().into_bytes(), false);
        answer
    }

    /// What others on the machine could see of the process. Its environment only root may read by now.
    pub(crate) fn process(&mut self, daemon: &Running) {
        for name in ["cmdline", "environ", "status"] {
            let file = format!("/proc/{}/{name}", daemon.pid());
            match fs::read(&file) {
                Ok(bytes) => self.heard(file, bytes, false),
                Err(error) => {
                    assert_eq!((name, error.kind()), ("environ", std::io::ErrorKind::PermissionDenied));
                }
            }
        }
    }

    /// Stops the daemon in good order, keeps its log, and looks through its folders; the log.
    pub(crate) fn stop(&mut self, daemon: Running) -> String {
        self.files();
        let (status, out, log) = daemon.stop();
        assert!(status.success(), "{}", String::from_utf8_lossy(&log));
        self.ended(out, log)
    }

    /// The same with SIGKILL.
    pub(crate) fn kill(&mut self, daemon: Running) -> String {
        self.files();
        let (_, out, log) = daemon.kill();
        self.ended(out, log)
    }

    fn ended(&mut self, out: Vec<u8>, log: Vec<u8>) -> String {
        let text = String::from_utf8(log.clone()).unwrap();
        self.heard("the daemon's standard output", out, false);
        self.heard("the log", log, false);
        self.files();
        text
    }

    fn files(&mut self) {
        for (folder, shows_events) in [("data", false), ("data-guard", false), ("spool", true)] {
            for file in files_in(&self.path(folder)) {
                let name = file.display().to_string();
                self.heard(format!("the name {name}"), name.clone().into_bytes(), false);
                // The daemon may take one away meanwhile.
                if let Ok(bytes) = fs::read(&file) {
                    self.heard(name, bytes, shows_events);
                }
            }
        }
    }

    /// Where a secret, or a body where none belongs, was found.
    pub(crate) fn leaks(&self) -> Vec<String> {
        let all = Scan::new(self.secrets.iter().chain(&self.bodies));
        let secrets = Scan::new(&self.secrets);
        let look = |said: &Said| {
            let scan = if said.shows_events { &secrets } else { &all };
            let rest = said.rest();
            let begins = |prefix: &str| rest.windows(prefix.len()).any(|bytes| bytes == prefix.as_bytes());
            let begun =
                PREFIXES.iter().filter(|prefix| begins(prefix)).map(|prefix| format!("some {prefix}"));
            scan.find(&rest)
                .into_iter()
                .chain(begun)
                .map(|found| format!("{found} in {}", said.what))
                .collect::<Vec<_>>()
        };
        self.said.iter().flat_map(look).collect()
    }

    /// Whose bodies were shown where they belong, and in which of those places.
    pub(crate) fn shown(&self) -> Vec<String> {
        let bodies = Scan::new(&self.bodies);
        let places = self.said.iter().filter(|said| said.shows_events);
        places.filter(|said| !bodies.find(&said.bytes).is_empty()).map(|said| said.what.clone()).collect()
    }

    /// What `token` printed of access tokens.
    pub(crate) fn lent(&self) -> Vec<&str> {
        self.said.iter().filter_map(|said| said.lent.as_deref()).collect()
    }

    /// Leaves these where a careless daemon might.
    pub(crate) fn plant(&mut self, folder: &str, files: &[Vec<u8>]) {
        for (n, bytes) in files.iter().enumerate() {
            fs::write(self.path(&format!("{folder}/planted-{n}")), bytes).unwrap();
        }
        self.files();
    }

    /// As if `token` had printed this where it was asked for `lent`.
    pub(crate) fn pretend_token(&mut self, printed: &str, lent: &str) {
        let (what, bytes) = (format!("{printed} for {lent}"), printed.into());
        self.said.push(Said { what, bytes, shows_events: false, lent: Some(lent.into()) });
    }
}

/// Every regular file below.
pub(crate) fn files_in(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            files.extend(files_in(&entry.path()));
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
    files
}
