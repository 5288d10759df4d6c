//! Which accounts are looked at for something to tell: those that changed at once, and all others in turn, since some of it comes
//! with time alone. What one look costs does not grow with the number of accounts.

use std::collections::{BTreeMap, BTreeSet};

use super::notice::Notice;

/// So many slices are a round over all accounts.
pub const SLICES: u32 = 80;

/// What was looked at, and what comes next.
#[derive(Debug, Default)]
pub struct Rounds {
    changed: BTreeSet<u32>,
    /// Where the next slice begins.
    next: u32,
    /// So many slices are due at once.
    due: u32,
}

impl Rounds {
    /// Something about this account changed: at most all accounts wait here.
    pub fn changed(&mut self, account: u32) {
        self.changed.insert(account);
    }

    /// A slice is due.
    pub fn tick(&mut self) {
        self.due = self.due.max(1);
    }

    /// All accounts are due at once, e.g. because a clock was set.
    pub fn all(&mut self) {
        self.due = SLICES + 1;
    }

    /// Looks at what is due, until `most` have news: `accounts` is one more than the highest number, `news` tells what there is to
    /// tell of one. Nothing when nothing is due any more.
    pub fn look(
        &mut self,
        accounts: u32,
        most: usize,
        mut news: impl FnMut(u32) -> Option<Notice>,
    ) -> Vec<(u32, Notice)> {
        // By account: one that changed may be in the slice too.
        let mut found = BTreeMap::new();
        while found.len() < most
            && let Some(account) = self.changed.pop_first()
        {
            found.extend(news(account).map(|notice| (account, notice)));
        }
        while found.len() < most && self.due > 0 {
            self.due -= 1;
            let end = self.next.saturating_add(accounts.div_ceil(SLICES)).min(accounts);
            for account in self.next..end {
                found.extend(news(account).map(|notice| (account, notice)));
            }
            self.next = if end >= accounts { 0 } else { end };
        }
        found.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLION: u32 = 1_000_000;

    #[test]
    fn a_refresh_that_lands_among_a_million_costs_one_look() {
        let mut rounds = Rounds::default();
        for account in [7, 999_999, 7] {
            rounds.changed(account);
        }
        let mut looked = Vec::new();
        let found = rounds.look(MILLION, 256, |account| {
            looked.push(account);
            Some(Notice::Fresh)
        });
        assert_eq!(looked, [7, 999_999]);
        assert_eq!(found, [(7, Notice::Fresh), (999_999, Notice::Fresh)]);
        assert!(rounds.look(MILLION, 256, |_| panic!("nothing is due")).is_empty());
    }

    #[test]
    fn a_round_looks_at_everybody_once_in_slices_of_the_same_size() {
        for accounts in [0, 1, 3, 80, 81, 12_345, MILLION] {
            let mut rounds = Rounds::default();
            let mut seen = vec![0_u8; accounts as usize];
            for _ in 0..SLICES {
                rounds.tick();
                let mut looks = 0;
                rounds.look(accounts, 256, |account| {
                    seen[account as usize] += 1;
                    looks += 1;
                    None
                });
                assert!(looks <= accounts.div_ceil(SLICES), "{looks} of {accounts}");
            }
            assert!(seen.iter().all(|times| *times >= 1), "{accounts}");
        }
    }

    #[test]
    fn after_a_clock_was_set_all_are_looked_at_as_fast_as_they_can_be_told() {
        let mut rounds = Rounds::default();
        rounds.tick();
        rounds.look(1000, 256, |_| None);
        rounds.all();
        let mut told = BTreeSet::new();
        loop {
            let found = rounds.look(1000, 256, |account| (!told.contains(&account)).then_some(Notice::Late));
            if found.is_empty() {
                break;
            }
            assert!(found.len() < 256 + 1000 / 80 + 1);
            told.extend(found.into_iter().map(|(account, _)| account));
        }
        assert_eq!(told.len(), 1000);
    }
}
