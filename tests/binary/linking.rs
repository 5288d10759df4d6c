//! Account linking end to end, over real sockets, before a simulated Ring.

mod browsers;
mod crowds;
mod disconnect;
mod export;
mod faults;
mod hands;
pub(crate) use std::time::Duration;

use crate::support::account;
use crate::support::linking::{LinkHarness, join_all, raw};
use ringhookd::clock;
use ringhookd::domain::access_token::AccessRequest;
use ringhookd::sim::{CodeShape, LinkState, Options, Place, Visit};
use serde_json::{Value, json};

/// How a code is brought: method, path, content type, and the body around it.
type Shape<'a> = (&'a str, &'a str, &'a str, &'a dyn Fn(&str) -> String);

const A: &str = "ava1.ring.account.A";

#[tokio::test]
async fn the_whole_story_from_the_code_to_a_link_that_is_made_anew() {
    let harness = LinkHarness::new().await;
    // Before the code, and before the claim.
    let early = harness.event("device_added", A).await;
    harness.add_app(A).await;
    let shown = harness.show(A).await;
    assert!(
        shown["state"] == "unclaimed" && shown["user"].is_null() && shown["token_state"] == "fresh",
        "{shown}"
    );
    let later = harness.event("motion_detected", A).await;

    let visit = harness.visit(A);
    let (status, told) = harness.claim(&visit, "ann").await;
    assert_eq!((status, &told["outcome"], &told["account_id"]), (200, &"linked".into(), &A.into()), "{told}");
    assert!(told["message"].as_str().unwrap().contains("Return to the Ring app"));
    assert_eq!(harness.ring.link_state(A), Some(LinkState::Completed));
    assert_eq!(harness.events("ann").await, [early, later], "in order");
    assert_eq!(harness.kinds("news").await, ["link.claiming", "link.linked"]);
    harness.event("app_integration_added", A).await;
    assert_eq!(harness.state(A).await, "linked");
    assert_eq!(harness.outcome(&visit, "ann").await, "linked", "the same again tells how it stands");

    let linked = clock::now();
    tokio::time::sleep(Duration::from_millis(5)).await;
    harness.ring.revoke(A);
    harness.event("app_integration_removed", A).await;
    harness.is(A, "removed").await;
    assert_eq!(harness.outcome(&visit, "ann").await, "expired", "an old claim does not revive");
    harness.events("ann").await;

    // Whoever claims next has it; until then nobody has its events, but what is left of the link before.
    let late = harness.event_at("device_online", A, linked).await;
    let farewell = harness.event("device_removed", A).await;
    let first = harness.event("device_added", A).await;
    assert_eq!(harness.events("ann").await, [late, farewell]);
    harness.add_app(A).await;
    let shown = harness.show(A).await;
    assert!(
        shown["state"] == "unclaimed" && shown["user"].is_null() && shown["former_user"] == "ann",
        "{shown}"
    );
    let late = harness.event_at("motion_detected", A, linked).await;
    assert_eq!(harness.events("ann").await, [late]);
    let held = harness.event("device_added", A).await;
    assert!(harness.events("ann").await.is_empty() && harness.events("bob").await.is_empty());
    assert_eq!(harness.outcome(&visit, "ann").await, "expired");
    assert_eq!(harness.outcome(&harness.visit(A), "bob").await, "linked");
    assert_eq!(harness.events("bob").await, [first, held]);
    assert_eq!(harness.show(A).await["former_user"], Value::Null);
}

