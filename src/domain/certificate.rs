//! A certificate's names and times, read from its DER, and how near its end it is. It proves nothing: that is rustls's work.

use std::time::Duration;

use super::time::Millis;

const DAY: Duration = Duration::from_hours(24);
/// The longest warning before the end, and the longest urgent one. A certificate of a short life has shorter ones, because whoever
/// renews it begins at a third of its life.
const DUE: (Duration, u32) = (Duration::from_hours(21 * 24), 4);
const URGENT: (Duration, u32) = (Duration::from_hours(7 * 24), 12);

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BOOLEAN: u8 = 0x01;
const OBJECT: u8 = 0x06;
const OCTETS: u8 = 0x04;
const UTC_TIME: u8 = 0x17;
const GENERAL_TIME: u8 = 0x18;
/// `[0]` around the version, `[3]` around the extensions, and `[2]` of a DNS name.
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
const DNS_NAME: u8 = 0x82;
/// 2.5.29.17, subject alternative names.
const ALTERNATIVE_NAMES: [u8; 3] = [0x55, 0x1d, 0x11];

/// What is read of one certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Distinguished names, as they are encoded.
    pub issuer: Vec<u8>,
    pub subject: Vec<u8>,
    pub not_before: Millis,
    pub not_after: Millis,
    /// Its DNS names.
    pub names: Vec<String>,
}

/// How near its end a certificate is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Fine,
    /// It should have been renewed.
    Due,
    /// It ends in a few days.
    Urgent,
    Expired,
    NotYetValid,
}

/// How a certificate of this span stands at `now`.
pub fn standing(not_before: Millis, not_after: Millis, now: Millis) -> Standing {
    let (life, left) = (not_after.since(not_before), not_after.since(now));
    let within = |(longest, share): (Duration, u32)| left < longest.min(life / share);
    if now >= not_after {
        Standing::Expired
    } else if now < not_before {
        Standing::NotYetValid
    } else if within(URGENT) {
        Standing::Urgent
    } else if within(DUE) {
        Standing::Due
    } else {
        Standing::Fine
    }
}

/// Whole days until `at`.
pub fn days_until(at: Millis, now: Millis) -> u64 {
    at.since(now).as_secs() / DAY.as_secs()
}

impl Certificate {
    /// Reads one; nothing where it is none.
    pub fn read(der: &[u8]) -> Option<Self> {
        let (whole, _) = take(der, SEQUENCE)?;
        let (mut rest, _) = take(whole, SEQUENCE)?;
        if let Some((_, after)) = take(rest, VERSION) {
            rest = after;
        }
        let (_serial, rest) = take(rest, INTEGER)?;
        let (_algorithm, rest) = take(rest, SEQUENCE)?;
        let (issuer, rest) = take(rest, SEQUENCE)?;
        let (validity, rest) = take(rest, SEQUENCE)?;
        let (subject, rest) = take(rest, SEQUENCE)?;
        let (_key, rest) = take(rest, SEQUENCE)?;
        let (not_before, after) = time(validity)?;
        let (not_after, _) = time(after)?;
        Some(Self {
            issuer: issuer.to_vec(),
            subject: subject.to_vec(),
            not_before,
            not_after,
            names: names(rest).unwrap_or_default(),
        })
    }

    /// Whether `other` may have signed it, by their names.
    pub fn is_issued_by(&self, other: &Self) -> bool {
        self.issuer == other.subject
    }
}

/// The DNS names among the extensions.
fn names(mut rest: &[u8]) -> Option<Vec<String>> {
    let extensions = loop {
        let (tag, inside, after) = element(rest)?;
        if tag == EXTENSIONS {
            break inside;
        }
        rest = after;
    };
    let (mut extensions, _) = take(extensions, SEQUENCE)?;
    while let Some((extension, after)) = take(extensions, SEQUENCE) {
        extensions = after;
        let (id, value) = take(extension, OBJECT)?;
        if id != ALTERNATIVE_NAMES {
            continue;
        }
        let value = take(value, BOOLEAN).map_or(value, |(_critical, after)| after);
        let (mut all, _) = take(take(value, OCTETS)?.0, SEQUENCE)?;
        let mut names = Vec::new();
        while let Some((tag, name, after)) = element(all) {
            if tag == DNS_NAME && name.iter().all(u8::is_ascii_graphic) {
                names.push(String::from_utf8_lossy(name).into_owned());
            }
            all = after;
        }
        return Some(names);
    }
    None
}

