//! An event as it lies on disk, before it is sealed.

use bytes::{Buf, BufMut, Bytes};

use super::row::{Damaged, version};
use super::text::{get_id, get_text, millis, put_text};
use crate::domain::event::Event;
use crate::domain::ids::{AccountId, DeviceId, UserId};
use crate::domain::marks::Marks;

const VERSION: u8 = 1;

/// The plaintext of a sealed event.
pub(crate) fn encode_event(event: &Event, out: &mut Vec<u8>) {
    out.clear();
    out.put_u8(VERSION);
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

/// Reads an opened event back.
pub(crate) fn decode_event(plain: Vec<u8>) -> Result<Event, Damaged> {
    let plain = Bytes::from(plain);
    let mut rest = &plain[..];
    let fields = read(&mut rest).ok_or(Damaged("event"))?;
    let body = plain.slice(plain.len() - rest.len()..);
    Ok(Event { body, ..fields })
}

fn read(from: &mut &[u8]) -> Option<Event> {
    version(from, VERSION)?;
    Some(Event {
        marks: Marks::from_bits(from.try_get_u16().ok()?),
        received_at: millis(from)?,
        time: Some(millis(from)?).filter(|at| at.0 != 0),
        key: get_text(from)??,
        kind: get_text(from)??,
        sub_kind: get_text(from)?,
        device: get_id(from, DeviceId::new)?,
        account: get_id(from, AccountId::new)?,
        user: get_id(from, UserId::new)?,
        body: Bytes::new(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::time::Millis;

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

    proptest! {
        #[test]
        fn events_come_back_whole(body: Vec<u8>, sub in prop::option::of("[a-z]{1,9}"), marks: u16) {
            let event = Event { sub_kind: sub, marks: Marks::from_bits(marks), ..event(&body) };
            let mut plain = Vec::new();
            encode_event(&event, &mut plain);
            prop_assert_eq!(decode_event(plain).unwrap(), event);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            let _ = decode_event(bytes);
        }
    }
}
