//! JSON objects whose members are looked at one by one, so that a wrong type spoils one field only, and a key that is there
//! twice is seen (serde's maps take the last one, its structs see it only of known fields).

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::Anomaly;
use crate::domain::content::Content;

/// Members that are read as objects along with the one that they are in, and theirs. No deeper recursion, so that nesting
/// costs nothing.
#[derive(Clone, Copy)]
pub(super) struct Shape(pub(super) &'static [(&'static str, Shape)]);

/// The object without members.
pub(super) static EMPTY: Object = Object { members: Vec::new(), twice: false };

/// An object.
#[derive(Debug)]
pub(super) struct Object<'a> {
    /// By their keys.
    members: Vec<(Cow<'a, str>, Member<'a>)>,
    /// A key is there twice.
    twice: bool,
}

#[derive(Debug)]
pub(super) enum Member<'a> {
    Raw(&'a RawValue),
    Object(Object<'a>),
    Null,
    /// Something else, where the shape has an object.
    NoObject,
}

/// What is there instead of an object.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Without {
    Nothing,
    SomethingElse,
}

impl<'a> Object<'a> {
    /// The object that `text` is, `None` when it is something else.
    pub(super) fn read(text: &'a str, shape: Shape) -> Result<Option<Self>, Anomaly> {
        if !text.trim_start_matches([' ', '\t', '\n', '\r']).starts_with('{') {
            return serde_json::from_str::<IgnoredAny>(text).map_or(Err(Anomaly::NotJson), |_| Ok(None));
        }
        let mut json = serde_json::Deserializer::from_str(text);
        // What fails in text that is JSON is a key with half a surrogate pair.
        let read = shape.deserialize(&mut json).and_then(|member| json.end().map(|()| member));
        match read.map_err(|_| Anomaly::NotJson)? {
            Member::Object(object) if object.twice => Err(Anomaly::DuplicateKey),
            Member::Object(object) => Ok(Some(object)),
            _ => Ok(None),
        }
    }

    /// The member `key`, which the shape has not; `null` counts as missing.
    pub(super) fn get(&self, key: &str) -> Option<&'a RawValue> {
        match self.member(key)? {
            Member::Raw(value) if value.get() != "null" => Some(value),
            _ => None,
        }
    }

    /// The object `key`, which the shape has.
    pub(super) fn object(&self, key: &str) -> Result<Result<&Self, Without>, Anomaly> {
        match self.member(key) {
            None | Some(Member::Null) => Ok(Err(Without::Nothing)),
            Some(Member::Object(object)) if object.twice => Err(Anomaly::DuplicateKey),
            Some(Member::Object(object)) => Ok(Ok(object)),
            Some(Member::Raw(_) | Member::NoObject) => Ok(Err(Without::SomethingElse)),
        }
    }

    /// Adds all that the object holds, in the order of its keys. False where a part of it was not kept.
    pub(super) fn add_to(&self, content: &mut Content) -> bool {
        content.add(b'{', &[]);
        let all = self.members.iter().all(|(key, member)| {
            content.add(b'k', key.as_bytes());
            match member {
                Member::Raw(value) => content.add(b'v', value.get().as_bytes()),
                Member::Object(object) => return object.add_to(content),
                Member::Null => content.add(b'v', b"null"),
                Member::NoObject => return false,
            }
            true
        });
        content.add(b'}', &[]);
        all
    }

    fn member(&self, key: &str) -> Option<&Member<'a>> {
        let at = self.members.binary_search_by(|(known, _)| (**known).cmp(key)).ok()?;
        Some(&self.members[at].1)
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
#[derive(serde::Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> DeserializeSeed<'de> for Shape {
    type Value = Member<'de>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Shape {
    type Value = Member<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut members = Vec::with_capacity(8);
        while let Some(Key(key)) = map.next_key()? {
            let shape = self.0.iter().find(|(known, _)| *known == key);
            let member = match shape {
                Some((_, shape)) => map.next_value_seed(*shape)?,
                None => Member::Raw(map.next_value()?),
            };
            members.push((key, member));
        }
        members.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let twice = members.windows(2).any(|pair| pair[0].0 == pair[1].0);
        Ok(Member::Object(Object { members, twice }))
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Self::Value, S::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Member::NoObject)
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Member::Null)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Member::NoObject)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Member::NoObject)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Member::NoObject)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Member::NoObject)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
        Ok(Member::NoObject)
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
