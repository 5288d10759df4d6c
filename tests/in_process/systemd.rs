//! The systemd units, the production configuration and their documentation agree with each other; systemd/check.sh asks systemd itself.

use std::collections::BTreeSet;

const SERVICE: &str = include_str!("../../systemd/ringhookd.service");
const INIT: &str = include_str!("../../systemd/ringhookd-init.service");
const WEBHOOKS: &str = include_str!("../../systemd/ringhookd.socket");
const ADMIN: &str = include_str!("../../systemd/ringhookd-admin.socket");
const READ: &str = include_str!("../../systemd/ringhookd-read.socket");
const RESTORE: &str = include_str!("../../systemd/ringhookd-restore@.service");
const BACKUP: &str = include_str!("../../systemd/ringhookd-backup.service");
const CONFIG: &str = include_str!("../../systemd/config.toml");
const README: &str = include_str!("../../systemd/README.md");

#[test]
fn init_and_restore_run_as_the_daemon_does() {
    for key in ["DynamicUser", "User", "StateDirectory", "StateDirectoryMode", "UMask"] {
        assert!(!values(SERVICE, key).is_empty(), "{key}");
        assert_eq!(values(SERVICE, key), values(INIT, key), "{key}");
        assert_eq!(values(SERVICE, key), values(RESTORE, key), "{key}");
    }
    // Of the secrets they need the master key alone, so one that is added to the daemon's need not be added to theirs.
    let secret = "LoadCredentialEncrypted";
    let master = |value: &&str| value.starts_with("master.key:");
    let master: Vec<_> = values(SERVICE, secret).into_iter().filter(master).collect();
    assert_eq!((master.len(), &values(INIT, secret), &values(RESTORE, secret)), (1, &master, &master));
    let command = |unit| words(unit, "ExecStart");
    assert_eq!(command(SERVICE)[0], command(INIT)[0]);
    assert_eq!(command(SERVICE)[2..], command(INIT)[2..]);
    assert_eq!((command(SERVICE)[1], command(INIT)[1]), ("serve", "init"));
    assert_eq!(command(RESTORE)[0], command(INIT)[0]);
    assert_eq!(command(RESTORE)[1..3], ["restore", "-"]);
    assert_eq!(command(RESTORE)[3..], command(INIT)[2..]);
}

#[test]
fn a_backup_goes_through_the_socket_of_the_configuration_to_where_restore_finds_it() {
    let command = values(BACKUP, "ExecStart")[0];
    let socket = settings().find(|(key, _)| *key == "path").unwrap().1.trim_matches('"');
    assert!(command.contains(&format!("--socket {socket}'")), "{command}");
    // A reload goes there too, by root, to whom the socket's unit gives it.
    assert!(values(SERVICE, "ExecReload")[0].ends_with(&format!(" reload --socket {socket}")));
    assert!(values(SERVICE, "ExecReload")[0].starts_with('+') && values(ADMIN, "SocketUser").is_empty());
    let folder = values(RESTORE, "StandardInput")[0]
        .strip_prefix("file:")
        .unwrap()
        .strip_suffix("/%i.backup")
        .unwrap();
    assert!(command.contains(&format!("\"{folder}/$$(date ")), "{command}");
    assert!(values(BACKUP, "ExecStartPost")[0].contains(&format!("{folder} ")));
    assert!(values(BACKUP, "ExecStartPre")[0].ends_with(folder));
}

#[test]
fn the_binary_may_be_executed() {
    assert!(words(SERVICE, "ExecPaths").contains(&words(SERVICE, "ExecStart")[0]));
}

#[test]
fn configured_secrets_are_the_credentials_of_the_unit() {
    let loaded = values(SERVICE, "LoadCredentialEncrypted");
    let given: Vec<(&str, &str)> = loaded.iter().filter_map(|value| value.split_once(':')).collect();
    let names: BTreeSet<&str> = given.iter().map(|(name, _)| *name).collect();
    let wanted: BTreeSet<&str> = settings().flat_map(|(_, value)| credentials(value)).collect();
    assert_eq!(wanted, names);
    for (name, path) in given {
        let option = format!("--name={name} ");
        assert!(README.lines().any(|line| line.contains(&option) && line.ends_with(path)), "{name}");
    }
    assert!(settings().all(|(key, _)| key != "hmac_keys"), "no secret stands in a world readable file");
}

