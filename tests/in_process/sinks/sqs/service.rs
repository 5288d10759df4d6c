//! A service of our own that checks every signature with another implementation of HMAC, notes what it took, and answers as it is told.

use std::sync::{Arc, Mutex};

use data_encoding::HEXLOWER;
use ring::{digest, hmac};
use serde_json::{Value, json};

use crate::sinks::http::receiver::{Act, Post, Receiver};

/// A key that the service knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) id: String,
    pub(super) secret: String,
    pub(super) token: Option<String>,
}

/// The keys that are good now.
pub(super) type Keys = Arc<Mutex<Vec<Key>>>;

pub(super) struct Service(Receiver);

impl Service {
    /// `behave` is asked with the number of requests before and the entries of the request.
    pub(super) fn start(
        keys: &Keys,
        behave: impl Fn(usize, &[Value]) -> Act + Send + Sync + 'static,
    ) -> Self {
        let keys = Arc::clone(keys);
        Self(Receiver::start(move |n, post| {
            assert!(post.head.starts_with("POST / HTTP/1.1\r\n"), "{}", post.head);
            assert_eq!(post.header("x-amz-target"), Some("AmazonSQS.SendMessageBatch"));
            assert_eq!(post.header("content-type"), Some("application/x-amz-json-1.0"));
            if let Some(act) = refusal(&keys.lock().unwrap(), post) {
                return act;
            }
            behave(n, &entries(post))
        }))
    }

    pub(super) fn url(&self, queue: &str) -> String {
        format!("{}/123456789012/{queue}", self.0.base())
    }

    /// The ids of the events in each request, in the order in which they came.
    pub(super) fn requests(&self) -> Vec<Vec<String>> {
        let id = |entry: &Value| entry["MessageAttributes"]["id"]["StringValue"].as_str().unwrap().to_owned();
        self.0.posts().iter().map(|post| entries(post).iter().map(id).collect()).collect()
    }

    pub(super) fn posts(&self) -> Vec<Post> {
        self.0.posts()
    }
}

pub(super) fn entries(post: &Post) -> Vec<Value> {
    let body: Value = serde_json::from_slice(&post.body).unwrap();
    body["Entries"].as_array().unwrap().clone()
}

/// All are taken but those that `failed` gives a code and a fault to.
pub(super) fn taken_but(entries: &[Value], failed: impl Fn(&str) -> Option<(&'static str, bool)>) -> Act {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for entry in entries {
        let key = entry["MessageAttributes"]["id"]["StringValue"].as_str().unwrap();
        match failed(key) {
            Some((code, fault)) => {
                bad.push(
                    json!({"Id": entry["Id"], "Code": code, "Message": "so it is", "SenderFault": fault}),
                );
            }
            None => good.push(json!({"Id": entry["Id"], "MessageId": "m", "MD5OfMessageBody": "0"})),
        }
    }
    say("200 OK", &json!({"Successful": good, "Failed": bad}))
}

pub(super) fn taken(entries: &[Value]) -> Act {
    taken_but(entries, |_| None)
}

pub(super) fn refused(status: &str, code: &str) -> Act {
    say(status, &json!({"__type": format!("com.amazonaws.sqs#{code}"), "message": "so it is"}))
}

pub(super) fn say(status: &str, body: &Value) -> Act {
    let body = body.to_string();
    Act::Say(format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
}

/// As AWS refuses a signature: with the request as it should have been signed, session token and all.
fn refusal(keys: &[Key], post: &Post) -> Option<Act> {
    let authorization = post.header("authorization").unwrap();
    let part = |name: &str| {
        let rest = authorization.split_once(name).unwrap().1;
        rest.split(',').next().unwrap().to_owned()
    };
    let credential = part("Credential=");
    let [id, day, region, service, end]: [&str; 5] =
        credential.split('/').collect::<Vec<_>>().try_into().unwrap();
    assert_eq!([region, service, end], ["us-east-1", "sqs", "aws4_request"]);
    let Some(key) = keys.iter().find(|key| key.id == id) else {
        return Some(refused("403 Forbidden", "InvalidClientTokenId"));
    };
    assert_eq!(post.header("x-amz-security-token"), key.token.as_deref());
    let names = part("SignedHeaders=");
    let headers: String =
        names.split(';').flat_map(|name| [name, ":", post.header(name).unwrap(), "\n"]).collect();
    assert!(names.split(';').any(|name| name == "host") && names.contains("x-amz-target"), "{names}");
    let hash = |bytes: &[u8]| HEXLOWER.encode(digest::digest(&digest::SHA256, bytes).as_ref());
    let canonical = format!("POST\n/\n\n{headers}\n{names}\n{}", hash(&post.body));
    let date = post.header("x-amz-date").unwrap();
    let to_sign =
        format!("AWS4-HMAC-SHA256\n{date}\n{day}/{region}/{service}/{end}\n{}", hash(canonical.as_bytes()));
    let mac = |key: &[u8], text: &str| {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
    };
    let signing = [day, region, service, end]
        .iter()
        .fold(format!("AWS4{}", key.secret).into_bytes(), |key, text| mac(&key, text));
    if HEXLOWER.encode(&mac(&signing, &to_sign)) == part("Signature=") {
        return None;
    }
    let message = format!("should have been '{canonical}', with {}", key.secret);
    Some(say("403 Forbidden", &json!({"__type": "InvalidSignatureException", "message": message})))
}
