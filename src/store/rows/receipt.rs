//! How receipts lie on disk: what one commit did to events. They are sealed, because they tell what happened at whose account.

use std::collections::BTreeSet;
use std::net::IpAddr;

use bytes::{Buf, BufMut};

use super::row::{Damaged, Row, Table, decode_sealed, encode_sealed, version};
use super::text::{get_queues, get_str, millis, put_queues, put_text};
use crate::domain::receipt::{Destination, Ending, Renewal};
use crate::domain::time::Millis;

const VERSION: u8 = 1;
/// Texts in which one that comes again is looked for.
const LOOKED_AT: usize = 16;
/// Index that says "no such text".
const NONE: u16 = u16::MAX;

const KEPT: u8 = 1;
const RENEWED: u8 = 2;
const FAILED: u8 = 3;
const LEFT: u8 = 4;

/// A row of `receipts`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ReceiptRow {
    /// When the commit was made.
    pub at: Millis,
    pub sealed: Vec<u8>,
}

impl Row for ReceiptRow {
    const TABLE: Table = Table::Receipts;
    /// The row's number.
    type Key = u64;

    fn write(&self, out: &mut Vec<u8>) {
        out.put_u8(VERSION);
        out.put_u64(self.at.0);
    }

    fn read(from: &mut &[u8]) -> Option<Self> {
        version(from, VERSION)?;
        Some(Self { at: millis(from)?, sealed: Vec::new() })
    }

    fn encode(&self, key: u64, out: &mut Vec<u8>) {
        encode_sealed(self, &self.sealed, key, out);
    }

    fn decode(key: u64, value: &[u8]) -> Result<Self, Damaged> {
        let (row, sealed) = decode_sealed::<Self>(key, value)?;
        Ok(Self { sealed: sealed.to_vec(), ..row })
    }
}

/// The accounts whose receipts are still to be erased.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Erasing(pub BTreeSet<u32>);

impl Erasing {
    /// Its name.
    pub(crate) const NAME: &'static str = "erasing-receipts";
}

impl Row for Erasing {
    const TABLE: Table = Table::Meta;
    type Key = &'static str;

    fn write(&self, out: &mut Vec<u8>) {
        self.0.iter().for_each(|&account| out.put_u32(account));
    }

    fn read(from: &mut &[u8]) -> Option<Self> {
        let mut accounts = BTreeSet::new();
        while !from.is_empty() {
            accounts.insert(from.try_get_u32().ok()?);
        }
        Some(Self(accounts))
    }
}

/// What happened to one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step<'a> {
    pub seq: u64,
    /// 0 without an account.
    pub account: u32,
    pub did: Did<'a>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Did<'a> {
    /// It was accepted.
    Kept(Kept<'a>),
    /// It goes on under another sequence.
    Renewed {
        to: u64,
        user: u32,
        why: Renewal,
        queues: Vec<u16>,
    },
    Failed {
        queue: u16,
        attempt: u32,
        due: Millis,
        why: &'a str,
    },
    /// It left a queue, or with queue 0 the records beside them.
    Left {
        queue: u16,
        how: Ending,
        by: &'a str,
        why: &'a str,
    },
}

/// An event as it was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept<'a> {
    /// 0 without a user.
    pub user: u32,
    pub received_at: Millis,
    pub to: Destination,
    pub key: &'a str,
    pub kind: &'a str,
    pub from: Option<IpAddr>,
    pub forwarded_for: Option<IpAddr>,
    /// The fingerprint of the webhook key; nothing for an event of our own.
    pub verified_by: &'a str,
    pub queues: Vec<u16>,
}

/// The steps of one commit as they are collected: a text that comes again soon is written once.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    texts: Vec<String>,
    encoded: Vec<u8>,
    text_bytes: usize,
}

impl Steps {
    pub(crate) fn is_empty(&self) -> bool {
        self.encoded.is_empty()
    }

    /// About what they take.
    pub(crate) fn len(&self) -> usize {
        self.encoded.len() + self.text_bytes
    }

    pub(crate) fn clear(&mut self) {
        self.texts.clear();
        self.encoded.clear();
        self.text_bytes = 0;
    }

