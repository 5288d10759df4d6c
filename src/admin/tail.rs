//! Watching a queue: the newest that waits, then what arrives, one `CloudEvent` a line. Nothing is taken.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use super::Admin;
use super::refusal::Reply;
use super::request::{Query, no_such_queue, queue_name};
use super::session::Session;
use crate::domain::event::Event;
use crate::domain::format::Format;
use crate::domain::ids::QueueName;
use crate::domain::rights::Call;
use crate::http::answer;
use crate::store::{Followed, Follower, Published};

const LAST: usize = 10;
const MAX_LAST: usize = 200;
/// The newest events that are shown take at most so many bytes in the store; one is shown whatever its size.
const MAX_LAST_BYTES: u64 = 1 << 20;
/// Lines that wait for the reader, each of up to a body's size; behind them it lags in the store's own buffer, and is told
/// when that runs over.
const BUFFERED: usize = 1;

impl Admin {
    /// `?last=N`: so many of the newest first, up to a mebibyte. `{"gap":n}` where n events, of any queue, came too fast for
    /// the reader.
    pub(super) async fn tail(self: &Arc<Self>, session: &Arc<Session>, name: &str, query: &Query) -> Reply {
        let queue = queue_name(name)?;
        session.may(Call::QueueTail, Some(&queue))?;
        let last = query.get("last", "a number", |v| v.parse().ok())?.unwrap_or(LAST).min(MAX_LAST);
        if self.store.queues().wake(&queue).is_none() {
            return Err(no_such_queue());
        }
        let live = self.store.queues().follow();
        // So what was being committed when following began can be seen from here on.
        self.store.queues().catch_up().await?;
        let scope = session.scope(&self.store, None).await?;
        let newest = self.store.queues().peek(&queue, last, MAX_LAST_BYTES, &scope).await?;
        let (pieces, receiver) = mpsc::channel(BUFFERED);
        let tail =
            Tail { queue, session: Arc::clone(session), live, stopping: self.stopping.subscribe(), pieces };
        let shown: HashSet<u64> = newest.iter().map(|leased| leased.seq).collect();
        let lines =
            newest.into_iter().map(|leased| line(&leased.event, leased.seq, leased.attempt)).collect();
        tokio::spawn(tail.run(lines, shown));
        Ok(answer::stream("application/x-ndjson", receiver))
    }
}

struct Tail {
    queue: QueueName,
    session: Arc<Session>,
    live: Follower,
    stopping: watch::Receiver<bool>,
    pieces: mpsc::Sender<Bytes>,
}

impl Tail {
    /// Ends when the reader is gone, the rights of the socket change or the daemon stops.
    async fn run(mut self, backlog: Vec<Bytes>, shown: HashSet<u64>) {
        for line in backlog {
            if self.pieces.send(line).await.is_err() {
                return;
            }
        }
        while let Some(line) = self.next(&shown).await {
            if self.pieces.send(line).await.is_err() {
                return;
            }
        }
    }

    async fn next(&mut self, shown: &HashSet<u64>) -> Option<Bytes> {
        loop {
            let followed = tokio::select! {
                followed = self.live.next() => followed?,
                () = self.pieces.closed() => return None,
                () = self.session.ended() => return None,
                _ = self.stopping.wait_for(|stopping| *stopping) => return None,
            };
            if self.session.has_ended() {
                return None;
            }
            match followed {
                Followed::Event(published) if self.wants(&published) && !shown.contains(&published.seq) => {
                    return Some(line(&published.event, published.seq, 1));
                }
                Followed::Event(_) => {}
                Followed::Missed(missed) => return Some(format!("{{\"gap\":{missed}}}\n").into()),
            }
        }
    }

    fn wants(&self, published: &Published) -> bool {
        published.queues.contains(&self.queue) && self.session.sees_event(&published.event)
    }
}

fn line(event: &Event, seq: u64, attempt: u32) -> Bytes {
    Format::CloudEvents.content(event, seq, attempt)
}
