//! What the child processes run.

use std::convert::Infallible;
use std::error::Error;
use std::fmt::Display;
use std::io::{BufRead, Read, Write};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use ringhookd::clock;
use ringhookd::daemon::Daemon;
use ringhookd::http::{Body, Limits, Listener, Server, TlsListener, answer};
use ringhookd::sim::Outcome;
use ringhookd::telemetry::{ListenerName, Metrics};
use ringhookd::tls::server::{Answers, Pair, Shown};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::spawn_blocking;

use super::Role;
use crate::stores;
use crate::stores::due;

/// The first argument of a child.
pub(crate) const ARGUMENT: &str = "--role";
const MAX_BODY: usize = 1 << 20;

/// Runs a role until the parent closes standard input; prints the address once it accepts.
pub(crate) fn run(role: Role, folder: &Path) -> Result<(), Box<dyn Error>> {
    if role == Role::Ring {
        return ring(folder);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        if role == Role::Durable {
            let daemon = Daemon::start(stores::config(folder)?).await?;
            accepting(&daemon.address())?;
            parent_is_done().await;
            daemon.stop().await;
            return Ok(());
        }
        if role == Role::Local {
            let path = folder.join("bare.sock");
            let listener = UnixListener::bind(&path)?;
            accepting(&path.display())?;
            tokio::spawn(local(listener));
            parent_is_done().await;
            return Ok(());
        }
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let config = if role == Role::Secured { Some(secured(folder)?) } else { None };
        accepting(&listener.local_addr()?)?;
        if role == Role::Http {
            http(listener).await;
        } else if let Some(config) = config {
            http(TlsListener::new(listener, config, Metrics::default())).await;
        } else {
            tokio::spawn(baseline(listener));
            parent_is_done().await;
        }
        Ok(())
    })
}

fn accepting(address: &impl Display) -> std::io::Result<()> {
    println!("{address}");
    std::io::stdout().flush()
}

async fn parent_is_done() {
    let _ = spawn_blocking(|| std::io::stdin().read(&mut [0])).await;
}

/// Has the accounts that are due, and says the refreshes it granted and its worst second whenever it is asked.
fn ring(folder: &Path) -> Result<(), Box<dyn Error>> {
    let ring = due::ring()?;
    due::link(&ring, due::count(folder)?);
    accepting(&ring.address())?;
    for line in std::io::stdin().lock().lines() {
        line?;
        let granted = ring.exchanges().iter().filter(|e| matches!(e.outcome, Outcome::Granted(_))).count();
        accepting(&format_args!("{granted} {}", ring.peak_per_second()))?;
    }
    Ok(())
}

/// The settings of our HTTP room, and none of its work.
fn bare() -> hyper::server::conn::http1::Builder {
    let limits = Limits::default();
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(2 * limits.keep_alive_idle)
        .max_buf_size(limits.max_header_bytes)
        .max_header_size(limits.max_header_bytes);
    builder
}

async fn local(listener: UnixListener) {
    let builder = bare();
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(builder.serve_connection(TokioIo::new(stream), service_fn(read_and_lend)));
    }
}

/// As long as the answer to a worker.
async fn read_and_lend(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    static ANSWER: [u8; stores::TOKENS / 2 + 130] = [b'x'; stores::TOKENS / 2 + 130];
    let mut body = request.into_body();
    while let Some(Ok(_)) = body.frame().await {}
    Ok(Response::new(Full::new(Bytes::from_static(&ANSWER))))
}

async fn baseline(listener: TcpListener) {
    let builder = bare();
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        tokio::spawn(builder.serve_connection(TokioIo::new(stream), service_fn(read_and_answer)));
    }
}

async fn read_and_answer(request: Request<Incoming>) -> Result<Response<Empty<Bytes>>, Infallible> {
    let mut body = request.into_body();
    while let Some(Ok(_)) = body.frame().await {}
    Ok(Response::new(Empty::new()))
}

/// A certificate that signs itself, which the parent reads once we accept.
fn secured(folder: &Path) -> Result<Answers, Box<dyn Error>> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let chain = made.cert.pem();
    std::fs::write(folder.join("tls.pem"), &chain)?;
    let key = made.signing_key.serialize_pem();
    let pair = Pair::read(chain.as_bytes(), key.as_bytes())?;
    Ok(Answers::new(Shown::new(Some(&pair)), None)?)
}

async fn http(listener: impl Listener) {
    let server = Server::new(Limits::default(), Metrics::default().http(ListenerName::Public));
    let handler = |request: Request<Body>| async move {
        let deadline = clock::ticks() + Duration::from_secs(4);
        let read = request.into_body().read(MAX_BODY, deadline).await;
        answer::empty(if read.is_ok() { StatusCode::OK } else { StatusCode::BAD_REQUEST })
    };
    let stop = async {
        parent_is_done().await;
        clock::ticks()
    };
    server.serve(listener, handler, stop).await;
}
