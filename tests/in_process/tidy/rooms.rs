//! Which room may import which: the table of ARCHITECTURE.md, where imports only go down.

use super::source::{Complaint, Source};

/// From the top; neighbours in a row do not import each other.
const ROWS: &[&[&str]] = &[
    &["main"],
    &["cli"],
    &["daemon"],
    &["admin", "intake", "delivery"],
    &["linking"],
    &["tokens"],
    &["outbound"],
    &["acme", "http", "ring_api", "store"],
    &["vault", "telemetry", "logging", "config", "http_client", "requests", "test_events"],
    &["clock", "randomness", "failpoint", "access", "live", "tls"],
    &["domain"],
];

/// Rooms that take their sections of the configuration as they are.
const CONFIGURED: &[&str] =
    &["src/cli", "src/daemon", "src/intake", "src/admin", "src/delivery", "src/linking"];

/// Rooms with rules narrower than the rows: who may import them (by the start of the path), what they may import.
const DOORS: &[(&str, &[&str], &[&str])] = &[
    ("sim", &["src/cli/demo", "src/cli/simulate"], &["domain", "clock"]),
    ("config", CONFIGURED, &["domain", "access"]),
    ("linking", &["src/daemon", "src/admin"], &["*"]),
    ("tokens", &["src/daemon", "src/admin", "src/linking"], &["*"]),
    ("outbound", &["src/linking", "src/tokens"], &["*"]),
    ("cli", &["src/main.rs"], &["*"]),
    ("main", &[], &["cli"]),
];

pub(crate) fn imports_go_down(file: &Source) -> Vec<Complaint> {
    let from = room_of(&file.path);
    if from == "lib" {
        return Vec::new();
    }
    if !is_known(from) {
        return vec![
            file.complain(1, format!("room `{from}` is not in the table of tests/in_process/tidy/rooms.rs")),
        ];
    }
    let wrong = imports(file).into_iter().filter_map(|(line, to)| {
        let why = refusal(&file.path, from, &to)?;
        Some(file.complain(line, format!("`{from}` imports `{to}`: {why}")))
    });
    let climbs = file.production().filter(|(_, line)| climbs_out(&file.path, &line.code));
    let climbs = climbs.map(|(at, _)| file.complain(at, "write `crate::` where `super` leaves the room"));
    wrong.chain(climbs).collect()
}

/// The floor of the store that alone names redb, tests included, so that the rest speaks of rows.
const REDB: &str = "src/store/kv/";

pub(crate) fn one_floor_knows_redb(file: &Source) -> Vec<Complaint> {
    let names = |code: &str| code.split(|c: char| !c.is_alphanumeric()).any(|word| word == "redb");
    let lines = file.lines.iter().zip(1..).filter(|(line, _)| names(&line.code));
    let lines = lines.filter(|_| !file.path.starts_with(REDB));
    lines.map(|(_, at)| file.complain(at, "only src/store/kv names redb: give it a type there")).collect()
}

fn refusal(path: &str, from: &str, to: &str) -> Option<&'static str> {
    if from == to {
        return None;
    }
    if !is_known(to) {
        return Some("no such room in the table of tests/in_process/tidy/rooms.rs");
    }
    let door = |room| DOORS.iter().find(|(name, ..)| *name == room);
    if let Some((_, _, may)) = door(from)
        && !may.contains(&"*")
        && !may.contains(&to)
    {
        return Some("it may import less than its row");
    }
    if let Some((_, by, _)) = door(to) {
        return (!by.iter().any(|start| path.starts_with(start))).then_some("that room is open to few");
    }
    match (row(from), row(to)) {
        (Some(a), Some(b)) if a == b => {
            Some("neighbours do not import each other; `daemon` hands them what they need")
        }
        (Some(a), Some(b)) if a > b => Some("imports go down"),
        _ => None,
    }
}

fn is_known(room: &str) -> bool {
    row(room).is_some() || DOORS.iter().any(|(name, ..)| *name == room)
}

fn row(room: &str) -> Option<usize> {
    ROWS.iter().position(|rooms| rooms.contains(&room))
}

/// `src/store/log.rs` and `src/store.rs` are the room `store`.
fn room_of(path: &str) -> &str {
    let inside = path.trim_start_matches("src/");
    inside.split(['/', '.']).next().unwrap_or(inside)
}

/// Each room named after `crate::` (in the binary, after `ringhookd::`), groups in braces included.
fn imports(file: &Source) -> Vec<(usize, String)> {
    let prefix = if file.path == "src/main.rs" { "ringhookd::" } else { "crate::" };
    let mut text = String::new();
    let mut starts = Vec::new();
    for (at, line) in file.production() {
        starts.push((text.len(), at));
        text.push_str(&line.code);
        text.push('\n');
    }
    let line_of = |offset: usize| starts[starts.partition_point(|(start, _)| *start <= offset) - 1].1;
    let whole = |at: usize| !text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$');
    let found = text.match_indices(prefix).filter(|(at, _)| whole(*at));
    let named = found.flat_map(|(at, _)| {
        let rest = &text[at + prefix.len()..];
        rooms_after(rest).into_iter().map(move |room| (at, room))
    });
    named.map(|(at, room)| (line_of(at), room)).collect()
}

