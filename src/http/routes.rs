//! Paths: whether a request is for one, and what POSTs to all others leave behind for the operator to see.

use std::sync::{Mutex, PoisonError};

use hyper::Method;
use prometheus_client::metrics::counter::Counter;

use crate::clock;
use crate::domain::limiter::Limiter;
use crate::domain::time::Millis;
use crate::logging::text;

/// Lines a minute.
const LINES: u32 = 6;

/// Whether a request to `asked` is for the configured path. A slash at the end makes no difference, because one is easily written
/// into Ring's form or added by a proxy, and Ring never retries a 404.
pub fn is_at(asked: &str, configured: &str) -> bool {
    asked.trim_end_matches('/') == configured.trim_end_matches('/')
}

/// POSTs to paths where nothing is: Ring's, if an address is registered wrongly.
#[derive(Debug)]
pub struct Unmatched {
    count: Counter,
    last: Mutex<Option<LastUnmatched>>,
    lines: Mutex<Limiter<()>>,
}

/// The last of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastUnmatched {
    pub at: Millis,
    /// Escaped and cut.
    pub path: String,
}

impl Unmatched {
    pub fn new(count: Counter) -> Self {
        Self { count, last: Mutex::default(), lines: Mutex::new(Limiter::new(LINES)) }
    }

    /// Notes a request that found nothing; only POSTs count, because scanners send everything else.
    pub fn note(&self, method: &Method, path: &str) {
        if method != Method::POST {
            return;
        }
        self.count.inc();
        let (at, path) = (clock::now(), text(path).to_string());
        let passed = self.lines.lock().unwrap_or_else(PoisonError::into_inner).pass((), at);
        if let Some(silent_before) = passed {
            tracing::warn!(
                path,
                silent_before,
                "a POST to a path where nothing is: is the address right that is registered at Ring?"
            );
        }
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(LastUnmatched { at, path });
    }

    pub fn count(&self) -> u64 {
        self.count.get()
    }

    pub fn last(&self) -> Option<LastUnmatched> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slash_at_the_end_makes_no_difference() {
        for (asked, configured) in [("/a/b", "/a/b"), ("/a/b/", "/a/b"), ("/a/b", "/a/b/"), ("/", "/")] {
            assert!(is_at(asked, configured), "{asked} {configured}");
        }
        for asked in ["/a", "/a/b/c", "/a//b", "/A/b", "a/b", "/a/b/.", ""] {
            assert!(!is_at(asked, "/a/b"), "{asked}");
        }
    }

    #[test]
    fn only_posts_leave_a_trace_and_a_bounded_one() {
        let unmatched = Unmatched::new(Counter::default());
        unmatched.note(&Method::GET, "/favicon.ico");
        assert_eq!((unmatched.count(), unmatched.last()), (0, None));
        unmatched.note(&Method::POST, "/first");
        unmatched.note(&Method::POST, &format!("/\u{1b}[2J{}", "x".repeat(100_000)));
        let last = unmatched.last().unwrap();
        assert!(last.path.starts_with("/\\u{1b}[2Jx") && last.path.len() < 300, "{}", last.path);
        assert_eq!(unmatched.count(), 2);
    }
}
