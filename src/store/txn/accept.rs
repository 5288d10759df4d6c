//! Keeps a verified webhook: seen before? whose? for which queues?, all in the one transaction that is its 2xx.

use std::mem::take;

use bytes::Bytes;

use super::batch::{Batch, HELD};
use crate::domain::cloudevent::Mark;
use crate::domain::dedup::Identity;
use crate::domain::event::Event;
use crate::domain::ids::{AccountId, DeviceId, UserId};
use crate::domain::link::{Event as Link, LinkState, Owner};
use crate::domain::time::Millis;
use crate::store::command::{Accepted, Class, Incoming, Published};
use crate::store::kv::error::{Fault, StoreError};
use crate::store::memory::core::HeldEvent;
use crate::store::memory::index::{NO_ACCOUNT, NO_USER, seconds};
use crate::store::memory::options::Unclaimed;
use crate::store::memory::shared::bump;
use crate::store::rows::codec::Aside;

/// 2020: a time before it is none, or not in milliseconds.
const FIRST: Millis = Millis(1_577_836_800_000);

/// The account that an event is of, by its number, and whose it is there.
#[derive(Clone, Copy)]
struct Whose {
    account: u32,
    owner: Owner,
}

/// Where an event goes.
struct Destination {
    queues: Vec<u16>,
    /// Also held for queues that want its user's events only.
    hold: bool,
}

