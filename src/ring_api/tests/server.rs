//! A server that reads whole requests, notes them, and answers each with the same bytes.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What follows an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// The next request on the same connection.
    Next,
    Close,
    /// A close that the client may meet before what came.
    Reset,
    /// Not another word, and the connection stays.
    Silence,
    /// `.` for ever, one at a time.
    Drip,
    /// Megabytes of `.`, as fast as they are taken.
    Flood,
}

pub(super) struct Server {
    address: SocketAddr,
    seen: Arc<Seen>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
pub(super) struct Seen {
    connections: AtomicUsize,
    requests: Mutex<Vec<String>>,
}

/// An answer with a length; `status` may carry headers.
pub(super) fn http(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

impl Server {
    pub(super) async fn start(answer: &str, then: Then) -> Self {
        let answer = answer.to_owned();
        Self::with(move |mut stream, seen| {
            let answer = answer.clone();
            async move {
                converse(&mut stream, &seen, &answer, then).await?;
                if then == Then::Reset {
                    stream.set_zero_linger().ok()?;
                }
                Some(())
            }
        })
        .await
    }

    /// `handle` has each connection.
    pub(super) async fn with<F>(handle: impl Fn(TcpStream, Arc<Seen>) -> F + Send + 'static) -> Self
    where
        F: Future<Output = Option<()>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let shared = Arc::clone(&seen);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                shared.connections.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(handle(stream, Arc::clone(&shared)));
            }
        });
        Self { address, seen, accepting }
    }

    pub(super) fn base(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::Relaxed)
    }

    pub(super) fn requests(&self) -> Vec<String> {
        self.seen.requests.lock().unwrap().clone()
    }

    /// How often a text came, even in a request that is not whole.
    pub(super) fn received(&self, text: &str) -> usize {
        self.requests().iter().map(|request| request.matches(text).count()).sum()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Serves one connection until it is to end.
pub(super) async fn converse<S>(stream: &mut S, seen: &Seen, answer: &str, then: Then) -> Option<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        read_request(stream, seen).await?;
        stream.write_all(answer.as_bytes()).await.ok()?;
        stream.flush().await.ok()?;
        match then {
            Then::Next => {}
            Then::Close | Then::Reset => return Some(()),
            Then::Silence => return std::future::pending().await,
            Then::Drip => loop {
                stream.write_all(b".").await.ok()?;
                tokio::time::sleep(Duration::from_millis(10)).await;
            },
            Then::Flood => {
                for _ in 0..4000 {
                    stream.write_all(&[b'.'; 16384]).await.ok()?;
                }
            }
        }
    }
}

/// Notes whatever came, whole or not; `None` if it is not whole.
pub(super) async fn read_request<S: AsyncRead + Unpin>(stream: &mut S, seen: &Seen) -> Option<()> {
    let mut raw = Vec::new();
    let whole = loop {
        if is_whole(&raw) {
            break true;
        }
        if !matches!(stream.read_buf(&mut raw).await, Ok(1..)) {
            break false;
        }
    };
    if !raw.is_empty() {
        seen.requests.lock().unwrap().push(String::from_utf8(raw).unwrap());
    }
    whole.then_some(())
}

fn is_whole(raw: &[u8]) -> bool {
    let text = String::from_utf8_lossy(raw).to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    body.len() >= length.map_or(0, |length| length.parse().unwrap())
}
