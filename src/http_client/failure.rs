//! Why there is no answer, in words that hold nothing of the request or of the answer.

use std::error::Error;
use std::io;
use std::iter::successors;

use hyper_util::client::legacy;

use crate::tls;

/// The one thing that matters of a failure: whether anything may have left.
#[derive(Debug)]
pub enum Failure {
    NotSent(String),
    Unknown(String),
}

impl Failure {
    pub fn no_answer_in_time() -> Self {
        Self::Unknown("no answer in time".to_owned())
    }

    pub fn of(error: &legacy::Error) -> Self {
        if error.is_connect() {
            return Self::NotSent(unconnected(error));
        }
        // hyper cancels what it has not begun to write, and only that.
        let hyper_error = causes(error).find_map(|cause| cause.downcast_ref::<hyper::Error>());
        if hyper_error.is_some_and(hyper::Error::is_canceled) {
            return Self::NotSent("the connection was closed before the request began".to_owned());
        }
        Self::Unknown(match (io_kind(error), hyper_error) {
            (Some(kind), _) => format!("the connection broke: {kind}"),
            (_, Some(error)) if error.is_parse() => "the answer is not HTTP".to_owned(),
            _ => "the connection ended before an answer".to_owned(),
        })
    }
}

fn unconnected(error: &legacy::Error) -> String {
    if let Some(tls) = causes(error).find_map(|cause| cause.downcast_ref::<rustls::Error>()) {
        return tls::words(tls).to_owned();
    }
    // The error of hyper-util has no public type, only this text.
    if causes(error).any(|cause| cause.to_string() == "dns error") {
        return "the host's name can't be resolved".to_owned();
    }
    match io_kind(error) {
        Some(io::ErrorKind::TimedOut) => "connecting took too long".to_owned(),
        Some(kind) => format!("no connection: {kind}"),
        None => "no connection".to_owned(),
    }
}

/// The innermost: outer ones repeat it or say "other".
fn io_kind(error: &legacy::Error) -> Option<io::ErrorKind> {
    causes(error).filter_map(|cause| cause.downcast_ref::<io::Error>()).last().map(io::Error::kind)
}

/// The error and its causes, those within I/O errors too, which `source` passes over.
fn causes(error: &legacy::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    let outermost: &(dyn Error + 'static) = error;
    successors(Some(outermost), |cause: &&(dyn Error + 'static)| next(*cause))
}

fn next<'a>(cause: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => Some(inner),
        None => cause.source(),
    }
}
