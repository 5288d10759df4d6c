//! Tokens as a user meets them: the real binary before a simulated Ring, driven by commands and over its sockets.

pub(crate) use std::time::Duration;

use crate::support::configuration::KEY;
use crate::support::installation::{Installation, Ran, soon};
use crate::support::process::run;
use ringhookd::clock;
use ringhookd::domain::signature::sign;
use ringhookd::sim::{Options, Policy, Ring, body};
use serde_json::{Value, json};

/// Two sockets beside the open one, both of which see account A alone.
const SOCKETS: &str = r#"[[socket]]
path = "FOLDER/worker.sock"
calls = ["tokens.lend"]
accounts = ["A"]
[[socket]]
path = "FOLDER/importer.sock"
calls = ["accounts.write"]
accounts = ["A"]
"#;

fn installation() -> Installation {
    Installation::new(Ring::start(Options::default()).unwrap(), "")
}

#[test]
fn a_refresh_token_alone_becomes_an_account_and_an_access_token() {
    let installation = installation();
    let given = installation.ring().add_account("ava1.A");
    let _daemon = installation.serve();
    let imported = installation.import(&json!({"refresh_token": given.refresh, "user": "ann"}));
    assert_eq!(imported.code, 0, "{imported:?}");
    assert!(imported.out.contains("imported 1 account, 1 of them new;"), "{imported:?}");
    assert!(imported.out.contains("line 1 is account ava1.A\n"), "{imported:?}");

    let lent = installation.lend("ava1.A", &[]);
    assert_eq!((lent.code, lent.err.as_str()), (0, ""));
    assert!(lent.out.ends_with('\n') && lent.out.lines().count() == 1, "{lent:?}");
    assert!(installation.ring().honours_access(lent.out.trim_end_matches('\n')), "{lent:?}");

    let known = installation.json(&["token", "ava1.A"]);
    let mut keys: Vec<_> = known.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["access_token", "expires_at", "expires_in", "generation", "token_type"]);
    assert_eq!(
        (known["access_token"].as_str().unwrap(), &known["token_type"]),
        (lent.token(), &json!("Bearer"))
    );
    assert!((14_000..=14_400).contains(&known["expires_in"].as_u64().unwrap()), "{known}");
    let at: jiff::Timestamp = known["expires_at"].as_str().unwrap().parse().unwrap();
    let now = i64::try_from(clock::now().0).unwrap();
    assert!((14_000_000..=14_400_000).contains(&(at.as_millisecond() - now)), "{known}");
    assert!(known["generation"].is_u64());
}

#[test]
fn accounts_and_status_say_how_tokens_are() {
    let installation = installation();
    let given = installation.ring().add_account("A");
    let _daemon = installation.serve();
    let none = installation.status();
    assert_eq!(
        (&none["configured"], &none["due"], &none["nearest_lapse"]),
        (&json!(true), &json!(0), &Value::Null)
    );
    installation.imported(&json!({"refresh_token": given.refresh, "user": "ann"}));

    let account = installation.json(&["accounts", "list"]);
    assert_eq!(
        (&account["account_id"], &account["user"], &account["state"]),
        (&json!("A"), &json!("ann"), &json!("linked"))
    );
    assert_eq!((&account["token_state"], &account["days_left"]), (&json!("fresh"), &json!(29)));
    let table = installation.run(&["accounts", "list"]).out;
    let (head, row) = table.split_once('\n').unwrap();
    assert!(["STATE", "TOKENS", "LAPSES"].iter().all(|title| head.contains(title)), "{table}");
    let lapses_at = account["lapses_at"].as_str().unwrap();
    assert!(["linked", "fresh", lapses_at].iter().all(|word| row.contains(word)), "{table}");

    soon("the schedule knows it", || installation.status()["accounts"]["fresh"] == 1);
    let status = installation.status();
    assert_eq!(
        (&status["oauth_down"], &status["due"], &status["failing"]),
        (&json!(false), &json!(0), &json!(0))
    );
    assert_eq!((&status["nearest_lapse_days"], &status["unrecorded"]), (&json!(29), &json!(0)));
    assert!(
        status["nearest_lapse"].is_string() && status["next_due_in_s"].as_u64().unwrap() > 3600,
        "{status}"
    );
    let ran = installation.run(&["status"]);
    assert!(ran.code == 0 && ran.out.starts_with("all well\n"), "{ran:?}");
    for line in ["links 1 linked; the first would lapse in 29 days", "tokens 1 fresh; the next refresh in "] {
        assert!(ran.has_line(line), "{line} in {}", ran.out);
    }
}