#[tokio::test]
async fn every_outcome_has_a_word_a_status_and_words_for_a_page() {
    let harness = LinkHarness::new().await;
    harness.add_app(A).await;
    let visit = harness.visit(A);
    let garbled = Visit { nonce: "no nonce".into(), time: visit.time.clone() };
    // Of another moment than the nonce: no account gives this pair, however fast the machine is.
    let before: i64 = visit.time.parse().unwrap();
    let foreign = Visit { time: (before - 1).to_string(), ..visit.clone() };
    let old = Visit { time: (clock::now().0 - 601_000).to_string(), ..visit.clone() };
    for (visit, status, outcome) in
        [(&garbled, 404, "no_match"), (&foreign, 404, "no_match"), (&old, 410, "expired")]
    {
        let (code, told) = harness.claim(visit, "ann").await;
        assert_eq!((code, &told["outcome"], &told["account_id"]), (status, &outcome.into(), &Value::Null));
        assert!(told["message"].as_str().unwrap().contains("Begin again in the Ring app"), "{told}");
    }
    assert_eq!(harness.claim(&visit, "ann").await.0, 200);
    let (status, told) = harness.claim(&visit, "bob").await;
    assert_eq!((status, &told["outcome"]), (409, &"linked_to_another_user".into()));
    assert_eq!(told["account_id"], Value::Null, "nothing of another's account");
    let (status, told) = harness.claim(&harness.visit(A), "ann").await;
    assert_eq!((status, &told["outcome"], &told["account_id"]), (200, &"already_linked".into(), &A.into()));
    assert_eq!(harness.outcome(&harness.visit(A), "bob").await, "linked_to_another_user");
    let metrics = harness.daemon().metrics().render();
    for line in
        ["{outcome=\"linked\"} 1\n", "{outcome=\"linked_to_another_user\"} 2\n", "{outcome=\"expired\"} 1\n"]
    {
        assert!(metrics.contains(&format!("ringhookd_claims_total{line}")), "{line} not in {metrics}");
    }
}

#[tokio::test]
async fn a_call_that_is_wrong_itself_is_refused_and_claims_nothing() {
    let doors = r#"[[socket]]
path = "FOLDER/ann.sock"
calls = ["links.claim"]
users = ["ann"]
[[socket]]
path = "FOLDER/other.sock"
calls = ["links.claim"]
accounts = ["another"]
[[socket]]
path = "FOLDER/reader.sock"
calls = ["accounts.read"]
"#;
    let harness = LinkHarness::with(doors, Options::default()).await;
    harness.add_app(A).await;
    let visit = harness.visit(A);
    for body in [
        json!({}),
        json!({"nonce": visit.nonce, "time": visit.time}),
        json!({"nonce": visit.nonce, "time": visit.time, "user": ""}),
        json!({"nonce": visit.nonce, "time": visit.time, "user": "a\u{0}"}),
        json!({"nonce": visit.nonce, "time": visit.time, "user": "ann", "account_identifier": "x".repeat(300)}),
        json!({"nonce": visit.nonce, "time": visit.time, "user": "ann", "usr": "bob"}),
    ] {
        let (status, told) = harness.admin("POST", "/v1/claims", &body).await;
        assert!(status == 400 && told["error"].is_string(), "{body}: {status} {told}");
    }
    assert_eq!(harness.claim_through("reader.sock", &visit, "ann").await.0, 403);
    assert_eq!(harness.claim_through("ann.sock", &visit, "bob").await.0, 403);
    assert_eq!(harness.claim_through("other.sock", &visit, "ann").await.1["outcome"], "no_match");
    assert_eq!(harness.state(A).await, "unclaimed");
    assert_eq!(harness.claim_through("ann.sock", &visit, "ann").await.1["outcome"], "linked");
}

#[tokio::test]
async fn of_two_browsers_with_one_nonce_one_user_has_the_account() {
    let harness = LinkHarness::new().await;
    for round in 0..20 {
        let account = format!("account-{round}");
        harness.add_app(&account).await;
        let held = harness.event("device_added", &account).await;
        let visit = harness.visit(&account);
        let (ann, bob) = tokio::join!(harness.outcome(&visit, "ann"), harness.outcome(&visit, "bob"));
        let (winner, loser) = if ann == "linked" { ("ann", "bob") } else { ("bob", "ann") };
        let mut outcomes = [ann, bob];
        outcomes.sort();
        assert_eq!(outcomes, ["linked", "linked_to_another_user"], "round {round}");
        assert_eq!(harness.show(&account).await["user"], winner);
        assert_eq!((harness.events(winner).await, harness.events(loser).await), (vec![held], vec![]));
    }
}

