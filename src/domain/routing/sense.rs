//! Filters that no event can pass, and types that Ring is not known to send.

use super::{BodyValue, Filter, OWN_KINDS, Selection, TypePattern};

/// The types of Ring's documentation. Ring may send others, which are taken too.
pub const RING_KINDS: [&str; 26] = [
    "app_integration_added",
    "app_integration_removed",
    "button_press",
    "co_cleared",
    "co_exceeded",
    "contact_sensor_cleared",
    "contact_sensor_faulted",
    "device_added",
    "device_offline",
    "device_online",
    "device_removed",
    "flood_cleared",
    "flood_detected",
    "freeze_cleared",
    "freeze_detected",
    "humidity_cleared",
    "humidity_exceeded",
    "motion_detected",
    "pm25_cleared",
    "pm25_exceeded",
    "subscription_activated",
    "subscription_deactivated",
    "tamper_cleared",
    "tamper_detected",
    "temperature_cleared",
    "temperature_exceeded",
];

impl TypePattern {
    fn text(&self) -> &str {
        match self {
            Self::Prefix(text) | Self::Exact(text) => text,
        }
    }
}

impl Filter {
    /// Why no event can pass, whatever it is.
    pub fn contradiction(&self) -> Option<String> {
        let of_links =
            !self.types.is_empty() && self.types.iter().all(|pattern| pattern.text().starts_with(OWN_KINDS));
        if of_links && !self.subtypes.is_empty() {
            return Some("types asks for events of links alone, which have no sub type".into());
        }
        if of_links && self.devices != Selection::All {
            return Some("types asks for events of links alone, which are of no device".into());
        }
        let pairs = self
            .body
            .iter()
            .enumerate()
            .flat_map(|(at, one)| self.body[at + 1..].iter().map(move |other| (one, other)));
        pairs.into_iter().find_map(|(one, other)| one.against(other))
    }

    /// The patterns of types that fit nothing which Ring is known to send.
    pub fn unknown_types(&self) -> impl Iterator<Item = String> {
        let unknown = |pattern: &&TypePattern| {
            !pattern.text().starts_with(OWN_KINDS) && !RING_KINDS.iter().any(|kind| pattern.matches(kind))
        };
        self.types.iter().filter(unknown).map(|pattern| match pattern {
            TypePattern::Prefix(stem) => format!("{stem}*"),
            TypePattern::Exact(name) => name.to_string(),
        })
    }
}

impl BodyValue {
    /// Why no body has both values.
    fn against(&self, other: &Self) -> Option<String> {
        let (mine, theirs) = (&self.pointer, &other.pointer);
        let is_inside =
            |inner: &str, outer: &str| inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'));
        if mine == theirs && self.one_of.is_disjoint(&other.one_of) {
            Some(format!("two [[queue.body]] ask for different values of {mine}, and both have to hold"))
        } else if is_inside(mine, theirs) || is_inside(theirs, mine) {
            Some(format!(
                "one [[queue.body]] asks for a value of {mine}, another for one of {theirs}: what has parts is no value"
            ))
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn types(patterns: &[&str]) -> Filter {
        let types = patterns.iter().map(|text| TypePattern::parse(text).unwrap()).collect();
        Filter { types, ..Filter::default() }
    }

    fn wanted(pointer: &str, one_of: &[&str]) -> BodyValue {
        BodyValue::new(pointer, one_of.iter().map(|text| (*text).into())).unwrap()
    }

    #[test]
    fn what_nothing_can_pass_is_told() {
        let devices = Selection::Only(["d".into()].into());
        let subtypes = vec![TypePattern::parse("human").unwrap()];
        let links = types(&["link.*", "link.lapsed"]);
        let why = |filter: Filter| filter.contradiction().unwrap_or_default();
        assert!(why(Filter { devices: devices.clone(), ..links.clone() }).contains("of no device"));
        assert!(why(Filter { subtypes: subtypes.clone(), ..links.clone() }).contains("no sub type"));
        let body = |body: Vec<BodyValue>| why(Filter { body, ..Filter::default() });
        assert!(
            body(vec![wanted("/a", &["1", "2"]), wanted("/b", &["1"]), wanted("/a", &["3"])])
                .contains("of /a,")
        );
        assert!(body(vec![wanted("/a/b", &["1"]), wanted("/a", &["1"])]).contains("no value"));
        // Events can pass these.
        assert_eq!(body(vec![wanted("/a", &["1", "2"]), wanted("/a", &["2"]), wanted("/ab", &["3"])]), "");
        let mixed = types(&["link.*", "motion_detected"]);
        for filter in [Filter::default(), links, Filter { subtypes, devices, ..mixed }] {
            assert_eq!(filter.contradiction(), None);
        }
    }

    #[test]
    fn types_that_ring_is_not_known_to_send_are_told() {
        let unknown = |patterns: &[&str]| types(patterns).unknown_types().collect::<Vec<_>>();
        assert_eq!(
            unknown(&["button_pres", "motions_*", "motion_*", "co_cleared"]),
            ["button_pres", "motions_*"]
        );
        assert_eq!(unknown(&["*", "link.*", "link.lapsed"]), Vec::<String>::new());
    }
}
