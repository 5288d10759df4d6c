//! A request as it was read, and the answer to it.

use std::collections::HashMap;

use bytes::Bytes;
use hyper::Method;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

/// What a client asks.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) content_type: String,
    /// From `Authorization: Bearer …`.
    pub(super) bearer: Option<String>,
    pub(super) body: Bytes,
}

impl Call {
    /// The fields of a form; words that say what is wrong with it.
    pub(super) fn form(&self) -> Result<HashMap<String, String>, String> {
        let kind = "application/x-www-form-urlencoded";
        if self.content_type.split(';').next().is_none_or(|sent| !sent.trim().eq_ignore_ascii_case(kind)) {
            return Err(format!("the content type is not {kind}"));
        }
        let text = std::str::from_utf8(&self.body).map_err(|_| "the form is not UTF-8")?;
        let mut fields = HashMap::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decoded(name)?, decoded(value)?);
            if let Some(twice) = fields.insert(name.clone(), value).map(|_| name) {
                return Err(format!("{twice} is there twice"));
            }
        }
        Ok(fields)
    }

    /// The body as JSON; nothing when it is none.
    pub(super) fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }
}

fn decoded(text: &str) -> Result<String, String> {
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8();
    decoded.map(Into::into).map_err(|_| "the form is not UTF-8".to_owned())
}

/// What the client gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) content_type: &'static str,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: String,
}

impl Reply {
    pub(super) fn json(status: u16, body: &Value) -> Self {
        Self { status, content_type: "application/json", headers: Vec::new(), body: body.to_string() }
    }

    pub(super) fn html(status: u16) -> Self {
        let body = "<!doctype html><title>Simulated</title><p>A page where JSON was due.".to_owned();
        Self { status, content_type: "text/html; charset=utf-8", headers: Vec::new(), body }
    }

    /// An error as the API writes it (JSON:API).
    pub(super) fn problem(status: u16, title: &str, detail: &str) -> Self {
        let error = json!({ "status": status.to_string(), "title": title, "detail": detail });
        Self::json(status, &json!({ "errors": [error] }))
    }

    /// An error as OAuth writes it (RFC 6749).
    pub(super) fn refusal(status: u16, error: &str, description: &str) -> Self {
        Self::json(status, &json!({ "error": error, "error_description": description }))
    }

    pub(super) fn with(mut self, header: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((header, value.into()));
        self
    }

    /// Keeps the first half.
    pub(super) fn truncate(&mut self) {
        let half = (0..=self.body.len() / 2).rev().find(|at| self.body.is_char_boundary(*at));
        self.body.truncate(half.unwrap_or(0));
    }

    /// Puts this in place of the last brace.
    pub(super) fn end_in(&mut self, end: &str) {
        if self.body.ends_with('}') {
            self.body.pop();
            self.body.push_str(end);
        }
    }

    /// Puts the first key of a JSON object in front once more, with another value.
    pub(super) fn duplicate_key(&mut self) {
        let Some(rest) = self.body.strip_prefix('{') else { return };
        let Some((key, _)) = rest.split_once(':') else { return };
        self.body = format!("{{{key}:\"another\",{rest}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn posted(content_type: &str, body: &'static str) -> Call {
        let (method, path) = (Method::POST, "/".into());
        Call { method, path, content_type: content_type.into(), bearer: None, body: body.into() }
    }

    #[test]
    fn forms_are_decoded_and_refused_with_words() {
        let kind = "application/x-www-form-urlencoded; charset=utf-8";
        let fields = posted(kind, "a=b+c&d=%c3%bc%2B&e").form().unwrap();
        assert_eq!((&*fields["a"], &*fields["d"], &*fields["e"]), ("b c", "ü+", ""));
        assert_eq!(posted(kind, "a=1&a=2").form().unwrap_err(), "a is there twice");
        assert_eq!(posted(kind, "a=%ff").form().unwrap_err(), "the form is not UTF-8");
        assert!(posted("application/json", "a=1").form().unwrap_err().contains("content type"));
    }

    #[test]
    fn answers_are_spoiled() {
        let whole = Reply::json(200, &json!({ "a": 1, "b": 2 }));
        let mut reply = whole.clone();
        reply.duplicate_key();
        assert_eq!(reply.body, r#"{"a":"another","a":1,"b":2}"#);
        let mut reply = whole;
        reply.truncate();
        assert_eq!(reply.body, r#"{"a":1"#);
    }
}
