//! Test events that were announced to this daemon, in memory: intake answers them, and they leave nothing.

use std::sync::{Mutex, MutexGuard, PoisonError};

use ring::rand::{SecureRandom, SystemRandom};

use crate::clock;
use crate::domain::certify::{Announced, TestEvent};

/// The test events that are known now. A restart knows none.
#[derive(Debug, Default)]
pub struct TestEvents(Mutex<Announced>);

impl TestEvents {
    /// Makes one, and knows it for a few minutes; none when the system gives no random numbers.
    pub fn announce(&self) -> Option<TestEvent> {
        let mut random = [0; 16];
        SystemRandom::new().fill(&mut random).ok()?;
        Some(self.lock().announce(random, clock::now()))
    }

    /// The id of the one that this body is, by all of its bytes.
    pub fn sees(&self, body: &[u8]) -> Option<String> {
        self.lock().sees(body, clock::now())
    }

    /// Whether this authorization code was made up for one of them.
    pub fn has_code(&self, code: &str) -> bool {
        self.lock().has_code(code, clock::now())
    }

    fn lock(&self) -> MutexGuard<'_, Announced> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
