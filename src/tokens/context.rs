//! What all parts of the token service work on.

use std::sync::Arc;

use super::guard::Guard;
use super::schedule::Schedule;
use crate::outbound::Outbound;
use crate::ring_api::Current;
use crate::store::Store;
use crate::telemetry::Metrics;

/// One for each daemon.
#[derive(Debug)]
pub(super) struct Context {
    pub store: Store,
    /// Without one nothing is sent.
    pub api: Current,
    pub metrics: Metrics,
    pub guard: Arc<Guard>,
    pub schedule: Schedule,
    pub outbound: Arc<Outbound>,
}
