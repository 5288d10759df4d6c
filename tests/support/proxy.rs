//! A small TCP proxy between a client and a server on 127.0.0.1, which loses answers and cuts connections when a test says so.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

/// What becomes of the server's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answers {
    Pass,
    /// The server's bytes are lost; the connection stays. What the client sends arrives.
    Lost,
    /// As a network that is gone: nothing passes in either direction, and nobody is told.
    Dead,
}

/// A proxy; ends with its value.
pub(crate) struct Proxy {
    port: u16,
    answers: watch::Sender<Answers>,
    open: Arc<Mutex<Vec<AbortHandle>>>,
    task: AbortHandle,
}

impl Proxy {
    /// In front of this port of 127.0.0.1. In a runtime.
    pub(crate) async fn before(server: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let answers = watch::Sender::new(Answers::Pass);
        let open = Arc::new(Mutex::new(Vec::new()));
        let (known, state) = (Arc::clone(&open), answers.subscribe());
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                let state = state.clone();
                let connection = connections.spawn(async move {
                    // A server that is down is a connection that ends.
                    let Ok(far) = TcpStream::connect((Ipv4Addr::LOCALHOST, server)).await else { return };
                    let (near, far) = (near.into_split(), far.into_split());
                    tokio::join!(
                        pump(near.0, far.1, state.clone(), &[Answers::Pass, Answers::Lost]),
                        pump(far.0, near.1, state, &[Answers::Pass]),
                    );
                });
                known.lock().unwrap().push(connection);
            }
        });
        Self { port, answers, open, task: task.abort_handle() }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn set(&self, answers: Answers) {
        self.answers.send_replace(answers);
    }

    /// Ends every connection where it is.
    pub(crate) fn cut(&self) {
        self.open.lock().unwrap().drain(..).for_each(|connection| connection.abort());
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
        self.task.abort();
    }
}

/// Hands on what comes while `state` is one of `passing`.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    state: watch::Receiver<Answers>,
    passing: &[Answers],
) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(n @ 1..) = from.read(&mut buffer).await {
        let now = *state.borrow();
        if passing.contains(&now) && to.write_all(&buffer[..n]).await.is_err() {
            return;
        }
    }
    if *state.borrow() != Answers::Dead {
        let _ = to.shutdown().await;
    }
}
