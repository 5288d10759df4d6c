//! When a certificate is ordered from an ACME authority: well before its end, for other names at once, and after a failure again.

use std::time::Duration;

use super::backoff::Backoff;
use super::certificate::Certificate;
use super::time::Millis;

/// Between two tries. Authorities count failures: Let's Encrypt refuses a name for an hour after five (its documentation of rate limits).
const TRIES: Backoff = Backoff { least: Duration::from_mins(10), most: Duration::from_hours(6) };

/// A third of its life before its end, as authorities advise. No warning of [`super::certificate::standing`] has begun then.
pub fn renew_at(certificate: &Certificate) -> Millis {
    let life = certificate.not_after.since(certificate.not_before);
    certificate.not_after.minus(life / 3)
}

/// When a certificate for `names` is due, where `present` is the one at hand.
pub fn due_at(present: Option<&Certificate>, names: &[String], now: Millis) -> Millis {
    match present {
        Some(present) if names.iter().all(|name| present.names.contains(name)) => renew_at(present),
        _ => now,
    }
}

/// How long to wait after the `failures`-th failure in a row; `random` is uniform over all of `u64`.
pub fn pause(failures: u32, random: u64) -> Duration {
    TRIES.wait(failures, random)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::certificate::{Standing, standing};

    const NOW: Millis = Millis(1_790_000_000_000);
    const DAY: Duration = Duration::from_hours(24);

    fn certificate(life: Duration, names: &[&str]) -> Certificate {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let (not_before, not_after) = (NOW, NOW.plus(life));
        Certificate { issuer: Vec::new(), subject: Vec::new(), not_before, not_after, names }
    }

    #[test]
    fn it_is_renewed_before_anything_warns() {
        for life in [DAY * 398, DAY * 90, DAY * 45, DAY * 6, Duration::from_secs(9)] {
            let own = certificate(life, &[]);
            let at = renew_at(&own);
            assert_eq!(own.not_after.since(at), life / 3);
            assert_eq!(standing(own.not_before, own.not_after, at), Standing::Fine, "{life:?}");
        }
    }

    #[test]
    fn one_for_other_names_or_none_is_due_at_once() {
        let own = certificate(DAY * 90, &["a.example.com", "b.example.com"]);
        let due = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            due_at(Some(&own), &names, NOW)
        };
        assert_eq!(due(&["a.example.com"]), NOW.plus(DAY * 60));
        assert_eq!(due(&["b.example.com", "a.example.com"]), NOW.plus(DAY * 60));
        assert_eq!(due(&["a.example.com", "c.example.com"]), NOW);
        assert_eq!(due_at(None, &[], NOW), NOW);
    }

    #[test]
    fn an_authority_sees_fewer_than_five_failures_an_hour() {
        for random in [0, u64::MAX / 2, u64::MAX] {
            let first: Duration = (1..=5).map(|failures| pause(failures, random)).sum();
            assert!(first >= Duration::from_mins(50), "{first:?}");
            assert!(pause(40, random) <= Duration::from_hours(6));
        }
    }
}
