//! JSON values one behind the other, as in a file with an object a line, each with the line it begins on.

use std::ops::Range;

use serde_json::value::RawValue;

/// Here the text stops being JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no JSON; what follows was not read")]
pub struct NotJson {
    /// It may be that only the end of a value is missing.
    pub is_cut: bool,
}

/// One value, or where the text stops being JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value<'a> {
    /// Counted from 1.
    pub line: usize,
    /// Where it stands.
    pub bytes: Range<usize>,
    pub text: Result<&'a str, NotJson>,
}

/// The values in `text`, in order; the last one is an error where the rest is no JSON.
pub fn values(text: &[u8]) -> impl Iterator<Item = Value<'_>> {
    let mut stream = serde_json::Deserializer::from_slice(text).into_iter::<&RawValue>();
    let (mut line, mut counted) = (1, 0);
    let next = move || {
        let rest = &text[stream.byte_offset()..];
        let start = text.len() - rest.trim_ascii_start().len();
        line += text[counted..start].split(|&byte| byte == b'\n').count() - 1;
        counted = start;
        let value = stream.next()?.map(RawValue::get).map_err(|error| NotJson { is_cut: error.is_eof() });
        Some(Value { line, bytes: start..stream.byte_offset().max(start), text: value })
    };
    std::iter::from_fn(next).fuse()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_know_their_lines_and_places() {
        let text = b"\n{\"a\":\n1}\n{}{}\n\n{\"b\":2}\nnot json\n{}";
        let found: Vec<_> = values(text).map(|value| (value.line, value.text.is_ok())).collect();
        assert_eq!(found, [(2, true), (4, true), (4, true), (6, true), (7, false)]);
        for value in values(text).take(4) {
            assert_eq!(text[value.bytes.clone()], *value.text.unwrap().as_bytes());
        }
        assert_eq!(values(b" \n").count(), 0);
        for (text, is_cut) in
            [("{\"a\":", true), ("{}\n{\"a", true), ("{a", false), ("tru", true), ("x", false)]
        {
            assert_eq!(values(text.as_bytes()).last().unwrap().text, Err(NotJson { is_cut }), "{text}");
        }
    }
}