#[test]
fn what_cannot_be_had_is_said_and_exits_1() {
    let installation = installation();
    let given = installation.ring().add_account("A");
    let _daemon = installation.serve();
    installation.imported(&json!({"refresh_token": given.refresh, "user": "ann"}));
    let generation = installation.json(&["token", "A"])["generation"].to_string();
    let granted = installation.ring().counts("A").granted;

    installation
        .lend("A", &["--min-life", "5h"])
        .is_refused("no access token of Ring's lives as long as that");
    assert_eq!(installation.ring().counts("A").granted, granted, "nothing was refreshed in vain");
    let young = installation.lend("A", &["--refused", &generation]);
    young.is_refused("made a moment ago");
    assert!(young.err.contains("(ask again in "), "{young:?}");
    installation.lend("nobody", &[]).is_refused("no tokens of such an account");
    let as_json = installation.run(&["--json", "token", "nobody"]);
    assert_eq!((as_json.code, as_json.out.as_str()), (1, ""), "{as_json:?}");

    let playground = installation.ring().playground("A");
    let refused = installation.import(&json!({"account_id": "P", "access_token": playground}));
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains("line 1: ") && refused.err.contains("no refresh token"), "{refused:?}");
    assert!(refused.err.contains("Playground") && !refused.err.contains(&playground), "{refused:?}");
    let used = installation.import(&json!({"refresh_token": "sim-rt-that-nobody-knows"}));
    assert!(used.code == 1 && used.err.contains("invalid_grant"), "{used:?}");
    // All that tell of it say the same of a token that OAuth refuses.
    installation.imported(&json!({"account_id": "M", "user": "ann", "refresh_token": "sim-rt-mistyped"}));
    soon("it is refused", || installation.json(&["accounts", "show", "M"])["token_error"] == "invalid_grant");
    let mistyped = installation.lend("M", &[]);
    mistyped.is_refused("Ring's OAuth refuses the refresh token (invalid_grant)");
    assert!(mistyped.err.contains("(ask again in "), "{mistyped:?}");
    assert!(installation.status()["accounts"]["refused"] == 1, "{}", installation.status());
    // A file that is run again does no harm.
    let again = installation.import(&json!({"refresh_token": given.refresh}));
    assert!(again.code == 0 && again.out.contains("line 1 is account A"), "{again:?}");
}

#[test]
fn wrong_usage_of_the_token_commands_exits_2() {
    for (args, words) in [
        (&["token"][..], "<ACCOUNT>"),
        (&["token", "A", "--min-life", "long"], "--min-life"),
        (&["token", "A", "--refused", "x"], "--refused"),
        (&["restore"], "<FILE>"),
    ] {
        let ran = Ran::of(run(args, b""));
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{ran:?}");
        assert!(ran.err.contains(words), "{ran:?}");
    }
    let help = |args: &[&str]| Ran::of(run(args, b"")).out;
    for (args, words) in [
        (&["--help"][..], &["  token ", "  backup ", "  restore ", "  accept-restored "][..]),
        (
            &["token", "--help"],
            &["nothing else", "exit code is 1", "4 hours", "`accounts list` shows it", "--refused"],
        ),
        (&["accept-restored", "--help"], &["no newer copy", "`status` says \"restore_guard\""]),
        (&["accounts", "import", "--help"], &["exchanged at once", "Playground", "ends the link"]),
    ] {
        let text = help(args).split_whitespace().collect::<Vec<_>>().join(" ");
        let text = if args.len() == 1 { help(args) } else { text };
        assert!(words.iter().all(|word| text.contains(word)), "{words:?} in {text}");
    }
}

#[test]
fn a_token_that_ring_refused_is_replaced_by_a_newer_one() {
    let installation = installation();
    let daemon = installation.serve();
    installation.import_ageing("A");
    let first = installation.json(&["token", "A"]);
    let refused = first["generation"].to_string();
    let next = installation.json(&["token", "A", "--refused", &refused]);
    assert!(next["generation"].as_u64() > first["generation"].as_u64(), "{next}");
    assert_ne!(next["access_token"], first["access_token"]);
    assert!(installation.ring().honours_access(next["access_token"].as_str().unwrap()));
    let [again, present] =
        [&["token", "A", "--refused", &refused][..], &["token", "A"]].map(|args| installation.json(args));
    assert_eq!(again["access_token"], present["access_token"], "it is newer already");
    assert_eq!(again["generation"], present["generation"]);
    drop(daemon);
}

