//! Files of secrets that can't be used: `serve` and `check` tell all of them at once, with file, key and way out.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::support::certificates::{Authority, VALID};
use crate::support::process::{Running, Stranger, open_to_all, ringhookd, run};

/// The keys of the configuration that name a file, and the name of each file here.
const FILES: [(&str, &str); 12] = [
    ("hmac_key_files[0]", "hmac.key"),
    ("keys.master", "master.key"),
    ("keys.previous", "previous.key"),
    ("ring.client_secret_file", "client.secret"),
    ("ring.ca_file", "ca.pem"),
    ("tls.certificate_file", "tls.pem"),
    ("tls.key_file", "tls.key"),
    ("queue[0].secret_files[0]", "signing.secret"),
    ("queue[0].bearer_file", "receiver.token"),
    ("queue[0].ca_file", "receiver.ca.pem"),
    ("queue[1].secret_key_file", "aws.key"),
    ("queue[1].session_token_file", "aws.token"),
];

/// A certificate is none.
fn is_secret(file: &str) -> bool {
    Path::new(file).extension().is_none_or(|extension| extension != "pem")
}

/// A folder with a store, a configuration, and all the files that it names.
struct KeyFiles {
    dir: tempfile::TempDir,
}

impl KeyFiles {
    fn new() -> Self {
        let files = Self { dir: tempfile::tempdir().unwrap() };
        files.configure(|name| files.file(name).display().to_string());
        // `init` makes the master key itself, and of the others it needs the one before alone.
        write(&files.file("previous.key"), &"cd".repeat(32));
        let made = run(&["init", "--config", files.config().to_str().unwrap()], b"");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        files.restore();
        files
    }

