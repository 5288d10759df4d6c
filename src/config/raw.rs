//! The file as written: a cursor over its tables. It learns the keys from being asked for them, so
//! that each stands in one place of the code.

use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::doc::{Doc, Key};
use super::problem::Problem;
use super::secrets::{NamedFile, SecretSource};
use super::value::{Raw, Wrong, because, text};
use crate::access;

/// Whether the keys asked for belong to this kind of section.
#[derive(Clone, Copy)]
enum Scope {
    Here,
    /// They belong to sections where this holds.
    Elsewhere(&'static str),
    /// The kind isn't known, so nothing can be demanded.
    Unknown,
}

/// What may be echoed of a value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Echo {
    Shown,
    /// It may be a secret, or one put in the wrong place.
    Hidden,
}

/// A value together with where it was written.
pub(super) struct At<T> {
    pub(super) line: usize,
    /// Such as `hmac_key_files[1]`.
    pub(super) key: String,
    pub(super) value: T,
}

/// A table of the file. Ask for each key once, then [`Section::finish`] reports the others.
pub(super) struct Section<'a> {
    doc: &'a Doc<'a>,
    table: Option<&'a DeTable<'a>>,
    path: String,
    line: usize,
    asked: Vec<&'static str>,
    scope: Scope,
}

impl<'a> Section<'a> {
    /// The cursor over the whole file.
    pub(super) fn root(doc: &'a Doc<'a>, table: &'a DeTable<'a>) -> Self {
        let (path, asked) = (String::new(), Vec::new());
        Section { doc, table: Some(table), path, line: 1, asked, scope: Scope::Here }
    }

    /// Reads a path of the file system; a relative one starts at the folder of the configuration.
    pub(super) fn path(&self) -> impl Fn(Raw<'_>) -> Result<PathBuf, Wrong> + use<'a> {
        let folder = self.doc.folder;
        text(move |text| match text {
            "" => Err(Wrong::Form("a path")),
            text if text.contains('\0') => Err(Wrong::Form("a path")),
            text => Ok(access::absolute_in(folder, Path::new(text))),
        })
    }

    /// Reads where a secret lies, in the same way.
    pub(super) fn source(&self) -> impl Fn(&str) -> Result<SecretSource, Wrong> + use<'a> {
        let folder = self.doc.folder;
        move |text| Ok(SecretSource::parse(text).map_err(because)?.within(folder))
    }

