//! `ringhookd dead-letters`: list, show, replay, drop.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::args::{ClassName, LettersCommand, Which, WhichOrIds};
use super::client::{Client, encoded, query};
use super::confirm::confirm;
use super::failure::Failure;
use super::output::Output;

const COLUMNS: [(&str, &str); 7] = [
    ("ID", "id"),
    ("QUEUE", "queue"),
    ("BURIED", "buried_at"),
    ("TYPE", "type"),
    ("ACCOUNT", "account"),
    ("FAILURES", "failures"),
    ("WHY", "why"),
];
/// As many ids as the daemon takes in one call.
const IDS: usize = 500;

#[derive(Debug, Deserialize)]
struct Page {
    letters: Vec<Value>,
    next: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Step {
    done: u64,
    refused: u64,
    next: Option<String>,
}

pub(super) async fn run(command: LettersCommand, daemon: &Client, out: &mut Output) -> Result<(), Failure> {
    match command {
        LettersCommand::List { which } => list(&which, daemon, out).await,
        LettersCommand::Show { id } => {
            let letter: Box<RawValue> = daemon.get(&format!("/v1/dead-letters/{}", encoded(&id))).await?;
            if out.json {
                return out.json_line(letter.get().to_owned());
            }
            out.item(&serde_json::from_str(letter.get()).unwrap_or_default())
        }
        LettersCommand::Replay { which } => act("replay", "replayed", &which, daemon, out).await,
        LettersCommand::Drop { which, yes } => {
            confirm("Dropping dead letters", yes)?;
            act("drop", "dropped", &which, daemon, out).await
        }
    }
}

async fn list(which: &Which, daemon: &Client, out: &mut Output) -> Result<(), Failure> {
    let (class, queue) = (which.class.map(ClassName::as_str), which.queue.as_deref());
    let (mut all, mut after) = (Vec::new(), None::<String>);
    loop {
        let query = query(&[("class", class), ("queue", queue), ("after", after.as_deref())]);
        let page: Page = daemon.get(&format!("/v1/dead-letters{query}")).await?;
        if out.json {
            out.list(&page.letters, &COLUMNS)?;
        } else {
            all.extend(page.letters);
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    if out.json { Ok(()) } else { out.list(&all, &COLUMNS) }
}

/// Step after step, so that it can be interrupted; exit 1 when any letter could not be done.
async fn act(
    call: &str,
    done_word: &str,
    which: &WhichOrIds,
    daemon: &Client,
    out: &mut Output,
) -> Result<(), Failure> {
    let path = format!("/v1/dead-letters/{call}");
    let (mut done, mut refused) = (0, 0);
    if which.ids.is_empty() {
        let mut after = None;
        loop {
            let class = which.class.map(ClassName::as_str);
            let body = json!({"class": class, "queue": which.queue, "all": which.all, "after": after});
            let step: Step = daemon.post(&path, &body).await?;
            (done, refused) = (done + step.done, refused + step.refused);
            after = step.next;
            if after.is_none() {
                break;
            }
        }
    }
    for ids in which.ids.chunks(IDS) {
        let step: Step = daemon.post(&path, &json!({"ids": ids})).await?;
        (done, refused) = (done + step.done, refused + step.refused);
    }
    let words = match refused {
        0 => format!("{done} {done_word}"),
        _ => format!(
            "{done} {done_word}, {refused} not: gone, not understood, or without a queue that takes them"
        ),
    };
    out.done(&json!({"done": done, "refused": refused}), &words)?;
    out.flush()?;
    if refused == 0 { Ok(()) } else { Err(Failure::Said) }
}
