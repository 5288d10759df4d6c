//! The sheet as Markdown: for a terminal, and to be pasted into a questionnaire.

use super::{Deletion, Destination, Element, Reader, Sheet};

pub(super) fn lines(sheet: &Sheet) -> Vec<String> {
    let Sheet { made_at, version, store, environment, kept, readers, leaves, deletion } = sheet;
    let mut lines = vec![
        "# What is kept of a user".to_owned(),
        String::new(),
        format!(
            "Made at {} by ringhookd {version}, of store `{store}` ({environment}), from the configuration that it runs with.",
            made_at.rfc3339()
        ),
        String::new(),
        "## What, why and how long".to_owned(),
    ];
    for part in kept {
        element(part, &mut lines);
    }
    section("## Who can read it", &mut lines);
    lines.extend([
        "Whoever has both the store's folder and the master key can read everything. Otherwise it is read through these, with the rights that they had when the daemon started:".to_owned(),
        String::new(),
    ]);
    for part in readers {
        reader(part, &mut lines);
    }
    section("## What leaves the machine", &mut lines);
    for part in leaves {
        destination(part, &mut lines);
    }
    lines.push("- Nothing else: there is no telemetry.".to_owned());
    section("## How it is deleted", &mut lines);
    for part in deletion {
        way(part, &mut lines);
    }
    lines
}

fn section(title: &str, lines: &mut Vec<String>) {
    lines.extend([String::new(), title.to_owned(), String::new()]);
}

fn element(part: &Element, lines: &mut Vec<String>) {
    let Element { name, holds, tables, purpose, protection, retention, deleted, remains } = part;
    lines.extend([String::new(), format!("### {name}"), String::new()]);
    lines.push(format!("- Holds: {holds}."));
    if !tables.is_empty() {
        lines.push(format!("- Lies in: {}.", tables.join(", ")));
    }
    lines.push(format!("- Why: {purpose}."));
    lines.push(format!("- Protected: {protection}."));
    match &retention[..] {
        [one] => lines.push(format!("- Kept: {one}.")),
        several => {
            lines.push("- Kept:".to_owned());
            lines.extend(several.iter().map(|statement| format!("  - {statement}.")));
        }
    }
    lines.push(format!("- Deleted: {deleted}."));
    lines.push(format!("- Stays after that: {}.", remains.as_deref().unwrap_or("nothing")));
}

fn reader(part: &Reader, lines: &mut Vec<String>) {
    let Reader { place, open_to, rights, sees } = part;
    lines.push(format!("- `{place}`, open to {open_to}"));
    lines.push(format!("  - Rights: {}", rights.join(", ")));
    lines.push(format!("  - Sees: {sees}"));
}

fn destination(part: &Destination, lines: &mut Vec<String>) {
    let Destination { to, what, transport, copy } = part;
    lines.push(format!("- To {to}"));
    lines.push(format!("  - What: {what}"));
    lines.push(format!("  - How: {transport}"));
    lines.push(format!("  - The copy there: {copy}"));
}

fn way(part: &Deletion, lines: &mut Vec<String>) {
    let Deletion { by, deletes, leaves } = part;
    lines.push(format!("- {by}"));
    lines.push(format!("  - Deletes: {deletes}"));
    lines.push(format!("  - Leaves: {leaves}"));
}
