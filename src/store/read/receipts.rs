//! Reads receipts: what became of one event, and which were accepted last. A row that is damaged is passed over and counted.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::ControlFlow;

use crate::domain::backlog::{Scope, Standing};
use crate::domain::ids::{AccountId, QueueName, UserId};
use crate::domain::receipt::{Destination, Ending, Renewal};
use crate::domain::time::Millis;
use crate::store::command::{Class, LetterId};
use crate::store::kv::error::Fault;
use crate::store::kv::found::Found;
use crate::store::kv::view::View;
use crate::store::memory::index::{NO_ACCOUNT, NO_USER};
use crate::store::memory::shared::{Shared, bump};
use crate::store::rows::account::AccountRow;
use crate::store::rows::aside::{Aside, HELD};
use crate::store::rows::receipt::{Did, Kept, ReceiptRow, Step, read_steps};
use crate::store::rows::small::WrappedKey;
use crate::store::txn::letters::letter_key;
use crate::store::txn::receipts::open_row;
use crate::vault::{DataKey, Purpose};

/// Rows that a list looks at for one answer.
const LOOKED_AT: usize = 20_000;
/// How often an event's earlier sequence is looked for: it may have been replayed again and again.
const EARLIER: usize = 64;

/// Which event is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// By its idempotency key.
    Key(String),
    /// By its place in the order of acceptance, also one that it had later.
    Sequence(u64),
}

/// Where a list goes on: row, and step in it.
pub type Cursor = (u64, usize);

/// An event as it was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    pub key: String,
    pub seq: u64,
    pub received_at: Millis,
    /// When it was durable.
    pub kept_at: Millis,
    pub kind: String,
    pub from: Option<IpAddr>,
    pub forwarded_for: Option<IpAddr>,
    /// The fingerprint of the webhook key; nothing for an event of our own.
    pub verified_by: Option<String>,
    pub to: Destination,
    pub account: Option<AccountId>,
    pub user: Option<UserId>,
    /// By name; nothing for one that was removed.
    pub queues: Vec<Option<QueueName>>,
}

/// What became of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Life {
    pub receipt: Receipt,
    /// In the order in which it came to them.
    pub places: Vec<Place>,
    /// Sequences that it got later, when and why.
    pub renewed: Vec<(Millis, Renewal, u64)>,
}

/// An event in one queue, or among the records beside the queues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Nothing beside the queues, or where the queue was removed.
    pub queue: Option<QueueName>,
    pub seq: u64,
    pub state: PlaceState,
    /// Those that are noted.
    pub attempts: Vec<Attempt>,
    /// How it left, when, by whom and why; an empty text says nothing. Of a dead letter, how it became one.
    pub left: Option<(Ending, Millis, String, String)>,
    /// While it is a letter.
    pub letter: Option<LetterId>,
}

/// A failed attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    pub number: u32,
    pub at: Millis,
    pub why: String,
}

/// Where an event is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlaceState {
    Waiting,
    Leased,
    /// It waits after a failure, until then.
    Delayed(Millis),
    Held,
    DeadLetter,
    Unrouted,
    Quarantined,
    /// Delivered.
    Done,
    /// It goes on under a later sequence.
    Renewed,
    Dropped,
    /// It is no more, and no receipt says how it went.
    Gone,
}

impl PlaceState {
    /// The name that people see.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Leased => "leased",
            Self::Delayed(_) => "delayed",
            Self::Held => "held",
            Self::DeadLetter => "dead_letter",
            Self::Unrouted => "unrouted",
            Self::Quarantined => "quarantined",
            Self::Done => "done",
            Self::Renewed => "renewed",
            Self::Dropped => "dropped",
            Self::Gone => "gone",
        }
    }
}

/// Rows as they are opened.
struct Rows<'a> {
    shared: &'a Shared,
    view: View,
    key: Option<DataKey>,
}

impl<'a> Rows<'a> {
    fn open(shared: &'a Shared) -> Result<Self, Fault> {
        let view = shared.view()?;
        let wrapped = view.row((NO_ACCOUNT, Purpose::Events as u8))?;
        let key =
            wrapped.map(|WrappedKey(wrapped)| shared.vault.unwrap(NO_ACCOUNT, Purpose::Events, &wrapped));
        Ok(Self { shared, view, key: key.transpose()? })
    }

