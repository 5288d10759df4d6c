//! One connection from the first byte to the last: hyper, the timer that hyper lacks, and what is refused before a handler.

use std::convert::Infallible;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use hyper::body::{Body as _, Incoming};
use hyper::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderValue, TRANSFER_ENCODING};
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper::{Request, StatusCode, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch as signal;
use tokio::time::{sleep_until, timeout};

use super::answer::NOT_NOW;
use super::framing::Length;
use super::listener::{Peer, Setup};
use super::registry::Place;
use super::request::{Body, Line};
use super::routes::forwarded;
use super::watch::{Expiry, Watch, Watched};
use super::{Answer, Handler, Limits, Server, answer};
use crate::logging::text;
use crate::requests::Asked;
use crate::telemetry::{HttpRefusal, Up};

/// hyper panics below this.
const HYPER_MIN_BUFFER: usize = 8192;

/// hyper set up for `limits`. Its one timer covers a head *and* the rest before it, so it is only the second belt here.
pub(super) fn builder(limits: &Limits) -> Builder {
    let mut builder = Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(2 * limits.header_timeout.max(limits.keep_alive_idle))
        .max_buf_size(limits.max_header_bytes.max(HYPER_MIN_BUFFER))
        .max_header_size(limits.max_header_bytes);
    // hyper's own default needs no allocation for each request.
    if limits.max_headers != 100 {
        builder.max_headers(limits.max_headers);
    }
    builder
}

/// Ends the work on a request, if it had begun.
struct Working<'a>(&'a Line);

impl Drop for Working<'_> {
    fn drop(&mut self) {
        if self.0.watch.rest() {
            self.0.server.requests.leave();
        }
    }
}

enum Ended {
    Closed,
    CutOff,
    Evicted,
}

/// Sets a connection up and serves it until it ends, is cut off or evicted, or `stopping` says true and the request in flight is
/// answered.
pub(super) async fn run<T: Setup, H: Handler>(
    server: Arc<Server>,
    handler: Arc<H>,
    accepted: T,
    (watch, _place): (Arc<Watch>, Place),
    mut stopping: signal::Receiver<bool>,
) {
    let _up = Up::new(&server.metrics.connections);
    let Some((stream, peer)) = set_up(accepted, &watch, &mut stopping).await else { return };
    let io = TokioIo::new(Watched::new(stream, Arc::clone(&watch)));
    let line = Arc::new(Line { server: Arc::clone(&server), watch: Arc::clone(&watch), peer });
    let service = service_fn(move |request| {
        // Here, not in the future: the next bytes that hyper reads belong to the body.
        let framed = line.watch.begin(length(&request));
        respond(Arc::clone(&line), Arc::clone(&handler), request, framed)
    });
    let mut connection = server.settings.get().builder.serve_connection(io, service);
    let mut timer = pin!(sleep_until(watch.deadline()));
    let mut stop = pin!(stopping.wait_for(|stopping| *stopping));
    let (mut stopped, mut told) = (false, false);
    let ended = poll_fn(|cx| {
        if !stopped && stop.as_mut().poll(cx).is_ready() {
            stopped = true;
            watch.stopping();
        }
        loop {
            if Pin::new(&mut connection).poll(cx).is_ready() {
                return Poll::Ready(Ended::Closed);
            }
            // Not before what has come was read, and not a connection whose first request is on its way: its peer was not refused.
            if stopped && !told && !watch.is_new() {
                told = true;
                Pin::new(&mut connection).graceful_shutdown();
                continue;
            }
            if watch.gone(cx) {
                return Poll::Ready(Ended::Evicted);
            }
            // Moved only to an earlier time: a busy connection then touches the timer once in a while, not twice a request.
            let deadline = watch.deadline();
            if deadline < timer.deadline() {
                timer.as_mut().reset(deadline);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            match watch.expire(crate::clock::ticks()) {
                Expiry::NotYet(at) => timer.as_mut().reset(at),
                Expiry::Overdue => {}
                Expiry::Rest => Pin::new(&mut connection).graceful_shutdown(),
                Expiry::CutOff => return Poll::Ready(Ended::CutOff),
            }
        }
    })
    .await;
    let unread = watch.unread();
    let stream = connection.into_parts().io.into_inner().inner;
    match ended {
        Ended::Evicted if watch.at_head() => refuse(stream, &server).await,
        Ended::Closed if unread => {
            watch.linger();
            tokio::select! {
                () = linger(stream, &server) => {}
                () = poll_fn(|cx| if watch.gone(cx) { Poll::Ready(()) } else { Poll::Pending }) => {}
            }
        }
        Ended::Closed | Ended::CutOff | Ended::Evicted => {}
    }
}

/// A connection that is not set up is evicted like a silent one, and ends like one with the server.
async fn set_up<T: Setup>(
    accepted: T,
    watch: &Watch,
    stopping: &mut signal::Receiver<bool>,
) -> Option<(T::Stream, Peer)> {
    let mut ready = pin!(accepted.set_up());
    loop {
        tokio::select! {
            biased;
            ready = &mut ready => {
                watch.set_up();
                return ready.ok();
            }
            () = poll_fn(|cx| if watch.gone(cx) { Poll::Ready(()) } else { Poll::Pending }) => return None,
            () = sleep_until(watch.deadline()) => return None,
            _ = stopping.wait_for(|stopping| *stopping), if !watch.is_stopping() => watch.stopping(),
        }
    }
}

/// Refuses a connection for which there is no room.
pub(super) async fn reject<T: Setup>(accepted: T, server: &Server) {
    if let Ok(Ok((stream, _))) = timeout(server.limits().setup_timeout, accepted.set_up()).await {
        refuse(stream, server).await;
    }
}

/// Tells the peer to come again, before it has asked or instead of reading what it asks.
async fn refuse<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, server: &Server) {
    let refusal = format!(
        "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n\
         Content-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\r\n{NOT_NOW}",
        NOT_NOW.len()
    );
    if let Ok(Ok(())) = timeout(server.limits().answer_timeout, stream.write_all(refusal.as_bytes())).await {
        linger(stream, server).await;
    }
}

