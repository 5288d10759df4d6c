//! Bodies in pieces, without a connection; what a connection adds is in `http::tests`.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Frame, SizeHint};

use super::*;
use crate::clock;

/// Pieces, then the end, or silence.
struct Pieces {
    left: VecDeque<Bytes>,
    announced: Option<u64>,
    then_silent: bool,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.left.pop_front() {
            Some(piece) => Poll::Ready(Some(Ok(Frame::data(piece)))),
            None if self.then_silent => Poll::Pending,
            None => Poll::Ready(None),
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.announced.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

fn pieces(sizes: &[usize], announced: Option<u64>) -> Pieces {
    let left = sizes.iter().map(|&n| Bytes::from(vec![b'x'; n])).collect();
    Pieces { left, announced, then_silent: false }
}

async fn read_under(body: Pieces, cap: usize, budget: &InFlightBytes) -> Result<Received, BodyError> {
    read(body, cap, clock::ticks() + Duration::from_secs(3), budget).await
}

#[tokio::test(start_paused = true)]
async fn bodies_within_and_over_the_cap() {
    let budget = InFlightBytes::new(1 << 20, Gauge::default());
    let cases = [
        (&[][..], None, Ok(0)),
        (&[100], Some(100), Ok(100)),
        (&[60, 40], Some(100), Ok(100)),
        (&[60, 40], None, Ok(100)),
        (&[60, 41], None, Err(BodyError::TooLarge)),
        (&[101], None, Err(BodyError::TooLarge)),
        (&[], Some(10_000_000_000), Err(BodyError::TooLarge)),
    ];
    for (sizes, announced, expected) in cases {
        let got = read_under(pieces(sizes, announced), 100, &budget).await;
        assert_eq!(got.map(|body| body.len()), expected, "{sizes:?} {announced:?}");
    }
    assert_eq!(budget.used(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_waits_for_the_disk_still_counts() {
    let budget = InFlightBytes::new(1 << 20, Gauge::default());
    let body = read_under(pieces(&[60, 40], None), 100, &budget).await.unwrap();
    let shared = body.into_shared();
    let part = shared.slice(10..20);
    drop(shared);
    assert!(budget.used() >= 100, "{}", budget.used());
    drop(part);
    assert_eq!(budget.used(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stops_is_too_slow_and_gives_its_share_back() {
    let budget = InFlightBytes::new(1 << 20, Gauge::default());
    let mut body = pieces(&[10], Some(100));
    body.then_silent = true;
    assert_eq!(read_under(body, 100, &budget).await.unwrap_err(), BodyError::TooSlow);
    assert_eq!(budget.used(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_budget_is_shared_and_released() {
    let gauge = Gauge::default();
    let budget = InFlightBytes::new(100, gauge.clone());
    let first = read_under(pieces(&[60], Some(60)), 100, &budget).await.unwrap();
    assert_eq!((budget.used(), gauge.get()), (60, 60));
    let second = read_under(pieces(&[30, 30], Some(60)), 100, &budget).await;
    assert_eq!(second.unwrap_err(), BodyError::Busy);
    drop(first);
    assert_eq!((budget.used(), gauge.get()), (0, 0));
    assert!(read_under(pieces(&[30, 30], Some(60)), 100, &budget).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_long_body_is_paid_for_as_it_comes() {
    let budget = InFlightBytes::new(64 * 1024, Gauge::default());
    let mut slow = pieces(&[1], Some(60 * 1024));
    slow.then_silent = true;
    let other = budget.clone();
    let reading = tokio::spawn(async move { read_under(slow, 1 << 20, &other).await.map(drop) });
    tokio::task::yield_now().await;
    assert_eq!(budget.used(), FIRST_STEP);
    assert_eq!(reading.await.unwrap(), Err(BodyError::TooSlow));
}
