//! A request of access: one user's export has everything of that user, and nothing of another who had the account.

use ringhookd::sim::Options;
use serde_json::{Value, json};

use crate::support::linking::LinkHarness;

const A: &str = "ava1.ring.account.A";
/// More than one page has.
const MANY: usize = 230;

const DOORS: &str = "[[queue]]\nname = \"all\"\nkind = \"embedded\"\ntypes = [\"motion_detected\"]\n\
                     [[socket]]\npath = \"FOLDER/ann.sock\"\ncalls = [\"*\"]\nusers = [\"ann\"]\n\
                     [[socket]]\npath = \"FOLDER/bob.sock\"\ncalls = [\"accounts.*\"]\nusers = [\"bob\"]\n\
                     [[socket]]\npath = \"FOLDER/reader.sock\"\ncalls = [\"accounts.read\", \"queue.*\"]\n";

async fn export(harness: &LinkHarness, socket: &str, account: &str, query: &str) -> (u16, Value) {
    harness.call(socket, "GET", &format!("/v1/accounts/{account}/export{query}"), "").await
}

/// The ids of the events that wait in a queue.
fn ids(export: &Value, queue: &str) -> Vec<String> {
    let events = export["events"].as_array().unwrap().iter();
    let of_it = events.filter(|kept| kept["kept_in"] == "queue" && kept["queue"] == queue);
    of_it.map(|kept| kept["event"]["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn after_a_move_each_user_gets_what_is_theirs_and_nothing_of_the_other() {
    let harness = LinkHarness::with(DOORS, Options::default()).await;
    harness.add_app(A).await;
    assert_eq!(harness.outcome(&harness.visit(A), "ann").await, "linked");
    let of_ann = harness.event("motion_detected", A).await;
    let unwanted = harness.event("device_online", A).await;
    let moved = json!({"user": "bob", "replace": true});
    assert_eq!(harness.admin("POST", &format!("/v1/accounts/{A}/user"), &moved).await.0, 200);
    let mut of_bob = Vec::new();
    for _ in 0..MANY {
        of_bob.push(harness.event("motion_detected", A).await);
    }

    let (status, bobs) = export(&harness, "bob.sock", A, "").await;
    assert_eq!((status, &bobs["complete"], &bobs["user"]), (200, &json!(true), &json!("bob")), "{bobs}");
    assert_eq!((ids(&bobs, "all"), ids(&bobs, "bob")), (of_bob.clone(), of_bob), "each once, in order");
    assert!(!bobs.to_string().contains("\"ann\""), "{bobs}");
    assert!(bobs["receipts"].as_array().unwrap().len() >= MANY, "{}", bobs["receipts"]);
    assert_eq!(bobs["acts"][0]["act"], "export_account", "{}", bobs["acts"]);
    assert_eq!((&bobs["account"]["state"], &bobs["devices"]), (&json!("linked"), &json!(1)));

    assert_eq!(export(&harness, "ann.sock", A, "").await.0, 404, "it is not ann's any more");
    let (status, anns) = export(&harness, "ann.sock", A, "?user=ann").await;
    assert_eq!((status, ids(&anns, "all")), (200, vec![of_ann.clone()]), "{anns}");
    assert_eq!(ids(&anns, "ann"), [of_ann, unwanted]);
    assert_eq!(anns["account"], json!({"account_id": A}), "nothing of the account as it is now");
    assert!(!anns.to_string().contains("\"bob\""), "{anns}");
    assert_eq!(export(&harness, "bob.sock", A, "?user=ann").await.0, 404);
    assert_eq!(export(&harness, "admin.sock", A, "?user=ann").await.1["events"], anns["events"]);
    assert_eq!(export(&harness, "admin.sock", A, "?user=nobody").await.0, 404);
    assert_eq!(export(&harness, "reader.sock", A, "").await.0, 403, "bodies are more than a list shows");
}

#[tokio::test]
async fn held_events_and_dead_letters_are_in_it_with_their_bodies() {
    let harness = LinkHarness::new().await;
    let held = harness.event("motion_detected", "nobodys").await;
    let (status, told) = export(&harness, "admin.sock", "nobodys", "").await;
    assert_eq!((status, &told["user"], &told["complete"]), (200, &Value::Null, &json!(true)), "{told}");
    let kept = &told["events"][0];
    assert_eq!((&kept["kept_in"], &kept["event"]["id"]), (&json!("held"), &json!(held)), "{told}");
    assert_eq!(kept["event"]["data"]["meta"]["account_id"], "nobodys");

    // Carol's events go to no queue.
    harness.add_app(A).await;
    assert_eq!(harness.outcome(&harness.visit(A), "carol").await, "linked");
    let unrouted = harness.event("motion_detected", A).await;
    let (_, told) = export(&harness, "admin.sock", A, "").await;
    let letters = told["events"].as_array().unwrap().iter().filter(|kept| kept["kept_in"] == "unrouted");
    let letters: Vec<_> = letters.map(|kept| &kept["event"]["id"]).collect();
    assert_eq!(letters, [&json!(unrouted)], "{told}");
    assert_eq!(export(&harness, "admin.sock", "unknown", "").await.0, 404);
}
