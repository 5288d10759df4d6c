//! The fields of a JSON body that may be the code: those of the object itself, of `data`, and of `data.attributes`.
//!
//! Every member counts, also one whose key is there twice. No recursion, so that nesting costs nothing.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::Values;
use super::shape::Place;

pub(super) struct Field<'a> {
    pub(super) place: Place,
    pub(super) name: Cow<'a, str>,
    value: &'a RawValue,
}

impl Field<'_> {
    /// A text, or the digits of a number; `null` counts as missing.
    pub(super) fn put_into(&self, values: &mut Values) {
        let text = self.value.get();
        match text.as_bytes().first() {
            Some(b'"') => values.put(serde_json::from_str(text).ok()),
            Some(b'-' | b'0'..=b'9') => values.put(Some(text.to_owned())),
            _ if text == "null" => {}
            _ => values.put(None),
        }
    }
}

/// `None` when the body is no JSON object.
pub(super) fn fields(body: &[u8]) -> Option<Vec<Field<'_>>> {
    let root: &RawValue = serde_json::from_slice(body).ok()?;
    let mut found = Vec::new();
    let mut objects = vec![(Place::Body, root)];
    while let Some((place, object)) = objects.pop() {
        for (Key(name), value) in members(object)? {
            let inner = match (place, &*name) {
                (Place::Body, "data") => Some(Place::Data),
                (Place::Data, "attributes") => Some(Place::Attributes),
                _ => None,
            };
            objects.extend(inner.filter(|_| value.get().starts_with('{')).map(|place| (place, value)));
            found.push(Field { place, name, value });
        }
    }
    Some(found)
}

fn members(object: &RawValue) -> Option<Vec<(Key<'_>, &RawValue)>> {
    let Members(members) = serde_json::from_str(object.get()).ok()?;
    Some(members)
}

/// Borrows from the JSON where it can.
#[derive(serde::Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

struct Members<'a>(Vec<(Key<'a>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_map(AllMembers)
    }
}

struct AllMembers;

impl<'de> Visitor<'de> for AllMembers {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Members(members))
    }
}
