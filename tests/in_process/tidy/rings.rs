//! No two files of a room import each other, neither directly nor around a ring.
//!
//! A module and what it declares count like any two files: what children need of each other has a file of its own.

use std::collections::{BTreeMap, BTreeSet};

use super::source::Source;

/// Rooms that have a ring still. One that has none any more must leave the list.
const NOT_YET: &[&str] = &["domain"];

type Module = Vec<String>;

/// Rings of files, each as one line; and rooms that are excused without need.
pub(crate) fn rings(src: &[Source]) -> Vec<String> {
    let excused = |ring: &[String]| NOT_YET.iter().find(|room| ring[0].split('/').next() == Some(room));
    let found = rings_of(src);
    let mut complaints: Vec<String> = found
        .iter()
        .filter(|ring| excused(ring).is_none())
        .map(|ring| format!("a ring: {}", ring.join(" ")))
        .collect();
    let needed: BTreeSet<_> = found.iter().filter_map(|ring| excused(ring)).collect();
    let idle = NOT_YET.iter().filter(|room| !needed.contains(room));
    complaints.extend(idle.map(|room| format!("`{room}` has no ring any more: take it out of NOT_YET")));
    complaints
}

fn rings_of(src: &[Source]) -> Vec<Vec<String>> {
    let files: BTreeMap<Module, &Source> =
        src.iter().filter_map(|file| Some((module(&file.path)?, file))).collect();
    let uses: BTreeMap<&Module, Vec<Use>> =
        files.iter().map(|(at, file)| (at, uses(at, file, &files))).collect();
    let mut edges: BTreeMap<&Module, BTreeSet<&Module>> = BTreeMap::new();
    for (from, list) in &uses {
        for import in list.iter().filter(|import| !import.public) {
            let Some(to) = home(&import.path, &files, &uses, 0) else { continue };
            if to != *from && to.first() == from.first() {
                edges.entry(from).or_default().insert(to);
            }
        }
    }
    let reach: BTreeMap<&Module, BTreeSet<&Module>> =
        edges.keys().map(|&from| (from, reached(from, &edges))).collect();
    let mut rings: BTreeSet<Vec<String>> = BTreeSet::new();
    for (from, to) in &reach {
        let ring: Vec<String> = reach
            .iter()
            .filter(|(other, back)| to.contains(*other) && back.contains(from))
            .map(|(other, _)| other.join("/"))
            .collect();
        if ring.len() > 1 {
            rings.insert(ring);
        }
    }
    rings.into_iter().collect()
}

/// `src/store/wal.rs` is the module `store::wal`, `src/store/mod.rs` is `store`.
fn module(path: &str) -> Option<Module> {
    let inside = path.strip_prefix("src/")?.strip_suffix(".rs")?;
    let mut parts: Module = inside.split('/').map(str::to_owned).collect();
    parts.pop_if(|last| last == "mod");
    let counts = !matches!(parts[0].as_str(), "lib" | "main") && !parts.iter().any(|part| part == "tests");
    counts.then_some(parts)
}

struct Use {
    /// Whether it only hands the name on.
    public: bool,
    path: Module,
}

/// Every path below `crate`, `self` or `super` that a file names.
fn uses(at: &Module, file: &Source, files: &BTreeMap<Module, &Source>) -> Vec<Use> {
    let text: String = file.production().flat_map(|(_, line)| [line.code.as_str(), "\n"]).collect();
    let mut found = Vec::new();
    let mut rest = String::new();
    let mut pieces = text.split_inclusive(';');
    for statement in &mut pieces {
        let Some(start) = statement.rfind("use ").filter(|&start| !ends_in_word(&statement[..start])) else {
            rest.push_str(statement);
            continue;
        };
        rest.push_str(&statement[..start]);
        let before = statement[..start].trim_end();
        let public = before.ends_with("pub") || (before.ends_with(')') && before.contains("pub("));
        for path in expand(&[], statement[start + 4..].trim_end_matches(';')) {
            found.extend(absolute(at, &path, files).map(|path| Use { public, path }));
        }
    }
    for (start, word) in ["crate::", "super::", "self::"].iter().flat_map(|word| rest.match_indices(word)) {
        let path: String =
            rest[start..].chars().take_while(|c| c.is_alphanumeric() || matches!(c, '_' | ':')).collect();
        if ends_in_word(&rest[..start]) || rest[..start].ends_with(':') {
            continue;
        }
        debug_assert!(path.starts_with(word));
        let path: Module = path.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect();
        found.extend(absolute(at, &path, files).map(|path| Use { public: false, path }));
    }
    found
}

