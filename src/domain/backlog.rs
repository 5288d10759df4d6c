//! What waits in one queue: per-account order, leases with a deadline, and delays after a failure.
//!
//! An account's events form a lane. A lane is in one of three states:
//!
//! ```text
//! free ──take──▶ leased ──settled──▶ free (or gone, when empty)
//!   ▲               ├──failed───▶ delayed ──due──▶ free
//!   └───────────────┴──expired: the caller counts a failed attempt, durably, then says `failed`
//! ```
//!
//! One holder has a lane at a time, and gets its oldest events first: that is the order per account. All of this is under a
//! lock that the writer needs, so a call looks at what it gives and not at what else waits.

mod entry;
mod lane;
mod leases;
mod order;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet};
use std::time::Duration;

use self::lane::{Ends, Hold, Lane};
use self::leases::Leases;
use self::order::{From, Order, Place};
use super::clock_trust::Jump;
use super::looks::visit;
use super::time::Millis;

pub use self::entry::{Entry, Scope};
pub use self::leases::NotHeld;

/// What was leased or delayed between a jump and its notice ends by the new time already; carried along as well it shall
/// not wait for years.
const FARTHEST: Duration = Duration::from_hours(12);

/// What a taker wants.
#[derive(Debug, Clone)]
pub struct Want {
    pub max_events: usize,
    pub max_bytes: u64,
    /// How long the lease lasts.
    pub until: Millis,
    pub scope: Scope,
}

/// A taken event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    pub account: u32,
    pub entry: Entry,
    /// 1 for the first time.
    pub attempt: u32,
}

/// Events taken together, to be settled one by one before the deadline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub id: u64,
    pub events: Vec<Taken>,
}

/// How an event that waits stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Waiting,
    Leased,
    /// Its account waits after a failure.
    Delayed(Millis),
}

/// Events that come without a question for the newest before their order is given up: so many for each lane, which making it anew
/// costs less than keeping it for them would have.
const UNASKED_FOR_EACH: u64 = 4;
const UNASKED_AT_LEAST: u64 = 1000;

/// The waiting events of one queue.
#[derive(Debug, Default)]
pub struct Backlog {
    lanes: HashMap<u32, Lane>,
    /// Free lanes by their oldest events, so that the oldest event of all is taken first.
    free: Order,
    /// All lanes by their newest events: made when these are asked for, and kept until many more have come, because it costs each
    /// event more than anything else here.
    latest: Option<Order>,
    /// Events that came since the newest were asked for.
    unasked: u64,
    delayed: BTreeSet<(Millis, u32)>,
    /// The delayed lanes by their oldest events.
    delayed_by_age: BTreeSet<Place>,
    leases: Leases,
    /// Failed attempts of events that failed at least once.
    failures: HashMap<u64, u32>,
    count: u64,
    bytes: u64,
}

impl Backlog {
    /// An empty backlog whose lease ids lie behind those of earlier runs: a thousand a millisecond, within what a
    /// double holds, since readers may take them for one.
    pub fn opened_at(now: Millis) -> Self {
        Self { leases: Leases::after(now.0.saturating_mul(1000)), ..Self::default() }
    }

    /// Goes on after the lease ids of `before`, so that none of them fits here.
    pub fn succeed(&mut self, before: &Self) {
        self.leases.succeed(&before.leases);
    }