fn time(bytes: &[u8]) -> Option<(Millis, &[u8])> {
    let (tag, text, after) = element(bytes)?;
    let text = str::from_utf8(text).ok().filter(|text| text.is_ascii())?;
    let whole = match (tag, text.len()) {
        // RFC 5280, 4.1.2.5.1: from 50 on it is the century before.
        (UTC_TIME, 13) => format!("{}{text}", if text < "50" { "20" } else { "19" }),
        (GENERAL_TIME, 15) => text.to_owned(),
        _ => return None,
    };
    let part = |from: usize, to: usize| whole.get(from..to);
    let (date, clock) =
        ((part(0, 4)?, part(4, 6)?, part(6, 8)?), (part(8, 10)?, part(10, 12)?, part(12, 14)?));
    let text = format!("{}-{}-{}T{}:{}:{}Z", date.0, date.1, date.2, clock.0, clock.1, clock.2);
    Some((Millis::of_rfc3339(&text)?, after))
}

/// What an element of this kind holds, and what follows it.
fn take(bytes: &[u8], kind: u8) -> Option<(&[u8], &[u8])> {
    let (tag, inside, after) = element(bytes)?;
    (tag == kind).then_some((inside, after))
}

/// The first element: its tag, what it holds, and what follows.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (inside, after) = rest.split_at_checked(length)?;
    Some((tag, inside, after))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, Issuer, KeyPair, date_time_ymd};

    use super::*;

    fn at(date: &str) -> Millis {
        Millis::of_rfc3339(&format!("{date}T00:00:00Z")).unwrap()
    }

    fn params(name: &str) -> CertificateParams {
        let mut params =
            CertificateParams::new(["hooks.example.com".into(), "*.example.org".into()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = date_time_ymd(2026, 1, 2);
        params.not_after = date_time_ymd(2051, 3, 4);
        params
    }

    #[test]
    fn names_times_and_who_signed_it_are_read() {
        let key = KeyPair::generate().unwrap();
        let root = params("root");
        let root_read = Certificate::read(root.self_signed(&key).unwrap().der()).unwrap();
        let leaf = params("leaf").signed_by(&key, &Issuer::new(root, &key)).unwrap();
        let read = Certificate::read(leaf.der()).unwrap();
        assert_eq!(read.names, ["hooks.example.com", "*.example.org"]);
        assert_eq!((read.not_before, read.not_after), (at("2026-01-02"), at("2051-03-04")));
        assert!(read.is_issued_by(&root_read) && root_read.is_issued_by(&root_read));
        assert!(!root_read.is_issued_by(&read));
    }

    #[test]
    fn what_is_cut_off_or_changed_never_panics() {
        let key = KeyPair::generate().unwrap();
        let der = params("x").self_signed(&key).unwrap().der().to_vec();
        for end in 0..der.len() {
            assert_eq!(Certificate::read(&der[..end]), None, "{end}");
            let mut changed = der.clone();
            changed[end] ^= 0xff;
            let _ = Certificate::read(&changed);
        }
    }

    #[test]
    fn a_short_life_has_short_warnings() {
        let stands = |days: u64, left: u64| {
            let (begin, end) = (at("2026-01-01"), at("2026-01-01").plus(DAY * u32::try_from(days).unwrap()));
            standing(begin, end, end.minus(DAY * u32::try_from(left).unwrap()))
        };
        for (days, left, expected) in [
            (365, 22, Standing::Fine),
            (365, 20, Standing::Due),
            (365, 6, Standing::Urgent),
            (365, 0, Standing::Expired),
            (365, 366, Standing::NotYetValid),
            // Renewed at 30 and 15 days left.
            (90, 22, Standing::Fine),
            (45, 12, Standing::Fine),
            (45, 10, Standing::Due),
            (45, 3, Standing::Urgent),
            (6, 2, Standing::Fine),
            (6, 1, Standing::Due),
        ] {
            assert_eq!(stands(days, left), expected, "{left} of {days} days");
        }
    }
}
