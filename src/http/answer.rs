//! Answers: every response of the daemon is made here.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use tokio::sync::mpsc;

use super::watch::Watch;
use crate::domain::json_line::one_line;

/// What a handler returns.
pub type Answer = Response<Content>;

/// The body of an answer: whole, or as it comes.
#[derive(Debug)]
pub struct Content {
    kind: Kind,
    /// Told when hyper has taken the whole body.
    watch: Option<Arc<Watch>>,
}

#[derive(Debug)]
enum Kind {
    Whole(Bytes),
    Stream(mpsc::Receiver<Bytes>),
}

impl Content {
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        Self { kind: Kind::Whole(bytes.into()), watch: None }
    }

    /// Ends when the last sender is dropped. A sender sees by [`mpsc::Sender::closed`] that the peer is gone.
    pub fn stream(pieces: mpsc::Receiver<Bytes>) -> Self {
        Self { kind: Kind::Stream(pieces), watch: None }
    }

    pub(super) fn is_stream(&self) -> bool {
        matches!(self.kind, Kind::Stream(_))
    }

    pub(super) fn watched_by(&mut self, watch: Arc<Watch>) {
        self.watch = Some(watch);
    }
}

impl Drop for Content {
    fn drop(&mut self) {
        if let Some(watch) = &self.watch {
            watch.written();
        }
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut self.kind {
            Kind::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Kind::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Kind::Stream(pieces) => {
                pieces.poll_recv(cx).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.kind, Kind::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Stream(_) => SizeHint::default(),
        }
    }
}

/// A status and nothing more.
pub fn empty(status: StatusCode) -> Answer {
    with(status, None, Content::whole(Bytes::new()))
}

/// Plain text for people.
pub fn text(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    with(status, Some("text/plain; charset=utf-8"), Content::whole(text))
}

/// A JSON document, encoded already, as one line.
pub fn json(status: StatusCode, document: impl Into<String>) -> Answer {
    with(status, Some("application/json"), Content::whole(one_line(document.into())))
}

/// 200 and pieces as they come, e.g. an event a line.
pub fn stream(content_type: &'static str, pieces: mpsc::Receiver<Bytes>) -> Answer {
    with(StatusCode::OK, Some(content_type), Content::stream(pieces))
}

/// The body of every 503 that has nothing else to say.
pub(super) const NOT_NOW: &str = "This can't be done now. Send it again later.\n";

/// 503: not now, but in `seconds`.
pub fn retry_after(seconds: u32) -> Answer {
    let mut answer = text(StatusCode::SERVICE_UNAVAILABLE, NOT_NOW);
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    answer
}

fn with(status: StatusCode, content_type: Option<&'static str>, content: Content) -> Answer {
    let mut answer = Response::new(content);
    *answer.status_mut() = status;
    if let Some(content_type) = content_type {
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    answer
}
