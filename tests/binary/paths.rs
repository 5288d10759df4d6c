//! Relative paths of the configuration start at its file, wherever ringhookd is started, and what is shown is absolute.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::support::process::{Running, ringhookd};

const CONFIG: &str = r#"
listen = "127.0.0.1:0"
hmac_key_files = ["./hmac.key"]
[store]
folder = "data"
create = true
reserve = "8 MiB"
min_free = "1 MiB"
[[socket]]
path = "./admin.sock"
[[queue]]
name = "files"
kind = "spool"
folder = "files"
"#;

#[test]
fn a_configuration_means_the_same_wherever_it_is_read_from() {
    let dir = tempfile::tempdir().unwrap();
    let (site, away) = (dir.path().join("site"), dir.path().join("away"));
    fs::create_dir_all(&site).unwrap();
    fs::create_dir_all(&away).unwrap();
    fs::write(site.join("config.toml"), CONFIG).unwrap();
    fs::write(site.join("hmac.key"), "a-made-up-signing-key-for-tests").unwrap();
    fs::set_permissions(site.join("hmac.key"), Permissions::from_mode(0o600)).unwrap();
    let run = |args: &[&str]| {
        let mut command = ringhookd(&[args, &["--config", "../site/config.toml"]].concat());
        command.current_dir(&away);
        let output = command.output().unwrap();
        let out = String::from_utf8(output.stdout).unwrap();
        (output.status.success(), out, String::from_utf8(output.stderr).unwrap())
    };
    let at = |name: &str| away.join("../site").join(name).display().to_string();
    let (is_well, out, _) = run(&["check"]);
    assert!(is_well, "{out}");
    for path in ["data", "data/master.key", "files"] {
        assert!(out.contains(&at(path)), "{path} in {out}");
    }
    let gone = run(&["status"]).2;
    assert!(gone.contains(&at("admin.sock")), "{gone}");

    let mut command = ringhookd(&["serve", "--config", "../site/config.toml"]);
    command.current_dir(&away);
    let daemon = Running::launch(command);
    for path in ["data/store.redb", "data/master.key", "data-guard", "admin.sock", "files"] {
        assert!(site.join(path).exists(), "{path}");
    }
    let (_, out, said) = run(&["status", "--json"]);
    let status: Value = serde_json::from_str(&out).expect(&said);
    assert_eq!(status["store"]["folder"], at("data"));
    let (is_well, out, said) = run(&["backup", "a.backup"]);
    assert!(is_well && out.contains(&away.join("a.backup").display().to_string()), "{out}{said}");
    let (_, _, log) = daemon.stop();
    let log = String::from_utf8(log).unwrap();
    assert!(log.contains(&at("data")) && !log.contains("\"data\""), "{log}");
    // Told as a problem, too.
    fs::remove_file(site.join("hmac.key")).unwrap();
    let (is_well, out, _) = run(&["check"]);
    assert!(!is_well && out.contains(&at("hmac.key")) && out.starts_with(&at("config.toml")), "{out}");
    assert_eq!(fs::read_dir(&away).unwrap().count(), 1, "the backup alone");
}
