//! Which events a queue takes: filters over type, user, account and device.

use std::collections::HashSet;

use thiserror::Error;

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
}

/// What a queue takes: every part must agree.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// Any of these; none at all means every type.
    pub types: Vec<TypePattern>,
    pub users: Selection,
    pub accounts: Selection,
    pub devices: Selection,
}

impl Filter {
    /// Whether the queue takes an event of type `kind`; an id is absent when the event has none, or none is known yet.
    pub fn matches(
        &self,
        kind: &str,
        device: Option<&str>,
        account: Option<&str>,
        user: Option<&str>,
    ) -> bool {
        self.matches_ignoring_user(kind, device, account) && self.users.holds(user)
    }

    /// Whether the queue takes the event for some user: what decides over an account that nobody has claimed yet.
    pub fn matches_ignoring_user(&self, kind: &str, device: Option<&str>, account: Option<&str>) -> bool {
        let all = self.types.is_empty() && !kind.starts_with(OWN_KINDS);
        (all || self.types.iter().any(|pattern| pattern.matches(kind)))
            && self.devices.holds(device)
            && self.accounts.holds(account)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn only(ids: &[&str]) -> Selection {
        Selection::Only(ids.iter().map(|id| (*id).into()).collect())
    }

    #[test]
    fn every_part_must_agree() {
        let filter = Filter {
            types: vec![TypePattern::parse("motion_*").unwrap(), TypePattern::parse("button_press").unwrap()],
            users: only(&["ann"]),
            accounts: only(&["a1", "a2"]),
            devices: only(&["d1"]),
        };
        let matches = |kind, device, account, user| filter.matches(kind, device, account, user);
        assert!(matches("motion_detected", Some("d1"), Some("a2"), Some("ann")));
        assert!(matches("button_press", Some("d1"), Some("a1"), Some("ann")));
        assert!(!matches("button_press_x", Some("d1"), Some("a1"), Some("ann")));
        assert!(!matches("motion_detected", Some("d2"), Some("a1"), Some("ann")));
        assert!(!matches("motion_detected", None, Some("a1"), Some("ann")));
        assert!(!matches("motion_detected", Some("d1"), None, Some("ann")));
        assert!(!matches("motion_detected", Some("d1"), Some("a1"), Some("bob")));
        assert!(!matches("motion_detected", Some("d1"), Some("a1"), None));
        assert!(filter.matches_ignoring_user("motion_detected", Some("d1"), Some("a1")));
        assert!(!filter.matches_ignoring_user("motion_detected", Some("d1"), Some("a3")));
    }

    #[test]
    fn an_empty_filter_takes_everything() {
        assert!(Filter::default().matches("whatever", None, None, None));
        assert!(Filter::default().matches("", Some("d"), Some("a"), Some("u")));
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
