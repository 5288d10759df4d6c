//! The meaning of SQS's answers for the messages of a request, in its own words without our secrets.

use std::collections::HashMap;
use std::time::Duration;

use hyper::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use super::message::MAX_BYTES;
use crate::delivery::sinks::lanes::{Answer, Obstacle};
use crate::delivery::sinks::words::Words;
use crate::domain::address::Receiver;
use crate::domain::sigv4::Credentials;

/// The code by which SQS refuses a request without messages, once it knows the queue and the signature.
pub(super) const EMPTY: &str = "EmptyBatchRequest";
/// Codes by which a whole request is refused for what is in it, without the `Exception` at their end.
const ABOUT_MESSAGES: [&str; 8] = [
    "BatchRequestTooLong",
    EMPTY,
    "InvalidMessageContents",
    "InvalidParameterValue",
    "InvalidParameterCombination",
    "InvalidAttributeValue",
    "ValidationError",
    "Validation",
];
/// The credentials are no longer good.
const ENDED: [&str; 4] = ["ExpiredToken", "InvalidClientTokenId", "UnrecognizedClient", "InvalidToken"];
/// Parts of codes that a message can't be to blame for, whoever they name at fault.
const ABOUT_SQS: [&str; 8] =
    ["Throttl", "TooManyRequests", "AccessDenied", "Kms", "KMS", "Unavailable", "Internal", "OverLimit"];

/// What a request came to.
#[derive(Debug)]
pub(super) enum Said {
    /// An answer for each message.
    Each(Vec<Answer>),
    /// One of the messages is to blame, perhaps.
    Messages(String),
    /// Other credentials may do.
    Ended(Obstacle),
    /// No message would fare better.
    Hindered(Obstacle),
}