#[test]
fn check_runs_by_one_line_with_the_users_folders_and_credentials_of_the_unit() {
    let line = README.lines().find(|line| line.trim_start().starts_with("systemd-run ")).unwrap();
    // systemd changes the mode of a folder that is there to the one that is asked for last.
    for key in ["DynamicUser", "User", "StateDirectory", "StateDirectoryMode", "UMask"] {
        assert!(line.contains(&format!("{key}={}", values(SERVICE, key)[0])), "{key}");
    }
    // Those of the unit as it is, with what was added to it.
    let credentials = "$(systemctl cat ringhookd | sed -n 's/^LoadCredential/-p &/p')";
    assert!(line.contains(credentials));
    // By its name alone, because the package has it elsewhere.
    let serve = values(SERVICE, "ExecStart")[0].strip_prefix("/usr/local/bin/").unwrap();
    assert!(line.ends_with(&format!("{credentials} {}", serve.replace(" serve ", " check "))), "{line}");
}

#[test]
fn configured_paths_are_writable_in_the_sandbox() {
    let all = |key| settings().filter(move |(k, _)| *k == key).map(|(_, value)| value.trim_matches('"'));
    let state = words(SERVICE, "StateDirectory");
    let state: Vec<_> = state.iter().map(|name| format!("/var/lib/{name}")).collect();
    assert!(all("folder").chain(all("guard_folder")).eq(state.iter().map(String::as_str)));
    assert_eq!(all("create").count(), 0, "a lost store must not be replaced by an empty one");
    assert_eq!(all("group").count(), 0, "the sandbox forbids chown");
}

#[test]
fn each_listener_of_the_configuration_comes_from_a_unit_of_the_service() {
    let configured = settings().filter(|(key, _)| ["listen", "path", "mode"].contains(key));
    let from_units = [(WEBHOOKS, "listen"), (ADMIN, "path"), (ADMIN, "mode")];
    let from_units = from_units.map(|(unit, key)| (key, values(unit, of_socket(key))[0]));
    assert!(configured.map(|(key, value)| (key, value.split('"').nth(1).unwrap())).eq(from_units));
    assert_eq!(words(SERVICE, "Sockets"), ["ringhookd.socket", "ringhookd-admin.socket"]);
    // What is commented out, for readers.
    let readers =
        |key: &str| CONFIG.contains(&format!("# {key} = \"{}\"\n", values(READ, of_socket(key))[0]));
    assert!(readers("path") && readers("mode"));
    for unit in [ADMIN, READ] {
        assert_eq!(values(unit, "Service"), ["ringhookd.service"]);
    }
    // Else a webhook would start the daemon in the middle of a restore.
    assert!(words(RESTORE, "Conflicts").ends_with(&words(SERVICE, "Sockets")));
    assert!(README.contains(&format!("systemctl stop {} ringhookd\n", words(SERVICE, "Sockets").join(" "))));
}

/// The key of a socket's unit that says what the configuration's key says.
fn of_socket(key: &str) -> &str {
    match key {
        "mode" => "SocketMode",
        _ => "ListenStream",
    }
}

#[test]
fn the_configuration_is_where_the_unit_looks() {
    let folder = format!("/etc/{}/", values(SERVICE, "ConfigurationDirectory")[0]);
    assert!(words(SERVICE, "ExecStart").contains(&format!("{folder}config.toml").as_str()));
    assert!(README.contains(&format!("systemd/config.toml {folder}\n")));
}

/// Keys and values of the configuration, as they are written in it.
fn settings() -> impl Iterator<Item = (&'static str, &'static str)> {
    CONFIG.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(" = "))
}

fn credentials(value: &str) -> impl Iterator<Item = &str> {
    value.split('"').filter_map(|text| text.strip_prefix("credential:"))
}

/// What a unit says for a key, in its order.
fn values<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect()
}

fn words<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    values(unit, key)[0].split_whitespace().collect()
}
