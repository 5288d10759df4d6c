//! Texts that are sealed together, any of which may be missing.

use bytes::{Buf, BufMut};
use zeroize::Zeroizing;

/// Length that says "no such field".
const NONE: u32 = u32::MAX;

/// The texts in a row.
pub(crate) fn fields(fields: &[Option<&str>]) -> Zeroizing<Vec<u8>> {
    let length: usize = fields.iter().flatten().map(|field| field.len()).sum();
    // One buffer of the full size: growing would leave copies behind.
    let mut plain = Zeroizing::new(Vec::with_capacity(length + 4 * fields.len()));
    for field in fields {
        let length = field.map_or(NONE, |field| u32::try_from(field.len()).unwrap_or(NONE));
        plain.put_u32(length);
        plain.extend_from_slice(field.unwrap_or_default().as_bytes());
    }
    plain
}

/// The same again; nothing when it is something else.
pub(crate) fn read_fields<const N: usize>(mut from: &[u8]) -> Option<[Option<String>; N]> {
    let mut found = [const { None }; N];
    for field in &mut found {
        *field = read_field(&mut from)?;
    }
    from.is_empty().then_some(found)
}

#[expect(clippy::option_option, reason = "cut short, absent, or there")]
pub(super) fn read_field(from: &mut &[u8]) -> Option<Option<String>> {
    let length = from.try_get_u32().ok()?;
    if length == NONE {
        return Some(None);
    }
    let (text, rest) = from.split_at_checked(length as usize)?;
    *from = rest;
    Some(Some(str::from_utf8(text).ok()?.to_owned()))
}
