//! `ringhookd queue`: list, read, tail, pause, resume, remove.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::args::QueueCommand;
use super::client::{Client, encoded};
use super::confirm::confirm;
use super::exec::{self, Source, is_paused};
use super::failure::Failure;
use super::output::Output;
use crate::admin::MAX_WAIT;
use crate::domain::units::count;
use crate::logging::text;

const COLUMNS: [(&str, &str); 8] = [
    ("QUEUE", "name"),
    ("KIND", "kind"),
    ("WAITING", "waiting"),
    ("BYTES", "waiting_bytes"),
    ("LEASED", "leased"),
    ("OLDEST", "oldest"),
    ("DELIVERY", "delivery"),
    ("PAUSED SINCE", "paused_since"),
];
/// Events that are printed where nothing is said of how many.
const PRINTED: u64 = 10;
/// Events that are printed before they are acknowledged together.
const AT_ONCE: u64 = 100;

#[derive(Debug, Deserialize)]
struct Queues {
    queues: Vec<Value>,
}

#[derive(Debug, Deserialize)]
struct Leased {
    lease: Option<String>,
    events: Vec<LeasedEvent>,
    paused_since: Option<String>,
}

/// The answer to a pause or its end.
#[derive(Debug, Serialize, Deserialize)]
struct PauseDone {
    name: String,
    paused_since: Option<String>,
    changed: bool,
}

#[derive(Debug, Deserialize)]
struct LeasedEvent {
    seq: u64,
    event: Box<RawValue>,
}

#[derive(Debug, Deserialize)]
struct Settled {
    lost: u64,
}

/// The parts of an event that people see.
#[derive(Debug, Deserialize)]
struct Shown<'a> {
    gap: Option<u64>,
    #[serde(borrow, default)]
    id: Cow<'a, str>,
    #[serde(borrow, default, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    time: Option<Cow<'a, str>>,
    #[serde(borrow)]
    ringreceived: Option<Cow<'a, str>>,
    #[serde(borrow)]
    ringaccount: Option<Cow<'a, str>>,
    #[serde(borrow)]
    ringuser: Option<Cow<'a, str>>,
    #[serde(borrow)]
    subject: Option<Cow<'a, str>>,
    /// Of a queue whose format is raw.
    #[serde(borrow)]
    body: Option<Cow<'a, str>>,
}

pub(super) async fn run(command: QueueCommand, daemon: &Client, out: &mut Output) -> Result<(), Failure> {
    match command {
        QueueCommand::List => {
            let Queues { queues } = daemon.get("/v1/queues").await?;
            out.list(&queues, &COLUMNS)
        }
        QueueCommand::Read { name, max, wait, user, work, .. } if work.is_given() => {
            let source = Source { name: &name, user: user.as_deref(), wait, max: max.unwrap_or(u64::MAX) };
            exec::run(source, work, daemon).await
        }
        // `--ack after-print` says what is done in any case.
        QueueCommand::Read { name, max, wait, user, .. } => {
            let reader = Reader { name: &name, user: user.as_deref(), daemon };
            reader.read(max.unwrap_or(PRINTED), wait, out).await
        }
        QueueCommand::Tail { name, last } => tail(&name, last, daemon, out).await,
        QueueCommand::Pause { name } => pause(&name, daemon, out).await,
        QueueCommand::Resume { name } => {
            let done: PauseDone = daemon.post(&call(&name, "resume"), &json!({})).await?;
            let words = if done.changed { "goes on" } else { "was not paused" };
            out.done(&json!(done), &format!("queue {name} {words}"))
        }
        QueueCommand::Remove { name, yes } => {
            confirm("Dropping the queue's backlog", yes)?;
            let done: Value = daemon.delete(&format!("/v1/queues/{}", encoded(&name))).await?;
            out.done(
                &done,
                &format!("removed, with {}", count(done["dropped"].as_u64().unwrap_or_default(), "event")),
            )
        }
    }
}

async fn pause(name: &str, daemon: &Client, out: &mut Output) -> Result<(), Failure> {
    let done: PauseDone = daemon.post(&call(name, "pause"), &json!({})).await?;
    let words = match &done {
        PauseDone { changed: false, paused_since: Some(since), .. } => {
            format!("has been paused since {since}")
        }
        _ => "is paused, until `ringhookd queue resume`".to_owned(),
    };
    out.done(&json!(done), &format!("queue {name} {words}"))
}

