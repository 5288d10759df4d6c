//! One file while it is read: its text by lines, what is wrong with it, and which keys were asked for.

use std::cell::RefCell;
use std::ops::Range;
use std::path::Path;

use super::problem::Problem;

/// A key of the configuration, for tests and documentation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// With its section, such as `queue.max_age`.
    pub path: String,
    /// What holds when the key is not written, as TOML; none when it must be written or nothing is the default.
    pub default: Option<String>,
}

/// One file while it is read.
pub(super) struct Doc<'t> {
    text: &'t str,
    /// Where relative paths start: the folder of the file.
    pub(super) folder: &'t Path,
    line_starts: Vec<usize>,
    pub(super) problems: RefCell<Vec<Problem>>,
    pub(super) keys: RefCell<Vec<Key>>,
    /// Lines that aren't TOML.
    broken: Vec<usize>,
}

impl<'t> Doc<'t> {
    pub(super) fn new(text: &'t str, folder: &'t Path, errors: &[toml::de::Error]) -> Self {
        let newlines = text.match_indices('\n').map(|(at, _)| at + 1);
        let mut doc = Self {
            text,
            folder,
            line_starts: std::iter::once(0).chain(newlines).collect(),
            problems: RefCell::default(),
            keys: RefCell::default(),
            broken: Vec::new(),
        };
        for error in errors {
            let line = doc.line(error.span().map_or(text.len(), |span| span.start));
            doc.broken.push(line);
            // The message only: the error's Display quotes the line, which may hold a key.
            let hint = format!("not TOML: {}", error.message());
            doc.problems.get_mut().push(Problem { line, key: String::new(), value: None, hint });
        }
        doc
    }

    /// Problems in the order of their lines, and the keys in the order in which they were asked for.
    pub(super) fn into_parts(self) -> (Vec<Problem>, Vec<Key>) {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| problem.line);
        (problems, self.keys.into_inner())
    }

    /// Notes a problem; on a line that isn't TOML it would only be a consequence of that.
    pub(super) fn note(&self, problem: Problem) {
        if !self.broken.contains(&problem.line) {
            self.problems.borrow_mut().push(problem);
        }
    }

    /// Whether the file was understood whole, so that it can be told what is missing or unknown,
    /// and keys can be held against each other.
    pub(super) fn is_whole(&self) -> bool {
        self.broken.is_empty()
    }

    pub(super) fn line(&self, at: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= at)
    }

    /// What stands at `span`, fit to be shown on a line.
    pub(super) fn quote(&self, span: Range<usize>) -> String {
        const MAX_SHOWN: usize = 60;
        let text = self.text.get(span).unwrap_or_default();
        let cut: String = text.chars().take(MAX_SHOWN).collect();
        let dots = if cut.len() < text.len() { "…" } else { "" };
        let escape = |c: char| if c.is_control() { c.escape_default().collect() } else { c.to_string() };
        cut.chars().map(escape).chain([dots.into()]).collect()
    }
}
