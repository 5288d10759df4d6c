//! Brings authorization codes to the partner's Token Exchange URL, in a form that integrations are known to read.

use std::io;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use hyper::header::CONTENT_TYPE;

use super::peer::Peer;

/// Between two tries, while the code is good.
const AGAIN: Duration = Duration::from_secs(1);
/// A code is good for a minute.
const TRIES: usize = 50;
const BOUNDARY: &str = "simulated-ring";

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

    /// Brings a code until it is answered for good. The last answer's status; nothing when there was none.
    pub async fn bring(&self, code: &str) -> Option<u16> {
        let mut status = None;
        for _ in 0..TRIES {
            status = self.once(code).await.ok();
            if matches!(status, Some(200..=299 | 400..=499)) {
                break;
            }
            tokio::time::sleep(AGAIN).await;
        }
        status
    }

    async fn once(&self, code: &str) -> io::Result<u16> {
        let path = &self.to.path;
        let (path, kind, body) = match self.shape {
            CodeShape::Form => (path.clone(), "application/x-www-form-urlencoded", format!("code={code}")),
            CodeShape::Json => (path.clone(), "application/json", format!("{{\"code\":\"{code}\"}}")),
            CodeShape::Query => (format!("{path}?code={code}"), "", String::new()),
            CodeShape::Multipart => {
                let part = format!("Content-Disposition: form-data; name=\"code\"\r\n\r\n{code}");
                let body = format!("--{BOUNDARY}\r\n{part}\r\n--{BOUNDARY}--\r\n");
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