    /// Waiting events, leased ones included.
    pub fn len(&self) -> u64 {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// What the waiting events take in the store.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Events that are leased now.
    pub fn leased(&self) -> usize {
        self.leases.events()
    }

    /// Whether some of the events may be leased.
    pub fn has_free(&self) -> bool {
        self.free.len() > 0
    }

    /// Accounts that wait after a failure.
    pub fn delayed(&self) -> usize {
        self.delayed.len()
    }

    /// Failed attempts of an event so far.
    pub fn failures(&self, seq: u64) -> u32 {
        self.failures.get(&seq).copied().unwrap_or(0)
    }

    /// When the next lease runs out.
    pub fn next_deadline(&self) -> Option<Millis> {
        self.leases.next_deadline()
    }

    /// When the backlog changes by itself: the next deadline or the end of a delay.
    pub fn next_change(&self) -> Option<Millis> {
        let due = self.delayed.first().map(|d| d.0);
        self.next_deadline().into_iter().chain(due).min()
    }

    /// Adds an event behind the others of its account. Sequences come in ascending order per account.
    pub fn push(&mut self, account: u32, entry: Entry) {
        let lane = self.lanes.entry(account).or_insert_with(Lane::new);
        let before = lane.ends(entry.user);
        lane.push(entry);
        let (after, hold) = (lane.ends(entry.user), lane.hold);
        self.shift(account, entry.user, hold, before, after);
        self.count += 1;
        self.bytes += u64::from(entry.bytes);
        self.unasked += 1;
        if self.unasked > UNASKED_FOR_EACH * self.lanes.len() as u64 + UNASKED_AT_LEAST {
            self.latest = None;
        }
    }

    /// Notes what the store remembers of earlier failures; `due` keeps the account waiting until then.
    pub fn remember_failures(&mut self, account: u32, seq: u64, failures: u32, due: Millis) {
        self.failures.insert(seq, failures);
        let span = self.lanes.get(&account).and_then(Lane::span);
        if span.is_some_and(|span| span.first == seq) {
            self.set_hold(account, Hold::Delayed(due));
        }
    }

    /// Leases the oldest events that fit `want`; nothing when none is free. At least one event is taken,
    /// whatever its size.
    pub fn take(&mut self, now: Millis, want: &Want) -> Option<Lease> {
        self.wake(now);
        let mut events = Vec::new();
        let mut room = want.max_bytes;
        let mut lanes = BTreeMap::new();
        for (_, account) in self.places(From::Oldest, &self.free, &want.scope, |lane| lane.hold == Hold::Free)
        {
            if events.len() >= want.max_events || room == 0 {
                break;
            }
            if lanes.contains_key(&account) {
                continue;
            }
            let seqs =
                take_lane(&self.lanes[&account], account, want, &mut room, &mut events, &self.failures);
            if !seqs.is_empty() {
                lanes.insert(account, seqs);
            }
        }
        if events.is_empty() {
            return None;
        }
        let accounts: Vec<u32> = lanes.keys().copied().collect();
        let id = self.leases.grant(want.until, lanes);
        for account in accounts {
            self.set_hold(account, Hold::Leased(id));
        }
        Some(Lease { id, events })
    }

    /// Whether `lease` still holds the event: the fence before an outcome is made durable.
    ///
    /// # Errors
    /// [`NotHeld`] when it does not.
    pub fn check(&self, lease: u64, account: u32, seq: u64) -> Result<(), NotHeld> {
        if self.holder(lease, seq)? == account { Ok(()) } else { Err(NotHeld) }
    }

    /// The account of an event that `lease` holds.
    ///
    /// # Errors
    /// [`NotHeld`] when it holds no such event.
    pub fn holder(&self, lease: u64, seq: u64) -> Result<u32, NotHeld> {
        self.leases.holder(lease, seq)
    }

    /// Takes an event out for good, leased or not.
    pub fn remove(&mut self, account: u32, seq: u64) -> Option<Entry> {
        let lane = self.lanes.get_mut(&account)?;
        let at = lane.position(seq)?;
        let user = lane.entries()[at].user;
        let before = lane.ends(user);
        let entry = lane.remove(at)?;
        let (after, hold) = (lane.ends(user), lane.hold);
        self.shift(account, user, hold, before, after);
        self.count -= 1;
        self.bytes -= u64::from(entry.bytes);
        self.failures.remove(&seq);
        match hold {
            Hold::Leased(id) if self.leases.settled(id, account, seq) => self.set_hold(account, Hold::Free),
            Hold::Free | Hold::Delayed(_) if after.lane.is_none() => self.set_hold(account, Hold::Free),
            _ => {}
        }
        Some(entry)
    }

    /// Counts a failure of a leased event and keeps its account waiting until `due`; what the lease held behind
    /// it in the lane goes back.
    pub fn failed(&mut self, account: u32, seq: u64, failures: u32, due: Millis) {
        if !self.contains(account, seq) {
            return;
        }
        self.failures.insert(seq, failures);
        self.unlease(account);
        self.set_hold(account, Hold::Delayed(due));
    }

    /// Gives what `lease` still holds of an account back, without counting a failure; `due` keeps the account waiting
    /// until then.
    pub fn give_back(&mut self, lease: u64, account: u32, due: Option<Millis>) {
        if self.lanes.get(&account).is_some_and(|lane| lane.hold == Hold::Leased(lease)) {
            self.unlease(account);
            if let Some(due) = due {
                self.set_hold(account, Hold::Delayed(due));
            }
        }
    }

    fn unlease(&mut self, account: u32) {
        let Some(Hold::Leased(id)) = self.lanes.get(&account).map(|lane| lane.hold) else { return };
        self.leases.give_back(id, account);
        self.set_hold(account, Hold::Free);
    }

    /// Whether a lease holds something still.
    pub fn holds(&self, lease: u64) -> bool {
        self.leases.has(lease)
    }

    /// Gives back all that a lease still holds, without counting a failure. Returns whether it held anything.
    pub fn release(&mut self, lease: u64) -> bool {
        let Some(accounts) = self.leases.release(lease) else { return false };
        for account in accounts {
            self.set_hold(account, Hold::Free);
        }
        true
    }

    /// The first unsettled event of each lane whose lease has run out. The lanes stay closed until the caller has
    /// counted the attempt and says [`Backlog::failed`] or [`Backlog::remove`].
    pub fn expired(&mut self, now: Millis) -> Vec<(u32, u64)> {
        self.leases.expired(now)
    }

    /// Moves the deadline of a lease; a lease that has run out can't be extended.
    ///
    /// # Errors
    /// [`NotHeld`] when it holds nothing any more.
    pub fn extend(&mut self, lease: u64, until: Millis) -> Result<(), NotHeld> {
        self.leases.extend(lease, until)
    }

    /// The wall clock was set and shows `now`: leases and delays last as long as was meant before.
    pub fn carry(&mut self, jump: Jump, now: Millis) {
        let carried = |at: Millis| jump.carry(at).min(now.plus(FARTHEST).max(at));
        self.leases.carry(carried);
        self.delayed =
            std::mem::take(&mut self.delayed).into_iter().map(|(at, of)| (carried(at), of)).collect();
        for &(at, account) in &self.delayed {
            if let Some(lane) = self.lanes.get_mut(&account) {
                lane.hold = Hold::Delayed(at);
            }
        }
    }

    /// Waiting events of an account, oldest first.
    pub fn lane(&self, account: u32) -> impl Iterator<Item = &Entry> {
        self.lanes.get(&account).into_iter().flat_map(Lane::entries)
    }

    /// How a waiting event stands; nothing when it does not wait here.
    pub fn standing(&self, account: u32, seq: u64) -> Option<Standing> {
        let lane = self.lanes.get(&account)?;
        lane.position(seq)?;
        Some(match lane.hold {
            Hold::Leased(lease) if self.holder(lease, seq).is_ok() => Standing::Leased,
            // Also behind a leased one of its account.
            Hold::Free | Hold::Leased(_) => Standing::Waiting,
            Hold::Delayed(until) => Standing::Delayed(until),
        })
    }

    /// Whether the event waits here.
    pub fn contains(&self, account: u32, seq: u64) -> bool {
        self.lanes.get(&account).is_some_and(|lane| lane.position(seq).is_some())
    }

    /// Up to `max` of the newest waiting events in `scope`, ascending; fewer when they take more than `max_bytes`, but one.
    pub fn newest(&mut self, max: usize, max_bytes: u64, scope: &Scope) -> Vec<(u32, Entry)> {
        let latest = self.latest.take().unwrap_or_else(|| Order::by_newest(&self.lanes));
        let newest = self.newest_by(&latest, max, max_bytes, scope);
        self.unasked = 0;
        self.latest = Some(latest);
        newest
    }

    fn newest_by(&self, latest: &Order, max: usize, max_bytes: u64, scope: &Scope) -> Vec<(u32, Entry)> {
        let mut lanes = HashSet::new();
        let mut heads: BinaryHeap<Place> = self
            .places(From::Newest, latest, scope, |_| true)
            .filter(|&(_, account)| lanes.insert(account))
            .take(max)
            .collect();
        let (mut newest, mut room) = (Vec::new(), max_bytes);
        while let Some((seq, account)) = heads.pop().filter(|_| newest.len() < max) {
            let lane = &self.lanes[&account];
            let Some(at) = lane.position(seq) else { continue };
            let entry = lane.entries()[at];
            if u64::from(entry.bytes) > room && !newest.is_empty() {
                break;
            }
            room = room.saturating_sub(u64::from(entry.bytes));
            newest.push((account, entry));
            heads.extend(lane.before(seq, scope).map(|older| (older.seq, account)));
        }
        newest.reverse();
        newest
    }

    /// Every waiting event as (account, sequence), in no order.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u64)> {
        self.lanes.iter().flat_map(|(&account, lane)| lane.entries().iter().map(move |e| (account, e.seq)))
    }

