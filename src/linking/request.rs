//! Reads what Ring's backend hands over at the Token Exchange URL: a code, in whatever form it comes.
//!
//! Neither method, content type nor names are specified; the names read here are those that working integrations accept.
//! So the content type is a hint, and the query is looked at as well. What cannot be read leaves its shape for the log,
//! never a value. Whoever calls caps the body's size.

mod json;
mod multipart;
mod shape;
#[cfg(test)]
mod tests;

use thiserror::Error;

use crate::domain::secret::Secret;
use multipart::Boundary;
pub use shape::Shape;
use shape::{Body, MediaType, Place};

/// Longest code that is taken, in bytes.
pub const MAX_CODE_BYTES: usize = 2048;

const CODE: [&str; 3] = ["code", "authorization_code", "authorizationCode"];
const VERIFIER: [&str; 2] = ["code_verifier", "codeVerifier"];
const CLIENT_ID: [&str; 2] = ["client_id", "clientId"];

/// A code to be exchanged, and what came with it.
#[derive(Debug)]
pub struct CodeRequest {
    pub code: Secret<String>,
    /// Of the older two-way flow. One that can't be used, or comes twice and differs, counts as missing.
    pub verifier: Option<Secret<String>>,
    /// Whose the code is, as the caller says; by the same rule as the verifier.
    pub client_id: Option<String>,
    pub shape: Shape,
}

/// Why there is no code to exchange, and the shape of what came.
#[derive(Debug, Error)]
#[error("{why}: {shape}")]
pub struct NoCode {
    pub why: Why,
    pub shape: Shape,
}

/// What is wrong with a request without a usable code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Why {
    #[error("no code")]
    Missing,
    /// Either may be another account's.
    #[error("two different codes")]
    Different,
    #[error("a code that is empty, over {MAX_CODE_BYTES} bytes or has characters that no code has")]
    Unusable,
    #[error("JSON that cannot be read")]
    UnreadableJson,
    #[error("multipart that cannot be read")]
    UnreadableMultipart,
}

/// Finds the code in a request. One in the query counts even if the body can't be read.
///
/// The values that are returned are overwritten when dropped; escapes in JSON and forms are undone in buffers that are not.
///
/// # Errors
/// [`NoCode`] unless there is one code, as often as it may be repeated, of RFC 6749's characters.
pub fn read(query: Option<&str>, content_type: Option<&str>, body: &[u8]) -> Result<CodeRequest, NoCode> {
    let mut fields = Fields::new(content_type);
    fields.form(Place::Query, query.unwrap_or_default().as_bytes());
    let body = body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body).trim_ascii_start();
    let boundary = Boundary::of(content_type, body);
    let read = match body.first() {
        None => Ok(()),
        Some(b'{') => fields.json(body),
        // JSON that is no object, or a page: what looks like names in it are none.
        Some(b'[' | b'"' | b'<') => {
            fields.shape.body = Body::Other;
            Ok(())
        }
        Some(_) => match boundary {
            Boundary::Found(boundary) => fields.multipart(body, &boundary),
            Boundary::Lost => fields.no_multipart(),
            Boundary::None => {
                fields.shape.body = Body::Form;
                fields.form(Place::Body, body);
                Ok(())
            }
        },
    };
    fields.finish(read)
}

/// What was found so far.
struct Fields {
    code: Values,
    verifier: Values,
    client_id: Values,
    shape: Shape,
}

impl Fields {
    fn new(content_type: Option<&str>) -> Self {
        Self {
            code: Values::default(),
            verifier: Values::default(),
            client_id: Values::default(),
            shape: Shape::new(MediaType::of(content_type)),
        }
    }

    fn form(&mut self, place: Place, text: &[u8]) {
        for (name, value) in form_urlencoded::parse(text) {
            let value = self.values(&name).map(|values| values.put(Some(value.into_owned())));
            self.shape.note(place, &name, value.is_some());
        }
    }

    fn json(&mut self, body: &[u8]) -> Result<(), Why> {
        self.shape.body = Body::Json;
        let fields = json::fields(body).ok_or(Why::UnreadableJson)?;
        for field in fields {
            let known = field.place.holds_codes().then(|| self.values(&field.name)).flatten();
            let value = known.map(|values| field.put_into(values));
            self.shape.note(field.place, &field.name, value.is_some());
        }
        Ok(())
    }

    fn multipart(&mut self, body: &[u8], boundary: &[u8]) -> Result<(), Why> {
        let Some(parts) = multipart::parts(body, boundary) else { return self.no_multipart() };
        self.shape.body = Body::Multipart;
        for part in parts {
            let value = || String::from_utf8(part.content.to_vec()).ok();
            let value = self.values(&part.name).map(|values| values.put(value()));
            self.shape.note(Place::Body, &part.name, value.is_some());
        }
        Ok(())
    }

    fn no_multipart(&mut self) -> Result<(), Why> {
        self.shape.body = Body::Multipart;
        Err(Why::UnreadableMultipart)
    }

    fn values(&mut self, name: &str) -> Option<&mut Values> {
        if CODE.contains(&name) {
            Some(&mut self.code)
        } else if VERIFIER.contains(&name) {
            Some(&mut self.verifier)
        } else if CLIENT_ID.contains(&name) {
            Some(&mut self.client_id)
        } else {
            None
        }
    }

    fn finish(mut self, read: Result<(), Why>) -> Result<CodeRequest, NoCode> {
        for secret in self.code.all().chain(self.verifier.all()) {
            self.shape.hide(secret);
        }
        let code = match self.code.only() {
            // A body that can't be read is the better reason for there being none.
            Err(Why::Missing) => Err(read.err().unwrap_or(Why::Missing)),
            code => code,
        };
        match code {
            Ok(code) => Ok(CodeRequest {
                code,
                verifier: self.verifier.only().ok(),
                client_id: self.client_id.only().ok().map(|id| id.expose().clone()),
                shape: self.shape,
            }),
            Err(why) => Err(NoCode { why, shape: self.shape }),
        }
    }
}

/// The values of one field under all its names, those that differ.
#[derive(Default)]
struct Values {
    different: Vec<Secret<String>>,
    /// One was there that is empty or no text.
    unusable: bool,
}

impl Values {
    fn put(&mut self, value: Option<String>) {
        // Space around a value is how it was sent, not what was given out: a form's last value often ends with a line break.
        let value = value.map(Secret::new).map(|value| Secret::new(value.expose().trim().to_owned()));
        let Some(value) = value.filter(|value| !value.expose().is_empty()) else {
            self.unusable = true;
            return;
        };
        if self.all().all(|known| known != value.expose()) {
            self.different.push(value);
        }
    }

    fn all(&self) -> impl Iterator<Item = &str> {
        self.different.iter().map(|value| value.expose().as_str())
    }

    /// The one value. An empty one beside it is a field that was left blank.
    fn only(mut self) -> Result<Secret<String>, Why> {
        let Some(value) = self.different.pop() else {
            return Err(if self.unusable { Why::Unusable } else { Why::Missing });
        };
        if !self.different.is_empty() {
            return Err(Why::Different);
        }
        if is_code(value.expose()) { Ok(value) } else { Err(Why::Unusable) }
    }
}

/// RFC 6749, A.1, A.11 and A.17: the characters are the same for a code, a client's id and a verifier.
fn is_code(text: &str) -> bool {
    text.len() <= MAX_CODE_BYTES && text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}
