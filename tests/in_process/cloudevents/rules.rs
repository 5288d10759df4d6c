//! The rules of CloudEvents 1.0.2 (attributes, type system, JSON format), from the text of the specification.

use std::fmt;

use data_encoding::BASE64;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

/// The types that an attribute may have; in JSON most of them are strings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Text,
    Integer,
    Timestamp,
    Uri,
    UriReference,
    Media,
    /// An extension that nobody has declared: any type that JSON can show.
    Any,
}

/// Those of the specification, then our own extensions as docs/EVENTS.md declares them.
const ATTRIBUTES: &[(&str, Type)] = &[
    ("id", Type::Text),
    ("source", Type::UriReference),
    ("specversion", Type::Text),
    ("type", Type::Text),
    ("datacontenttype", Type::Media),
    ("dataschema", Type::Uri),
    ("subject", Type::Text),
    ("time", Type::Timestamp),
    ("ringaccount", Type::Text),
    ("ringattempt", Type::Integer),
    ("ringmarks", Type::Text),
    ("ringreceived", Type::Timestamp),
    ("ringsequence", Type::Text),
    ("ringsubtype", Type::Text),
    ("ringtoken", Type::UriReference),
    ("ringuser", Type::Text),
];
const REQUIRED: [&str; 4] = ["id", "source", "specversion", "type"];

/// The members of an object as they stand there, also such as are there twice.
struct Members(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct All;

        impl<'de> Visitor<'de> for All {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        from.deserialize_map(All)
    }
}

/// What a line of the JSON format breaks, each with the name of the member first.
pub(crate) fn broken(line: &str) -> Vec<String> {
    let mut broken = Vec::new();
    if line.contains(['\n', '\r']) {
        broken.push("line: it is more than one".to_owned());
    }
    let Ok(Members(members)) = serde_json::from_str(line) else {
        broken.push("object: it is none".to_owned());
        return broken;
    };
    let get = |name: &str| members.iter().find(|(n, _)| n == name).map(|(_, value)| value);
    for (n, (name, value)) in members.iter().enumerate() {
        if members[..n].iter().any(|(before, _)| before == name) {
            broken.push(format!("{name}: it is there twice"));
        }
        if !matches!(name.as_str(), "data" | "data_base64") {
            broken.extend(attribute(name, value).map(|why| format!("{name}: {why}")));
        }
    }
    let missing = REQUIRED.iter().filter(|name| get(name).is_none());
    broken.extend(missing.map(|name| format!("{name}: it is required")));
    if get("specversion").is_some_and(|version| version != "1.0") {
        broken.push("specversion: not 1.0".to_owned());
    }
    broken.extend(data(get("data"), get("data_base64"), get("datacontenttype")));
    broken
}

fn attribute(name: &str, value: &Value) -> Option<&'static str> {
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()) {
        return Some("a name has lower-case letters and digits");
    }
    if name.len() > 20 {
        return Some("a name should have at most 20 characters");
    }
    let declared = ATTRIBUTES.iter().find(|(n, _)| *n == name).map_or(Type::Any, |(_, declared)| *declared);
    let right = match (declared, value) {
        (Type::Any, Value::Bool(_)) => true,
        (Type::Integer | Type::Any, Value::Number(number)) => {
            number.as_i64().is_some_and(|n| i32::try_from(n).is_ok())
        }
        // None of them may be empty where the specification has a say, and ours are not either.
        (Type::Integer, Value::String(_)) => false,
        (declared, Value::String(text)) => {
            !text.is_empty() && text.chars().all(is_allowed) && is_of(declared, text)
        }
        _ => false,
    };
    (!right).then_some("its value is not of its type")
}

fn is_of(declared: Type, text: &str) -> bool {
    match declared {
        Type::Timestamp => is_timestamp(text),
        Type::Uri => {
            let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
            let in_scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
            scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                && scheme.chars().all(in_scheme)
                && is_uri_text(text)
        }
        Type::UriReference => is_uri_text(text),
        Type::Media => is_media_type(text),
        Type::Text | Type::Integer | Type::Any => true,
    }
}