    pub(crate) fn push(&mut self, step: &Step<'_>) {
        let tag = match step.did {
            Did::Kept(_) => KEPT,
            Did::Renewed { .. } => RENEWED,
            Did::Failed { .. } => FAILED,
            Did::Left { .. } => LEFT,
        };
        self.encoded.put_u8(tag);
        self.encoded.put_u64(step.seq);
        self.encoded.put_u32(step.account);
        match &step.did {
            Did::Kept(kept) => self.push_kept(kept),
            Did::Renewed { to, user, why, queues } => {
                self.encoded.put_u64(*to);
                self.encoded.put_u32(*user);
                self.encoded.put_u8(*why as u8);
                put_queues(&mut self.encoded, queues);
            }
            Did::Failed { queue, attempt, due, why } => {
                self.encoded.put_u16(*queue);
                self.encoded.put_u32(*attempt);
                self.encoded.put_u64(due.0);
                self.put(why);
            }
            Did::Left { queue, how, by, why } => {
                self.encoded.put_u16(*queue);
                self.encoded.put_u8(*how as u8);
                self.put(by);
                self.put(why);
            }
        }
    }

    fn push_kept(&mut self, kept: &Kept<'_>) {
        self.encoded.put_u32(kept.user);
        self.encoded.put_u64(kept.received_at.0);
        self.encoded.put_u8(kept.to as u8);
        put_queues(&mut self.encoded, &kept.queues);
        put_address(&mut self.encoded, kept.from);
        put_address(&mut self.encoded, kept.forwarded_for);
        self.put(kept.kind);
        self.put(kept.verified_by);
        // Each event has its own.
        put_text(&mut self.encoded, Some(kept.key));
    }

    /// Appends the number of a text.
    fn put(&mut self, text: &str) {
        let known = self.texts.len();
        let lately = self.texts[known.saturating_sub(LOOKED_AT)..].iter().rposition(|had| had == text);
        let index = match lately {
            _ if text.is_empty() => NONE,
            Some(at) => u16::try_from(known.saturating_sub(LOOKED_AT) + at).unwrap_or(NONE),
            None if known < usize::from(NONE) => {
                self.texts.push(text.to_owned());
                self.text_bytes += text.len() + 2;
                u16::try_from(known).unwrap_or(NONE)
            }
            None => NONE,
        };
        self.encoded.put_u16(index);
    }

    /// Texts and steps, to be sealed.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.put_u16(u16::try_from(self.texts.len()).unwrap_or(NONE));
        for text in &self.texts {
            put_text(out, Some(text));
        }
        out.extend_from_slice(&self.encoded);
    }
}

fn put_address(out: &mut Vec<u8>, address: Option<IpAddr>) {
    match address {
        None => out.put_u8(0),
        Some(IpAddr::V4(address)) => {
            out.put_u8(4);
            out.extend_from_slice(&address.octets());
        }
        Some(IpAddr::V6(address)) => {
            out.put_u8(6);
            out.extend_from_slice(&address.octets());
        }
    }
}

#[expect(clippy::option_option, reason = "cut short, absent, or there")]
fn get_address(from: &mut &[u8]) -> Option<Option<IpAddr>> {
    match from.try_get_u8().ok()? {
        0 => Some(None),
        4 => from.try_get_u32().ok().map(|bits| Some(IpAddr::from(bits.to_be_bytes()))),
        6 => from.try_get_u128().ok().map(|bits| Some(IpAddr::from(bits.to_be_bytes()))),
        _ => None,
    }
}

/// Reads back what [`Steps::encode`] wrote; nothing when it is something else.
pub(crate) fn read_steps(mut from: &[u8]) -> Option<Vec<Step<'_>>> {
    let count = from.try_get_u16().ok()?;
    let texts: Vec<&str> = (0..count).map(|_| get_str(&mut from)).collect::<Option<_>>()?;
    let mut steps = Vec::new();
    while !from.is_empty() {
        steps.push(read_step(&mut from, &texts)?);
    }
    Some(steps)
}

