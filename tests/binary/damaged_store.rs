//! A store that is damaged, or that is not ours to read: every command says so in words, with the way out, and changes nothing.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use ringhookd::store::{Identity, LOG_BYTES, Store};

use crate::support::configuration::Configuration;
use crate::support::process::{Stranger, open_to_all};
use crate::support::rng::{Rng, seed};
use crate::support::{event, link, spec, store, vault};

const FLIPS: usize = 60;
const COMMANDS: [&[&str]; 4] = [&["check"], &["serve"], &["init"], &["accept-restored", "--yes"]];

/// A store with an account and events, closed.
struct DamagedStore {
    dir: tempfile::TempDir,
    good: Vec<u8>,
}

impl DamagedStore {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("data");
        let made = store(&folder, vec![spec("all")]);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            link(&made, "a", "ann").await;
            for id in 0..50 {
                made.inbox().accept(event(&id.to_string(), "a")).await.unwrap();
            }
        });
        made.close();
        let damaged = Self { good: fs::read(folder.join("store.redb")).unwrap(), dir };
        let key = damaged.file("master.key");
        fs::write(&key, "ab".repeat(32)).unwrap();
        fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
        Configuration::of("[[queue]]\nname = \"all\"\nkind = \"embedded\"").write(damaged.dir.path());
        damaged
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("config.toml")
    }

    fn folder(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    fn run(&self, args: &[&str]) -> (i32, String) {
        // A `serve` that runs after all ends with 124.
        let mut command = Command::new("timeout");
        command
            .args(["60", env!("CARGO_BIN_EXE_ringhookd"), "--config", self.config().to_str().unwrap()])
            .args(args);
        let output = command.output().unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.code().unwrap(), text)
    }
}

fn only_words(text: &str) -> bool {
    let lower = text.to_lowercase();
    !["panic", "rust_backtrace", ".rs:", "tells more", "there is no store"]
        .iter()
        .any(|bad| lower.contains(bad))
}

#[test]
fn damage_is_told_by_every_command_in_words_with_the_file_and_the_way_out() {
    let damaged = DamagedStore::new();
    let data = damaged.file("store.redb");
    let identity = fs::read(damaged.file("identity.json")).unwrap();
    let cut = |to: usize| damaged.good[..to].to_vec();
    let foreign = {
        let other = damaged.dir.path().join("other");
        let identity =
            Identity { store: "another".into(), environment: "test".into(), created: "now".into() };
        Store::create(&other, &identity, || Ok(vault())).unwrap();
        fs::read(other.join("store.redb")).unwrap()
    };
    let mut headless = damaged.good.clone();
    headless[LOG_BYTES..LOG_BYTES + 4096].fill(0);
    let files = [
        ("empty", Vec::new()),
        ("one byte", vec![b'r']),
        ("cut to a page", cut(4096)),
        ("cut to its log", cut(LOG_BYTES)),
        ("cut behind the log", cut(LOG_BYTES + 5000)),
        ("cut in the middle", cut(LOG_BYTES + (damaged.good.len() - LOG_BYTES) / 2)),
        ("without a header", headless),
        ("of another kind", b"SQLite format 3\0".repeat(4096)),
        ("of another store", foreign),
    ];
    for (name, bytes) in &files {
        fs::write(&data, bytes).unwrap();
        all_commands_say(&damaged, name, &["Keep a copy", "Put back"]);
        assert!(fs::read(&data).unwrap() == *bytes, "{name}: it was changed");
    }
    fs::write(&data, &damaged.good).unwrap();
    for bad in [&b""[..], b"{", b"\xff\xfe", b"[1]"] {
        fs::write(damaged.file("identity.json"), bad).unwrap();
        all_commands_say(&damaged, "identity", &["identity.json"]);
    }
    for name in ["identity.json", "store.redb"] {
        fs::remove_file(damaged.file(name)).unwrap();
        fs::create_dir(damaged.file(name)).unwrap();
        all_commands_say(&damaged, "a folder", &["Keep a copy"]);
        fs::remove_dir(damaged.file(name)).unwrap();
        fs::write(damaged.file(name), if name == "store.redb" { &damaged.good } else { &identity }).unwrap();
    }
    fs::remove_file(&data).unwrap();
    all_commands_say(&damaged, "a missing file", &["is not whole"]);
    fs::write(&data, &damaged.good).unwrap();
    assert_eq!(damaged.run(&["check"]).0, 0, "{}", damaged.run(&["check"]).1);
}

/// Each command refuses; those that look into the store say one of these.
fn all_commands_say(damaged: &DamagedStore, what: &str, words: &[&str]) {
    let folder = damaged.folder().display().to_string();
    for args in COMMANDS {
        let (code, text) = damaged.run(args);
        assert!([1, 65, 78].contains(&code), "{what}, {args:?}: {code} {text}");
        assert!(only_words(&text) && text.contains(&folder), "{what}, {args:?}: {text}");
        let looks_inside = matches!(args[0], "check" | "serve");
        assert!(!looks_inside || words.iter().any(|words| text.contains(words)), "{what}, {args:?}: {text}");
    }
}

