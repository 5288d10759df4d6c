//! Bodies, read whole under a cap, a deadline and a budget that all requests of a server share.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Body;
use prometheus_client::metrics::gauge::Gauge;
use thiserror::Error;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::registry::Registry;
use super::watch::Watch;

/// Taken from the budget at once; a body that is announced or found to be longer is paid for as it comes, so that announcing
/// one costs the others nothing.
const FIRST_STEP: usize = 16 * 1024;

/// Why a body was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BodyError {
    #[error("the body is over the cap")]
    TooLarge,
    #[error("the body did not come in time")]
    TooSlow,
    #[error("too many requests, or bytes of them, are in flight")]
    Busy,
    #[error("the peer broke off or framed the body wrongly")]
    Broken,
}

/// Body bytes that requests hold together.
#[derive(Debug, Clone)]
pub struct InFlightBytes(Arc<Budget>);

#[derive(Debug)]
struct Budget {
    limit: AtomicUsize,
    used: AtomicUsize,
    gauge: Gauge,
    wanting: AtomicUsize,
    released: Notify,
}

impl InFlightBytes {
    /// At most `limit` bytes at a time; `gauge` shows how many there are.
    pub fn new(limit: usize, gauge: Gauge) -> Self {
        let (used, wanting) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self(Arc::new(Budget {
            limit: AtomicUsize::new(limit),
            used,
            gauge,
            wanting,
            released: Notify::new(),
        }))
    }

    /// Bodies that have come stay, also beyond it. Those that wait for bytes look again.
    pub(super) fn set_limit(&self, limit: usize) {
        self.0.limit.store(limit, Ordering::SeqCst);
        self.0.released.notify_waiters();
    }

    pub fn used(&self) -> usize {
        self.0.used.load(Ordering::Relaxed)
    }
}

/// A share of the budget, given back when dropped.
#[derive(Debug)]
struct Share {
    budget: InFlightBytes,
    bytes: usize,
    /// The connection that brings the body, and those that may have to give way to it.
    connection: Option<(Arc<Watch>, Arc<Registry>)>,
}

impl Share {
    /// Raises the share to `bytes`; larger bodies that are not complete give way.
    async fn raise(&mut self, bytes: usize) -> Result<(), BodyError> {
        if self.take(bytes) {
            return Ok(());
        }
        let budget = Arc::clone(&self.budget.0);
        let _wanting = Wanting::new(&budget.wanting);
        loop {
            let mut released = std::pin::pin!(budget.released.notified());
            // Before the look, so that what is released after it is heard of.
            released.as_mut().enable();
            if self.take(bytes) {
                return Ok(());
            }
            let evicted = self.connection.as_ref().is_some_and(|(_, others)| others.evict_larger(bytes));
            if !evicted {
                return Err(BodyError::Busy);
            }
            released.await;
        }
    }

    fn take(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let budget = &self.budget.0;
        let limit = budget.limit.load(Ordering::SeqCst);
        let within = |used: usize| used.checked_add(more).filter(|sum| *sum <= limit);
        // In one order with `wanting`: who wants and does not find what was released is seen by the release.
        if budget.used.fetch_update(Ordering::SeqCst, Ordering::SeqCst, within).is_err() {
            return false;
        }
        budget.gauge.inc_by(signed(more));
        self.bytes += more;
        if let Some((watch, _)) = &self.connection {
            watch.holds(self.bytes);
        }
        true
    }
}

/// Counts those that wait for bytes to be released, so that a release without any costs no lock.
struct Wanting<'a>(&'a AtomicUsize);

impl<'a> Wanting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Wanting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.0.used.fetch_sub(self.bytes, Ordering::SeqCst);
        self.budget.0.gauge.dec_by(signed(self.bytes));
        if self.budget.0.wanting.load(Ordering::SeqCst) > 0 {
            self.budget.0.released.notify_waiters();
        }
    }
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// A whole body; its share of the budget is held until this is dropped.
#[derive(Debug)]
pub struct Received {
    bytes: Bytes,
    _share: Share,
}

impl Received {
    /// The bytes; clones of them may outlive the share, so only for what is accounted elsewhere.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The bytes, which hold the share until the last clone of them is gone.
    pub fn into_shared(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Received {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Deref for Received {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Reads `body` to its end, which has to come by `deadline` and within `cap` bytes. No other body gives way to it.
///
/// # Errors
/// [`BodyError`].
pub async fn read<B>(
    body: B,
    cap: usize,
    deadline: Instant,
    budget: &InFlightBytes,
) -> Result<Received, BodyError>
where
    B: Body<Data = Bytes> + Unpin,
{
    read_into(body, cap, deadline, Share { budget: budget.clone(), bytes: 0, connection: None }).await
}

/// The same for a request, whose body larger ones that are not complete give way to.
pub(super) async fn read_request<B>(
    body: B,
    cap: usize,
    deadline: Instant,
    budget: &InFlightBytes,
    connection: (Arc<Watch>, Arc<Registry>),
) -> Result<Received, BodyError>
where
    B: Body<Data = Bytes> + Unpin,
{
    let share = Share { budget: budget.clone(), bytes: 0, connection: Some(connection) };
    read_into(body, cap, deadline, share).await
}

async fn read_into<B>(body: B, cap: usize, deadline: Instant, mut share: Share) -> Result<Received, BodyError>
where
    B: Body<Data = Bytes> + Unpin,
{
    let announced = body.size_hint();
    if announced.lower() > cap as u64 {
        return Err(BodyError::TooLarge);
    }
    let expected = announced.exact().and_then(|n| usize::try_from(n).ok());
    let all = collect(body, cap, expected, &mut share);
    let bytes = timeout_at(deadline, all).await.map_err(|_| BodyError::TooSlow)??;
    Ok(Received { bytes, _share: share })
}

async fn collect<B>(
    mut body: B,
    cap: usize,
    expected: Option<usize>,
    share: &mut Share,
) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(piece) = frame.map_err(|_| BodyError::Broken)?.into_data() else { continue };
        let len = all.len() + piece.len();
        if len > cap {
            return Err(BodyError::TooLarge);
        }
        if expected == Some(piece.len()) {
            share.raise(len).await?;
            return Ok(piece);
        }
        if len > all.capacity() {
            let room = len.max(2 * all.capacity()).max(FIRST_STEP).min(expected.unwrap_or(cap));
            share.raise(room).await?;
            all.reserve(room - all.len());
        }
        all.put_slice(&piece);
    }
    Ok(all.freeze())
}

#[cfg(test)]
mod tests;
