//! Talks to the admin API of the running daemon: HTTP/1.1 over its Unix socket, a connection a call.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use prometheus_client::metrics::gauge::Gauge;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use zeroize::Zeroizing;

use super::args::Common;
use super::failure::Failure;
use super::places::Place;
use crate::admin::MAX_WAIT;
use crate::config;
use crate::http::body::{InFlightBytes, read};
use crate::logging::text;
use crate::{access, clock};

/// Largest answer, and largest line of a stream, that is taken.
const MAX_ANSWER: usize = 64 << 20;
const ANSWER_TIMEOUT: Duration = MAX_WAIT.saturating_mul(2);

/// The daemon's no.
#[derive(Debug, Deserialize)]
struct Refused {
    error: String,
    /// Seconds after which it may be a yes.
    retry_after_s: Option<f64>,
}

impl Refused {
    fn words(self) -> String {
        let wait = self.retry_after_s.and_then(|seconds| Duration::try_from_secs_f64(seconds.ceil()).ok());
        match wait {
            Some(wait) => format!("{} (ask again in {})", self.error, humantime::format_duration(wait)),
            None => self.error,
        }
    }
}

/// A call without a good answer.
#[derive(Debug)]
pub(super) enum Unanswered {
    /// The daemon can't be reached, or broke off.
    Gone(Failure),
    /// The daemon's no, or an answer that is none.
    Refused(StatusCode, Failure),
}

impl From<Unanswered> for Failure {
    fn from(unanswered: Unanswered) -> Self {
        match unanswered {
            Unanswered::Gone(failure) | Unanswered::Refused(_, failure) => failure,
        }
    }
}

/// The running daemon.
#[derive(Debug, Clone)]
pub(super) struct Client {
    socket: PathBuf,
}

impl Client {
    /// The daemon behind the first socket that lets us in.
    pub(super) async fn find(common: &Common) -> Result<Self, Failure> {
        let places = common.daemon();
        let is_asked_for = places.len() == 1;
        let mut failure = Failure::no("the configuration names no socket");
        for place in places {
            let sockets = match place {
                Place::Socket(socket) => Ok(vec![socket]),
                Place::In(config) => sockets_in(&config),
            };
            let sockets = match sockets {
                // A default that is not there, or not for us to read, leaves the other default.
                Err(_) if !is_asked_for => continue,
                sockets => sockets?,
            };
            for socket in sockets {
                match UnixStream::connect(&socket).await {
                    Ok(_) => return Ok(Self { socket }),
                    Err(error) => failure = unreachable(&socket, &error),
                }
            }
        }
        Err(failure)
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.call(Method::GET, path, Bytes::new()).await
    }

    pub(super) async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.call(Method::DELETE, path, Bytes::new()).await
    }

    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &serde_json::Value,
    ) -> Result<T, Failure> {
        Ok(self.ask(path, body).await?)
    }

    /// A POST whose caller tells a daemon that is gone from one that says no.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &serde_json::Value,
    ) -> Result<T, Unanswered> {
        self.answer(Method::POST, path, body.to_string().into()).await
    }

    /// Where the daemon is.
    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, Failure> {
        Ok(self.answer(method, path, body).await?)
    }

    async fn answer<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, Unanswered> {
        let answer = self.send(method, path, body).await?;
        let status = answer.status();
        let document = whole(answer.into_body()).await.map_err(Unanswered::Gone)?;
        serde_json::from_slice(&document).map_err(|error| Unanswered::Refused(status, not_understood(&error)))
    }

    /// The lines of an answer that goes on.
    pub(super) async fn lines(&self, path: &str) -> Result<Lines, Failure> {
        self.lines_of(Method::GET, path).await
    }

    /// The same of a POST.
    pub(super) async fn post_lines(&self, path: &str) -> Result<Lines, Failure> {
        self.lines_of(Method::POST, path).await
    }

    async fn lines_of(&self, method: Method, path: &str) -> Result<Lines, Failure> {
        let answer = self.send(method, path, Bytes::new()).await?;
        Ok(Lines { body: answer.into_body(), buffer: BytesMut::new() })
    }

    /// The bytes of an answer to a POST, as they come.
    pub(super) async fn pieces(&self, path: &str) -> Result<Pieces, Failure> {
        Ok(Pieces(self.send(Method::POST, path, Bytes::new()).await?.into_body()))
    }

    /// The same of a GET.
    pub(super) async fn get_pieces(&self, path: &str) -> Result<Pieces, Failure> {
        Ok(Pieces(self.send(Method::GET, path, Bytes::new()).await?.into_body()))
    }

    /// An answer with 200; another is the daemon's no.
    async fn send(&self, method: Method, path: &str, body: Bytes) -> Result<Response<Incoming>, Unanswered> {
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|error| Unanswered::Gone(unreachable(&self.socket, &error)))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broke_off)?;
        // Its errors come out of the request and the body as well.
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "ringhookd")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| Unanswered::Refused(StatusCode::BAD_REQUEST, Failure::no(error.to_string())))?;
        let answer = sender.send_request(request).await.map_err(broke_off)?;
        let status = answer.status();
        if status == StatusCode::OK {
            return Ok(answer);
        }
        let document = whole(answer.into_body()).await.map_err(Unanswered::Gone)?;
        let failure = match serde_json::from_slice(&document) {
            Ok(refused) => Failure::No(Refused::words(refused)),
            Err(_) => Failure::no(format!("the daemon answered {status}")),
        };
        Err(Unanswered::Refused(status, failure))
    }
}

