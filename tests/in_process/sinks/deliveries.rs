//! Sinks without a dispatcher: events for them, and deliveries until all is done.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use ringhookd::delivery::{Sink, Verdict};
use ringhookd::domain::event::Event;
use ringhookd::domain::marks::Marks;
use ringhookd::domain::time::Millis;
use ringhookd::store::Leased;

use crate::support::{account, user};

pub(crate) const ACCOUNTS: u64 = 8;
pub(crate) const EACH: u64 = 25;

/// Receivers, one a queue, which outlive the daemon.
pub(crate) struct PerQueue<R> {
    made: Mutex<HashMap<String, Arc<R>>>,
    make: fn() -> R,
}

impl<R> PerQueue<R> {
    pub(crate) fn new(make: fn() -> R) -> Self {
        Self { made: Mutex::default(), make }
    }

    pub(crate) fn of(&self, name: &str) -> Arc<R> {
        let mut made = self.made.lock().unwrap();
        Arc::clone(made.entry(name.to_owned()).or_insert_with(|| Arc::new((self.make)())))
    }
}

pub(crate) fn event_of(key: &str, account_id: &str, body: &[u8]) -> Event {
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

/// Its key is `ACCOUNT/SEQ`.
pub(crate) fn leased(seq: u64, account_id: &str) -> Leased {
    let event = event_of(&format!("{account_id}/{seq}"), account_id, b"{\"data\":{}}");
    Leased { seq, attempt: 1, event }
}

pub(crate) fn one() -> Arc<[Leased]> {
    [leased(7, "a")].into()
}

/// The only verdict's words, which are those of a busy receiver.
pub(crate) fn busy(verdicts: &[Verdict]) -> String {
    let [Verdict::Busy { retry_after: None, why }] = verdicts else { panic!("{verdicts:?}") };
    why.clone()
}

/// Delivers until it is done, as the dispatcher does after its pauses: so often at most, 100 ms apart. Until then the receiver must be
/// busy, which uses up no attempt.
pub(crate) async fn until_taken(sink: &impl Sink, events: Arc<[Leased]>, looks: usize) {
    for _ in 0..looks {
        let verdicts = sink.deliver(Arc::clone(&events)).await;
        if verdicts.iter().all(|verdict| *verdict == Verdict::Done) {
            return;
        }
        let waits =
            |verdict: &Verdict| matches!(verdict, Verdict::Done | Verdict::Busy { .. } | Verdict::Untried);
        assert!(verdicts.iter().all(waits), "{verdicts:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("it never takes them");
}

/// A daemon's part with verdicts, pauses aside: delivers [`EACH`] events of each of [`ACCOUNTS`] until all is done.
pub(crate) async fn until_done(sink: &impl Sink, mut after: impl FnMut(usize, &[Verdict])) {
    let mut left: Vec<Leased> =
        (0..ACCOUNTS * EACH).map(|n| leased(n, &format!("account-{}", n % ACCOUNTS))).collect();
    let mut round = 0;
    while !left.is_empty() {
        assert!(round < 10_000, "{} are left", left.len());
        let lease: Arc<[Leased]> = left.iter().take(64).cloned().collect();
        let verdicts = sink.deliver(Arc::clone(&lease)).await;
        assert_eq!(verdicts.len(), lease.len());
        let done: Vec<u64> = lease
            .iter()
            .zip(&verdicts)
            .filter_map(|(leased, verdict)| match verdict {
                Verdict::Done => Some(leased.seq),
                Verdict::Busy { .. } | Verdict::Untried => None,
                other => panic!("no attempt is used up: {other:?}"),
            })
            .collect();
        left.retain(|leased| !done.contains(&leased.seq));
        after(round, &verdicts);
        round += 1;
        if done.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// All of [`until_done`] are there, given the account and number of each, and those of each account are in order.
pub(crate) fn all_in_order(arrived: impl IntoIterator<Item = (String, u64)>) {
    let mut numbers: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for (account, number) in arrived {
        numbers.entry(account).or_default().push(number);
    }
    assert_eq!(numbers.len() as u64, ACCOUNTS);
    for (account, numbers) in numbers {
        assert!(numbers.len() as u64 == EACH && numbers.is_sorted(), "{account}: {numbers:?}");
    }
}
