//! Account linking end to end, over real sockets, before a simulated Ring.

mod browsers;
mod crowds;
mod faults;
mod hands;
pub(crate) mod house;

use std::time::Duration;

use self::house::{House, join_all, raw};
use crate::support::account;
use ringhookd::clock;
use ringhookd::domain::access_token::AccessRequest;
use ringhookd::sim::{CodeShape, LinkState, Options, Place, Visit};
use serde_json::{Value, json};

/// How a code is brought: method, path, content type, and the body around it.
type Shape<'a> = (&'a str, &'a str, &'a str, &'a dyn Fn(&str) -> String);

const A: &str = "ava1.ring.account.A";

#[tokio::test]
async fn the_whole_story_from_the_code_to_a_link_that_is_made_anew() {
    let house = House::new().await;
    // Before the code, and before the claim.
    let early = house.event("device_added", A).await;
    house.add_app(A).await;
    let shown = house.show(A).await;
    assert!(
        shown["state"] == "unclaimed" && shown["user"].is_null() && shown["token_state"] == "fresh",
        "{shown}"
    );
    let later = house.event("motion_detected", A).await;

    let visit = house.visit(A);
    let (status, told) = house.claim(&visit, "ann").await;
    assert_eq!((status, &told["outcome"], &told["account_id"]), (200, &"linked".into(), &A.into()), "{told}");
    assert!(told["message"].as_str().unwrap().contains("Return to the Ring app"));
    assert_eq!(house.ring.link_state(A), Some(LinkState::Completed));
    assert_eq!(house.events("ann").await, [early, later], "in order");
    assert_eq!(house.kinds("news").await, ["link.claiming", "link.linked"]);
    house.event("app_integration_added", A).await;
    assert_eq!(house.state(A).await, "linked");
    assert_eq!(house.outcome(&visit, "ann").await, "linked", "the same again tells how it stands");

    let linked = clock::now();
    tokio::time::sleep(Duration::from_millis(5)).await;
    house.ring.revoke(A);
    house.event("app_integration_removed", A).await;
    house.is(A, "removed").await;
    assert_eq!(house.outcome(&visit, "ann").await, "expired", "an old claim does not revive");
    house.events("ann").await;

    // Whoever claims next has it; until then nobody has its events, but what is left of the link before.
    let late = house.event_at("device_online", A, linked).await;
    let farewell = house.event("device_removed", A).await;
    let first = house.event("device_added", A).await;
    assert_eq!(house.events("ann").await, [late, farewell]);
    house.add_app(A).await;
    let shown = house.show(A).await;
    assert!(
        shown["state"] == "unclaimed" && shown["user"].is_null() && shown["former_user"] == "ann",
        "{shown}"
    );
    let late = house.event_at("motion_detected", A, linked).await;
    assert_eq!(house.events("ann").await, [late]);
    let held = house.event("device_added", A).await;
    assert!(house.events("ann").await.is_empty() && house.events("bob").await.is_empty());
    assert_eq!(house.outcome(&visit, "ann").await, "expired");
    assert_eq!(house.outcome(&house.visit(A), "bob").await, "linked");
    assert_eq!(house.events("bob").await, [first, held]);
    assert_eq!(house.show(A).await["former_user"], Value::Null);
}

