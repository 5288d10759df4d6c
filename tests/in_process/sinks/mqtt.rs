//! The kind `mqtt`: mosquitto over real sockets and a subscriber of its own, for the suite and for what is particular to the kind.

mod failures;
mod home;
mod logins;
mod messages;
mod probe;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ringhookd::config::{self, ReceiverSecrets, Target};
use ringhookd::delivery::sinks::mqtt::Mqtt;
use ringhookd::delivery::{Sink, Verdict};
use ringhookd::domain::address::Receiver;
use ringhookd::domain::event::Event;
use ringhookd::domain::format::Format;
use ringhookd::domain::ids::DeviceId;
use ringhookd::domain::template::Template;
use ringhookd::store::{Leased, Store};

use super::deliveries::{busy, event_of, until_taken};
use super::harness::{Arrival, Faults, Kind, Worker, dispatch};
use crate::support::mosquitto::Mosquitto;
use crate::support::{queue, user};

/// One mosquitto, whose topics begin with the name of a queue.
pub(crate) struct Brokers {
    server: Mosquitto,
    /// Home Assistant is told of the devices besides.
    home: bool,
}

impl Brokers {
    pub(crate) fn new(_: &Path) -> Self {
        Self { server: Mosquitto::open(""), home: false }
    }

    pub(crate) fn with_home(_: &Path) -> Self {
        Self { server: Mosquitto::open(""), home: true }
    }
}

impl Kind for Brokers {
    fn start(&self, store: &Store, name: &str, faults: Faults) -> Worker {
        let options =
            config::Mqtt { topic: topic(&format!("{name}/{{device}}")), ..options(self.server.port(), name) };
        let options = if self.home { at_home(options) } else { options };
        let sink = Mqtt::new(&queue(name), options, Format::CloudEvents, ReceiverSecrets::default());
        dispatch(store, name, sink.unwrap(), faults)
    }

    fn arrived(&self, name: &str) -> Vec<Arrival> {
        let mut messages = self.server.messages();
        messages.retain(|message| message.topic.starts_with(&format!("{name}/")));
        messages
            .iter()
            .map(|message| {
                let [key, account, user] = ["id", "ringaccount", "ringuser"]
                    .map(|name| message.payload[name].as_str().unwrap_or_default().to_owned());
                Arrival { key, account, user }
            })
            .collect()
    }
}

fn topic(text: &str) -> Template {
    Template::parse(text).unwrap()
}

fn options(port: u16, client_id: &str) -> config::Mqtt {
    let url = format!("mqtt://127.0.0.1:{port}");
    config::Mqtt {
        target: Target {
            url: Receiver::parse(&url, &["mqtt", "mqtts"]).unwrap(),
            username: None,
            timeout: Duration::from_mins(1),
            parallel: 16,
        },
        topic: topic("ringhookd/{user}/{device}/{type}"),
        client_id: client_id.to_owned(),
        discovery_prefix: None,
    }
}

/// With Home Assistant.
fn at_home(options: config::Mqtt) -> config::Mqtt {
    config::Mqtt { discovery_prefix: Some("homeassistant".to_owned()), ..options }
}

fn sink_of(options: config::Mqtt, secrets: ReceiverSecrets) -> Mqtt {
    Mqtt::new(&queue("out"), options, Format::CloudEvents, secrets).unwrap()
}

fn sink(port: u16) -> Mqtt {
    sink_of(options(port, "out"), ReceiverSecrets::default())
}

const BODY: &str = "{\"data\":{\"type\":\"button_press\"}}";

fn leased(seq: u64, account_id: &str) -> Leased {
    let event = Event {
        sub_kind: Some("human \u{20ac} \"100%\"".into()),
        device: DeviceId::new("door-1").ok(),
        ..event_of(&format!("{account_id}/{seq}"), account_id, BODY.as_bytes())
    };
    Leased { seq, attempt: 2, event }
}

fn one() -> Arc<[Leased]> {
    [leased(7, "a")].into()
}

async fn delivered(sink: &Mqtt, events: Arc<[Leased]>) {
    until_taken(sink, events, 300).await;
}
