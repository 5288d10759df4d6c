//! Wall time as epoch milliseconds, the unit in which everything is stored and compared.

use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Millis(pub u64);

impl Millis {
    /// The time `by` later, at most the end of time.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(to_ms(by)))
    }

    /// The time `by` earlier, at least the epoch.
    #[must_use]
    pub fn minus(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(to_ms(by)))
    }

    /// How long `earlier` lies before this time; nothing when it lies after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// Reads the date of an HTTP header, in any of the three forms of RFC 9110.
    pub fn of_http_date(text: &str) -> Option<Self> {
        let at = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
        u64::try_from(at.as_millis()).ok().map(Self)
    }

    /// The same, for a header; its milliseconds are lost.
    pub fn http_date(self) -> String {
        let ms = i64::try_from(self.0).unwrap_or(i64::MAX);
        let at = jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::MAX);
        at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
    }

    /// Reads RFC 3339; what lies before the epoch is no time of ours.
    pub fn of_rfc3339(text: &str) -> Option<Self> {
        let at: jiff::Timestamp = text.parse().ok()?;
        u64::try_from(at.as_millisecond()).ok().map(Self)
    }

    /// RFC 3339 in UTC, for people and for CloudEvents.
    pub fn rfc3339(self) -> String {
        let ms = i64::try_from(self.0).unwrap_or(i64::MAX);
        jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::MAX).to_string()
    }
}

/// As RFC 3339.
impl Serialize for Millis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.rfc3339())
    }
}

impl<'de> Deserialize<'de> for Millis {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::of_rfc3339(&text).ok_or_else(|| de::Error::custom("no time in the form of RFC 3339"))
    }
}

fn to_ms(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_stops_at_the_ends() {
        assert_eq!(Millis(5).minus(Duration::from_secs(1)), Millis(0));
        assert_eq!(Millis(u64::MAX).plus(Duration::MAX), Millis(u64::MAX));
        assert_eq!(Millis(1).since(Millis(2)), Duration::ZERO);
    }

    #[test]
    fn http_dates_come_back_to_the_second() {
        let at = Millis(1_700_000_000_123);
        assert_eq!(at.http_date(), "Tue, 14 Nov 2023 22:13:20 GMT");
        assert_eq!(Millis::of_http_date(&at.http_date()), Some(Millis(1_700_000_000_000)));
        assert_eq!((Millis::of_http_date(""), Millis::of_http_date("1700000000")), (None, None));
    }

    #[test]
    fn shows_as_rfc_3339() {
        assert_eq!(Millis(1_700_000_000_123).rfc3339(), "2023-11-14T22:13:20.123Z");
        assert!(!Millis(u64::MAX).rfc3339().is_empty());
        assert_eq!(Millis::of_rfc3339("2023-11-14T22:13:20.123Z"), Some(Millis(1_700_000_000_123)));
        assert_eq!((Millis::of_rfc3339("1969-12-31T23:59:59Z"), Millis::of_rfc3339("")), (None, None));
    }
}
