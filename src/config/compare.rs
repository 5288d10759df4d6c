//! What differs between two configurations as they are written, key by key, and what of it can change while the daemon runs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use zeroize::Zeroizing;

/// Keys that a running daemon takes over, by their beginnings.
const LIVE: &[&str] = &[
    "hmac_keys",
    "hmac_key_files",
    "queue ",
    "held.",
    "dead_letters.",
    "quarantine.",
    "unrouted.",
    "seen.",
    "silence.",
    "receipts.",
    "audit.",
    "linking.forget_after_removal",
    "store.max_bytes",
    "store.min_free",
    "log.level",
    "socket ",
    "metrics.listen",
    "http.",
    "webhook.",
    "linking.",
    "tls.handshake_timeout",
    "ring.",
    "tokens.refresh",
    "tokens.parallel",
    "tokens.repeat",
    "tokens.warn_before",
];
/// Why the others wait for a restart, by their beginnings; the first that fits counts.
const AT_A_START: &[(&str, &str)] = &[
    ("listen", "the address is bound when the daemon starts"),
    ("tls", "the address is opened with it; only the content of its files is taken at once"),
    ("acme", "the address is opened with it"),
    ("store.compact_above", "the daemon takes it over only when it starts"),
    ("store", "the store is opened with it"),
    ("keys", "the store is opened with it"),
    ("tokens.guard_folder", "it tells at a start alone whether the store is an older copy"),
    ("log.format", "the log is opened with it"),
    ("", "the daemon takes it over only when it starts"),
];
/// The keys by which the sections of a list are told apart, however they are ordered.
const NAMES: [&str; 3] = ["name", "path", "listen"];

/// A configuration as it is written. It may hold inline keys, so it is not shown, and is overwritten when dropped.
#[derive(Clone, Default)]
pub struct Written(Zeroizing<String>);

/// A key, or a whole section of a list, that two configurations have otherwise. Nothing of its value is in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    pub key: String,
    pub how: How,
}

/// How a key differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum How {
    /// A section that was not there.
    New,
    /// A section that is there no more.
    TakenOut,
    Changed,
    /// The file that it names has another content.
    Content,
}

impl Change {
    /// Why it can't change while the daemon runs; none where it can. Of doors that systemd holds the daemon alone knows it.
    pub fn waits_because(&self) -> Option<&'static str> {
        if LIVE.iter().any(|live| self.key.starts_with(live)) {
            return None;
        }
        let why = AT_A_START.iter().find(|(start, _)| self.key.starts_with(start));
        why.map(|(_, why)| *why)
    }

    /// What has changed, in words that follow the key.
    pub fn words(&self) -> &'static str {
        match self.how {
            How::New => "is new",
            How::TakenOut => "is taken out",
            How::Changed => "has changed",
            How::Content => "has changed in its file",
        }
    }
}

impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Written")
    }
}

impl Written {
    pub(super) fn new(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }

    /// The keys, or whole sections, that are written otherwise in `new`.
    pub fn changes(&self, new: &Self) -> Vec<Change> {
        let (old, new) = (Keys::of(&self.0), Keys::of(&new.0));
        let all: BTreeSet<&String> = old.values.keys().chain(new.values.keys()).collect();
        let differs = all.into_iter().filter(|key| old.values.get(*key) != new.values.get(*key));
        let change = |key: &String| {
            let gone = old.without(&new, key).map(|section| (section, How::TakenOut));
            let come = || new.without(&old, key).map(|section| (section, How::New));
            let (key, how) = gone.or_else(come).unwrap_or((key, How::Changed));
            Change { key: key.clone(), how }
        };
        let changes: BTreeSet<Change> = differs.map(change).collect();
        changes.into_iter().collect()
    }
}

#[derive(Default)]
struct Keys {
    values: BTreeMap<String, Zeroizing<String>>,
    /// Those of lists, such as `queue "all"`, by each of their keys.
    sections: BTreeMap<String, String>,
}

impl Keys {
    /// Of a text that is valid.
    fn of(text: &str) -> Self {
        let (table, _) = DeTable::parse_recoverable(text);
        let mut keys = Self::default();
        keys.add_table("", table.get_ref(), None);
        keys
    }

    /// The section of this key, where `other` has nothing of it.
    fn without(&self, other: &Self, key: &str) -> Option<&String> {
        let section = self.sections.get(key)?;
        (!other.sections.values().any(|there| there == section)).then_some(section)
    }

    fn add_table(&mut self, path: &str, table: &DeTable<'_>, section: Option<&str>) {
        for (key, value) in table {
            let key =
                if path.is_empty() { key.get_ref().to_string() } else { format!("{path}.{}", key.get_ref()) };
            self.add(key, value, section);
        }
    }