#[tokio::test]
async fn the_same_user_twice_at_once_is_one_claim() {
    let harness = LinkHarness::new().await;
    harness.add_app(A).await;
    let visit = harness.visit(A);
    let (one, two) = tokio::join!(harness.outcome(&visit, "ann"), harness.outcome(&visit, "ann"));
    assert_eq!([one, two], ["linked", "linked"]);
    assert_eq!((harness.ring.requests(Place::LinkPost), harness.ring.requests(Place::LinkPatch)), (1, 1));
}

#[tokio::test]
async fn a_claim_that_comes_before_the_code_waits_for_it() {
    let harness = LinkHarness::new().await;
    let code = harness.ring.new_code(A);
    let visit = harness.visit(A);
    assert_eq!(harness.outcome(&visit, "ann").await, "no_match", "nothing is on its way");
    harness.inject("oauth-slow-before:1s", Some(1));
    assert_eq!(harness.bring(&code).await.0, 200);
    assert_eq!(harness.outcome(&visit, "ann").await, "linked");

    // Its events came first, so the account is known: it is claimed at once, and linked when its code has come.
    let code = harness.ring.new_code("B");
    let held = harness.event("device_added", "B").await;
    let visit = harness.visit("B");
    let (told, ()) = tokio::join!(harness.outcome(&visit, "bob"), async {
        harness.is("B", "claiming").await;
        assert_eq!(harness.bring(&code).await.0, 200);
    });
    assert_eq!((told.as_str(), harness.events("bob").await), ("linked", vec![held]));
}

