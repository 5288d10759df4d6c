//! `ringhookd check --event FILE`: which queues a body of Ring's would reach, and why not the others, without a daemon.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::clock;
use crate::config::{Config, Queue};
use crate::domain::envelope;
use crate::domain::event::Event;
use crate::domain::ids::UserId;
use crate::domain::routing::Fate;

/// Longest body that is read, in bytes: more than any `[webhook] max_body`.
const MAX_BODY: u64 = 64 << 20;

/// The wishes behind `--event`.
#[derive(Debug)]
pub(in crate::cli) struct Wishes {
    pub(in crate::cli) file: PathBuf,
    /// The user whose account it is.
    pub(in crate::cli) user: Option<UserId>,
}

/// Exit 1 where no queue takes it.
pub(super) fn run(wishes: &Wishes, config: &Config, out: &mut Output) -> Result<(), Failure> {
    let event = event(&wishes.file, wishes.user.clone())?;
    let mut taken = 0;
    for queue in &config.queues {
        let fate = queue.filter.fate(queue.unclaimed, &event.subject());
        taken += usize::from(!matches!(fate, Fate::Not(_)));
        show(queue, &event, fate, out)?;
    }
    if taken == 0 {
        let words =
            "no queue takes it: it would wait among the unrouted events (ringhookd dead-letters list)";
        if !out.json {
            out.line(words)?;
        }
        out.flush()?;
        return Err(Failure::Said);
    }
    out.flush()
}

/// The event as intake would make it of the file's bytes.
fn event(file: &Path, user: Option<UserId>) -> Result<Event, Failure> {
    let failed = |why: String| Failure::no(format!("{}: {why}", file.display()));
    let mut body = Vec::new();
    let opened = File::open(file).map_err(|error| failed(crate::access::explain(file, &error)))?;
    opened.take(MAX_BODY).read_to_end(&mut body).map_err(|error| failed(error.to_string()))?;
    let read = envelope::parse(&body);
    let read = read.map_err(|anomaly| {
        failed(format!("{}: such an event is quarantined and reaches no queue", anomaly.as_str()))
    })?;
    let received_at = clock::now();
    let key = read.request_id.clone().unwrap_or_else(|| "example".to_owned());
    Ok(Event { user, ..read.into_event(key, body.into(), received_at) })
}

fn show(queue: &Queue, event: &Event, fate: Fate, out: &mut Output) -> Result<(), Failure> {
    let (word, against) = match fate {
        Fate::Taken => ("takes it", None),
        Fate::Held => ("holds it until its account has a user; --user NAME tells for one", None),
        Fate::Not(part) => ("does not take it", Some(part.as_str())),
    };
    let sent = against.is_none().then(|| queue.format.content(event, 1, 1));
    if out.json {
        let fate = match fate {
            Fate::Taken => "taken",
            Fate::Held => "held",
            Fate::Not(_) => "not",
        };
        let sent = sent.map(|sent| String::from_utf8_lossy(&sent).into_owned());
        let line = json!({"queue": queue.name, "kind": queue.kind.as_str(), "fate": fate, "against": against, "sent": sent});
        return out.item(&line);
    }
    let why = against.map(|part| format!(": {part}")).unwrap_or_default();
    out.line(&format!("{} ({}) {word}{why}", queue.name, queue.kind.as_str()))?;
    if let Some(sent) = sent {
        out.line(&format!("    {}", String::from_utf8_lossy(&sent).trim_end()))?;
    }
    Ok(())
}
