//! What a store must hold, kept outside it in plain maps: where each event may be, and what it looks like.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ringhookd::store::{Accepted, Class, Health, Incoming, LeaseRequest, LetterFilter, Outcome};
use ringhookd::store::{Inline, Leased, Store, StoreError};

use ringhookd::domain::time::Millis;

use crate::support::{HOUR, at_once, queue};

/// Sets of places where an event may be, as far as one queue is concerned.
pub(crate) const WAITING: u8 = 1;
pub(crate) const LETTER: u8 = 2;
pub(crate) const GONE: u8 = 4;

/// The name under which letters that were in no queue are listed.
pub(crate) const QUARANTINE: &str = "(quarantined)";
pub(crate) const MAX_ATTEMPTS: u32 = 2;

/// An event as one queue shall see it.
#[derive(Debug, Clone)]
pub(crate) struct Copy_ {
    pub(crate) places: u8,
    pub(crate) user: Option<&'static str>,
    /// Failures it had at least and at most.
    pub(crate) failures: (u32, u32),
}

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) incoming: Arc<Incoming>,
    /// By this events of an account are ordered.
    pub(crate) order: usize,
    /// Whether a 2xx was given.
    pub(crate) acked: bool,
    pub(crate) copies: BTreeMap<&'static str, Copy_>,
}

/// Events by key.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger {
    pub(crate) events: BTreeMap<String, Entry>,
    next: usize,
}

impl Ledger {
    /// Notes that an event is about to be accepted for these queues.
    pub(crate) fn issue(&mut self, incoming: Incoming, copies: BTreeMap<&'static str, Copy_>) {
        self.next += 1;
        let key = incoming.event.key.clone();
        let incoming = Arc::new(incoming);
        self.events.insert(key, Entry { incoming, order: self.next, acked: false, copies });
    }

    pub(crate) fn ack(&mut self, key: &str, accepted: &Accepted) {
        let next = self.next + 1;
        let entry = self.events.get_mut(key).unwrap();
        if !entry.acked && *accepted != Accepted::Duplicate {
            entry.order = next;
            self.next = next;
        }
        entry.acked = true;
    }

    pub(crate) fn copy(&mut self, key: &str, queue: &'static str) -> &mut Copy_ {
        self.events.get_mut(key).unwrap().copies.get_mut(queue).unwrap()
    }

    pub(crate) fn unacked(&self) -> Vec<Arc<Incoming>> {
        let mut open: Vec<_> = self.events.values().filter(|e| !e.acked).collect();
        open.sort_by_key(|e| e.order);
        open.into_iter().map(|e| Arc::clone(&e.incoming)).collect()
    }

    /// Notes that an outcome is about to be made durable: both may hold until the answer.
    pub(crate) fn issue_outcome(&mut self, key: &str, queue: &'static str, outcome: &Outcome) {
        let copy = self.copy(key, queue);
        match outcome {
            Outcome::Done => copy.places |= GONE,
            Outcome::Dead { .. } => copy.places |= LETTER,
            Outcome::Failed { .. } => {
                copy.failures.1 += 1;
                if copy.failures.1 >= MAX_ATTEMPTS {
                    copy.places |= LETTER;
                }
            }
            Outcome::Returned | Outcome::Postponed { .. } => {}
        }
    }

    pub(crate) fn ack_outcome(&mut self, key: &str, queue: &'static str, outcome: &Outcome) {
        let copy = self.copy(key, queue);
        match outcome {
            Outcome::Done => copy.places = GONE,
            Outcome::Dead { .. } => copy.places = LETTER,
            Outcome::Failed { .. } => {
                copy.failures.0 += 1;
                if copy.failures.0 >= MAX_ATTEMPTS {
                    copy.places = LETTER;
                }
            }
            Outcome::Returned | Outcome::Postponed { .. } => {}
        }
    }