/// Reads on for a while, because a close with bytes unread resets the connection and may take our answer with it. Where too many
/// do, only what is there already is read.
async fn linger<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, server: &Server) {
    let (permit, limits) = (server.lingering.try_acquire(), server.limits());
    let patience = if permit.is_ok() { limits.answer_timeout } else { Duration::ZERO };
    let drain = async {
        // On the heap, because every connection would carry the room for it.
        let mut sink = vec![0; 4096];
        let mut left = limits.max_header_bytes.max(1 << 20);
        stream.shutdown().await.ok()?;
        while left > 0 {
            let n = stream.read(&mut sink).await.ok().filter(|n| *n > 0)?;
            left = left.saturating_sub(n);
        }
        Some(())
    };
    let _ = timeout(patience, drain).await;
}

fn length(request: &Request<Incoming>) -> Length {
    if request.headers().contains_key(TRANSFER_ENCODING) {
        return Length::Chunked;
    }
    let value = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    // hyper has refused what is not a number.
    Length::Known(value.and_then(|value| value.trim().parse().ok()).unwrap_or(0))
}

async fn respond<H: Handler>(
    line: Arc<Line>,
    handler: Arc<H>,
    request: Request<Incoming>,
    framed: bool,
) -> Result<Answer, Infallible> {
    let chunked = request.headers().contains_key(TRANSFER_ENCODING);
    let sound = framed && one_host(&request);
    let result = if sound {
        handle(&line, &*handler, request).await
    } else {
        note(&line, Some(&request), HttpRefusal::Malformed);
        Err(HttpRefusal::Malformed)
    };
    if let Err(refusal) = &result
        && sound
    {
        note(&line, None, *refusal);
    }
    let evicted = matches!(result, Err(HttpRefusal::Evicted));
    let mut answer = result.unwrap_or_else(|refusal| {
        line.server.metrics.refused(refusal);
        match refusal {
            HttpRefusal::Malformed => answer::empty(StatusCode::BAD_REQUEST),
            _ => answer::retry_after(1),
        }
    });
    if chunked || !sound || evicted || line.watch.is_stopping() {
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    line.watch.answered(answer.body().is_stream());
    answer.body_mut().watched_by(Arc::clone(&line.watch));
    Ok(answer)
}

/// Notes a request that no handler has answered. What it asked for is known only where no handler had it.
fn note(line: &Line, request: Option<&Request<Incoming>>, refusal: HttpRefusal) {
    let Some(requests) = &line.server.unanswered else { return };
    let from = line.peer.address;
    let asked = Asked {
        method: request.map(|request| text(request.method().as_str()).to_string()).unwrap_or_default(),
        path: request.map(|request| text(request.uri().path()).to_string()).unwrap_or_default(),
        from,
        forwarded_for: request.and_then(|request| forwarded(request, from)),
    };
    let status = if refusal == HttpRefusal::Malformed { 400 } else { 503 };
    requests.note(asked.answered(refusal.as_str(), status));
}

/// RFC 9112, 3.2; hyper leaves it to us.
fn one_host(request: &Request<Incoming>) -> bool {
    let hosts = request.headers().get_all(HOST).iter().count();
    hosts == 1 || hosts == 0 && request.version() == Version::HTTP_10
}

async fn handle<H: Handler>(
    line: &Arc<Line>,
    handler: &H,
    request: Request<Incoming>,
) -> Result<Answer, HttpRefusal> {
    let _working = Working(line);
    // A request with a body counts once that is there, so that slow ones keep nobody from work.
    if request.body().is_end_stream() && !line.work() {
        note(line, Some(&request), HttpRefusal::Requests);
        return Ok(answer::retry_after(1));
    }
    let _up = Up::new(&line.server.metrics.requests);
    let request = request.map(|incoming| Body::new(incoming, Arc::clone(line)));
    let mut answer = pin!(async { handler.handle(request).await });
    poll_fn(|cx| {
        if let Some(refusal) = line.watch.refused() {
            return Poll::Ready(Err(refusal));
        }
        // A handler that panicked is not polled again, so nothing sees what it left half done.
        match catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(cx))) {
            Ok(answer) => answer.map(Ok),
            Err(_) => Poll::Ready(Err(HttpRefusal::Panic)),
        }
    })
    .await
}
