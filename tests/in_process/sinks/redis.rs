//! The kind `redis`: real servers, for the suite and for what is particular to the kind.

mod harm;
mod refusals;
mod server;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use ringhookd::config::{self, ReceiverSecrets, Target};
use ringhookd::delivery::sinks::redis::Redis;
use ringhookd::delivery::{Sink, Verdict};
use ringhookd::domain::address;
use ringhookd::domain::cloudevent::Marks;
use ringhookd::domain::event::Event;
use ringhookd::domain::format::Format;
use ringhookd::domain::template::Template;
use ringhookd::domain::time::Millis;
use ringhookd::store::{Leased, Store};

use super::harness::{Arrival, Faults, Kind, Worker, dispatch};
use crate::support::{account, queue, user};
use server::Server;

/// Servers, one a queue, which outlive the daemon.
pub(crate) struct Servers(Mutex<HashMap<String, Arc<Server>>>);

impl Servers {
    pub(crate) fn new(_: &Path) -> Self {
        Self(Mutex::default())
    }

    fn of(&self, name: &str) -> Arc<Server> {
        let mut all = self.0.lock().unwrap();
        Arc::clone(all.entry(name.to_owned()).or_insert_with(|| Arc::new(Server::start(&[]))))
    }
}

impl Kind for Servers {
    fn start(&self, store: &Store, name: &str, faults: Faults) -> Worker {
        dispatch(store, name, sink(&to(self.of(name).port())), faults)
    }

    fn arrived(&self, name: &str) -> Vec<Arrival> {
        self.of(name).entries("ring:all").iter().map(Arrival::from).collect()
    }
}

type Entry = HashMap<String, String>;

impl From<&Entry> for Arrival {
    fn from(entry: &Entry) -> Self {
        let [key, account, user] =
            ["id", "ringaccount", "ringuser"].map(|name| entry.get(name).cloned().unwrap_or_default());
        Self { key, account, user }
    }
}

/// One stream for all, so that it tells the order over all.
fn to(port: u16) -> config::Redis {
    let url = address::Receiver::parse(&format!("redis://127.0.0.1:{port}"), &["redis"]).unwrap();
    config::Redis {
        target: Target { url, username: None, timeout: Duration::from_mins(1), parallel: 16 },
        database: 0,
        stream: Template::parse("ring:all").unwrap(),
        max_len: None,
        wait_replicas: 0,
        wait_aof: false,
    }
}

fn sink(options: &config::Redis) -> Redis {
    sink_of(options, ReceiverSecrets::default())
}

fn sink_of(options: &config::Redis, secrets: ReceiverSecrets) -> Redis {
    Redis::new(&queue("out"), options.clone(), Format::CloudEvents, secrets).unwrap()
}

fn event_of(key: &str, account_id: &str, body: &[u8]) -> Event {
    Event {
        key: key.into(),
        kind: "button_press".into(),
        sub_kind: None,
        device: None,
        account: Some(account(account_id)),
        user: Some(user("ann")),
        received_at: Millis(1_700_000_000_000),
        time: None,
        marks: Marks::default(),
        body: Bytes::copy_from_slice(body),
    }
}

fn leased(seq: u64, account_id: &str) -> Leased {
    let event = event_of(&format!("{account_id}/{seq}"), account_id, b"{\"data\":{}}");
    Leased { seq, attempt: 1, event }
}

fn one() -> Arc<[Leased]> {
    [leased(7, "a")].into()
}

/// The words of a busy server.
fn busy(verdicts: &[Verdict]) -> String {
    let [Verdict::Busy { retry_after: None, why }] = verdicts else { panic!("{verdicts:?}") };
    why.clone()
}
