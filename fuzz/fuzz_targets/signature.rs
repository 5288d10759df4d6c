//! The values of the signature headers, one a line: what is taken has one form, and another case changes nothing.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ringhookd::domain::signature::{Refusal, Signature};

fuzz_target!(|headers: &[u8]| {
    let values: Vec<&[u8]> = headers.split(|byte| *byte == b'\n').collect();
    let read = Signature::parse(values.iter().copied());
    if let [value] = values[..] {
        assert!(!matches!(read, Err(Refusal::Missing | Refusal::Repeated)));
        let hex = value.strip_prefix(b"sha256=").unwrap_or(value);
        let fits = hex.len() == 64 && hex.iter().all(u8::is_ascii_hexdigit);
        assert_eq!(read.is_ok(), fits);
        let upper = [b"sha256=", &hex.to_ascii_uppercase()[..]].concat();
        let lower = [b"sha256=", &hex.to_ascii_lowercase()[..]].concat();
        let parse = |value: &[u8]| Signature::parse(std::iter::once(value));
        assert_eq!(parse(&upper), parse(&lower));
    } else {
        assert_eq!(read, Err(Refusal::Repeated));
    }
});