fn read_step<'a>(from: &mut &'a [u8], texts: &[&'a str]) -> Option<Step<'a>> {
    let tag = from.try_get_u8().ok()?;
    let (seq, account) = (from.try_get_u64().ok()?, from.try_get_u32().ok()?);
    let text = |from: &mut &'a [u8]| match from.try_get_u16().ok()? {
        NONE => Some(""),
        index => texts.get(usize::from(index)).copied(),
    };
    let did = match tag {
        KEPT => {
            let user = from.try_get_u32().ok()?;
            let received_at = millis(from)?;
            let to = Destination::of_code(from.try_get_u8().ok()?)?;
            let queues = get_queues(from)?;
            let (sender, forwarded_for) = (get_address(from)?, get_address(from)?);
            let (kind, verified_by) = (text(from)?, text(from)?);
            let key = get_str(from)?;
            Did::Kept(Kept {
                user,
                received_at,
                to,
                key,
                kind,
                from: sender,
                forwarded_for,
                verified_by,
                queues,
            })
        }
        RENEWED => Did::Renewed {
            to: from.try_get_u64().ok()?,
            user: from.try_get_u32().ok()?,
            why: Renewal::of_code(from.try_get_u8().ok()?)?,
            queues: get_queues(from)?,
        },
        FAILED => Did::Failed {
            queue: from.try_get_u16().ok()?,
            attempt: from.try_get_u32().ok()?,
            due: millis(from)?,
            why: text(from)?,
        },
        LEFT => Did::Left {
            queue: from.try_get_u16().ok()?,
            how: Ending::of_code(from.try_get_u8().ok()?)?,
            by: text(from)?,
            why: text(from)?,
        },
        _ => return None,
    };
    Some(Step { seq, account, did })
}

#[cfg(test)]
mod tests {
    use super::super::row::tests::{comes_back, is_checked};
    use super::*;

    fn steps() -> Vec<Step<'static>> {
        let kept = Kept {
            user: 3,
            received_at: Millis(4),
            to: Destination::Queued,
            key: "r-1",
            kind: "motion_detected",
            from: Some([127, 0, 0, 1].into()),
            forwarded_for: "2001:db8::1".parse().ok(),
            verified_by: "0011223344556677",
            queues: vec![1, 2],
        };
        let held = Kept { to: Destination::Held, key: "r-2", from: None, queues: vec![], ..kept.clone() };
        let step = |did| Step { seq: 1, account: 2, did };
        vec![
            step(Did::Kept(kept)),
            step(Did::Kept(held)),
            step(Did::Renewed { to: 5, user: 6, why: Renewal::Replayed, queues: vec![7] }),
            step(Did::Failed { queue: 1, attempt: 2, due: Millis(3), why: "no" }),
            step(Did::Left { queue: 1, how: Ending::Delivered, by: "uid 1", why: "" }),
            step(Did::Left { queue: 1, how: Ending::Dead, by: "uid 1", why: "no" }),
        ]
    }

    fn encoded(steps: &[Step<'_>]) -> Vec<u8> {
        let (mut collected, mut out) = (Steps::default(), Vec::new());
        for step in steps {
            collected.push(step);
        }
        assert!(!collected.is_empty());
        collected.encode(&mut out);
        out
    }

    #[test]
    fn steps_come_back_and_a_text_is_written_once() {
        let plain = encoded(&steps());
        assert_eq!(read_steps(&plain), Some(steps()));
        for text in ["motion_detected", "uid 1", "0011223344556677"] {
            assert_eq!(plain.windows(text.len()).filter(|at| *at == text.as_bytes()).count(), 1, "{text}");
        }
        let mut emptied = Steps::default();
        for step in &steps() {
            emptied.push(step);
        }
        emptied.clear();
        assert!(emptied.is_empty());
    }

    #[test]
    fn steps_that_are_cut_short_are_none() {
        let plain = encoded(&steps()[3..4]);
        for at in 1..plain.len() {
            assert!(read_steps(&plain[..at]).is_none_or(|read| read.is_empty()), "cut to {at}");
        }
    }

    #[test]
    fn rows_come_back_and_belong_to_their_place() {
        comes_back(&ReceiptRow { at: Millis(3), sealed: vec![1, 2] }, 7, 8);
        is_checked(&Erasing(BTreeSet::from([1, 7])), Erasing::NAME, "other");
    }
}