/// No control characters, no noncharacters; a string of Rust's has no surrogates.
fn is_allowed(c: char) -> bool {
    let code = u32::from(c);
    let is_control = code <= 0x1f || (0x7f..=0x9f).contains(&code);
    let is_noncharacter = (0xfdd0..=0xfdef).contains(&code) || matches!(code & 0xffff, 0xfffe | 0xffff);
    !is_control && !is_noncharacter
}

/// The characters of RFC 3986, and two hex digits behind each percent sign.
fn is_uri_text(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~:/?#[]@!$&'()*+,;=%".contains(c);
    let mut escapes = text.split('%').skip(1);
    let is_hex = |rest: &str| rest.len() >= 2 && rest.bytes().take(2).all(|b| b.is_ascii_hexdigit());
    text.chars().all(plain) && escapes.all(is_hex) && text.matches('#').count() <= 1
}

/// `type/subtype`, and parameters with a value each.
fn is_media_type(text: &str) -> bool {
    let is_token = |text: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c))
    };
    let pair = |text: &str, by| text.split_once(by).is_some_and(|(a, b)| is_token(a) && is_token(b));
    let mut parts = text.split(';');
    parts.next().is_some_and(|kind| pair(kind.trim_end(), '/'))
        && parts.all(|parameter| pair(parameter.trim(), '='))
}

/// RFC 3339: a date, a time of day, and an offset.
fn is_timestamp(text: &str) -> bool {
    let number = |from: usize, to: usize| {
        let digits = text.get(from..to).filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
        digits.and_then(|digits| digits.parse::<u32>().ok())
    };
    let parts = [(0, 4), (5, 7), (8, 10), (11, 13), (14, 16), (17, 19)].map(|(from, to)| number(from, to));
    let [Some(year), Some(month), Some(day), Some(hour), Some(minute), Some(second)] = parts else {
        return false;
    };
    let between = [4, 7, 10, 13, 16].map(|at| text.as_bytes()[at].to_ascii_uppercase());
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    let is_time = (1..=12).contains(&month) && (1..=days).contains(&day) && hour < 24 && minute < 60;
    is_time && second <= 60 && between == *b"--T::" && is_offset(after_fraction(&text[19..]))
}

fn after_fraction(text: &str) -> &str {
    match text.strip_prefix('.').map(|rest| (rest, rest.trim_start_matches(|c: char| c.is_ascii_digit()))) {
        // A point wants a digit.
        Some((rest, after)) if rest.len() > after.len() => after,
        _ => text,
    }
}

fn is_offset(text: &str) -> bool {
    let number = |digits: Option<&str>| digits.and_then(|digits| digits.parse::<u8>().ok());
    text.eq_ignore_ascii_case("z")
        || text.len() == 6
            && text.starts_with(['+', '-'])
            && text
                .bytes()
                .skip(1)
                .enumerate()
                .all(|(n, b)| if n == 2 { b == b':' } else { b.is_ascii_digit() })
            && number(text.get(1..3)).is_some_and(|hours| hours < 24)
            && number(text.get(4..6)).is_some_and(|minutes| minutes < 60)
}

/// One of the two members at most; any JSON in the one if the content is JSON, base64 in the other.
fn data(data: Option<&Value>, base64: Option<&Value>, content_type: Option<&Value>) -> Option<String> {
    if data.is_some() && base64.is_some() {
        return Some("data: data_base64 is there too".to_owned());
    }
    if let Some(value) = base64 {
        let decoded = value.as_str().map(|text| BASE64.decode(text.as_bytes()));
        return (!matches!(decoded, Some(Ok(_)))).then(|| "data_base64: not base64".to_owned());
    }
    let media = content_type.and_then(Value::as_str).and_then(|text| text.split([';', '/', '+']).nth(1));
    let is_json = content_type.is_none() || media == Some("json");
    (data.is_some_and(|value| !value.is_string()) && !is_json)
        .then(|| "data: only JSON is shown as it is".to_owned())
}