    /// Tells each row's time and steps, until it is told to end.
    fn each<'t>(
        &self,
        rows: impl Iterator<Item = Result<Found<'t, ReceiptRow>, Fault>>,
        mut tell: impl FnMut(u64, Millis, &[Step<'_>]) -> ControlFlow<()>,
    ) -> Result<(), Fault> {
        let Some(key) = &self.key else { return Ok(()) };
        for found in rows {
            let found = found?;
            let read = found.key().and_then(|number| Ok((number, found.row()?)));
            let plain = read
                .ok()
                .and_then(|(number, row)| Some((number, row.at, open_row(key, number, &row.sealed)?)));
            let steps =
                plain.as_ref().and_then(|(number, at, plain)| Some((*number, *at, read_steps(plain)?)));
            let Some((number, at, steps)) = steps else {
                bump(&self.shared.stats.damaged);
                continue;
            };
            if tell(number, at, &steps).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// The id of an account. Nothing of a forgotten one.
    fn account(&self, number: u32) -> Result<Option<AccountId>, Fault> {
        Ok(self.view.row::<AccountRow>(number)?.and_then(|row| row.id))
    }

    fn user(&self, number: u32) -> Option<UserId> {
        if number == NO_USER {
            return None;
        }
        self.shared.users().name(number).and_then(|name| UserId::new(name).ok())
    }

    fn standing(&self, queue: u16, account: u32, seq: u64) -> Option<Standing> {
        self.shared.queues().get(&queue)?.backlog.standing(account, seq)
    }

    fn queue(&self, number: u16) -> Option<QueueName> {
        self.shared.queues().get(&number).map(|queue| queue.name.clone())
    }

    /// Nothing when its account was forgotten.
    fn receipt(&self, at: Millis, seq: u64, account: u32, kept: &Kept<'_>) -> Result<Option<Receipt>, Fault> {
        let id = self.account(account)?;
        if account != NO_ACCOUNT && id.is_none() {
            return Ok(None);
        }
        Ok(Some(Receipt {
            key: kept.key.to_owned(),
            seq,
            received_at: kept.received_at,
            kept_at: at,
            kind: kept.kind.to_owned(),
            from: kept.from,
            forwarded_for: kept.forwarded_for,
            verified_by: Some(kept.verified_by.to_owned()).filter(|key| !key.is_empty()),
            to: kept.to,
            account: id,
            user: self.user(kept.user),
            queues: kept.queues.iter().map(|&queue| self.queue(queue)).collect(),
        }))
    }
}

/// What became of an event, if it is of `scope`.
pub(crate) fn life(shared: &Shared, wanted: &Wanted, scope: &Scope) -> Result<Option<Life>, Fault> {
    let rows = Rows::open(shared)?;
    let table = rows.view.table::<ReceiptRow>()?;
    let mut wanted = wanted.clone();
    for _ in 0..EARLIER {
        let (mut story, mut earlier, mut taken) = (Story::default(), None, Ok(()));
        rows.each(table.range(..)?, |_, at, steps| {
            for step in steps {
                match (&step.did, &wanted) {
                    (Did::Renewed { to, .. }, Wanted::Sequence(seq)) if to == seq && step.seq != *seq => {
                        earlier = Some(step.seq);
                    }
                    _ => taken = story.take(&rows, at, step, &wanted),
                }
                if earlier.is_some() || taken.is_err() {
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        })?;
        taken?;
        match earlier {
            Some(seq) => wanted = Wanted::Sequence(seq),
            None => return story.end(&rows, scope),
        }
    }
    Ok(None)
}

/// The newest accepted events.
pub(crate) fn newest(
    shared: &Shared,
    before: Option<Cursor>,
    limit: usize,
    scope: &Scope,
) -> Result<(Vec<Receipt>, Option<Cursor>), Fault> {
    let rows = Rows::open(shared)?;
    let table = rows.view.table::<ReceiptRow>()?;
    let (mut found, mut next, mut read, mut looked_at) = (Vec::new(), None, Ok(()), 0);
    let until = before.map_or(u64::MAX, |(row, _)| row);
    rows.each(table.range(..=until)?.rev(), |number, at, steps| {
        looked_at += 1;
        let end =
            before.filter(|(row, _)| *row == number).map_or(steps.len(), |(_, end)| end.min(steps.len()));
        for (index, step) in steps[..end].iter().enumerate().rev() {
            let Did::Kept(kept) = &step.did else { continue };
            if !is_of(scope, step.account, kept.user) {
                continue;
            }
            if found.len() == limit {
                next = Some((number, index + 1));
                return ControlFlow::Break(());
            }
            match rows.receipt(at, step.seq, step.account, kept) {
                Ok(receipt) => found.extend(receipt),
                Err(fault) => read = Err(fault),
            }
        }
        if looked_at >= LOOKED_AT {
            next = Some((number, 0));
        }
        if next.is_some() || read.is_err() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    read.map(|()| (found, next))
}

fn is_of(scope: &Scope, account: u32, user: u32) -> bool {
    scope.accounts.as_ref().is_none_or(|accounts| accounts.contains(&account))
        && scope.users.as_ref().is_none_or(|users| users.contains(&user))
}

/// What is found of one event, step by step.
#[derive(Default)]
struct Story {
    receipt: Option<Receipt>,
    account: u32,
    /// Whose it is now.
    user: u32,
    /// By sequence and queue.
    places: BTreeMap<(u64, u16), Stay>,
    renewed: Vec<(Millis, Renewal, u64)>,
}

/// An event at one place. Beside the queues the queue is 0.
#[derive(Default)]
struct Stay {
    /// What it is beside the queues.
    beside: Option<Class>,
    came_at: Millis,
    attempts: Vec<Attempt>,
    left: Option<(Ending, Millis, String, String)>,
    renewed: bool,
}

impl Story {
    fn take(&mut self, rows: &Rows<'_>, at: Millis, step: &Step<'_>, wanted: &Wanted) -> Result<(), Fault> {
        let seq = step.seq;
        if let Did::Kept(kept) = &step.did {
            let is_it = match wanted {
                Wanted::Key(key) => key == kept.key,
                Wanted::Sequence(wanted) => *wanted == seq,
            };
            if is_it {
                let receipt = rows.receipt(at, seq, step.account, kept)?;
                *self = Self { receipt, account: step.account, user: kept.user, ..Self::default() };
                self.come(at, seq, &kept.queues);
                let beside = match kept.to {
                    Destination::Queued => return Ok(()),
                    Destination::Held => None,
                    Destination::Unrouted => Some(Class::Unrouted),
                    Destination::Quarantined => Some(Class::Quarantined),
                };
                self.places.insert((seq, 0), Stay { beside, came_at: at, ..Stay::default() });
            }
            return Ok(());
        }
        if self.receipt.is_none() || !self.places.keys().any(|(of, _)| *of == seq) {
            return Ok(());
        }
        match &step.did {
            Did::Kept(_) => {}
            Did::Renewed { to, user, why, queues } => {
                let stays = self.places.range_mut((seq, 0)..=(seq, u16::MAX));
                for (_, stay) in stays.filter(|((_, queue), _)| *queue == 0 || queues.contains(queue)) {
                    stay.renewed = true;
                }
                self.user = *user;
                if *to == seq {
                    return Ok(());
                }
                self.renewed.push((at, *why, *to));
                self.come(at, *to, queues);
                if queues.is_empty() {
                    let beside = Some(Class::Unrouted);
                    self.places.insert((*to, 0), Stay { beside, came_at: at, ..Stay::default() });
                }
            }
            Did::Failed { queue, attempt, why, .. } => {
                let attempt = Attempt { number: *attempt, at, why: (*why).to_owned() };
                self.places.entry((seq, *queue)).or_default().attempts.push(attempt);
            }
            Did::Left { queue, how, by, why } => {
                let stay = self.places.entry((seq, *queue)).or_default();
                stay.left = Some((*how, at, (*by).to_owned(), (*why).to_owned()));
            }
        }
        Ok(())
    }

    fn come(&mut self, at: Millis, seq: u64, queues: &[u16]) {
        let stay = || Stay { came_at: at, ..Stay::default() };
        self.places.extend(queues.iter().map(|&queue| ((seq, queue), stay())));
    }

    fn end(self, rows: &Rows<'_>, scope: &Scope) -> Result<Option<Life>, Fault> {
        let Self { receipt: Some(receipt), account, user, places, renewed } = self else { return Ok(None) };
        if !is_of(scope, account, user) {
            return Ok(None);
        }
        let user = rows.user(user);
        let places = places.into_iter().map(|(at, stay)| place(rows, account, at, stay));
        let places = places.collect::<Result<_, _>>()?;
        Ok(Some(Life { receipt: Receipt { user, ..receipt }, places, renewed }))
    }
}

fn place(rows: &Rows<'_>, account: u32, (seq, queue): (u64, u16), stay: Stay) -> Result<Place, Fault> {
    let Stay { beside, came_at, attempts, left, renewed } = stay;
    let lies = |class, buried_at| {
        let id = LetterId { class, buried_at, seq, queue };
        let found = rows.view.table::<Aside>()?.get(letter_key(id))?.is_some();
        Ok::<_, Fault>(found.then_some(id))
    };
    let letter = match (&left, beside) {
        (Some((Ending::Dead, at, _, _)), _) => lies(Class::Dead, *at)?,
        (None, Some(class)) => lies(class, came_at)?,
        _ => None,
    };
    let state = match &left {
        Some((Ending::Delivered, ..)) => PlaceState::Done,
        Some((Ending::Dropped, ..)) => PlaceState::Dropped,
        _ if renewed => PlaceState::Renewed,
        _ if letter.is_some() => match letter.map(|id| id.class) {
            Some(Class::Unrouted) => PlaceState::Unrouted,
            Some(Class::Quarantined) => PlaceState::Quarantined,
            _ => PlaceState::DeadLetter,
        },
        None if queue == 0 && beside.is_none() => {
            let held = rows.view.table::<Aside>()?.get((HELD, u64::from(account), seq, 0))?.is_some();
            if held { PlaceState::Held } else { PlaceState::Gone }
        }
        None => match rows.standing(queue, account, seq) {
            Some(Standing::Waiting) => PlaceState::Waiting,
            Some(Standing::Leased) => PlaceState::Leased,
            Some(Standing::Delayed(until)) => PlaceState::Delayed(until),
            None => PlaceState::Gone,
        },
        Some((Ending::Dead, ..)) => PlaceState::Gone,
    };
    Ok(Place { queue: rows.queue(queue), seq, state, attempts, left, letter })
}