fn ends_in_word(text: &str) -> bool {
    text.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$')
}

/// The paths of a `use`, with its groups taken apart.
fn expand(prefix: &[String], tree: &str) -> Vec<Module> {
    let tree = tree.trim();
    let Some(open) = tree.find('{') else {
        let plain = tree.split(" as ").next().unwrap_or(tree);
        let parts = plain.split("::").map(|part| part.trim().to_owned()).filter(|part| !part.is_empty());
        return vec![prefix.iter().cloned().chain(parts).collect()];
    };
    let mut prefix = prefix.to_vec();
    prefix
        .extend(tree[..open].split("::").map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()));
    let (mut depth, mut from, mut paths) = (0_usize, open + 1, Vec::new());
    for (at, c) in tree.char_indices().skip(open + 1) {
        let ends = depth == 0 && matches!(c, ',' | '}');
        if ends && !tree[from..at].trim().is_empty() {
            paths.extend(expand(&prefix, &tree[from..at]));
        }
        match c {
            _ if ends => from = at + 1,
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
    }
    paths
}

/// The path from the crate's root; nothing for one into another crate.
fn absolute(at: &Module, path: &Module, files: &BTreeMap<Module, &Source>) -> Option<Module> {
    let mut base = at.clone();
    let mut rest = path.as_slice();
    match rest.first()?.as_str() {
        "crate" => (base, rest) = (Vec::new(), &rest[1..]),
        "self" => rest = &rest[1..],
        "super" => {
            while rest.first().is_some_and(|part| part == "super") {
                base.pop();
                rest = &rest[1..];
            }
        }
        child => drop(files.get(&[at.as_slice(), &[child.to_owned()]].concat())?),
    }
    base.extend_from_slice(rest);
    Some(base)
}

/// The file that a path's name is written in, behind what hands it on.
fn home<'f>(
    path: &Module,
    files: &'f BTreeMap<Module, &Source>,
    uses: &BTreeMap<&Module, Vec<Use>>,
    depth: usize,
) -> Option<&'f Module> {
    let (length, file) =
        (1..=path.len()).rev().find_map(|n| Some((n, files.get_key_value(&path[..n])?.0)))?;
    let handed_on = path.get(length).and_then(|name| {
        let public = uses[file].iter().filter(|import| import.public && import.path.last() == Some(name));
        public.map(|import| &import.path).find(|to| *to != path)
    });
    match handed_on {
        Some(to) if depth < 5 => home(to, files, uses, depth + 1),
        _ => Some(file),
    }
}

fn reached<'m>(from: &'m Module, edges: &BTreeMap<&'m Module, BTreeSet<&'m Module>>) -> BTreeSet<&'m Module> {
    let mut seen = BTreeSet::new();
    let mut next = vec![from];
    while let Some(at) = next.pop() {
        next.extend(edges.get(at).into_iter().flatten().copied().filter(|&to| seen.insert(to)));
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rings_in(files: &[(&str, &str)]) -> Vec<Vec<String>> {
        rings_of(&files.iter().map(|(path, text)| Source::new(path, text)).collect::<Vec<_>>())
    }

    #[test]
    fn a_ring_is_found_however_it_is_written() {
        for (a, b) in [
            ("use super::b::B;", "use super::a::A;"),
            ("use super::{b::{B, C}, d};", "fn f() { super::a::g() }"),
            ("use crate::room::b::B;", "use crate::room::A;"),
            ("use super::c::C;", "use super::a::A;"),
        ] {
            let files = [
                ("src/room/mod.rs", "mod a;\nmod b;\nmod c;\npub(crate) use self::a::A;"),
                ("src/room/a.rs", a),
                ("src/room/b.rs", b),
                ("src/room/c.rs", "use super::b::B;"),
            ];
            let rings = rings_in(&files);
            assert_eq!(rings.len(), 1, "{a} {b}: {rings:?}");
            assert!(rings[0].contains(&"room/a".to_owned()) && rings[0].contains(&"room/b".to_owned()));
        }
    }

    #[test]
    fn down_is_no_ring() {
        let files = [
            ("src/room/mod.rs", "mod a;\nmod b;\npub use self::a::A;\nuse self::b::B;"),
            ("src/room/a.rs", "use super::b::B;\nuse crate::other::O;\n// use super::a"),
            ("src/room/b.rs", "use std::fmt;\n#[cfg(test)]\nmod tests {\n    use crate::room::a::A;\n}"),
            ("src/other.rs", "use crate::room::A;"),
        ];
        assert_eq!(rings_in(&files), [[""; 0]; 0]);
    }
}
