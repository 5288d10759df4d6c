//! A request to the Token Exchange URL: a code that is taken is one, and neither shape nor error shows it.
//!
//! The input is the query, the content type and the body, a line each; an empty line is none.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ringhookd::linking::request::{MAX_CODE_BYTES, read};

/// The long words that a shape and an error have of their own: the fuzzer does find them, and uses them as a code.
const OWN: [&str; 8] = [
    "x-www-form-urlencoded",
    "octet-stream",
    "authorization_code",
    "authorizationCode",
    "code_verifier",
    "codeVerifier",
    "UnreadableJson",
    "UnreadableMultipart",
];

fuzz_target!(|input: &[u8]| {
    let mut lines = input.splitn(3, |byte| *byte == b'\n');
    let mut line = || lines.next().unwrap_or_default();
    let (query, content_type, body) = (line(), line(), line());
    let text = |line| std::str::from_utf8(line).ok().filter(|text| !text.is_empty());
    match read(text(query), text(content_type), body) {
        Ok(read) => {
            let code = read.code.expose();
            assert!((1..=MAX_CODE_BYTES).contains(&code.len()));
            assert!(code.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            let shown = format!("{} {:?}", read.shape, read.shape);
            assert!(!shows(&shown, code));
            assert!(read.verifier.is_none_or(|verifier| !shows(&shown, verifier.expose())));
        }
        Err(refused) => {
            let shown = format!("{refused} {refused:?}");
            assert!(shown.len() < 4096);
            // A code that was not taken is not shown either.
            let pairs = text(query).into_iter().flat_map(|query| query.split('&'));
            assert!(pairs.filter_map(|pair| pair.strip_prefix("code=")).all(|value| !shows(&shown, value)));
        }
    }
});

/// Whether a word in it holds the value. Short values and values with signs in them may come about by chance.
fn shows(shown: &str, value: &str) -> bool {
    let of_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let telling = value.len() >= 12 && value.chars().all(of_word);
    telling && shown.split(|c| !of_word(c)).any(|word| word.contains(value) && !OWN.contains(&word))
}
