//! The privacy sheet: what is kept of a user, why, sealed how, how long, who can read it, what leaves the machine, and how it is deleted.
//!
//! Plain data in, a document out. A table of the store that no element names fails a test of `store/rows/row.rs`.

mod around;
mod facts;
mod kept;
mod page;
#[cfg(test)]
pub(crate) mod tests;

use serde::{Deserialize, Serialize};

use super::time::Millis;

pub use self::facts::{Bound, Bounds, Facts, Fixed, Place, Queue, ReaderFacts, StoreFacts, Way};

/// The document. Its texts are for people, and each is a whole statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sheet {
    pub made_at: Millis,
    pub version: String,
    pub store: String,
    pub environment: String,
    pub kept: Vec<Element>,
    pub readers: Vec<Reader>,
    pub leaves: Vec<Destination>,
    pub deletion: Vec<Deletion>,
}

/// One kind of data that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Element {
    pub name: String,
    pub holds: String,
    /// Tables of the store in which it lies; none where it lies elsewhere.
    pub tables: Vec<String>,
    pub purpose: String,
    pub protection: String,
    /// How long, a statement each.
    pub retention: Vec<String>,
    pub deleted: String,
    /// What is left after that; none where nothing is.
    pub remains: Option<String>,
}

/// A way to read from outside of the process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reader {
    pub place: String,
    /// Who may connect.
    pub open_to: String,
    /// Rights as they are given; `*` is every call.
    pub rights: Vec<String>,
    /// Whose data is seen.
    pub sees: String,
}

/// A place that data goes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destination {
    pub to: String,
    pub what: String,
    pub transport: String,
    /// What happens to the copy there.
    pub copy: String,
}

/// A way in which data is deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deletion {
    pub by: String,
    pub deletes: String,
    pub leaves: String,
}

impl Sheet {
    pub fn of(facts: &Facts) -> Self {
        Self {
            made_at: facts.at,
            version: facts.version.clone(),
            store: facts.store.name.clone(),
            environment: facts.store.environment.clone(),
            kept: kept::elements(facts),
            readers: around::readers(&facts.fixed),
            leaves: around::destinations(facts),
            deletion: around::deletions(facts.bounds.forget_removed_after),
        }
    }

    /// As Markdown, a line each.
    pub fn markdown(&self) -> Vec<String> {
        page::lines(self)
    }
}
