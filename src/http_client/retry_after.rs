//! When the other side wants to be asked again, by its own words and its own clock.

use std::time::Duration;

use hyper::header::{DATE, HeaderMap, HeaderValue, RETRY_AFTER};

use crate::domain::time::Millis;

/// Seconds, also with a fraction, or a date (RFC 9110 §10.2.3), which counts from the answer's own date where it has one: clocks
/// differ. Nothing where it says nothing.
pub fn retry_after(headers: &HeaderMap, now: Millis) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).map(str::trim);
    let asked = text(RETRY_AFTER)?;
    if let Ok(seconds) = asked.parse::<f64>() {
        let sensible = seconds.is_finite() && seconds >= 0.0;
        return sensible.then(|| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX));
    }
    Some(Millis::of_http_date(asked)?.since(date(headers).unwrap_or(now)))
}

/// When the other side made the answer, by its clock.
pub fn date(headers: &HeaderMap) -> Option<Millis> {
    Millis::of_http_date(headers.get(DATE)?.to_str().ok()?)
}
