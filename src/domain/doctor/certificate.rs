//! How long the certificate of the public name is good for.

use std::time::Duration;

use super::Finding;
use crate::domain::certificate::{Certificate, days_until};
use crate::domain::time::Millis;
use crate::domain::units::count;

pub const CERTIFICATE: &str = "certificate";
/// Below it, whoever renews the certificate should have done so. One of a short life is renewed at a third of it.
const SOON: (Duration, u32) = (Duration::from_hours(14 * 24), 3);

/// Judges the end of a certificate whose chain is trusted, for this name and by this version of TLS.
pub fn ends(host: &str, version: &str, certificate: &Certificate, now: Millis) -> Finding {
    let (begin, end) = (certificate.not_before, certificate.not_after);
    let left = days_until(end, now);
    if now >= end {
        return Finding::failed(CERTIFICATE, format!("{host}: it has expired, at {}", end.rfc3339()))
            .so(RENEW);
    }
    let words = format!(
        "{host}: {version}, the chain leads to a CA that is trusted here, and it ends in {}, at {}",
        count(left, "day"),
        end.rfc3339()
    );
    if end.since(now) < SOON.0.min(end.since(begin) / SOON.1) {
        return Finding::warning(CERTIFICATE, words).so(RENEW);
    }
    Finding::well(CERTIFICATE, words)
}

const RENEW: &str =
    "renew it, and look why that did not happen by itself: the log of certbot, Caddy or whoever does it";

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    #[test]
    fn the_days_left_are_told_and_few_of_them_are_a_warning() {
        let now = Millis(1_800_000_000_000);
        for (life, left, state, words) in [
            (90, 30, State::Well, "ends in 30 days, at 2027-"),
            (90, 14, State::Well, "14 days"),
            (90, 13, State::Warning, "13 days"),
            (90, 1, State::Warning, "1 day,"),
            (90, 0, State::Failed, "has expired, at 2027-01-15T08:00:00Z"),
            (6, 3, State::Well, "3 days"),
            (6, 1, State::Warning, "1 day,"),
        ] {
            let end = now.plus(DAY * left);
            let certificate = Certificate {
                issuer: Vec::new(),
                subject: Vec::new(),
                not_before: end.minus(DAY * life),
                not_after: end,
                names: Vec::new(),
            };
            let found = ends("hooks.example.com", "TLS 1.3", &certificate, now);
            assert_eq!(found.state, state, "{found:?}");
            assert!(found.words.contains(words), "{found:?}");
            assert_eq!(found.action.is_some(), state > State::Well);
        }
    }
}
