//! TLS over any listener: the handshake is the setup of a connection, so it runs in the connection's task, under its limits.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::Semaphore;
use tokio::task::yield_now;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::listener::{Listener, Peer, Setup};
use crate::telemetry::{Handshake as Outcome, Metrics};
use crate::tls::server::{Answers, Purpose};

/// The first byte of every handshake.
const HANDSHAKE: u8 = 0x16;
/// What a peer is told that speaks plain HTTP here.
const PLAIN: &str = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n\
                     This address speaks HTTPS: write https:// before it.\n";
/// Bytes of such a request that are read before the close, which would else take the answer with it.
const PLAIN_BYTES: u64 = 64 * 1024;
/// Handshakes that compute at a time.
const TURNS: usize = 2;

/// A listener whose connections speak TLS.
#[derive(Debug)]
pub struct TlsListener<L> {
    listener: L,
    shared: Shared,
}

#[derive(Debug, Clone)]
struct Shared {
    answers: Answers,
    /// One handshake takes as long as many requests. Those that wait for a turn stand outside the runtime's queue, so open connections
    /// are served between two handshakes however many come.
    turns: Arc<Semaphore>,
    metrics: Metrics,
}

impl<L> TlsListener<L> {
    pub fn new(listener: L, answers: Answers, metrics: Metrics) -> Self {
        Self { listener, shared: Shared { answers, turns: Arc::new(Semaphore::new(TURNS)), metrics } }
    }
}

impl<L: Listener> Listener for TlsListener<L> {
    type Accepted = Handshake<L::Accepted>;

    async fn accept(&mut self) -> io::Result<Self::Accepted> {
        let accepted = self.listener.accept().await?;
        Ok(Handshake { accepted, shared: self.shared.clone() })
    }
}

/// An accepted connection before its handshake.
#[derive(Debug)]
pub struct Handshake<A> {
    accepted: A,
    shared: Shared,
}

impl<A: Setup> Setup for Handshake<A> {
    type Stream = TlsStream<Begun<A::Stream>>;

    async fn set_up(self) -> io::Result<(Self::Stream, Peer)> {
        let mut counted = Counted { metrics: self.shared.metrics.clone(), outcome: Outcome::Unfinished };
        let (mut stream, peer) = self.accepted.set_up().await?;
        let first = stream.read_u8().await?;
        if first != HANDSHAKE {
            counted.outcome = if first.is_ascii_alphabetic() { Outcome::PlainHttp } else { Outcome::Failed };
            if counted.outcome == Outcome::PlainHttp {
                refuse(stream).await;
            }
            return Err(io::ErrorKind::InvalidData.into());
        }
        let done = shake(Begun { first: Some(first), inner: stream }, &self.shared).await;
        match done {
            Ok((stream, Purpose::Http)) => {
                counted.outcome = Outcome::Complete;
                Ok((stream, peer))
            }
            Ok((mut stream, Purpose::Proof)) => {
                counted.outcome = Outcome::Proof;
                let _ = stream.shutdown().await;
                Err(io::ErrorKind::ConnectionAborted.into())
            }
            Err(error) => {
                counted.outcome = Outcome::Failed;
                Err(error)
            }
        }
    }
}

async fn shake<S>(stream: Begun<S>, shared: &Shared) -> io::Result<(TlsStream<Begun<S>>, Purpose)>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
    let turn = shared.turns.acquire().await;
    yield_now().await;
    let (purpose, config) = shared.answers.to(&hello.client_hello());
    // Here it signs.
    let rest = hello.into_stream(config);
    drop(turn);
    Ok((rest.await?, purpose))
}

async fn refuse<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) {
    if stream.write_all(PLAIN.as_bytes()).await.is_ok() && stream.shutdown().await.is_ok() {
        let mut rest = stream.take(PLAIN_BYTES);
        let _ = tokio::io::copy(&mut rest, &mut tokio::io::sink()).await;
    }
}

/// Counts how a handshake came out, also where it is dropped.
struct Counted {
    metrics: Metrics,
    outcome: Outcome,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.metrics.handshake(self.outcome);
    }
}

/// A stream whose first byte was read already.
#[derive(Debug)]
pub struct Begun<S> {
    first: Option<u8>,
    inner: S,
}

impl<S: AsyncRead + Unpin> AsyncRead for Begun<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buf.remaining() > 0
            && let Some(first) = self.first.take()
        {
            buf.put_slice(&[first]);
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Begun<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
