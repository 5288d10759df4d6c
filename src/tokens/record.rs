//! What OAuth gave goes to disk, whatever stands in the way: into the store, or until that takes it into the guard folder.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde::Serialize;
use zeroize::Zeroizing;

use super::context::Context;
use super::guard::Waiting;
use crate::domain::heard::Heard;
use crate::domain::time::Millis;
use crate::domain::tokens::Granted;
use crate::store::RefreshIntent;

/// Between two tries to record an answer.
pub(super) const RECORD_AGAIN: Duration = Duration::from_secs(1);

/// Records answers, and the epoch they belong to.
#[derive(Debug)]
pub(super) struct Recorder {
    context: Arc<Context>,
    /// Answers of OAuth that the store has not taken yet.
    waiting: AtomicUsize,
}

impl Recorder {
    pub(super) fn new(context: Arc<Context>) -> Self {
        Self { context, waiting: AtomicUsize::new(0) }
    }

    /// How many answers of OAuth the store has not taken yet.
    pub(super) fn count(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// One more answer that the store has not taken, until it is dropped.
    pub(super) fn unrecorded(&self) -> Unrecorded<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Unrecorded(&self.waiting)
    }

    /// Does not return before what holds tokens is on disk: in the store, or at least, when the daemon stops, in the guard folder.
    pub(super) async fn record(&self, intent: &RefreshIntent, at: Millis, heard: Heard<Granted>) {
        let heard = Arc::new(heard);
        let (mut waits, mut keeping, mut kept_aside) = (None, None, false);
        loop {
            let settling = self.context.store.outbox().settle_refresh(
                intent.number,
                intent.fence,
                at,
                Arc::clone(&heard),
            );
            let Err(error) = settling.await else { break };
            let Some(answer) = precious(&heard) else {
                tracing::warn!(account = %intent.account, %error, "how the refresh came out could not be noted");
                return;
            };
            waits.get_or_insert_with(|| self.unrecorded());
            if !kept_aside {
                // No longer than that: where this folder hangs, the store may be well again.
                let task = keeping.get_or_insert_with(|| tokio::spawn(self.keep_aside(intent, &answer)));
                if let Ok(kept) = tokio::time::timeout(RECORD_AGAIN, task).await {
                    (keeping, kept_aside) = (None, kept.unwrap_or(false));
                }
            }
            tracing::error!(account = %intent.account, %error, kept_aside, "the store can't take new tokens; trying again");
            if kept_aside && self.context.outbound.is_stopping() {
                tracing::warn!(account = %intent.account, "the next start takes its new tokens from the guard folder");
                return;
            }
            tokio::time::sleep(RECORD_AGAIN).await;
        }
        if waits.is_some() {
            tracing::info!(account = %intent.account, "the store has the new tokens now");
            let (guard, number, fence) = (Arc::clone(&self.context.guard), intent.number, intent.fence);
            tokio::spawn(async move {
                if let Some(task) = keeping {
                    let _ = task.await;
                }
                guard.drop_answer(number, fence).await;
            });
        }
        drop(waits);
        if precious(&heard).is_some() {
            self.note_what_is_on_disk().await;
        }
    }

    fn keep_aside(
        &self,
        intent: &RefreshIntent,
        answer: &[u8],
    ) -> impl Future<Output = bool> + Send + 'static {
        let (guard, account, sealed) =
            (Arc::clone(&self.context.guard), intent.account.clone(), intent.seal_answer(answer));
        let (number, fence) = (intent.number, intent.fence);
        async move {
            let Ok(sealed) = sealed else { return false };
            let kept = guard.keep_answer(Waiting { number, fence, sealed }).await;
            if let Err(error) = &kept {
                tracing::error!(%account, %error, "nor can the guard folder: the new tokens are in memory alone");
            }
            kept.is_ok()
        }
    }

    /// Notes the store's epoch after new tokens are on disk: a copy from before them would send again what they replaced. The store's
    /// own word, since a commit that was said to have failed may have been durable.
    pub(super) async fn note_what_is_on_disk(&self) {
        match self.context.store.outbox().epoch().await {
            Ok(epoch) => drop(self.context.outbound.until_the_end(self.note_epoch(epoch)).await),
            Err(error) => {
                tracing::warn!(%error, "the store's epoch can't be read; the next refresh notes it");
            }
        }
    }

    pub(super) async fn note_epoch(&self, epoch: u64) {
        if let Err(error) = self.context.guard.note(epoch).await {
            // The guard is for the operator's mistakes; the link is worth more.
            tracing::error!(%error, folder = %self.context.guard.folder().display(), "the guard folder can't be written");
        }
    }
}

/// One more answer that the store has not taken, while this lives.
pub(super) struct Unrecorded<'a>(&'a AtomicUsize);

impl Drop for Unrecorded<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Larger than any that was read.
const MAX_ANSWER: usize = 128 << 10;

#[derive(Serialize)]
struct OAuthAnswer<'a> {
    access_token: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<&'a str>,
    expires_in: u64,
    scope: Option<&'a str>,
}

/// What must not be lost, as OAuth would have said it.
fn precious(heard: &Heard<Granted>) -> Option<Zeroizing<Vec<u8>>> {
    let Heard::Answer(given) = heard else { return None };
    match given {
        Granted::Pair(pair) => {
            let answer = OAuthAnswer {
                access_token: pair.access_token.expose(),
                refresh_token: pair.refresh_token.as_ref().map(|token| token.expose().as_str()),
                expires_in: pair.expires_in.as_secs(),
                scope: pair.scope.as_deref(),
            };
            // One buffer of the full size: growing would leave copies behind.
            let mut text = Zeroizing::new(Vec::with_capacity(MAX_ANSWER));
            serde_json::to_writer(&mut *text, &answer).ok().map(|()| text)
        }
        Granted::Unreadable(raw) => Some(Zeroizing::new(raw.expose().clone())),
    }
}