impl Batch<'_> {
    /// Nobody reads `incoming` again. What is taken out of it is put back, so that it is freed where it was made: the
    /// system's allocator is slow at anything else.
    pub(crate) fn accept(&mut self, incoming: &mut Incoming) -> Result<Result<Accepted, StoreError>, Fault> {
        let mut identity = Identity { key: take(&mut incoming.identity.key), ..incoming.identity };
        let mut marks = incoming.marks;
        if let Some(before) = self.seen(&identity.id)? {
            if identity.content == before {
                self.counts.duplicates += 1;
                return Ok(Ok(Accepted::Duplicate));
            }
            identity = identity.conflicting();
            if self.seen(&identity.id)?.is_some() {
                self.counts.duplicates += 1;
                return Ok(Ok(Accepted::Duplicate));
            }
            self.counts.conflicts += 1;
            marks.insert(Mark::Conflict);
        }
        if self.core.kept_bytes().saturating_add(incoming.body.len() as u64) > self.shared.options.max_bytes {
            return Ok(Err(StoreError::Full));
        }
        let mut event = Event {
            key: take(&mut identity.key),
            kind: take(&mut incoming.kind),
            sub_kind: incoming.sub_kind.take(),
            device: incoming.device.take(),
            account: incoming.account.take(),
            user: None,
            received_at: incoming.received_at,
            time: incoming.time,
            marks,
            body: take(&mut incoming.body),
        };
        let whose = match incoming.anomaly {
            None => self.whose(&mut event, &incoming.related)?,
            Some(_) => Whose { account: NO_ACCOUNT, owner: Owner::Nobody },
        };
        if let Err(fault) = self.event_key(whose.account) {
            let error = fault.of_one_record()?;
            bump(&self.shared.stats.damaged);
            return Ok(Err(error));
        }
        self.remember(&identity)?;
        self.counts.accepted += 1;
        if let Some(anomaly) = incoming.anomaly {
            self.counts.quarantined += 1;
            let seq = self.put_letter(Class::Quarantined, NO_ACCOUNT, NO_USER, &event, anomaly)?;
            return Ok(Ok(Accepted::Quarantined { seq }));
        }
        self.learn(&event, &incoming.related, whose.account)?;
        let placed = self.place(&event, whose)?;
        incoming.identity.key = event.key;
        (incoming.kind, incoming.sub_kind, incoming.body) = (event.kind, event.sub_kind, event.body);
        (incoming.device, incoming.account) = (event.device, event.account);
        Ok(Ok(placed))
    }

    /// Finds the account, by its id or by the device, and its user; an account seen for the first time gets a number.
    fn whose(&mut self, event: &mut Event, related: &[DeviceId]) -> Result<Whose, Fault> {
        let number = match &event.account {
            Some(id) => match self.core.accounts.find(id) {
                Some(number) => number,
                None => self.add_unclaimed(id)?,
            },
            None => self.account_of_devices(event.device.iter().chain(related))?,
        };
        if event.account.is_none() {
            event.account = self.read_account(number)?.and_then(|row| row.id);
            let mark = if event.account.is_some() { Mark::AccountByDevice } else { Mark::NoAccount };
            event.marks.insert(mark);
        }
        let owner = match self.core.accounts.get(number).copied() {
            _ if number == NO_ACCOUNT => Owner::Nobody,
            Some(slot) if slot.simple => Owner::User(slot.user),
            _ => {
                let happened_at = self.plausible(event.time);
                let row = self.read_account(number)?;
                row.map_or(Owner::Nobody, |row| row.tenure.whose(&event.kind, happened_at))
            }
        };
        event.user = self.user_name(owner.user());
        Ok(Whose { account: number, owner })
    }

    /// Keeps the device map current, and destroys the tokens of an account whose user removed the app.
    fn learn(&mut self, event: &Event, related: &[DeviceId], account: u32) -> Result<(), Fault> {
        if account == NO_ACCOUNT {
            return Ok(());
        }
        let happened_at = self.plausible(event.time);
        match (event.kind.as_str(), happened_at) {
            ("app_integration_removed", at) => {
                let at = at.unwrap_or(self.ring.likely);
                return self.on_link(account, Link::Removed { at }).map(drop);
            }
            // One that does not say when it happened may be of a link before.
            ("app_integration_added", Some(at)) => drop(self.on_link(account, Link::Added { at })?),
            ("device_added", Some(at)) => drop(self.on_link(account, Link::DeviceAdded { at })?),
            _ => {}
        }
        let others = related.iter().filter(|device| Some(*device) != event.device.as_ref());
        let mut devices = event.device.iter().chain(others);
        match event.kind.as_str() {
            "device_removed" => {
                devices.try_for_each(|device| self.forget_device(device, account, happened_at))
            }
            "device_added" => devices.try_for_each(|device| self.add_device(device, account, happened_at)),
            _ => devices.try_for_each(|device| self.note_device(device, account, happened_at)),
        }
    }

    fn place(&mut self, event: &Event, Whose { account, owner }: Whose) -> Result<Accepted, Fault> {
        let Destination { queues, hold } = self.destination(event, account, owner);
        if queues.is_empty() && !hold {
            self.counts.unrouted += 1;
            let why = match owner {
                Owner::Nobody if account != NO_ACCOUNT => "its link ended before anybody claimed it",
                _ => "no queue wants it",
            };
            let seq = self.put_letter(Class::Unrouted, account, owner.user(), event, why)?;
            return Ok(Accepted::Unrouted { seq });
        }
        let count = queues.len();
        let seq = if queues.is_empty() {
            self.sequence_aside()
        } else {
            let seq = self.append(account, owner.user(), event, queues.clone())?;
            self.publish(seq, &queues, event);
            seq
        };
        if !hold {
            return Ok(Accepted::Queued { seq, account: event.account.clone(), queues: count });
        }
        self.counts.held += 1;
        self.hold(seq, account, event, queues)?;
        Ok(Accepted::Held { seq, queues: count })
    }

    fn destination(&self, event: &Event, account_number: u32, owner: Owner) -> Destination {
        let device = event.device.as_ref().map(DeviceId::as_str);
        let account = event.account.as_ref().map(AccountId::as_str);
        let user = event.user.as_ref().map(UserId::as_str);
        let claimable = matches!(owner, Owner::Next | Owner::NextOr(_)) && account_number != NO_ACCOUNT;
        let (mut queues, mut awaited) = (Vec::new(), false);
        for (number, spec) in &self.core.routes {
            let waits = user.is_none() && spec.unclaimed == Unclaimed::Hold;
            if waits {
                awaited |= spec.filter.matches_ignoring_user(&event.kind, device, account);
            } else if spec.filter.matches(&event.kind, device, account, user) {
                queues.push(*number);
            }
        }
        // What no queue wants today may be wanted by one that is there when the account gets its user.
        let hold = claimable && (awaited || queues.is_empty());
        Destination { queues, hold }
    }

    /// Queues that take an event of this user, without those in `but`.
    pub(crate) fn queues_for(&self, event: &Event, but: &[u16]) -> Vec<u16> {
        let device = event.device.as_ref().map(DeviceId::as_str);
        let account = event.account.as_ref().map(AccountId::as_str);
        let user = event.user.as_ref().map(UserId::as_str);
        let wants = |spec: &crate::store::memory::options::QueueSpec| {
            let open = user.is_some() || spec.unclaimed == Unclaimed::Deliver;
            open && spec.filter.matches(&event.kind, device, account, user)
        };
        self.core.routes.iter().filter(|(n, spec)| !but.contains(n) && wants(spec)).map(|(n, _)| *n).collect()
    }

    pub(crate) fn publish(&mut self, seq: u64, queues: &[u16], event: &Event) {
        if !self.shared.feed.is_followed() {
            return;
        }
        let names = self.core.queue_names(queues).collect();
        // A copy of the body: followers may lag, and what they hold must not count as in flight.
        let body = Bytes::copy_from_slice(&event.body);
        self.published.push(Published { seq, queues: names, event: Event { body, ..event.clone() } });
    }

    /// Tells a change of state of an account to the queues that ask for it by name.
    pub(crate) fn announce(
        &mut self,
        number: u32,
        state: &str,
        lapses_at: Option<Millis>,
    ) -> Result<(), Fault> {
        let Some(row) = self.read_account(number)? else { return Ok(()) };
        // Nobody knows yet whose it is, so nobody is told.
        let (state_of_link, holder) = (row.tenure.state, row.tenure.holder());
        let Some(account) = row.id.filter(|_| state_of_link != LinkState::Arriving) else { return Ok(()) };
        let user = self.user_name(holder);
        // The sequence makes the id unique for the life of the store.
        let key = format!("{}-{}", self.shared.identity.store, self.core.next_seq);
        let event = Event::of_link(key, state, account, user, lapses_at, self.now);
        let queues = self.queues_for(&event, &[]);
        let full = self.core.kept_bytes() >= self.shared.options.max_bytes;
        // What may be lost to a full store is the word, not the state.
        if queues.is_empty() || full || self.event_key(number).is_err() {
            return Ok(());
        }
        let seq = self.append(number, holder, &event, queues.clone())?;
        self.publish(seq, &queues, &event);
        Ok(())
    }

    pub(crate) fn put_letter(
        &mut self,
        class: Class,
        account: u32,
        user: u32,
        event: &Event,
        why: &str,
    ) -> Result<u64, Fault> {
        let seq = self.sequence_aside();
        let sealed = self.seal(seq, account, event)?;
        let aside = Aside {
            seq,
            account,
            user,
            at: self.now,
            queues: Vec::new(),
            failures: 0,
            detail: why.to_owned(),
            sealed,
        };
        self.bury(class, 0, &aside)?;
        Ok(seq)
    }

    /// Puts an event of an unclaimed account aside until it is claimed. What passes the bounds goes to the dead
    /// letters, oldest first: of this account for its own bounds, of all for the common one.
    fn hold(&mut self, seq: u64, account: u32, event: &Event, queues: Vec<u16>) -> Result<(), Fault> {
        let sealed = self.seal(seq, account, event)?;
        let bytes = super::batch::to_u32(sealed.len());
        let aside = Aside {
            seq,
            account,
            user: NO_USER,
            at: self.now,
            queues,
            failures: 0,
            detail: String::new(),
            sealed,
        };
        self.put_aside((HELD, u64::from(account), seq, 0), &aside)?;
        self.core.hold(seq, HeldEvent { account, bytes, at: seconds(self.now) });
        let bounds = self.shared.options.held;
        while self
            .core
            .held_by_account
            .get(&account)
            .is_some_and(|t| t.events > bounds.max_events || t.bytes > bounds.max_bytes)
        {
            let Some(&oldest) = self.held_of(account, 1)?.first() else { break };
            self.bury_held(oldest, "more held for the account than [held] allows")?;
        }
        while self.core.held_bytes > bounds.total_bytes {
            let Some((&oldest, _)) = self.core.held.first_key_value() else { break };
            self.bury_held(oldest, "more held for all accounts than [held] total_bytes")?;
        }
        Ok(())
    }

    /// Moves a held event to the dead letters, also one that queues without an owner had already: its user never had it.
    pub(crate) fn bury_held(&mut self, seq: u64, why: &str) -> Result<(), Fault> {
        let Some(event) = self.core.unhold(seq) else { return Ok(()) };
        let Some(aside) = self.take_aside((HELD, u64::from(event.account), seq, 0))? else { return Ok(()) };
        self.counts.dead += 1;
        self.bury(Class::Dead, 0, &Aside { detail: why.to_owned(), ..aside })
    }

    /// When something happened, as far as that can be: not after now, and not before there was Ring's Appstore. Nothing where it
    /// does not say.
    pub(crate) fn plausible(&self, at: Option<Millis>) -> Option<Millis> {
        at.map(|at| at.min(self.ring.likely)).filter(|at| *at >= FIRST)
    }
}
