//! `ringhookd check --connect`: tries the receiver of each queue, all at once, and sends nothing that one would keep.

use std::io;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::config::{Config, MasterKey};
use crate::delivery::sinks::{Probed, QueueSink};

/// For all questions to one receiver.
const PATIENCE: Duration = Duration::from_secs(20);

/// A receiver, and what was found.
#[derive(Debug)]
pub(super) struct Tried {
    queue: String,
    kind: &'static str,
    found: Probed,
}

impl Tried {
    pub(super) fn is_well(&self) -> bool {
        self.found.is_ok()
    }

    /// A line for people.
    pub(super) fn line(&self) -> String {
        let Self { queue, kind, found } = self;
        match found {
            Ok(None) => format!("queue {queue} ({kind}): its receiver is there"),
            Ok(Some(note)) => format!("queue {queue} ({kind}): its receiver is there; {note}"),
            Err(why) => format!("queue {queue} ({kind}): {why}"),
        }
    }

    pub(super) fn json(&self) -> Value {
        let Self { queue, kind, found } = self;
        let (note, why) = match found {
            Ok(note) => (note.as_ref(), None),
            Err(why) => (None, Some(why)),
        };
        json!({"queue": queue, "kind": kind, "ok": found.is_ok(), "why": why, "note": note})
    }
}

/// Tries every receiver, whatever becomes of the others; in the order of the configuration.
pub(super) fn receivers(config: &Config) -> io::Result<Vec<Tried>> {
    // Wrong secrets were told with the configuration.
    let Ok(mut secrets) = config.secrets(MasterKey::MadeLater) else { return Ok(Vec::new()) };
    let (mut all, mut sinks) = (Vec::new(), Vec::new());
    for queue in config.queues.iter().filter(|queue| queue.kind.has_receiver()) {
        let secrets = secrets.receivers.remove(&queue.name).unwrap_or_default();
        // A sink that can't be made was told too.
        if let Ok(Some(sink)) = QueueSink::open(queue, secrets) {
            let found = Err("the look at it ended in a panic".to_owned());
            all.push(Tried { queue: queue.name.to_string(), kind: queue.kind.as_str(), found });
            sinks.push(sink);
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut looks = JoinSet::new();
        for (at, sink) in sinks.into_iter().enumerate() {
            looks.spawn(async move { (at, timeout(PATIENCE, sink.probe()).await) });
        }
        while let Some(look) = looks.join_next().await {
            let Ok((at, found)) = look else { continue };
            let too_long = || Err(format!("no answer within {} s", PATIENCE.as_secs()));
            all[at].found = found.unwrap_or_else(|_| too_long());
        }
    });
    Ok(all)
}