    /// Up to `max` of the oldest events that nobody has leased, ascending.
    pub fn oldest(&self, max: usize) -> impl Iterator<Item = (u32, Entry)> {
        let delayed = self.delayed_by_age.iter().inspect(|_| visit()).copied();
        let lanes = self.free.oldest().take(max).chain(delayed.take(max));
        let mut heads: BinaryHeap<_> = lanes.map(|(seq, account)| Reverse((seq, account, 0))).collect();
        let next = move || {
            let Reverse((_, account, at)) = heads.pop()?;
            let entries = self.lanes[&account].entries();
            heads.extend(entries.get(at + 1).map(|e| Reverse((e.seq, account, at + 1))));
            Some((account, entries[at]))
        };
        std::iter::from_fn(next).take(max)
    }

    /// The lanes in `order` that have events in `scope`, by these; a lane may come more than once.
    fn places<'a>(
        &'a self,
        from: From,
        order: &'a Order,
        scope: &'a Scope,
        is_in: impl Fn(&Lane) -> bool + 'a,
    ) -> Box<dyn Iterator<Item = Place> + 'a> {
        let Some(accounts) = &scope.accounts else { return order.walk(from, scope.users.as_ref()) };
        let place = |account: u32| {
            visit();
            let lane = self.lanes.get(&account).filter(|lane| is_in(lane))?;
            let span = lane.span_in(scope)?;
            Some((if from == From::Oldest { span.first } else { span.last }, account))
        };
        // By the few that are meant, because the others may be a million; or the other way round.
        let places: BTreeSet<Place> = if accounts.len() <= order.len() {
            accounts.iter().filter_map(|&account| place(account)).collect()
        } else {
            let known = order.oldest().filter(|&(_, account)| scope.has_account(account));
            known.filter_map(|(_, account)| place(account)).collect()
        };
        match from {
            From::Oldest => Box::new(places.into_iter()),
            From::Newest => Box::new(places.into_iter().rev()),
        }
    }

    fn wake(&mut self, now: Millis) {
        while let Some(&(_, account)) = self.delayed.first().filter(|d| d.0 <= now) {
            visit();
            self.set_hold(account, Hold::Free);
        }
    }

    /// Keeps the orders right when an event of `user` came into a lane or left it.
    fn shift(&mut self, account: u32, user: u32, hold: Hold, before: Ends, after: Ends) {
        let [lane_before, lane_after] = [before.lane, after.lane];
        let [user_before, user_after] = [before.user, after.user];
        if let Some(latest) = &mut self.latest {
            latest.shift(account, lane_before.map(|s| s.last), lane_after.map(|s| s.last));
            latest.shift_user(account, user, user_before.map(|s| s.last), user_after.map(|s| s.last));
        }
        let (first_before, first_after) = (lane_before.map(|s| s.first), lane_after.map(|s| s.first));
        match hold {
            Hold::Free => {
                self.free.shift(account, first_before, first_after);
                self.free.shift_user(
                    account,
                    user,
                    user_before.map(|s| s.first),
                    user_after.map(|s| s.first),
                );
            }
            Hold::Delayed(_) if first_before != first_after => {
                first_before.map(|seq| self.delayed_by_age.remove(&(seq, account)));
                first_after.map(|seq| self.delayed_by_age.insert((seq, account)));
            }
            Hold::Delayed(_) | Hold::Leased(_) => {}
        }
    }

    /// Moves a lane to where `hold` says: among the free, among the delayed, or away when it is empty.
    fn set_hold(&mut self, account: u32, hold: Hold) {
        let Some(lane) = self.lanes.get_mut(&account) else { return };
        let first = lane.span().map(|span| span.first);
        match lane.hold {
            Hold::Free => {
                self.free.shift(account, first, None);
                lane.users().for_each(|(user, s)| self.free.shift_user(account, user, Some(s.first), None));
            }
            Hold::Delayed(due) => {
                self.delayed.remove(&(due, account));
                first.map(|seq| self.delayed_by_age.remove(&(seq, account)));
            }
            Hold::Leased(_) => {}
        }
        lane.hold = hold;
        let Some(first) = first else {
            self.lanes.remove(&account);
            return;
        };
        match hold {
            Hold::Free => {
                self.free.shift(account, None, Some(first));
                lane.users().for_each(|(user, s)| self.free.shift_user(account, user, None, Some(s.first)));
            }
            Hold::Delayed(due) => {
                self.delayed.insert((due, account));
                self.delayed_by_age.insert((first, account));
            }
            Hold::Leased(_) => {}
        }
    }
}

fn take_lane(
    lane: &Lane,
    account: u32,
    want: &Want,
    room: &mut u64,
    events: &mut Vec<Taken>,
    failures: &HashMap<u64, u32>,
) -> BTreeSet<u64> {
    let mut seqs = BTreeSet::new();
    for &entry in lane.in_scope(&want.scope) {
        let fits = u64::from(entry.bytes) <= *room || events.is_empty();
        if events.len() >= want.max_events || !fits {
            break;
        }
        *room = room.saturating_sub(u64::from(entry.bytes));
        let attempt = failures.get(&entry.seq).map_or(1, |f| f + 1);
        events.push(Taken { account, entry, attempt });
        seqs.insert(entry.seq);
    }
    seqs
}
