//! Who may claim an account, and its last claim.

use crate::domain::claim::ANSWERED_FOR;
use crate::domain::confirm::{Progress, Step};
use crate::domain::time::Millis;
use crate::domain::visit::Visit;

/// Who may claim an account.
#[derive(Debug, Clone, Default)]
pub struct Claiming {
    /// Nobody has claimed it since it came, or since Ring gave a code for it last.
    pub open: bool,
    pub last: Option<LastClaim>,
}

/// The last claim of an account.
#[derive(Debug, Clone)]
pub struct LastClaim {
    pub visit: Visit,
    pub user: u32,
    /// Kept until Ring was told to the end.
    pub identifier: Option<String>,
    pub progress: Progress,
    /// By our clock.
    pub claimed_at: Millis,
}

impl Claiming {
    /// Whether a nonce may be for it: it may be claimed, or asked how its claim stands.
    pub fn is_claimable(&self, wall: Millis) -> bool {
        let asked_for = |last: &LastClaim| {
            let is_recent = wall.since(last.claimed_at) <= ANSWERED_FOR;
            is_recent || !matches!(last.progress.step, Step::Done | Step::Undone)
        };
        self.open || self.last.as_ref().is_some_and(asked_for)
    }

    /// A claim that is under way is for the code too, and Ring has taken nothing of that; else the account waits to be claimed.
    pub(super) fn code_came(&mut self) {
        self.open = true;
        if let Some(last) = self.last.as_mut().filter(|last| last.progress.call().is_some()) {
            (last.progress, self.open) = (Progress::NEW, false);
        }
    }

    pub(super) fn claimed(&mut self, visit: Visit, user: u32, identifier: Option<String>, wall: Millis) {
        // Where Ring may have taken a POST of the claim before, it need not be mailed again; what it gave a code for since, it has
        // taken nothing of.
        let progress = match &self.last {
            Some(last) if last.progress.call().is_some() && !self.open => last.progress,
            _ => Progress::NEW,
        };
        self.open = false;
        self.last = Some(LastClaim { visit, user, identifier, progress, claimed_at: wall });
    }

    /// Whether the claim with that nonce was as far as `from`, still.
    pub(super) fn advance(&mut self, nonce: &[u8; 32], from: Progress, to: Progress) -> bool {
        let last = self.last.as_mut().filter(|last| last.visit.nonce() == nonce && last.progress == from);
        let Some(last) = last else { return false };
        last.progress = to;
        last.forget_if_over();
        true
    }

    /// Ring says that the link was completed at `at`; whether that is of the last claim, and news. Ring can't have completed a
    /// claim before it sent its browser, nor `before` the account's last code and removal.
    pub(super) fn completed(&mut self, at: Millis, before: Millis) -> bool {
        let is_of_it = |last: &&mut LastClaim| at > before.max(last.visit.at());
        let Some(last) = self.last.as_mut().filter(is_of_it) else { return false };
        if matches!(last.progress.step, Step::Done | Step::Undone) {
            return false;
        }
        last.progress.step = Step::Done;
        last.forget_if_over();
        true
    }

    /// The operator gave the account to a user. What Ring was told for another is at its end; where Ring gave a code, the account
    /// still waits for a claim.
    pub(super) fn given(&mut self, user: u32, has_code: bool) {
        self.open &= has_code;
        if let Some(last) = self.last.as_mut().filter(|last| last.user != user) {
            // Whoever has it now may go on where Ring was not told to the end.
            self.open |= last.progress.step != Step::Done && has_code;
            last.progress.step = Step::Undone;
            last.forget_if_over();
        }
    }

    /// The user removed the app: what was claimed is at its end. Only what came since `is_open` to be claimed.
    pub(super) fn undo(&mut self, is_open: bool) {
        self.open = is_open;
        if let Some(last) = &mut self.last {
            last.progress.step = Step::Undone;
            last.forget_if_over();
        }
    }
}

impl LastClaim {
    /// What only Ring needs to be told goes with the last step.
    fn forget_if_over(&mut self) {
        if self.progress.call().is_none() {
            self.identifier = None;
        }
    }
}
