//! A run before a simulated Ring, each of whose tokens is a canary: imported, refreshed, lost, unreadable, handed out.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use ringhookd::clock;
use ringhookd::sim::{self, Client, Options, Plan, Policy, Ring};
use serde_json::{Value, json};

use super::show::{Show, files_in};
use crate::support::http::request;
use crate::support::process::Running;

/// What the simulated Ring draws its tokens from.
const SEED: u64 = 0x5ec_2e7;
/// More than the run takes.
const TOKENS: usize = 400;
/// Far more than anything takes; only a hang meets it.
const PATIENCE: Duration = Duration::from_mins(1);

#[test]
fn no_token_of_a_link_is_printed_logged_or_left_readable() {
    let mut show = Show::new();
    let (ring, all) = ring(&mut show);
    let master = show.path("keys/master");
    let keys = format!("master = \"{}\"", master.display());
    let inline = format!("client_secret = \"{}\"", ring.client().secret);
    let file = show.key_file("client", &ring.client().secret);
    let in_file = format!("client_secret_file = \"{}\"", file.display());

    let config = configure(&mut show, &ring, "json", &keys, &inline);
    assert_eq!(show.command(&["init", "--config", config.to_str().unwrap()], "").0, 0);
    show.guard("master key", &fs::read_to_string(&master).unwrap());
    let daemon = Running::start(&config);
    import(&mut show, &ring, &daemon);
    lend(&mut show);
    link(&mut show, &ring, &daemon);
    look_around(&mut show, &daemon);
    let log = show.kill(daemon);
    for words in [
        "DEBUG",
        "can't be read and may hold new tokens: it is kept, sealed",
        "whether the tokens were refreshed is not known",
    ] {
        assert!(log.contains(words), "{words} in {log}");
    }

    let config = configure(&mut show, &ring, "human", &keys, &in_file);
    let daemon = Running::start(&config);
    for account in ["whole", "alone", "found", "twice", "lost", "torn", "whose"] {
        works(&mut show, &ring, account);
    }
    end(&mut show, &ring, &daemon);
    look_around(&mut show, &daemon);
    show.stop(daemon);

    let wrong = format!("client_secret = \"{}\"", show.secret("a wrong client secret"));
    let config = configure(&mut show, &ring, "json", &keys, &wrong);
    let daemon = Running::start(&config);
    import_one(
        &mut show,
        &json!({"account_id": "halted", "refresh_token": ring.add_account("halted").refresh}),
        0,
    );
    import_one(&mut show, &json!({"refresh_token": ring.add_account("unfound").refresh}), 0);
    daemon.wait_for(|log| log.contains("refuses our own client id or secret").then_some(()));
    look_around(&mut show, &daemon);
    show.stop(daemon);

    assert_eq!(show.leaks(), [""; 0]);
    assert!(!files_in(&show.path("data-guard")).is_empty(), "the guard folder is where it was looked for");
    let lent = show.lent();
    assert!(lent.len() > 10 && lent.iter().all(|token| all.contains(&token["sim-at-".len()..])), "{lent:?}");
    assert!(all.contains(&ring.live("alone").unwrap()["sim-rt-".len()..]));
    assert!(2 * ring.exchanges().len() + 40 < TOKENS, "all tokens are known");
    the_search_can_fail(&mut show, &ring);
}

/// A Ring with a client secret of its own, and the random part of every token that it will give, each held for a secret.
fn ring(show: &mut Show) -> (Ring, HashSet<String>) {
    let client = Client { id: "sim-client".into(), secret: show.secret("client secret") };
    let policy = Policy::Grace(Duration::from_hours(1));
    let hmac_key = show.hmac[0].text().to_owned();
    let options = Options { seed: SEED, policy, client, hmac_key, ..Options::default() };
    let twin = Ring::start(options.clone()).unwrap();
    let mut all = HashSet::new();
    for n in 0..TOKENS / 2 {
        let given = twin.add_account(&n.to_string());
        for token in [&given.access, &given.refresh] {
            let random = &token["sim-at-".len()..];
            show.guard(&format!("token {}", all.len()), random);
            all.insert(random.to_owned());
        }
    }
    (Ring::start(options).unwrap(), all)
}

