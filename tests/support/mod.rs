//! What several test files need: a store in a temporary folder, and events for it.
#![allow(dead_code, reason = "each of the two binaries uses its part")]

pub(crate) mod api;
pub(crate) mod broker;
pub(crate) mod browser;
pub(crate) mod certificates;
pub(crate) mod configuration;
pub(crate) mod disk;
pub(crate) mod front;
pub(crate) mod http;
pub(crate) mod installation;
pub(crate) mod linking;
pub(crate) mod mosquitto;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod rng;
pub(crate) mod tokens;
pub(crate) mod whole;

use std::path::Path;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ringhookd::clock;
use ringhookd::domain::dedup::Identity as EventIdentity;
use ringhookd::domain::event::Event;
use ringhookd::domain::freshness::Expected;
use ringhookd::domain::ids::{AccountId, DeviceId, QueueName, UserId};
use ringhookd::domain::receipt::Origin;
use ringhookd::domain::routing::Filter;
use ringhookd::domain::time::Millis;
use ringhookd::domain::tokens::{ACCESS_LIFE, Pair, Span};
use ringhookd::store::{
    Bounds, HeldBounds, Identity, Import, Incoming, LeaseRequest, Leased, NewTokens, Options, Outcome,
    QueueSpec, ReceiptBounds, Scope, Silence, Store, StoreError, Unclaimed,
};
use ringhookd::vault::Vault;

pub(crate) const HOUR: Duration = Duration::from_hours(1);
pub(crate) const MIB: u64 = 1 << 20;

pub(crate) fn vault() -> Vault {
    Vault::from_hex("ab".repeat(32).as_bytes(), None).unwrap()
}

pub(crate) fn queue(name: &str) -> QueueName {
    QueueName::new(name).unwrap()
}

pub(crate) fn account(name: &str) -> AccountId {
    AccountId::new(name).unwrap()
}

pub(crate) fn user(name: &str) -> UserId {
    UserId::new(name).unwrap()
}

/// A queue that takes everything.
pub(crate) fn spec(name: &str) -> QueueSpec {
    QueueSpec {
        name: queue(name),
        filter: Filter::default(),
        unclaimed: Unclaimed::Hold,
        max_age: 24 * HOUR,
        max_bytes: 64 * MIB,
        max_attempts: 3,
    }
}

pub(crate) fn options(queues: Vec<QueueSpec>) -> Options {
    let bounds = Bounds { max_age: 24 * HOUR, max_events: 1000, max_bytes: 16 * MIB };
    Options {
        max_bytes: 256 * MIB,
        cache_bytes: 8 << 20,
        reserve_bytes: 0,
        min_free_bytes: 0,
        seen_for: 76 * HOUR,
        max_ids: 100_000,
        held: HeldBounds { max_age: 24 * HOUR, max_events: 100, max_bytes: MIB, total_bytes: 16 * MIB },
        dead: bounds,
        unrouted: bounds,
        quarantined: bounds,
        silence: Silence::new(Expected::Learned, Expected::Learned),
        forget_removed_after: None,
        receipts: ReceiptBounds { max_age: 24 * HOUR, max_bytes: MIB },
        audit: ReceiptBounds { max_age: 24 * HOUR, max_bytes: MIB },
        // So few that nearly every test has a merge under way.
        devices_waiting: 4,
        queues,
    }
}

pub(crate) fn create(folder: &Path) {
    let identity = Identity { store: "test".into(), environment: "test".into(), created: "now".into() };
    Store::create(folder, &identity, || Ok(vault())).unwrap();
}

pub(crate) fn open(folder: &Path, options: Options) -> Result<Store, StoreError> {
    Store::open(folder, "test", vault(), options)
}

/// A new store with these queues.
pub(crate) fn store(folder: &Path, queues: Vec<QueueSpec>) -> Store {
    create(folder);
    open(folder, options(queues)).unwrap()
}

/// An event of an account, named and told apart by its id.
pub(crate) fn event(id: &str, account_id: &str) -> Incoming {
    event_of(id, Some(account_id), "motion_detected", Some("device-1"))
}

pub(crate) fn event_of(id: &str, account_id: Option<&str>, kind: &str, device: Option<&str>) -> Incoming {
    let body = format!(r#"{{"meta":{{"request_id":"{id}"}},"data":{{"type":"{kind}"}}}}"#);
    let (key, identity) = EventIdentity::of(Some(id), body.as_bytes());
    let event = Event {
        kind: kind.into(),
        device: device.map(|d| DeviceId::new(d).unwrap()),
        account: account_id.map(account),
        time: Some(clock::now()),
        ..Event::unread(key, body.into(), clock::now())
    };
    Incoming { event, identity, related: Vec::new(), anomaly: None, origin: Origin::default() }
}

/// The same with another body.
pub(crate) fn with_body(incoming: Incoming, body: String) -> Incoming {
    let event = Event { body: body.into(), ..incoming.event };
    Incoming { event, ..incoming }
}

pub(crate) async fn link(store: &Store, account_id: &str, user_id: &str) {
    let import =
        Import { account: account(account_id), user: Some(user(user_id)), tokens: None, replace: false };
    store.links().import(import).await.unwrap().unwrap();
}

/// Tokens that were given just now.
pub(crate) fn tokens(access: &str, refresh: &str) -> NewTokens {
    NewTokens { pair: Pair::of(Some(access), refresh), span: Span::from_now(clock::now(), ACCESS_LIFE) }
}

pub(crate) fn request(max: usize) -> LeaseRequest {
    LeaseRequest {
        max_events: max,
        max_bytes: u64::MAX,
        until: clock::now().plus(HOUR),
        scope: Scope::default(),
    }
}

/// Takes up to `max` events and acknowledges them.
pub(crate) async fn drain(store: &Store, name: &str, max: usize) -> Vec<Leased> {
    let Some(lease) = store.queues().lease(&queue(name), &request(max), clock::now()).await.unwrap() else {
        return Vec::new();
    };
    let done = lease.events.iter().map(|e| (e.seq, Outcome::Done)).collect();
    store.queues().settle(&queue(name), lease.id, done).await.unwrap();
    lease.events
}

/// The idempotency keys of what is drained.
pub(crate) async fn drain_keys(store: &Store, name: &str) -> Vec<String> {
    let mut keys = Vec::new();
    loop {
        let events = drain(store, name, 100).await;
        if events.is_empty() {
            return keys;
        }
        keys.extend(events.into_iter().map(|e| e.event.key));
    }
}

/// The value of a call that has nothing to wait for: a store without threads reads where it is called.
pub(crate) fn at_once<T>(call: impl Future<Output = T>) -> T {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(call).poll(&mut context) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("it waits"),
    }
}

pub(crate) fn later(by: Duration) -> Millis {
    clock::now().plus(by)
}
