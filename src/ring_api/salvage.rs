//! Tokens out of an answer that is no whole JSON: cut off, with a comma too many, with something in front or behind. They are taken
//! where there is one reading only, since the old tokens may be dead, and to send those again may end the link.

use zeroize::Zeroizing;

use super::unpack::is_packed;
use crate::domain::secret::Secret;

/// What a damaged answer has under a key.
enum Found {
    Nothing,
    /// The same text wherever the key stands.
    One(Secret<String>),
    /// More than one text, or one that is not whole.
    Unclear,
}

/// The access token and the refresh token, if there is one whole text for each.
pub(super) fn pair(raw: &[u8]) -> Option<(Secret<String>, Secret<String>)> {
    match (find(raw, "access_token"), find(raw, "refresh_token")) {
        (Found::One(access), Found::One(refresh)) => Some((access, refresh)),
        _ => None,
    }
}

/// Whether an answer that can't be read may hold a refresh token that lives, which a person or a later version could get out.
pub fn may_hold_tokens(raw: &[u8]) -> bool {
    let is_text = raw.iter().all(|byte| !byte.is_ascii_control() || byte.is_ascii_whitespace());
    is_packed(raw) || !is_text || texts(raw, "refresh_token").any(|text| text.is_some())
}

/// The number of seconds under `expires_in`, wherever it stands.
pub(super) fn seconds(raw: &[u8]) -> Option<f64> {
    let mut values = values(raw, "expires_in").map(|rest| {
        let rest = rest.strip_prefix(b"\"").unwrap_or(rest);
        let end = rest.iter().position(|byte| !matches!(byte, b'0'..=b'9' | b'.'))?;
        str::from_utf8(&rest[..end]).ok()?.parse().ok()
    });
    values.next().flatten().filter(|_| values.next().is_none())
}

fn find(raw: &[u8], key: &str) -> Found {
    let mut found = Found::Nothing;
    for text in texts(raw, key) {
        found = match (text, found) {
            (Some(text), Found::Nothing) => Found::One(text),
            (Some(text), Found::One(before)) if text.expose() == before.expose() => Found::One(before),
            _ => return Found::Unclear,
        };
    }
    found
}

/// The text behind each `"key":`; nothing for one that is not whole, or can be no token.
fn texts(raw: &[u8], key: &str) -> impl Iterator<Item = Option<Secret<String>>> {
    values(raw, key).map(|rest| {
        let inner = rest.strip_prefix(b"\"")?;
        let mut escaped = false;
        let end = inner.iter().position(|byte| {
            let ends = *byte == b'"' && !escaped;
            escaped = *byte == b'\\' && !escaped;
            ends
        })?;
        let text: Zeroizing<String> = Zeroizing::new(serde_json::from_slice(&rest[..end + 2]).ok()?);
        let is_token = !text.is_empty() && text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        is_token.then(|| Secret::new(text.to_string()))
    })
}

/// What stands behind each `"key" :`.
fn values<'a>(raw: &'a [u8], key: &str) -> impl Iterator<Item = &'a [u8]> {
    let quoted = format!("\"{key}\"").into_bytes();
    let length = quoted.len();
    let places = (0..raw.len().saturating_sub(length)).filter(move |at| raw[*at..].starts_with(&quoted));
    places.filter_map(move |at| {
        Some(raw[at + length..].trim_ascii_start().strip_prefix(b":")?.trim_ascii_start())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn salvaged(raw: &str) -> Option<(String, String)> {
        pair(raw.as_bytes()).map(|(access, refresh)| (access.expose().clone(), refresh.expose().clone()))
    }

    #[test]
    fn tokens_that_can_be_meant_in_one_way_only_are_taken() {
        for damaged in [
            r#"{"access_token":"a","refresh_token":"b","expires_in":14400,}"#,
            r#"{"access_token":"a","refresh_token":"b","exp"#,
            r#"{"access_token":"a","refresh_token":"b""#,
            r#"{"access_token":"a",,"refresh_token" : "b"}"#,
            r#"<!-- proxy -->{"access_token":"a","refresh_token":"b"}"#,
            r#"{"access_token":"a","refresh_token":"b"}{"access_token":"a","refresh_token":"b"}"#,
            r#"{"x":{"access_token":"a","refresh_token":"\u0062"}"#,
        ] {
            assert_eq!(salvaged(damaged), Some(("a".to_owned(), "b".to_owned())), "{damaged}");
        }
        assert_eq!(seconds(br#"{"access_token":"a","expires_in":60,,"#), Some(60.0));
        assert_eq!(seconds(br#"{"expires_in":60,"expires_in":61,"#), None);
        assert_eq!(seconds(br#"{"expires_in":60"#), None, "more digits may have been cut off");
    }

    #[test]
    fn what_can_be_meant_in_two_ways_or_is_not_whole_is_not_taken() {
        for (damaged, may_hold) in [
            ("", false),
            ("<html>a page</html>", false),
            (r#"{"access_token":"a","refresh_token":"b"#, false),
            (r#"{"access_token":"a","refresh_token":"b\""#, false),
            (r#"{"access_token":"a","refresh_token":"#, false),
            (r#"{"access_token":"a","refresh_token":1,}"#, false),
            (r#"{"access_token":"a","refresh_token":"b","refresh_token":"c"}"#, true),
            (r#"{"access_token":"a","access_token":"x","refresh_token":"b"}"#, true),
            (r#"{"refresh_token":"b","access_tok"#, true),
            (r#"{"x":"{\"access_token\":\"a\",\"refresh_token\":\"b\"}","#, false),
            ("\u{1f}\u{8b}", true),
            ("\u{1}\u{2}", true),
        ] {
            assert_eq!(salvaged(damaged), None, "{damaged}");
            assert_eq!(may_hold_tokens(damaged.as_bytes()), may_hold, "{damaged}");
        }
    }
}
