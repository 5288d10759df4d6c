//! A kept connection whose end the client meets together with the next request, which sockets can't be made to do.

use std::future::{Ready, ready};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex};
use tower_service::Service;

use super::*;

#[tokio::test]
async fn what_was_not_begun_is_not_sent() {
    let (near, mut far) = duplex(4096);
    let client = http_client::pooled(Once(Arc::new(Mutex::new(Some(near)))), &limits(Duration::from_secs(1)));
    let request = || request::post(&Uri::from_static("http://localhost/"), &[("a", TOKEN)]);
    let first = tokio::spawn(client.request(request()));
    let mut received = Vec::new();
    while !String::from_utf8_lossy(&received).contains(TOKEN) {
        far.read_buf(&mut received).await.unwrap();
    }
    far.write_all(http("204 No Content", "").as_bytes()).await.unwrap();
    drop(first.await.unwrap().unwrap());
    returned().await;
    // Ends the answers but not the requests, so that one that was written would be seen. No task runs in between: a shutdown
    // of a pipe is ready at once, and so is the next request's way to its connection.
    far.shutdown().await.unwrap();
    let failure = Failure::of(&client.request(request()).await.unwrap_err());
    assert!(matches!(&failure, Failure::NotSent(why) if why.contains("closed before")), "{failure:?}");
    received.clear();
    far.read_to_end(&mut received).await.unwrap();
    assert!(received.is_empty());
}

/// Connects once, to the other end of a pipe.
#[derive(Clone)]
struct Once(Arc<Mutex<Option<DuplexStream>>>);

impl Service<Uri> for Once {
    type Response = TokioIo<Pipe>;
    type Error = io::Error;
    type Future = Ready<io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let near = self.0.lock().unwrap().take();
        ready(
            near.map(|near| TokioIo::new(Pipe(near))).ok_or_else(|| io::ErrorKind::ConnectionRefused.into()),
        )
    }
}

struct Pipe(DuplexStream);

impl Connection for Pipe {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, room)
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
