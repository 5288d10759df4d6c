//! A webhook's body, as far as its signature does not matter: what is read of it is within its bounds.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ringhookd::domain::envelope::{MAX_DEVICES, MAX_KIND_BYTES, parse};
use ringhookd::domain::ids::MAX_ID_BYTES;

fuzz_target!(|body: &[u8]| {
    let Ok(event) = parse(body) else { return };
    let within = |text: &str, max: usize| !text.is_empty() && text.len() <= max;
    assert!(within(&event.kind, MAX_KIND_BYTES));
    assert!(event.sub_kind.is_none_or(|kind| within(&kind, MAX_KIND_BYTES)));
    assert!(event.account.is_none_or(|account| within(account.as_str(), MAX_ID_BYTES)));
    assert!(event.devices.len() <= MAX_DEVICES);
    assert!(event.devices.iter().chain(&event.device).all(|device| within(device.as_str(), MAX_ID_BYTES)));
    assert!(event.request_id.is_none_or(|id| within(&id, MAX_ID_BYTES)));
});
