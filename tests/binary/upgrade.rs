//! Stores of every schema that was released open, with all that is in them, and one of a newer schema is refused and left alone.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use ringhookd::store::{SCHEMA, lower_schema, raise_schema};
use serde_json::Value;

use crate::support::installation::Ran;
use crate::support::process::{Running, run};

/// The oldest schema that opens.
const OLDEST: u32 = 5;
/// The first schema of which there is a fixture; those before it are made of it.
const FIRST: u32 = 7;
const ACCOUNT: &str = "ava1.ring.account.FIXTURE000000000000000000000001";

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/stores")
}

/// Puts the store of a schema where the configuration of the fixtures has it.
fn unpacked(schema: u32, folder: &Path) -> PathBuf {
    let from = fixtures().join(format!("schema-{}", schema.max(FIRST)));
    assert!(from.exists(), "schema {schema} has no fixture: fixtures/stores/make.sh makes it");
    let data = folder.join("data");
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, Permissions::from_mode(0o700)).unwrap();
    fs::copy(from.join("identity.json"), data.join("identity.json")).unwrap();
    let store = File::create(data.join("store.redb")).unwrap();
    let packed = from.join("store.redb.gz");
    assert!(Command::new("gzip").arg("-dc").arg(packed).stdout(store).status().unwrap().success());
    let key = folder.join("master.key");
    fs::write(&key, "ab".repeat(32)).unwrap();
    fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    if schema < FIRST {
        lower_schema(&data, schema).unwrap();
    }
    let config = folder.join("config.toml");
    fs::copy(fixtures().join("config.toml"), &config).unwrap();
    config
}

fn command(config: &Path, args: &[&str]) -> Ran {
    Ran::of(run(&[args, &["--json", "--config", config.to_str().unwrap()]].concat(), b""))
}

#[test]
fn the_store_of_each_schema_opens_with_all_that_is_in_it() {
    for schema in OLDEST..=SCHEMA {
        let dir = tempfile::tempdir().unwrap();
        let config = unpacked(schema, dir.path());
        // It says what a start would do, and does not do it.
        for _ in 0..2 {
            let checked = command(&config, &["check"]);
            assert_eq!(checked.code, 0, "{schema}: {checked:?}");
            let told = checked
                .out
                .contains(&format!("the store is of schema {schema}; serve brings it to {SCHEMA}"));
            assert_eq!(told, schema < SCHEMA, "{schema}: {checked:?}");
        }
        let daemon = Running::start(&config);
        let shown = command(&config, &["accounts", "show", ACCOUNT]);
        let account: Value = serde_json::from_str(&shown.out).unwrap_or_else(|_| panic!("{shown:?}"));
        assert_eq!((&account["user"], &account["state"]), (&"ann".into(), &"linked".into()), "{schema}");
        let read = command(&config, &["queue", "read", "all", "--max", "10"]);
        let kinds: Vec<_> = read
            .out
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["type"].as_str().unwrap().to_owned())
            .collect();
        let kept = ["motion_detected", "device_added", "device_online", "co_exceeded"];
        assert_eq!(kinds, kept.map(|kind| format!("com.ring.{kind}")), "{schema}");
        let quarantined = command(&config, &["dead-letters", "list", "--class", "quarantined"]);
        assert_eq!(quarantined.out.lines().count(), 1, "{schema}: {quarantined:?}");
        // It remembers what came before.
        let body = fs::read(fixtures().join("../events/button_press.json")).unwrap();
        let signature = fs::read_to_string(fixtures().join("../events/button_press.sig")).unwrap();
        assert_eq!(daemon.post(&format!("X-Signature: {signature}\r\n"), &body), 200);
        assert!(command(&config, &["queue", "read", "all", "--max", "10"]).out.is_empty(), "{schema}");
        assert!(daemon.stop().0.success());
    }
}

#[test]
fn the_store_of_a_newer_schema_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let config = unpacked(SCHEMA, dir.path());
    let file = dir.path().join("data/store.redb");
    raise_schema(&dir.path().join("data")).unwrap();
    let before = fs::read(&file).unwrap();
    let words = format!(
        "the store is of schema {}; this program knows up to {SCHEMA}: use a newer ringhookd",
        SCHEMA + 1
    );
    for (name, code) in [("serve", 65), ("check", 1)] {
        let ran = command(&config, &[name]);
        assert_eq!(ran.code, code, "{ran:?}");
        assert!(format!("{ran:?}").contains(&words), "{ran:?}");
    }
    assert!(fs::read(&file).unwrap() == before, "it was written to");
}