#[test]
fn our_own_wrong_secret_halts_everything_and_ends_no_link() {
    let installation = installation();
    let given = installation.ring().add_account("A");
    let other = installation.ring().add_account("B");
    installation.configure("wrong", "");
    let daemon = installation.serve();
    installation.imported(&json!({"account_id": "A", "user": "ann", "refresh_token": given.refresh}));
    soon("it halts", || installation.problems().first().is_some_and(|name| name == "client_refused"));
    let text = installation.run(&["status"]);
    let first = "client_refused: No token is refreshed because OAuth refuses our own client id or secret.";
    assert!(text.code == 3 && text.out.starts_with(first), "{text:?}");
    let refused = installation.lend("A", &[]);
    refused.is_refused("our own client id or secret: see [ring]");
    assert!(refused.err.contains("(ask again in 1"), "{refused:?}");
    let alone = installation.import(&json!({"refresh_token": other.refresh}));
    assert!(
        alone.code == 0 && alone.out.contains("is pending") && alone.out.contains("see [ring]"),
        "{alone:?}"
    );
    let account = installation.json(&["accounts", "show", "A"]);
    assert!(!["lapsed", "revoked"].contains(&account["token_state"].as_str().unwrap()), "{account}");
    assert!(installation.ring().honours(&given.refresh) && installation.ring().honours(&other.refresh));
    assert!(daemon.stop().0.success());

    installation.configure(&installation.ring().client().secret, "");
    let _daemon = installation.serve();
    soon("it is refreshed", || installation.lend("A", &[]).code == 0);
    installation.imported(&json!({"refresh_token": other.refresh}));
}

#[test]
fn a_user_who_removes_the_app_ends_its_tokens_at_once() {
    let installation = installation();
    let given = installation.ring().add_account("A");
    let daemon = installation.serve();
    installation.imported(&json!({"refresh_token": given.refresh, "user": "ann"}));
    assert_eq!(installation.lend("A", &[]).code, 0);
    installation.ring().revoke("A");
    let removed = body("app_integration_removed", "r-1", "A", "", clock::now());
    let signature = sign(KEY.as_bytes(), &removed);
    assert_eq!(daemon.post(&format!("X-Signature: {signature}\r\n"), &removed), 200);
    installation.lend("A", &[]).is_refused("its user removed the app");
    let account = installation.json(&["accounts", "list"]);
    assert_eq!((&account["state"], &account["has_tokens"]), (&json!("removed"), &json!(false)));
    soon("the schedule forgets it", || installation.status()["nearest_lapse"].is_null());
}

#[test]
fn while_ring_is_down_what_is_valid_is_handed_out() {
    let mut installation = installation();
    let _daemon = installation.serve();
    installation.import_ageing("A");
    let before = installation.lend("A", &[]);
    installation.stop_ring();
    assert_eq!(installation.lend("A", &["--min-life", "30m"]), before);
    let asked = clock::ticks();
    let longer = installation.lend("A", &["--min-life", "2h"]);
    assert!(clock::ticks() - asked < Duration::from_secs(10), "{longer:?}");
    longer.is_refused("tried again");
    assert!(longer.err.contains("(ask again in "), "{longer:?}");
    assert_eq!(installation.lend("A", &[]), before, "it is still good");
    let alone = installation.import(&json!({"refresh_token": "one that nobody knows"}));
    assert!(alone.code == 0 && alone.out.contains("line 1 is pending"), "{alone:?}");
}

#[test]
fn an_older_copy_of_the_store_refreshes_nothing_until_it_is_accepted() {
    let policy = Policy::Grace(Duration::from_hours(1));
    let installation = Installation::new(Ring::start(Options { policy, ..Options::default() }).unwrap(), "");
    let daemon = installation.serve();
    installation.import_ageing("A");
    let other = installation.ring().add_account("B");
    installation.back_up();
    assert_eq!(installation.lend("A", &["--min-life", "2h"]).code, 0);
    assert!(daemon.stop().0.success());
    installation.restore();

    let daemon = installation.serve();
    let granted = installation.ring().counts("A").granted;
    let text = installation.run(&["status"]);
    assert!(text.code == 3 && text.out.starts_with("restore_guard: "), "{text:?}");
    assert!(text.out.lines().next().unwrap().contains("`ringhookd accept-restored`"), "{text:?}");
    assert_eq!(installation.lend("A", &[]).code, 0, "what it has is handed out");
    installation.lend("A", &["--min-life", "2h"]).is_refused("until `ringhookd accept-restored`");
    let alone = installation.import(&json!({"refresh_token": other.refresh}));
    assert!(alone.code == 1 && alone.err.contains("`ringhookd accept-restored`"), "{alone:?}");
    assert!(installation.ring().honours(&other.refresh));
    assert_eq!(installation.ring().counts("A").granted, granted);

    let unsure = installation.run(&["accept-restored"]);
    assert!(unsure.code == 2 && unsure.err.contains("--yes"), "{unsure:?}");
    let accepted = installation.run(&["accept-restored", "--yes"]);
    assert!(accepted.code == 0 && accepted.out.starts_with("accepted; refreshes go on"), "{accepted:?}");
    let fresh = installation.lend("A", &["--min-life", "2h"]);
    assert!(fresh.code == 0 && installation.ring().honours_access(fresh.token()), "{fresh:?}");
    assert_eq!(installation.status()["guarded"], false);
    installation.imported(&json!({"refresh_token": other.refresh}));
    assert!(daemon.stop().0.success());
    let _daemon = installation.serve();
    assert_eq!(installation.status()["guarded"], false, "it stays accepted");
}