    /// The key's value, or `default` when it isn't written.
    pub(super) fn get<T>(
        &mut self,
        key: &'static str,
        default: impl Into<Raw<'static>>,
        read: impl Fn(Raw<'_>) -> Result<T, Wrong>,
    ) -> T {
        let default = default.into();
        let written = self.ask(key, Echo::Shown, Some(default.to_string()));
        let value = written.and_then(|value| self.read(key, value, default, Echo::Shown, &read));
        // Constants, each of which the test `every_default_is_valid` reads through here.
        value.unwrap_or_else(|| read(default).expect("a default is valid"))
    }

    /// The key's value; that it is missing is a problem.
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        example: &'static str,
        read: impl Fn(Raw<'_>) -> Result<T, Wrong>,
    ) -> Option<T> {
        self.demanded(key, example, Echo::Shown, read)
    }

    /// The same, where the value may be a secret.
    pub(super) fn required_hidden<T>(
        &mut self,
        key: &'static str,
        example: &'static str,
        read: impl Fn(Raw<'_>) -> Result<T, Wrong>,
    ) -> Option<T> {
        self.demanded(key, example, Echo::Hidden, read)
    }

    fn demanded<T>(
        &mut self,
        key: &'static str,
        example: &'static str,
        echo: Echo,
        read: impl Fn(Raw<'_>) -> Result<T, Wrong>,
    ) -> Option<T> {
        let written = self.ask(key, echo, None);
        if written.is_none() && matches!(self.scope, Scope::Here) {
            self.missing(key, &format!("is missing; write one such as {key} = {example:?}"));
        }
        self.read(key, written?, example.into(), echo, &read)
    }

    /// The key's value, if it is written.
    pub(super) fn optional<T>(
        &mut self,
        key: &'static str,
        example: impl Into<Raw<'static>>,
        echo: Echo,
        read: impl Fn(Raw<'_>) -> Result<T, Wrong>,
    ) -> Option<T> {
        let written = self.ask(key, echo, None)?;
        self.read(key, written, example.into(), echo, &read)
    }

    /// The texts of a list, or `default` when it isn't written; what is wrong is said of each item.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        default: &'static [&'static str],
        echo: Echo,
        read: impl Fn(&str) -> Result<T, Wrong>,
    ) -> Vec<At<T>> {
        let Some(value) = self.ask(key, echo, Some(format!("{default:?}"))) else {
            let items = default.iter().filter_map(|text| read(text).ok());
            return items.map(|value| At { line: self.line, key: self.path_of(key), value }).collect();
        };
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong(key, value.span(), echo, "not a list; write it in brackets: [\"…\"]".into());
            return Vec::new();
        };
        let mut good = Vec::new();
        for (n, item) in items.iter().enumerate() {
            let key = format!("{key}[{n}]");
            let result = match item.get_ref() {
                DeValue::String(text) => read(text),
                _ => Err(Wrong::Value("must be a text in quotes".into())),
            };
            match result {
                Ok(value) => {
                    let line = self.doc.line(item.span().start);
                    good.push(At { line, key: self.path_of(&key), value });
                }
                Err(Wrong::Value(hint)) => self.wrong(&key, item.span(), echo, hint),
                Err(Wrong::Form(form)) => {
                    self.wrong(&key, item.span(), echo, format!("not {form}"));
                }
            }
        }
        good
    }

    /// The table `key`, empty when it isn't written.
    pub(super) fn section(&mut self, key: &'static str) -> Section<'a> {
        self.asked.push(key);
        let written = self.table.and_then(|table| table.get(key));
        let table = written.and_then(|value| value.get_ref().as_table());
        if let (Some(value), None) = (written, table) {
            self.wrong(key, value.span(), Echo::Hidden, format!("is a table; write [{key}]"));
        }
        let line = written.map_or(self.line, |value| self.doc.line(value.span().start));
        self.child(key, table, line)
    }

    /// The tables `[[key]]`, in order.
    pub(super) fn each(&mut self, key: &'static str) -> Vec<Section<'a>> {
        self.asked.push(key);
        let Some(value) = self.table.and_then(|table| table.get(key)) else { return Vec::new() };
        let hint = format!("is a list of tables; write [[{key}]]");
        let Some(items) = value.get_ref().as_array() else {
            self.wrong(key, value.span(), Echo::Hidden, hint);
            return Vec::new();
        };
        let mut sections = Vec::new();
        for (n, item) in items.iter().enumerate() {
            match item.get_ref().as_table() {
                Some(table) => {
                    let line = self.doc.line(item.span().start);
                    sections.push(self.child(&format!("{key}[{n}]"), Some(table), line));
                }
                None => self.wrong(&format!("{key}[{n}]"), item.span(), Echo::Hidden, hint.clone()),
            }
        }
        sections
    }

    /// The keys asked for from here on belong only where `condition` holds: whether it does here,
    /// or `None` when that can't be told.
    pub(super) fn only_where(&mut self, holds: Option<bool>, condition: &'static str) {
        self.scope = match holds {
            Some(true) => Scope::Here,
            Some(false) => Scope::Elsewhere(condition),
            None => Scope::Unknown,
        };
    }

    /// The line of `key`, or of the section where it isn't written.
    pub(super) fn line_of(&self, key: &str) -> usize {
        self.line_if_written(key).unwrap_or(self.line)
    }

    pub(super) fn line_if_written(&self, key: &str) -> Option<usize> {
        let written = self.table.and_then(|table| table.get(key));
        written.map(|value| self.doc.line(value.span().start))
    }

    /// A file of a secret that was read from `key`, or that stands in for it.
    pub(super) fn named(&self, key: &str, source: SecretSource) -> NamedFile {
        NamedFile { line: self.line_of(key), key: self.path_of(key), source }
    }

    /// Notes what can't be right about `key` in the light of other keys, unless its value was a problem already.
    pub(super) fn refuse(&self, key: &str, hint: String) {
        if !self.doc.is_whole() || !self.sound(&[key]) {
            return;
        }
        match self.table.and_then(|table| table.get(key)) {
            Some(value) => self.wrong(key, value.span(), Echo::Shown, hint),
            None => self.missing(key, &hint),
        }
    }

    /// Refuses a list that was written without any item.
    pub(super) fn refuse_empty(&self, key: &str, hint: &str) {
        let list = self.table.and_then(|table| table.get(key)?.get_ref().as_array());
        if list.is_some_and(|items| items.is_empty()) {
            self.refuse(key, hint.into());
        }
    }

    /// Refuses what was read before from `key` at `line`, without showing it.
    pub(super) fn refuse_at(&self, line: usize, key: String, hint: String) {
        self.doc.note(Problem { line, key, value: None, hint });
    }

    /// Refuses what was read from `key`, without showing it.
    pub(super) fn refuse_hidden(&self, key: &str, hint: String) {
        if self.sound(&[key]) {
            self.refuse_at(self.line_of(key), self.path_of(key), hint);
        }
    }

    /// Refuses the section as a whole.
    pub(super) fn refuse_all(&self, hint: String) {
        self.doc.note(Problem { line: self.line, key: self.path.clone(), value: None, hint });
    }

    /// Notes that `key` has to be written.
    pub(super) fn missing(&self, key: &str, hint: &str) {
        if self.doc.is_whole() {
            let key = self.path_of(key);
            self.doc.note(Problem { line: self.line, key, value: None, hint: hint.into() });
        }
    }

    /// Whether these keys, and the items of these lists, have been read without a problem, so that
    /// they can be compared with others.
    pub(super) fn sound(&self, keys: &[&str]) -> bool {
        let problems = self.doc.problems.borrow();
        let of_key = |rest: &str| rest.is_empty() || rest.starts_with('[');
        let bad =
            |path: String| problems.iter().any(|problem| problem.key.strip_prefix(&path).is_some_and(of_key));
        !keys.iter().any(|key| bad(self.path_of(key)))
    }

    /// Reports the keys that were written and never asked for.
    pub(super) fn finish(self) {
        let written = self.table.filter(|_| self.doc.is_whole()).into_iter().flat_map(DeTable::keys);
        for key in written.filter(|key| !self.asked.contains(&&**key.get_ref())) {
            let near = nearest(key.get_ref(), &self.asked);
            let hint = match near {
                Some(near) => format!("unknown key; did you mean {near}?"),
                None => format!("unknown key; known here: {}", self.asked.join(", ")),
            };
            let line = self.doc.line(key.span().start);
            // Never with its value: a misspelt key may hold a secret.
            let shown = self.doc.quote(key.span());
            self.doc.note(Problem { line, key: self.path_of(&shown), value: None, hint });
        }
    }

    fn child(&self, key: &str, table: Option<&'a DeTable<'a>>, line: usize) -> Section<'a> {
        let path = self.path_of(key);
        Section { doc: self.doc, table, path, line, asked: Vec::new(), scope: self.scope }
    }

    fn ask(
        &mut self,
        key: &'static str,
        echo: Echo,
        default: Option<String>,
    ) -> Option<&'a Spanned<DeValue<'a>>> {
        self.asked.push(key);
        // `queue[0].body[1]` is `queue.body` for every number.
        let outside = self.path.split('[').map(|part| part.split_once(']').map_or(part, |(_, rest)| rest));
        let section: String = outside.collect();
        let path = if section.is_empty() { key.into() } else { format!("{section}.{key}") };
        self.doc.keys.borrow_mut().push(Key { path, default });

        let value = self.table?.get(key)?;
        if let Scope::Elsewhere(condition) = self.scope {
            self.wrong(key, value.span(), echo, format!("only for {condition}"));
            return None;
        }
        Some(value)
    }

    fn read<T>(
        &self,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        example: Raw<'_>,
        echo: Echo,
        read: impl Fn(Raw<'_>) -> Result<T, Wrong>,
    ) -> Option<T> {
        let hint = match read(value.get_ref().into()) {
            Ok(value) => return Some(value),
            Err(Wrong::Value(hint)) => hint,
            Err(Wrong::Form(form)) => format!("not {form}; write one such as {example}"),
        };
        self.wrong(key, value.span(), echo, hint);
        None
    }

    fn wrong(&self, key: &str, span: Range<usize>, echo: Echo, hint: String) {
        // Where TOML was broken, the parser puts values that stand nowhere in the file.
        if self.doc.is_whole() || !span.is_empty() {
            let line = self.doc.line(span.start);
            // Nor shown there: a quote that was left open makes one value of all that follows.
            let shown = echo == Echo::Shown && self.doc.is_whole();
            let value = shown.then(|| self.doc.quote(span));
            self.doc.note(Problem { line, key: self.path_of(key), value, hint });
        }
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.into() } else { format!("{}.{key}", self.path) }
    }
}

/// The known key that was probably meant.
fn nearest<'k>(written: &str, known: &[&'k str]) -> Option<&'k str> {
    let distances = known.iter().map(|key| (strsim::damerau_levenshtein(written, key), *key));
    let near = distances.filter(|(distance, key)| *distance <= (key.len() / 3).max(1));
    near.min().map(|(_, key)| key)
}
