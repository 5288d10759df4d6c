//! The kind `redis`: real servers, for the suite and for what is particular to the kind.

mod harm;
mod probe;
mod refusals;
mod server;

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use ringhookd::config::{self, ReceiverSecrets, Target};
use ringhookd::delivery::sinks::redis::Redis;
use ringhookd::delivery::{Sink, Verdict};
use ringhookd::domain::address;
use ringhookd::domain::format::Format;
use ringhookd::domain::template::Template;
use ringhookd::store::{Leased, Store};

use super::deliveries::{self, ACCOUNTS, EACH, PerQueue, busy, event_of, leased, one, until_done};
use super::harness::{Arrival, Faults, Kind, Worker, dispatch};
use crate::support::{queue, user};
use server::Server;

pub(crate) struct Servers(PerQueue<Server>);

impl Servers {
    pub(crate) fn new(_: &Path) -> Self {
        Self(PerQueue::new(|| Server::start(&[])))
    }
}

impl Kind for Servers {
    fn start(&self, store: &Store, name: &str, faults: Faults) -> Worker {
        dispatch(store, name, sink(&to(self.0.of(name).port())), faults)
    }

    fn arrived(&self, name: &str) -> Vec<Arrival> {
        self.0.of(name).entries("ring:all").iter().map(Arrival::from).collect()
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
