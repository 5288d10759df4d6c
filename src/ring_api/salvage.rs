//! Tokens out of an answer that is no whole JSON: cut off, with a comma too many, with something in front or behind, with single
//! quotes, as a string in another, as a form. They are taken where there is one reading only, since the old tokens may be dead, and to send those again may end the link.

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

/// Whether an answer that can't be read may hold a refresh token that lives, which a person or a later version could get out: it
/// speaks of one in any spelling, whole or not, or it is no text.
pub fn may_hold_tokens(raw: &[u8]) -> bool {
    const NAME: &[u8] = b"refreshtoken";
    let is_text = raw.iter().all(|byte| !byte.is_ascii_control() || byte.is_ascii_whitespace());
    let mut letters = Zeroizing::new(Vec::with_capacity(raw.len()));
    letters.extend(raw.iter().filter(|byte| byte.is_ascii_alphanumeric()).map(u8::to_ascii_lowercase));
    is_packed(raw) || !is_text || letters.windows(NAME.len()).any(|letters| letters == NAME)
}

/// The number of seconds under `expires_in`, wherever it stands.
pub(super) fn seconds(raw: &[u8]) -> Option<f64> {
    let plain = unescaped(raw);
    let mut numbers = values(plain.as_ref().map_or(raw, |plain| plain), "expires_in").map(|value| {
        let rest = value.rest.strip_prefix(b"\"").or(value.rest.strip_prefix(b"'")).unwrap_or(value.rest);
        let end = rest.iter().position(|byte| !matches!(byte, b'0'..=b'9' | b'.'))?;
        str::from_utf8(&rest[..end]).ok()?.parse().ok()
    });
    numbers.next().flatten().filter(|_| numbers.next().is_none())
}

fn find(raw: &[u8], key: &str) -> Found {
    let plain = unescaped(raw);
    let inner = plain.iter().flat_map(|plain| values(plain, key));
    let mut found = Found::Nothing;
    for value in values(raw, key).chain(inner) {
        found = match (value.text(), found) {
            (Some(text), Found::Nothing) => Found::One(text),
            (Some(text), Found::One(before)) if text.expose() == before.expose() => Found::One(before),
            _ => return Found::Unclear,
        };
    }
    found
}

/// What stands behind a key, to the end of the answer.
struct Value<'a> {
    rest: &'a [u8],
    /// Of a form rather than an object.
    of_form: bool,
}

impl Value<'_> {
    /// The text; nothing for one that is not whole, or can be no token.
    fn text(&self) -> Option<Secret<String>> {
        let text = match self.rest.first()? {
            b'"' => in_double_quotes(self.rest),
            b'\'' => in_single_quotes(self.rest),
            _ if self.of_form => of_form(self.rest),
            _ => None,
        }?;
        let is_token = !text.is_empty() && text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        is_token.then(|| Secret::new(text.to_string()))
    }
}

fn in_double_quotes(rest: &[u8]) -> Option<Zeroizing<String>> {
    let mut escaped = false;
    let end = rest.iter().skip(1).position(|byte| {
        let ends = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        ends
    })?;
    Some(Zeroizing::new(serde_json::from_slice(&rest[..end + 2]).ok()?))
}

/// Not with an escape, because no standard says what that means here.
fn in_single_quotes(rest: &[u8]) -> Option<Zeroizing<String>> {
    let inner = rest.get(1..)?;
    let inner = &inner[..inner.iter().position(|byte| *byte == b'\'')?];
    let text = str::from_utf8(inner).ok().filter(|text| !text.contains('\\'))?;
    Some(Zeroizing::new(text.to_owned()))
}

/// Only with something behind it, because the end of an answer may be cut off.
fn of_form(rest: &[u8]) -> Option<Zeroizing<String>> {
    let field = &rest[..rest.iter().position(|byte| *byte == b'&')?];
    let mut text = Zeroizing::new(String::with_capacity(2 * field.len()));
    let mut bytes = field.iter();
    while let Some(&byte) = bytes.next() {
        text.push(match byte {
            b'%' => {
                let digits = [*bytes.next()?, *bytes.next()?];
                char::from(u8::from_str_radix(str::from_utf8(&digits).ok()?, 16).ok()?)
            }
            // A plus may be meant as a space, and the others are of no form.
            b'+' | b'"' | b'\'' | b'\\' | b'<' | b'>' | b'{' | b'}' | b',' | b';' => return None,
            b'!'..=b'~' => char::from(byte),
            _ => return None,
        });
    }
    Some(text)
}