    /// What was older than the queue's `max_age` may have gone to the dead letters.
    pub(crate) fn may_expire(&mut self, queue: &'static str, before: Millis) {
        for entry in self.events.values_mut().filter(|e| e.incoming.event.received_at < before) {
            if let Some(copy) = entry.copies.get_mut(queue).filter(|c| c.places & WAITING != 0) {
                copy.places |= LETTER;
            }
        }
    }
}

/// A call of the store on its way.
pub(crate) type Call<T> = std::pin::Pin<Box<dyn Future<Output = T>>>;

/// What a store turned out to hold.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) waiting: BTreeMap<&'static str, Vec<Leased>>,
    /// (Key, queue); the event itself is compared where it can be read.
    pub(crate) letters: BTreeMap<(String, String), ringhookd::store::Letter>,
    /// Letters that say themselves that they can't be read.
    pub(crate) marked: usize,
    pub(crate) remembered: BTreeSet<String>,
    pub(crate) refused: Option<String>,
}

/// Takes everything out of a store that was just opened: waiting events, letters, and whether ids are remembered.
pub(crate) fn inspect(inline: &mut Inline, ledger: &Ledger, queues: &[&'static str], now: Millis) -> Seen {
    let mut seen = Seen::default();
    let store = inline.store.clone();
    let far = now.plus(10_000 * HOUR);
    let all = LeaseRequest {
        max_events: usize::MAX,
        max_bytes: u64::MAX,
        until: far.plus(HOUR),
        scope: ringhookd::store::Scope::default(),
    };
    for &name in queues {
        match at_once(store.queues().lease(&queue(name), &all, far)) {
            Ok(lease) => drop(seen.waiting.insert(name, lease.map_or(Vec::new(), |l| l.events))),
            Err(error) => seen.refused = Some(error.to_string()),
        }
    }
    // Records that can't be opened are buried, marked.
    inline.commit(now);
    if inline.store.health() != Health::Ready {
        seen.refused = Some("the store says that it is damaged".into());
        return seen;
    }
    inspect_letters(&store, &mut seen);
    let calls = ledger.events.values().map(|entry| {
        let (store, incoming) = (store.clone(), (*entry.incoming).clone());
        Box::pin(async move { store.inbox().accept(incoming).await }) as Call<Result<Accepted, StoreError>>
    });
    let answers = inline.run_all(now, calls.collect());
    for (key, answer) in ledger.events.keys().zip(answers) {
        match answer {
            Ok(Accepted::Duplicate) => drop(seen.remembered.insert(key.clone())),
            Ok(_) => {}
            Err(error) => seen.refused = Some(error.to_string()),
        }
    }
    seen
}

fn inspect_letters(store: &Store, seen: &mut Seen) {
    let mut after = None;
    loop {
        let (letters, next) = match at_once(store.queues().letters(&LetterFilter::default(), after)) {
            Ok(page) => page,
            Err(error) => return seen.refused = Some(error.to_string()),
        };
        for letter in letters {
            let Some(event) = &letter.event else {
                seen.marked += 1;
                continue;
            };
            let name = match (&letter.queue, letter.id.class) {
                (Some(queue), _) => queue.as_str().to_owned(),
                (None, Class::Quarantined) => QUARANTINE.to_owned(),
                (None, class) => class.name().to_owned(),
            };
            let before = seen.letters.insert((event.key.clone(), name.clone()), letter.clone());
            assert!(before.is_none(), "{} lies twice among the letters of {name}", event.key);
        }
        let Some(next) = next else { return };
        after = Some(next);
    }
}

/// What is not as the ledger says.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// Changed, twice, in the wrong place, to the wrong user, out of order, or remembered without being kept.
    pub(crate) wrong: Vec<String>,
    /// Acknowledged and nowhere.
    pub(crate) missing: Vec<String>,
    /// Settled, and there again.
    pub(crate) again: Vec<String>,
}