#[tokio::test]
async fn every_outcome_has_a_word_a_status_and_words_for_a_page() {
    let house = House::new().await;
    house.add_app(A).await;
    let visit = house.visit(A);
    let garbled = Visit { nonce: "no nonce".into(), time: visit.time.clone() };
    let foreign = Visit { time: (clock::now().0 - 1).to_string(), ..visit.clone() };
    let old = Visit { time: (clock::now().0 - 601_000).to_string(), ..visit.clone() };
    for (visit, status, outcome) in
        [(&garbled, 404, "no_match"), (&foreign, 404, "no_match"), (&old, 410, "expired")]
    {
        let (code, told) = house.claim(visit, "ann").await;
        assert_eq!((code, &told["outcome"], &told["account_id"]), (status, &outcome.into(), &Value::Null));
        assert!(told["message"].as_str().unwrap().contains("Begin again in the Ring app"), "{told}");
    }
    assert_eq!(house.claim(&visit, "ann").await.0, 200);
    let (status, told) = house.claim(&visit, "bob").await;
    assert_eq!((status, &told["outcome"]), (409, &"linked_to_another_user".into()));
    assert_eq!(told["account_id"], Value::Null, "nothing of another's account");
    let (status, told) = house.claim(&house.visit(A), "ann").await;
    assert_eq!((status, &told["outcome"], &told["account_id"]), (200, &"already_linked".into(), &A.into()));
    assert_eq!(house.outcome(&house.visit(A), "bob").await, "linked_to_another_user");
    let metrics = house.daemon().metrics().render();
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
    let house = House::with(doors, Options::default()).await;
    house.add_app(A).await;
    let visit = house.visit(A);
    for body in [
        json!({}),
        json!({"nonce": visit.nonce, "time": visit.time}),
        json!({"nonce": visit.nonce, "time": visit.time, "user": ""}),
        json!({"nonce": visit.nonce, "time": visit.time, "user": "a\u{0}"}),
        json!({"nonce": visit.nonce, "time": visit.time, "user": "ann", "account_identifier": "x".repeat(300)}),
        json!({"nonce": visit.nonce, "time": visit.time, "user": "ann", "usr": "bob"}),
    ] {
        let (status, told) = house.admin("POST", "/v1/claims", &body).await;
        assert!(status == 400 && told["error"].is_string(), "{body}: {status} {told}");
    }
    assert_eq!(house.claim_through("reader.sock", &visit, "ann").await.0, 403);
    assert_eq!(house.claim_through("ann.sock", &visit, "bob").await.0, 403);
    assert_eq!(house.claim_through("other.sock", &visit, "ann").await.1["outcome"], "no_match");
    assert_eq!(house.state(A).await, "unclaimed");
    assert_eq!(house.claim_through("ann.sock", &visit, "ann").await.1["outcome"], "linked");
}

#[tokio::test]
async fn of_two_browsers_with_one_nonce_one_user_has_the_account() {
    let house = House::new().await;
    for round in 0..20 {
        let account = format!("account-{round}");
        house.add_app(&account).await;
        let held = house.event("device_added", &account).await;
        let visit = house.visit(&account);
        let (ann, bob) = tokio::join!(house.outcome(&visit, "ann"), house.outcome(&visit, "bob"));
        let (winner, loser) = if ann == "linked" { ("ann", "bob") } else { ("bob", "ann") };
        let mut outcomes = [ann, bob];
        outcomes.sort();
        assert_eq!(outcomes, ["linked", "linked_to_another_user"], "round {round}");
        assert_eq!(house.show(&account).await["user"], winner);
        assert_eq!((house.events(winner).await, house.events(loser).await), (vec![held], vec![]));
    }
}

#[tokio::test]
async fn the_same_user_twice_at_once_is_one_claim() {
    let house = House::new().await;
    house.add_app(A).await;
    let visit = house.visit(A);
    let (one, two) = tokio::join!(house.outcome(&visit, "ann"), house.outcome(&visit, "ann"));
    assert_eq!([one, two], ["linked", "linked"]);
    assert_eq!((house.ring.requests(Place::LinkPost), house.ring.requests(Place::LinkPatch)), (1, 1));
}

#[tokio::test]
async fn a_claim_that_comes_before_the_code_waits_for_it() {
    let house = House::new().await;
    let code = house.ring.new_code(A);
    let visit = house.visit(A);
    assert_eq!(house.outcome(&visit, "ann").await, "no_match", "nothing is on its way");
    house.inject("oauth-slow-before:1s", Some(1));
    assert_eq!(house.bring(&code).await.0, 200);
    assert_eq!(house.outcome(&visit, "ann").await, "linked");

    // Its events came first, so the account is known: it is claimed at once, and linked when its code has come.
    let code = house.ring.new_code("B");
    let held = house.event("device_added", "B").await;
    let visit = house.visit("B");
    let (told, ()) = tokio::join!(house.outcome(&visit, "bob"), async {
        house.is("B", "claiming").await;
        assert_eq!(house.bring(&code).await.0, 200);
    });
    assert_eq!((told.as_str(), house.events("bob").await), ("linked", vec![held]));
}

