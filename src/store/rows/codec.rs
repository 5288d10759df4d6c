//! How records lie on disk: chunks of the log, records put aside, and the event inside a sealed record.
//!
//! redb does not verify its pages on ordinary reads, so nothing here is believed unchecked: what is in the clear
//! carries an XXH3 checksum over table, key and value, what is sealed has its AEAD tag. Integers are big-endian.

use bytes::{Buf, BufMut, Bytes};
use thiserror::Error;
use xxhash_rust::xxh3::xxh3_64;

use crate::domain::cloudevent::Marks;
use crate::domain::event::Event;
use crate::domain::ids::{AccountId, DeviceId, UserId};
use crate::domain::time::Millis;

const CHUNK_VERSION: u8 = 1;
const ASIDE_VERSION: u8 = 1;
const EVENT_VERSION: u8 = 1;
const CHECK_LEN: usize = 8;
/// Length that says "no such field".
const NONE: u16 = u16::MAX;

/// A record is not what was written there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a record of table {0} is damaged")]
pub(crate) struct Damaged(pub &'static str);

/// Appends the checksum of a record in the clear.
pub(crate) fn stamp(table: &'static str, key: &[u8], value: &mut Vec<u8>) {
    let check = checksum(table, key, value);
    value.put_u64(check);
}

/// The record without its checksum, which must fit table, key and value.
pub(crate) fn stamped<'v>(table: &'static str, key: &[u8], value: &'v [u8]) -> Result<&'v [u8], Damaged> {
    let (body, check) = value.split_last_chunk::<CHECK_LEN>().ok_or(Damaged(table))?;
    if checksum(table, key, body) == u64::from_be_bytes(*check) { Ok(body) } else { Err(Damaged(table)) }
}

fn checksum(table: &str, key: &[u8], body: &[u8]) -> u64 {
    let mut head = [0u8; 32];
    head[..8].copy_from_slice(&xxh3_64(table.as_bytes()).to_be_bytes());
    head[8..16].copy_from_slice(&xxh3_64(key).to_be_bytes());
    head[16..24].copy_from_slice(&xxh3_64(body).to_be_bytes());
    xxh3_64(&head)
}

/// One record of a chunk, without its sealed content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slot {
    /// 0 without an account.
    pub account: u32,
    /// 0 without a user.
    pub user: u32,
    /// Numbers of the queues it goes to.
    pub queues: Vec<u16>,
    /// Length of the sealed event.
    pub len: u32,
}

/// The head of a chunk: what is needed to route and count without opening anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChunkHead {
    pub at: Millis,
    pub slots: Vec<Slot>,
    /// Where the sealed events start.
    body: usize,
}

impl ChunkHead {
    /// The sealed event of the `index`-th record.
    pub(crate) fn sealed<'c>(&self, chunk: &'c [u8], index: usize) -> Option<&'c [u8]> {
        let before: usize = self.slots.get(..index)?.iter().map(|s| s.len as usize).sum();
        let start = self.body + before;
        chunk.get(start..start + self.slots.get(index)?.len as usize)
    }
}

/// Collects records into the value of one chunk.
#[derive(Debug, Default)]
pub(crate) struct ChunkBuilder {
    pub slots: Vec<Slot>,
    pub sealed: Vec<u8>,
}

impl ChunkBuilder {
    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.slots.clear();
        self.sealed.clear();
    }

    /// The chunk that starts at sequence `first`; the builder is empty afterwards.
    pub(crate) fn finish(&mut self, table: &'static str, first: u64, at: Millis) -> Vec<u8> {
        let mut head = Vec::with_capacity(32 + self.slots.len() * 24);
        head.put_u8(CHUNK_VERSION);
        head.put_u64(at.0);
        head.put_u32(u32::try_from(self.slots.len()).unwrap_or(u32::MAX));
        for slot in self.slots.drain(..) {
            head.put_u32(slot.account);
            head.put_u32(slot.user);
            head.put_u32(slot.len);
            put_queues(&mut head, &slot.queues);
        }
        stamp(table, &first.to_be_bytes(), &mut head);
        let mut out = Vec::with_capacity(4 + head.len() + self.sealed.len());
        out.put_u32(u32::try_from(head.len()).unwrap_or(u32::MAX));
        out.extend_from_slice(&head);
        out.append(&mut self.sealed);
        out
    }
}

