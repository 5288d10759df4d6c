//! The kind `http`: receivers over real sockets that check every signature, for the suite and for what is particular to the kind.

mod answers;
mod connections;
mod probe;
pub(crate) mod receiver;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ringhookd::config::{ReceiverSecrets, Target};
use ringhookd::delivery::sinks::http::Http;
use ringhookd::delivery::{Sink, Verdict};
use ringhookd::domain::address;
use ringhookd::domain::event::Event;
use ringhookd::domain::format::Format;
use ringhookd::domain::secret::Secret;
use ringhookd::domain::standard_webhooks::SigningKey;
use ringhookd::store::{Leased, Store};

use super::deliveries::{PerQueue, event_of};
use super::harness::{Arrival, Faults, Kind, Worker, dispatch};
use crate::support::queue;
use receiver::{Act, OK, Receiver};

/// The secret of the specification's test vector, and another.
const SECRETS: [&str; 2] =
    ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX"];

pub(crate) struct Receivers(PerQueue<Receiver>);

impl Receivers {
    pub(crate) fn new(_: &Path) -> Self {
        Self(PerQueue::new(|| Receiver::start(|_, _| Act::Say(OK.into()))))
    }
}

impl Kind for Receivers {
    fn start(&self, store: &Store, name: &str, faults: Faults) -> Worker {
        dispatch(store, name, sink(&self.0.of(name)), faults)
    }

    fn arrived(&self, name: &str) -> Vec<Arrival> {
        let arrival = |post: &receiver::Post| {
            let event: serde_json::Value = serde_json::from_slice(&post.body).unwrap();
            let [key, account, user] = ["id", "ringaccount", "ringuser"]
                .map(|name| event[name].as_str().unwrap_or_default().to_owned());
            Arrival { key, account, user }
        };
        self.0.of(name).posts().iter().map(arrival).collect()
    }
}

fn secrets() -> ReceiverSecrets {
    let key = |text: &str| SigningKey::parse(text.as_bytes()).unwrap();
    ReceiverSecrets { keys: SECRETS.iter().map(|text| key(text)).collect(), ..ReceiverSecrets::default() }
}

fn to(url: &str) -> Target {
    Target {
        url: address::Receiver::parse(url, &["http", "https"]).unwrap(),
        timeout: Duration::from_mins(1),
        parallel: 16,
        username: None,
    }
}

fn sink(receiver: &Receiver) -> Http {
    sink_of(to(&receiver.url()), secrets())
}

fn sink_of(queue_: Target, secrets: ReceiverSecrets) -> Http {
    Http::new(&queue("out"), queue_, Format::CloudEvents, secrets).unwrap()
}

const BODY: &str = "{\"data\": {\"type\":\"button_press\"}}\n";

pub(super) fn leased(seq: u64, account_id: &str) -> Leased {
    let event = Event {
        sub_kind: Some("human \u{20ac} \"100%\"".into()),
        ..event_of(&format!("{account_id}/{seq}"), account_id, BODY.as_bytes())
    };
    Leased { seq, attempt: 2, event }
}

pub(super) fn one() -> Arc<[Leased]> {
    [leased(7, "a")].into()
}

/// The only verdict's words, which are those of a busy receiver.
pub(super) fn busy(verdicts: &[Verdict]) -> (Option<Duration>, String) {
    let [Verdict::Busy { retry_after, why }] = verdicts else { panic!("{verdicts:?}") };
    (*retry_after, why.clone())
}

fn words(verdicts: &[Verdict]) -> String {
    let [Verdict::Failed { why }] = verdicts else { panic!("{verdicts:?}") };
    why.clone()
}

fn with_token(token: &str) -> ReceiverSecrets {
    ReceiverSecrets { bearer: Some(Secret::new(token.to_owned())), ..ReceiverSecrets::default() }
}
