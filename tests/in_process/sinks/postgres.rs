//! The kind `postgres`: real servers, for the suite and for what is particular to the kind.

mod harm;
mod rows;
mod server;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use ringhookd::config::{self, ReceiverSecrets, Target};
use ringhookd::delivery::sinks::postgres::Postgres;
use ringhookd::delivery::{Sink, Verdict};
use ringhookd::domain::address;
use ringhookd::domain::cloudevent::Marks;
use ringhookd::domain::event::Event;
use ringhookd::domain::table::Table;
use ringhookd::domain::time::Millis;
use ringhookd::store::{Leased, Store};

use super::harness::{Arrival, Faults, Kind, Worker, dispatch};
use crate::support::{account, queue, user};
use server::Server;

/// Servers, one a queue, which outlive the daemon.
pub(crate) struct Databases(Mutex<HashMap<String, Arc<Server>>>);

impl Databases {
    pub(crate) fn new(_: &Path) -> Self {
        Self(Mutex::default())
    }

    fn of(&self, name: &str) -> Arc<Server> {
        let mut all = self.0.lock().unwrap();
        Arc::clone(all.entry(name.to_owned()).or_insert_with(|| Arc::new(Server::trusting())))
    }
}

impl Kind for Databases {
    fn drops_duplicates(&self) -> bool {
        true
    }

    fn start(&self, store: &Store, name: &str, faults: Faults) -> Worker {
        dispatch(store, name, sink(&to(self.of(name).port())), faults)
    }

    fn arrived(&self, name: &str) -> Vec<Arrival> {
        let arrival = |row: Vec<String>| {
            let [key, account, user] = row.try_into().unwrap();
            Arrival { key, account, user }
        };
        self.of(name).rows("id, account_id, user_id").into_iter().map(arrival).collect()
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

fn event_of(key: &str, account_id: &str, body: &[u8]) -> Event {
    Event {
        key: key.into(),
        kind: "button_press".into(),
        sub_kind: None,
        device: None,
        account: Some(account(account_id)),
        user: Some(user("ann")),
        received_at: Millis(1_700_000_000_123),
        time: Some(Millis(1_700_000_000_000)),
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
