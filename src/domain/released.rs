//! What became of the events that were held for an account, once it had its user.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::ids::QueueName;

/// Counts of events that were held until now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Released {
    /// All of them; each is counted once here.
    pub events: u64,
    /// By the queue that got them; an event may go to several.
    pub queues: BTreeMap<QueueName, u64>,
    /// No queue takes them for this user: they are in the dead letters, under `unrouted`.
    pub unrouted: u64,
    /// Queues that do not wait for a user had them already, and no other queue takes them.
    pub delivered_before: u64,
    /// Damaged, so in the dead letters.
    pub dead: u64,
}

impl Released {
    /// Counts an event that went to these queues.
    pub fn to_queues(&mut self, queues: impl IntoIterator<Item = QueueName>) {
        self.events += 1;
        for queue in queues {
            *self.queues.entry(queue).or_default() += 1;
        }
    }

    pub fn add(&mut self, other: Self) {
        let Self { events, queues, unrouted, delivered_before, dead } = other;
        self.events += events;
        for (queue, count) in queues {
            *self.queues.entry(queue).or_default() += count;
        }
        self.unrouted += unrouted;
        self.delivered_before += delivered_before;
        self.dead += dead;
    }
}

/// Such as `3 held events: 2 to queue all, 1 unrouted (no queue takes it)`.
impl fmt::Display for Released {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { events, queues, unrouted, delivered_before, dead } = self;
        if *events == 0 {
            return f.write_str("no event was held");
        }
        let mut parts: Vec<_> =
            queues.iter().map(|(queue, count)| format!("{count} to queue {queue}")).collect();
        for (count, words) in [
            (unrouted, "unrouted (no queue takes them; see `dead-letters list --class unrouted`)"),
            (delivered_before, "delivered before"),
            (dead, "damaged (see `dead-letters list`)"),
        ] {
            if *count > 0 {
                parts.push(format!("{count} {words}"));
            }
        }
        let s = if *events == 1 { "" } else { "s" };
        write!(f, "{events} held event{s}: {}", parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_where_events_went() {
        let queue = |name| QueueName::new(name).unwrap();
        let mut released = Released::default();
        assert_eq!(released.to_string(), "no event was held");
        released.to_queues([queue("a"), queue("b")]);
        assert_eq!(released.to_string(), "1 held event: 1 to queue a, 1 to queue b");
        let other = Released { events: 3, unrouted: 1, delivered_before: 1, dead: 1, ..Released::default() };
        released.add(other);
        released.add(released.clone());
        let words = released.to_string();
        assert!(words.starts_with("8 held events: 2 to queue a, 2 to queue b, 2 unrouted ("), "{words}");
        assert!(words.contains(", 2 delivered before, 2 damaged ("), "{words}");
    }
}