#[tokio::test]
async fn codes_come_in_every_shape_that_integrations_read() {
    let harness = LinkHarness::new().await;
    let form = "application/x-www-form-urlencoded";
    let boundary = "multipart/form-data; boundary=x";
    let part = |code: &str| {
        format!("--x\r\nContent-Disposition: form-data; name=\"code\"\r\n\r\n{code}\r\n--x--\r\n")
    };
    let json = "application/json";
    let shapes: [Shape<'_>; 9] = [
        ("POST", "/ring/token", form, &|code| format!("code={code}&client_id=sim-client")),
        ("POST", "/ring/token", form, &|code| format!("authorization_code={code}")),
        ("POST", "/ring/token", json, &|code| json!({"code": code}).to_string()),
        ("POST", "/ring/token", json, &|code| json!({"authorizationCode": code}).to_string()),
        ("POST", "/ring/token", json, &|code| json!({"data": {"attributes": {"code": code}}}).to_string()),
        ("POST", "/ring/token", "text/plain", &|code| json!({"code": code}).to_string()),
        ("POST", "/ring/token", boundary, &|code| part(code)),
        ("POST", "/ring/token?code=", "", &|_| String::new()),
        ("GET", "/ring/token?authorization_code=", "", &|_| String::new()),
    ];
    for (n, (method, path, kind, body)) in shapes.into_iter().enumerate() {
        let account = format!("account-{n}");
        let code = harness.ring.new_code(&account);
        let path = if path.contains('?') { format!("{path}{code}") } else { path.to_owned() };
        let (status, told) = harness.call_public(method, &path, kind, &body(&code)).await;
        assert_eq!((status, told["status"].as_str()), (200, Some("ok")), "{account}");
        harness.arrived(&account).await;
        // Codes have ten a second.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for (status, kind, body) in
        [(400, json, "{}"), (400, form, "code="), (400, form, ""), (413, form, &"x".repeat(20_000))]
    {
        assert_eq!(harness.call_public("POST", "/ring/token", kind, body).await.0, status);
    }
    assert_eq!(harness.call_public("DELETE", "/ring/token", "", "").await.0, 405);
}

#[tokio::test]
async fn a_repeated_code_is_answered_the_same_and_exchanged_once() {
    let mut harness = LinkHarness::new().await;
    let code = harness.ring.new_code(A);
    for _ in 0..3 {
        assert_eq!(harness.bring(&code).await, (200, json!({"status": "ok"})));
    }
    harness.arrived(A).await;
    assert_eq!(harness.bring(&code).await.0, 200);
    harness.stop().await;
    harness.start().await;
    assert_eq!(harness.bring(&code).await.0, 200, "also after a restart");
    assert_eq!(harness.outcome(&harness.visit(A), "ann").await, "linked");
    assert_eq!(harness.ring.exchanges().len(), 1);
}

#[tokio::test]
async fn a_fresh_code_replaces_the_tokens_and_never_loses_the_user() {
    let harness = LinkHarness::new().await;
    harness.add_app(A).await;
    assert_eq!(harness.outcome(&harness.visit(A), "ann").await, "linked");
    let generation = harness.show(A).await["linked_at"].clone();
    // That the app was removed was never said.
    harness.add_app(A).await;
    harness.soon("the new tokens are there", async || harness.show(A).await["linked_at"] != generation).await;
    let shown = harness.show(A).await;
    assert!(shown["state"] == "linked" && shown["user"] == "ann", "{shown}");
    assert_eq!(harness.ring.counts(A).granted, 2);
    let ask = AccessRequest { account: account(A), min_life: Duration::from_hours(1), refused: None };
    let lent = harness.daemon().tokens().access_tokens().get(&ask).await.unwrap();
    assert!(harness.ring.honours_access(lent.token.expose()));
    assert_eq!(harness.outcome(&harness.visit(A), "bob").await, "linked_to_another_user");
    assert_eq!(harness.outcome(&harness.visit(A), "ann").await, "linked", "Ring is told once more");
}

#[tokio::test]
async fn a_late_removal_undoes_nothing_and_a_late_confirmation_completes_nothing() {
    let harness = LinkHarness::new().await;
    let before = clock::now();
    tokio::time::sleep(Duration::from_millis(20)).await;
    harness.add_app(A).await;
    // Ring can't be reached, so that the claim stays where it is.
    harness.inject("link-post-503", None);
    harness.inject("link-patch-503", None);
    let visit = harness.visit(A);
    let claiming = harness.claim(&visit, "ann");
    let story = async {
        harness.is(A, "claiming").await;
        harness.event_at("app_integration_added", A, before).await;
        harness.event_at("app_integration_removed", A, before).await;
        assert_eq!(harness.state(A).await, "claiming", "they are of a link before");
        // Ring says so itself: whatever our own calls say.
        harness.event("app_integration_added", A).await;
        harness.is(A, "linked").await;
    };
    let ((status, told), ()) = tokio::join!(claiming, story);
    assert_eq!((status, &told["outcome"]), (200, &"linked".into()));
    harness.event_at("app_integration_removed", A, before).await;
    assert_eq!(harness.state(A).await, "linked");
    assert!(harness.show(A).await["has_tokens"] == true);
}

/// As Ring does it by itself, in each shape that a code may have.
#[tokio::test]
async fn ring_plays_the_story_by_itself() {
    let harness = LinkHarness::new().await;
    for shape in CodeShape::ALL {
        let account = format!("account-{}", shape.name());
        harness.let_ring_call(shape);
        harness.ring.install(&account).unwrap();
        harness.arrived(&account).await;
        assert_eq!(harness.outcome(&harness.visit(&account), "ann").await, "linked");
        let mut kinds = Vec::new();
        while kinds.len() < 3 {
            kinds.extend(harness.kinds("ann").await);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        kinds.sort();
        assert_eq!(kinds, ["app_integration_added", "device_added", "device_added"]);
        assert!(harness.ring.revoke(&account));
        harness.is(&account, "removed").await;
        harness.soon("nothing of it waits", async || harness.kinds("ann").await.is_empty()).await;
        harness.ring.install(&account).unwrap();
        harness.is(&account, "unclaimed").await;
        harness.arrived(&account).await;
        assert_eq!(harness.outcome(&harness.visit(&account), "ann").await, "linked", "anew");
        harness.soon("its events have come", async || harness.kinds("ann").await.len() + 1 > 0).await;
    }
}

#[tokio::test]
async fn one_user_may_have_several_accounts() {
    let harness = LinkHarness::new().await;
    for account in ["A", "B", "C"] {
        harness.add_app(account).await;
        assert_eq!(harness.outcome(&harness.visit(account), "ann").await, "linked");
    }
    for account in ["A", "B", "C"] {
        assert_eq!(harness.show(account).await["user"], "ann");
    }
}

#[tokio::test]
async fn made_up_codes_have_a_share_of_their_own() {
    let harness = LinkHarness::with("", Options { rate: None, ..Options::default() }).await;
    let given = harness.ring.add_account("linked");
    let start = clock::now();
    let answers = join_all(300, |n| harness.bring_as_task(&format!("made-up-{n}"))).await;
    let (taken, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|(status, _)| *status == 200);
    assert!(refused.iter().all(|(status, _)| *status == 503) && !refused.is_empty(), "{answers:?}");
    assert!(!taken.is_empty());
    // Webhooks are taken beside them, and tokens refreshed.
    harness.event("motion_detected", "linked").await;
    let refresh = &given.refresh;
    let entry = json!({"account_id": "linked", "user": "ann", "refresh_token": refresh});
    assert_eq!(harness.admin("POST", "/v1/accounts", &entry).await.0, 200);
    let ask = AccessRequest { account: account("linked"), min_life: Duration::from_hours(1), refused: None };
    let lent = harness.daemon().tokens().access_tokens().get(&ask).await.unwrap();
    assert!(harness.ring.honours_access(lent.token.expose()));
    harness
        .soon("all are at their end", async || {
            harness
                .daemon()
                .metrics()
                .render()
                .contains(&format!("ringhookd_codes_total{{outcome=\"refused\"}} {}", taken.len()))
        })
        .await;
    let exchanges = harness.ring.exchanges();
    let exchanges: Vec<_> = exchanges.iter().filter(|exchange| exchange.account.is_none()).collect();
    assert_eq!(exchanges.len(), taken.len());
    // Ten a second, one at once, and a tenth of a second for clocks that are cut to milliseconds: none comes before its turn,
    // however late a busy machine brings it.
    for (earlier, exchange) in exchanges.iter().enumerate() {
        let turn = Duration::from_millis(100 * (earlier as u64 + 1).saturating_sub(2));
        assert!(exchange.at.since(start) >= turn, "{earlier} before it after {:?}", exchange.at.since(start));
    }
    // And Ring's own code comes through afterwards.
    harness
        .soon("there is room again", async || harness.bring(&harness.ring.new_code(A)).await.0 == 200)
        .await;
    harness.arrived(A).await;
}

#[tokio::test]
async fn a_browser_is_led_to_the_partners_page_and_nowhere_else() {
    let settings =
        "[linking]\nsign_in_url = \"https://partner.example/ring?from=app\"\nlink_path = \"/go\"\n";
    let harness = LinkHarness::with(settings, Options::default()).await;
    harness.add_app(A).await;
    let (visit, address) = (harness.visit(A), harness.daemon().address());
    let query = format!("/go?time={}&nonce={}&next=https://evil.example", visit.time, visit.nonce);
    let answer = raw(address, "GET", query.leak()).await;
    let to = format!(
        "location: https://partner.example/ring?from=app&nonce={}&time={}\r\n",
        visit.nonce, visit.time
    );
    assert!(
        answer.starts_with("HTTP/1.1 303") && answer.contains(&to) && !answer.contains("evil"),
        "{answer}"
    );
    for query in ["/go", "/go?nonce=a&time=1", "/go?nonce=%0d%0aLocation:x&time=1"] {
        let answer = raw(address, "GET", query).await;
        assert!(answer.starts_with("HTTP/1.1 400") && !answer.contains("location"), "{answer}");
    }
    assert!(raw(address, "POST", "/go").await.starts_with("HTTP/1.1 405"));
    // Without a page of the partner's there is nothing.
    let plain = LinkHarness::new().await;
    assert!(raw(plain.daemon().address(), "GET", "/ring/link").await.starts_with("HTTP/1.1 404"));
}
