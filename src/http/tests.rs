//! Raw bytes against a listener: what a peer may do wrong, and what it gets for it.

use std::time::Duration;

use bytes::Bytes;
use hyper::{Method, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::*;
use crate::telemetry::{ListenerName, Metrics};

mod evictions;
mod hostile;
mod lifetime;
mod tls;

const CAP: usize = 1000;

/// For virtual time.
fn limits() -> Limits {
    Limits {
        setup_timeout: Duration::from_millis(300),
        header_timeout: Duration::from_millis(300),
        keep_alive_idle: Duration::from_millis(300),
        request_budget: Duration::from_millis(300),
        answer_timeout: Duration::from_millis(300),
        ..Limits::default()
    }
}

/// For real sockets on a machine that is busy with other things.
fn patient() -> Limits {
    Limits {
        setup_timeout: Duration::from_secs(10),
        header_timeout: Duration::from_secs(1),
        keep_alive_idle: Duration::from_secs(1),
        request_budget: Duration::from_secs(2),
        answer_timeout: Duration::from_secs(30),
        ..Limits::default()
    }
}

/// Echoes bodies of up to [`CAP`] bytes, and misbehaves by path.
async fn handler(server: Arc<Server>, request: Request<Body>) -> Answer {
    match request.uri().path() {
        "/panic" => panic!("asked for"),
        "/never" => std::future::pending().await,
        "/large" => answer::text(StatusCode::OK, vec![b'x'; 8 << 20]),
        "/late" => {
            tokio::time::sleep(Duration::from_millis(100)).await;
            answer::text(StatusCode::OK, "late")
        }
        "/stream" => {
            let (pieces, receiver) = mpsc::channel(1);
            tokio::spawn(async move {
                for _ in 0..5 {
                    tokio::time::sleep(Duration::from_mins(1)).await;
                    let _ = pieces.send(Bytes::from_static(b"piece\n")).await;
                }
            });
            answer::stream("text/plain", receiver)
        }
        "/flood" => {
            let (pieces, receiver) = mpsc::channel(1);
            tokio::spawn(
                async move { while pieces.send(Bytes::from_static(&[b'x'; 4096])).await.is_ok() {} },
            );
            answer::stream("text/plain", receiver)
        }
        _ => echo(server, request).await,
    }
}

async fn echo(server: Arc<Server>, request: Request<Body>) -> Answer {
    if request.method() == Method::GET {
        return answer::text(StatusCode::OK, "got");
    }
    let deadline = clock::ticks() + server.limits().request_budget / 2;
    let connection = request.body().connection();
    let genuine = request.uri().path() == "/genuine";
    match request.into_body().read(CAP, deadline).await {
        Ok(_) if genuine => {
            connection.prove();
            answer::text(StatusCode::OK, "genuine")
        }
        Ok(body) => answer::text(StatusCode::OK, body.bytes().clone()),
        Err(body::BodyError::TooLarge) => answer::empty(StatusCode::PAYLOAD_TOO_LARGE),
        Err(_) => answer::retry_after(1),
    }
}

/// A server that runs until it is told otherwise.
struct Running {
    server: Arc<Server>,
    stop: oneshot::Sender<Instant>,
    ended: JoinHandle<usize>,
}

fn start(limits: Limits, listener: impl Listener) -> Running {
    let server = Server::new(limits, Metrics::default().http(ListenerName::Public));
    let (stop, stopped) = oneshot::channel();
    let own = Arc::clone(&server);
    let handler = move |request| handler(Arc::clone(&own), request);
    let stopped = async { stopped.await.unwrap_or_else(|_| clock::ticks()) };
    let ended = tokio::spawn(Arc::clone(&server).serve(listener, handler, stopped));
    Running { server, stop, ended }
}

impl Running {
    /// Stops with `drain` left; how many connections were cut off.
    async fn stop(self, drain: Duration) -> usize {
        let _ = self.stop.send(clock::ticks() + drain);
        self.ended.await.unwrap()
    }
}

/// On a real socket.
async fn tcp(limits: Limits) -> (Running, std::net::SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (start(limits, listener), address)
}

/// Pipes instead of sockets, since those alone stand still when time does.
struct Pipes(mpsc::Receiver<DuplexStream>);

impl Listener for Pipes {
    type Accepted = DuplexStream;

    async fn accept(&mut self) -> io::Result<DuplexStream> {
        match self.0.recv().await {
            Some(pipe) => Ok(pipe),
            None => std::future::pending().await,
        }
    }
}

impl Setup for DuplexStream {
    type Stream = Self;

    async fn set_up(self) -> io::Result<(Self, Peer)> {
        Ok((self, Peer::default()))
    }
}

struct Dialer(mpsc::Sender<DuplexStream>);

impl Dialer {
    async fn dial(&self) -> DuplexStream {
        let (ours, theirs) = duplex(16 * 1024);
        self.0.send(theirs).await.unwrap();
        ours
    }
}

/// Under virtual time.
fn piped(limits: Limits) -> (Running, Dialer) {
    let (sender, receiver) = mpsc::channel(16);
    (start(limits, Pipes(receiver)), Dialer(sender))
}

/// Everything until the server closes, also when it resets.
async fn until_closed(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut all = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(n @ 1..) = stream.read(&mut piece).await {
        all.extend_from_slice(&piece[..n]);
    }
    String::from_utf8_lossy(&all).into_owned()
}

/// Reads one answer whose body ends in `end`, and leaves the connection open.
async fn until(stream: &mut (impl tokio::io::AsyncRead + Unpin), end: &str) -> String {
    let mut all = String::new();
    let mut piece = [0; 4096];
    while !all.ends_with(end) {
        let n = stream.read(&mut piece).await.unwrap();
        assert!(n > 0, "closed after {all:?}");
        all.push_str(&String::from_utf8_lossy(&piece[..n]));
    }
    all
}

const GET: &str = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n";

fn get(path: &str) -> String {
    GET.replace("/x", path)
}

/// How many answers of `class` (its first digit) are in `raw`.
fn answers(raw: &str, class: char) -> usize {
    raw.matches(&format!("HTTP/1.1 {class}")).count()
}