    fn configure(&self, source: impl Fn(&str) -> String) {
        let [
            hmac,
            master,
            previous,
            client,
            ca,
            tls,
            tls_key,
            signing,
            bearer,
            receiver_ca,
            aws_key,
            aws_token,
        ] = FILES.map(|(_, name)| source(name));
        let folder = self.dir.path().display();
        let text = format!(
            r#"listen = "127.0.0.1:0"
hmac_key_files = ["{hmac}"]
[tls]
certificate_file = "{tls}"
key_file = "{tls_key}"
[store]
folder = "{folder}/data"
[keys]
master = "{master}"
previous = "{previous}"
[ring]
client_id = "me"
client_secret_file = "{client}"
ca_file = "{ca}"
oauth_url = "https://localhost/token"
api_url = "https://localhost"
[[queue]]
name = "out"
kind = "http"
url = "https://localhost/"
secret_files = ["{signing}"]
bearer_file = "{bearer}"
ca_file = "{receiver_ca}"
[[queue]]
name = "aws"
kind = "sqs"
url = "http://127.0.0.1:9/1/q"
region = "eu-west-1"
access_key_id = "AKIA"
secret_key_file = "{aws_key}"
session_token_file = "{aws_token}"
"#
        );
        fs::write(self.config(), text).unwrap();
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("config.toml")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Makes every file good again, but for a master key that is there.
    fn restore(&self) {
        let certificate = rcgen::generate_simple_self_signed(["localhost".into()]).unwrap().cert;
        let base64 = data_encoding::BASE64.encode(certificate.der());
        let certificate = format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n");
        let previous = "cd".repeat(32);
        let pair = Authority::new("an authority").sign("a server", &["localhost"], VALID);
        for (name, content) in [
            ("hmac.key", "a-made-up-signing-key"),
            ("previous.key", previous.as_str()),
            ("client.secret", "a-made-up-client-secret"),
            ("ca.pem", certificate.as_str()),
            ("tls.pem", pair.chain.as_str()),
            ("tls.key", pair.key.as_str()),
            ("signing.secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
            ("receiver.token", "a-made-up-token"),
            ("receiver.ca.pem", certificate.as_str()),
            ("aws.key", "a-made-up-secret-key"),
            ("aws.token", "a-made-up-session-token"),
        ] {
            write(&self.file(name), content);
        }
        if !self.file("master.key").exists() {
            write(&self.file("master.key"), "");
        }
    }

    /// Exit code and output of both commands; `serve` must not run.
    fn commands(&self) -> [(i32, String); 2] {
        let config = self.config();
        ["serve", "check"].map(|command| {
            let output = run(&[command, "--config", config.to_str().unwrap()], b"");
            let text = [output.stdout, output.stderr].concat();
            (output.status.code().unwrap(), String::from_utf8(text).unwrap())
        })
    }
}

fn write(path: &Path, content: &str) {
    let _ = fs::remove_dir(path);
    fs::write(path, content).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

/// How a file is made unusable, and what must be said then.
type Damage = (&'static str, fn(&Path), &'static [&'static str]);

const DAMAGES: [Damage; 5] = [
    ("missing", |path| fs::remove_file(path).unwrap(), &["there is no such file", "it has to hold"]),
    ("empty", |path| write(path, ""), &["it has to hold"]),
    ("corrupt", |path| write(path, "\u{1}x"), &[]),
    (
        "a folder",
        |path| {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
        },
        &["older", "irectory"],
    ),
    (
        "open to others",
        |path| fs::set_permissions(path, Permissions::from_mode(0o640)).unwrap(),
        &["run: chmod 600"],
    ),
];

#[test]
fn a_file_that_cannot_be_used_is_told_with_its_key_its_path_and_the_way_out() {
    let files = KeyFiles::new();
    let master = fs::read_to_string(files.file("master.key")).unwrap();
    for (name, damage, words) in DAMAGES {
        for (key, file) in FILES {
            if name == "open to others" && !is_secret(file) {
                // It is no secret.
                continue;
            }
            let path = files.file(file);
            damage(&path);
            for (command, (code, text)) in ["serve", "check"].iter().zip(files.commands()) {
                assert_eq!(code, if *command == "serve" { 78 } else { 1 }, "{command}, {name} {key}: {text}");
                let line = text.lines().find(|line| line.contains(key));
                let line = line.unwrap_or_else(|| panic!("{command}, {name}: {key} is not in {text}"));
                let at = format!("{}:", files.config().display());
                assert!(
                    line.contains(&at) && line.contains(path.to_str().unwrap()),
                    "{command}, {name}: {line}"
                );
                let told = words.is_empty() || words.iter().any(|words| line.contains(words));
                assert!(told, "{command}, {name} {key}: {line}");
                assert!(
                    line.contains("it has to hold") || line.contains("a key has at least") || told,
                    "{line}"
                );
            }
            files.restore();
            write(&files.file("master.key"), &master);
        }
    }
}

#[test]
fn all_files_that_cannot_be_used_are_told_at_once_and_alike() {
    let files = KeyFiles::new();
    let told = |text: &str| {
        let prefix = format!("{}:", files.config().display());
        text.lines().filter_map(|line| Some(line.split_once(&prefix)?.1.to_owned())).collect::<Vec<_>>()
    };
    for (name, damage, _) in DAMAGES {
        for (_, file) in FILES {
            damage(&files.file(file));
        }
        let [(_, serve), (_, check)] = files.commands();
        let expected = if name == "open to others" { FILES.len() - 3 } else { FILES.len() };
        assert_eq!(told(&serve).len(), expected, "{name}: {serve}");
        assert_eq!(told(&serve), told(&check), "{name}");
        files.restore();
        write(&files.file("master.key"), "");
    }
}

#[test]
fn every_credential_that_is_missing_is_named_and_the_mode_of_one_is_left_to_systemd() {
    let files = KeyFiles::new();
    let credentials = files.file("credentials");
    fs::create_dir(&credentials).unwrap();
    let check = || {
        let config = files.config();
        let mut command = ringhookd(&["check", "--config", config.to_str().unwrap()]);
        let output = command.env("CREDENTIALS_DIRECTORY", &credentials).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    let as_credentials = |name: &str| {
        if is_secret(name) { format!("credential:{name}") } else { files.file(name).display().to_string() }
    };
    files.configure(as_credentials);
    let (code, text) = check();
    assert_eq!(code, 1, "{text}");
    let names = FILES.map(|(_, name)| name).into_iter().filter(|name| is_secret(name));
    for name in names.clone() {
        assert!(text.contains(&format!("LoadCredential={name}:")), "{name} in {text}");
    }
    for name in names {
        fs::copy(files.file(name), credentials.join(name)).unwrap();
        fs::set_permissions(credentials.join(name), Permissions::from_mode(0o440)).unwrap();
    }
    assert_eq!(check().0, 0, "{}", check().1);
    // Their paths may also be written out.
    files.configure(|name| {
        if is_secret(name) { credentials.join(name) } else { files.file(name) }.display().to_string()
    });
    assert_eq!(check().0, 0, "{}", check().1);
}

#[test]
fn a_file_of_another_user_is_told_with_who_may_read_it() {
    let Some(stranger) = Stranger::new() else { return };
    let files = KeyFiles::new();
    open_to_all(files.dir.path());
    let config = files.config();
    let said = |command: &str| {
        let output = stranger.run(65534, &[command, "--config", config.to_str().unwrap()]);
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    for command in ["serve", "check"] {
        let text = said(command);
        for (key, file) in FILES.iter().filter(|(_, file)| is_secret(file)) {
            let line =
                text.lines().find(|line| line.contains(key)).unwrap_or_else(|| panic!("{key} in {text}"));
            let path = files.file(file).display().to_string();
            let mend = ["it belongs to user root", "Run ringhookd as root", path.as_str()];
            assert!(mend.iter().all(|words| line.contains(words)), "{command}: {line}");
        }
    }
}

#[test]
fn another_master_key_than_the_stores_is_told_with_its_file() {
    let files = KeyFiles::new();
    write(&files.file("master.key"), &"ab".repeat(32));
    for (code, text) in files.commands() {
        assert!(matches!(code, 1 | 78), "{text}");
        let named = format!("keys.master = {:?}", files.file("master.key").to_str().unwrap());
        assert!(text.contains(&named) && text.contains("sealed under master key"), "{text}");
    }
}

/// With `create = true` a first start has neither store nor master key: that is how it should be, and both are named. Where the key
/// can't be made, or belongs to a store that is gone, that is told before.
#[test]
fn a_master_key_that_is_made_with_its_store_is_named_and_one_without_its_store_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    write(&dir.path().join("hmac.key"), "a-made-up-signing-key");
    let configure = |key: &str| {
        let text = format!(
            "listen = \"127.0.0.1:0\"\nhmac_key_files = [\"{}\"]\n[store]\nfolder = \"{}\"\ncreate = true\n[keys]\nmaster = \"{key}\"\n",
            path("hmac.key"),
            path("data"),
        );
        fs::write(dir.path().join("config.toml"), text).unwrap();
    };
    let config = path("config.toml");
    let told = |command: &str| {
        let output = run(&[command, "--config", &config], b"");
        (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    // Its folder can't be made.
    let below_a_file = path("hmac.key/master.key");
    configure(&below_a_file);
    let (is_well, text) = told("check");
    assert!(!is_well && text.contains("keys.master") && text.contains("is no folder"), "{text}");

    let key = path("keys/master.key");
    configure(&key);
    let (is_well, text) = told("check");
    assert!(is_well && text.contains(&format!("serve makes it and its master key {key}")), "{text}");
    let running = Running::start(Path::new(&config));
    running.wait_for(|log| (log.contains("made a new store") && log.contains(&key)).then_some(()));
    assert!(running.stop().0.success());
    assert!(told("check").0, "{}", told("check").1);

    // The store is gone, e.g. because its disk is not mounted: nothing new is made beside the key.
    fs::rename(path("data"), path("elsewhere")).unwrap();
    for command in ["check", "serve"] {
        let (is_well, text) = told(command);
        assert!(!is_well && text.contains(&key), "{command}: {text}");
    }
    // The key is gone, and its store is there.
    fs::rename(path("elsewhere"), path("data")).unwrap();
    fs::remove_file(&key).unwrap();
    for command in ["check", "serve"] {
        let (is_well, text) = told(command);
        assert!(!is_well && text.contains(&key) && text.contains("keys.master"), "{command}: {text}");
    }
}
