//! Keeps a verified webhook: seen before? whose? for which queues?, all in the one transaction that is its 2xx.

use std::mem::take;

use std::time::Duration;

use bytes::Bytes;
use redb::ReadableTable;
use sha2::{Digest, Sha256};

use super::accounts::AccountRow;
use super::batch::{Batch, HELD};
use super::codec::{Aside, stamp, stamped};
use super::command::{Accepted, Class, Incoming, Published};
use super::core::HeldEvent;
use super::error::{Fault, StoreError};
use super::index::{NO_ACCOUNT, NO_USER, seconds};
use super::options::Unclaimed;
use super::shared::bump;
use crate::domain::cloudevent::Mark;
use crate::domain::dedup::Identity;
use crate::domain::event::Event;
use crate::domain::ids::{AccountId, DeviceId, UserId};
use crate::domain::link::{Change, LinkState, Removal};
use crate::domain::time::Millis;

/// Nobody removes an app, adds it again and signs in in less: an event that is not older than this is of the present link.
const LATE: Duration = Duration::from_secs(5);
/// 2020: a time before it is none, or not in milliseconds.
const FIRST: Millis = Millis(1_577_836_800_000);

/// Whose an event is, by their numbers.
#[derive(Clone, Copy)]
struct Owner {
    account: u32,
    user: u32,
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
    pub(super) fn accept(&mut self, incoming: &mut Incoming) -> Result<Result<Accepted, StoreError>, Fault> {
        let mut identity = Identity { key: take(&mut incoming.identity.key), ..incoming.identity };
        let mut marks = incoming.marks;
        if let Some(before) = self.seen(&identity.id)? {
            if identity.repeats(&before, &incoming.body) {
                bump(&self.shared.stats.duplicates);
                return Ok(Ok(Accepted::Duplicate));
            }
            identity = identity.conflicting();
            if self.seen(&identity.id)?.is_some() {
                bump(&self.shared.stats.duplicates);
                return Ok(Ok(Accepted::Duplicate));
            }
            bump(&self.shared.stats.conflicts);
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
        let owner = match incoming.anomaly {
            None => self.owner(&mut event, &incoming.related)?,
            Some(_) => Owner { account: NO_ACCOUNT, user: NO_USER },
        };
        if let Err(fault) = self.event_key(owner.account) {
            let error = fault.of_one_record()?;
            bump(&self.shared.stats.damaged);
            return Ok(Err(error));
        }
        self.remember(&identity)?;
        bump(&self.shared.stats.accepted);
        if let Some(anomaly) = incoming.anomaly {
            bump(&self.shared.stats.quarantined);
            let seq = self.put_letter(Class::Quarantined, NO_ACCOUNT, NO_USER, &event, anomaly)?;
            return Ok(Ok(Accepted::Quarantined { seq }));
        }
        self.learn(&event, &incoming.related, owner.account)?;
        let placed = self.place(&event, owner)?;
        incoming.identity.key = event.key;
        (incoming.kind, incoming.sub_kind, incoming.body) = (event.kind, event.sub_kind, event.body);
        (incoming.device, incoming.account) = (event.device, event.account);
        Ok(Ok(placed))
    }

    /// Finds the account, by its id or by the device, and its user; an account seen for the first time gets a number.
    fn owner(&mut self, event: &mut Event, related: &[DeviceId]) -> Result<Owner, Fault> {
        let number = match &event.account {
            Some(id) => match self.core.accounts.find(id) {
                Some(number) => number,
                None => self.add_account(id, NO_USER, LinkState::Unclaimed)?,
            },
            None => self.account_of_devices(event.device.iter().chain(related))?,
        };
        if event.account.is_none() {
            event.account = self.read_account(number)?.and_then(|row| row.id);
            let mark = if event.account.is_some() { Mark::AccountByDevice } else { Mark::NoAccount };
            event.marks.insert(mark);
        }
        let slot = self.core.accounts.get(number).copied();
        let happened_at = plausible(event.time, event.received_at);
        let is_late = happened_at.is_some_and(|at| event.received_at.since(at) >= LATE);
        let user = match slot {
            Some(slot) if is_late || matches!(slot.state, LinkState::Removed | LinkState::Unclaimed) => {
                let row = self.read_account(number)?;
                row.map_or(NO_USER, |row| row.owner(&event.kind, happened_at))
            }
            slot => slot.map_or(NO_USER, |slot| slot.user),
        };
        event.user = self.user_name(user);
        Ok(Owner { account: number, user })
    }

    /// Keeps the device map current, and destroys the tokens of an account whose user removed the app.
    fn learn(&mut self, event: &Event, related: &[DeviceId], account: u32) -> Result<(), Fault> {
        if account == NO_ACCOUNT {
            return Ok(());
        }
        let happened_at = plausible(event.time, event.received_at);
        match event.kind.as_str() {
            "app_integration_removed" => {
                return self.unlink(account, happened_at.unwrap_or(event.received_at));
            }
            // One that does not say when it happened may be of a link before.
            "app_integration_added" => {
                happened_at.map_or(Ok(()), |at| self.confirm_claim(account, at))?;
            }
            _ => {}
        }
        let others = related.iter().filter(|device| Some(*device) != event.device.as_ref());
        let mut devices = event.device.iter().chain(others);
        if event.kind == "device_removed" {
            devices.try_for_each(|device| self.forget_device(device, account))
        } else {
            devices.try_for_each(|device| self.note_device(device, account))
        }
    }

    fn place(&mut self, event: &Event, owner: Owner) -> Result<Accepted, Fault> {
        let Destination { queues, hold } = self.destination(event, owner.account);
        if queues.is_empty() && !hold {
            bump(&self.shared.stats.unrouted);
            let seq =
                self.put_letter(Class::Unrouted, owner.account, owner.user, event, "no queue wants it")?;
            return Ok(Accepted::Unrouted { seq });
        }
        let count = queues.len();
        let seq = if queues.is_empty() {
            self.sequence_aside()
        } else {
            let seq = self.append(owner.account, owner.user, event, queues.clone())?;
            self.publish(seq, &queues, event);
            seq
        };
        if !hold {
            return Ok(Accepted::Queued { seq, account: event.account.clone(), queues: count });
        }
        bump(&self.shared.stats.held);
        self.hold(seq, owner.account, event, queues)?;
        Ok(Accepted::Held { seq, queues: count })
    }

    fn destination(&self, event: &Event, account_number: u32) -> Destination {
        let device = event.device.as_ref().map(DeviceId::as_str);
        let account = event.account.as_ref().map(AccountId::as_str);
        let user = event.user.as_ref().map(UserId::as_str);
        let claimable = user.is_none() && account_number != NO_ACCOUNT;
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
    pub(super) fn queues_for(&self, event: &Event, but: &[u16]) -> Vec<u16> {
        let device = event.device.as_ref().map(DeviceId::as_str);
        let account = event.account.as_ref().map(AccountId::as_str);
        let user = event.user.as_ref().map(UserId::as_str);
        let wants = |spec: &super::options::QueueSpec| {
            let open = user.is_some() || spec.unclaimed == Unclaimed::Deliver;
            open && spec.filter.matches(&event.kind, device, account, user)
        };
        self.core.routes.iter().filter(|(n, spec)| !but.contains(n) && wants(spec)).map(|(n, _)| *n).collect()
    }

    pub(super) fn publish(&mut self, seq: u64, queues: &[u16], event: &Event) {
        if !self.shared.feed.is_followed() {
            return;
        }
        let names = self.core.queue_names(queues).collect();
        // A copy of the body: followers may lag, and what they hold must not count as in flight.
        let body = Bytes::copy_from_slice(&event.body);
        self.published.push(Published { seq, queues: names, event: Event { body, ..event.clone() } });
    }

    /// Tells a change of state of an account to the queues that ask for it by name.
    pub(super) fn announce(
        &mut self,
        number: u32,
        state: &str,
        lapses_at: Option<Millis>,
    ) -> Result<(), Fault> {
        let Some(row) = self.read_account(number)? else { return Ok(()) };
        // Nobody knows yet whose it is, so nobody is told.
        let (state_of_link, holder) = (row.state, row.holder());
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

    pub(super) fn put_letter(
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
            let Some(oldest) = self.oldest_held(account)? else { break };
            self.bury_held(oldest, "more held for the account than [held] allows")?;
        }
        while self.core.held_bytes > bounds.total_bytes {
            let Some((&oldest, _)) = self.core.held.first_key_value() else { break };
            self.bury_held(oldest, "more held for all accounts than [held] total_bytes")?;
        }
        Ok(())
    }

    fn oldest_held(&mut self, account: u32) -> Result<Option<u64>, Fault> {
        let scope = u64::from(account);
        let table = self.tables.aside()?;
        let mut range = table.range((HELD, scope, 0, 0)..=(HELD, scope, u64::MAX, u32::MAX))?;
        Ok(range.next().transpose()?.map(|(key, _)| key.value().2))
    }

    /// Moves a held event to the dead letters, also one that queues without an owner had already: its user never had it.
    pub(super) fn bury_held(&mut self, seq: u64, why: &str) -> Result<(), Fault> {
        let Some(event) = self.core.unhold(seq) else { return Ok(()) };
        let Some(aside) = self.take_aside((HELD, u64::from(event.account), seq, 0))? else { return Ok(()) };
        bump(&self.shared.stats.dead);
        self.bury(Class::Dead, 0, &Aside { detail: why.to_owned(), ..aside })
    }

    // ── devices ──

    /// The account of the first device that has one.
    pub(super) fn account_of_devices<'d>(
        &mut self,
        devices: impl Iterator<Item = &'d DeviceId>,
    ) -> Result<u32, Fault> {
        for device in devices {
            let account = self.read_device(&device_key(device))?.unwrap_or(NO_ACCOUNT);
            if self.core.accounts.get(account).is_some_and(|slot| slot.state != LinkState::Forgotten) {
                return Ok(account);
            }
        }
        Ok(NO_ACCOUNT)
    }

    pub(super) fn note_device(&mut self, device: &DeviceId, account: u32) -> Result<(), Fault> {
        let key = device_key(device);
        if self.core.devices.get(fingerprint(&key)) == Some(account) {
            return Ok(());
        }
        if self.read_device(&key)? != Some(account) {
            let mut value = account.to_be_bytes().to_vec();
            stamp("devices", &key, &mut value);
            self.tables.devices()?.insert(&key[..], value.as_slice())?;
        }
        self.core.devices.insert(fingerprint(&key), account);
        Ok(())
    }

    fn forget_device(&mut self, device: &DeviceId, account: u32) -> Result<(), Fault> {
        let key = device_key(device);
        if self.read_device(&key)? == Some(account) {
            self.tables.devices()?.remove(&key[..])?;
        }
        self.core.devices.remove(fingerprint(&key));
        Ok(())
    }

    fn read_device(&mut self, key: &[u8; 16]) -> Result<Option<u32>, Fault> {
        let table = self.tables.devices()?;
        let Some(value) = table.get(&key[..])? else { return Ok(None) };
        // A damaged row is written anew when the device is next heard of with its account.
        let body = stamped("devices", key, value.value()).ok().and_then(|body| body.try_into().ok());
        if body.is_none() {
            bump(&self.shared.stats.damaged);
        }
        Ok(body.map(u32::from_be_bytes))
    }

    /// Destroys tokens and their key, unless the account was linked anew since. The user stays noted: what waits in
    /// queues, and what comes late, is still theirs.
    fn unlink(&mut self, account: u32, happened_at: Millis) -> Result<(), Fault> {
        let Some(row) = self.read_account(account)? else { return Ok(()) };
        let before = self.link_before(account, happened_at)?;
        let change = match Removal::of(happened_at, self.believed(row.linked_at), before) {
            _ if row.state == LinkState::Forgotten => return Ok(()),
            // Ring says it again.
            _ if happened_at <= self.believed(row.removed_at) => return Ok(()),
            Removal::OldNews => return Ok(()),
            Removal::Ends => {
                self.destroy_tokens(account)?;
                Change::AppRemoved
            }
            Removal::EndsBefore => Change::RemovedBefore,
        };
        self.undo_claim(account, change == Change::RemovedBefore)?;
        // A link that nobody had is nobody's to hear of.
        let (user, state) = (row.holder(), row.state.after(change));
        self.set_link(account, &AccountRow { user, state, removed_at: happened_at, former: NO_USER, ..row })
    }
}

/// When something happened, as far as that can be: not after it came, and not before there was Ring's Appstore.
/// Nothing where it does not say.
fn plausible(at: Option<Millis>, received_at: Millis) -> Option<Millis> {
    at.map(|at| at.min(received_at)).filter(|at| *at >= FIRST)
}

fn device_key(device: &DeviceId) -> [u8; 16] {
    let digest = Sha256::digest(device.as_str().as_bytes());
    let mut key = [0; 16];
    key.copy_from_slice(&digest[..16]);
    key
}

/// What stands for a device in memory.
fn fingerprint(key: &[u8; 16]) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&key[..8]);
    u64::from_be_bytes(first)
}
