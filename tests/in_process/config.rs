//! The example configuration against the code, and loading with key files.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::support::configuration::Configuration;
use ringhookd::config::{self, ConfigError, MasterKey, QueueKind, SecretSource, Unclaimed};
use ringhookd::daemon;
use ringhookd::domain::rights::Rights;
use ringhookd::domain::routing::Subject;
use ringhookd::store::StoreError;

const EXAMPLE: &str = include_str!("../../config.example.toml");

/// A line of the example that sets a key, or would without its `# `.
struct Setting<'t> {
    path: String,
    value: &'t str,
    active: bool,
    /// What a comment behind the value gives as the default.
    stated_default: Option<&'t str>,
}

fn settings(text: &str) -> Vec<Setting<'_>> {
    let mut section = "";
    let mut settings = Vec::new();
    for line in text.lines() {
        let bare = line.strip_prefix("# ").unwrap_or(line);
        if let Some(header) = bare.strip_prefix('[') {
            section = header.trim_matches(['[', ']']);
        } else if let Some((key, rest)) = bare.split_once(" = ")
            && key.chars().all(|c| c.is_ascii_lowercase() || c == '_')
        {
            let (value, comment) = rest.split_once(" # ").unwrap_or((rest, ""));
            settings.push(Setting {
                path: if section.is_empty() { key.into() } else { format!("{section}.{key}") },
                value: value.trim(),
                active: bare == line,
                stated_default: comment.strip_prefix("default: "),
            });
        }
    }
    settings
}

#[test]
fn the_example_runs_as_it_is() {
    let config = config::parse(EXAMPLE, Path::new("/srv")).unwrap();
    assert_eq!(config.listen, "127.0.0.1:8480".parse().unwrap());
    assert_eq!(config.sources.hmac_keys.len(), 1);
    assert!(config.sources.hmac_key_files.is_empty());
    assert!(config.store.create);
    assert_eq!(config.store.folder, Path::new("/srv/ringhookd-data"));
    let master = PathBuf::from("/srv/ringhookd-data/master.key");
    assert_eq!(config.sources.master.source, SecretSource::File(master));
    let [queue] = &config.queues[..] else { panic!("{:?}", config.queues) };
    assert_eq!((queue.name.as_str(), queue.unclaimed), ("all", Unclaimed::Deliver));
    assert!(matches!(queue.kind, QueueKind::Embedded { .. }));
    assert!(queue.filter.matches(&Subject::new("anything", b"{}")));
    let [socket] = &config.sockets[..] else { panic!("{:?}", config.sockets) };
    assert_eq!(socket.path, Path::new("/srv/ringhookd-data/admin.sock"));
    assert_eq!((socket.mode, &socket.rights), (0o600, &Rights::all()));
}

#[test]
fn every_key_is_in_the_example_with_its_true_default() {
    let settings = settings(EXAMPLE);
    let keys = config::keys();
    assert!(keys.len() > 50, "{}", keys.len());
    for key in &keys {
        let written: Vec<_> = settings.iter().filter(|s| s.path == key.path).collect();
        assert!(!written.is_empty(), "{} is not in the example", key.path);
        let Some(default) = &key.default else { continue };
        let stated = written.iter().any(|s| match s.stated_default {
            Some(stated) => stated == default,
            None => !s.active && s.value.replace('_', "") == default.replace('_', ""),
        });
        assert!(stated, "the example does not say that {} is {default} by default", key.path);
    }
    for setting in settings {
        assert!(keys.iter().any(|key| key.path == setting.path), "{} is no key", setting.path);
    }
}

/// Each comment that looks like a setting is one: taken out of its comment, the whole file still holds.
#[test]
fn the_example_holds_with_every_comment_taken_away() {
    let uncommented: Vec<_> = EXAMPLE
        .lines()
        .map(|line| {
            let bare = line.strip_prefix("# ").unwrap_or(line);
            // The one or the other, not both.
            let other_way = bare.starts_with("client_secret_file");
            let is_setting = !other_way && (bare.starts_with('[') || settings(bare).len() == 1);
            if is_setting { bare } else { line }
        })
        .collect();
    // All its queues together are more than most have, and need more room.
    let text = uncommented.join("\n").replace("max_bytes = \"8 GiB\"", "max_bytes = \"16 GiB\"");
    let (plain, mut full) = (
        config::parse(EXAMPLE, Path::new("/srv")).unwrap(),
        config::parse(&text, Path::new("/srv")).unwrap(),
    );
    full.store.max_bytes = plain.store.max_bytes;
    assert_eq!(plain.webhook, full.webhook);
    assert_eq!(plain.http, full.http);
    assert_eq!(plain.store, full.store);
    assert_eq!(plain.seen, full.seen);
    assert_eq!(plain.held, full.held);
    assert_eq!(plain.dead_letters, full.dead_letters);
    assert_eq!(plain.quarantine, full.quarantine);
    assert_eq!(plain.unrouted, full.unrouted);
    assert_eq!(plain.receipts, full.receipts);
    assert_eq!(plain.audit, full.audit);
    assert_eq!(plain.log, full.log);
    assert_eq!(plain.tokens.refresh, full.tokens.refresh);
    assert_eq!(plain.tokens.warn_before, full.tokens.warn_before);
    assert_eq!(plain.queues[0], full.queues[0]);
    assert_eq!(full.queues.len(), 9);
    assert_eq!(plain.sockets[0].rights, full.sockets[0].rights);
}

