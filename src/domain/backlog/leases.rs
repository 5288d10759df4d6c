//! Who holds which events until when.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::domain::looks::visit;
use crate::domain::time::Millis;

/// The lease has run out, or never held this event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the lease has run out, or it never held this event")]
pub struct NotHeld;

#[derive(Debug)]
struct Held {
    deadline: Millis,
    /// Account to what is still unsettled.
    lanes: BTreeMap<u32, BTreeSet<u64>>,
    /// The same by event.
    account_of: HashMap<u64, u32>,
}

/// Leases by their ids.
#[derive(Debug, Default)]
pub(super) struct Leases {
    held: HashMap<u64, Held>,
    /// Of leases that have not run out.
    deadlines: BTreeSet<(Millis, u64)>,
    last: u64,
}

impl Leases {
    pub(super) fn after(last: u64) -> Self {
        Self { last, ..Self::default() }
    }

    /// Goes on after the ids of `before`.
    pub(super) fn succeed(&mut self, before: &Self) {
        self.last = self.last.max(before.last);
    }

    /// Events that are leased now.
    pub(super) fn events(&self) -> usize {
        self.held.values().map(|held| held.account_of.len()).sum()
    }

    pub(super) fn next_deadline(&self) -> Option<Millis> {
        self.deadlines.first().map(|deadline| deadline.0)
    }

    /// The id of a new lease of these lanes.
    pub(super) fn grant(&mut self, deadline: Millis, lanes: BTreeMap<u32, BTreeSet<u64>>) -> u64 {
        self.last += 1;
        let of = |(&account, seqs): (&u32, &BTreeSet<u64>)| {
            seqs.iter().map(move |&seq| (seq, account)).collect::<Vec<_>>()
        };
        let account_of = lanes.iter().flat_map(of).collect();
        self.deadlines.insert((deadline, self.last));
        self.held.insert(self.last, Held { deadline, lanes, account_of });
        self.last
    }

    /// The account of an event that `lease` holds.
    pub(super) fn holder(&self, lease: u64, seq: u64) -> Result<u32, NotHeld> {
        visit();
        self.held.get(&lease).and_then(|held| held.account_of.get(&seq)).copied().ok_or(NotHeld)
    }

    /// Takes an event out that is gone. Whether its lane is nobody's now: nobody would free the rest of a lane whose lease
    /// has run out, because its deadline is past and forgotten.
    pub(super) fn settled(&mut self, lease: u64, account: u32, seq: u64) -> bool {
        visit();
        let Some(held) = self.held.get_mut(&lease) else { return false };
        let run_out = !self.deadlines.contains(&(held.deadline, lease));
        let Some(seqs) = held.lanes.get_mut(&account) else { return false };
        seqs.remove(&seq);
        held.account_of.remove(&seq);
        let over = seqs.is_empty() || run_out;
        if over {
            self.give_back(lease, account);
        }
        over
    }

    /// Takes an account out of a lease.
    pub(super) fn give_back(&mut self, lease: u64, account: u32) {
        let Some(held) = self.held.get_mut(&lease) else { return };
        for seq in held.lanes.remove(&account).into_iter().flatten() {
            visit();
            held.account_of.remove(&seq);
        }
        if held.lanes.is_empty() {
            self.release(lease);
        }
    }

    pub(super) fn has(&self, lease: u64) -> bool {
        self.held.contains_key(&lease)
    }

    /// Ends a lease. The accounts that it held; nothing when there is no such lease.
    pub(super) fn release(&mut self, lease: u64) -> Option<impl Iterator<Item = u32> + use<>> {
        let held = self.held.remove(&lease)?;
        self.deadlines.remove(&(held.deadline, lease));
        Some(held.lanes.into_keys())
    }

    /// The first unsettled event of each lane whose lease has run out by `now`, once.
    pub(super) fn expired(&mut self, now: Millis) -> Vec<(u32, u64)> {
        let mut out = Vec::new();
        while let Some(&(deadline, id)) = self.deadlines.first().filter(|deadline| deadline.0 <= now) {
            self.deadlines.remove(&(deadline, id));
            if let Some(held) = self.held.get(&id) {
                out.extend(held.lanes.iter().filter_map(|(&account, seqs)| Some((account, *seqs.first()?))));
            }
        }
        out
    }

    /// Moves the deadline of a lease that has not run out.
    pub(super) fn extend(&mut self, lease: u64, until: Millis) -> Result<(), NotHeld> {
        let held = self.held.get_mut(&lease).ok_or(NotHeld)?;
        if !self.deadlines.remove(&(held.deadline, lease)) {
            return Err(NotHeld);
        }
        held.deadline = until;
        self.deadlines.insert((until, lease));
        Ok(())
    }

    /// Moves all deadlines.
    pub(super) fn carry(&mut self, carried: impl Fn(Millis) -> Millis) {
        let deadlines = std::mem::take(&mut self.deadlines);
        self.deadlines = deadlines.into_iter().map(|(at, id)| (carried(at), id)).collect();
        for &(at, id) in &self.deadlines {
            if let Some(held) = self.held.get_mut(&id) {
                held.deadline = at;
            }
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty() && self.deadlines.is_empty()
    }
}
