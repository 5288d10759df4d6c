//! Brings the metrics that others count up to date from the daemon's status, when somebody asks for them.

use std::sync::atomic::Ordering;

use super::Admin;
use crate::clock;
use crate::domain::refresh::{Health, LIFE};
use crate::domain::status::{DeliveryState, ProblemName, Report, Status, StoreCondition};
use crate::store::LinkState;
use crate::telemetry::{Fate, OffQueue, StoreState};

impl Admin {
    pub(super) fn refresh_metrics(&self) {
        let Report { status, problems } = self.report();
        let now = clock::now();
        self.refresh_kept(&status);
        self.metrics.store_is(match status.store.state {
            StoreCondition::Ready => StoreState::Open,
            StoreCondition::LowDisk => StoreState::LowDisk,
            StoreCondition::Failing => StoreState::Failing,
            StoreCondition::Damaged => StoreState::Damaged,
        });
        self.metrics.file_free_bytes.set(signed(status.store.free_bytes));
        let receipts = self.store.stats().receipt_bytes.load(Ordering::Relaxed);
        self.metrics.receipt_bytes.set(signed(receipts));
        for state in LinkState::ALL {
            let count = status.accounts.get(&state).copied();
            self.metrics.accounts(state).set(signed(count.unwrap_or_default()));
        }
        self.metrics.log_lines_lost(status.log_lines_lost);
        for &name in ProblemName::ALL {
            let count = problems.iter().filter(|problem| problem.name == name).count();
            self.metrics.problems(name).set(signed(count as u64));
        }
        self.metrics.started_at.set(signed(status.started_at.0 / 1000));
        self.metrics.store_file.set(signed(status.store.file_bytes));
        self.metrics.store_kept.set(signed(status.store.kept_bytes));
        self.metrics.store_max.set(signed(status.store.max_bytes));
        let intake = &status.intake;
        self.metrics.last_webhook.set(signed(intake.last_webhook.map_or(0, |at| at.0 / 1000)));
        self.metrics.silent_after.set(signed(intake.silent_after_s.unwrap_or_default()));
        self.metrics.silent_accounts.set(signed(intake.silent_accounts));
        let tokens = &status.tokens;
        for state in Health::ALL {
            self.metrics.tokens(state).set(signed(tokens.of(state)));
        }
        let ahead = status.ring_clock.map_or(0, |clock| clock.ahead_ms);
        #[expect(clippy::cast_precision_loss, reason = "a clock is not that wrong")]
        self.metrics.ring_clock_ahead.set(ahead as f64 / 1000.0);
        // Without a link there is nothing to warn of.
        let left = tokens.nearest_lapse.map_or(LIFE, |at| at.since(now)).as_secs();
        self.metrics.nearest_lapse.set(signed(left));
        self.metrics.guarded.set(i64::from(tokens.guarded));
        self.metrics.codes_under_way.set(signed(tokens.codes_under_way));
        self.metrics.unrecorded.set(signed(tokens.unrecorded));
        for queue in &status.queues {
            let counts = queue.since_start;
            let totals = [
                (Fate::Accepted, counts.accepted),
                (Fate::Delivered, counts.delivered),
                (Fate::Failed, counts.failed),
                (Fate::Dead, counts.dead),
            ];
            self.metrics.queue(&queue.name, totals);
            let age = queue.oldest.map(|oldest| now.since(oldest).as_secs());
            let goes_on = [None, Some(DeliveryState::Delivering), Some(DeliveryState::Limited)];
            let is_stalled = !goes_on.contains(&queue.delivery);
            let gauges = self.metrics.queue_gauges(&queue.name);
            gauges.waiting.set(signed(queue.waiting));
            gauges.waiting_bytes.set(signed(queue.waiting_bytes));
            gauges.oldest_age.set(signed(age.unwrap_or_default()));
            gauges.stalled.set(i64::from(is_stalled));
            gauges.delayed_accounts.set(signed(queue.delayed_accounts));
            self.metrics.queue_is(&queue.name, queue.state());
        }
    }

    fn refresh_kept(&self, status: &Status) {
        let kept = [
            (OffQueue::Held, status.kept.held),
            (OffQueue::Dead, status.kept.dead),
            (OffQueue::Unrouted, status.kept.unrouted),
            (OffQueue::Quarantined, status.kept.quarantined),
        ];
        for (kind, count) in kept {
            self.metrics.off_queue(kind).set(signed(count));
        }
        if let Some(certificate) = &status.certificate {
            self.metrics.certificate_end().set(signed(certificate.not_after.0 / 1000));
        }
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
