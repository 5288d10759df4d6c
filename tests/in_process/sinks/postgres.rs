//! The kind `postgres`: real servers, for the suite and for what is particular to the kind.

mod harm;
mod probe;
mod rows;
mod server;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ringhookd::config::{self, ReceiverSecrets, Target};
use ringhookd::delivery::sinks::postgres::Postgres;
use ringhookd::delivery::{Sink, Verdict};
use ringhookd::domain::address;
use ringhookd::domain::event::Event;
use ringhookd::domain::table::Table;
use ringhookd::domain::time::Millis;
use ringhookd::store::{Leased, Store};

use super::deliveries::{self, PerQueue, busy, event_of, leased, one, until_done};
use super::harness::{Arrival, Faults, Kind, Worker, dispatch};
use crate::support::queue;
use server::Server;

pub(crate) struct Databases(PerQueue<Server>);

impl Databases {
    pub(crate) fn new(_: &Path) -> Self {
        Self(PerQueue::new(Server::trusting))
    }
}

impl Kind for Databases {
    fn drops_duplicates(&self) -> bool {
        true
    }

    fn start(&self, store: &Store, name: &str, faults: Faults) -> Worker {
        dispatch(store, name, sink(&to(self.0.of(name).port())), faults)
    }

    fn arrived(&self, name: &str) -> Vec<Arrival> {
        let arrival = |row: Vec<String>| {
            let [key, account, user] = row.try_into().unwrap();
            Arrival { key, account, user }
        };
        self.0.of(name).rows("id, account_id, user_id").into_iter().map(arrival).collect()
    }
}

fn to(port: u16) -> config::Postgres {
    let url =
        address::Receiver::parse(&format!("postgres://127.0.0.1:{port}/events"), &["postgres"]).unwrap();
    let username = Some("ringhookd".to_owned());
    config::Postgres {
        target: Target { url, username, timeout: Duration::from_mins(1), parallel: 16 },
        database: "events".into(),
        table: Table::parse("ringhookd_events").unwrap(),
        create_table: true,
        tls: false,
    }
}

fn sink(options: &config::Postgres) -> Postgres {
    sink_of(options, ReceiverSecrets::default())
}

fn sink_of(options: &config::Postgres, secrets: ReceiverSecrets) -> Postgres {
    Postgres::new(&queue("out"), options.clone(), secrets).unwrap()
}
