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
//! One holder has a lane at a time, and gets its oldest events first: that is the order per account.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet, VecDeque};
use std::time::Duration;

use super::steady::Jump;
use super::time::Millis;

/// What was leased or delayed between a jump and its notice ends by the new time already; carried along as well it shall
/// not wait for years.
const FARTHEST: Duration = Duration::from_hours(12);

/// One waiting event, without its content: 24 bytes, since a long backlog is held in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    pub seq: u64,
    /// When it was accepted, in whole seconds since the epoch.
    pub at: u32,
    /// The user it was accepted for; 0 without one.
    pub user: u32,
    /// What it takes in the store, in bytes.
    pub bytes: u32,
}

/// Whose events are meant, by number; everybody's by default. Both sides must agree.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scope {
    pub users: Option<HashSet<u32>>,
    pub accounts: Option<HashSet<u32>>,
}

impl Scope {
    fn has_account(&self, account: u32) -> bool {
        self.accounts.as_ref().is_none_or(|accounts| accounts.contains(&account))
    }

    fn has_user(&self, user: u32) -> bool {
        self.users.as_ref().is_none_or(|users| users.contains(&user))
    }
}

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

/// The lease has run out, or never held this event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the lease has run out, or it never held this event")]
pub struct NotHeld;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hold {
    Free,
    Leased(u64),
    Delayed(Millis),
}

#[derive(Debug)]
struct Lane {
    entries: VecDeque<Entry>,
    hold: Hold,
}

#[derive(Debug)]
struct Held {
    deadline: Millis,
    /// Account to what is still unsettled, oldest first.
    lanes: BTreeMap<u32, Vec<u64>>,
}

/// The waiting events of one queue.
#[derive(Debug, Default)]
pub struct Backlog {
    lanes: HashMap<u32, Lane>,
    /// Free lanes by their oldest event, so that the oldest event of all is taken first.
    free: BTreeSet<(u64, u32)>,
    delayed: BTreeSet<(Millis, u32)>,
    leases: HashMap<u64, Held>,
    deadlines: BTreeSet<(Millis, u64)>,
    /// Failed attempts of events that failed at least once.
    failures: HashMap<u64, u32>,
    count: u64,
    bytes: u64,
    last_lease: u64,
}

impl Backlog {
    /// An empty backlog whose lease ids lie behind those of earlier runs: a thousand a millisecond, within what a
    /// double holds, since readers may take them for one.
    pub fn opened_at(now: Millis) -> Self {
        Self { last_lease: now.0.saturating_mul(1000), ..Self::default() }
    }

    /// Goes on after the lease ids of `before`, so that none of them fits here.
    pub fn succeed(&mut self, before: &Self) {
        self.last_lease = self.last_lease.max(before.last_lease);
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
        self.leases.values().flat_map(|held| held.lanes.values()).map(Vec::len).sum()
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
        self.deadlines.first().map(|d| d.0)
    }

    /// When the backlog changes by itself: the next deadline or the end of a delay.
    pub fn next_change(&self) -> Option<Millis> {
        let deadline = self.deadlines.first().map(|d| d.0);
        let due = self.delayed.first().map(|d| d.0);
        deadline.into_iter().chain(due).min()
    }

    /// Adds an event behind the others of its account. Sequences come in ascending order per account.
    pub fn push(&mut self, account: u32, entry: Entry) {
        let lane = self
            .lanes
            .entry(account)
            .or_insert_with(|| Lane { entries: VecDeque::with_capacity(1), hold: Hold::Free });
        debug_assert!(lane.entries.back().is_none_or(|last| last.seq < entry.seq), "a lane is in order");
        if lane.entries.is_empty() && lane.hold == Hold::Free {
            self.free.insert((entry.seq, account));
        }
        lane.entries.push_back(entry);
        self.count += 1;
        self.bytes += u64::from(entry.bytes);
    }

