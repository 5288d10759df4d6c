//! A receiver that reads whole requests, notes them, checks their signatures with another implementation, and answers as it is told.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use data_encoding::BASE64;
use ring::hmac;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Barrier;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::SECRETS;

pub(crate) const OK: &str = "HTTP/1.1 204 No Content\r\n\r\n";

/// How a request is answered.
pub(crate) enum Act {
    /// And the next one is awaited on the same connection.
    Say(String),
    /// And the connection is closed, whatever was said of it.
    SayAndClose(String),
    /// Then `.` for ever, one at a time.
    Drip(String),
    /// Nothing, and the connection stays.
    Silence,
    /// Once so many requests are there.
    Together(Arc<Barrier>),
}

/// A request.
#[derive(Debug, Clone)]
pub(crate) struct Post {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Post {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let header = |line: &'_ str| line.split_once(": ").map(|(of, _)| of.eq_ignore_ascii_case(name));
        let line = self.head.lines().find(|line| header(line) == Some(true))?;
        line.split_once(": ").map(|(_, value)| value)
    }

    /// Each signature, by the secret in its place.
    fn check(&self) {
        let Some(signatures) = self.header("webhook-signature") else { return };
        let id = self.header("webhook-id").unwrap();
        let timestamp = self.header("webhook-timestamp").unwrap();
        let signed = [id.as_bytes(), b".", timestamp.as_bytes(), b".", &self.body].concat();
        let signatures: Vec<_> = signatures.split(' ').collect();
        assert_eq!(signatures.len(), SECRETS.len());
        for (secret, signature) in SECRETS.iter().zip(signatures) {
            let key = BASE64.decode(secret.strip_prefix("whsec_").unwrap().as_bytes()).unwrap();
            let signature = BASE64.decode(signature.strip_prefix("v1,").unwrap().as_bytes()).unwrap();
            hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, &key), &signed, &signature).unwrap();
        }
    }
}

type Behaviour = dyn Fn(usize, &Post) -> Act + Send + Sync;

struct Shared {
    posts: Mutex<Vec<Post>>,
    connections: AtomicUsize,
    behave: Box<Behaviour>,
}

pub(crate) struct Receiver {
    address: SocketAddr,
    scheme: &'static str,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

impl Receiver {
    /// `behave` is asked with the number of requests before.
    pub(crate) fn start(behave: impl Fn(usize, &Post) -> Act + Send + Sync + 'static) -> Self {
        Self::with(behave, None)
    }

    pub(crate) fn with(
        behave: impl Fn(usize, &Post) -> Act + Send + Sync + 'static,
        tls: Option<Arc<ServerConfig>>,
    ) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let shared = Arc::new(Shared {
            posts: Mutex::default(),
            connections: AtomicUsize::new(0),
            behave: Box::new(behave),
        });
        let of = Arc::clone(&shared);
        let accepting = tokio::spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                of.connections.fetch_add(1, Ordering::SeqCst);
                let (of, tls) = (Arc::clone(&of), tls.clone());
                tokio::spawn(async move {
                    stream.set_nodelay(true).ok()?;
                    match tls {
                        Some(tls) => of.serve(TlsAcceptor::from(tls).accept(stream).await.ok()?).await,
                        None => of.serve(stream).await,
                    }
                });
            }
        });
        Self { address, scheme, shared, accepting }
    }

    pub(crate) fn url(&self) -> String {
        format!("{}://{}/hook/ring?key=1", self.scheme, self.address)
    }

    pub(crate) fn base(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    pub(crate) fn posts(&self) -> Vec<Post> {
        self.shared.posts.lock().unwrap().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Shared {
    async fn serve<S: AsyncRead + AsyncWrite + Unpin>(&self, mut stream: S) -> Option<()> {
        loop {
            let post = read(&mut stream).await?;
            post.check();
            let act = {
                let mut posts = self.posts.lock().unwrap();
                posts.push(post);
                (self.behave)(posts.len() - 1, posts.last().unwrap())
            };
            match act {
                Act::Say(answer) => say(&mut stream, &answer).await?,
                Act::SayAndClose(answer) => {
                    say(&mut stream, &answer).await?;
                    return stream.shutdown().await.ok();
                }
                Act::Drip(answer) => {
                    say(&mut stream, &answer).await?;
                    loop {
                        say(&mut stream, ".").await?;
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                }
                Act::Silence => std::future::pending().await,
                Act::Together(barrier) => {
                    barrier.wait().await;
                    say(&mut stream, OK).await?;
                }
            }
        }
    }
}

async fn say<S: AsyncWrite + Unpin>(stream: &mut S, answer: &str) -> Option<()> {
    stream.write_all(answer.as_bytes()).await.ok()?;
    stream.flush().await.ok()
}

async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> Option<Post> {
    let mut raw = Vec::new();
    loop {
        if let Some(at) = raw.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let head = String::from_utf8(raw[..at].to_vec()).unwrap();
            let post = Post { head, body: raw[at + 4..].to_vec() };
            let length = post.header("content-length").map_or(0, |length| length.parse().unwrap());
            if post.body.len() >= length {
                assert_eq!(post.body.len(), length, "one at a time");
                return Some(post);
            }
        }
        stream.read_buf(&mut raw).await.ok().filter(|n| *n > 0)?;
    }
}
