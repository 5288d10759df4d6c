//! What a call came to, with words for people.

use crate::domain::heard::Heard;

/// What a call came to.
#[derive(Debug)]
pub struct Said<T> {
    pub heard: Heard<T>,
    /// Ring's own words, shortened, or ours where there are none; nothing where Ring has done it.
    pub why: String,
}

impl<T> Said<T> {
    pub(crate) fn new(heard: Heard<T>, why: impl Into<String>) -> Self {
        Self { heard, why: why.into() }
    }
}
