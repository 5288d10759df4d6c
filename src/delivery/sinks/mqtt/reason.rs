//! The reason codes of MQTT 5 (section 2.4) in words.

use crate::delivery::sinks::words::Words;

/// Why the broker did what it did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reason {
    pub(super) code: u8,
    /// In the broker's own words.
    pub(super) said: Option<String>,
}

pub(super) const SUCCESS: u8 = 0x00;
pub(super) const NO_SUBSCRIBERS: u8 = 0x10;
pub(super) const UNSPECIFIED: u8 = 0x80;
pub(super) const IMPLEMENTATION: u8 = 0x83;
pub(super) const NOT_AUTHORIZED: u8 = 0x87;
pub(super) const TAKEN_OVER: u8 = 0x8E;
pub(super) const TOPIC_INVALID: u8 = 0x90;
pub(super) const TOO_LARGE: u8 = 0x95;
pub(super) const FORMAT_INVALID: u8 = 0x99;

impl Reason {
    /// Its meaning, and what the broker says beside it.
    pub(super) fn words(&self, words: &Words) -> String {
        let said = self.said.as_deref().map(|text| words.said(text)).filter(|text| !text.is_empty());
        let said = said.map(|text| format!(": {text}")).unwrap_or_default();
        match meaning(self.code) {
            Some(meaning) => format!("{meaning} (0x{:02X}){said}", self.code),
            None => format!("reason 0x{:02X}{said}", self.code),
        }
    }
}

fn meaning(code: u8) -> Option<&'static str> {
    Some(match code {
        SUCCESS => "no reason",
        // Of MQTT 3.1.1, which has five codes of its own.
        0x01 | 0x84 => "the broker does not speak MQTT 5",
        NO_SUBSCRIBERS => "nobody subscribes to it",
        UNSPECIFIED => "unspecified error",
        0x81 => "malformed packet",
        0x82 => "protocol error",
        IMPLEMENTATION => "not possible at this broker",
        0x04 | 0x86 => "bad user name or password",
        0x02 | 0x85 => "client_id is not valid",
        0x05 | NOT_AUTHORIZED => "not authorized",
        0x03 | 0x88 => "server unavailable",
        0x89 => "server busy",
        0x8A => "banned",
        0x8B => "server shutting down",
        0x8C => "bad authentication method",
        0x8D => "keep alive timeout",
        TAKEN_OVER => {
            "session taken over: another client has connected with the same client_id; give each daemon one of its own"
        }
        TOPIC_INVALID => "topic name invalid",
        0x91 => "packet identifier in use",
        0x93 => "receive maximum exceeded",
        TOO_LARGE => "packet too large",
        0x96 => "message rate too high",
        0x97 => "quota exceeded",
        0x98 => "administrative action",
        FORMAT_INVALID => "payload format invalid",
        0x9A => "retained messages are not supported",
        0x9B => "QoS 1 is not supported",
        0x9C | 0x9D => "use another server: write its address as url",
        0x9F => "connection rate exceeded",
        0xA0 => "maximum connect time",
        _ => return None,
    })
}
