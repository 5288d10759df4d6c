//! Secrets stay secret: a full run of the real binary, and no canary in anything that it printed, logged or wrote.

mod links;
mod scan;
mod show;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use self::scan::Secret;
use self::show::{Show, files_in};
use crate::support::http::request;
use crate::support::process::{Running, run};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

#[test]
fn no_secret_is_printed_logged_or_left_readable() {
    let mut show = Show::new();
    bad_configurations(&mut show);

    let old = show.path("keys/master");
    let config = show.config("json", &format!("master = \"{}\"", old.display()));
    let init = ["init", "--config", config.to_str().unwrap()];
    assert_eq!(show.command(&init, "").0, 0);
    assert_eq!(show.command(&["--json", init[0], init[1], init[2]], "").0, 78, "only once");
    show.guard("master key", &fs::read_to_string(&old).unwrap());

    let daemon = Running::start(&config);
    webhooks(&mut show, &daemon);
    import(&mut show);
    show.tail(&[]);
    show.tail(&["--json"]);
    look_around(&mut show, &daemon);
    let log = show.stop(daemon);
    assert!(log.contains(r#""id":"bell-1""#) && log.contains("DEBUG"), "the log is that of the run: {log}");

    let new = show.secret("new master key");
    let new = show.key_file("new", &new);
    let both = format!("master = \"{}\"\nprevious = \"{}\"", new.display(), old.display());
    let config = show.config("human", &both);
    let daemon = Running::start(&config);
    assert!(show.both(&["keys", "rotate"]).contains("\"left\":0"));
    show.both(&["accounts", "forget", "acc-2", "--yes"]);
    look_around(&mut show, &daemon);
    show.stop(daemon);

    let config = show.config("json", &format!("master = \"{}\"", old.display()));
    assert_eq!(
        show.command(&["serve", "--config", config.to_str().unwrap()], "").0,
        78,
        "the old key is done with"
    );
    show.both(&["check"]);
    let config = show.config("json", &format!("master = \"{}\"", new.display()));
    let daemon = Running::start(&config);
    look_around(&mut show, &daemon);
    show.stop(daemon);

    assert_eq!(show.leaks(), [""; 0]);
    let shown = show.shown().concat();
    for place in ["\"read\", \"all\"", "\"show\", ", "of tail", "/spool/"] {
        assert!(shown.contains(place), "bodies are found where they belong, {place} in {shown}");
    }
    the_search_can_fail(&mut show);
}

/// Signed, forged and odd ones, and one that unlinks.
fn webhooks(show: &mut Show, daemon: &Running) {
    let [inline, file] = show.hmac.clone();
    let event = |id: &str, account: &str, kind: &str, text: &str| {
        format!(
            r#"{{"meta":{{"request_id":"{id}","account_id":"{account}"}},"data":{{"type":"{kind}","attributes":{{"source":"dev","note":"{text}"}}}}}}"#
        )
    };
    let bell = event("bell-1", "acc-1", "button_press", &show.body("a body"));
    for (key, header) in [(&inline, "X-Signature"), (&inline, "x-signature"), (&file, "X-Signature")] {
        assert_eq!(show.post(daemon, key.text(), bell.as_bytes(), header), 200);
    }
    let conflict = event("bell-1", "acc-1", "button_press", &show.body("another body"));
    assert_eq!(show.post(daemon, file.text(), conflict.as_bytes(), "X-Signature"), 200);
    for (id, account, kind) in
        [("bell-2", "acc-2", "motion_detected"), ("gone-3", "acc-3", "app_integration_removed")]
    {
        let body = event(id, account, kind, &show.body(id));
        assert_eq!(show.post(daemon, file.text(), body.as_bytes(), "X-Signature"), 200);
    }
    let odd = show.body("no JSON");
    let cut = format!("{{\"data\": \"{}", show.body("JSON that breaks off"));
    for text in [&odd, &cut] {
        assert_eq!(show.post(daemon, inline.text(), text.as_bytes(), "X-Signature"), 200);
    }
    let stranger = show.secret("a forger's key");
    let forged = event("forged", "acc-1", "button_press", &show.body("a forged body"));
    assert!(matches!(show.post(daemon, &stranger, forged.as_bytes(), "X-Signature"), 401 | 503));
    assert_eq!(show.post(daemon, inline.text(), forged.as_bytes(), "X-Other"), 401);
    let headers =
        format!("X-Signature: sha256={0}\r\nAuthorization: Bearer {0}\r\n", show.secret("a wrong header"));
    assert!(matches!(daemon.post(&headers, forged.as_bytes()), 401 | 503));
    assert_eq!(daemon.post(&format!("X-Signature: {}!\r\n", show.secret("a bad header")), b"{}"), 401);
    let query = show.secret("a query");
    assert_eq!(daemon.send(&request("GET", &format!("/callback?code={query}"), "", "")), 404);
    assert_eq!(daemon.send(format!("{query}\r\n\r\n").as_bytes()), 400);
}

/// From standard input, right and wrong.
fn import(show: &mut Show) {
    let config = show.path("config.toml");
    let args = ["--config", config.to_str().unwrap(), "accounts", "import"];
    let mut pair = |account: &str| {
        let (access, refresh) =
            (show.secret(&format!("access {account}")), show.secret(&format!("refresh {account}")));
        format!(
            r#"{{"account_id":"{account}","user":"ann","access_token":"{access}","refresh_token":"{refresh}","expires_in":60}}"#
        )
    };
    let good = format!("{}\n{}\n", pair("acc-1"), pair("acc-2"));
    let again = pair("acc-1 again").replace("acc-1 again", "acc-1");
    assert_eq!(show.command(&args, &good).0, 0);
    assert_eq!(show.command(&[&args[..], &["--replace", "--json"]].concat(), &again).0, 0);
    for (n, shape) in [
        r#"{"account_id":"acc-5","access_token":"SECRET"}"#,
        r#"{"account_id":"acc-5","refresh_tokn":"SECRET"}"#,
        r#"{"account_id":"acc-5","SECRET":1}"#,
        r#"{"account_id":["SECRET"]}"#,
        r#"{"account_id":"acc-5","refresh_token":"a","expires_at":"SECRET"}"#,
        r#"{"account_id":"acc-5","refresh_token":"SECRET"#,
        "SECRET",
        r#""SECRET""#,
    ]
    .iter()
    .enumerate()
    {
        let line = shape.replace("SECRET", &show.secret(&format!("import {n}")));
        assert_eq!(show.command(&args, &line).0, 1, "{shape}");
        assert_eq!(show.command(&[&args[..], &["--json"]].concat(), &line).0, 1, "{shape}");
    }
    show.both(&["accounts", "set-user", "acc-3", "bob"]);
}

/// Every command that shows something, and what others see of the process.
fn look_around(show: &mut Show, daemon: &Running) {
    for args in [
        &["status"][..],
        &["check"],
        &["accounts", "list"],
        &["accounts", "show", "acc-1"],
        &["accounts", "show", "acc-2"],
        &["accounts", "show", "none"],
        &["queue", "list"],
        &["keys", "show"],
        &["dead-letters", "list"],
        &["dead-letters", "replay", "--class", "dead"],
    ] {
        show.both(args);
    }
    let letters = show.both(&["dead-letters", "list"]);
    let first: serde_json::Value = serde_json::from_str(letters.lines().next().unwrap()).unwrap();
    show.both(&["dead-letters", "show", first["id"].as_str().unwrap()]);
    show.both(&["queue", "read", "all", "--max", "1"]);
    show.both(&["queue", "read", "mine", "--max", "1"]);
    show.metrics();
    show.process(daemon);
}

/// Each with a secret where one slips in; every command that reads a configuration refuses it.
fn bad_configurations(show: &mut Show) {
    let exposed = show.secret("a key that others may read");
    let exposed = show.key_file("exposed", &exposed);
    fs::set_permissions(&exposed, fs::Permissions::from_mode(0o644)).unwrap();
    let exposed = format!("hmac_key_files = [\"{}\"]", exposed.display());
    for (n, lines) in [
        "hmac_keys = \"SECRET\"",
        "hmac_keys = SECRET",
        "hmac_keys = SECRET==",
        "hmac_keys = [SECRET]",
        "hmac_keys = [\"SECRET]",
        "hmac_keys = [\"SECRET\"",
        "hmac_keys = [\"SECRET\", \"SECRET\"]",
        "hmac_keys = [\"good-enough-to-be-a-key\"] SECRET",
        "hmac_keys = [[\"SECRET\"]]",
        "hmac_keys = \"\"\"\nSECRET\n",
        "hmac_keys = { key = \"SECRET\" }",
        "[hmac_keys]\nkey = \"SECRET\"",
        "[[hmac_keys]]\nkey = \"SECRET\"",
        "hmac_key = [\"SECRET\"]",
        "hmac_key_files = [\"SECRET\"]",
        "hmac_key_files = \"SECRET\"",
        "hmac_key_files = [\"credential:SECRET/\"]",
        "[hmac]\nkeys = [\"SECRET\"]",
        "[ring]\nclient_id = \"SECRET\"\nclient_secret = \"SECRET\"\nclient_secret_file = \"SECRET\"",
        "[ring]\nclient_id = \"c\"\nclient_secret = [\"SECRET\"]",
        "[ring]\nclient_id = \"c\"\nclient_secret = SECRET",
        "[ring]\nclient_id = \"c\"\nclient_secret = \"SECRET\" SECRET",
        "[ring]\nclient_id = \"c\"\nclient_secret = \"\\u0007SECRET\"",
        "[ring]\nclient_id = \"c\"\nclient_secrets = \"SECRET\"",
        "[ring]\nclient_id = \"c\"\nclient_secret_file = \"SECRET\"",
        "[ring]\nclient_id = \"c\"\nclient_secret_file = { secret = \"SECRET\" }",
        "ring = \"SECRET\"",
        "[keys]\nmaster = \"SECRET\"",
        "[keys]\nprevious = [\"SECRET\"]",
        "[keys]\nmaster_key = \"SECRET\"",
        "keys = \"SECRET\"",
        "SECRET",
        "= SECRET",
        exposed.as_str(),
    ]
    .iter()
    .enumerate()
    {
        let secret = show.secret(&format!("configuration {n}"));
        let file = show.path("bad.toml");
        fs::write(&file, format!("listen = \"127.0.0.1:0\"\n{}\n", lines.replace("SECRET", &secret)))
            .unwrap();
        let at = ["--config", file.to_str().unwrap()];
        for (args, code) in [
            (&["check"][..], 1),
            (&["check", "--json"], 1),
            (&["serve"], 78),
            (&["init"], 78),
            (&["status"], 1),
        ] {
            assert_eq!(show.command(&[&at[..], args].concat(), "").0, code, "{args:?} with {lines}");
        }
    }
}

/// A test that finds nothing must be able to.
fn the_search_can_fail(show: &mut Show) {
    let token = Secret::canary("refresh acc-1");
    let plants = [
        format!("2026-01-01 INFO token={}", token.text()).into_bytes(),
        data_encoding::BASE64.encode(format!("user:{}", token.text()).as_bytes()).into_bytes(),
        format!("{:?}", token.text().as_bytes()).into_bytes(),
        data_encoding::HEXLOWER.decode(token.text().as_bytes()).unwrap(),
    ];
    show.plant("data", &plants);
    let leaks = show.leaks();
    for n in 0..plants.len() {
        let found = |leak: &String| leak.contains("refresh acc-1") && leak.ends_with(&format!("planted-{n}"));
        assert!(leaks.iter().any(found), "{n} in {leaks:?}");
    }
}

#[test]
fn only_the_owner_reads_what_is_written_and_no_core_is_dumped() {
    // So that a daemon that sets no limit has one above zero.
    let limit = getrlimit(Resource::Core);
    setrlimit(Resource::Core, Rlimit { current: limit.maximum, ..limit }).unwrap();
    let show = Show::new();
    let key = show.path("data/master.key");
    let config = show.config("json", &format!("master = \"{}\"", key.display()));
    assert!(run(&["init", "--config", config.to_str().unwrap()], b"").status.success());
    let daemon = Running::start(&config);
    let limits = fs::read_to_string(format!("/proc/{}/limits", daemon.pid())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
    let names: Vec<_> = files_in(&show.path("data"))
        .into_iter()
        .map(|file| {
            let mode = fs::metadata(&file).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{}", file.display());
            file.file_name().unwrap().to_owned()
        })
        .collect();
    for name in ["store.redb", "identity.json", "holder", "reserve", "master.key"] {
        assert!(names.iter().any(|found| found == name), "{name} in {names:?}");
    }
    assert_eq!(fs::metadata(show.path("data")).unwrap().permissions().mode() & 0o777, 0o700);
    assert!(daemon.stop().0.success());
}
