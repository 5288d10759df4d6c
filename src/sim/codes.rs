//! Brings authorization codes to the partner's Token Exchange URL, in a form that integrations are known to read.

use std::io;
use std::str::FromStr;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use hyper::header::CONTENT_TYPE;

use super::peer::{self, Delivery, Peer, RETRIES};

/// Of Ring's retries those within a code's minute, however late each is answered. Whether Ring tries a code again is not
/// documented.
const TRIED_AGAIN: usize = 3;

/// How a code is written. Ring does not say which it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CodeShape {
    #[default]
    Form,
    Json,
    Query,
    Multipart,
}

impl CodeShape {
    pub const ALL: [Self; 4] = [Self::Form, Self::Json, Self::Query, Self::Multipart];

    pub fn name(self) -> &'static str {
        match self {
            Self::Form => "form",
            Self::Json => "json",
            Self::Query => "query",
            Self::Multipart => "multipart",
        }
    }
}

impl FromStr for CodeShape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|shape| shape.name() == text);
        found.ok_or_else(|| format!("`{text}` is no shape: form, json, query or multipart"))
    }
}

/// Ring's side of the token exchange.
#[derive(Debug, Clone)]
pub struct CodeSender {
    to: Peer,
    shape: CodeShape,
}

impl CodeSender {
    pub fn new(to: Peer, shape: CodeShape) -> Self {
        Self { to, shape }
    }

    /// Brings a code until it is answered for good, or its minute is over. The waits are divided by `haste`.
    pub async fn bring(&self, code: &str, haste: u32) -> Delivery {
        peer::deliver(&RETRIES[..TRIED_AGAIN], haste, || self.once(code)).await
    }

    async fn once(&self, code: &str) -> io::Result<u16> {
        let path = &self.to.path;
        let (path, kind, body) = match self.shape {
            CodeShape::Form => (path.clone(), "application/x-www-form-urlencoded", format!("code={code}")),
            CodeShape::Json => (path.clone(), "application/json", format!("{{\"code\":\"{code}\"}}")),
            CodeShape::Query => (peer::with_query(path, &format!("code={code}")), "", String::new()),
            CodeShape::Multipart => {
                let part = format!("Content-Disposition: form-data; name=\"code\"\r\n\r\n{code}");
                let body = format!("--simulated-ring\r\n{part}\r\n--simulated-ring--\r\n");
                (path.clone(), "multipart/form-data; boundary=simulated-ring", body)
            }
        };
        let mut request = Request::post(path);
        if !kind.is_empty() {
            request = request.header(CONTENT_TYPE, kind);
        }
        self.to.send(request, Full::new(Bytes::from(body))).await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sim::CODE_LIFE;

    #[test]
    fn a_code_is_tried_as_long_as_it_is_good() {
        let waits: Duration = RETRIES[..TRIED_AGAIN].iter().sum();
        let attempts = peer::TIMEOUT * 4;
        assert!(waits + attempts < CODE_LIFE && waits + RETRIES[TRIED_AGAIN] > CODE_LIFE);
    }
}
