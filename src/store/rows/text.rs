//! Parts of rows: texts and numbers of queues.

use bytes::{Buf, BufMut};

use crate::domain::time::Millis;

/// Length that says "no such field".
const NONE: u16 = u16::MAX;

pub(crate) fn to_u32(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

pub(super) fn millis(from: &mut &[u8]) -> Option<Millis> {
    from.try_get_u64().ok().map(Millis)
}

pub(super) fn put_queues(out: &mut Vec<u8>, queues: &[u16]) {
    // A configuration has at most 64 queues, which is checked there.
    out.put_u8(u8::try_from(queues.len()).unwrap_or(u8::MAX));
    for &queue in queues.iter().take(usize::from(u8::MAX)) {
        out.put_u16(queue);
    }
}

pub(super) fn get_queues(from: &mut &[u8]) -> Option<Vec<u16>> {
    let count = from.try_get_u8().ok()?;
    (0..count).map(|_| from.try_get_u16().ok()).collect()
}

/// Appends a text of less than 64 KiB, or its absence.
pub(super) fn put_text(out: &mut Vec<u8>, text: Option<&str>) {
    let Some(text) = text else { return out.put_u16(NONE) };
    let end = text.floor_char_boundary(usize::from(NONE - 1));
    out.put_u16(u16::try_from(end).unwrap_or(0));
    out.extend_from_slice(&text.as_bytes()[..end]);
}

#[expect(clippy::option_option, reason = "cut short, absent, or there")]
/// Reads a text back: nothing when the record ends early, `Some(None)` when it is absent.
pub(super) fn get_text(from: &mut &[u8]) -> Option<Option<String>> {
    let len = from.try_get_u16().ok()?;
    if len == NONE {
        return Some(None);
    }
    let (text, rest) = from.split_at_checked(usize::from(len))?;
    *from = rest;
    String::from_utf8(text.to_vec()).ok().map(Some)
}

#[expect(clippy::option_option, reason = "cut short, absent, or there")]
pub(super) fn get_id<T, E>(from: &mut &[u8], parse: impl Fn(&str) -> Result<T, E>) -> Option<Option<T>> {
    get_text(from)?.map(|text| parse(&text).ok()).map_or(Some(None), |id| id.map(Some))
}

/// Reads a text that is there, where it lies.
pub(super) fn get_str<'r>(from: &mut &'r [u8]) -> Option<&'r str> {
    let len = from.try_get_u16().ok()?;
    let (text, rest) = from.split_at_checked(usize::from(len)).filter(|_| len != NONE)?;
    *from = rest;
    str::from_utf8(text).ok()
}
