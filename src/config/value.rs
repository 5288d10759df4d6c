//! From a written value to a typed one: durations, sizes, counts, words. Each reader says what it would have taken.

use std::fmt;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use bytesize::ByteSize;
use toml::de::DeValue;

/// A value as the file, or a default in the code, gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Raw<'a> {
    Text(&'a str),
    Number(u64),
    Flag(bool),
    /// Nothing that any key takes: negative numbers, fractions, dates, tables.
    Other,
}

impl<'a> From<&'a DeValue<'_>> for Raw<'a> {
    fn from(value: &'a DeValue<'_>) -> Self {
        match value {
            DeValue::String(text) => Self::Text(text),
            DeValue::Boolean(flag) => Self::Flag(*flag),
            DeValue::Integer(number) => {
                u64::from_str_radix(number.as_str(), number.radix()).map_or(Self::Other, Raw::Number)
            }
            _ => Self::Other,
        }
    }
}

impl<'a> From<&'a str> for Raw<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl From<u64> for Raw<'_> {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<bool> for Raw<'_> {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

/// As TOML.
impl Display for Raw<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::Other => f.write_str("?"),
        }
    }
}

/// Why a value is not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// It is not of the form named; an example helps.
    Form(&'static str),
    /// It is of the form, but can't be right for the reason given.
    Value(String),
}

/// For parsers whose error says what is wrong with the text.
pub(super) fn because(error: impl Display) -> Wrong {
    Wrong::Value(error.to_string())
}

pub(super) const fn days(n: u64) -> Duration {
    Duration::from_hours(24 * n)
}

/// Longer texts are no durations; near the end of `u64` humantime would panic.
const MAX_DURATION_TEXT: usize = 24;

pub(super) fn duration(range: RangeInclusive<Duration>) -> impl Fn(Raw<'_>) -> Result<Duration, Wrong> {
    move |raw| match raw {
        Raw::Text(text) if text.len() <= MAX_DURATION_TEXT => {
            let value = humantime::parse_duration(text).map_err(|_| Wrong::Form("a duration"))?;
            within(value, &range, show_duration)
        }
        _ => Err(Wrong::Form("a duration")),
    }
}

/// Sizes in bytes, of whichever integer the field has.
pub(super) fn bytes<N>(range: RangeInclusive<N>) -> impl Fn(Raw<'_>) -> Result<N, Wrong>
where
    N: Copy + PartialOrd + TryFrom<u64> + TryInto<u64>,
{
    move |raw| {
        let Raw::Text(text) = raw else { return Err(Wrong::Form("a size")) };
        let ByteSize(size) = text.parse().map_err(|_| Wrong::Form("a size"))?;
        let show = |n: N| show_bytes(n.try_into().unwrap_or(u64::MAX));
        let size = N::try_from(size).map_err(|_| out_of(&range, show))?;
        within(size, &range, show)
    }
}

pub(super) fn count<N>(range: RangeInclusive<N>) -> impl Fn(Raw<'_>) -> Result<N, Wrong>
where
    N: Copy + PartialOrd + TryFrom<u64> + Display,
{
    move |raw| {
        let Raw::Number(number) = raw else { return Err(Wrong::Form("a whole number")) };
        let number = N::try_from(number).map_err(|_| out_of(&range, |n: N| n.to_string()))?;
        within(number, &range, |n| n.to_string())
    }
}

pub(super) fn flag(raw: Raw<'_>) -> Result<bool, Wrong> {
    match raw {
        Raw::Flag(flag) => Ok(flag),
        _ => Err(Wrong::Value("must be true or false".into())),
    }
}

/// A text that `parse` takes.
pub(super) fn text<T>(parse: impl Fn(&str) -> Result<T, Wrong>) -> impl Fn(Raw<'_>) -> Result<T, Wrong> {
    move |raw| match raw {
        Raw::Text(text) => parse(text),
        _ => Err(Wrong::Form("a text")),
    }
}

/// One of a few words.
pub(super) fn choice<T: Copy>(words: &'static [(&'static str, T)]) -> impl Fn(Raw<'_>) -> Result<T, Wrong> {
    move |raw| {
        let chosen = words.iter().find(|(word, _)| raw == Raw::Text(word));
        chosen.map(|(_, value)| *value).ok_or_else(|| {
            let words: Vec<_> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
            Wrong::Value(format!("must be one of {}", words.join(", ")))
        })
    }
}

fn within<T: Copy + PartialOrd>(
    value: T,
    range: &RangeInclusive<T>,
    show: impl Fn(T) -> String,
) -> Result<T, Wrong> {
    if range.contains(&value) { Ok(value) } else { Err(out_of(range, show)) }
}

fn out_of<T: Copy>(range: &RangeInclusive<T>, show: impl Fn(T) -> String) -> Wrong {
    Wrong::Value(format!("must be {} to {}", show(*range.start()), show(*range.end())))
}

/// In the largest unit that leaves no rest: `76h`, `4500ms`.
pub(super) fn show_duration(duration: Duration) -> String {
    let ms = duration.as_millis();
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let fits = units.into_iter().find(|(unit, _)| ms > 0 && ms.is_multiple_of(*unit));
    let (unit, name) = fits.unwrap_or((1, "ms"));
    format!("{}{name}", ms / unit)
}

/// In the largest unit that leaves no rest: `16 KiB`, `1536 MiB`.
pub(super) fn show_bytes(size: u64) -> String {
    let units = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let fits = units.into_iter().find(|(unit, _)| size > 0 && size.is_multiple_of(*unit));
    let (unit, name) = fits.unwrap_or((1, "B"));
    format!("{} {name}", size / unit)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_and_sizes_read_as_people_write_them() {
        let read = |text| duration(Duration::ZERO..=days(365))(Raw::Text(text)).unwrap();
        assert_eq!(read("30 s"), Duration::from_secs(30));
        assert_eq!(read("5m"), Duration::from_mins(5));
        assert_eq!(read("1day 12h"), Duration::from_hours(36));
        let read = |text| bytes(0..=u64::MAX)(Raw::Text(text)).unwrap();
        assert_eq!(read("1 MiB"), 1 << 20);
        assert_eq!(read("1.5 GiB"), 3 << 29);
        assert_eq!(read("10kB"), 10_000);
        assert_eq!(read("77"), 77);
    }

    #[test]
    fn a_duration_at_the_end_of_time_is_refused_not_a_panic() {
        let read = duration(Duration::ZERO..=Duration::MAX);
        let text = "18446744073709551615s 1000ms";
        assert_eq!(read(Raw::Text(text)), Err(Wrong::Form("a duration")));
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(ms in 0u64..=365 * 86_400_000, size in 0u64..1 << 53) {
            let span = Duration::from_millis(ms);
            let all = Duration::ZERO..=Duration::MAX;
            prop_assert_eq!(duration(all)(Raw::Text(&show_duration(span))), Ok(span));
            prop_assert_eq!(bytes(0..=u64::MAX)(Raw::Text(&show_bytes(size))), Ok(size));
        }

        #[test]
        fn no_text_makes_a_reader_panic(text in "[0-9. µa-zA-Z-]{0,30}|\\PC{0,30}") {
            let _ = duration(Duration::ZERO..=Duration::MAX)(Raw::Text(&text));
            let _ = bytes(0..=u64::MAX)(Raw::Text(&text));
        }
    }
}
