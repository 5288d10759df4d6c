//! Names that an event fills in, such as a topic or a key: `ring/{user}/{device}/{type}`.
//!
//! Ids come from outside, so each is encoded for its target: no id can reach into another's name, and none is too long for it.

use std::fmt::Write as _;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::event::Event;
use super::ids::{AccountId, DeviceId, UserId};

/// Stands where the event has no such id. An id that is the same text is encoded.
const NONE: &str = "-";
/// Hex digits of a hash that stands for the end of a name that is too long; too many for two names to share it.
const HASH: usize = 32;

/// Why a text can't be a template.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TemplateError {
    #[error("is empty")]
    Empty,
    #[error("has a {{ without a }}; a brace itself is written twice")]
    Open,
    #[error("has a }} without a {{; a brace itself is written twice")]
    Close,
    #[error("has an unknown {{{0}}}; known are {{user}}, {{account}}, {{device}}, {{type}} and {{subtype}}")]
    Unknown(String),
}

/// A text with places for an event's attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(Field),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    User,
    Account,
    Device,
    Type,
    Subtype,
}

const FIELDS: &[(&str, Field)] = &[
    ("user", Field::User),
    ("account", Field::Account),
    ("device", Field::Device),
    ("type", Field::Type),
    ("subtype", Field::Subtype),
];

impl Template {
    /// Reads a template; `{{` and `}}` are braces.
    ///
    /// # Errors
    /// [`TemplateError`] says what to change.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                plain.push_str(brace);
                rest = after;
                continue;
            }
            if brace == "}" {
                return Err(TemplateError::Close);
            }
            let (name, after) = rest.split_once('}').ok_or(TemplateError::Open)?;
            let known = FIELDS.iter().find(|(known, _)| *known == name);
            let (_, field) = known.ok_or_else(|| TemplateError::Unknown(name.to_owned()))?;
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(Part::Field(*field));
            rest = after;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        if parts.is_empty() { Err(TemplateError::Empty) } else { Ok(Self(parts)) }
    }

    /// The texts between the attributes, which a target may have to check.
    pub fn literals(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Text(text) => Some(text.as_str()),
            Part::Field(_) => None,
        })
    }

    /// The name, where it is the same for every event.
    pub fn fixed(&self) -> Option<&str> {
        match &self.0[..] {
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The name for `event`, of at most `max` bytes ([`shorten`]). In its attributes every character that is not `safe`, and `%`, is
    /// percent-encoded by its UTF-8 bytes.
    pub fn render(&self, event: &Event, safe: impl Fn(char) -> bool, max: usize) -> String {
        let mut name = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => name.push_str(text),
                Part::Field(field) => match field.of(event).filter(|value| !value.is_empty()) {
                    None => name.push_str(NONE),
                    Some(NONE) => name.push_str("%2D"),
                    Some(value) => encode(value, &safe, &mut name),
                },
            }
        }
        shorten(name, max)
    }

    /// Whether it is the same name for every event.
    pub fn is_fixed(&self) -> bool {
        self.fixed().is_some()
    }

    /// Whether every name begins with a text of the operator's.
    pub fn begins_with_text(&self) -> bool {
        matches!(self.0.first(), Some(Part::Text(_)))
    }
}

/// The name in at most `max` bytes, which must be more than 64. Of a longer one the end is a hash of the whole.
pub fn shorten(mut name: String, max: usize) -> String {
    if name.len() > max {
        let hash = HEXLOWER.encode(&Sha256::digest(&name));
        name.truncate(name.floor_char_boundary(max - HASH - 1));
        name.push('~');
        name.push_str(&hash[..HASH]);
    }
    name
}

impl Field {
    fn of(self, event: &Event) -> Option<&str> {
        match self {
            Self::User => event.user.as_ref().map(UserId::as_str),
            Self::Account => event.account.as_ref().map(AccountId::as_str),
            Self::Device => event.device.as_ref().map(DeviceId::as_str),
            Self::Type => Some(event.kind.as_str()),
            Self::Subtype => event.sub_kind.as_deref(),
        }
    }
}

fn encode(value: &str, safe: impl Fn(char) -> bool, to: &mut String) {
    for c in value.chars() {
        if c != '%' && safe(c) {
            to.push(c);
        } else {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                // Into memory: it cannot fail.
                let _ = write!(to, "%{byte:02X}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::marks::Marks;
    use crate::domain::time::Millis;

    fn event(user: &str, device: Option<&str>) -> Event {
        Event {
            key: "k".into(),
            kind: "motion_detected".into(),
            sub_kind: None,
            device: device.map(|id| DeviceId::new(id).unwrap()),
            account: Some(AccountId::new("acc").unwrap()),
            user: Some(UserId::new(user).unwrap()),
            received_at: Millis(0),
            time: None,
            marks: Marks::default(),
            body: "{}".into(),
        }
    }

    fn plain(c: char) -> bool {
        c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_')
    }

    #[test]
    fn attributes_stand_in_their_places() {
        let template = Template::parse("ring/{user}/{device}/{type}/{subtype}/{{x}}").unwrap();
        let name = template.render(&event("ann", Some("d-1")), plain, 255);
        assert_eq!(name, "ring/ann/d-1/motion_detected/-/{x}");
        assert_eq!(Template::parse("fixed").unwrap().render(&event("a", None), plain, 255), "fixed");
    }

    #[test]
    fn no_id_reaches_into_another_name() {
        let template = Template::parse("{user}/{device}").unwrap();
        let name = |user: &str, device| template.render(&event(user, device), plain, 255);
        assert_eq!(name("a/b", None), "a%2Fb/-");
        assert_eq!(name("-", None), "%2D/-", "an id is never taken for none");
        assert_eq!(name("%2D", None), "%252D/-");
        assert_eq!(name("+#*>", Some("é")), "%2B%23%2A%3E/%C3%A9");
    }

    #[test]
    fn long_names_are_cut_and_stay_apart() {
        let template = Template::parse("{user}").unwrap();
        let name =
            |last: char| template.render(&event(&format!("{}{last}", "é".repeat(60)), None), plain, 100);
        assert_eq!(name('a').len(), 100);
        assert_ne!(name('a'), name('b'));
        assert_eq!(name('a')[..60], name('b')[..60]);
    }

    #[test]
    fn wrong_templates_are_told() {
        for (text, error) in [
            ("", TemplateError::Empty),
            ("a{user", TemplateError::Open),
            ("a}b", TemplateError::Close),
            ("{User}", TemplateError::Unknown("User".into())),
            ("{}", TemplateError::Unknown(String::new())),
        ] {
            assert_eq!(Template::parse(text), Err(error), "{text}");
        }
    }
}
