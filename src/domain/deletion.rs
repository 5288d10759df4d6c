//! What was destroyed with an account that was forgotten, for whoever asked for it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::ids::QueueName;
use super::units::count;

/// The receipt of `accounts forget`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deletion {
    pub account_id: String,
    /// RFC 3339, by our clock.
    pub forgotten_at: String,
    /// Whether it had tokens.
    pub tokens: bool,
    /// Events that waited in queues, each counted once for each queue.
    pub waiting: u64,
    /// Events that were held for its user.
    pub held: u64,
    /// Events in the dead letters, the unrouted ones among them.
    pub dead_letters: u64,
    /// The queues that are told by an event, `com.ringhookd.account.forgotten`, because they may have got events of the account.
    pub queues_told: Vec<QueueName>,
}

/// What a step of it has taken out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dropped {
    pub waiting: u64,
    pub held: u64,
    pub dead_letters: u64,
}

impl Deletion {
    pub fn add(&mut self, Dropped { waiting, held, dead_letters }: Dropped) {
        self.waiting += waiting;
        self.held += held;
        self.dead_letters += dead_letters;
    }
}

/// Such as `destroyed: its keys and tokens, 3 waiting events, 1 held event, 0 dead letters; told: queue home`.
impl fmt::Display for Deletion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tokens = if self.tokens { "its keys and tokens" } else { "its keys (it had no tokens)" };
        let waiting = count(self.waiting, "waiting event");
        let (held, letters) = (count(self.held, "held event"), count(self.dead_letters, "dead letter"));
        write!(f, "destroyed: {tokens}, {waiting}, {held}, {letters}; told: ")?;
        if self.queues_told.is_empty() {
            return f.write_str("no queue, because none may have got its events");
        }
        for (at, queue) in self.queues_told.iter().enumerate() {
            write!(f, "{}queue {queue}", if at == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_as_a_sentence() {
        let mut deletion = Deletion {
            account_id: "ava1.ring.account.A".to_owned(),
            forgotten_at: "2026-01-02T03:04:05.000Z".to_owned(),
            tokens: true,
            waiting: 2,
            held: 0,
            dead_letters: 0,
            queues_told: vec![QueueName::new("home").unwrap(), QueueName::new("all").unwrap()],
        };
        deletion.add(Dropped { waiting: 1, held: 1, dead_letters: 0 });
        assert_eq!(
            deletion.to_string(),
            "destroyed: its keys and tokens, 3 waiting events, 1 held event, 0 dead letters; told: queue home, queue all"
        );
        let deletion = Deletion { tokens: false, queues_told: Vec::new(), ..deletion };
        assert!(deletion.to_string().ends_with("told: no queue, because none may have got its events"));
    }
}
