//! The kind `nats`: real servers with `JetStream`, for the suite and for what is particular to the kind.

mod client;
mod probe;
mod trouble;

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use ringhookd::config::{self, ReceiverSecrets, Target};
use ringhookd::delivery::sinks::nats::Nats;
use ringhookd::domain::address::Receiver;
use ringhookd::domain::format::Format;
use ringhookd::domain::template::Template;
use ringhookd::store::Store;
use serde_json::{Value, json};

use super::harness::{Arrival, Faults, Kind, Worker, dispatch};
use crate::support::broker::{Broker, program};
use client::{Client, Message};

/// A server whose stream takes `q.QUEUE.>` of every queue.
pub(crate) struct Streams {
    broker: Mutex<Broker>,
    /// All that was published, by a subscriber beside the stream: it sees what comes twice, which the stream stores once.
    seen: Arc<Mutex<Vec<Message>>>,
}

impl Streams {
    pub(crate) fn new(_: &Path) -> Self {
        let streams = Self { broker: Mutex::new(server("")), seen: Arc::default() };
        streams.create(&json!({}));
        let mut subscriber = streams.client();
        subscriber.subscribe("q.>").unwrap();
        let seen = Arc::clone(&streams.seen);
        // Ends with the server.
        thread::spawn(move || {
            while let Some(message) = subscriber.next() {
                seen.lock().unwrap().push(message);
            }
        });
        streams
    }

    fn port(&self) -> u16 {
        self.broker.lock().unwrap().port()
    }

    fn client(&self) -> Client {
        Client::connect(self.port()).unwrap()
    }

    /// The stream, with these options beside the usual ones.
    fn create(&self, more: &Value) {
        let mut stream = json!({"name": "all", "subjects": ["q.>"], "storage": "file", "discard": "new"});
        stream.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = self.client().ask("STREAM.CREATE.all", &stream).unwrap();
        assert!(answer["error"].is_null(), "{answer}");
    }
}

impl Kind for Streams {
    fn start(&self, store: &Store, name: &str, faults: Faults) -> Worker {
        dispatch(store, name, sink(to(self.port()), name, ReceiverSecrets::default()), faults)
    }

    fn arrived(&self, name: &str) -> Vec<Arrival> {
        let queue = format!("q.{name}.");
        let seen = self.seen.lock().unwrap();
        seen.iter().filter(|message| message.subject.starts_with(&queue)).map(arrival).collect()
    }
}

/// With `more` in its configuration.
fn server(more: &str) -> Broker {
    let more = more.to_owned();
    Broker::start(move |folder, port| {
        let file = folder.join("server.conf");
        let jetstream = format!("jetstream {{ store_dir: \"{}\" }}\n", folder.join("jetstream").display());
        // For a server that is started again with more.
        std::fs::File::options().append(true).create(true).open(folder.join("secured.conf")).unwrap();
        std::fs::write(&file, format!("listen: \"127.0.0.1:{port}\"\n{jetstream}{more}\n")).unwrap();
        let mut command = Command::new(program("nats-server", "nats-server"));
        command.arg("-c").arg(file);
        command
    })
}

fn arrival(message: &Message) -> Arrival {
    let event: Value = serde_json::from_slice(&message.payload).unwrap();
    let [key, account, user] =
        ["id", "ringaccount", "ringuser"].map(|name| event[name].as_str().unwrap_or_default().to_owned());
    assert_eq!(message.header("Nats-Msg-Id"), Some(key.as_str()));
    Arrival { key, account, user }
}

fn to(port: u16) -> Target {
    Target {
        url: Receiver::parse(&format!("nats://127.0.0.1:{port}"), &["nats", "tls"]).unwrap(),
        timeout: Duration::from_mins(1),
        parallel: 16,
        username: None,
    }
}

fn sink(target: Target, name: &str, secrets: ReceiverSecrets) -> Nats {
    let subject = Template::parse(&format!("q.{name}.{{user}}.{{device}}.{{type}}")).unwrap();
    Nats::new(config::Nats { target, subject }, Format::CloudEvents, secrets).unwrap()
}
