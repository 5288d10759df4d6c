//! The kind `amqp`: `RabbitMQ` over real sockets, for the suite and for what is particular to the kind.

mod client;
mod logins;
mod messages;
mod outages;
mod refusals;
mod server;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ringhookd::config::{self, ReceiverSecrets, Target};
use ringhookd::delivery::sinks::amqp::Amqp;
use ringhookd::delivery::{Sink, Verdict};
use ringhookd::domain::address::Receiver;
use ringhookd::domain::format::Format;
use ringhookd::domain::template::Template;
use ringhookd::store::{Leased, Store};
use serde_json::Value;

use super::deliveries::{leased, one, until_taken};
use super::harness::{Arrival, Faults, Kind, Worker, dispatch};
use crate::support::queue;
use client::{Client, Message};
use server::{Rabbit, peaceful, unique};

/// A queue of a broker that is read, and sinks whose routing keys lead there.
pub(crate) struct Exchanges {
    /// The port that sinks connect to.
    port: u16,
    timeout: Duration,
    reader: Mutex<Reader>,
}

impl Exchanges {
    pub(crate) fn new(_: &Path) -> Self {
        let reader = Reader::passing(peaceful(), unique("suite"));
        Self { port: peaceful().port(), timeout: Duration::from_mins(1), reader: Mutex::new(reader) }
    }

    /// Over a durable queue of this broker. Deliveries give up soon.
    fn hasty(rabbit: &Rabbit, port: u16) -> Self {
        let reader = Reader::of(rabbit.port(), rabbit.queue("hasty", &[]));
        Self { port, timeout: Duration::from_secs(2), reader: Mutex::new(reader) }
    }
}

impl Kind for Exchanges {
    fn start(&self, store: &Store, name: &str, faults: Faults) -> Worker {
        let prefix = self.reader.lock().unwrap().queue.clone();
        let mut options = options(self.port);
        options.target.timeout = self.timeout;
        options.routing_key = template(&format!("{prefix}.{name}.{{user}}.{{device}}.{{type}}"));
        dispatch(store, name, sink_of(options, ReceiverSecrets::default()), faults)
    }

    fn arrived(&self, name: &str) -> Vec<Arrival> {
        let mut reader = self.reader.lock().unwrap();
        let prefix = format!("{}.{name}.", reader.queue);
        reader.messages().iter().filter(|message| message.key.starts_with(&prefix)).map(arrival).collect()
    }
}

fn arrival(message: &Message) -> Arrival {
    let event: Value = serde_json::from_slice(&message.body).unwrap();
    let [key, account, user] =
        ["id", "ringaccount", "ringuser"].map(|name| event[name].as_str().unwrap_or_default().to_owned());
    assert_eq!((message.id.as_str(), message.delivery_mode), (key.as_str(), 2));
    Arrival { key, account, user }
}

/// Reads a queue from its beginning. It acknowledges nothing, so a broker that was down hands out all again.
struct Reader {
    port: u16,
    queue: String,
    open: Option<Client>,
    messages: Vec<Message>,
    fences: u64,
}

impl Reader {
    fn of(port: u16, queue: String) -> Self {
        Self { port, queue, open: None, messages: Vec::new(), fences: 0 }
    }

    /// Of a queue that goes with the reader, which spares the broker its disk.
    fn passing(rabbit: &Rabbit, queue: String) -> Self {
        let mut client = rabbit.client();
        client.queue(&queue, false, &[]);
        client.bind(&queue, "amq.topic", &format!("{queue}.#"));
        client.consume(&queue).unwrap();
        Self { open: Some(client), ..Self::of(rabbit.port(), queue) }
    }

    /// All that was confirmed before, and what came besides, in the queue's order.
    fn messages(&mut self) -> &[Message] {
        for _ in 0..1200 {
            if self.read().is_some() {
                return &self.messages;
            }
            self.open = None;
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("the queue {} can't be read", self.queue);
    }

    fn ids(&mut self) -> Vec<String> {
        self.messages().iter().map(|message| message.id.clone()).collect()
    }

    /// Until a message of its own comes, behind all that were there.
    fn read(&mut self) -> Option<()> {
        if self.open.is_none() {
            let mut client = Client::connect(self.port)?;
            client.consume(&self.queue)?;
            self.messages.clear();
            self.open = Some(client);
        }
        let client = self.open.as_mut()?;
        self.fences += 1;
        let fence = format!("fence {}", self.fences);
        client.put(&self.queue, &fence)?;
        loop {
            let message = client.next()?;
            if message.body == fence.as_bytes() {
                return Some(());
            }
            if !message.body.starts_with(b"fence ") {
                self.messages.push(message);
            }
        }
    }
}

fn template(text: &str) -> Template {
    Template::parse(text).unwrap()
}

fn options(port: u16) -> config::Amqp {
    config::Amqp {
        target: Target {
            url: Receiver::parse(&format!("amqp://127.0.0.1:{port}"), &["amqp", "amqps"]).unwrap(),
            username: None,
            timeout: Duration::from_mins(1),
            parallel: 16,
        },
        vhost: "/".into(),
        exchange: Some(template("amq.topic")),
        routing_key: template("ringhookd.{user}.{device}.{type}"),
    }
}

fn sink_of(options: config::Amqp, secrets: ReceiverSecrets) -> Amqp {
    Amqp::new(&queue("out"), options, Format::CloudEvents, secrets).unwrap()
}

/// To the queue of this name, by the exchange amq.topic.
fn sink_to(port: u16, queue: &str) -> Amqp {
    let routing_key = template(&format!("{queue}.{{user}}.{{device}}.{{type}}"));
    sink_of(config::Amqp { routing_key, ..options(port) }, ReceiverSecrets::default())
}

/// The ids that a queue holds, in its order. Only one may read a queue: what it had is back in the queue a moment after its end.
fn ids(port: u16, queue: &str) -> Vec<String> {
    Reader::of(port, queue.to_owned()).ids()
}

/// Delivers until the verdicts are no longer those of a login or a delivery that a busy machine gave no time.
async fn answered(sink: &impl Sink, events: Arc<[Leased]>) -> Vec<Verdict> {
    let slow = |why: &str| why.contains("took too long") || why.contains("no confirmation within");
    for _ in 0..60 {
        let verdicts = sink.deliver(Arc::clone(&events)).await;
        if !verdicts.iter().any(|verdict| matches!(verdict, Verdict::Busy { why, .. } if slow(why))) {
            return verdicts;
        }
    }
    panic!("it never answers");
}

/// The words of a broker that takes nothing.
async fn obstacle(sink: &impl Sink, events: Arc<[Leased]>) -> String {
    super::deliveries::busy(&answered(sink, events).await)
}

async fn delivered(sink: &impl Sink, events: Arc<[Leased]>) {
    until_taken(sink, events, 1200).await;
}