impl Findings {
    pub(crate) fn assert_none(&self, what: &str) {
        let all = self.wrong.len() + self.missing.len() + self.again.len();
        assert!(all == 0, "{what}: {self:#?}");
    }
}

pub(crate) fn compare(ledger: &Ledger, seen: &Seen) -> Findings {
    let mut found = Findings::default();
    let mut places: BTreeMap<(&str, &str), u8> = BTreeMap::new();
    for (&name, events) in &seen.waiting {
        compare_queue(ledger, name, events, &mut places, &mut found);
    }
    for ((key, name), letter) in &seen.letters {
        let Some((entry, (&name, _))) = ledger.events.get(key).and_then(|entry| {
            let copy = entry.copies.get_key_value(name.as_str());
            copy.map(|copy| (entry, copy))
        }) else {
            found.wrong.push(format!("{key} among the letters of {name} was never meant for it"));
            continue;
        };
        let (key, _) = ledger.events.get_key_value(key).unwrap();
        *places.entry((key, name)).or_default() |= LETTER;
        if letter.event.as_ref().is_some_and(|e| e.body != entry.incoming.event.body) {
            found.wrong.push(format!("{key} changed among the letters"));
        }
    }
    for (key, entry) in &ledger.events {
        compare_places(key, entry, seen.remembered.contains(key), &places, &mut found);
    }
    found
}

fn compare_queue<'l>(
    ledger: &'l Ledger,
    name: &'static str,
    events: &[Leased],
    places: &mut BTreeMap<(&'l str, &'l str), u8>,
    found: &mut Findings,
) {
    let mut last: BTreeMap<String, usize> = BTreeMap::new();
    for leased in events {
        let event = &leased.event;
        let known = ledger.events.get_key_value(&event.key);
        let Some((key, entry)) = known.filter(|(_, e)| e.copies.contains_key(name)) else {
            found.wrong.push(format!("{name} has {}, which was never meant for it", event.key));
            continue;
        };
        let copy = &entry.copies[name];
        let place = places.entry((key, name)).or_default();
        if *place & WAITING != 0 {
            found.wrong.push(format!("{name} has {key} twice"));
        }
        *place |= WAITING;
        let user = event.user.as_ref().map(ringhookd::domain::ids::UserId::as_str);
        if event.body != entry.incoming.event.body
            || event.account != entry.incoming.event.account
            || user != copy.user
        {
            found.wrong.push(format!("{name}: {key} is not what was accepted (user {user:?})"));
        }
        let (attempt, failures) = (leased.attempt, copy.failures);
        if attempt <= failures.0 {
            found.missing.push(format!("{name}: failures of {key}, at attempt {attempt}, not {failures:?}"));
        } else if attempt > failures.1 + 1 {
            found.wrong.push(format!("{name}: {key} at attempt {attempt}, not {failures:?}"));
        }
        let account = format!("{:?}", event.account);
        if last.insert(account, entry.order).is_some_and(|before| before > entry.order) {
            found.wrong.push(format!("{name}: {key} is out of order"));
        }
    }
}

fn compare_places(
    key: &str,
    entry: &Entry,
    remembered: bool,
    places: &BTreeMap<(&str, &str), u8>,
    found: &mut Findings,
) {
    if entry.acked && !remembered {
        found.missing.push(format!("{key} was acknowledged and is not remembered"));
    }
    for (name, copy) in &entry.copies {
        let place = places.get(&(key, *name)).copied().unwrap_or(GONE);
        if !entry.acked && !remembered {
            // All or nothing: not even a part of it.
            if place != GONE {
                found.wrong.push(format!("{key} is in {name} and not remembered"));
            }
        } else if place == GONE && copy.places & GONE == 0 {
            found
                .missing
                .push(format!("{key} is remembered (acknowledged: {}) and not in {name}", entry.acked));
        } else if !copy.places & place != 0 {
            found.again.push(format!("{key} is in places {place} of {name}, not in {}", copy.places));
        }
    }
}