    /// Notes what the store remembers of earlier failures; `due` keeps the account waiting until then.
    pub fn remember_failures(&mut self, account: u32, seq: u64, failures: u32, due: Millis) {
        self.failures.insert(seq, failures);
        if self.lanes.get(&account).and_then(|lane| lane.entries.front()).is_some_and(|e| e.seq == seq) {
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
        for account in self.free_in(&want.scope) {
            if events.len() >= want.max_events || room == 0 {
                break;
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
        self.last_lease += 1;
        let id = self.last_lease;
        for &account in lanes.keys() {
            self.set_hold(account, Hold::Leased(id));
        }
        self.deadlines.insert((want.until, id));
        self.leases.insert(id, Held { deadline: want.until, lanes });
        Some(Lease { id, events })
    }

    /// Whether `lease` still holds the event: the fence before an outcome is made durable.
    ///
    /// # Errors
    /// [`NotHeld`] when it does not.
    pub fn check(&self, lease: u64, account: u32, seq: u64) -> Result<(), NotHeld> {
        let held = self.leases.get(&lease).and_then(|held| held.lanes.get(&account));
        if held.is_some_and(|seqs| seqs.contains(&seq)) { Ok(()) } else { Err(NotHeld) }
    }

    /// The account of an event that `lease` holds.
    ///
    /// # Errors
    /// [`NotHeld`] when it holds no such event.
    pub fn holder(&self, lease: u64, seq: u64) -> Result<u32, NotHeld> {
        let held = self.leases.get(&lease).ok_or(NotHeld)?;
        held.lanes.iter().find(|(_, seqs)| seqs.contains(&seq)).map(|(&account, _)| account).ok_or(NotHeld)
    }

    /// Takes an event out for good, leased or not.
    pub fn remove(&mut self, account: u32, seq: u64) -> Option<Entry> {
        let lane = self.lanes.get_mut(&account)?;
        let at = lane.entries.binary_search_by_key(&seq, |e| e.seq).ok()?;
        let was_head = (at == 0).then(|| lane.entries[0].seq);
        let entry = lane.entries.remove(at)?;
        self.count -= 1;
        self.bytes -= u64::from(entry.bytes);
        self.failures.remove(&seq);
        if let Hold::Leased(id) = lane.hold {
            self.unhold(id, account, seq);
        } else if let (Hold::Free, Some(head)) = (lane.hold, was_head) {
            self.free.remove(&(head, account));
            self.settle_lane(account);
        } else {
            self.settle_lane(account);
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

    /// Gives what `lease` still holds of an account back, without counting a failure.
    pub fn give_back(&mut self, lease: u64, account: u32) {
        if self.lanes.get(&account).is_some_and(|lane| lane.hold == Hold::Leased(lease)) {
            self.unlease(account);
        }
    }

    fn unlease(&mut self, account: u32) {
        let Some(Hold::Leased(id)) = self.lanes.get(&account).map(|lane| lane.hold) else { return };
        if let Some(held) = self.leases.get_mut(&id) {
            held.lanes.remove(&account);
        }
        self.drop_empty_lease(id);
        self.set_hold(account, Hold::Free);
    }

    /// Gives back all that a lease still holds, without counting a failure. Returns whether it held anything.
    pub fn release(&mut self, lease: u64) -> bool {
        let Some(held) = self.leases.remove(&lease) else { return false };
        self.deadlines.remove(&(held.deadline, lease));
        for account in held.lanes.into_keys() {
            self.set_hold(account, Hold::Free);
        }
        true
    }

    /// The first unsettled event of each lane whose lease has run out. The lanes stay closed until the caller has
    /// counted the attempt and says [`Backlog::failed`] or [`Backlog::remove`].
    pub fn expired(&mut self, now: Millis) -> Vec<(u32, u64)> {
        let mut out = Vec::new();
        while let Some(&(deadline, id)) = self.deadlines.first().filter(|d| d.0 <= now) {
            self.deadlines.remove(&(deadline, id));
            if let Some(held) = self.leases.get(&id) {
                out.extend(held.lanes.iter().filter_map(|(&a, seqs)| seqs.first().map(|&s| (a, s))));
            }
        }
        out
    }

    /// Moves the deadline of a lease; a lease that has run out can't be extended.
    ///
    /// # Errors
    /// [`NotHeld`] when it holds nothing any more.
    pub fn extend(&mut self, lease: u64, until: Millis) -> Result<(), NotHeld> {
        let held = self.leases.get_mut(&lease).ok_or(NotHeld)?;
        if !self.deadlines.remove(&(held.deadline, lease)) {
            return Err(NotHeld);
        }
        held.deadline = until;
        self.deadlines.insert((until, lease));
        Ok(())
    }

    /// The wall clock was set and shows `now`: leases and delays last as long as was meant before.
    pub fn carry(&mut self, jump: Jump, now: Millis) {
        let carried = |at: Millis| jump.carry(at).min(now.plus(FARTHEST).max(at));
        self.deadlines =
            std::mem::take(&mut self.deadlines).into_iter().map(|(at, id)| (carried(at), id)).collect();
        for &(at, id) in &self.deadlines {
            if let Some(held) = self.leases.get_mut(&id) {
                held.deadline = at;
            }
        }
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
        self.lanes.get(&account).into_iter().flat_map(|lane| lane.entries.iter())
    }

    /// Whether the event waits here.
    pub fn contains(&self, account: u32, seq: u64) -> bool {
        self.lanes.get(&account).is_some_and(|l| l.entries.binary_search_by_key(&seq, |e| e.seq).is_ok())
    }

    /// Up to `max` of the newest waiting events in `scope`, ascending.
    pub fn newest(&self, max: usize, scope: &Scope) -> Vec<(u32, Entry)> {
        let mut newest = BTreeMap::new();
        for (&account, lane) in self.lanes.iter().filter(|(account, _)| scope.has_account(**account)) {
            let wanted = lane.entries.iter().rev().filter(|e| scope.has_user(e.user));
            for entry in wanted.take(max) {
                newest.insert(entry.seq, (account, *entry));
                if newest.len() > max {
                    newest.pop_first();
                }
            }
        }
        newest.into_values().collect()
    }

    /// Every waiting event as (account, sequence), in no order.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u64)> {
        self.lanes.iter().flat_map(|(&account, lane)| lane.entries.iter().map(move |e| (account, e.seq)))
    }

    /// Up to `max` of the oldest events that nobody has leased, ascending.
    pub fn oldest(&self, max: usize) -> impl Iterator<Item = (u32, Entry)> {
        let free = self.free.iter().take(max).map(|&(_, account)| account);
        let delayed = self.delayed.iter().map(|&(_, account)| account);
        let head = |account: u32| self.lanes[&account].entries.front().map(|e| Reverse((e.seq, account, 0)));
        let mut heads: BinaryHeap<_> = free.chain(delayed).filter_map(head).collect();
        let next = move || {
            let Reverse((_, account, at)) = heads.pop()?;
            let entries = &self.lanes[&account].entries;
            heads.extend(entries.get(at + 1).map(|e| Reverse((e.seq, account, at + 1))));
            Some((account, entries[at]))
        };
        std::iter::from_fn(next).take(max)
    }

    /// Accounts whose lanes are free, the one with the oldest event first.
    fn free_in(&self, scope: &Scope) -> Box<dyn Iterator<Item = u32> + '_> {
        let Some(accounts) = &scope.accounts else {
            return Box::new(self.free.iter().map(|&(_, account)| account));
        };
        // By the few that are meant, since the free ones may be a million.
        let head = |&account: &u32| {
            let lane = self.lanes.get(&account).filter(|lane| lane.hold == Hold::Free)?;
            Some((lane.entries.front()?.seq, account))
        };
        let heads: BTreeSet<_> = accounts.iter().filter_map(head).collect();
        Box::new(heads.into_iter().map(|(_, account)| account))
    }

    fn wake(&mut self, now: Millis) {
        while let Some(&(due, account)) = self.delayed.first().filter(|d| d.0 <= now) {
            self.delayed.remove(&(due, account));
            self.set_hold(account, Hold::Free);
        }
    }

    fn unhold(&mut self, lease: u64, account: u32, seq: u64) {
        let Some(held) = self.leases.get_mut(&lease) else { return };
        // Nobody would free the rest of a lane whose lease has run out: its deadline is past and forgotten.
        let run_out = !self.deadlines.contains(&(held.deadline, lease));
        if let Some(seqs) = held.lanes.get_mut(&account) {
            seqs.retain(|&s| s != seq);
            if seqs.is_empty() || run_out {
                held.lanes.remove(&account);
                self.drop_empty_lease(lease);
                self.set_hold(account, Hold::Free);
            }
        }
    }

    fn drop_empty_lease(&mut self, lease: u64) {
        if self.leases.get(&lease).is_some_and(|held| held.lanes.is_empty())
            && let Some(held) = self.leases.remove(&lease)
        {
            self.deadlines.remove(&(held.deadline, lease));
        }
    }

    fn set_hold(&mut self, account: u32, hold: Hold) {
        let Some(lane) = self.lanes.get_mut(&account) else { return };
        let head = lane.entries.front().map(|e| e.seq);
        match lane.hold {
            Hold::Free => {
                head.map(|seq| self.free.remove(&(seq, account)));
            }
            Hold::Delayed(due) => {
                self.delayed.remove(&(due, account));
            }
            Hold::Leased(_) => {}
        }
        lane.hold = hold;
        self.settle_lane(account);
    }

    /// Puts a lane where its hold and content say: among the free, among the delayed, or away when empty.
    fn settle_lane(&mut self, account: u32) {
        let Some(lane) = self.lanes.get(&account) else { return };
        match (lane.hold, lane.entries.front()) {
            (Hold::Leased(_), _) => {}
            (Hold::Free, Some(head)) => {
                self.free.insert((head.seq, account));
            }
            (Hold::Delayed(due), Some(_)) => {
                self.delayed.insert((due, account));
            }
            (Hold::Free | Hold::Delayed(_), None) => {
                if let Hold::Delayed(due) = lane.hold {
                    self.delayed.remove(&(due, account));
                }
                self.lanes.remove(&account);
            }
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
) -> Vec<u64> {
    let mut seqs = Vec::new();
    for &entry in lane.entries.iter().filter(|e| want.scope.has_user(e.user)) {
        let fits = u64::from(entry.bytes) <= *room || events.is_empty();
        if events.len() >= want.max_events || !fits {
            break;
        }
        *room = room.saturating_sub(u64::from(entry.bytes));
        let attempt = failures.get(&entry.seq).map_or(1, |f| f + 1);
        events.push(Taken { account, entry, attempt });
        seqs.push(entry.seq);
    }
    seqs
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(seq: u64) -> Entry {
        Entry { seq, at: 0, user: 1, bytes: 100 }
    }

    fn want(max_events: usize, until: u64) -> Want {
        Want { max_events, max_bytes: u64::MAX, until: Millis(until), scope: Scope::default() }
    }

    fn seqs(lease: &Lease) -> Vec<u64> {
        lease.events.iter().map(|t| t.entry.seq).collect()
    }

    fn filled(events: &[(u32, u64)]) -> Backlog {
        let mut backlog = Backlog::default();
        for &(account, seq) in events {
            backlog.push(account, entry(seq));
        }
        backlog
    }

    #[test]
    fn a_lane_is_free_again_when_the_first_event_of_its_expired_lease_is_buried() {
        let mut backlog = filled(&[(1, 1), (1, 2)]);
        backlog.take(Millis(0), &want(9, 10)).unwrap();
        assert_eq!(backlog.expired(Millis(10)), [(1, 1)]);
        backlog.remove(1, 1);
        assert_eq!(seqs(&backlog.take(Millis(11), &want(9, 20)).unwrap()), [2]);
    }

    #[test]
    fn one_holder_has_an_account_and_others_go_on() {
        let mut backlog = filled(&[(1, 1), (2, 2), (1, 3)]);
        let first = backlog.take(Millis(0), &want(1, 10)).unwrap();
        assert_eq!(seqs(&first), [1]);
        let second = backlog.take(Millis(0), &want(9, 10)).unwrap();
        assert_eq!(seqs(&second), [2], "account 1 is held");
        assert!(backlog.take(Millis(0), &want(9, 10)).is_none());
        backlog.remove(1, 1);
        assert_eq!(seqs(&backlog.take(Millis(0), &want(9, 10)).unwrap()), [3]);
    }

    #[test]
    fn a_failure_keeps_the_account_waiting_and_the_order() {
        let mut backlog = filled(&[(1, 1), (1, 2), (1, 3)]);
        let lease = backlog.take(Millis(0), &want(3, 10)).unwrap();
        backlog.remove(1, 1);
        backlog.failed(1, 2, 1, Millis(50));
        assert_eq!(backlog.check(lease.id, 1, 3), Err(NotHeld), "went back with the failure");
        assert!(backlog.take(Millis(49), &want(3, 60)).is_none());
        assert_eq!(backlog.next_change(), Some(Millis(50)));
        let again = backlog.take(Millis(50), &want(3, 60)).unwrap();
        assert_eq!(
            again.events.iter().map(|t| (t.entry.seq, t.attempt)).collect::<Vec<_>>(),
            [(2, 2), (3, 1)]
        );
    }

    #[test]
    fn an_expired_lease_frees_nothing_before_the_attempt_is_counted() {
        let mut backlog = filled(&[(1, 1), (1, 2)]);
        let lease = backlog.take(Millis(0), &want(2, 10)).unwrap();
        assert!(backlog.expired(Millis(9)).is_empty());
        assert_eq!(backlog.expired(Millis(10)), [(1, 1)]);
        assert!(backlog.take(Millis(10), &want(2, 20)).is_none(), "not yet counted");
        assert_eq!(backlog.extend(lease.id, Millis(99)), Err(NotHeld), "too late");
        backlog.failed(1, 1, 1, Millis(10));
        assert_eq!(backlog.check(lease.id, 1, 1), Err(NotHeld));
        assert_eq!(seqs(&backlog.take(Millis(10), &want(2, 20)).unwrap()), [1, 2]);
    }

    #[test]
    fn leases_and_delays_go_along_with_a_clock_that_is_set() {
        let by = |ms| Duration::from_millis(ms);
        for (jump, now) in [(Jump::Ahead(by(500)), 505), (Jump::Back(by(500)), 5)] {
            let start = if now == 5 { 500 } else { 0 };
            let mut backlog = filled(&[(1, 1), (2, 2), (3, 3)]);
            let lease = backlog.take(Millis(start), &want(1, start + 10)).unwrap();
            let ended = backlog.take(Millis(start), &want(1, start + 1)).unwrap();
            backlog.failed(3, 3, 1, Millis(start + 20));
            assert_eq!(backlog.expired(Millis(start + 5)), [(2, 2)]);

            backlog.carry(jump, Millis(now));
            assert_eq!(backlog.next_deadline(), Some(Millis(now + 5)));
            assert!(backlog.expired(Millis(now + 4)).is_empty());
            assert!(backlog.take(Millis(now + 14), &want(9, 900)).is_none());
            assert_eq!(seqs(&backlog.take(Millis(now + 15), &want(9, 900)).unwrap()), [3]);
            assert_eq!(backlog.extend(ended.id, Millis(900)), Err(NotHeld), "over is over");
            assert_eq!(backlog.expired(Millis(now + 5)), [(1, 1)]);
            assert_eq!(backlog.check(lease.id, 1, 1), Ok(()));
        }
    }

    #[test]
    fn nothing_is_carried_farther_than_a_lease_may_last() {
        let mut backlog = filled(&[(1, 1)]);
        let year = Duration::from_hours(24 * 365);
        let now = Millis(0).plus(year);
        // Taken after the jump and before it was noticed.
        backlog.take(now, &want(1, now.0 + 10)).unwrap();
        backlog.carry(Jump::Ahead(year), now);
        assert_eq!(backlog.next_deadline(), Some(now.plus(FARTHEST)));
    }

    #[test]
    fn a_user_sees_only_their_events() {
        let mut backlog = Backlog::default();
        for (account, seq, user) in [(1, 1, 7), (2, 2, 8), (1, 3, 8)] {
            backlog.push(account, Entry { user, ..entry(seq) });
        }
        let of = |user| Scope { users: Some([user].into()), accounts: None };
        let only = |user| Want { scope: of(user), ..want(9, 10) };
        let eight = backlog.take(Millis(0), &only(8)).unwrap();
        assert_eq!(seqs(&eight), [3, 2], "account 1 was 7's before; oldest account first");
        assert!(backlog.take(Millis(0), &only(7)).is_none(), "account 1 has a holder");
        assert_eq!(backlog.newest(9, &of(7)).iter().map(|e| e.1.seq).collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn accounts_in_scope_go_oldest_first() {
        let mut backlog = filled(&[(1, 1), (2, 2), (3, 3), (2, 4)]);
        let scope =
            |accounts: &[u32]| Scope { users: None, accounts: Some(accounts.iter().copied().collect()) };
        let only = |accounts| Want { scope: scope(accounts), ..want(9, 10) };
        assert_eq!(backlog.newest(2, &scope(&[1, 2])).iter().map(|e| e.1.seq).collect::<Vec<_>>(), [2, 4]);
        assert!(backlog.take(Millis(0), &only(&[9])).is_none());
        assert_eq!(seqs(&backlog.take(Millis(0), &only(&[3, 2])).unwrap()), [2, 4, 3]);
        assert!(backlog.take(Millis(0), &only(&[2])).is_none(), "it has a holder");
        assert_eq!(seqs(&backlog.take(Millis(0), &want(9, 10)).unwrap()), [1]);
    }

    #[test]
    fn a_released_lease_is_free_at_once_and_holds_nothing() {
        let mut backlog = filled(&[(1, 1), (2, 2)]);
        let first = backlog.take(Millis(0), &want(9, 10)).unwrap();
        assert!(backlog.release(first.id));
        assert!(!backlog.release(first.id));
        assert_eq!((backlog.leased(), backlog.next_deadline()), (0, None));
        let again = backlog.take(Millis(0), &want(9, 10)).unwrap();
        assert_eq!(again.events, first.events, "no attempt was counted");
        assert!(!backlog.release(first.id), "the second holder keeps them");
    }

    #[test]
    fn bytes_bound_a_lease_but_one_event_always_goes() {
        let mut backlog = filled(&[(1, 1), (1, 2), (1, 3)]);
        let small = Want { max_bytes: 10, ..want(9, 10) };
        assert_eq!(seqs(&backlog.take(Millis(0), &small).unwrap()), [1]);
        backlog.remove(1, 1);
        let two = Want { max_bytes: 200, ..want(9, 10) };
        assert_eq!(seqs(&backlog.take(Millis(0), &two).unwrap()), [2, 3]);
    }

    #[test]
    fn the_oldest_unleased_are_found_across_accounts() {
        let mut backlog = filled(&[(1, 1), (2, 2), (1, 3), (3, 4), (2, 5)]);
        let seqs = |b: &Backlog, max| b.oldest(max).map(|(_, e)| e.seq).collect::<Vec<_>>();
        assert_eq!(seqs(&backlog, 9), [1, 2, 3, 4, 5]);
        backlog.take(Millis(0), &want(1, 10)).unwrap();
        backlog.take(Millis(0), &want(1, 10)).unwrap();
        backlog.failed(2, 2, 1, Millis(99));
        assert_eq!(seqs(&backlog, 2), [2, 4], "account 1 is leased, account 2 only delayed");
    }

    #[test]
    fn lease_ids_of_an_earlier_run_fit_nothing() {
        let mut before = filled(&[(1, 1)]);
        let old = before.take(Millis(0), &want(1, 10)).unwrap();
        let mut reopened = Backlog::default();
        reopened.succeed(&before);
        for mut after in [reopened, Backlog::opened_at(Millis(1))] {
            after.push(1, entry(1));
            after.take(Millis(0), &want(1, 10)).unwrap();
            assert_eq!(after.check(old.id, 1, 1), Err(NotHeld));
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Push(u32),
        Take(usize),
        Done(usize),
        Fail(usize),
        Pass(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..4u32).prop_map(Step::Push),
            (1..5usize).prop_map(Step::Take),
            (0..9usize).prop_map(Step::Done),
            (0..9usize).prop_map(Step::Fail),
            (1..30u64).prop_map(Step::Pass),
        ]
    }

    proptest! {
        /// Whatever happens, an account's events leave in order, one holder at a time, and none is lost.
        #[test]
        fn order_per_account_holds(steps in prop::collection::vec(step(), 1..200)) {
            let mut backlog = Backlog::default();
            let (mut now, mut seq) = (0u64, 0u64);
            let mut open: Vec<(u64, Taken)> = Vec::new();
            let mut left: HashMap<u32, u64> = HashMap::new();
            let mut waiting: BTreeSet<u64> = BTreeSet::new();
            for step in steps {
                match step {
                    Step::Push(account) => {
                        seq += 1;
                        backlog.push(account, entry(seq));
                        waiting.insert(seq);
                    }
                    Step::Take(max) => {
                        if let Some(lease) = backlog.take(Millis(now), &want(max, now + 20)) {
                            for taken in lease.events {
                                let other = open.iter().any(|(id, t)| *id != lease.id
                                    && t.account == taken.account && backlog.check(*id, t.account, t.entry.seq).is_ok());
                                prop_assert!(!other, "two holders of account {}", taken.account);
                                open.push((lease.id, taken));
                            }
                        }
                    }
                    Step::Done(i) if i < open.len() => {
                        // A careful consumer settles in order: the first open event of the account.
                        let (lease, _) = open[i];
                        let account = open[i].1.account;
                        let first = open.iter().position(|(l, t)| *l == lease && t.account == account).unwrap();
                        let (lease, taken) = open.remove(first);
                        if backlog.check(lease, account, taken.entry.seq).is_ok() {
                            backlog.remove(account, taken.entry.seq);
                            waiting.remove(&taken.entry.seq);
                            let last = left.entry(account).or_default();
                            prop_assert!(*last < taken.entry.seq, "out of order");
                            *last = taken.entry.seq;
                        }
                    }
                    Step::Fail(i) if i < open.len() => {
                        let (lease, taken) = open.remove(i);
                        let account = taken.account;
                        if backlog.check(lease, account, taken.entry.seq).is_ok() {
                            backlog.failed(account, taken.entry.seq, taken.attempt, Millis(now + 5));
                        }
                    }
                    Step::Pass(ms) => {
                        now += ms;
                        for (account, seq) in backlog.expired(Millis(now)) {
                            let failures = backlog.failures(seq) + 1;
                            backlog.failed(account, seq, failures, Millis(now));
                        }
                    }
                    Step::Done(_) | Step::Fail(_) => {}
                }
                prop_assert_eq!(backlog.len(), waiting.len() as u64);
                prop_assert_eq!(backlog.bytes(), waiting.len() as u64 * 100);
            }
            // Everything that is left can still be taken once all leases are over.
            now += 1_000;
            for (account, seq) in backlog.expired(Millis(now)) {
                backlog.failed(account, seq, 1, Millis(now));
            }
            let mut rest = BTreeSet::new();
            while let Some(lease) = backlog.take(Millis(now), &want(100, now + 1)) {
                rest.extend(lease.events.iter().map(|t| t.entry.seq));
                for taken in lease.events {
                    backlog.remove(taken.account, taken.entry.seq);
                }
            }
            prop_assert_eq!(rest, waiting);
            prop_assert!(backlog.is_empty() && backlog.lanes.is_empty() && backlog.leases.is_empty());
            prop_assert!(backlog.free.is_empty() && backlog.delayed.is_empty() && backlog.deadlines.is_empty());
        }
    }
}
