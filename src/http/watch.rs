//! What a connection is doing and since when, and until when it may.
//!
//! ```text
//! SetUp ─▶ Head ─▶ Request ─▶ Answer ─▶ Idle ─▶ Head …          a pipelined request: Answer ─▶ Head
//!                     │ └───▶ Stream ─▶ Idle                     the last answer, with bytes unread: Linger
//!                     └ too long: 503, Answer                    Idle too long: Closing; the others too long: cut off
//! ```
//! Where its place or its memory is needed, a connection that works on nothing may be evicted, by its [`Usefulness`].
//!
//! The stream, the service and the body report; the connection's task asks. All of them run in that one task, the lock is
//! there because the compiler cannot know.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::Limits;
use super::framing::{Framing, Length};
use crate::clock;
use crate::telemetry::{Evicted, HttpRefusal};

/// After a stop, until the first byte of a connection on which nothing was asked yet. Whoever connects asks at once.
const FIRST_BYTE: Duration = Duration::from_secs(1);
/// Longer than any connection lives: a stream that waits for something to say.
const NO_LIMIT: Duration = Duration::from_hours(24 * 365);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Before anything can be asked.
    SetUp,
    Head,
    Request,
    Answer,
    Stream,
    Idle,
    Closing,
    Linger,
}

/// How much a connection is worth keeping that may be evicted. The least comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Usefulness {
    /// A request on it was genuine.
    pub proven: bool,
    /// It rests between two requests.
    pub idle: bool,
    /// Since when it has been in this state.
    pub since: Instant,
}

/// What to do with a connection whose timer fired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expiry {
    NotYet(Instant),
    /// The handler took too long; it finds [`Watch::overdue`] when it is polled next.
    Overdue,
    /// Nothing is going on: close as HTTP closes.
    Rest,
    CutOff,
}

/// One connection, watched.
#[derive(Debug)]
pub(super) struct Watch {
    limits: Arc<Limits>,
    state: Mutex<State>,
}

#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "they are independent of each other")]
struct State {
    framing: Framing,
    phase: Phase,
    since: Instant,
    /// A request has begun.
    asked: bool,
    /// When the server began to stop.
    stopping: Option<Instant>,
    /// Since when the peer has taken nothing of what we want to write.
    blocked: Option<Instant>,
    /// Why the handler is dropped and its request refused, once it is polled again.
    refused: Option<HttpRefusal>,
    /// The whole request has come, and its handler works on it.
    working: bool,
    proven: bool,
    /// Body bytes that the request holds.
    held: usize,
    /// Evicted, with no request to answer.
    gone: bool,
    /// Of the connection's task.
    waker: Option<Waker>,
    /// hyper has the whole answer, though the peer may not.
    written: bool,
    eof: bool,
}

impl State {
    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.since = clock::ticks();
    }

    fn is_new(&self) -> bool {
        !self.asked && !self.eof && self.framing.between_requests()
    }

    /// The state to name when the connection is evicted; none while it must not be.
    fn evictable(&self) -> Option<Evicted> {
        match self.phase {
            Phase::SetUp => Some(Evicted::Silent),
            Phase::Head if self.framing.between_requests() => Some(Evicted::Silent),
            Phase::Head => Some(Evicted::SlowHead),
            Phase::Request if self.working || self.framing.between_requests() => None,
            Phase::Request => Some(Evicted::SlowBody),
            Phase::Answer => self.blocked.map(|_| Evicted::Unread),
            Phase::Idle => Some(Evicted::Idle),
            Phase::Linger => Some(Evicted::Lingering),
            Phase::Stream | Phase::Closing => None,
        }
    }
}