/// What stands behind each `"key" :`, with quotes of either kind or none, and behind each `key=`.
fn values<'a>(raw: &'a [u8], key: &str) -> impl Iterator<Item = Value<'a>> {
    let key = key.as_bytes().to_vec();
    (0..raw.len()).filter_map(move |at| {
        let behind = raw[at..].strip_prefix(&*key)?;
        let (rest, of_form) = match raw[..at].last() {
            Some(quote @ (b'"' | b'\'')) if behind.first() == Some(quote) => {
                (of_object(&behind[1..])?, false)
            }
            // Another key that ends in the same way.
            Some(before) if before.is_ascii_alphanumeric() || matches!(before, b'_' | b'-') => return None,
            _ if behind.starts_with(b"=") => (&behind[1..], true),
            _ => (of_object(behind)?, false),
        };
        Some(Value { rest, of_form })
    })
}

fn of_object(behind: &[u8]) -> Option<&[u8]> {
    Some(behind.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start())
}

/// The text of an object that stands as a string in another, with its quotes freed; nothing where there are none to be freed.
fn unescaped(raw: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    raw.windows(2).find(|two| two == b"\\\"")?;
    let mut plain = Zeroizing::new(Vec::with_capacity(raw.len()));
    let mut bytes = raw.iter().copied();
    while let Some(byte) = bytes.next() {
        match (byte, if byte == b'\\' { bytes.next() } else { None }) {
            (b'\\', Some(escaped @ (b'"' | b'\\' | b'/'))) => plain.push(escaped),
            (b'\\', Some(b'n' | b'r' | b't')) => plain.push(b' '),
            (_, other) => plain.extend([byte].into_iter().chain(other)),
        }
    }
    Some(plain)
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
            "{'access_token': 'a', 'refresh_token': 'b', 'expires_in': 60}",
            r#"{access_token:"a",refresh_token:"b"}"#,
            "access_token=a&token_type=Bearer&refresh_token=b&expires_in=60",
            "refresh_token=%62&access_token=a&",
            r#""{\"access_token\":\"a\",\"refresh_token\":\"b\"}""#,
            r#"{"x":"{\n \"access_token\": \"a\",\n \"refresh_token\": \"b\"\n}","#,
            r#"{"old_refresh_token":"c","access_token":"a","refresh_token":"b","#,
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
            (r#"{"access_token":"a","#, false),
            (r#"{"access_token":"a","refresh_token":"b"#, true),
            (r#"{"access_token":"a","refresh_token":"b\""#, true),
            (r#"{"access_token":"a","refresh_token":"#, true),
            (r#"{"access_token":"a","refresh_token":1,}"#, true),
            (r#"{"access_token":"a","refresh_token":"b","refresh_token":"c"}"#, true),
            (r#"{"access_token":"a","access_token":"x","refresh_token":"b"}"#, true),
            (r#"{"refresh_token":"b","access_tok"#, true),
            (r#"{"access_token":"a","refresh_token":"b","x":"{\"refresh_token\":\"c\"}","#, true),
            (r#"{"x":"{\"access_token\":\"a\",\"refresh_token\":\"b"#, true),
            (r"{'access_token':'a','refresh_token':'b\'", true),
            ("{'access_token':'a','refresh_token':'b", true),
            ("access_token=a&refresh_token=b", true),
            ("access_token=a&refresh_token=b+c&", true),
            ("access_token=a&refresh_token=%6&", true),
            ("access_token: a\nrefresh_token: b\n", true),
            ("<RefreshToken>b</RefreshToken>", true),
            ("\u{1f}\u{8b}", true),
            ("\u{1}\u{2}", true),
        ] {
            assert_eq!(salvaged(damaged), None, "{damaged}");
            assert_eq!(may_hold_tokens(damaged.as_bytes()), may_hold, "{damaged}");
        }
    }
}
