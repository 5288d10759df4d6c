//! Standard output: JSON a line, or short tables for people with foreign text escaped. A closed or failing one is an error.

use std::fmt::Arguments;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd;

use rustix::fs::{FileType, OFlags, fcntl_getfl, fstat, major, minor};
use serde_json::Value;

use super::failure::Failure;
use crate::domain::json_line::one_line;
use crate::logging::{lines, text};

/// Device number of `/dev/null`.
const NULL_DEVICE: (u32, u32) = (1, 3);
const CLOSED: &str = "it is closed. `> /dev/null` throws the output away (opened for writing alone: a null device \
                      open for reading and writing looks like a closed output)";

/// Standard output, in one of its two forms.
#[derive(Debug)]
pub(super) struct Output {
    to: BufWriter<File>,
    is_file: bool,
    pub(super) json: bool,
}

impl Output {
    /// Call this before a command does anything, because a closed output is an error.
    ///
    /// The standard library's own handle is not used, because that takes a write to a closed descriptor for a success.
    pub(super) fn open(json: bool) -> Result<Self, Failure> {
        Ok(Self::of(File::from(io::stdout().as_fd().try_clone_to_owned()?), json)?)
    }

    fn of(to: File, json: bool) -> io::Result<Self> {
        let status = fstat(&to)?;
        let kind = FileType::from_raw_mode(status.st_mode);
        let device = (major(status.st_rdev), minor(status.st_rdev));
        let is_null = kind == FileType::CharacterDevice && device == NULL_DEVICE;
        // Before `main`, the standard library opens the null device in place of a closed descriptor, for reading and writing.
        // Shells and systemd open it for writing alone.
        if is_null && fcntl_getfl(&to)?.contains(OFlags::RDWR) {
            return Err(io::Error::other(CLOSED));
        }
        Ok(Self { to: BufWriter::new(to), is_file: kind == FileType::RegularFile, json })
    }

    /// A line, as it is where it is JSON, else with foreign text in it escaped.
    pub(super) fn line(&mut self, line: &str) -> Result<(), Failure> {
        if self.json {
            return Ok(writeln!(self.to, "{line}")?);
        }
        Ok(writeln!(self.to, "{}", lines(line))?)
    }

    /// JSON without a line end of its own, as one line for every reader.
    pub(super) fn json_line(&mut self, json: String) -> Result<(), Failure> {
        Ok(writeln!(self.to, "{}", one_line(json))?)
    }

    /// Bytes as they are.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        Ok(self.to.write_all(bytes)?)
    }

    /// Hands everything so far to the reader.
    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        Ok(self.to.flush()?)
    }

    /// The same, and syncs a file: some filesystems report a full disk only then, and what follows may delete the daemon's copy.
    pub(super) fn keep(&mut self) -> Result<(), Failure> {
        self.flush()?;
        if self.is_file {
            self.to.get_ref().sync_data()?;
        }
        Ok(())
    }

    /// Shows text at once.
    pub(super) fn show(&mut self, text: Arguments<'_>) -> io::Result<()> {
        self.to.write_fmt(text)?;
        self.to.flush()
    }

    /// Each item as a line of JSON, or all of them as a table of these columns: title, and path in the item.
    pub(super) fn list(&mut self, items: &[Value], columns: &[(&str, &str)]) -> Result<(), Failure> {
        if self.json {
            return items.iter().try_for_each(|item| self.json_line(item.to_string()));
        }
        let titles = columns.iter().map(|(title, _)| (*title).to_owned()).collect();
        let row = |item: &Value| columns.iter().map(|(_, path)| cell(&at(item, path))).collect();
        let rows: Vec<Vec<String>> = std::iter::once(titles).chain(items.iter().map(row)).collect();
        aligned(&rows).iter().try_for_each(|line| self.line(line))
    }

    /// One item as JSON, or its fields one a line.
    pub(super) fn item(&mut self, item: &Value) -> Result<(), Failure> {
        if self.json {
            return self.json_line(item.to_string());
        }
        let mut rows = Vec::new();
        flatten("", item, &mut rows);
        aligned(&rows).iter().try_for_each(|line| self.line(line))
    }

    /// One JSON object, or the words that say the same.
    pub(super) fn done(&mut self, item: &Value, words: &str) -> Result<(), Failure> {
        if self.json { self.json_line(item.to_string()) } else { self.line(words) }
    }
}

/// The value at a path such as `store/state`.
fn at(item: &Value, path: &str) -> Value {
    path.split('/').fold(item, |value, key| &value[key]).clone()
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::Bool(yes) => if *yes { "yes" } else { "no" }.into(),
        Value::String(content) => text(content).to_string(),
        other => text(&other.to_string()).to_string(),
    }
}

/// The leaves of an item, named by their path in words.
fn flatten(name: &str, value: &Value, rows: &mut Vec<Vec<String>>) {
    let below = |key: &str| {
        if name.is_empty() { key.replace('_', " ") } else { format!("{name} {}", key.replace('_', " ")) }
    };
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, field)| flatten(&below(key), field, rows)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(n, item)| flatten(&below(&(n + 1).to_string()), item, rows));
        }
        leaf => rows.push(vec![text(name).to_string(), cell(leaf)]),
    }
}

/// Rows as lines whose columns begin below each other.
pub(super) fn aligned(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|c| c.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;

    use super::*;
    use serde_json::json;

    #[test]
    fn only_a_null_device_that_can_be_read_stands_for_a_closed_output() {
        let open = |path: &str, read| OpenOptions::new().read(read).write(true).open(path).unwrap();
        for (file, fine) in [
            (open("/dev/null", true), false),
            (open("/dev/null", false), true),
            (open("/dev/full", true), true),
            (tempfile::tempfile().unwrap(), true),
            (File::open("/dev/null").unwrap(), true),
        ] {
            assert_eq!(Output::of(file, false).is_ok(), fine);
        }
    }

    #[test]
    fn a_full_disk_and_a_descriptor_for_reading_fail() {
        for file in [OpenOptions::new().write(true).open("/dev/full"), File::open("/dev/null")] {
            let mut out = Output::of(file.unwrap(), false).unwrap();
            out.line("lost").unwrap();
            assert!(out.keep().is_err());
        }
    }

    #[test]
    fn tables_are_aligned_and_escaped() {
        let rows = [json!("n\u{1b}[2J"), json!(null), json!(12)].map(|v| vec![cell(&v), "x".into()]);
        assert_eq!(aligned(&rows), ["n\\u{1b}[2J  x", "-           x", "12          x"]);
    }

    #[test]
    fn an_item_shows_each_leaf_by_its_name() {
        let mut rows = Vec::new();
        flatten("", &json!({"a_b": {"c": true}, "d": [1, null]}), &mut rows);
        assert_eq!(aligned(&rows), ["a b c  yes", "d 1    1", "d 2    -"]);
    }
}
