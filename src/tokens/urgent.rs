//! The accounts whose links need a person first.

use std::collections::BinaryHeap;

use super::service::TokenService;

/// Accounts that are looked at before refreshes may go on.
const STEP: u32 = 4096;

impl TokenService {
    /// The numbers of up to `most` accounts with tokens: those that near their end first, then those that have ended, then the others by
    /// the time that is left. Goes over all accounts, in memory.
    pub fn most_urgent(&self, most: usize) -> Vec<u32> {
        let now = self.moment();
        let mut found = BinaryHeap::new();
        let mut from = 0;
        loop {
            let planner = self.planner();
            let end = planner.numbers().min(from + STEP);
            for number in from..end {
                let Some((health, lapses_at)) = planner.health(number, now).zip(planner.lapses_at(number))
                else {
                    continue;
                };
                found.push((health.urgency(), lapses_at, number));
                if found.len() > most {
                    found.pop();
                }
            }
            if end == planner.numbers() {
                break;
            }
            from = end;
        }
        found.into_sorted_vec().into_iter().map(|(_, _, number)| number).collect()
    }
}
