//! One connection from the first byte to the last: hyper, the timer that hyper lacks, and what is refused before a handler.

use std::convert::Infallible;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderValue, TRANSFER_ENCODING};
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper::{Request, StatusCode, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch as signal;
use tokio::time::{sleep_until, timeout};

use super::framing::Length;
use super::listener::Peer;
use super::watch::{Expiry, Watch, Watched};
use super::{Answer, Handler, Limits, Server, answer};
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

/// What the requests of one connection share.
struct Line<H> {
    server: Arc<Server>,
    handler: Arc<H>,
    watch: Arc<Watch>,
    peer: Peer,
}

/// Serves `stream` until it ends, is cut off, or `stopping` says true and the request in flight is answered.
pub(super) async fn run<S, H>(
    server: Arc<Server>,
    handler: Arc<H>,
    stream: S,
    peer: Peer,
    mut stopping: signal::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    let _up = Up::new(&server.metrics.connections);
    let watch = Arc::new(Watch::new(Arc::clone(&server.limits)));
    let io = TokioIo::new(Watched::new(stream, Arc::clone(&watch)));
    let line = Arc::new(Line { server: Arc::clone(&server), handler, watch: Arc::clone(&watch), peer });
    let service = service_fn(move |request| {
        // Here, not in the future: the next bytes that hyper reads belong to the body.
        let framed = line.watch.begin(length(&request));
        respond(Arc::clone(&line), request, framed)
    });
    let mut connection = server.builder.serve_connection(io, service);
    let mut timer = pin!(sleep_until(watch.deadline()));
    let mut stop = pin!(stopping.wait_for(|stopping| *stopping));
    let mut stopped = false;
    let ended = poll_fn(|cx| {
        if !stopped && stop.as_mut().poll(cx).is_ready() {
            stopped = true;
            Pin::new(&mut connection).graceful_shutdown();
        }
        loop {
            if Pin::new(&mut connection).poll(cx).is_ready() {
                return Poll::Ready(true);
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
                Expiry::CutOff => return Poll::Ready(false),
            }
        }
    })
    .await;
    if ended && watch.unread() {
        linger(connection.into_parts().io.into_inner().inner, &server.limits).await;
    }
}

/// Reads on for a while, since a close with bytes unread resets the connection and may take our answer with it.
pub(super) async fn linger<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, limits: &Limits) {
    let drain = async {
        // On the heap, since every connection would carry the room for it.
        let mut sink = vec![0; 4096];
        let mut left = limits.max_header_bytes.max(1 << 20);
        stream.shutdown().await.ok()?;
        while left > 0 {
            let n = stream.read(&mut sink).await.ok().filter(|n| *n > 0)?;
            left = left.saturating_sub(n);
        }
        Some(())
    };
    let _ = timeout(limits.answer_timeout, drain).await;
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
    line: Arc<Line<H>>,
    request: Request<Incoming>,
    framed: bool,
) -> Result<Answer, Infallible> {
    let chunked = request.headers().contains_key(TRANSFER_ENCODING);
    let sound = framed && one_host(&request);
    let handled = if sound { handle(&line, request).await } else { Err(HttpRefusal::Malformed) };
    let mut answer = handled.unwrap_or_else(|refusal| {
        line.server.metrics.refused(refusal);
        match refusal {
            HttpRefusal::Malformed => answer::empty(StatusCode::BAD_REQUEST),
            _ => answer::retry_after(1),
        }
    });
    if chunked || !sound {
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    line.watch.answered(answer.body().is_stream());
    answer.body_mut().watched_by(Arc::clone(&line.watch));
    Ok(answer)
}

/// RFC 9112, 3.2; hyper leaves it to us.
fn one_host(request: &Request<Incoming>) -> bool {
    let hosts = request.headers().get_all(HOST).iter().count();
    hosts == 1 || hosts == 0 && request.version() == Version::HTTP_10
}

async fn handle<H: Handler>(line: &Line<H>, request: Request<Incoming>) -> Result<Answer, HttpRefusal> {
    let _permit = line.server.requests.try_acquire().map_err(|_| HttpRefusal::Requests)?;
    let _up = Up::new(&line.server.metrics.requests);
    let mut answer = pin!(async { line.handler.handle(request, line.peer).await });
    poll_fn(|cx| {
        if line.watch.overdue() {
            return Poll::Ready(Err(HttpRefusal::Overdue));
        }
        // A handler that panicked is not polled again, so nothing sees what it left half done.
        match catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(cx))) {
            Ok(answer) => answer.map(Ok),
            Err(_) => Poll::Ready(Err(HttpRefusal::Panic)),
        }
    })
    .await
}
