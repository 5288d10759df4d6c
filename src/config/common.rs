//! What several sections read alike: paths, addresses of URLs, lists of ids, and the bounds of ages and sizes.

use std::collections::HashSet;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use super::raw::{Echo, Section};
use super::value::{Wrong, days};
use crate::domain::routing::Selection;

pub(super) const AGES: RangeInclusive<Duration> = Duration::from_secs(1)..=days(365);
pub(super) const SIZES: RangeInclusive<u64> = 1 << 20..=16 << 40;

/// Whether `path` is `folder` or lies in it, by their names. Both are absolute.
pub(super) fn lies_in(path: &Path, folder: &Path) -> bool {
    path.starts_with(folder)
}

/// What goes into a form and a header as it is.
pub(super) fn word(text: &str) -> Result<String, Wrong> {
    let fits = (1..=1024).contains(&text.len()) && text.chars().all(|c| !c.is_control());
    if fits { Ok(text.into()) } else { Err(Wrong::Form("a text of 1 to 1024 bytes")) }
}

pub(super) fn url_path(text: &str) -> Result<String, Wrong> {
    let fits = text.starts_with('/')
        && text.len() <= 255
        && text.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '?' | '#'));
    if fits { Ok(text.into()) } else { Err(Wrong::Form("a URL path of at most 255 plain characters")) }
}

/// The ids listed under `key`; an empty list, or one with `*`, is all of them.
pub(super) fn selection<E: Display>(
    s: &mut Section<'_>,
    key: &'static str,
    default: &'static [&'static str],
    check: impl Fn(&str) -> Result<(), E>,
) -> Selection {
    let id = |text: &str| match check(text) {
        Ok(()) => Ok(Box::from(text)),
        Err(error) => Err(Wrong::Value(format!("can't be an id: it {error}"))),
    };
    let ids = s.list(key, default, Echo::Shown, id).into_iter().map(|id| id.value);
    let ids: HashSet<Box<str>> = ids.collect();
    if ids.is_empty() || ids.contains("*") { Selection::All } else { Selection::Only(ids) }
}