/// The path of a call of a queue.
fn call(queue: &str, call: &str) -> String {
    format!("/v1/queues/{}/{call}", encoded(queue))
}

struct Reader<'a> {
    name: &'a str,
    user: Option<&'a str>,
    daemon: &'a Client,
}

impl Reader<'_> {
    /// Takes up to `max` events, as long as there are some.
    async fn read(&self, max: u64, wait: bool, out: &mut Output) -> Result<(), Failure> {
        let mut left = max;
        while left > 0 {
            let first = left == max;
            let Leased { lease, events, paused_since } = self.lease(left.min(AT_ONCE), wait && first).await?;
            let Some(lease) = lease else {
                match paused_since {
                    Some(since) if !(wait && first) => return Err(Failure::no(is_paused(self.name, &since))),
                    None if !(wait && first) => return Ok(()),
                    _ => continue,
                }
            };
            let seqs: Vec<u64> = events.iter().map(|leased| leased.seq).collect();
            let printed = events.iter().try_for_each(|leased| print(leased.event.get(), out));
            if let Err(failure) = printed.and_then(|()| out.keep()) {
                // Should this fail too, the lease runs out.
                let _ = self.settle(&lease, "return", &seqs).await;
                return Err(failure);
            }
            let Settled { lost } = self.settle(&lease, "ack", &seqs).await?;
            if lost > 0 {
                let all = seqs.len();
                return Err(Failure::no(format!(
                    "{lost} of {all} events were printed too slowly to be acknowledged; they come again"
                )));
            }
            left -= seqs.len() as u64;
        }
        Ok(())
    }

    async fn lease(&self, max: u64, wait: bool) -> Result<Leased, Failure> {
        let wait_ms = if wait { u64::try_from(MAX_WAIT.as_millis()).unwrap_or(0) } else { 0 };
        let body = json!({"max": max, "wait_ms": wait_ms, "user": self.user});
        self.daemon.post(&call(self.name, "lease"), &body).await
    }

    async fn settle(&self, lease: &str, outcome: &str, seqs: &[u64]) -> Result<Settled, Failure> {
        let body = json!({"lease": lease, outcome: seqs});
        self.daemon.post(&call(self.name, "settle"), &body).await
    }
}

async fn tail(name: &str, last: u32, daemon: &Client, out: &mut Output) -> Result<(), Failure> {
    let mut lines = daemon.lines(&format!("/v1/queues/{}/tail?last={last}", encoded(name))).await?;
    while let Some(line) = lines.next().await? {
        print(&String::from_utf8_lossy(&line), out)?;
        out.flush()?;
    }
    Err(Failure::no("the daemon has ended the stream"))
}

fn print(event: &str, out: &mut Output) -> Result<(), Failure> {
    if out.json {
        return out.json_line(event.to_owned());
    }
    match serde_json::from_str(event) {
        Ok(shown) => out.line(&for_people(&shown)),
        // Of another version: better as it is than not at all.
        Err(_) => out.line(&text(event).to_string()),
    }
}

fn for_people(event: &Shown<'_>) -> String {
    if let Some(gap) = event.gap {
        return format!("… {} came too fast to be shown", count(gap, "event"));
    }
    if let Some(body) = &event.body {
        return format!("{}  {}", text(&event.id), text(body));
    }
    let or_dash = |value: &Option<Cow<'_, str>>| text(value.as_deref().unwrap_or("-")).to_string();
    let at = event.time.as_ref().or(event.ringreceived.as_ref()).map_or("-", |at| at);
    let kind = event.kind.strip_prefix("com.ring.").unwrap_or(&event.kind);
    format!(
        "{}  {:24}  user {}  account {}  device {}  id {}",
        text(at),
        text(kind).to_string(),
        or_dash(&event.ringuser),
        or_dash(&event.ringaccount),
        or_dash(&event.subject),
        text(&event.id),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(event: &str) -> String {
        for_people(&serde_json::from_str(event).unwrap())
    }

    #[test]
    fn events_are_one_escaped_line_for_people() {
        let line = shown(
            r#"{"id":"i\n","type":"com.ring.motion_detected","ringreceived":"t","ringuser":"ann","data":{"x":1}}"#,
        );
        assert_eq!(line, "t  motion_detected           user ann  account -  device -  id i\\u{a}");
        assert_eq!(shown(r#"{"gap":7}"#), "… 7 events came too fast to be shown");
        assert_eq!(shown(r#"{"id":"i","body":"{}\n"}"#), "i  {}\\u{a}");
    }
}
