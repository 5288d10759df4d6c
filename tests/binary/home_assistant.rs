//! A queue of kind `mqtt` with Home Assistant, through the real daemon: it is available without any event, the broker tells when it is
//! killed, and each user's devices are told of in that user's queue alone.

use ringhookd::sim::{Options, Ring};
use serde_json::json;

use crate::support::configuration::{Configuration, SOCKET, signature};
use crate::support::installation::{Installation, soon};
use crate::support::mosquitto::{Message, Mosquitto};
use crate::support::process::Running;

fn press(account: &str, device: &str) -> Vec<u8> {
    let meta = json!({"request_id": format!("{account}-{device}"), "account_id": account});
    let attributes = json!({"source": device, "source_type": "devices"});
    json!({"meta": meta, "data": {"type": "button_press", "attributes": attributes}}).to_string().into_bytes()
}

fn post(daemon: &Running, body: &[u8]) {
    assert_eq!(daemon.post(&signature(body), body), 200);
}

/// The last word of availability.
fn availability(server: &Mosquitto) -> Option<String> {
    let mut messages = server.messages();
    messages.retain(|message| message.topic.contains("/availability/"));
    messages.pop().map(|message| message.payload.as_str().unwrap().to_owned())
}

#[test]
fn availability_follows_the_daemon_through_a_kill_and_a_stop() {
    let server = Mosquitto::open("");
    let folder = tempfile::tempdir().unwrap();
    let queue = format!(
        "[[queue]]\nname = \"home\"\nkind = \"mqtt\"\nurl = \"mqtt://127.0.0.1:{}\"\nunclaimed = \"deliver\"\nhome_assistant = true\n",
        server.port()
    );
    let config = Configuration::of(&queue).with(SOCKET).write(folder.path());
    let is = |word: &'static str| soon(word, || availability(&server).as_deref() == Some(word));
    let daemon = Running::start(&config);
    is("online");
    daemon.kill();
    is("offline");
    let daemon = Running::start(&config);
    is("online");
    post(&daemon, &press("ava1.ring.account.X", "door"));
    let rings = |message: &Message| message.payload["event_type"] == "ring";
    soon("the bell rings", || server.messages().iter().any(rings));
    let (ended, ..) = daemon.stop();
    assert!(ended.success());
    is("offline");
    // Who comes late knows the doorbell, and hears no ring.
    let retained = server.retained();
    assert!(retained.iter().any(|message| message.topic.ends_with("/doorbell/config")), "{retained:?}");
    assert!(!retained.iter().any(rings), "{retained:?}");
}

#[test]
fn each_users_devices_are_told_of_in_that_users_queue_alone() {
    let server = Mosquitto::open("");
    let queues = ["ann", "bob"].map(|user| {
        format!(
            "[[queue]]\nname = \"{user}\"\nkind = \"mqtt\"\nurl = \"mqtt://127.0.0.1:{}\"\nusers = [\"{user}\"]\n\
             home_assistant = true\ndiscovery_prefix = \"{user}/homeassistant\"\n",
            server.port()
        )
    });
    let installation = Installation::new(Ring::start(Options::default()).unwrap(), &queues.concat());
    let daemon = installation.serve();
    let homes = [("ann", "account-of-ann"), ("bob", "account-of-bob")];
    for (user, account) in homes {
        let given = installation.ring().add_account(account);
        installation.imported(&json!({
            "account_id": account,
            "user": user,
            "access_token": given.access,
            "refresh_token": given.refresh,
            "expires_in": 3600,
        }));
        post(&daemon, &press(account, "the-same-device"));
        post(&daemon, &press(account, &format!("device-of-{user}")));
    }
    let of = |user: &str| {
        let mut messages = server.messages();
        messages.retain(|message| message.topic.starts_with(&format!("{user}/homeassistant/")));
        messages
    };
    let rings = |messages: &[Message]| messages.iter().filter(|m| m.payload["event_type"] == "ring").count();
    soon("both bells ring at both", || homes.iter().all(|(user, _)| rings(&of(user)) == 2));
    let (ended, ..) = daemon.stop();
    assert!(ended.success());
    for ((user, account), other) in homes.into_iter().zip(["bob", "ann"]) {
        let messages = of(user);
        let texts: Vec<String> =
            messages.iter().map(|message| format!("{} {}", message.topic, message.payload)).collect();
        assert!(texts.iter().any(|text| text.contains(&format!("device-of-{user}"))), "{texts:?}");
        assert!(!texts.iter().any(|text| text.contains(&format!("-of-{other}"))), "{texts:?}");
        let ids = messages.iter().filter_map(|m| m.payload["id"].as_str());
        assert!(ids.clone().count() == 2 && ids.clone().all(|id| id.starts_with(account)), "{texts:?}");
    }
    let ids = |user: &str| -> Vec<String> {
        let mut topics: Vec<String> = of(user)
            .iter()
            .filter_map(|m| m.topic.split("/ringhookd_").nth(1)?.split('/').next().map(str::to_owned))
            .collect();
        topics.sort();
        topics.dedup();
        topics
    };
    assert_eq!(ids("ann").len(), 2);
    assert!(
        ids("ann").iter().all(|id| !ids("bob").contains(id)),
        "the same device of two users is two devices"
    );
}
