//! Which events a queue takes: filters over type, sub type, user, account, device, and values inside the body.

mod sense;

use std::cell::OnceCell;
use std::collections::HashSet;
use std::fmt;

use serde_json::Value;
use thiserror::Error;

pub use self::sense::RING_KINDS;

/// Why a text can't be a pattern of event types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PatternError {
    #[error("is empty")]
    Empty,
    #[error("has a * that is not at the end")]
    InnerWildcard,
    #[error("contains a space or a control character")]
    Unprintable,
}

/// Our own events have types that begin so. They go only to queues that ask for them by name: whoever takes everything
/// of Ring's expects Ring's bodies.
pub const OWN_KINDS: &str = "link.";

/// A pattern over event types: `*`, a prefix such as `motion_*`, or one type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TypePattern {
    Prefix(Box<str>),
    Exact(Box<str>),
}

impl TypePattern {
    /// Reads a pattern; `*` alone is the empty prefix.
    ///
    /// # Errors
    /// [`PatternError`] for texts that no event type could match, or whose meaning would be a guess.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(PatternError::Unprintable);
        }
        let (stem, exact) = text.strip_suffix('*').map_or((text, true), |stem| (stem, false));
        if stem.contains('*') {
            return Err(PatternError::InnerWildcard);
        }
        Ok(if exact { Self::Exact(stem.into()) } else { Self::Prefix(stem.into()) })
    }

    pub fn matches(&self, kind: &str) -> bool {
        match self {
            Self::Prefix(stem) => {
                kind.starts_with(&**stem) && (!stem.is_empty() || !kind.starts_with(OWN_KINDS))
            }
            Self::Exact(name) => kind == &**name,
        }
    }
}

/// As it is written.
impl fmt::Display for TypePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefix(stem) => write!(f, "{stem}*"),
            Self::Exact(name) => f.write_str(name),
        }
    }
}

/// A set of ids that somebody listed, or everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Selection {
    #[default]
    All,
    Only(HashSet<Box<str>>),
}

impl Selection {
    /// Whether `id` is in; an event that has no such id is only in [`Selection::All`].
    pub fn holds(&self, id: Option<&str>) -> bool {
        match self {
            Self::All => true,
            Self::Only(ids) => id.is_some_and(|id| ids.contains(id)),
        }
    }

    /// Whether all is in that is in `other`.
    pub fn holds_all_of(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::All, _) => true,
            (Self::Only(_), Self::All) => false,
            (Self::Only(ids), Self::Only(others)) => ids.is_superset(others),
        }
    }
}

/// Why a text can't be a JSON pointer (RFC 6901).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PointerError {
    #[error("begins with no /; write one such as /data/attributes/source_type")]
    NoSlash,
    #[error("has a ~ that is neither ~0 nor ~1")]
    Tilde,
}

/// Asks for a value inside the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodyValue {
    pointer: String,
    one_of: HashSet<Box<str>>,
}

impl BodyValue {
    /// The value at `pointer` has to be one of these: a text, or a number, `true`, `false` or `null` as JSON writes it.
    ///
    /// # Errors
    /// [`PointerError`] for texts that are no pointer.
    pub fn new(pointer: &str, one_of: impl IntoIterator<Item = Box<str>>) -> Result<Self, PointerError> {
        if !pointer.starts_with('/') {
            return Err(PointerError::NoSlash);
        }
        if pointer.split('~').skip(1).any(|rest| !rest.starts_with(['0', '1'])) {
            return Err(PointerError::Tilde);
        }
        Ok(Self { pointer: pointer.to_owned(), one_of: one_of.into_iter().collect() })
    }

    fn holds(&self, body: &Value) -> bool {
        match body.pointer(&self.pointer) {
            Some(Value::String(text)) => self.one_of.contains(text.as_str()),
            Some(value @ (Value::Number(_) | Value::Bool(_) | Value::Null)) => {
                self.one_of.contains(value.to_string().as_str())
            }
            Some(Value::Array(_) | Value::Object(_)) | None => false,
        }
    }
}