#[tokio::test]
async fn codes_come_in_every_shape_that_integrations_read() {
    let house = House::new().await;
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
        let code = house.ring.new_code(&account);
        let path = if path.contains('?') { format!("{path}{code}") } else { path.to_owned() };
        let (status, told) = house.call_public(method, &path, kind, &body(&code)).await;
        assert_eq!((status, told["status"].as_str()), (200, Some("ok")), "{account}");
        house.arrived(&account).await;
        // Codes have ten a second.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for (status, kind, body) in
        [(400, json, "{}"), (400, form, "code="), (400, form, ""), (413, form, &"x".repeat(20_000))]
    {
        assert_eq!(house.call_public("POST", "/ring/token", kind, body).await.0, status);
    }
    assert_eq!(house.call_public("DELETE", "/ring/token", "", "").await.0, 405);
}

#[tokio::test]
async fn a_repeated_code_is_answered_the_same_and_exchanged_once() {
    let mut house = House::new().await;
    let code = house.ring.new_code(A);
    for _ in 0..3 {
        assert_eq!(house.bring(&code).await, (200, json!({"status": "ok"})));
    }
    house.arrived(A).await;
    assert_eq!(house.bring(&code).await.0, 200);
    house.stop().await;
    house.start().await;
    assert_eq!(house.bring(&code).await.0, 200, "also after a restart");
    assert_eq!(house.outcome(&house.visit(A), "ann").await, "linked");
    assert_eq!(house.ring.exchanges().len(), 1);
}

#[tokio::test]
async fn a_fresh_code_replaces_the_tokens_and_never_loses_the_user() {
    let house = House::new().await;
    house.add_app(A).await;
    assert_eq!(house.outcome(&house.visit(A), "ann").await, "linked");
    let generation = house.show(A).await["linked_at"].clone();
    // That the app was removed was never said.
    house.add_app(A).await;
    house.soon("the new tokens are there", async || house.show(A).await["linked_at"] != generation).await;
    let shown = house.show(A).await;
    assert!(shown["state"] == "linked" && shown["user"] == "ann", "{shown}");
    assert_eq!(house.ring.counts(A).granted, 2);
    let ask = AccessRequest { account: account(A), min_life: Duration::from_hours(1), refused: None };
    let lent = house.daemon().tokens().access_tokens().get(&ask).await.unwrap();
    assert!(house.ring.honours_access(lent.token.expose()));
    assert_eq!(house.outcome(&house.visit(A), "bob").await, "linked_to_another_user");
    assert_eq!(house.outcome(&house.visit(A), "ann").await, "linked", "Ring is told once more");
}

#[tokio::test]
async fn a_late_removal_undoes_nothing_and_a_late_confirmation_completes_nothing() {
    let house = House::new().await;
    let before = clock::now();
    tokio::time::sleep(Duration::from_millis(20)).await;
    house.add_app(A).await;
    // Ring can't be reached, so that the claim stays where it is.
    house.inject("link-post-503", None);
    house.inject("link-patch-503", None);
    let visit = house.visit(A);
    let claiming = house.claim(&visit, "ann");
    let story = async {
        house.is(A, "claiming").await;
        house.event_at("app_integration_added", A, before).await;
        house.event_at("app_integration_removed", A, before).await;
        assert_eq!(house.state(A).await, "claiming", "they are of a link before");
        // Ring says so itself: whatever our own calls say.
        house.event("app_integration_added", A).await;
        house.is(A, "linked").await;
    };
    let ((status, told), ()) = tokio::join!(claiming, story);
    assert_eq!((status, &told["outcome"]), (200, &"linked".into()));
    house.event_at("app_integration_removed", A, before).await;
    assert_eq!(house.state(A).await, "linked");
    assert!(house.show(A).await["has_tokens"] == true);
}

