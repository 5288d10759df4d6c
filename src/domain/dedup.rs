//! By what an event is recognised when it comes again.

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use super::content::{ContentHash, short};
use super::envelope::Envelope;

/// A request id's hash as remembered: 16 bytes of SHA-256.
pub type IdHash = [u8; 16];

/// What an event is remembered by, beside the key that goes out with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Of the key.
    pub id: IdHash,
    pub content: ContentHash,
}

/// The idempotency key of an event, and what it is remembered by.
pub type Named = (String, Identity);

impl Identity {
    /// By `meta.request_id` and what the event says: Ring's retry may carry a new `meta.time`. An event without a request
    /// id goes by its whole body, because two that say the same in `data` may be two.
    pub fn of_event(event: &Envelope, body: &[u8]) -> Named {
        match (&event.request_id, event.content) {
            (Some(id), Some(content)) => Self::named(id.clone(), content),
            (id, _) => Self::of(id.as_deref(), body),
        }
    }

    /// By the request id, else by a hash of the body; the whole body counts as what the event says.
    pub fn of(request_id: Option<&str>, body: &[u8]) -> Named {
        let digest = whole(body);
        let key = request_id.map_or_else(|| format!("body-{}", HEXLOWER.encode(&digest)), str::to_owned);
        Self::named(key, short(&digest))
    }

    /// What the event of that key is called when its id was seen before with something else in `data`.
    #[must_use]
    pub fn conflicting(self, key: &str) -> Named {
        Self::named(format!("{key}~{}", HEXLOWER.encode(&self.content)), self.content)
    }

    fn named(key: String, content: ContentHash) -> Named {
        let id = id_hash(&key);
        (key, Self { id, content })
    }
}

fn id_hash(key: &str) -> IdHash {
    tagged(b"ringhookd/id/v1\0", key.as_bytes())
}

fn whole(body: &[u8]) -> [u8; 16] {
    tagged(b"ringhookd/body/v1\0", body)
}

fn tagged(tag: &[u8], data: &[u8]) -> [u8; 16] {
    let digest = Sha256::new().chain_update(tag).chain_update(data).finalize();
    let mut out = [0; 16];
    out.copy_from_slice(&digest[..16]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::envelope::parse;

    fn of(body: &str) -> Named {
        Identity::of_event(&parse(body.as_bytes()).unwrap(), body.as_bytes())
    }

    fn sent(meta: &str, data: &str) -> Named {
        of(&format!(r#"{{"meta":{{"request_id":"r",{meta}}},"data":{data}}}"#))
    }

    #[test]
    fn the_request_id_names_an_event_and_the_body_tells_conflicts_apart() {
        let (key, first) = Identity::of(Some("r"), b"one");
        let (other_key, other) = Identity::of(Some("r"), b"two");
        assert_eq!((&key, first.id), (&other_key, other.id));
        assert_ne!(first.content, other.content);
        let (new_key, conflicting) = other.conflicting(&key);
        assert!(new_key.starts_with("r~"));
        assert_ne!(conflicting.id, first.conflicting(&key).1.id);
    }

    #[test]
    fn without_an_id_the_body_names_it() {
        assert_eq!(Identity::of(None, b"x"), Identity::of(None, b"x"));
        assert_ne!(Identity::of(None, b"x").1.id, Identity::of(None, b"y").1.id);
    }

    #[test]
    fn a_retry_with_another_time_is_the_same_event() {
        let data = r#"{"type":"t","attributes":{"source":"d","n":[1]}}"#;
        let first = sent(r#""time":"2026-01-01T00:00:00Z","account_id":"a""#, data);
        for meta in
            [r#""time":"2026-01-01T00:00:05Z","account_id":"a""#, r#""account_id":"a","version":"1.1""#]
        {
            assert_eq!(sent(meta, data), first, "{meta}");
        }
        let reordered = r#" { "attributes" : {"n":[1],"source":"d"}, "type":"t" }"#;
        assert_eq!(sent(r#""account_id":"a""#, reordered), first);
    }

    #[test]
    fn another_word_in_data_or_another_account_is_another_event() {
        let (_, first) = sent(r#""account_id":"a""#, r#"{"type":"t","attributes":{"x":{"y":null}}}"#);
        for (meta, data) in [
            (r#""account_id":"b""#, r#"{"type":"t","attributes":{"x":{"y":null}}}"#),
            (r#""time":"x""#, r#"{"type":"t","attributes":{"x":{"y":null}}}"#),
            (r#""account_id":"a""#, r#"{"type":"u","attributes":{"x":{"y":null}}}"#),
            (r#""account_id":"a""#, r#"{"type":"t","attributes":{"x":{"y":1}}}"#),
            (r#""account_id":"a""#, r#"{"type":"t","attributes":{"x":{"y":null}},"z":1}"#),
            (r#""account_id":"a""#, r#"{"type":"t","attributes":null}"#),
            (r#""account_id":"a""#, r#"{"type":"t","attributes":{}}"#),
            (r#""account_id":"a""#, r#"{"type":"t"}"#),
        ] {
            let (_, other) = sent(meta, data);
            assert!(other.id == first.id && other.content != first.content, "{meta} {data}");
        }
        let list =
            |items: &str| sent(r#""account_id":"a""#, &format!(r#"{{"type":"t","attributes":{items}}}"#));
        assert_ne!(list("[1]").1.content, list("[2]").1.content, "what is not read counts as well");
    }

    #[test]
    fn without_an_id_another_time_makes_another_event() {
        let at = |time| of(&format!(r#"{{"meta":{{"time":"{time}"}},"data":{{"type":"device_online"}}}}"#));
        assert_ne!(at("2026-01-01T00:00:00Z").1.id, at("2026-01-02T00:00:00Z").1.id);
    }
}