/// The first word of a path, or of every path in a group.
fn rooms_after(rest: &str) -> Vec<String> {
    let word =
        |text: &str| text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    let Some(group) = rest.strip_prefix('{') else { return vec![word(rest)] };
    let mut rooms: Vec<String> = vec![word(group)];
    let mut depth = 0_usize;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => rooms.push(word(&group[at + 1..])),
            _ => {}
        }
    }
    rooms.retain(|room| !room.is_empty());
    rooms
}

/// `super` climbs to the crate from the file that is a room; two of them may from the files in its folder.
fn climbs_out(path: &str, code: &str) -> bool {
    let inside = path.trim_start_matches("src/");
    let is_room = !inside.contains('/') || (inside.ends_with("/mod.rs") && inside.matches('/').count() == 1);
    code.contains("super::super::") || (is_room && code.starts_with("use super::"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(path: &str, text: &str) -> Vec<String> {
        imports_go_down(&Source::new(path, text)).into_iter().map(|complaint| complaint.0).collect()
    }

    #[test]
    fn down_is_fine() {
        for (path, text) in [
            ("src/main.rs", "use ringhookd::cli;"),
            ("src/cli/status.rs", "use crate::daemon::A;\nuse crate::domain::B;"),
            ("src/daemon/mod.rs", "use crate::{config::Config, intake::{A, B}, store};"),
            ("src/daemon/mod.rs", "fn a() { crate::intake::b() }"),
            ("src/admin/mod.rs", "use crate::linking::A;\nuse crate::tokens::B;"),
            ("src/linking/mod.rs", "use crate::tokens::A;"),
            ("src/store/mod.rs", "use crate::vault::Vault;\nuse crate::store::log;"),
            ("src/store/redb/log.rs", "use super::codec;"),
            ("src/cli/demo.rs", "use crate::sim::Ring;"),
            ("src/sim/mod.rs", "use crate::{clock, domain::time};"),
            ("src/config/mod.rs", "use crate::domain::ids;"),
            ("src/lib.rs", "pub mod cli;"),
            (
                "src/domain/ids.rs",
                "// use crate::store\n#[cfg(test)]\nmod tests {\n    use crate::sim::Ring;\n}",
            ),
        ] {
            assert_eq!(refused(path, text), [""; 0], "{path}: {text}");
        }
    }

    #[test]
    fn up_and_sideways_are_refused() {
        for (path, text) in [
            ("src/domain/ids.rs", "use crate::clock;"),
            ("src/intake.rs", "use crate::delivery::A;"),
            ("src/intake.rs", "use crate::tokens::A;"),
            ("src/delivery/mod.rs", "use crate::linking::A;"),
            ("src/linking/mod.rs", "use crate::admin::A;"),
            ("src/tokens/mod.rs", "use crate::linking::A;"),
            ("src/store/mod.rs", "use crate::daemon;"),
            ("src/http/mod.rs", "fn a() { crate::store::b() }"),
            ("src/http/mod.rs", "use crate::config::Limits;"),
            ("src/logging.rs", "use crate::telemetry;"),
            ("src/vault.rs", "use crate::{\n    domain::a,\n    store::{b, c},\n};"),
            ("src/daemon/mod.rs", "use crate::sim::Ring;"),
            ("src/cli/status.rs", "use crate::sim::Ring;"),
            ("src/sim/mod.rs", "use crate::http;"),
            ("src/config/mod.rs", "use crate::clock;"),
            ("src/daemon/mod.rs", "use crate::cli;"),
            ("src/main.rs", "use ringhookd::daemon::run;"),
            ("src/intake.rs", "use crate::ring::A;"),
            ("src/ring.rs", ""),
            ("src/http/mod.rs", "use super::store;"),
            ("src/http/limits.rs", "use super::super::store;"),
        ] {
            assert_eq!(refused(path, text).len(), 1, "{path}: {text}: {:?}", refused(path, text));
        }
    }

    #[test]
    fn redb_is_named_on_its_floor_only() {
        let named = |path: &str, text: &str| one_floor_knows_redb(&Source::new(path, text)).len();
        let uses = "use redb::Database;\nfn a(db: &redb::Database) {}\n";
        assert_eq!(named("src/store/kv/db.rs", uses), 0);
        assert_eq!(named("src/store/txn/accept.rs", uses), 2);
        assert_eq!(named("src/store/mod.rs", "#[cfg(test)]\nmod tests {\n    use redb::Builder;\n}"), 1);
        assert_eq!(named("src/store/mod.rs", "// redb\nconst FILE: &str = \"store.redb\";"), 0);
    }

    #[test]
    fn says_where() {
        let text = "//! A.\n\nuse crate::domain;\nuse crate::delivery;\n";
        let expected = "src/intake.rs:4: `intake` imports `delivery`: neighbours do not import each other; `daemon` hands them what they need";
        assert_eq!(refused("src/intake.rs", text), [expected]);
    }
}