#[test]
fn a_flipped_bit_is_told_in_words_or_does_no_harm() {
    let seed = seed();
    println!("RINGHOOKD_SEED={seed}");
    let damaged = DamagedStore::new();
    let pages = damaged.good.chunks(4096).enumerate().filter(|(_, page)| page.iter().any(|byte| *byte != 0));
    let used: Vec<usize> = pages.map(|(number, _)| number * 4096).collect();
    let mut rng = Rng(seed);
    let mut refused = 0;
    for number in 0..FLIPS {
        let at = *rng.pick(&used) + rng.below(4096);
        let mut bad = damaged.good.clone();
        bad[at.min(damaged.good.len() - 1)] ^= 1 << rng.below(8);
        fs::write(damaged.file("store.redb"), &bad).unwrap();
        let (code, text) = damaged.run(&["check"]);
        assert!(only_words(&text), "seed {seed}, flip {number} at {at}: {text}");
        if code == 0 {
            continue;
        }
        refused += 1;
        assert!(text.contains("Keep a copy"), "seed {seed}, flip {number} at {at}: {text}");
        let (code, text) = damaged.run(&["serve"]);
        assert!(code == 65 && only_words(&text), "seed {seed}, flip {number} at {at}: {code} {text}");
    }
    assert!(refused > 0);
}

#[test]
fn to_another_user_a_store_is_not_absent_but_denied() {
    let Some(stranger) = Stranger::new() else { return };
    let damaged = DamagedStore::new();
    open_to_all(damaged.dir.path());
    let config = damaged.config();
    let said = |args: &[&str]| {
        let output = stranger.run(65534, &[&["--config", config.to_str().unwrap()], args].concat());
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!([1, 78].contains(&output.status.code().unwrap()) && only_words(&text), "{args:?}: {text}");
        text
    };
    let set = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    set(&damaged.folder(), 0o700);
    for args in COMMANDS {
        let text = said(args);
        let folder = damaged.folder().display().to_string();
        let words = if args[0] == "accept-restored" { "may not use this socket" } else { "can't enter" };
        assert!(text.contains(words) && text.contains(&folder), "{args:?}: {text}");
    }
    set(&damaged.folder(), 0o755);
    // Its key is readable here, so that the store is looked at.
    let key = damaged.dir.path().join("key");
    fs::copy(damaged.file("master.key"), &key).unwrap();
    std::os::unix::fs::chown(&key, Some(65534), None).unwrap();
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("{text}[keys]\nmaster = \"{}\"\n", key.display())).unwrap();
    for name in ["store.redb", "identity.json"] {
        for other in fs::read_dir(damaged.folder()).unwrap() {
            set(&other.unwrap().path(), 0o666);
        }
        set(&damaged.file(name), 0o000);
        for args in [&["check"][..], &["serve"]] {
            let text = said(args);
            // The daemon binds its socket there before it looks at the store.
            let path =
                if args[0] == "serve" { damaged.folder() } else { damaged.file(name) }.display().to_string();
            assert!(text.contains("it belongs to user root") && text.contains(&path), "{args:?}: {text}");
        }
    }
}

#[test]
fn a_folder_that_is_none_is_told() {
    let damaged = DamagedStore::new();
    fs::remove_dir_all(damaged.folder()).unwrap();
    fs::write(damaged.folder(), "a file").unwrap();
    for args in [&["check"][..], &["serve"], &["init"]] {
        let (code, text) = damaged.run(args);
        assert!(code != 0 && only_words(&text) && text.contains("is no folder"), "{args:?}: {code} {text}");
    }
}

#[test]
fn a_copy_of_a_stopped_store_opens_and_the_documents_call_no_copy_a_backup() {
    let damaged = DamagedStore::new();
    let copy = damaged.dir.path().join("copy");
    fs::create_dir(&copy).unwrap();
    for name in ["store.redb", "identity.json", "master.key"] {
        fs::copy(damaged.file(name), copy.join(name)).unwrap();
    }
    let text = fs::read_to_string(damaged.config()).unwrap();
    let elsewhere = text.replace(damaged.folder().to_str().unwrap(), copy.to_str().unwrap());
    fs::write(damaged.config(), elsewhere).unwrap();
    let (code, text) = damaged.run(&["check"]);
    assert_eq!(code, 0, "{text}");
    for (name, document) in [
        ("docs/BACKUP.md", include_str!("../../docs/BACKUP.md")),
        ("systemd/README.md", include_str!("../../systemd/README.md")),
    ] {
        let paragraphs = document.split("\n\n").flat_map(|part| part.split("\n- ").map(str::to_owned));
        let on_backups: Vec<_> =
            paragraphs.filter(|text| text.contains("`ringhookd backup` writes")).collect();
        assert!(!on_backups.is_empty(), "{name} says nothing of backups");
        assert!(
            on_backups.iter().all(|text| text.contains("a running daemon is damaged")),
            "{name}: {on_backups:#?}"
        );
    }
}
