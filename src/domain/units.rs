//! Times and sizes as people say them.

use std::time::Duration;

/// In the largest unit of which it has two, but for one: `42 s`, `3 min`, `5 h`, `12 days`.
pub fn span(span: Duration) -> String {
    match span.as_secs() {
        s @ 0..120 => format!("{s} s"),
        s @ 120..7_200 => format!("{} min", s / 60),
        s @ 7_200..172_800 => format!("{} h", s / 3_600),
        s => format!("{} days", s / 86_400),
    }
}

/// The whole of it, in the largest unit that leaves no rest: `45 s`, `90 min`, `76 h`, `1 day`, `30 days`.
pub fn exact(span: Duration) -> String {
    let ms = span.as_millis();
    match ms {
        _ if ms == 0 || !ms.is_multiple_of(1_000) => format!("{ms} ms"),
        86_400_000 => "1 day".to_owned(),
        _ if ms.is_multiple_of(86_400_000) => format!("{} days", ms / 86_400_000),
        _ if ms.is_multiple_of(3_600_000) => format!("{} h", ms / 3_600_000),
        _ if ms.is_multiple_of(60_000) => format!("{} min", ms / 60_000),
        _ => format!("{} s", ms / 1_000),
    }
}

/// Bytes: `512 B`, `1.2 GiB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let power = bytes.max(1).ilog2() / 10;
    if power == 0 {
        return format!("{bytes} B");
    }
    let tenths = (u128::from(bytes) * 10) >> (10 * power);
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[power as usize - 1])
}

/// `1 event`, `2 events`.
pub fn count(number: u64, of: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{number} {of}{s}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_said_in_one_unit() {
        for (seconds, said) in [
            (0, "0 s"),
            (119, "119 s"),
            (120, "2 min"),
            (3_599, "59 min"),
            (7_200, "2 h"),
            (172_799, "47 h"),
            (172_800, "2 days"),
            (u64::MAX, "213503982334601 days"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), said);
        }
    }

    #[test]
    fn an_exact_span_loses_nothing() {
        for (ms, said) in [
            (0, "0 ms"),
            (1_500, "1500 ms"),
            (45_000, "45 s"),
            (5_400_000, "90 min"),
            (273_600_000, "76 h"),
            (86_400_000, "1 day"),
            (2_592_000_000, "30 days"),
            (86_401_000, "86401 s"),
        ] {
            assert_eq!(exact(Duration::from_millis(ms)), said);
        }
    }

    #[test]
    fn sizes_are_said_in_one_unit() {
        for (bytes, said) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_024, "1.0 KiB"),
            (1_048_575, "1023.9 KiB"),
            (1_288_490_189, "1.2 GiB"),
            (u64::MAX, "15.9 EiB"),
        ] {
            assert_eq!(size(bytes), said);
        }
        assert_eq!((count(1, "event"), count(0, "event")), ("1 event".into(), "0 events".into()));
    }
}