impl Watch {
    pub(super) fn new(limits: Arc<Limits>) -> Self {
        let state = State {
            framing: Framing::new(),
            phase: Phase::SetUp,
            since: clock::ticks(),
            asked: false,
            stopping: None,
            blocked: None,
            refused: None,
            working: false,
            proven: false,
            held: 0,
            gone: false,
            waker: None,
            written: false,
            eof: false,
        };
        Self { limits, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection can be read.
    pub(super) fn set_up(&self) {
        self.state().enter(Phase::Head);
    }

    /// A head was parsed and its handler starts; false when its framing is ambiguous.
    pub(super) fn begin(&self, length: Length) -> bool {
        let mut state = self.state();
        state.refused = None;
        state.asked = true;
        state.working = false;
        state.held = 0;
        state.written = false;
        state.enter(Phase::Request);
        state.framing.begin(length)
    }

    /// The server accepts nothing any more, and ends what rests.
    pub(super) fn stopping(&self) {
        self.state().stopping = Some(clock::ticks());
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.state().stopping.is_some()
    }

    /// Nothing has come on the connection.
    pub(super) fn is_new(&self) -> bool {
        self.state().is_new()
    }

    /// Why the handler is to be dropped.
    pub(super) fn refused(&self) -> Option<HttpRefusal> {
        self.state().refused
    }

    /// The handler begins to work on a request that has come whole. False when it does already.
    pub(super) fn work(&self) -> bool {
        !std::mem::replace(&mut self.state().working, true)
    }

    /// The handler is done. True when it had begun to work.
    pub(super) fn rest(&self) -> bool {
        std::mem::take(&mut self.state().working)
    }

    /// A request on this connection was genuine.
    pub(super) fn prove(&self) {
        self.state().proven = true;
    }

    pub(super) fn holds(&self, bytes: usize) {
        self.state().held = bytes;
    }

    /// The last answer is written, and the peer may still be sending.
    pub(super) fn linger(&self) {
        self.state().enter(Phase::Linger);
    }

    /// Body bytes that the request holds; none while the connection must not be evicted.
    pub(super) fn held(&self) -> Option<usize> {
        let state = self.state();
        state.evictable().map(|_| state.held)
    }

    /// None while the connection must not be evicted.
    pub(super) fn usefulness(&self) -> Option<Usefulness> {
        let state = self.state();
        let idle = state.phase == Phase::Idle;
        state.evictable().map(|_| Usefulness { proven: state.proven, idle, since: state.since })
    }

    /// Has the connection closed by its task, and its request, if there is one, answered by 503. None when it must not be.
    pub(super) fn evict(&self) -> Option<Evicted> {
        let mut state = self.state();
        let evicted = state.evictable()?;
        // An answer would not be taken where an earlier one was not.
        if state.phase == Phase::Request && state.blocked.is_none() {
            state.refused = Some(HttpRefusal::Evicted);
        } else {
            state.gone = true;
        }
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
        Some(evicted)
    }

    /// Whether the connection was evicted with no request to answer; else its task is woken when it is evicted.
    pub(super) fn gone(&self, cx: &Context<'_>) -> bool {
        let mut state = self.state();
        if !state.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            state.waker = Some(cx.waker().clone());
        }
        state.gone
    }

    /// Whether the peer waits for an answer, or has not asked yet, so that it can be told to come again.
    pub(super) fn at_head(&self) -> bool {
        let state = self.state();
        state.phase == Phase::Head && state.blocked.is_none()
    }

    /// The handler has answered.
    pub(super) fn answered(&self, stream: bool) {
        self.state().enter(if stream { Phase::Stream } else { Phase::Answer });
    }

    /// hyper has taken the last of the answer.
    pub(super) fn written(&self) {
        self.state().written = true;
    }

    /// Whether the peer may still be sending something that nobody will read.
    pub(super) fn unread(&self) -> bool {
        let state = self.state();
        !state.eof && !state.framing.between_requests()
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline_of(&self.state())
    }

    fn deadline_of(&self, state: &State) -> Instant {
        let limits = &self.limits;
        match state.phase {
            Phase::SetUp | Phase::Head => {
                let is_set_up = state.phase == Phase::Head;
                let patience = if is_set_up { limits.header_timeout } else { limits.setup_timeout };
                let deadline = state.since + patience;
                let stopping = state.stopping.filter(|_| state.is_new());
                stopping.map_or(deadline, |at| deadline.min(at + FIRST_BYTE))
            }
            Phase::Request => state.since + limits.request_budget,
            Phase::Answer | Phase::Closing | Phase::Linger => state.since + limits.answer_timeout,
            Phase::Stream => match state.blocked {
                Some(blocked) => blocked + limits.answer_timeout,
                None => state.since + NO_LIMIT,
            },
            Phase::Idle => state.since + limits.keep_alive_idle,
        }
    }

    pub(super) fn expire(&self, now: Instant) -> Expiry {
        let mut state = self.state();
        let deadline = self.deadline_of(&state);
        if now < deadline {
            return Expiry::NotYet(deadline);
        }
        match state.phase {
            Phase::Request if state.refused.is_none() => {
                state.refused = Some(HttpRefusal::Overdue);
                Expiry::Overdue
            }
            Phase::Idle => {
                state.enter(Phase::Closing);
                Expiry::Rest
            }
            _ => Expiry::CutOff,
        }
    }
}

/// A stream that tells its [`Watch`] what passes, and hands on one request at a time.
#[derive(Debug)]
pub(super) struct Watched<S> {
    pub(super) inner: S,
    watch: Arc<Watch>,
    /// Read already, but of the part that follows; at most what one read brings.
    held: Bytes,
}

impl<S> Watched<S> {
    pub(super) fn new(inner: S, watch: Arc<Watch>) -> Self {
        Self { inner, watch, held: Bytes::new() }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let start = buf.filled().len();
        if self.held.is_empty() {
            ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        } else {
            let n = self.held.len().min(buf.remaining());
            buf.put_slice(&self.held[..n]);
            self.held.advance(n);
        }
        let fresh = &buf.filled()[start..];
        let mut state = self.watch.state();
        if fresh.is_empty() {
            state.eof = true;
            return Poll::Ready(Ok(()));
        }
        if state.phase == Phase::Idle {
            state.enter(Phase::Head);
        }
        let Some(n) = state.framing.admit(fresh) else {
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        };
        drop(state);
        if n < fresh.len() {
            let later = Bytes::copy_from_slice(&fresh[n..]);
            let rest = std::mem::take(&mut self.held);
            self.held = if rest.is_empty() { later } else { [later, rest].concat().into() };
            buf.set_filled(start + n);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S> Watched<S> {
    fn note_write(&self, is_blocked: bool) {
        let mut state = self.watch.state();
        state.blocked = is_blocked.then(|| state.blocked.unwrap_or_else(clock::ticks));
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.note_write(wrote.is_pending());
        wrote
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.note_write(wrote.is_pending());
        wrote
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    /// hyper flushes when its own buffer is empty: with the answer written, that ends the request.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        // TLS takes what it is given, and the peer takes it from there.
        self.note_write(flushed.is_pending());
        ready!(flushed)?;
        let quiet = self.held.is_empty();
        let mut state = self.watch.state();
        if state.written && matches!(state.phase, Phase::Answer | Phase::Stream) {
            let idle = quiet && state.framing.between_requests();
            state.enter(if idle { Phase::Idle } else { Phase::Head });
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
