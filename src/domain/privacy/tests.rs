//! The sheet says the numbers that hold, in its own order, and nothing that nobody may know.

use std::time::Duration;

use super::*;
use crate::domain::ids::QueueName;
use crate::domain::rights::{Grant, Rights};
use crate::domain::routing::Selection;
use crate::domain::time::Millis;

/// With numbers that no default has.
pub(crate) fn facts() -> Facts {
    let bound = |days: u64, mib: u64| Bound {
        max_age: Duration::from_hours(24 * days),
        max_bytes: mib << 20,
        max_events: None,
    };
    let queue = |name: &str, kind, way| Queue {
        name: QueueName::new(name).unwrap(),
        kind,
        way,
        max_age: Duration::from_hours(29),
        max_bytes: 37 << 20,
        max_attempts: 7,
        types: vec![],
        takes_unclaimed: false,
        is_narrowed: false,
    };
    let address = |address: &str, is_encrypted, is_local| Way::Address {
        address: address.into(),
        is_encrypted,
        is_local,
    };
    let to_web = Queue {
        types: vec!["motion_*".into(), "button_press".into()],
        takes_unclaimed: true,
        is_narrowed: true,
        ..queue("web", "http", address("http://192.0.2.7:99", false, false))
    };
    let narrowed = Rights::new(
        vec![Grant::parse("queue.read:web").unwrap()],
        Selection::All,
        Selection::Only([Box::from("ann"), Box::from("bob")].into()),
    );
    Facts {
        at: Millis(1_700_000_000_000),
        version: "9.8.7".into(),
        store: StoreFacts { name: "s".into(), environment: "test".into(), folder: "/data".into() },
        bounds: Bounds {
            held: Bound { max_events: Some(77), ..bound(11, 13) },
            held_total: 39 << 20,
            dead: bound(17, 19),
            unrouted: bound(3, 23),
            quarantined: Bound { max_events: Some(31), ..bound(5, 41) },
            receipts: bound(23, 47),
            audit: bound(401, 53),
            forget_removed_after: None,
            seen_for: Duration::from_hours(91),
            max_ids: 123_457,
            max_bytes: 43 << 30,
        },
        queues: vec![
            queue("read", "embedded", Way::Read),
            queue("files", "spool", Way::Files { folder: "/spool".into() }),
            to_web,
            queue("broker", "mqtt", address("mqtts://broker.example:8883", true, false)),
            queue("near", "redis", address("redis://127.0.0.1:1", false, true)),
        ],
        fixed: Fixed {
            master_key: "credential:master.key".into(),
            guard_folder: "/guard".into(),
            readers: vec![
                reader("/run/all.sock", 0o600, None, Rights::all()),
                reader("/run/some.sock", 0o660, Some("ring-readers"), narrowed),
                reader("/run/open.sock", 0o666, None, Rights::all()),
                ReaderFacts { place: Place::Address("127.0.0.1:8481".into()), rights: Rights::all() },
            ],
            metrics: Some("127.0.0.1:9464".into()),
            ring: Some(("https://oauth.example".into(), "https://api.example".into())),
            sign_in: Some("https://www.example".into()),
        },
    }
}

fn reader(path: &str, mode: u32, group: Option<&str>, rights: Rights) -> ReaderFacts {
    let place = Place::Socket { path: path.into(), mode, group: group.map(str::to_owned) };
    ReaderFacts { place, rights }
}

/// The part of the page under a heading.
fn part<'p>(page: &'p str, heading: &str) -> &'p str {
    let (_, rest) = page.split_once(&format!("{heading}\n")).unwrap_or_else(|| panic!("{heading}"));
    rest.split("\n#").next().unwrap()
}

