//! What is noted of a webhook on its way: where it came from, where it went, and how it ended there.

use std::net::IpAddr;

use super::codes::codes;
use super::signature::Fingerprint;

/// Where a webhook came from, and what proved it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// The other end of the connection.
    pub from: Option<IpAddr>,
    /// The address that a proxy on this machine tells.
    pub forwarded_for: Option<IpAddr>,
    /// The key that verified it.
    pub key: Option<Fingerprint>,
}

codes! {
    /// Where an event went when it was accepted.
    Destination {
        Queued = 1 "queued",
        /// Until its account has a user.
        Held = 2 "held",
        Unrouted = 3 "unrouted",
        Quarantined = 4 "quarantined",
    }
}
codes! {
    /// How an event left a queue, or the records beside the queues.
    Ending {
        Delivered = 1 "delivered",
        Dead = 2 "dead",
        Dropped = 3 "dropped",
    }
}
codes! {
    /// Why an event goes on under another sequence.
    Renewal {
        /// It was held, and its account has a user now.
        Released = 1 "released",
        /// It was a dead letter.
        Replayed = 2 "replayed",
    }
}

/// Failed attempts are noted one by one up to this number, and then at each power of two, because an event may fail for weeks.
const EACH: u32 = 8;

/// Whether the attempt with this number is noted.
pub fn is_noted(attempt: u32) -> bool {
    attempt <= EACH || attempt.is_power_of_two()
}

/// The last address in `X-Forwarded-For`, which the nearest proxy has put there. It is believed only of a proxy on this machine.
pub fn forwarded_for<'v>(from: Option<IpAddr>, values: impl Iterator<Item = &'v [u8]>) -> Option<IpAddr> {
    if !from?.to_canonical().is_loopback() {
        return None;
    }
    let last = str::from_utf8(values.last()?).ok()?.rsplit(',').next()?.trim();
    last.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_come_back() {
        for code in 0..=u8::MAX {
            assert!(Destination::of_code(code).is_none_or(|known| known as u8 == code));
            assert!(Ending::of_code(code).is_none_or(|known| known as u8 == code));
            assert!(Renewal::of_code(code).is_none_or(|known| known as u8 == code));
        }
        assert_eq!(Destination::of_code(4), Some(Destination::Quarantined));
    }

    #[test]
    fn attempts_are_noted_ever_more_seldom() {
        let noted: Vec<u32> = (1..=100).filter(|&attempt| is_noted(attempt)).collect();
        assert_eq!(noted, [1, 2, 3, 4, 5, 6, 7, 8, 16, 32, 64]);
    }

    #[test]
    fn only_a_proxy_on_this_machine_is_believed() {
        let told = |from: &str, values: &[&'static str]| {
            let values = values.iter().map(|value| value.as_bytes());
            forwarded_for(Some(from.parse().unwrap()), values).map(|address| address.to_string())
        };
        assert_eq!(told("127.0.0.1", &["203.0.113.9"]).as_deref(), Some("203.0.113.9"));
        assert_eq!(
            told("::ffff:127.0.0.1", &["1.1.1.1", "9.9.9.9, 2001:db8::1"]).as_deref(),
            Some("2001:db8::1")
        );
        assert_eq!(told("192.0.2.1", &["203.0.113.9"]), None);
        assert_eq!(told("::1", &["unknown"]), None);
        assert_eq!(told("::1", &[]), None);
    }
}
