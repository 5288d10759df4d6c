//! Brings the metrics that the store counts itself up to date, when somebody asks for them.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Admin;
use crate::domain::refresh::{Health, LIFE};
use crate::store::{Health as StoreHealth, LinkState};
use crate::telemetry::{Aside, Fate, StoreState};
use crate::{clock, logging};

impl Admin {
    pub(super) fn refresh_metrics(&self) {
        let stats = self.store.stats();
        let gauges = [
            (Aside::Held, &stats.held_events),
            (Aside::Dead, &stats.dead_events),
            (Aside::Unrouted, &stats.unrouted_events),
            (Aside::Quarantined, &stats.quarantined_events),
        ];
        for (kind, count) in gauges {
            self.metrics.aside(kind).set(signed(count));
        }
        self.metrics.store_is(match self.store.health() {
            StoreHealth::Ready => StoreState::Open,
            StoreHealth::LowDisk { .. } => StoreState::LowDisk,
            StoreHealth::Failing { .. } => StoreState::Failing,
            StoreHealth::Damaged { .. } => StoreState::Damaged,
        });
        for (state, count) in LinkState::ALL.into_iter().zip(&stats.accounts) {
            self.metrics.accounts(state).set(signed(count));
        }
        self.metrics.log_lines_lost(logging::lines_lost());
        let standing = self.tokens.status();
        for (state, count) in Health::ALL.into_iter().zip(standing.overview.by_health) {
            self.metrics.tokens(state).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        let ahead = self.store.ring_clock().offset().map_or(0, |offset| offset.likely_ms);
        #[expect(clippy::cast_precision_loss, reason = "a clock is not that wrong")]
        self.metrics.ring_clock_ahead.set(ahead as f64 / 1000.0);
        // Without a link there is nothing to warn of.
        let left = standing.overview.nearest_lapse.map_or(LIFE, |at| at.since(clock::now())).as_secs();
        self.metrics.nearest_lapse.set(i64::try_from(left).unwrap_or(i64::MAX));
        self.metrics.guarded.set(i64::from(standing.guarded));
        self.metrics.codes_under_way.set(i64::try_from(standing.codes).unwrap_or(i64::MAX));
        self.metrics.unrecorded.set(i64::try_from(standing.unrecorded).unwrap_or(i64::MAX));
        for queue in self.store.queues().list() {
            let totals = [
                (Fate::Accepted, queue.totals.accepted),
                (Fate::Delivered, queue.totals.delivered),
                (Fate::Failed, queue.totals.failed),
                (Fate::Dead, queue.totals.dead),
            ];
            self.metrics.queue(&queue.name, totals, queue.waiting);
        }
    }
}

fn signed(count: &AtomicU64) -> i64 {
    i64::try_from(count.load(Ordering::Relaxed)).unwrap_or(i64::MAX)
}
