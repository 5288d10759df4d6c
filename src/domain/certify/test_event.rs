//! Test events: which bodies are one, decided by the daemon that made them, so that no sender has a say in it.
//!
//! The daemon makes the body itself, around a random number that it draws for each, and knows it again by all of its bytes. An event of
//! Ring's can't be one, and neither can a captured event with a mark added to it. A body that is not known any more is an ordinary one; it
//! names no type, so a late one is kept in quarantine and reaches no queue.

use std::collections::VecDeque;
use std::time::Duration;

use data_encoding::HEXLOWER;
use serde_json::json;

use crate::domain::time::Millis;

/// How long one is known.
pub const LIFE: Duration = Duration::from_mins(5);
/// So many are known at a time; a new one takes the place of the oldest.
const MOST: usize = 8;
/// How often one may come.
const ARRIVALS: u32 = 32;

/// A test event, as it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestEvent {
    /// Its `meta.request_id`.
    pub id: String,
    /// All of it.
    pub body: String,
    /// An authorization code that nobody gave.
    pub code: String,
    pub until: Millis,
}

/// The test events that are known.
#[derive(Debug, Default)]
pub struct Announced(VecDeque<(TestEvent, u32)>);

impl Announced {
    /// Makes one around a random number, and knows it from now on.
    pub fn announce(&mut self, random: [u8; 16], now: Millis) -> TestEvent {
        let number = HEXLOWER.encode(&random);
        let id = format!("ringhookd-test-{number}");
        let body = json!({
            "meta": {"version": "1.1", "time": now.rfc3339(), "request_id": id, "account_id": "ringhookd.test"},
            "data": {
                "id": format!("{id}_{}", now.0),
                "attributes": {"source": "ringhookd-test", "source_type": "devices", "timestamp": now.0},
                "relationships": {"devices": {"links": {"self": "/v1/devices/ringhookd-test"}}},
            },
        });
        let code = format!("ringhookd-made-up-code-{number}");
        let event = TestEvent { id, body: body.to_string(), code, until: now.plus(LIFE) };
        if self.0.len() >= MOST {
            self.0.pop_front();
        }
        self.0.push_back((event.clone(), 0));
        event
    }

    /// The id of the test event that this body is, if it is one. It may come so often.
    pub fn sees(&mut self, body: &[u8], now: Millis) -> Option<String> {
        let is_it = |(event, arrivals): &&mut (TestEvent, u32)| {
            event.body.as_bytes() == body && now < event.until && *arrivals < ARRIVALS
        };
        let (event, arrivals) = self.0.iter_mut().find(is_it)?;
        *arrivals += 1;
        Some(event.id.clone())
    }

    /// Whether this code is a test event's, and so nobody's.
    pub fn has_code(&self, code: &str, now: Millis) -> bool {
        self.0.iter().any(|(event, _)| event.code == code && now < event.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::envelope::{self, Anomaly};

    const NOW: Millis = Millis(1_800_000_000_000);

    #[test]
    fn a_body_is_known_by_all_of_its_bytes_and_for_its_time() {
        let mut announced = Announced::default();
        let event = announced.announce([7; 16], NOW);
        let last = Millis(event.until.0 - 1);
        assert_eq!(announced.sees(event.body.as_bytes(), last), Some(event.id.clone()));
        assert_eq!(announced.sees(event.body.as_bytes(), event.until), None);
        for other in [format!("{} ", event.body), event.body.replace("1.1", "1.0"), event.id.clone()] {
            assert_eq!(announced.sees(other.as_bytes(), NOW), None, "{other}");
        }
        // One that a stranger makes around a number of their own.
        let theirs = Announced::default().announce([8; 16], NOW);
        assert_eq!(announced.sees(theirs.body.as_bytes(), NOW), None);
        assert!(announced.has_code(&event.code, last) && !announced.has_code(&event.code, event.until));
        assert!(!announced.has_code(&theirs.code, NOW));
    }

    #[test]
    fn their_number_and_their_arrivals_are_bounded() {
        let mut announced = Announced::default();
        let first = announced.announce([0; 16], NOW);
        let arrivals = (0..100).filter(|_| announced.sees(first.body.as_bytes(), NOW).is_some()).count();
        assert_eq!(arrivals, ARRIVALS as usize);
        let others: Vec<TestEvent> = (1..=20).map(|n| announced.announce([n; 16], NOW)).collect();
        assert_eq!(announced.0.len(), MOST);
        assert!(!announced.has_code(&others[11].code, NOW) && announced.has_code(&others[12].code, NOW));
    }

    #[test]
    fn one_that_is_known_no_more_is_no_event_for_a_queue() {
        let event = Announced::default().announce([9; 16], NOW);
        assert_eq!(envelope::parse(event.body.as_bytes()), Err(Anomaly::NoType));
    }
}
