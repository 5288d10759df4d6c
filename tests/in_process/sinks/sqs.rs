//! The kind `sqs`: moto's server and one of our own, for the suite and for what is particular to the kind.

mod answers;
mod credentials;
mod harm;
mod messages;
mod moto;
mod service;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ringhookd::config::{self, ReceiverSecrets, Target};
use ringhookd::delivery::sinks::sqs::Sqs;
use ringhookd::delivery::{Sink, Verdict};
use ringhookd::domain::address::Receiver;
use ringhookd::domain::format::Format;
use ringhookd::domain::secret::Secret;
use ringhookd::store::{Leased, Store};

use super::deliveries::{PerQueue, busy, event_of, leased, one, until_done};
use super::harness::{Arrival, Faults, Kind, Worker, dispatch};
use moto::Queue;
use service::Service;

const KEY_ID: &str = "AKIDOFTESTS";
const SECRET: &str = "hush+secret/of/tests";

pub(crate) struct Queues(PerQueue<Queue>);

impl Queues {
    pub(crate) fn new(_: &Path) -> Self {
        Self(PerQueue::new(|| Queue::shared("{}.fifo")))
    }
}

impl Kind for Queues {
    fn start(&self, store: &Store, name: &str, faults: Faults) -> Worker {
        dispatch(store, name, sink(&to(&self.0.of(name).url())), faults)
    }

    fn arrived(&self, name: &str) -> Vec<Arrival> {
        self.0.of(name).arrived().iter().map(moto::Message::arrival).collect()
    }
}

/// Services of our own, which check every signature.
pub(crate) struct Services(PerQueue<Taking>);

/// A service, and all that it took.
struct Taking {
    service: Service,
    arrivals: Arc<Mutex<Vec<Arrival>>>,
}

impl Services {
    pub(crate) fn new(_: &Path) -> Self {
        Self(PerQueue::new(|| {
            let arrivals = Arc::<Mutex<Vec<Arrival>>>::default();
            let noted = Arc::clone(&arrivals);
            let service = Service::start(&answers::keys(), move |_, entries| {
                noted.lock().unwrap().extend(entries.iter().map(|entry| arrival(&entry["MessageBody"])));
                service::taken(entries)
            });
            Taking { service, arrivals }
        }))
    }
}

impl Kind for Services {
    fn start(&self, store: &Store, name: &str, faults: Faults) -> Worker {
        dispatch(store, name, sink(&to(&self.0.of(name).service.url("q.fifo"))), faults)
    }

    fn arrived(&self, name: &str) -> Vec<Arrival> {
        self.0.of(name).arrivals.lock().unwrap().clone()
    }
}

/// Of the body of a message.
fn arrival(body: &serde_json::Value) -> Arrival {
    let event: serde_json::Value = serde_json::from_str(body.as_str().unwrap()).unwrap();
    let [key, account, user] =
        ["id", "ringaccount", "ringuser"].map(|name| event[name].as_str().unwrap_or_default().to_owned());
    Arrival { key, account, user }
}

fn to(url: &str) -> config::Sqs {
    let url = Receiver::parse(url, &["http"]).unwrap();
    config::Sqs {
        target: Target { url, username: None, timeout: Duration::from_mins(1), parallel: 4 },
        region: "us-east-1".into(),
        access_key_id: Some(KEY_ID.into()),
    }
}

fn secrets() -> ReceiverSecrets {
    ReceiverSecrets { secret_access_key: Some(Secret::new(SECRET.into())), ..ReceiverSecrets::default() }
}

fn sink(options: &config::Sqs) -> Sqs {
    sink_of(options, Format::CloudEvents, secrets())
}

fn sink_of(options: &config::Sqs, format: Format, secrets: ReceiverSecrets) -> Sqs {
    Sqs::new(options.clone(), format, secrets, &|_| None).unwrap()
}

fn hasty(url: &str) -> config::Sqs {
    let mut options = to(url);
    options.target.timeout = Duration::from_secs(1);
    options
}
