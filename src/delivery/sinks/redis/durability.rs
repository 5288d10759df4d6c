//! How safe an entry is once the server has replied: what it says of itself, and the confirmations of its replicas and disks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ::redis::{Cmd, RedisResult, cmd};
use tokio::sync::Mutex;

use super::answer::Answers;
use super::wire::Wire;
use crate::config;
use crate::delivery::sinks::lanes::Answer;

/// The server's configuration as it tells it; nothing where it does not say.
#[derive(Debug, Default)]
pub(super) struct Settings {
    /// Bytes of the longest value that it takes.
    pub(super) max_bulk: Option<usize>,
    appendonly: Option<String>,
    max_memory: Option<u64>,
    policy: Option<String>,
}

impl Settings {
    pub(super) async fn of(wire: &Wire) -> RedisResult<Self> {
        Ok(Self {
            max_bulk: setting(wire, "proto-max-bulk-len").await?.and_then(|text| text.parse().ok()),
            appendonly: setting(wire, "appendonly").await?,
            max_memory: setting(wire, "maxmemory").await?.and_then(|text| text.parse().ok()),
            policy: setting(wire, "maxmemory-policy").await?,
        })
    }

    /// How the server may lose what it has confirmed.
    pub(super) fn doubts(&self) -> Option<&'static str> {
        let policy = self.policy.as_deref().unwrap_or_default();
        if self.appendonly.as_deref() == Some("no") {
            Some("the server keeps no log of what it takes (appendonly no): a crash of it loses events")
        } else if policy.starts_with("allkeys-") && self.max_memory != Some(0) {
            Some("the server removes whole streams when its memory is full (maxmemory-policy allkeys-…)")
        } else {
            None
        }
    }
}

/// A user who may not ask for it is no failure; one who is none yet is.
async fn setting(wire: &Wire, name: &str) -> RedisResult<Option<String>> {
    match wire.ask::<Vec<String>>(cmd("CONFIG").arg("GET").arg(name)).await {
        Ok(pair) => Ok(pair.into_iter().nth(1)),
        Err(error) if error.code().is_some_and(|code| code != "NOAUTH") => Ok(None),
        Err(error) => Err(error),
    }
}

/// Confirmations that an entry needs besides the server's reply.
#[derive(Debug)]
pub(super) struct Wanted {
    replicas: u32,
    disk: bool,
    patience: Duration,
}

impl Wanted {
    pub(super) fn new(options: &config::Redis) -> Self {
        let (replicas, disk) = (options.wait_replicas, options.wait_aof);
        // The other half is for the way there and back.
        Self { replicas, disk, patience: options.target.timeout / 2 }
    }

    pub(super) fn replicas(&self) -> u32 {
        self.replicas
    }

    fn is_nothing(&self) -> bool {
        self.replicas == 0 && !self.disk
    }

    fn question(&self) -> Cmd {
        let mut question = cmd(if self.disk { "WAITAOF" } else { "WAIT" });
        if self.disk {
            question.arg(1);
        }
        question.arg(self.replicas).arg(u64::try_from(self.patience.as_millis()).unwrap_or(u64::MAX));
        question
    }
}

/// The confirmations of one connection. One question asks for all entries before it, since the server counts per connection.
#[derive(Debug, Default)]
pub(super) struct Confirmations {
    /// Entries that the server has replied to.
    written: AtomicU64,
    /// Held while a question is under way.
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// So many entries are confirmed.
    confirmed: u64,
    /// So many were asked for when the last question failed.
    failed: Option<(u64, Answer)>,
}

impl Confirmations {
    /// Whether the entry that the server has just replied to is where it is wanted.
    pub(super) async fn of_entry(&self, wire: &Wire, wanted: &Wanted, answers: &Answers) -> Answer {
        if wanted.is_nothing() {
            return Answer::Taken;
        }
        let entry = self.written.fetch_add(1, Ordering::SeqCst);
        let mut known = self.known.lock().await;
        if entry < known.confirmed {
            return Answer::Taken;
        }
        if let Some((asked, answer)) = &known.failed
            && entry < *asked
        {
            return answer.clone();
        }
        let asked = self.written.load(Ordering::SeqCst);
        let answer = ask(wire, wanted, answers).await;
        match answer {
            Answer::Taken => known.confirmed = asked,
            _ => known.failed = Some((asked, answer.clone())),
        }
        answer
    }
}

async fn ask(wire: &Wire, wanted: &Wanted, answers: &Answers) -> Answer {
    let question = wanted.question();
    let (local, replicas) = if wanted.disk {
        match wire.ask::<(u32, u32)>(&question).await {
            Ok(counts) => counts,
            Err(error) if is_unknown(error.detail()) => {
                return answers.hindered(&format!("{}: wait_aof needs Redis 7.2", answers.said(&error)));
            }
            Err(error) => return answers.hindered(&answers.said(&error)),
        }
    } else {
        match wire.ask::<u32>(&question).await {
            Ok(replicas) => (1, replicas),
            Err(error) => return answers.hindered(&answers.said(&error)),
        }
    };
    if local == 0 {
        answers.hindered("the entry is not on the server's disk in time (wait_aof)")
    } else if replicas < wanted.replicas {
        answers.hindered(&format!(
            "{replicas} of {} replicas have confirmed the entry (wait_replicas)",
            wanted.replicas
        ))
    } else {
        Answer::Taken
    }
}

fn is_unknown(detail: Option<&str>) -> bool {
    detail.is_some_and(|detail| detail.starts_with("unknown command"))
}
