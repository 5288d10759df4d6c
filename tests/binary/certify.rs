//! `certify`, and the test events that the daemon makes for it: they leave nothing, and no sender can make one.

use ringhookd::domain::signature::sign;
use ringhookd::sim::{Options, Ring};
use serde_json::{Value, json};

use crate::support::configuration::{KEY, signature};
use crate::support::http::{exchange, request};
use crate::support::installation::Installation;

const NARROW: &str = "[[socket]]\npath = \"FOLDER/narrow.sock\"\ncalls = [\"status\", \"inspect\"]\n";

fn announced(installation: &Installation) -> Value {
    let (status, said) = installation.call("admin.sock", "POST", "/v1/test-events", "");
    assert_eq!(status, 200, "{said}");
    serde_json::from_str(&said).unwrap()
}

/// All that the daemon knows of.
fn accounts(status: &Value) -> u64 {
    status["accounts"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum()
}

fn letters(installation: &Installation) -> usize {
    let listed = installation.run(&["--json", "dead-letters", "list"]);
    assert_eq!(listed.code, 0, "{listed:?}");
    listed.out.lines().count()
}

#[test]
fn a_test_event_leaves_nothing() {
    let installation = Installation::new(Ring::start(Options::default()).unwrap(), NARROW);
    let daemon = installation.serve();
    assert_eq!(installation.call("narrow.sock", "POST", "/v1/test-events", "").0, 403);
    let event = announced(&installation);
    let body = event["body"].as_str().unwrap().as_bytes();
    // Nothing has proven the key yet, so any other forgery would be 503.
    let forged = format!("X-Signature: {}\r\n", sign(b"another key", body));
    assert_eq!(daemon.post(&forged, body), 401);
    for _ in 0..2 {
        assert_eq!(daemon.post(&signature(body), body), 200);
    }
    let code = format!("code={}", event["code"].as_str().unwrap());
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let token = |code: &str| exchange(daemon.address(), &request("POST", "/ring/token", form, code));
    assert_eq!(token(&code).status(), 200);
    let status = installation.report();
    assert_eq!(status["webhooks"]["outcomes"], json!({"test_event": 2, "test_forged": 1}));
    assert_eq!(status["webhooks"]["refusals"], json!({}), "{status}");
    assert_eq!(
        status["webhook_keys"][0]["verified_at"],
        Value::Null,
        "only Ring proves that a key is Ring's"
    );
    assert_eq!((&status["queues"][0]["waiting"], accounts(&status)), (&json!(0), 0), "{status}");
    assert_eq!(status["intake"]["last_webhook"], Value::Null, "{status}");
    assert_eq!(letters(&installation), 0);
    assert!(installation.ring().exchanges().is_empty(), "the code went nowhere");
    let known = installation.json(&["inspect", event["id"].as_str().unwrap()]);
    assert_eq!(known["event"], Value::Null);
    let mut requests: Vec<(&str, u64)> = known["requests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|request| (request["outcome"].as_str().unwrap(), request["count"].as_u64().unwrap()))
        .collect();
    requests.sort_unstable();
    assert_eq!(requests, [("test_event", 2), ("test_forged", 1)]);
}

#[test]
fn what_a_sender_makes_is_kept_whatever_it_says_of_itself() {
    let installation = Installation::new(Ring::start(Options::default()).unwrap(), "");
    let daemon = installation.serve();
    let event = announced(&installation);
    let (id, body) = (event["id"].as_str().unwrap(), event["body"].as_str().unwrap());
    let send = |body: &str| {
        let headers = format!("{}X-Ringhookd-Test: {id}\r\n", signature(body.as_bytes()));
        assert_eq!(daemon.post(&headers, body.as_bytes()), 200, "{body}");
    };
    // A genuine event with the mark, and with the id of the test event in all its places.
    send(&format!(
        r#"{{"meta":{{"request_id":"{id}","account_id":"a"}},"data":{{"type":"button_press","id":"{id}"}}}}"#
    ));
    assert_eq!(installation.report()["webhooks"]["outcomes"], json!({"accepted": 1}));
    assert_eq!(accounts(&installation.report()), 1);
    // The test event, but for one byte.
    send(&format!("{body} "));
    assert_eq!(
        (installation.report()["webhooks"]["outcomes"]["quarantined"].clone(), letters(&installation)),
        (json!(1), 1)
    );
    daemon.stop();
    // A daemon that did not make it keeps it, too, where it reaches no queue.
    let daemon = installation.serve();
    assert_eq!(daemon.post(&signature(body.as_bytes()), body.as_bytes()), 200);
    assert_eq!(letters(&installation), 2);
    let status = installation.report();
    assert_eq!((&status["queues"][0]["waiting"], accounts(&status)), (&json!(0), 1));
    let forged = format!("X-Signature: {}\r\n", sign(format!("{KEY}x").as_bytes(), body.as_bytes()));
    assert!([401, 503].contains(&daemon.post(&forged, body.as_bytes())));
}