/// Reads and checks the head of the chunk at `first`, and that its length is what the head says.
pub(crate) fn chunk_head(table: &'static str, first: u64, chunk: &[u8]) -> Result<ChunkHead, Damaged> {
    let damaged = Damaged(table);
    let mut rest = chunk;
    let head_len = rest.try_get_u32().map_err(|_| damaged)? as usize;
    let stamped_head = rest.get(..head_len).ok_or(damaged)?;
    let head = stamped(table, &first.to_be_bytes(), stamped_head)?;
    let (at, slots) = read_slots(head).ok_or(damaged)?;
    let sealed: usize = slots.iter().map(|s| s.len as usize).sum();
    let body = 4 + head_len;
    if chunk.len() == body + sealed { Ok(ChunkHead { at, slots, body }) } else { Err(damaged) }
}

fn read_slots(mut head: &[u8]) -> Option<(Millis, Vec<Slot>)> {
    if head.try_get_u8().ok()? != CHUNK_VERSION {
        return None;
    }
    let at = Millis(head.try_get_u64().ok()?);
    let count = head.try_get_u32().ok()? as usize;
    let mut slots = Vec::with_capacity(count.min(head.len() / 13));
    for _ in 0..count {
        let account = head.try_get_u32().ok()?;
        let user = head.try_get_u32().ok()?;
        let len = head.try_get_u32().ok()?;
        slots.push(Slot { account, user, queues: get_queues(&mut head)?, len });
    }
    head.is_empty().then_some((at, slots))
}

fn put_queues(out: &mut Vec<u8>, queues: &[u16]) {
    // A configuration has at most 64 queues, which is checked there.
    out.put_u8(u8::try_from(queues.len()).unwrap_or(u8::MAX));
    for &queue in queues.iter().take(usize::from(u8::MAX)) {
        out.put_u16(queue);
    }
}

fn get_queues(from: &mut &[u8]) -> Option<Vec<u16>> {
    let count = from.try_get_u8().ok()?;
    (0..count).map(|_| from.try_get_u16().ok()).collect()
}

/// First part of the key of a record that is held.
pub(crate) const HELD: u8 = 0;
/// And of one that is parked.
pub(crate) const PARKED: u8 = 1;

pub(crate) fn to_u32(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// A record kept outside the log: held, parked, dead, unrouted or quarantined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Aside {
    /// The sequence it was sealed under.
    pub seq: u64,
    pub account: u32,
    pub user: u32,
    /// When it was accepted.
    pub at: Millis,
    /// Queues that it reached already (held), or the one it comes from (parked, dead).
    pub queues: Vec<u16>,
    pub failures: u32,
    /// Why it lies here, for people.
    pub detail: String,
    pub sealed: Vec<u8>,
}

impl Aside {
    pub(crate) fn encode(&self, table: &'static str, key: &[u8]) -> Vec<u8> {
        let mut head = Vec::with_capacity(64 + self.detail.len());
        head.put_u8(ASIDE_VERSION);
        head.put_u64(self.seq);
        head.put_u32(self.account);
        head.put_u32(self.user);
        head.put_u64(self.at.0);
        head.put_u32(self.failures);
        head.put_u32(u32::try_from(self.sealed.len()).unwrap_or(u32::MAX));
        put_queues(&mut head, &self.queues);
        put_text(&mut head, Some(&self.detail));
        stamp(table, key, &mut head);
        let mut out = Vec::with_capacity(4 + head.len() + self.sealed.len());
        out.put_u32(u32::try_from(head.len()).unwrap_or(u32::MAX));
        out.extend_from_slice(&head);
        out.extend_from_slice(&self.sealed);
        out
    }