    fn add(&mut self, key: String, value: &Spanned<DeValue<'_>>, section: Option<&str>) {
        match value.get_ref() {
            DeValue::Table(table) => self.add_table(&key, table, section),
            DeValue::Array(items) if items.iter().any(|item| matches!(item.get_ref(), DeValue::Table(_))) => {
                for (n, item) in items.iter().enumerate() {
                    let DeValue::Table(table) = item.get_ref() else { continue };
                    let path = match name(table) {
                        Some(name) => format!("{key} {name:?}"),
                        None => format!("{key}[{n}]"),
                    };
                    self.add_table(&path, table, Some(section.unwrap_or(&path)));
                }
            }
            value => {
                if let Some(section) = section {
                    self.sections.insert(key.clone(), section.to_owned());
                }
                self.values.insert(key, Zeroizing::new(shown(value)));
            }
        }
    }
}

fn name<'t>(table: &'t DeTable<'_>) -> Option<&'t str> {
    NAMES.iter().find_map(|name| match table.get(*name)?.get_ref() {
        DeValue::String(text) => Some(text.as_ref()),
        _ => None,
    })
}

/// A value, so that two that differ are shown otherwise.
fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::Array(items) => items.iter().map(|item| shown(item.get_ref()) + ",").collect(),
        DeValue::String(text) => format!("{text:?}"),
        value => format!("{value:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = r#"
        listen = "127.0.0.1:1"
        hmac_keys = ["a", "b"]
        [store]
        folder = "f"
        [log]
        level = "info"
        [[queue]]
        name = "one"
        kind = "embedded"
        types = ["motion_detected"]
        [[queue.body]]
        pointer = "/x"
        values = ["1"]
        [[queue]]
        name = "two"
        kind = "spool"
        [[socket]]
        path = "/p"
    "#;

    fn changes(new: &str) -> Vec<Change> {
        Written::new(OLD).changes(&Written::new(new))
    }

    fn differences(new: &str) -> Vec<String> {
        changes(new).into_iter().map(|change| change.key).collect()
    }

    #[test]
    fn each_key_that_is_written_otherwise_is_named_and_nothing_of_its_value() {
        for (from, to, named) in [
            ("127.0.0.1:1", "127.0.0.1:2", "listen"),
            (r#"["a", "b"]"#, r#"["a,b"]"#, "hmac_keys"),
            ("folder = \"f\"", "folder = \"f\"\nmin_free = 7", "store.min_free"),
            ("\"spool\"", "\"embedded\"", "queue \"two\".kind"),
            ("[\"motion_detected\"]", "[]", "queue \"one\".types"),
            ("\"/x\"", "\"/y\"", "queue \"one\".body[0].pointer"),
            ("path = \"/p\"", "path = \"/p\"\nmode = \"0660\"", "socket \"/p\".mode"),
            ("[store]", "[seen]\nretention = \"90d\"\n[store]", "seen.retention"),
        ] {
            let new = OLD.replace(from, to);
            assert_ne!(new, OLD, "{from}");
            assert_eq!(differences(&new), [named], "{from} → {to}");
        }
    }

    #[test]
    fn a_section_that_comes_or_goes_is_named_once_and_their_order_says_nothing() {
        let (two, rest) =
            ("        [[queue]]\n        name = \"two\"\n        kind = \"spool\"\n", "        [[socket]]");
        assert_eq!(differences(&OLD.replace(two, "")), ["queue \"two\""]);
        let three = format!("        [[queue]]\n        name = \"three\"\n        kind = \"spool\"\n{rest}");
        assert_eq!(differences(&OLD.replace(rest, &three)), ["queue \"three\""]);
        let first = OLD.replace(two, "").replace(
            "        [[queue]]\n        name = \"one\"",
            &format!("{two}        [[queue]]\n        name = \"one\""),
        );
        assert_ne!(first, OLD);
        assert_eq!(differences(&first), [""; 0]);
        assert_eq!(
            differences(&OLD.replace("name = \"one\"", "name = \"uno\"")),
            ["queue \"one\"", "queue \"uno\""]
        );
    }

    #[test]
    fn a_change_says_how_and_why_it_waits() {
        let change = |from: &str, to: &str| changes(&OLD.replace(from, to)).swap_remove(0);
        let level = change("\"info\"", "\"debug\"");
        assert_eq!((level.waits_because(), level.words()), (None, "has changed"));
        let folder = change("folder = \"f\"", "folder = \"g\"");
        assert_eq!(folder.waits_because(), Some("the store is opened with it"));
        let three = format!("{OLD}\n[[queue]]\nname = \"three\"\nkind = \"spool\"\n");
        assert_eq!(changes(&three)[0].words(), "is new");
        assert_eq!(Written::new(&three).changes(&Written::new(OLD))[0].words(), "is taken out");
    }

    #[test]
    fn comments_say_nothing_and_the_text_is_not_shown() {
        assert_eq!(differences(&format!("# more\n{OLD}")), [""; 0]);
        assert_eq!(format!("{:?}", Written::new(OLD)), "Written", "it may hold keys");
    }
}