/// The parts of an event that filters look at. An id is absent when the event has none, or none is known yet.
#[derive(Debug)]
pub struct Subject<'a> {
    pub kind: &'a str,
    pub sub_kind: Option<&'a str>,
    pub device: Option<&'a str>,
    pub account: Option<&'a str>,
    pub user: Option<&'a str>,
    pub body: &'a [u8],
    /// Read once for all queues, and only where one asks.
    pub value: OnceCell<Option<Value>>,
}

impl<'a> Subject<'a> {
    /// Of an event of this type with this body, and no ids.
    pub const fn new(kind: &'a str, body: &'a [u8]) -> Self {
        let (sub_kind, device, account, user) = (None, None, None, None);
        Self { kind, sub_kind, device, account, user, body, value: OnceCell::new() }
    }

    fn value(&self) -> Option<&Value> {
        self.value.get_or_init(|| serde_json::from_slice(self.body).ok()).as_ref()
    }
}

/// A part of a filter by the name that it has in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Types,
    Subtypes,
    Users,
    Accounts,
    Devices,
    Body,
}

impl Part {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Types => "types",
            Self::Subtypes => "subtypes",
            Self::Users => "users",
            Self::Accounts => "accounts",
            Self::Devices => "devices",
            Self::Body => "body",
        }
    }
}

/// How a queue treats events of an account that no user has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unclaimed {
    Hold,
    Deliver,
}

/// How an event fares at one queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Taken,
    /// Once its account has a user whose events the queue takes.
    Held,
    /// This part of the filter is against it.
    Not(Part),
}

/// What a queue takes: every part must agree.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// Any of these; none at all means every type.
    pub types: Vec<TypePattern>,
    /// Any of these; none at all means every sub type, and events without one.
    pub subtypes: Vec<TypePattern>,
    pub users: Selection,
    pub accounts: Selection,
    pub devices: Selection,
    /// All of these.
    pub body: Vec<BodyValue>,
}

impl Filter {
    /// Whether the queue takes the event.
    pub fn matches(&self, event: &Subject<'_>) -> bool {
        self.against(event).is_none()
    }

    /// How the event fares at a queue that treats unclaimed accounts so.
    pub fn fate(&self, unclaimed: Unclaimed, event: &Subject<'_>) -> Fate {
        let waits = event.user.is_none() && unclaimed == Unclaimed::Hold;
        let (open, against) = if waits {
            (Fate::Held, self.against_any_user(event))
        } else {
            (Fate::Taken, self.against(event))
        };
        against.map_or(open, Fate::Not)
    }

    /// Whether the queue, which treats unclaimed accounts so, may have got an event of this account while this user had it.
    pub fn may_have_had(&self, unclaimed: Unclaimed, account: &str, user: Option<&str>) -> bool {
        let is_open = user.is_some() || unclaimed == Unclaimed::Deliver;
        is_open && self.users.holds(user) && self.accounts.holds(Some(account))
    }

    /// The first part that does not agree.
    fn against(&self, event: &Subject<'_>) -> Option<Part> {
        let user = (!self.users.holds(event.user)).then_some(Part::Users);
        self.against_any_user(event).or(user)
    }