    pub(crate) fn decode(table: &'static str, key: &[u8], value: &[u8]) -> Result<Self, Damaged> {
        let damaged = Damaged(table);
        let mut rest = value;
        let head_len = rest.try_get_u32().map_err(|_| damaged)? as usize;
        let head = stamped(table, key, rest.get(..head_len).ok_or(damaged)?)?;
        Self::read(head, &rest[head_len..]).ok_or(damaged)
    }

    fn read(mut head: &[u8], sealed: &[u8]) -> Option<Self> {
        if head.try_get_u8().ok()? != ASIDE_VERSION {
            return None;
        }
        let seq = head.try_get_u64().ok()?;
        let account = head.try_get_u32().ok()?;
        let user = head.try_get_u32().ok()?;
        let at = Millis(head.try_get_u64().ok()?);
        let failures = head.try_get_u32().ok()?;
        let len = head.try_get_u32().ok()? as usize;
        let queues = get_queues(&mut head)?;
        let detail = get_text(&mut head)?.unwrap_or_default();
        (head.is_empty() && sealed.len() == len).then(|| Self {
            seq,
            account,
            user,
            at,
            queues,
            failures,
            detail,
            sealed: sealed.to_vec(),
        })
    }
}

/// The plaintext of a sealed event.
pub(crate) fn encode_event(event: &Event, out: &mut Vec<u8>) {
    out.clear();
    out.put_u8(EVENT_VERSION);
    out.put_u16(event.marks.bits());
    out.put_u64(event.received_at.0);
    out.put_u64(event.time.map_or(0, |t| t.0));
    put_text(out, Some(&event.key));
    put_text(out, Some(&event.kind));
    put_text(out, event.sub_kind.as_deref());
    put_text(out, event.device.as_ref().map(DeviceId::as_str));
    put_text(out, event.account.as_ref().map(AccountId::as_str));
    put_text(out, event.user.as_ref().map(UserId::as_str));
    out.extend_from_slice(&event.body);
}

/// Reads an opened event back; `table` is named when it can't be.
pub(crate) fn decode_event(table: &'static str, plain: Vec<u8>) -> Result<Event, Damaged> {
    let plain = Bytes::from(plain);
    let mut rest = &plain[..];
    let fields = read_event(&mut rest).ok_or(Damaged(table))?;
    let body = plain.slice(plain.len() - rest.len()..);
    Ok(Event { body, ..fields })
}

fn read_event(from: &mut &[u8]) -> Option<Event> {
    if from.try_get_u8().ok()? != EVENT_VERSION {
        return None;
    }
    Some(Event {
        marks: Marks::from_bits(from.try_get_u16().ok()?),
        received_at: Millis(from.try_get_u64().ok()?),
        time: Some(from.try_get_u64().ok()?).filter(|&ms| ms != 0).map(Millis),
        key: get_text(from)??,
        kind: get_text(from)??,
        sub_kind: get_text(from)?,
        device: get_id(from, DeviceId::new)?,
        account: get_id(from, AccountId::new)?,
        user: get_id(from, UserId::new)?,
        body: Bytes::new(),
    })
}

#[expect(clippy::option_option, reason = "cut short, absent, or there")]
fn get_id<T, E>(from: &mut &[u8], parse: impl Fn(&str) -> Result<T, E>) -> Option<Option<T>> {
    get_text(from)?.map(|text| parse(&text).ok()).map_or(Some(None), |id| id.map(Some))
}

/// Appends a text of less than 64 KiB, or its absence.
pub(crate) fn put_text(out: &mut Vec<u8>, text: Option<&str>) {
    let Some(text) = text else { return out.put_u16(NONE) };
    let end = text.floor_char_boundary(usize::from(NONE - 1));
    out.put_u16(u16::try_from(end).unwrap_or(0));
    out.extend_from_slice(&text.as_bytes()[..end]);
}