/// Puts answers into words.
#[derive(Debug)]
pub(super) struct Answers(Receiver);

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Batch {
    successful: Option<Vec<Taken>>,
    failed: Option<Vec<Failure>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Taken {
    id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Failure {
    id: String,
    code: String,
    message: Option<String>,
    sender_fault: bool,
}

impl Answers {
    pub(super) fn new(receiver: &Receiver) -> Self {
        Self(receiver.clone())
    }

    /// An obstacle in our own words.
    pub(super) fn hindered(&self, why: &str) -> Said {
        Said::Hindered(Obstacle::brief(format!("{}: {why}", self.0)))
    }

    pub(super) fn too_large(&self, bytes: usize) -> Answer {
        let receiver = &self.0;
        Answer::Refused {
            why: format!(
                "{receiver}: the message has {bytes} bytes with its attributes, and SQS takes {MAX_BYTES}"
            ),
        }
    }

    pub(super) fn empty(&self) -> Answer {
        Answer::Refused { why: format!("{}: the message is empty, and SQS takes none such", self.0) }
    }

    /// A good answer to a request of messages by these ids, which may hold bad news of some.
    pub(super) fn of_batch(&self, body: &[u8], ids: &[&str], credentials: &Credentials) -> Said {
        let Ok(Batch { successful, failed }) = serde_json::from_slice(body) else {
            return self.hindered("the answer is cut off, or is not that of SQS");
        };
        let taken: Vec<String> = successful.unwrap_or_default().into_iter().map(|one| one.id).collect();
        let mut failed: HashMap<String, Failure> =
            failed.unwrap_or_default().into_iter().map(|one| (one.id.clone(), one)).collect();
        let words = self.words(credentials);
        let unnamed = || words.of_receiver("the answer does not name the message");
        let answer = |id: &&str| match failed.remove(*id) {
            Some(failure) => refused(&failure, &words, !taken.is_empty()),
            None if taken.iter().any(|taken| taken == id) => Answer::Taken,
            None => Answer::Hindered(Obstacle::brief(unnamed())),
        };
        Said::Each(ids.iter().map(answer).collect())
    }

    /// An answer to a whole request that is not 200. `from` says where the credentials are from.
    pub(super) fn refused(
        &self,
        status: StatusCode,
        retry_after: Option<Duration>,
        body: &[u8],
        credentials: &Credentials,
        from: &str,
    ) -> Said {
        let words = self.words(credentials);
        let Some((code, message)) = refusal(body) else {
            let said = words.said(&String::from_utf8_lossy(body));
            let colon = if said.is_empty() { "" } else { ": " };
            let why = words.of_receiver(&format!("{status}{colon}{said}"));
            return match status {
                StatusCode::PAYLOAD_TOO_LARGE => Said::Messages(why),
                _ => Said::Hindered(Obstacle { retry_after, why }),
            };
        };
        let why = words.of_receiver(&words.said(&format!("{code}: {message}")));
        let bare = bare(&code);
        if ABOUT_MESSAGES.contains(&bare) || status == StatusCode::PAYLOAD_TOO_LARGE {
            return Said::Messages(why);
        }
        let ended = ENDED.contains(&bare);
        let why = if ended || status == StatusCode::FORBIDDEN {
            format!("{why} (credentials from {from})")
        } else {
            why
        };
        let obstacle = Obstacle { retry_after, why };
        if ended { Said::Ended(obstacle) } else { Said::Hindered(obstacle) }
    }

    /// SQS repeats a signed request, session token and all, where the signature does not match.
    fn words(&self, credentials: &Credentials) -> Words {
        let token = credentials.session_token.as_ref().map(|token| token.expose().clone());
        Words::new(&self.0, [credentials.secret_access_key.expose().clone()].into_iter().chain(token))
    }
}

/// One message of a batch; `others_taken` says that SQS is well.
fn refused(failure: &Failure, words: &Words, others_taken: bool) -> Answer {
    let message = failure.message.as_deref().unwrap_or_default();
    let why = words.of_receiver(&words.said(&format!("{}: {message}", failure.code)));
    let about_sqs = ABOUT_SQS.iter().any(|part| failure.code.contains(part));
    let throttled = is_throttled(&failure.code);
    match (failure.sender_fault, about_sqs || throttled) {
        (true, false) => Answer::Failed { why },
        // Not to be waited for without end: SQS takes others.
        (false, _) if others_taken && !throttled => Answer::Broken { why },
        _ => Answer::Hindered(Obstacle::brief(why)),
    }
}

fn is_throttled(code: &str) -> bool {
    ["Throttl", "TooManyRequests", "OverLimit"].iter().any(|part| code.contains(part))
}

/// The code and the message of a whole request's refusal.
fn refusal(body: &[u8]) -> Option<(String, String)> {
    let Ok(Value::Object(said)) = serde_json::from_slice(body) else { return None };
    let text = |name: &str| said.get(name).and_then(Value::as_str);
    let code = text("__type").or_else(|| text("code"))?;
    let code = code.rsplit(['#', '.']).next().unwrap_or(code).to_owned();
    Some((code, text("message").or_else(|| text("Message")).unwrap_or_default().to_owned()))
}

fn bare(code: &str) -> &str {
    code.strip_suffix("Exception").unwrap_or(code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::secret::Secret;

    fn answers() -> Answers {
        Answers::new(&Receiver::parse("https://sqs.eu-west-1.amazonaws.com/1/q", &["https"]).unwrap())
    }

    fn credentials() -> Credentials {
        Credentials {
            access_key_id: "AKID".into(),
            secret_access_key: Secret::new("hush-secret".into()),
            session_token: Some(Secret::new("hush-token".into())),
        }
    }

    fn whole(status: u16, body: &str) -> Said {
        let status = StatusCode::from_u16(status).unwrap();
        answers().refused(status, None, body.as_bytes(), &credentials(), "the environment")
    }

    #[test]
    fn every_refusal_of_a_request_has_its_meaning() {
        for (status, code, meaning) in [
            (400, "com.amazonaws.sqs#QueueDoesNotExist", "hindered"),
            (400, "com.amazonaws.sqs#RequestThrottled", "hindered"),
            (400, "ThrottlingException", "hindered"),
            (403, "com.amazon.coral.service#AccessDeniedException", "hindered"),
            (403, "InvalidSignatureException", "hindered"),
            (400, "com.amazonaws.sqs#KmsAccessDenied", "hindered"),
            (500, "InternalFailure", "hindered"),
            (503, "ServiceUnavailable", "hindered"),
            (403, "com.amazon.coral.service#ExpiredTokenException", "ended"),
            (403, "com.amazon.coral.service#UnrecognizedClientException", "ended"),
            (403, "InvalidClientTokenId", "ended"),
            (400, "com.amazonaws.sqs#BatchRequestTooLong", "messages"),
            (400, "AWS.SimpleQueueService.BatchRequestTooLong", "messages"),
            (400, "com.amazonaws.sqs#InvalidMessageContents", "messages"),
            (400, "InvalidParameterValueException", "messages"),
        ] {
            let said = whole(status, &format!("{{\"__type\":\"{code}\",\"message\":\"why\"}}"));
            let came = match &said {
                Said::Each(_) => "each",
                Said::Messages(_) => "messages",
                Said::Ended(_) => "ended",
                Said::Hindered(_) => "hindered",
            };
            assert_eq!(came, meaning, "{code}: {said:?}");
        }
        for body in ["", "<html>", "[]", "{}", "{\"__type\":7}"] {
            assert!(matches!(whole(502, body), Said::Hindered(_)), "{body}");
        }
    }

    #[test]
    fn the_words_are_those_of_sqs_without_our_secrets() {
        let body = r#"{"__type":"x#InvalidSignatureException","message":"not 'x-amz-security-token:hush-token hush-secret'"}"#;
        let Said::Hindered(obstacle) = whole(403, body) else { panic!() };
        let expected = "https://sqs.eu-west-1.amazonaws.com: InvalidSignatureException: not 'x-amz-security-token:[hidden] [hidden]' \
                        (credentials from the environment)";
        assert_eq!(obstacle.why, expected);
        let Said::Hindered(obstacle) = whole(503, "<html>hush-token\n") else { panic!() };
        assert_eq!(
            obstacle.why,
            "https://sqs.eu-west-1.amazonaws.com: 503 Service Unavailable: <html>[hidden]"
        );
    }

    fn each(body: &str, sent: usize) -> Vec<Answer> {
        let ids: Vec<String> = (0..sent).map(|id| id.to_string()).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        match answers().of_batch(body.as_bytes(), &ids, &credentials()) {
            Said::Each(answers) => answers,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_message_is_acknowledged_by_its_own_entry() {
        let body = r#"{"Successful":[{"Id":"1","MessageId":"m"},{"Id":"2"},{"Id":"77"}],"Failed":[
            {"Id":"0","Code":"InvalidMessageContents","Message":"no hush-token","SenderFault":true},
            {"Id":"2","Code":"ThrottlingException","SenderFault":true},
            {"Id":"3","Code":"InternalError","SenderFault":false}]}"#;
        let [failed, taken, throttled, broken, unnamed] = &each(body, 5)[..] else { panic!() };
        let why = "https://sqs.eu-west-1.amazonaws.com: InvalidMessageContents: no [hidden]";
        assert_eq!(failed, &Answer::Failed { why: why.into() });
        assert_eq!(taken, &Answer::Taken);
        assert!(matches!(throttled, Answer::Hindered(_)), "whatever else is said of it: {throttled:?}");
        assert!(matches!(broken, Answer::Broken { .. }), "others are taken: {broken:?}");
        assert!(matches!(unnamed, Answer::Hindered(_)), "{unnamed:?}");
        let alone = r#"{"Failed":[{"Id":"0","Code":"InternalError","SenderFault":false}]}"#;
        assert!(matches!(each(alone, 1)[..], [Answer::Hindered(_)]));
        let denied =
            r#"{"Failed":[{"Id":"0","Code":"KMS.AccessDenied","SenderFault":true}],"Successful":null}"#;
        assert!(matches!(each(denied, 1)[..], [Answer::Hindered(_)]));
    }

    #[test]
    fn an_answer_that_can_not_be_read_confirms_nothing() {
        for body in ["", "{\"Successful\":[{\"Id\":\"0\"}", "[]", "<a/>"] {
            let said = answers().of_batch(body.as_bytes(), &["0"], &credentials());
            assert!(matches!(said, Said::Hindered(_)), "{body}: {said:?}");
        }
    }
}
