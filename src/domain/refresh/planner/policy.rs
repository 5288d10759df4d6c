//! Another policy, or another client, while the schedule runs. What is in flight, in doubt or paused stays so.

use std::ops::Range;

use super::due::{due, latest};
use super::{BURST, Planner};
use crate::domain::refresh::entry::{Place, seconds};
use crate::domain::refresh::{Moment, Notice, Policy};

impl Planner {
    /// Goes by this policy from now on. Returns whether accounts have to be [paced anew](Self::pace_anew).
    pub fn set_policy(&mut self, policy: Policy, now: Moment) -> bool {
        let has_other_pace = policy.pace != self.policy.pace;
        let lapsing_below = policy.warnings.0[0];
        if lapsing_below != self.policy.warnings.0[0] {
            self.queue.lapsing_below(lapsing_below);
        }
        self.bucket.set_rate(policy.per_second, BURST.min(policy.per_second), now.ticks);
        self.policy = policy;
        has_other_pace
    }

    /// We are another client at OAuth: nothing waits any longer because it refused the one before. The next request is a probe.
    pub fn client_changed(&mut self, now: Moment) {
        let wall = seconds(now.wall);
        for account in self.client_pause.lift().into_iter().flatten() {
            if self
                .queue
                .get(account)
                .is_some_and(|entry| entry.place == Place::Waiting && entry.end.is_none())
            {
                self.queue.change(account, wall, |entry| entry.due = wall);
            }
        }
    }

    /// Has those of these accounts that wait for their time, and that nothing speaks against, come due by the pace that holds now. `random` is
    /// uniform over all of `u64`.
    pub fn pace_anew(&mut self, accounts: Range<u32>, now: Moment, mut random: impl FnMut() -> u64) {
        self.read_clocks(now);
        let (wall, pace) = (seconds(now.wall), self.policy.pace);
        for account in accounts {
            let Some(entry) = self.queue.get(account) else { continue };
            if entry.place != Place::Waiting || entry.end.is_some() || !entry.is_clean() || entry.kept {
                continue;
            }
            let ticks = u32::try_from(now.ticks.as_secs()).unwrap_or(u32::MAX);
            let expires_at = wall.saturating_add(entry.dead_at.saturating_sub(ticks));
            let (renewed_at, told, random) = (entry.renewed_at, entry.told, random());
            self.queue.change(account, wall, |entry| {
                let latest = latest(pace, renewed_at, expires_at);
                // It has an hour from now on, unless people know already that it is late.
                entry.latest = if told == Notice::Fresh.to_u8() { latest.max(wall) } else { latest };
                entry.due = due(pace, renewed_at, expires_at, wall, random);
            });
        }
    }
}
