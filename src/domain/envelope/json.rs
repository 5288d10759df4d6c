//! JSON objects whose members are looked at one by one, so that a wrong type spoils one field only, and a key that is there
//! twice is seen (serde's maps take the last one, its structs see it only of known fields).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::Anomaly;

/// An object, one level deep. No recursion, so that nesting costs nothing.
#[derive(Debug, Default)]
pub(super) struct Object<'a>(BTreeMap<Key<'a>, &'a RawValue>);

impl<'a> Object<'a> {
    /// `None` when `value` is something else.
    pub(super) fn read(value: &'a RawValue) -> Result<Option<Self>, Anomaly> {
        if !value.get().starts_with('{') {
            return Ok(None);
        }
        // What still fails in text that is JSON is a key with half a surrogate pair.
        let members: Members = serde_json::from_str(value.get()).map_err(|_| Anomaly::NotJson)?;
        if members.twice { Err(Anomaly::DuplicateKey) } else { Ok(Some(members.object)) }
    }

    /// The member `key`; `null` counts as missing.
    pub(super) fn get(&self, key: &str) -> Option<&'a RawValue> {
        self.0.get(key).copied().filter(|value| value.get() != "null")
    }
}

/// A value that has no members.
pub(super) enum Scalar<'a> {
    Text(Cow<'a, str>),
    /// As written: going through a float would make different ids equal.
    Number(Cow<'a, str>),
    Other,
}

impl<'a> Scalar<'a> {
    pub(super) fn read(value: &'a RawValue) -> Self {
        let text = value.get();
        match text.as_bytes().first() {
            Some(b'"') => serde_json::from_str(text).map_or(Self::Other, |Key(text)| Self::Text(text)),
            Some(b'-' | b'0'..=b'9') => Self::Number(text.into()),
            _ => Self::Other,
        }
    }
}

/// The first items of an array.
pub(super) struct List<'a> {
    pub(super) items: Vec<&'a RawValue>,
    /// There were more.
    pub(super) cut: bool,
}

/// The first `max` items of `value`; `None` when it is no array.
pub(super) fn list(value: &RawValue, max: usize) -> Option<List<'_>> {
    let mut json = serde_json::Deserializer::from_str(value.get());
    json.deserialize_seq(FirstItems { max, lifetime: PhantomData }).ok()
}

/// A text that borrows from the JSON where it can.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

impl std::borrow::Borrow<str> for Key<'_> {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[derive(Default)]
struct Members<'a> {
    object: Object<'a>,
    twice: bool,
}

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
        let mut members = Members::default();
        while let Some((key, value)) = map.next_entry()? {
            members.twice |= members.object.0.insert(key, value).is_some();
        }
        Ok(members)
    }
}

struct FirstItems<'a> {
    max: usize,
    lifetime: PhantomData<&'a RawValue>,
}

impl<'de> Visitor<'de> for FirstItems<'de> {
    type Value = List<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Self::Value, S::Error> {
        let mut items = Vec::new();
        while items.len() < self.max {
            let Some(item) = seq.next_element()? else { return Ok(List { items, cut: false }) };
            items.push(item);
        }
        let mut cut = false;
        while seq.next_element::<IgnoredAny>()?.is_some() {
            cut = true;
        }
        Ok(List { items, cut })
    }
}