fn write(path: &Path, content: &str) {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

/// A configuration in `folder` with these key files.
fn with_key_files(folder: &Path, names: &[&str]) -> PathBuf {
    let files: Vec<_> = names.iter().map(|name| folder.join(name)).collect();
    let (path, folder) = (folder.join("config.toml"), folder.display());
    let text = format!(
        "listen = \"127.0.0.1:0\"\nhmac_keys = [\"inline-key-for-trying\"]\nhmac_key_files = {files:?}\n[store]\nfolder = \"{folder}\"\n"
    );
    write(&path, &text);
    path
}

#[test]
fn keys_from_files_join_the_inline_ones() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("a.key"), "the-first-key-in-a-file\n");
    write(&folder.path().join("b.key"), "the-second-key-in-a-file");
    let config = config::load(&with_key_files(folder.path(), &["a.key", "b.key"]), |_| true).unwrap();
    let secrets = config.secrets(MasterKey::MadeLater).unwrap();
    let keys: Vec<_> = secrets.hmac_keys.iter().map(|key| str::from_utf8(key.expose()).unwrap()).collect();
    assert_eq!(keys, ["inline-key-for-trying", "the-first-key-in-a-file", "the-second-key-in-a-file"]);
}

#[test]
fn bad_key_files_are_all_told_with_their_line_and_never_with_the_key() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    write(&at("short.key"), "hush");
    write(&at("same.key"), "inline-key-for-trying\n");
    write(&at("open.key"), "a-key-that-others-can-read");
    fs::set_permissions(at("open.key"), Permissions::from_mode(0o644)).unwrap();
    let names = ["short.key", "same.key", "open.key", "missing.key"];
    let path = with_key_files(folder.path(), &names);
    let mut text = fs::read_to_string(&path).unwrap();
    text.push_str("[log]\nlevel = \"loud\"\n");
    write(&path, &text);

    let Err(ConfigError::Invalid(problems)) = config::load(&path, |_| true) else { panic!("it is bad") };
    let hints = [
        "is 4 bytes long; a key has at least 16".to_string(),
        "is the same key as another; list each once".into(),
        format!("others than its owner may read it; run: chmod 600 {}", at("open.key").display()),
        "there is no such file; it has to hold an HMAC signing key as Ring shows it".into(),
    ];
    let mut expected: Vec<_> = (0..4)
        .map(|n| format!("{}:3: hmac_key_files[{n}] = {:?}: {}", path.display(), at(names[n]), hints[n]))
        .collect();
    expected.push(format!(
        "{}:7: log.level = \"loud\": must be one of \"error\", \"warn\", \"info\", \"debug\", \"trace\"",
        path.display()
    ));
    assert_eq!(problems.to_string().lines().collect::<Vec<_>>(), expected);
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    let error = config::load(&path, |_| true).unwrap_err().to_string();
    assert!(error.starts_with(&format!("can't read {}: ", path.display())), "{error}");
    fs::write(&path, b"listen = \"\xff\"").unwrap();
    let error = config::load(&path, |_| true).unwrap_err().to_string();
    assert!(error.contains("UTF-8"), "{error}");
}

#[test]
fn a_master_key_without_its_store_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, key) = (dir.path().join("data"), dir.path().join("master.key"));
    fs::write(&key, "ab".repeat(32)).unwrap();
    let config = Configuration::of("[keys]\nmaster = \"FOLDER/master.key\"").parse(dir.path());
    let refused = daemon::create_store(&config).unwrap_err();
    assert!(matches!(&refused, daemon::Error::Store(StoreError::Partial { .. })), "{refused}");
    assert_eq!(refused.exit_code(), 78);
    assert!(!folder.exists(), "nothing was made");
    assert_eq!(fs::read_to_string(&key).unwrap(), "ab".repeat(32));
}

/// A front that keeps a connection longer than we do sends a request into one that closes.
#[test]
fn the_documented_fronts_let_go_of_an_idle_connection_before_we_do() {
    let document = include_str!("../../docs/PRODUCTION.md");
    let ours = config::parse(EXAMPLE, Path::new("/srv")).unwrap().http.keep_alive_idle;
    assert!(document.contains(&format!("`[http] keep_alive_idle` is {} s", ours.as_secs())));
    for (front, text, key) in [
        ("Caddy", include_str!("../../examples/front/Caddyfile"), "keepalive "),
        ("nginx", include_str!("../../examples/front/nginx.conf"), "keepalive_timeout "),
    ] {
        let lines = text.lines().filter_map(|line| line.trim().strip_prefix(key));
        let seconds = lines.filter_map(|rest| rest.trim_end_matches(';').strip_suffix('s'));
        let theirs: Vec<u64> = seconds.map(|seconds| seconds.parse().unwrap()).collect();
        assert!(!theirs.is_empty() && theirs.iter().all(|s| s + 10 < ours.as_secs()), "{front}: {theirs:?}");
        assert!(document.contains(&format!("{} s, where", theirs[0])), "{front}");
    }
}