#[expect(clippy::option_option, reason = "cut short, absent, or there")]
/// Reads a text back: nothing when the record ends early, `Some(None)` when it is absent.
pub(crate) fn get_text(from: &mut &[u8]) -> Option<Option<String>> {
    let len = from.try_get_u16().ok()?;
    if len == NONE {
        return Some(None);
    }
    let (text, rest) = from.split_at_checked(usize::from(len))?;
    *from = rest;
    String::from_utf8(text.to_vec()).ok().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn event(body: &[u8]) -> Event {
        Event {
            key: "r-1".into(),
            kind: "motion_detected".into(),
            sub_kind: None,
            device: DeviceId::new("d").ok(),
            account: AccountId::new("a").ok(),
            user: None,
            received_at: Millis(5),
            time: Some(Millis(4)),
            marks: Marks::from_bits(3),
            body: Bytes::copy_from_slice(body),
        }
    }

    fn chunk(bodies: &[Vec<u8>]) -> Vec<u8> {
        let mut builder = ChunkBuilder::default();
        for (i, body) in bodies.iter().enumerate() {
            let i = u32::try_from(i).unwrap();
            builder.slots.push(Slot {
                account: i,
                user: 9,
                queues: vec![1, 2],
                len: u32::try_from(body.len()).unwrap(),
            });
            builder.sealed.extend_from_slice(body);
        }
        builder.finish("log", 7, Millis(1))
    }

    proptest! {
        #[test]
        fn events_come_back_whole(body: Vec<u8>, sub in prop::option::of("[a-z]{1,9}"), marks: u16) {
            let event = Event { sub_kind: sub, marks: Marks::from_bits(marks), ..event(&body) };
            let mut plain = Vec::new();
            encode_event(&event, &mut plain);
            prop_assert_eq!(decode_event("log", plain).unwrap(), event);
        }

        #[test]
        fn chunks_come_back_whole(bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 1..20)) {
            let chunk = chunk(&bodies);
            let head = chunk_head("log", 7, &chunk).unwrap();
            for (i, body) in bodies.iter().enumerate() {
                prop_assert_eq!(head.sealed(&chunk, i).unwrap(), &body[..]);
            }
        }

        #[test]
        fn any_bytes_are_refused_without_a_panic(bytes: Vec<u8>) {
            prop_assert!(chunk_head("log", 7, &bytes).is_err());
            prop_assert!(Aside::decode("aside", b"k", &bytes).is_err());
            let _ = decode_event("log", bytes);
        }
    }

    #[test]
    fn a_changed_head_or_another_place_is_noticed() {
        let chunk = chunk(&[vec![1, 2, 3], vec![4]]);
        assert_eq!(chunk_head("log", 8, &chunk), Err(Damaged("log")), "another key");
        assert_eq!(chunk_head("log", 7, &chunk[..chunk.len() - 1]), Err(Damaged("log")), "cut");
        let head_end = chunk.len() - 4;
        for i in 0..head_end {
            let mut changed = chunk.clone();
            changed[i] ^= 0x10;
            assert_eq!(chunk_head("log", 7, &changed), Err(Damaged("log")), "byte {i}");
        }
    }

    #[test]
    fn asides_come_back_and_are_checked() {
        let aside = Aside {
            seq: 1,
            account: 2,
            user: 3,
            at: Millis(4),
            queues: vec![5],
            failures: 6,
            detail: "why".into(),
            sealed: vec![7; 9],
        };
        let value = aside.encode("aside", b"key");
        assert_eq!(Aside::decode("aside", b"key", &value).unwrap(), aside);
        assert!(Aside::decode("aside", b"other", &value).is_err());
        let head_end = value.len() - 9;
        for i in 0..head_end {
            let mut changed = value.clone();
            changed[i] ^= 1;
            assert!(Aside::decode("aside", b"key", &changed).is_err(), "byte {i}");
        }
    }

    #[test]
    fn stamped_records_fit_one_place_only() {
        let mut value = b"row".to_vec();
        stamp("users", b"1", &mut value);
        assert_eq!(stamped("users", b"1", &value).unwrap(), b"row");
        assert!(stamped("users", b"2", &value).is_err());
        assert!(stamped("queues", b"1", &value).is_err());
        assert!(stamped("users", b"1", b"short").is_err());
    }
}
