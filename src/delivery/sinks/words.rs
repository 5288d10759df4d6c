//! A receiver's own words as operators may read them: without secrets, short, on one line, and with the receiver's address.

use std::fmt;

use crate::domain::address::Receiver;
use crate::domain::secret::Secret;
use crate::logging;

/// Bytes of a receiver's own words that are passed on.
const MOST_WORDS: usize = 200;
/// Shorter ones are no secret, and common in any text.
const SHORTEST_HIDDEN: usize = 4;

/// The receiver's address, and the secrets that it may repeat.
pub(super) struct Words {
    receiver: Receiver,
    /// The longest first.
    hidden: Vec<Secret<String>>,
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Words({})", self.receiver)
    }
}

impl Words {
    pub(super) fn new(receiver: &Receiver, hidden: impl IntoIterator<Item = String>) -> Self {
        let long = |text: &String| text.len() >= SHORTEST_HIDDEN;
        let mut hidden: Vec<_> = hidden.into_iter().filter(long).map(Secret::new).collect();
        hidden.sort_by_key(|text| std::cmp::Reverse(text.expose().len()));
        Self { receiver: receiver.clone(), hidden }
    }

    pub(super) fn receiver(&self) -> &Receiver {
        &self.receiver
    }

    /// `why`, which holds no secret, with the receiver's address before it.
    pub(super) fn of_receiver(&self, why: &str) -> String {
        format!("{}: {why}", self.receiver)
    }

    /// The beginning of `text`, which the receiver sent, as a line may hold it.
    pub(super) fn said(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for hidden in &self.hidden {
            text = text.replace(hidden.expose().as_str(), "[hidden]");
        }
        let text = text.trim();
        logging::text(&text[..text.floor_char_boundary(MOST_WORDS)]).to_string()
    }
}
