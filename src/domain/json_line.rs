//! JSON as one line for every reader: many readers end a line wherever Unicode does, also inside a string.

use std::fmt::Write;

/// What ends a line for Python's `splitlines` or Node's `readline` and may stand in JSON as it is: in its strings.
const ENDS: [char; 3] = ['\u{85}', '\u{2028}', '\u{2029}'];

/// The same JSON value with those characters escaped. `\n` and `\r` are the caller's: JSON has them between values only.
pub fn one_line(json: String) -> String {
    // The first bytes of these characters, so that plain text costs a look at its bytes.
    let may_end = json.bytes().any(|byte| matches!(byte, 0xc2 | 0xe2));
    if !may_end || !json.contains(ENDS) {
        return json;
    }
    let mut line = String::with_capacity(json.len() + 32);
    for c in json.chars() {
        if ENDS.contains(&c) {
            // Into memory: it can't fail.
            let _ = write!(line, "\\u{:04x}", u32::from(c));
        } else {
            line.push(c);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Everything that `str.splitlines` of Python splits on.
    const PYTHON: [char; 10] =
        ['\n', '\r', '\u{b}', '\u{c}', '\u{1c}', '\u{1d}', '\u{1e}', '\u{85}', '\u{2028}', '\u{2029}'];

    #[test]
    fn ends_of_lines_are_escaped_and_nothing_else() {
        let json = "{\"a\u{2028}\":\"\\\\\u{2029}é€\u{a0}\u{85}\"}";
        assert_eq!(one_line(json.into()), r#"{"a\u2028":"\\\u2029é€"#.to_owned() + "\u{a0}" + r#"\u0085"}"#);
        assert_eq!(one_line("{\"plain\":\"é\"}".into()), "{\"plain\":\"é\"}");
    }

    proptest! {
        #[test]
        fn any_text_is_one_line_and_the_same_value(
            text in "[\n\r\u{b}\u{c}\u{1c}-\u{1e}\u{7f}-\u{a0}\u{2027}-\u{202a}\\\\\"a€😀]{0,30}",
        ) {
            let value = serde_json::json!({ text.clone(): [text] });
            let line = one_line(value.to_string());
            prop_assert!(!line.contains(PYTHON));
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&line).unwrap(), value);
        }
    }
}
