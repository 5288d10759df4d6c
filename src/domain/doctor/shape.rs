//! Whether a secret can be what Ring shows: its shape alone, and never a word of it.

use data_encoding::BASE64;

use super::Finding;

/// Texts of examples, which nobody else would write into a secret.
const PLACEHOLDERS: [&str; 7] =
    ["made-up", "changeme", "change-me", "put-here", "placeholder", "your-", "example"];

/// What is odd about the secret that `name` names; `others` are those beside it.
pub fn shape(check: &'static str, name: &str, secret: &[u8], others: &[&[u8]]) -> Option<Finding> {
    let again = "copy it again from Ring's console, as it is shown there, on one line";
    let failed = |words: &str| Some(Finding::failed(check, format!("{name} {words}")).so(again));
    let warning = |words: &str| Some(Finding::warning(check, format!("{name} {words}")).so(again));
    if secret.iter().any(|byte| byte.is_ascii_whitespace() || byte.is_ascii_control()) {
        return failed("has a space or a line end in it, which counts as a part of it");
    }
    if !secret.is_ascii() {
        return warning("has letters that are not ASCII");
    }
    if [&b"sha256="[..], b"whsec_", b"\"", b"'"].iter().any(|start| secret.starts_with(start)) {
        return warning(
            "begins with sha256=, whsec_ or a quotation mark, which is no part of what Ring shows",
        );
    }
    let text = String::from_utf8_lossy(secret).to_ascii_lowercase();
    if PLACEHOLDERS.iter().any(|placeholder| text.contains(placeholder)) {
        return warning("looks like the text of an example, so it is not Ring's");
    }
    let decoded = BASE64.decode(secret).ok();
    if decoded.is_some_and(|decoded| others.contains(&&decoded[..])) {
        return warning(
            "and another are the same, once as text and once decoded from base64: Ring's is used as text, so take the other out",
        );
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn a_shape_that_ring_does_not_give_is_found_and_the_secret_is_not_told() {
        for (secret, state, words) in [
            (&b"hush-hush-hush\n"[..], State::Failed, "a line end"),
            (b"hush hush hush", State::Failed, "a space"),
            ("hush-h\u{fc}sh".as_bytes(), State::Warning, "not ASCII"),
            (b"whsec_hush", State::Warning, "begins with"),
            (b"\"hush-hush\"", State::Warning, "quotation mark"),
            (b"Made-Up-hush", State::Warning, "of an example"),
            (b"aHVzaC1odXNo", State::Warning, "decoded from base64"),
        ] {
            let found = shape("credentials", "the key", secret, &[b"hush-hush"]).unwrap();
            assert_eq!(found.state, state, "{found:?}");
            assert!(found.words.contains(words), "{found:?}");
            assert!(!format!("{found:?}").contains("hush"), "{found:?}");
        }
        for fine in ["0f1e2d3c4b5a69788796a5b4c3d2e1f0", "aHVzaC1odXNo", "a+b/c=="] {
            assert_eq!(shape("credentials", "the key", fine.as_bytes(), &[b"other"]), None, "{fine}");
        }
    }
}
