//! The query of the Account Link URL: what is taken comes back from its own query, and an error says nothing of it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ringhookd::domain::nonce::Nonces;
use ringhookd::domain::visit::{NoVisit, Visit};

fuzz_target!(|query: &str| {
    match Visit::of_query(query) {
        Ok(visit) => {
            let again = Visit::of_query(&visit.to_query()).expect("its own query");
            assert_eq!((again.nonce(), again.time()), (visit.nonce(), visit.time()));
            let digits = visit.time().trim_start_matches('0');
            assert_eq!(visit.at().0.to_string(), if digits.is_empty() { "0" } else { digits });
            assert_eq!(format!("{visit:?}"), format!("Visit {{ time: {:?}, .. }}", visit.time()));
            assert!(!Nonces::new([&b"fuzz"[..]]).matches(&visit, "account"), "nobody knows that key");
        }
        Err(error) => assert!(PLAIN.contains(&error), "{error:?} is not one of those without input"),
    }
});

/// Every error there is, spelt out, so that one that carries a part of the query shows up here.
const PLAIN: [NoVisit; 7] = [
    NoVisit::TooLong,
    NoVisit::Missing("nonce"),
    NoVisit::Missing("time"),
    NoVisit::Twice("nonce"),
    NoVisit::Twice("time"),
    NoVisit::BadNonce,
    NoVisit::BadTime,
];