    /// The same for some user, which decides over an account that nobody has claimed yet.
    fn against_any_user(&self, event: &Subject<'_>) -> Option<Part> {
        let any_type = self.types.is_empty() && !event.kind.starts_with(OWN_KINDS);
        let subtype = |sub_kind: &str| self.subtypes.iter().any(|pattern| pattern.matches(sub_kind));
        // The body last, because it has to be read for it.
        if !(any_type || self.types.iter().any(|pattern| pattern.matches(event.kind))) {
            Some(Part::Types)
        } else if !(self.subtypes.is_empty() || event.sub_kind.is_some_and(subtype)) {
            Some(Part::Subtypes)
        } else if !self.devices.holds(event.device) {
            Some(Part::Devices)
        } else if !self.accounts.holds(event.account) {
            Some(Part::Accounts)
        } else if self.body.iter().all(|wanted| event.value().is_some_and(|body| wanted.holds(body))) {
            None
        } else {
            Some(Part::Body)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn only(ids: &[&str]) -> Selection {
        Selection::Only(ids.iter().map(|id| (*id).into()).collect())
    }

    fn subject<'a>(kind: &'a str, ids: [Option<&'a str>; 3]) -> Subject<'a> {
        let [device, account, user] = ids;
        Subject { device, account, user, ..Subject::new(kind, b"{}") }
    }

    #[test]
    fn every_part_must_agree() {
        let filter = Filter {
            types: vec![TypePattern::parse("motion_*").unwrap(), TypePattern::parse("button_press").unwrap()],
            users: only(&["ann"]),
            accounts: only(&["a1", "a2"]),
            devices: only(&["d1"]),
            ..Filter::default()
        };
        let against = |kind, device, account, user| filter.against(&subject(kind, [device, account, user]));
        assert_eq!(against("motion_detected", Some("d1"), Some("a2"), Some("ann")), None);
        assert_eq!(against("button_press", Some("d1"), Some("a1"), Some("ann")), None);
        assert_eq!(against("button_press_x", Some("d1"), Some("a1"), Some("ann")), Some(Part::Types));
        assert_eq!(against("motion_detected", Some("d2"), Some("a1"), Some("ann")), Some(Part::Devices));
        assert_eq!(against("motion_detected", None, Some("a1"), Some("ann")), Some(Part::Devices));
        assert_eq!(against("motion_detected", Some("d1"), None, Some("ann")), Some(Part::Accounts));
        assert_eq!(against("motion_detected", Some("d1"), Some("a1"), Some("bob")), Some(Part::Users));
        assert_eq!(against("motion_detected", Some("d1"), Some("a1"), None), Some(Part::Users));
        let unclaimed = |account, unclaimed| {
            filter.fate(unclaimed, &subject("motion_detected", [Some("d1"), Some(account), None]))
        };
        assert_eq!(unclaimed("a1", Unclaimed::Hold), Fate::Held);
        assert_eq!(unclaimed("a3", Unclaimed::Hold), Fate::Not(Part::Accounts));
        assert_eq!(unclaimed("a1", Unclaimed::Deliver), Fate::Not(Part::Users));
    }

    #[test]
    fn types_and_devices_do_not_tell_whether_a_queue_had_an_account() {
        let types = vec![TypePattern::parse("motion_*").unwrap()];
        let filter = |users, accounts| Filter {
            types: types.clone(),
            devices: only(&["d1"]),
            users,
            accounts,
            ..Filter::default()
        };
        let had = |filter: &Filter, user| filter.may_have_had(Unclaimed::Hold, "a1", user);
        let any = filter(Selection::All, Selection::All);
        assert!(had(&any, Some("ann")) && !had(&any, None));
        assert!(any.may_have_had(Unclaimed::Deliver, "a1", None));
        let anns = filter(only(&["ann"]), Selection::All);
        assert!(had(&anns, Some("ann")) && !had(&anns, Some("bob")));
        assert!(!anns.may_have_had(Unclaimed::Deliver, "a1", None));
        assert!(!had(&filter(Selection::All, only(&["a2"])), Some("ann")));
    }

    #[test]
    fn an_empty_filter_takes_everything() {
        assert!(Filter::default().matches(&subject("whatever", [None; 3])));
        assert!(Filter::default().matches(&subject("", [Some("d"), Some("a"), Some("u")])));
        assert!(Filter::default().matches(&Subject::new("a", b"no JSON")));
    }

    #[test]
    fn sub_types_are_patterns_and_an_event_without_one_has_none() {
        let subtypes = vec![TypePattern::parse("human").unwrap(), TypePattern::parse("package*").unwrap()];
        let filter = Filter { subtypes, ..Filter::default() };
        let takes =
            |sub_kind| filter.matches(&Subject { sub_kind, ..Subject::new("motion_detected", b"{}") });
        assert!(takes(Some("human")) && takes(Some("package_delivery")));
        assert!(!takes(Some("vehicle")) && !takes(None));
    }

    #[test]
    fn a_value_inside_the_body_is_one_of_those_that_are_asked_for() {
        let wanted = |pointer: &str, one_of: &[&str]| {
            BodyValue::new(pointer, one_of.iter().map(|text| (*text).into())).unwrap()
        };
        let takes = |wanted: &[BodyValue], body: &str| {
            let filter = Filter { body: wanted.to_vec(), ..Filter::default() };
            filter.matches(&Subject::new("motion_detected", body.as_bytes()))
        };
        let body = r#"{"a":{"b":["x",7,true,null,1.5,{}],"s/t":"1"}}"#;
        assert!(takes(&[wanted("/a/b/0", &["y", "x"])], body));
        assert!(takes(&[wanted("/a/b/1", &["7"]), wanted("/a/b/2", &["true"])], body));
        assert!(takes(&[wanted("/a/b/3", &["null"])], body) && takes(&[wanted("/a/b/4", &["1.5"])], body));
        assert!(takes(&[wanted("/a/s~1t", &["1"])], body), "a text that looks like a number");
        assert!(!takes(&[wanted("/a/b/0", &["x"]), wanted("/a/b/1", &["8"])], body), "all must agree");
        assert!(!takes(&[wanted("/a/b/5", &["{}"])], body) && !takes(&[wanted("/a/c", &["x"])], body));
        assert!(!takes(&[wanted("/a", &["x"])], "no JSON"));
        assert_eq!(BodyValue::new("a", []), Err(PointerError::NoSlash));
        assert_eq!(BodyValue::new("/a~2", []), Err(PointerError::Tilde));
        assert_eq!(BodyValue::new("/a~", []), Err(PointerError::Tilde));
    }

    #[test]
    fn patterns_that_would_be_a_guess_are_refused() {
        for (text, error) in [
            ("", PatternError::Empty),
            ("*_detected", PatternError::InnerWildcard),
            ("motion**", PatternError::InnerWildcard),
            ("motion detected", PatternError::Unprintable),
            ("a\n", PatternError::Unprintable),
        ] {
            assert_eq!(TypePattern::parse(text), Err(error), "{text:?}");
        }
    }

    /// A slow, general glob to hold the pattern against.
    fn glob(pattern: &[char], text: &[char]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some(('*', rest)) => (0..=text.len()).any(|cut| glob(rest, &text[cut..])),
            Some((c, rest)) => text.first() == Some(c) && glob(rest, &text[1..]),
        }
    }

    proptest! {
        #[test]
        fn wildcards_match_as_a_glob_does(pattern in "[abü_]{0,4}\\*?", text in "[abü_*]{0,6}") {
            let (p, t): (Vec<_>, Vec<_>) = (pattern.chars().collect(), text.chars().collect());
            match TypePattern::parse(&pattern) {
                Ok(parsed) => prop_assert_eq!(parsed.matches(&text), glob(&p, &t)),
                Err(error) => prop_assert_eq!((error, pattern.as_str()), (PatternError::Empty, "")),
            }
        }

        #[test]
        fn any_text_parses_or_is_refused_and_every_type_matches_its_own_prefixes(text in "\\PC{1,20}", cut in 0usize..20) {
            let prefix: String = text.chars().take(cut).chain(['*']).collect();
            if let Ok(pattern) = TypePattern::parse(&prefix) {
                prop_assert!(pattern.matches(&text));
            }
        }

        #[test]
        fn a_listed_id_is_in_and_another_is_not(ids in proptest::collection::hash_set("[a-z]{1,8}", 1..50), other in "[A-Z]{1,8}") {
            let selection = Selection::Only(ids.iter().map(|id| id.as_str().into()).collect());
            prop_assert!(ids.iter().all(|id| selection.holds(Some(id))));
            prop_assert!(!selection.holds(Some(&other)) && !selection.holds(None));
        }
    }
}
