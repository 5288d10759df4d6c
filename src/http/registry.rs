//! The open connections of a server, and which of them is closed when there is no room for another.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::watch::{Usefulness, Watch};
use crate::clock;
use crate::telemetry::HttpMetrics;

/// A request whose head or body takes longer is slow.
const SLOW: Duration = Duration::from_secs(1);
/// One look at all connections finds candidates for this many evictions, so that an eviction's cost does not grow with them.
const SHARE: usize = 32;

/// Open connections. Evicted ones have left, though their tasks may still be ending.
#[derive(Debug)]
pub(super) struct Registry {
    max: AtomicUsize,
    metrics: HttpMetrics,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    open: HashMap<u64, Arc<Watch>>,
    /// The least useful of the last look, the least first.
    candidates: VecDeque<(u64, Usefulness)>,
}

/// A connection's place, until this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    registry: Arc<Registry>,
    number: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.registry.state().open.remove(&self.number);
    }
}

impl Registry {
    pub(super) fn new(max: usize, metrics: HttpMetrics) -> Arc<Self> {
        Arc::new(Self { max: AtomicUsize::new(max), metrics, state: Mutex::default() })
    }

    /// Where more are open, those that can be spared are closed.
    pub(super) fn set_max(&self, max: usize) {
        self.max.store(max, Ordering::Relaxed);
        while self.state().open.len() > max && self.evict_one() {}
    }

    pub(super) fn max(&self) -> usize {
        self.max.load(Ordering::Relaxed)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn enter(self: &Arc<Self>, watch: Arc<Watch>) -> Place {
        let mut state = self.state();
        state.next += 1;
        let number = state.next;
        state.open.insert(number, watch);
        Place { registry: Arc::clone(self), number }
    }

    /// Whether another connection has room, if need be by the eviction of the least useful one.
    pub(super) fn has_room(&self) -> bool {
        self.state().open.len() < self.max() || self.evict_one()
    }

    /// Evicts the least useful connection; false when all must be kept.
    pub(super) fn evict_one(&self) -> bool {
        let mut state = self.state();
        let mut looked = false;
        loop {
            while let Some((number, usefulness)) = state.candidates.pop_front() {
                let Some(watch) = state.open.get(&number) else { continue };
                // It may have done something since it became a candidate.
                if watch.usefulness() != Some(usefulness) {
                    continue;
                }
                if let Some(evicted) = watch.evict() {
                    state.open.remove(&number);
                    self.metrics.evicted(evicted);
                    return true;
                }
            }
            if std::mem::replace(&mut looked, true) {
                return false;
            }
            state.candidates = candidates(&state.open, self.max(), clock::ticks());
        }
    }

    /// Evicts the connection whose unfinished body holds the most bytes, if those are more than `bytes`.
    pub(super) fn evict_larger(&self, bytes: usize) -> bool {
        let mut state = self.state();
        let sizes = state.open.iter().filter_map(|(number, watch)| Some((watch.held()?, *number)));
        let largest = sizes.max().filter(|(held, _)| *held > bytes);
        let evicted = largest.and_then(|(_, number)| Some((number, state.open.get(&number)?.evict()?)));
        let Some((number, evicted)) = evicted else { return false };
        state.open.remove(&number);
        self.metrics.evicted(evicted);
        true
    }
}

/// The least useful connections, the least first.
fn candidates(open: &HashMap<u64, Arc<Watch>>, max: usize, now: Instant) -> VecDeque<(u64, Usefulness)> {
    let mut all: Vec<_> =
        open.iter().filter_map(|(number, watch)| Some((*number, watch.usefulness()?))).collect();
    let kept = all.iter().filter(|(_, usefulness)| usefulness.proven && usefulness.idle).count();
    // Where those fill the house, newcomers would have to evict each other.
    let crowded = kept > max / 4 * 3;
    let share = (max / SHARE).clamp(1, all.len().max(1));
    all.sort_unstable_by_key(|(number, usefulness)| {
        (rank(usefulness, crowded, now), usefulness.since, *number)
    });
    all.truncate(share);
    all.into()
}

fn rank(usefulness: &Usefulness, crowded: bool, now: Instant) -> u8 {
    match usefulness {
        Usefulness { proven: true, idle: true, .. } if crowded => 0,
        Usefulness { proven: false, .. } => 1,
        Usefulness { idle: false, since, .. } if now.duration_since(*since) >= SLOW => 2,
        Usefulness { idle: true, .. } => 3,
        // A genuine request may just be coming.
        Usefulness { .. } => 4,
    }
}
