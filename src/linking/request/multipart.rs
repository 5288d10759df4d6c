//! The parts of a `multipart/form-data` body that lies in memory (RFC 7578, RFC 2046 §5.1.1).
//!
//! By hand on hyper's own header parser: multer is asynchronous, copies the body twice, brings ten crates, and had its last
//! release in 2024.

use httparse::{EMPTY_HEADER, Status};

use super::shape::MediaType;

/// Longest boundary by RFC 2046.
const MAX_BOUNDARY: usize = 70;
/// Clients send three headers a part at most.
const MAX_HEADERS: usize = 16;

pub(super) struct Part<'a> {
    pub(super) name: String,
    pub(super) content: &'a [u8],
}

/// What separates the parts of a body.
pub(super) enum Boundary {
    Found(Vec<u8>),
    /// It should be multipart, and begins like it, but nobody knows the boundary.
    Lost,
    /// It is something else, whatever it is called.
    None,
}

impl Boundary {
    /// As the content type says, or else as the first line of the body: clients that set the type by hand forget it.
    pub(super) fn of(content_type: Option<&str>, body: &[u8]) -> Self {
        let is_multipart = MediaType::of(content_type) == MediaType::MULTIPART;
        let named = content_type.filter(|_| is_multipart).and_then(|value| parameter(value, "boundary"));
        let named = named.map(String::into_bytes).filter(|boundary| separates(boundary, body));
        match named.or_else(|| first_line(body).map(<[u8]>::to_vec)) {
            Some(boundary) => Self::Found(boundary),
            None if is_multipart && body.starts_with(b"--") => Self::Lost,
            None => Self::None,
        }
    }
}

/// The named parts in order; `None` unless the last one is closed.
pub(super) fn parts<'a>(body: &'a [u8], boundary: &[u8]) -> Option<Vec<Part<'a>>> {
    let delimiter = [b"\r\n--", boundary].concat();
    let mut rest = match body.strip_prefix(&delimiter[2..]) {
        Some(rest) => rest,
        None => split(body, &delimiter)?.1,
    };
    let mut parts = Vec::new();
    while !rest.starts_with(b"--") {
        let padding = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        let part = rest[padding..].strip_prefix(b"\r\n")?;
        let (part, after) = split(part, &delimiter)?;
        parts.push(headed(part)?);
        rest = after;
    }
    parts.retain(|part| !part.name.is_empty());
    Some(parts)
}

fn separates(boundary: &[u8], body: &[u8]) -> bool {
    let delimiter = [b"\r\n--", boundary].concat();
    !boundary.is_empty() && (body.starts_with(&delimiter[2..]) || split(body, &delimiter).is_some())
}

fn first_line(body: &[u8]) -> Option<&[u8]> {
    let (line, _) = split(body.strip_prefix(b"--")?, b"\r\n")?;
    let line = line.trim_ascii_end();
    let fits =
        (1..=MAX_BOUNDARY).contains(&line.len()) && line.iter().all(|byte| matches!(byte, b' '..=b'~'));
    fits.then_some(line)
}

/// What comes before the first `separator`, and after it.
fn split<'a>(bytes: &'a [u8], separator: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = bytes.windows(separator.len()).position(|window| window == separator)?;
    Some((&bytes[..at], &bytes[at + separator.len()..]))
}

/// `None` when the headers can't be read. A part that has no name has an empty one.
fn headed(part: &[u8]) -> Option<Part<'_>> {
    let mut headers = [EMPTY_HEADER; MAX_HEADERS];
    let Ok(Status::Complete((end, headers))) = httparse::parse_headers(part, &mut headers) else {
        return None;
    };
    let disposition = headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-disposition"));
    let value = disposition.and_then(|header| std::str::from_utf8(header.value).ok());
    let name = value.and_then(|value| parameter(value, "name")).unwrap_or_default();
    Some(Part { name, content: &part[end..] })
}

/// The parameter `wanted` behind the first semicolon of a header's value.
fn parameter(value: &str, wanted: &str) -> Option<String> {
    let mut rest = value.split_once(';')?.1;
    loop {
        let (name, after) = rest.split_once('=')?;
        // A parameter without a value may stand before it.
        let name = name.rsplit(';').next().unwrap_or(name).trim();
        let (value, after) = match after.trim_start().strip_prefix('"') {
            Some(quoted) => quoted.split_at(closing_quote(quoted)?),
            None => after.split_at(after.find(';').unwrap_or(after.len())),
        };
        if name.eq_ignore_ascii_case(wanted) {
            return Some(unescaped(value.trim()));
        }
        rest = after.split_once(';')?.1;
    }
}

fn unescaped(quoted: &str) -> String {
    let mut escaped = false;
    let kept = |c: &char| {
        escaped = *c == '\\' && !escaped;
        !escaped
    };
    quoted.chars().filter(kept).collect()
}

fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let closes = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        closes
    })
}
