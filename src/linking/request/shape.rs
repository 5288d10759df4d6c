//! What a request looked like, for the log: where its fields were and how they were called, and none of their values.
//!
//! A value may stand where a name belongs, so a name that nobody knows is shown only if it looks like one.

use std::fmt;

/// How many names are shown.
const MAX_NAMES: usize = 16;
/// Longest unknown name that is shown. Codes and tokens are longer, as a rule.
const MAX_UNKNOWN: usize = 24;

/// The shape of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    pub(super) body: Body,
    media_type: MediaType,
    fields: Vec<Field>,
    /// How many fields more there were.
    more: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Field {
    place: Place,
    /// As it may be shown.
    name: String,
    known: bool,
}

/// What the body was read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    Empty,
    Json,
    Form,
    Multipart,
    Other,
}

/// Where a field was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Query,
    Body,
    /// In the JSON member `data`.
    Data,
    /// In `data.attributes`.
    Attributes,
}

impl Place {
    pub(super) fn holds_codes(self) -> bool {
        self != Self::Data
    }

    fn prefix(self) -> &'static str {
        match self {
            Self::Query | Self::Body => "",
            Self::Data => "data.",
            Self::Attributes => "data.attributes.",
        }
    }
}

/// The content type without its parameters, if it is one that is expected here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MediaType(&'static str);

impl MediaType {
    pub(super) const MULTIPART: Self = Self("multipart/form-data");
    const KNOWN: [Self; 7] = [
        Self("application/json"),
        Self("application/vnd.api+json"),
        Self("application/x-www-form-urlencoded"),
        Self::MULTIPART,
        Self("text/plain"),
        Self("text/json"),
        Self("application/octet-stream"),
    ];

    pub(super) fn of(content_type: Option<&str>) -> Self {
        let Some(content_type) = content_type else { return Self("no content type") };
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        let known = Self::KNOWN.into_iter().find(|known| known.0.eq_ignore_ascii_case(essence));
        known.unwrap_or(Self("another content type"))
    }
}

impl Shape {
    pub(super) fn new(media_type: MediaType) -> Self {
        Self { body: Body::Empty, media_type, fields: Vec::new(), more: 0 }
    }

    /// Notes a field; `known` when it is one of those that are read.
    pub(super) fn note(&mut self, place: Place, name: &str, known: bool) {
        if self.fields.len() == MAX_NAMES {
            self.more += 1;
            return;
        }
        let name = if known { name.to_owned() } else { shown(name) };
        self.fields.push(Field { place, name, known });
    }

    /// Takes out unknown names with `secret` in them.
    pub(super) fn hide(&mut self, secret: &str) {
        for field in self.fields.iter_mut().filter(|field| !field.known && field.name.contains(secret)) {
            "?".clone_into(&mut field.name);
        }
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, wanted: impl Fn(Place) -> bool) -> fmt::Result {
        let fields = self.fields.iter().filter(|field| wanted(field.place));
        fields.enumerate().try_for_each(|(at, field)| {
            let before = if at == 0 { ": " } else { ", " };
            write!(f, "{before}{}{}", field.place.prefix(), field.name)
        })
    }
}

/// An unknown name: letters, and few of them. Digits are what nearly every random value has, and hardly any name.
fn shown(name: &str) -> String {
    if name.len() > MAX_UNKNOWN || name.bytes().any(|byte| byte.is_ascii_digit()) {
        return "?".to_owned();
    }
    let plain = |c: char| c.is_ascii_alphabetic() || matches!(c, '_' | '.' | '-');
    name.chars().map(|c| if plain(c) { c } else { '?' }).collect()
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = match self.body {
            Body::Empty => "empty",
            Body::Json => "json",
            Body::Form => "form",
            Body::Multipart => "multipart",
            Body::Other => "other",
        };
        write!(f, "{body} body ({})", self.media_type.0)?;
        self.list(f, |place| place != Place::Query)?;
        if self.fields.iter().any(|field| field.place == Place::Query) {
            f.write_str("; query")?;
            self.list(f, |place| place == Place::Query)?;
        }
        if self.more > 0 {
            write!(f, "; {} fields more", self.more)?;
        }
        Ok(())
    }
}
