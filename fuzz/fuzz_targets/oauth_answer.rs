//! An answer of OAuth: a pair that is taken can be used, and shows no token.

#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use ringhookd::ring_api::read_pair;

fuzz_target!(|body: &[u8]| {
    let Some(pair) = read_pair(body) else { return };
    let token = pair.access_token.expose();
    assert!(!token.is_empty() && token.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
    assert!(pair.refresh_token.is_none_or(|token| !token.expose().is_empty()));
    assert!((Duration::from_mins(1)..=Duration::from_hours(24)).contains(&pair.expires_in));
    assert_eq!(format!("{:?}", pair.access_token), "[secret]");
});
