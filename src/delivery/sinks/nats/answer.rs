//! The meaning of a reply, in words that operators read.

use serde::Deserialize;

use super::session::Reply;
use crate::delivery::sinks::lanes::{Answer, Obstacle};
use crate::delivery::sinks::probed::Probed;
use crate::delivery::sinks::words::Words;

/// Codes of `JetStream`'s errors.
mod code {
    pub(super) const MESSAGE_TOO_LARGE: u32 = 10_054;
    /// The stream does not store it: one of its limits, or its disk.
    pub(super) const STORE_FAILED: u32 = 10_077;
}

/// The confirmation of `JetStream`, or its error.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PubAck {
    error: Option<Refusal>,
    /// Empty where it is no confirmation.
    stream: String,
    seq: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Refusal {
    code: u16,
    err_code: u32,
    description: String,
}

/// The streams that take a subject.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Streams {
    error: Option<Refusal>,
    streams: Option<Vec<String>>,
}

/// Puts replies into words.
#[derive(Debug)]
pub(super) struct Answers {
    words: Words,
    /// The subjects of the queue with a wildcard at the end, such as `ringhookd.>`.
    subjects: String,
}

impl Answers {
    pub(super) fn new(words: Words, subjects: String) -> Self {
        Self { words, subjects }
    }

    pub(super) fn of(&self, reply: Reply) -> Answer {
        match reply {
            // Perhaps another subject is allowed.
            Reply::Denied(error) => Answer::Broken { why: self.words.of_receiver(&self.words.said(&error)) },
            Reply::Message { status: Some(503), .. } => self.hindered(&self.no_stream()),
            Reply::Message { status: Some(status), .. } => {
                self.hindered(&format!("the server answered with status {status}"))
            }
            Reply::Message { status: None, payload } => self.confirmed(&payload),
        }
    }

    pub(super) fn subjects(&self) -> &str {
        &self.subjects
    }

    pub(super) fn of_server(&self, why: &str) -> String {
        self.words.of_receiver(why)
    }

    /// The answer to the question which streams take the subjects.
    pub(super) fn of_streams(&self, reply: Reply) -> Probed {
        match reply {
            Reply::Denied(_) => Ok(Some(format!(
                "this user may not ask which stream takes {} ($JS.API.STREAM.NAMES), so that was not tried",
                self.subjects
            ))),
            Reply::Message { status: None, payload } => {
                let Streams { error, streams } = serde_json::from_slice(&payload).unwrap_or_default();
                match (error, streams) {
                    (Some(error), _) => {
                        Err(format!("JetStream says: {}", self.words.said(&error.description)))
                    }
                    (None, Some(streams)) if !streams.is_empty() => Ok(None),
                    (None, _) => Err(self.no_stream()),
                }
            }
            Reply::Message { status: Some(_), .. } => Err(self.no_stream()),
        }
    }

    fn no_stream(&self) -> String {
        format!(
            "no stream takes {0}: start the server with JetStream (-js) and add a stream, such as: nats stream add ringhookd \
             --subjects '{0}' --defaults",
            self.subjects
        )
    }

    /// No event would fare better.
    pub(super) fn hindered(&self, why: &str) -> Answer {
        Answer::Hindered(Obstacle::brief(self.words.of_receiver(why)))
    }

    pub(super) fn too_large(&self, size: usize, most: usize) -> Answer {
        Answer::Refused {
            why: self.words.of_receiver(&format!(
                "the message has {size} bytes with its headers, and the server's max_payload is {most}"
            )),
        }
    }

    fn confirmed(&self, payload: &[u8]) -> Answer {
        let ack: PubAck = serde_json::from_slice(payload).unwrap_or_default();
        let Some(error) = ack.error else {
            return if ack.stream.is_empty() || ack.seq == 0 {
                let said = self.words.said(&String::from_utf8_lossy(payload));
                Answer::Broken {
                    why: self
                        .words
                        .of_receiver(&format!("not a stream but another program answered: {said}")),
                }
            } else {
                Answer::Taken
            };
        };
        let Refusal { code, err_code, description } = error;
        let said = self.words.said(&description);
        let why = self.words.of_receiver(&format!("JetStream says: {said} (error {err_code})"));
        match err_code {
            code::MESSAGE_TOO_LARGE => Answer::Refused { why },
            // Other subjects have room.
            code::STORE_FAILED if description.contains("per subject") => Answer::Failed { why },
            code::STORE_FAILED => Answer::Hindered(Obstacle::brief(why)),
            _ if code >= 500 => Answer::Hindered(Obstacle::brief(why)),
            _ => Answer::Broken { why },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::address::Receiver;

    fn of(status: Option<u16>, payload: &'static str) -> Answer {
        let url = Receiver::parse("nats://10.0.0.7:4222", &["nats"]).unwrap();
        let answers = Answers::new(Words::new(&url, ["hush-token".to_owned()]), "ringhookd.>".into());
        answers.of(Reply::Message { status, payload: payload.into() })
    }

    fn error(code: u16, err_code: u32, description: &str) -> &'static str {
        let error =
            serde_json::json!({"error": {"code": code, "err_code": err_code, "description": description}});
        Box::leak(error.to_string().into_boxed_str())
    }

    #[test]
    fn only_a_confirmation_of_a_stream_is_one() {
        assert_eq!(of(None, r#"{"stream":"S","seq":1}"#), Answer::Taken);
        assert_eq!(of(None, r#"{"stream":"S","domain":"d","seq":7,"duplicate":true}"#), Answer::Taken);
        for other in ["", "ok", "{}", r#"{"stream":"S"}"#, r#"{"seq":1}"#, "hush-token"] {
            let Answer::Broken { why } = of(None, other) else { panic!("{other}") };
            assert!(why.starts_with("nats://10.0.0.7:4222: not a stream") && !why.contains("hush"), "{why}");
        }
    }

    #[test]
    fn a_stream_that_is_missing_or_full_is_told_and_no_events_fault() {
        let Answer::Hindered(obstacle) = of(Some(503), "") else { panic!() };
        assert!(obstacle.why.contains("no stream takes ringhookd.>"), "{}", obstacle.why);
        assert!(obstacle.why.contains("nats stream add"), "{}", obstacle.why);
        for full in [
            error(503, 10_077, "maximum messages exceeded"),
            error(503, 10_077, "maximum bytes exceeded"),
            error(500, 10_047, "insufficient storage resources available"),
            error(503, 10_008, "JetStream system temporarily unavailable"),
        ] {
            assert!(matches!(of(None, full), Answer::Hindered(_)), "{full}");
        }
    }

    #[test]
    fn what_concerns_one_event_alone_is_its_own() {
        let refused = of(None, error(400, 10_054, "message size exceeds maximum allowed"));
        let why = "nats://10.0.0.7:4222: JetStream says: message size exceeds maximum allowed (error 10054)";
        assert_eq!(refused, Answer::Refused { why: why.into() });
        let full = of(None, error(503, 10_077, "maximum messages per subject exceeded"));
        assert!(matches!(full, Answer::Failed { .. }), "{full:?}");
        assert!(matches!(of(None, error(400, 10_999, "hm")), Answer::Broken { .. }));
    }
}