fn configure(show: &mut Show, ring: &Ring, format: &str, keys: &str, secret: &str) -> PathBuf {
    let (id, oauth, api) = (&ring.client().id, ring.oauth_url(), ring.url());
    show.before_ring(format!(
        "[ring]\nclient_id = \"{id}\"\n{secret}\noauth_url = \"{oauth}\"\napi_url = \"{api}\"\n[tokens]\nrepeat_unreadable = \"1s\"\n"
    ));
    show.config(format, keys)
}

/// From standard input; what it printed.
fn import_one(show: &mut Show, entry: &Value, code: i32) -> String {
    let config = show.path("config.toml");
    let args = ["--config", config.to_str().unwrap(), "--json", "accounts", "import", "--replace"];
    let (ended, out) = show.command(&args, &entry.to_string());
    assert_eq!(ended, code, "{out}");
    out
}

/// With and without an account, with an answer that can't be read, with none, and some that nobody honours.
fn import(show: &mut Show, ring: &Ring, daemon: &Running) {
    let fault = |fault: &str, account: &str| {
        let account = Some(account.to_owned());
        ring.inject(Plan { fault: fault.parse().unwrap(), times: Some(1), account });
    };
    let whole = ring.add_account("whole");
    let (access, refresh) = (whole.access, whole.refresh);
    let whole = json!({"account_id": "whole", "user": "ann", "access_token": access, "refresh_token": refresh, "expires_in": 3600});
    import_one(show, &whole, 0);
    let given = |id: &str| ring.add_account(id).refresh;
    import_one(show, &json!({"account_id": "alone", "user": "ann", "refresh_token": given("alone")}), 0);
    let found = import_one(show, &json!({"user": "ann", "refresh_token": given("found")}), 0);
    assert!(found.contains(r#""account_id":"found""#), "{found}");

    for (id, kind) in [("twice", "oauth-duplicate-keys"), ("lost", "oauth-lost-answer")] {
        fault(kind, id);
        import_one(show, &json!({"account_id": id, "user": "ann", "refresh_token": given(id)}), 0);
    }
    for (id, kind) in [("torn", "oauth-duplicate-keys"), ("whose", "users-me-500")] {
        fault(kind, id);
        let pending = import_one(show, &json!({"user": "ann", "refresh_token": given(id)}), 0);
        assert!(pending.contains(r#""pending":[{"line":1,"#), "{pending}");
    }
    daemon.wait_for(|log| {
        let said = ["it is kept, sealed", "refreshed is not known"];
        said.iter().all(|words| log.contains(words)).then_some(())
    });

    let stranger = show.secret("a refresh token that nobody knows");
    import_one(show, &json!({"refresh_token": stranger}), 1);
    import_one(show, &json!({"account_id": "stranger", "user": "ann", "refresh_token": stranger}), 0);
    import_one(show, &json!({"refresh_token": refresh, "account_id": "x", "expires_at": refresh}), 1);
    import_one(show, &json!({"access_token": access}), 1);
}

/// As they are, for longer than they are good, newer than one that was refused, and what there is none of.
fn lend(show: &mut Show) {
    let known = show.both(&["token", "whole"]);
    let known: Value = serde_json::from_str(&known).unwrap();
    let generation = known["generation"].to_string();
    show.both(&["token", "whole", "--refused", &generation]);
    for (id, min_life) in
        [("whole", "2h"), ("whole", "5h"), ("found", "1m"), ("stranger", "1m"), ("none", "1m")]
    {
        show.both(&["token", id, "--min-life", min_life]);
    }
}

/// Codes that are good, come again, are made up, and stand where a name should; and a claim with its nonce.
fn link(show: &mut Show, ring: &Ring, daemon: &Running) {
    let code = ring.new_code("coded");
    show.guard("code", &code);
    let made_up = show.secret("a code that was made up");
    let bring = |query: &str, kind: &str, body: &str| {
        let kind = format!("Content-Type: {kind}\r\n");
        daemon.send(&request("POST", &format!("/ring/token{query}"), &kind, body))
    };
    let (form, json) = ("application/x-www-form-urlencoded", "application/json");
    for (status, query, kind, body) in [
        (200, String::new(), form, format!("code={code}")),
        (200, String::new(), json, json!({"data": {"attributes": {"code": code}}}).to_string()),
        (200, String::new(), form, format!("code={made_up}&state={made_up}")),
        (400, format!("?{made_up}=1"), form, format!("{made_up}=code")),
        (400, String::new(), json, json!({"code": {"code": made_up}, made_up.as_str(): 1}).to_string()),
        (400, String::new(), form, format!("code={made_up}&authorization_code={code}")),
    ] {
        assert_eq!(bring(&query, kind, &body), status, "{kind}");
    }
    // What is made up is refused, after the good one was exchanged.
    daemon.wait_for(|log| {
        let said = ["OAuth does not honour a code", "tokens that arrived have their account"];
        said.iter().all(|words| log.contains(words)).then_some(())
    });
    let visit = ring.visit("coded").unwrap();
    show.guard("nonce", &visit.nonce);
    let told = show.claim(&json!({"nonce": visit.nonce, "time": visit.time, "user": "ann"}));
    assert!(told.contains("\"outcome\":\"linked\""), "{told}");
    show.both(&["accounts", "show", "coded"]);
}

/// Its tokens are renewed and honoured, in the end.
fn works(show: &mut Show, ring: &Ring, account: &str) {
    let deadline = clock::ticks() + PATIENCE;
    loop {
        let lent = show.both(&["token", account]);
        let lent: Value = serde_json::from_str(&lent).unwrap_or_default();
        if lent["access_token"].as_str().is_some_and(|token| ring.honours_access(token)) {
            return;
        }
        assert!(clock::ticks() < deadline, "{account}: {lent}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// One link ends at Ring, another by hand.
fn end(show: &mut Show, ring: &Ring, daemon: &Running) {
    ring.revoke("found");
    let removed = sim::body("app_integration_removed", "gone", "found", "", clock::now());
    let key = show.hmac[0].clone();
    assert_eq!(show.post(daemon, key.text(), &removed, "X-Signature"), 200);
    show.both(&["token", "found"]);
    assert!(show.both(&["accounts", "export", "alone"]).contains("\"complete\":true"));
    show.both(&["accounts", "forget", "alone", "--yes"]);
}

fn look_around(show: &mut Show, daemon: &Running) {
    for args in [
        &["status"][..],
        &["check"],
        &["accounts", "list"],
        &["accounts", "show", "whole"],
        &["accounts", "show", "twice"],
        &["queue", "list"],
        &["keys", "show"],
        &["accept-restored", "--yes"],
    ] {
        show.both(args);
    }
    let (config, backup) = (show.path("config.toml"), show.path("data/backup"));
    show.command(&["--config", config.to_str().unwrap(), "backup", backup.to_str().unwrap()], "");
    assert!(backup.exists(), "the search looks at it, too");
    show.metrics();
    show.process(daemon);
}

/// A test that finds nothing must be able to.
fn the_search_can_fail(show: &mut Show, ring: &Ring) {
    let live = ring.live("whole").unwrap();
    let random = live["sim-rt-".len()..].to_owned();
    let plants = [
        format!("ERROR answer={{\"refresh_token\":\"{live}\"}}").into_bytes(),
        data_encoding::BASE64.encode(format!("Bearer {live}").as_bytes()).into_bytes(),
        random.to_uppercase().into_bytes(),
        b"a token that was cut: sim-rt-0".to_vec(),
        ring.client().secret.clone().into_bytes(),
    ];
    show.plant("data-guard", &plants);
    let lent = "sim-at-00000000000000000000000000000000";
    for printed in [format!("{lent}\n{lent}"), format!("{lent}\n{live}")] {
        show.pretend_token(&printed, lent);
    }
    show.pretend_token("of its own: sim-at-00000000000000000000000000000000 alone", lent);
    let leaks = show.leaks();
    for n in 0..plants.len() {
        assert!(
            leaks.iter().any(|leak| leak.ends_with(&format!("data-guard/planted-{n}"))),
            "{n} in {leaks:?}"
        );
    }
    let pretended = leaks.iter().filter(|leak| leak.ends_with(&format!(" for {lent}")));
    let pretended: Vec<_> = pretended.collect();
    assert!(pretended.iter().any(|leak| leak.starts_with("some sim-rt-")), "{pretended:?}");
    assert!(pretended.iter().any(|leak| leak.contains(&format!("{lent}\n{lent}"))), "{pretended:?}");
    assert!(pretended.iter().all(|leak| !leak.contains("of its own")), "{pretended:?}");
}