#[test]
fn each_number_stands_in_its_element() {
    let page = Sheet::of(&facts()).markdown().join("\n");
    for (heading, words) in [
        ("### Events that wait in queues", "queue `web`: at most 29 h, 37.0 MiB and 7 failed attempts"),
        ("### Events that wait in queues", "at most 43.0 GiB"),
        (
            "### Events of accounts that no user has claimed",
            "at most 11 days (`[held] max_age`), and at most 13.0 MiB and 77 events",
        ),
        ("### Events of accounts that no user has claimed", "over all accounts at most 39.0 MiB"),
        ("### Dead letters", "at most 17 days (`[dead_letters] max_age`), and at most 19.0 MiB"),
        ("### Events that no queue takes", "at most 3 days (`[unrouted] max_age`), and at most 23.0 MiB"),
        (
            "### Signed bodies that could not be understood",
            "at most 5 days (`[quarantine] max_age`), and at most 41.0 MiB and 31 events",
        ),
        ("### Remembered request ids", "91 h (`[seen] retention`), and at most 123457 ids"),
        ("### Receipts of events", "at most 23 days (`[receipts] max_age`), and at most 47.0 MiB"),
        (
            "### Acts of callers of the admin API",
            "at most 401 days (`[audit] max_age`), and at most 53.0 MiB",
        ),
        ("### Tombstones of forgotten accounts", "Kept: 76 h."),
        ("### OAuth tokens", "30 days"),
        ("### Claims", "15 min after the claim"),
        ("### Data keys", "credential:master.key"),
        ("### The guard folder", "`/guard`"),
        (
            "## Who can read it",
            "- `/run/all.sock`, open to the daemon's own user and root (mode 0600)\n  - Rights: *\n  - Sees: all accounts and users",
        ),
        (
            "## Who can read it",
            "- `/run/some.sock`, open to the daemon's own user, root, and group ring-readers (mode 0660)\n  - Rights: queue.read:web\n  - Sees: 2 listed users alone",
        ),
        ("## Who can read it", "- `/run/open.sock`, open to every user of this machine (mode 0666)"),
        ("## Who can read it", "- `http://127.0.0.1:8481`, open to whoever on this machine has the token"),
        ("## Who can read it", "- `http://127.0.0.1:9464/metrics`"),
        ("## What leaves the machine", "queue `read` (embedded): whoever reads it"),
        ("## What leaves the machine", "queue `files` (spool): files in `/spool`"),
        (
            "## What leaves the machine",
            "queue `web` (http): http://192.0.2.7:99\n  - What: events of types motion_*, button_press, of some users, accounts, devices or bodies alone, also of accounts that no user has, with body, account and user\n  - How: **without TLS**",
        ),
        (
            "## What leaves the machine",
            "queue `broker` (mqtt): mqtts://broker.example:8883\n  - What: events of every type, with body, account and user\n  - How: TLS",
        ),
        (
            "## What leaves the machine",
            "redis://127.0.0.1:1\n  - What: events of every type, with body, account and user\n  - How: without TLS, and does not leave this machine",
        ),
        ("## What leaves the machine", "Ring's OAuth, https://oauth.example"),
        ("## What leaves the machine", "https://www.example"),
    ] {
        let part = part(&page, heading);
        assert!(part.contains(words), "{heading} says nothing of {words:?}:\n{part}");
    }
}

#[test]
fn every_element_says_all_that_is_asked() {
    let sheet = Sheet::of(&facts());
    assert!(sheet.kept.len() > 20, "{}", sheet.kept.len());
    for Element { name, holds, purpose, protection, retention, deleted, .. } in &sheet.kept {
        for said in [name, holds, purpose, protection, deleted].into_iter().chain(retention) {
            assert!(!said.is_empty() && !said.ends_with('.'), "{name}: {said:?}");
        }
        assert!(!retention.is_empty(), "{name}");
    }
}

#[test]
fn the_sheet_comes_back_from_json_and_depends_on_its_facts_alone() {
    let sheet = Sheet::of(&facts());
    let json = serde_json::to_string(&sheet).unwrap();
    assert_eq!(serde_json::from_str::<Sheet>(&json).unwrap(), sheet);
    assert_eq!(sheet.markdown(), Sheet::of(&facts()).markdown());
    let mut other = facts();
    other.bounds.dead.max_age = Duration::from_hours(18 * 24);
    let (page, other) = (sheet.markdown(), Sheet::of(&other).markdown());
    let differing = page.iter().zip(&other).filter(|(one, other)| one != other).count();
    assert_eq!((page.len(), differing), (other.len(), 1));
}
