//! The name of a table of PostgreSQL, perhaps with its schema.

use std::fmt;

use thiserror::Error;

/// Bytes of a name; PostgreSQL cuts longer ones off.
const MAX_NAME: usize = 63;

/// Why a text can't be a table's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "is no name of a table: write table or schema.table, each of at most 63 letters, digits and _, and no digit first"
)]
pub struct TableError;

/// A table's name, which is shown quoted, so it is taken as it is written, letter by letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    schema: Option<String>,
    name: String,
}

impl Table {
    /// # Errors
    /// [`TableError`], in words for the operator.
    pub fn parse(text: &str) -> Result<Self, TableError> {
        let (schema, name) = match text.split_once('.') {
            Some((schema, name)) => (Some(schema), name),
            None => (None, text),
        };
        if schema.into_iter().chain([name]).all(is_name) {
            Ok(Self { schema: schema.map(str::to_owned), name: name.to_owned() })
        } else {
            Err(TableError)
        }
    }
}

impl Table {
    /// The schema that is named with it.
    pub fn schema(&self) -> Option<&str> {
        self.schema.as_deref()
    }
}

fn is_name(text: &str) -> bool {
    (1..=MAX_NAME).contains(&text.len())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !text.starts_with(|c: char| c.is_ascii_digit())
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(schema) = &self.schema {
            write!(f, "\"{schema}\".")?;
        }
        write!(f, "\"{}\"", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_and_nothing_else_is_one() {
        let shown = |text| Table::parse(text).map(|table| table.to_string());
        assert_eq!(shown("ringhookd_events"), Ok("\"ringhookd_events\"".to_owned()));
        assert_eq!(shown("Home.select"), Ok("\"Home\".\"select\"".to_owned()));
        for text in ["", ".", "a.", ".a", "a.b.c", "1a", "a-b", "a\"b", "a b", "é", &"a".repeat(64)] {
            assert_eq!(shown(text), Err(TableError), "{text}");
        }
    }
}