#[test]
fn a_socket_of_one_account_lends_its_token_and_does_nothing_else() {
    let installation = Installation::new(Ring::start(Options::default()).unwrap(), SOCKETS);
    let _daemon = installation.serve();
    for id in ["A", "B"] {
        installation.import_ageing(id);
    }
    let ask = |id: &str, wish: &str| {
        installation.call("worker.sock", "POST", &format!("/v1/accounts/{id}/token"), wish)
    };
    let (status, lent) = ask("A", r#"{"min_life_s":60}"#);
    let lent: Value = serde_json::from_str(&lent).unwrap();
    assert_eq!(status, 200, "{lent}");
    assert!(installation.ring().honours_access(lent["access_token"].as_str().unwrap()));
    for wish in ["", "{}", r#"{"min_life_s":99999}"#, r#"{"refused":1}"#, "no JSON"] {
        assert_eq!(ask("B", wish), ask("nobody", wish), "{wish}");
    }
    let (status, none) = ask("B", "{}");
    let none: Value = serde_json::from_str(&none).unwrap();
    assert_eq!((status, &none["reason"], &none["retry_after_s"]), (404, &json!("no_tokens"), &Value::Null));
    assert_eq!(installation.ring().counts("B").granted, 0, "nothing was done for it");

    for (method, path) in [
        ("GET", "/v1/status"),
        ("GET", "/v1/metrics"),
        ("GET", "/v1/accounts"),
        ("GET", "/v1/accounts/A"),
        ("DELETE", "/v1/accounts/A"),
        ("POST", "/v1/accounts"),
        ("POST", "/v1/accounts/A/user"),
        ("POST", "/v1/restore/accept"),
        ("POST", "/v1/backup"),
        ("POST", "/v1/compact"),
        ("GET", "/v1/queues"),
        ("POST", "/v1/queues/all/lease"),
        ("GET", "/v1/queues/all/tail"),
        ("GET", "/v1/dead-letters"),
        ("GET", "/v1/keys"),
        ("POST", "/v1/keys/rotate"),
    ] {
        let (status, answer) = installation.call("worker.sock", method, path, "");
        assert_eq!(status, 403, "{method} {path}: {answer}");
    }
    let socket = installation.path("worker.sock");
    let at = ["--socket", socket.to_str().unwrap()];
    let through = |args: &[&str]| Ran::of(run(&[&at[..], args].concat(), b""));
    assert_eq!(through(&["token", "A"]).token(), lent["access_token"].as_str().unwrap());
    assert_eq!(through(&["token", "B"]), through(&["token", "nobody"]));
    through(&["status"]).is_refused("does not allow status");
}

#[test]
fn a_socket_that_sees_some_accounts_takes_no_token_without_one() {
    let installation = Installation::new(Ring::start(Options::default()).unwrap(), SOCKETS);
    let _daemon = installation.serve();
    let (own, other) = (installation.ring().add_account("A"), installation.ring().add_account("B"));
    for given in [&own, &other] {
        let refused = installation.import_through("importer.sock", &json!({"refresh_token": given.refresh}));
        refused.is_not_imported("has to say account_id");
        assert!(installation.ring().honours(&given.refresh), "it was not exchanged");
    }
    let refused = installation
        .import_through("importer.sock", &json!({"account_id": "B", "refresh_token": other.refresh}));
    refused.is_not_imported("not this account");
    let own = installation.import_through(
        "importer.sock",
        &json!({"account_id": "A", "user": "ann", "refresh_token": own.refresh}),
    );
    assert_eq!(own.code, 0, "{own:?}");
    soon("it is refreshed", || installation.lend("A", &[]).code == 0);
}