/// Bytes as they come.
#[derive(Debug)]
pub(super) struct Pieces(Incoming);

impl Pieces {
    /// Some more; nothing when the daemon has ended the stream.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        while let Some(frame) = self.0.frame().await {
            if let Ok(data) = frame.map_err(|error| gone(&error))?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }
}

/// Lines that come one by one.
#[derive(Debug)]
pub(super) struct Lines {
    body: Incoming,
    buffer: BytesMut,
}

impl Lines {
    /// The next line without its end; nothing when the daemon has ended the stream.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        let mut searched = 0;
        loop {
            if let Some(end) = self.buffer[searched..].iter().position(|&byte| byte == b'\n') {
                let mut line = self.buffer.split_to(searched + end + 1);
                line.truncate(searched + end);
                return Ok(Some(line.freeze()));
            }
            searched = self.buffer.len();
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            let frame = frame.map_err(|error| gone(&error))?;
            self.buffer.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
            if self.buffer.len() > MAX_ANSWER {
                return Err(Failure::no("the daemon sends a line without an end"));
            }
        }
    }
}

/// A piece of a path or a query, encoded.
pub(super) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// The query of these pairs with `?`, those without a value left out.
pub(super) fn query(pairs: &[(&str, Option<&str>)]) -> String {
    let pairs = pairs.iter().filter_map(|(name, value)| Some(format!("{name}={}", encoded((*value)?))));
    let joined = pairs.collect::<Vec<_>>().join("&");
    if joined.is_empty() { joined } else { format!("?{joined}") }
}

async fn whole(body: Incoming) -> Result<Bytes, Failure> {
    let budget = InFlightBytes::new(usize::MAX, Gauge::default());
    let read = read(body, MAX_ANSWER, clock::ticks() + ANSWER_TIMEOUT, &budget).await;
    read.map(|body| body.bytes().clone())
        .map_err(|error| Failure::no(format!("the daemon's answer: {error}")))
}

/// The admin sockets that a configuration names. Its secrets are left alone: whoever may use a socket need not read them.
fn sockets_in(file: &Path) -> Result<Vec<PathBuf>, Failure> {
    let content = std::fs::read_to_string(file).map(Zeroizing::new);
    let content = content.map_err(|error| Failure::no(format!("can't read {}: {error}", file.display())))?;
    let config = config::parse(&content, file.parent().unwrap_or(file)).map_err(|problems| {
        let list = config::Problems { file: file.into(), list: problems };
        Failure::no(format!("the configuration is not valid:\n{list}"))
    })?;
    Ok(config.sockets.into_iter().map(|socket| socket.path).collect())
}

fn unreachable(socket: &Path, error: &std::io::Error) -> Failure {
    let hint = match error.kind() {
        std::io::ErrorKind::PermissionDenied => "you may not use this socket",
        _ => "is the daemon running? --socket PATH or --config FILE says where",
    };
    let socket = access::absolute(socket);
    Failure::no(format!("can't reach the daemon at {}: {error}; {hint}", socket.display()))
}

#[expect(clippy::needless_pass_by_value, reason = "it stands in map_err")]
fn broke_off(error: hyper::Error) -> Unanswered {
    Unanswered::Gone(gone(&error))
}

fn gone(error: &hyper::Error) -> Failure {
    Failure::no(format!("the daemon broke off: {}", text(&error.to_string())))
}

fn not_understood(error: &serde_json::Error) -> Failure {
    Failure::no(format!("the daemon's answer is not understood ({error}); is it another version?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_no_says_when_to_come_back_where_the_daemon_does() {
        for (answer, words) in [
            (r#"{"error":"no"}"#, "no"),
            (r#"{"error":"no","reason":"lapsed","retry_after_s":null}"#, "no"),
            (r#"{"error":"no","reason":"failing","retry_after_s":75}"#, "no (ask again in 1m 15s)"),
            (r#"{"error":"no","retry_after_s":4.2}"#, "no (ask again in 5s)"),
            (r#"{"error":"no","retry_after_s":-1}"#, "no"),
        ] {
            assert_eq!(serde_json::from_str::<Refused>(answer).unwrap().words(), words, "{answer}");
        }
    }

    #[test]
    fn what_stands_in_an_address_is_encoded() {
        assert_eq!(encoded("a/b ü"), "a%2Fb%20%C3%BC");
        assert_eq!(query(&[("class", None)]), "");
        assert_eq!(
            query(&[("class", Some("dead")), ("x", None), ("queue", Some("a.b"))]),
            "?class=dead&queue=a%2Eb"
        );
    }
}
