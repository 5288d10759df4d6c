//! The simulated Ring's sockets: reads requests, lets the world answer, and waits or hangs up as a fault demands.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, DATE, HeaderName};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::call::{Call, Reply};
use super::control;
use super::shared::Shared;
use crate::clock;

/// Longer bodies are cut off with their connection.
const MAX_BODY: usize = 64 * 1024;

/// Serves until it is told to stop, and then drops what is in flight.
pub(super) async fn serve(
    listener: std::net::TcpListener,
    shared: Arc<Shared>,
    mut stop: oneshot::Receiver<()>,
) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    loop {
        tokio::select! {
            _ = &mut stop => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => { tokio::spawn(connection(stream, Arc::clone(&shared))); }
                // Out of descriptors: they come back as connections end.
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
            },
        }
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>) {
    // Only costs latency where it fails.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| handle(Arc::clone(&shared), request));
    // The error is the client's, or a fault's that was asked for.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// An error makes hyper close the connection without an answer.
async fn handle(shared: Arc<Shared>, request: Request<Incoming>) -> io::Result<Response<Full<Bytes>>> {
    let call = read(request).await?;
    if shared.control
        && let Some(reply) = control::answer(&shared, &call)
    {
        shared.say(|| line(&call, None, Some(&reply)));
        return response(&shared, reply);
    }
    let begun = shared.world().begin(&call, shared.clock.now(), clock::instant() - shared.started);
    let begun = match begun {
        Ok(begun) => begun,
        Err(refusal) => return response(&shared, refusal),
    };
    let _in_flight = begun.account.clone().map(|account| InFlight::new(&shared, account));
    // A task of its own: Ring works on what it has read, whether or not the client waits for it.
    let work = tokio::spawn({
        let shared = Arc::clone(&shared);
        async move {
            tokio::time::sleep(begun.due.before).await;
            let now = shared.clock.now();
            let reply = shared.world().work(&call, &begun, now);
            shared.tell_completed();
            shared.say(|| line(&call, begun.account.as_deref(), reply.as_ref()));
            tokio::time::sleep(begun.due.after).await;
            reply
        }
    });
    let reply = work.await.map_err(io::Error::other)?;
    response(&shared, reply.ok_or(io::ErrorKind::ConnectionAborted)?)
}

async fn read(request: Request<Incoming>) -> io::Result<Call> {
    let (head, mut body) = request.into_parts();
    let text = |name: HeaderName| head.headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = text(AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer ")).map(Into::into);
    let content_type = text(CONTENT_TYPE).unwrap_or_default().to_owned();
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Ok(piece) = frame.map_err(io::Error::other)?.into_data() {
            bytes.extend_from_slice(&piece);
        }
        if bytes.len() > MAX_BODY {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    let path = head.uri.path().to_owned();
    Ok(Call { method: head.method, path, content_type, bearer, body: bytes.freeze() })
}

fn response(shared: &Shared, reply: Reply) -> io::Result<Response<Full<Bytes>>> {
    let mut builder = Response::builder().status(reply.status).header(CONTENT_TYPE, reply.content_type);
    // By the simulated clock: hyper would say the machine's.
    builder = builder.header(DATE, shared.clock.now().http_date());
    for (name, value) in reply.headers {
        builder = builder.header(name, value);
    }
    builder.body(Full::new(reply.body.into())).map_err(io::Error::other)
}

fn line(call: &Call, account: Option<&str>, reply: Option<&Reply>) -> String {
    let status = reply.map_or("no answer".to_owned(), |reply| reply.status.to_string());
    // The path is the client's: nothing in it may steer a terminal.
    format!("{} {} {status} {}", call.method, call.path.escape_debug(), account.unwrap_or(""))
}

/// A request at the token endpoint that its client waits for.
struct InFlight<'s> {
    shared: &'s Shared,
    account: Arc<str>,
}

impl<'s> InFlight<'s> {
    fn new(shared: &'s Shared, account: Arc<str>) -> Self {
        shared.world().ledger.begin(&account);
        Self { shared, account }
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.shared.world().ledger.end(&self.account);
    }
}
