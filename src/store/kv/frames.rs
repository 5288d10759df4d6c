//! A snapshot of the store on its way to a backup: its head, the rows in checked frames, and a frame that says that it is whole.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use xxhash_rust::xxh3::xxh3_128;

use super::changes::{Changes, HEAD};
use super::folder::Identity;

/// Version of the frames and of what is in them.
pub(crate) const VERSION: u32 = 2;
/// Far more than a frame has: its rows, or one row of any size.
const MOST: usize = 64 << 20;

/// What is said before the rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    pub version: u32,
    pub identity: Identity,
    /// The master key that sealed when the snapshot was taken.
    pub master: String,
    /// RFC 3339.
    pub taken_at: String,
    pub rows: u64,
}

/// A piece of the stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    Head(Snapshot),
    /// A run of changes, each a row.
    Rows(Bytes),
    /// Nothing is missing.
    Whole,
    /// The daemon gave up, for this reason.
    Broken(String),
}

/// What comes is no snapshot, or is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "what the daemon sends is no snapshot of a store that this program understands; is it another version?"
)]
pub(crate) struct BadFrame;

impl Frame {
    pub(crate) fn encode(self) -> Bytes {
        match self {
            Self::Head(head) => framed(b'h', &serde_json::to_vec(&head).unwrap_or_default()),
            Self::Rows(rows) => framed(b'r', &rows),
            Self::Whole => framed(b'w', b""),
            Self::Broken(why) => framed(b'b', why.as_bytes()),
        }
    }

    /// Rows as they were noted, in their own room.
    pub(crate) fn encode_rows(Changes(mut rows): Changes) -> Bytes {
        let head = head(b'r', &rows[HEAD..]);
        rows[..HEAD].copy_from_slice(&head);
        rows.into()
    }

    fn decode(kind: u8, body: Bytes) -> Result<Self, BadFrame> {
        match kind {
            b'h' => serde_json::from_slice(&body).map(Self::Head).map_err(|_| BadFrame),
            b'r' => Ok(Self::Rows(body)),
            b'w' => Ok(Self::Whole),
            b'b' => Ok(Self::Broken(String::from_utf8_lossy(&body).into_owned())),
            _ => Err(BadFrame),
        }
    }
}

fn framed(kind: u8, body: &[u8]) -> Bytes {
    [&head(kind, body), body].concat().into()
}

/// Kind, length and checksum, and zeros up to the room that changes have for a head.
fn head(kind: u8, body: &[u8]) -> [u8; HEAD] {
    let mut out = [0; HEAD];
    let mut rest = &mut out[..];
    rest.put_u8(kind);
    rest.put_u32(u32::try_from(body.len()).unwrap_or(u32::MAX));
    rest.put_u128(check(kind, body));
    out
}

fn check(kind: u8, body: &[u8]) -> u128 {
    xxh3_128(body) ^ u128::from(kind)
}

/// Puts frames together from pieces of any size.
#[derive(Debug, Default)]
pub(crate) struct Frames(BytesMut);

impl Frames {
    pub(crate) fn push(&mut self, piece: &[u8]) {
        self.0.extend_from_slice(piece);
    }

    /// The next frame that is there as a whole.
    pub(crate) fn next(&mut self) -> Result<Option<Frame>, BadFrame> {
        let Some(mut head) = self.0.get(..HEAD) else { return Ok(None) };
        let (kind, length, expected) = (head.get_u8(), head.get_u32() as usize, head.get_u128());
        if length > MOST {
            return Err(BadFrame);
        }
        if self.0.len() < HEAD + length {
            return Ok(None);
        }
        self.0.advance(HEAD);
        let body = self.0.split_to(length).freeze();
        if check(kind, &body) == expected { Frame::decode(kind, body).map(Some) } else { Err(BadFrame) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot() -> Snapshot {
        let identity = Identity { store: "s".into(), environment: "e".into(), created: "c".into() };
        Snapshot { version: VERSION, identity, master: "m".into(), taken_at: "t".into(), rows: 3 }
    }

    #[test]
    fn frames_come_back_from_pieces_of_any_size_and_damage_is_noticed() {
        let mut changes = Changes::new();
        changes.put("log", b"key", b"value");
        let rows = Bytes::copy_from_slice(&changes.0[HEAD..]);
        let stream = [
            Frame::Head(snapshot()).encode(),
            Frame::encode_rows(changes),
            Frame::Broken("why".into()).encode(),
            Frame::Whole.encode(),
        ]
        .concat();
        let expected =
            [Frame::Head(snapshot()), Frame::Rows(rows), Frame::Broken("why".into()), Frame::Whole];
        for size in [1, 7, stream.len()] {
            let (mut frames, mut seen) = (Frames::default(), Vec::new());
            for piece in stream.chunks(size) {
                frames.push(piece);
                while let Some(frame) = frames.next().unwrap() {
                    seen.push(frame);
                }
            }
            assert_eq!(seen, expected, "{size}");
        }
        let last_head = stream.len() - HEAD;
        for at in [0, HEAD + 3, last_head, last_head + 6] {
            let mut bad = stream.clone();
            bad[at] ^= 1;
            let mut frames = Frames::default();
            frames.push(&bad);
            let all: Result<Vec<_>, _> = std::iter::from_fn(|| frames.next().transpose()).collect();
            assert!(all.is_err(), "byte {at}");
        }
    }
}
