//! `ringhookd backup` and `restore`: what was acknowledged is in it, nobody overwrites or restores anything damaged, and nothing
//! unfinished stays.

mod load;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use ringhookd::vault::Vault;
use serde_json::{Value, json};

use self::load::{Load, compare};
use crate::support::configuration::{Configuration, OPEN_QUEUE, SOCKET, signature};
use crate::support::http::{exchange, request};
use crate::support::installation::Ran;
use crate::support::process::{Running, ringhookd, run};

const BACKUPS: usize = 20;
const ACCESS_TOKEN: &str = "a-made-up-access-token";

/// A folder with a daemon's configuration and, beside it, one to restore into.
struct Site {
    dir: tempfile::TempDir,
}

impl Site {
    fn new() -> Self {
        let site = Self { dir: tempfile::tempdir().unwrap() };
        Configuration::of(OPEN_QUEUE).with(SOCKET).write(site.dir.path());
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn start(&self) -> Running {
        Running::start(&self.path("config.toml"))
    }

    fn run(&self, args: &[&str]) -> Ran {
        self.run_as("config.toml", args)
    }

    fn run_as(&self, config: &str, args: &[&str]) -> Ran {
        Ran::of(run(&[&["--config", text(&self.path(config))], args].concat(), b""))
    }

    fn back_up(&self, name: &str) -> Value {
        let made = self.run(&["--json", "backup", text(&self.path(name))]);
        assert_eq!(made.code, 0, "{made:?}");
        serde_json::from_str(&made.out).unwrap()
    }

    /// A folder of its own, with the same master key, to restore into; its configuration and where its store will be.
    fn elsewhere(&self, name: &str) -> (String, PathBuf) {
        let folder = self.path(name);
        fs::create_dir(&folder).unwrap();
        let key = format!("[keys]\nmaster = \"{}\"", self.path("data/master.key").display());
        Configuration::of(OPEN_QUEUE).with(&key).with(SOCKET).write(&folder);
        (format!("{name}/config.toml"), folder.join("data"))
    }

    fn vault(&self) -> Vault {
        Vault::from_hex(&fs::read(self.path("data/master.key")).unwrap(), None).unwrap()
    }

    fn names(&self) -> Vec<String> {
        names(self.dir.path())
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn import_with_token(site: &Site) {
    let entry = json!({
        "account_id": "with-tokens",
        "user": "ann",
        "access_token": ACCESS_TOKEN,
        "refresh_token": "a-made-up-refresh-token",
        "expires_in": 14_400,
    });
    let socket = site.path("admin.sock");
    let answer = exchange(&socket, &request("POST", "/v1/accounts", "", entry.to_string()));
    assert_eq!(answer.json()["imported"], 1, "{answer:?}");
}

#[test]
fn backups_under_full_load_hold_what_was_acknowledged_before_them_once_and_whole() {
    let site = Site::new();
    let daemon = site.start();
    import_with_token(&site);
    let load = Load::start(daemon.address(), &site.path("admin.sock"));
    let mut acknowledged_meanwhile = 0;
    for number in 0..BACKUPS {
        let (config, store) = site.elsewhere(&format!("restored-{number}"));
        load.run_until_busy();
        let before = load.standing();
        let name = format!("{number}.backup");
        site.back_up(&name);
        let after = load.standing();
        load.pause();
        acknowledged_meanwhile += after.acknowledged() - before.acknowledged();
        let restored = site.run_as(&config, &["restore", text(&site.path(&name))]);
        assert_eq!(restored.code, 0, "{restored:?}");
        compare(&before, &after, &store, site.vault(), ACCESS_TOKEN);
        fs::remove_file(site.path(&name)).unwrap();
        fs::remove_dir_all(site.path(&format!("restored-{number}"))).unwrap();
    }
    // Beside one of them it may have been held up, beside all of them not.
    assert!(acknowledged_meanwhile > 0, "the load went on");
    load.end();
    assert!(daemon.stop().0.success());
}

#[test]
fn a_backup_is_for_its_owner_and_overwrites_nothing() {
    let site = Site::new();
    let daemon = site.start();
    import_with_token(&site);
    let made = site.back_up("one");
    let found = fs::metadata(site.path("one")).unwrap();
    assert_eq!((found.permissions().mode() & 0o777, Some(found.len())), (0o600, made["bytes"].as_u64()));
    assert!(made["rows"].as_u64().unwrap() > 4, "{made}");
    let bytes = fs::read(site.path("one")).unwrap();
    for secret in [ACCESS_TOKEN, "a-made-up-refresh-token"] {
        assert!(!bytes.windows(secret.len()).any(|part| part == secret.as_bytes()), "{secret}");
    }
    fs::write(site.path("two"), "somebody's").unwrap();
    let before = site.names();
    for (name, words) in
        [("one", "never overwrites"), ("two", "never overwrites"), ("none/x", "No such file")]
    {
        site.run(&["backup", text(&site.path(name))]).is_refused(words);
    }
    assert_eq!(site.names(), before);
    assert_eq!(fs::read(site.path("one")).unwrap(), bytes);
    assert_eq!(fs::read(site.path("two")).unwrap(), b"somebody's");
    // What a backup left that was killed is taken over.
    fs::write(site.path(".three.unfinished"), "half").unwrap();
    site.back_up("three");
    assert!(!site.path(".three.unfinished").exists());
    drop(daemon);
    site.run(&["backup", text(&site.path("four"))]).is_refused("is the daemon running?");
    assert!(!site.names().iter().any(|name| name.contains("four")), "{:?}", site.names());
}

#[test]
fn a_socket_without_the_right_or_with_some_accounts_gets_no_backup() {
    let site = Site::new();
    let sockets = "[[socket]]\npath = \"FOLDER/some.sock\"\naccounts = [\"a\"]\n\
                   [[socket]]\npath = \"FOLDER/one.sock\"\nusers = [\"ann\"]\ncalls = [\"backup\"]\n\
                   [[socket]]\npath = \"FOLDER/other.sock\"\ncalls = [\"status\", \"keys\"]\n\
                   [[socket]]\npath = \"FOLDER/backup.sock\"\ncalls = [\"backup\"]\n";
    Configuration::of(OPEN_QUEUE).with(SOCKET).with(sockets).write(site.dir.path());
    let _daemon = site.start();
    for (socket, words) in [
        ("some.sock", "sees only some"),
        ("one.sock", "sees only some"),
        ("other.sock", "does not allow backup"),
    ] {
        let socket = site.path(socket);
        let refused = Ran::of(run(&["--socket", text(&socket), "backup", text(&site.path("out"))], b""));
        refused.is_refused(words);
    }
    assert!(!site.names().iter().any(|name| name.contains("out")), "{:?}", site.names());
    let socket = site.path("backup.sock");
    assert_eq!(
        run(&["--socket", text(&socket), "backup", text(&site.path("out"))], b"").status.code(),
        Some(0)
    );
    assert_eq!(Ran::of(run(&["--socket", text(&socket), "status"], b"")).code, 1, "and nothing else");
}

#[test]
fn what_is_no_whole_backup_is_refused_in_words_and_leaves_the_folder_as_it_was() {
    let site = Site::new();
    let daemon = site.start();
    import_with_token(&site);
    site.back_up("good");
    assert!(daemon.stop().0.success());
    let good = fs::read(site.path("good")).unwrap();
    let flipped = |at: usize| {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        bad
    };
    let store = fs::read(site.path("data/store.redb")).unwrap();
    let (config, folder) = site.elsewhere("new");
    for (what, bytes, words) in [
        ("empty", Vec::new(), "no backup"),
        ("a store", store, "no backup"),
        ("another kind of file", b"PK\x03\x04".repeat(4096), "no backup"),
        ("cut", good[..good.len() - 4096].to_vec(), "bytes"),
        ("cut to its head", good[..4096].to_vec(), "bytes"),
        ("longer", [&good[..], b"x"].concat(), "bytes"),
        ("its head", flipped(40), "first page"),
        ("the end of its head", flipped(4095), "first page"),
        ("behind its head", flipped(5000), "checksum"),
        ("its first page of rows", flipped((2 << 20) + 70), "checksum"),
        ("its end", flipped(good.len() - 1), "checksum"),
    ] {
        fs::write(site.path("bad"), bytes).unwrap();
        let refused = site.run_as(&config, &["restore", text(&site.path("bad"))]);
        assert!(refused.code == 65 && refused.out.is_empty(), "{what}: {refused:?}");
        assert!(
            refused.err.contains("can't be restored") && refused.err.contains(words),
            "{what}: {refused:?}"
        );
        assert!(!folder.exists(), "{what}");
    }
    let missing = site.run_as(&config, &["restore", text(&site.path("nowhere"))]);
    assert!(missing.code == 1 && missing.err.contains("nowhere"), "{missing:?}");

    let restored = site.run_as(&config, &["restore", text(&site.path("good"))]);
    assert_eq!(restored.code, 0, "{restored:?}");
    let kept = fs::read(folder.join("store.redb")).unwrap();
    for config in [config.as_str(), "config.toml"] {
        let refused = site.run_as(config, &["restore", text(&site.path("good"))]);
        assert!(refused.code == 78 && refused.err.contains("there is a store in"), "{refused:?}");
    }
    assert_eq!(fs::read(folder.join("store.redb")).unwrap(), kept);
    assert_eq!(site.run_as(&config, &["check"]).code, 0);
}

#[test]
fn the_master_key_and_the_environment_have_to_be_those_of_the_backup() {
    let site = Site::new();
    let daemon = site.start();
    import_with_token(&site);
    let made = site.back_up("good");
    assert!(daemon.stop().0.success());
    let (config, folder) = site.elsewhere("new");
    let settings = fs::read_to_string(site.path(&config)).unwrap();
    let other_key = site.path("other.key");
    fs::write(&other_key, "cd".repeat(32)).unwrap();
    fs::set_permissions(&other_key, fs::Permissions::from_mode(0o600)).unwrap();
    for (from, to, words) in [
        (text(&site.path("data/master.key")), text(&other_key), made["master"].as_str().unwrap()),
        ("environment = \"test\"", "environment = \"live\"", "was made for environment \"test\""),
    ] {
        fs::write(site.path(&config), settings.replace(from, to)).unwrap();
        let refused = site.run_as(&config, &["restore", text(&site.path("good"))]);
        assert!(refused.code == 78 && refused.err.contains(words), "{refused:?}");
        let left = if folder.exists() { names(&folder) } else { Vec::new() };
        assert!(left.iter().all(|name| name == "holder"), "{left:?}");
    }
    fs::write(site.path(&config), settings).unwrap();
    assert_eq!(site.run_as(&config, &["restore", text(&site.path("good"))]).code, 0);
}

#[test]
fn a_backup_can_come_on_standard_input_where_only_the_caller_may_read_it() {
    let site = Site::new();
    let daemon = site.start();
    site.back_up("good");
    assert!(daemon.stop().0.success());
    let (config, _) = site.elsewhere("new");
    let config = site.path(&config);
    // Whoever restores needs the keys of the store alone, as the unit of systemd has them.
    let far = "[[queue]]\nname = \"far\"\nkind = \"http\"\nurl = \"https://localhost/\"\nbearer_file = \"./not-here\"\n";
    fs::write(&config, fs::read_to_string(&config).unwrap() + "\n" + far).unwrap();
    let args = ["--config", text(&config), "restore", "-"];
    let piped = Ran::of(run(&args, &fs::read(site.path("good")).unwrap()));
    piped.is_refused("standard input is no file");
    let input = fs::File::open(site.path("good")).unwrap();
    let restored = ringhookd(&args).stdin(Stdio::from(input)).output().unwrap();
    assert_eq!(restored.status.code(), Some(0), "{restored:?}");
}

#[test]
fn a_restored_daemon_takes_up_where_the_backup_was_made() {
    let site = Site::new();
    let daemon = site.start();
    let body =
        |id: &str| format!(r#"{{"meta":{{"request_id":"{id}","account_id":"a"}},"data":{{"type":"x"}}}}"#);
    let post = |daemon: &Running, id: &str| daemon.post(&signature(body(id).as_bytes()), body(id).as_bytes());
    assert_eq!(post(&daemon, "before"), 200);
    site.back_up("good");
    assert_eq!(post(&daemon, "after"), 200);
    assert!(daemon.stop().0.success());
    let (config, _) = site.elsewhere("new");
    assert_eq!(site.run_as(&config, &["restore", text(&site.path("good"))]).code, 0);
    let daemon = Running::start(&site.path(&config));
    // The first is known, the others are new.
    for id in ["before", "after", "later"] {
        assert_eq!(post(&daemon, id), 200);
    }
    let read = site.run_as(&config, &["--json", "queue", "read", "all"]);
    let ids: Vec<Value> =
        read.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].clone()).collect();
    assert_eq!(ids, ["before", "after", "later"]);
    assert!(daemon.stop().0.success());
}