/// As Ring does it by itself, in each shape that a code may have.
#[tokio::test]
async fn ring_plays_the_story_by_itself() {
    let house = House::new().await;
    for shape in CodeShape::ALL {
        let account = format!("account-{}", shape.name());
        house.let_ring_call(shape);
        house.ring.install(&account).unwrap();
        house.arrived(&account).await;
        assert_eq!(house.outcome(&house.visit(&account), "ann").await, "linked");
        let mut kinds = Vec::new();
        while kinds.len() < 3 {
            kinds.extend(house.kinds("ann").await);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        kinds.sort();
        assert_eq!(kinds, ["app_integration_added", "device_added", "device_added"]);
        assert!(house.ring.revoke(&account));
        house.is(&account, "removed").await;
        house.soon("nothing of it waits", async || house.kinds("ann").await.is_empty()).await;
        house.ring.install(&account).unwrap();
        house.is(&account, "unclaimed").await;
        house.arrived(&account).await;
        assert_eq!(house.outcome(&house.visit(&account), "ann").await, "linked", "anew");
        house.soon("its events have come", async || house.kinds("ann").await.len() + 1 > 0).await;
    }
}

#[tokio::test]
async fn one_user_may_have_several_accounts() {
    let house = House::new().await;
    for account in ["A", "B", "C"] {
        house.add_app(account).await;
        assert_eq!(house.outcome(&house.visit(account), "ann").await, "linked");
    }
    for account in ["A", "B", "C"] {
        assert_eq!(house.show(account).await["user"], "ann");
    }
}

#[tokio::test]
async fn made_up_codes_have_a_share_of_their_own() {
    let house = House::with("", Options { rate: None, ..Options::default() }).await;
    let given = house.ring.add_account("linked");
    let answers = join_all(300, |n| house.bring_as_task(&format!("made-up-{n}"))).await;
    let (taken, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|(status, _)| *status == 200);
    assert!(refused.iter().all(|(status, _)| *status == 503) && !refused.is_empty(), "{answers:?}");
    assert!(!taken.is_empty());
    // Webhooks are taken beside them, and tokens refreshed.
    house.event("motion_detected", "linked").await;
    let refresh = &given.refresh;
    let entry = json!({"account_id": "linked", "user": "ann", "refresh_token": refresh});
    assert_eq!(house.admin("POST", "/v1/accounts", &entry).await.0, 200);
    let ask = AccessRequest { account: account("linked"), min_life: Duration::from_hours(1), refused: None };
    let lent = house.daemon().tokens().access_tokens().get(&ask).await.unwrap();
    assert!(house.ring.honours_access(lent.token.expose()));
    house
        .soon("all are at their end", async || {
            house
                .daemon()
                .metrics()
                .render()
                .contains(&format!("ringhookd_codes_total{{outcome=\"refused\"}} {}", taken.len()))
        })
        .await;
    let exchanges = house.ring.exchanges();
    let exchanges: Vec<_> = exchanges.iter().filter(|exchange| exchange.account.is_none()).collect();
    assert_eq!(exchanges.len(), taken.len());
    let in_a_second = |from: usize| {
        exchanges[from..]
            .iter()
            .take_while(|e| e.at.since(exchanges[from].at) < Duration::from_secs(1))
            .count()
    };
    let most = (0..exchanges.len()).map(in_a_second).max();
    assert!(most <= Some(12), "{most:?} in a second");
    // And Ring's own code comes through afterwards.
    house.soon("there is room again", async || house.bring(&house.ring.new_code(A)).await.0 == 200).await;
    house.arrived(A).await;
}

#[tokio::test]
async fn a_browser_is_led_to_the_partners_page_and_nowhere_else() {
    let settings =
        "[linking]\nsign_in_url = \"https://partner.example/ring?from=app\"\nlink_path = \"/go\"\n";
    let house = House::with(settings, Options::default()).await;
    house.add_app(A).await;
    let (visit, address) = (house.visit(A), house.daemon().address());
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
    let plain = House::new().await;
    assert!(raw(plain.daemon().address(), "GET", "/ring/link").await.starts_with("HTTP/1.1 404"));
}
