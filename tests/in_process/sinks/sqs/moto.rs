//! moto's server, which `tests/support/moto.sh` installs, and what a consumer sees of its queues.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard};

use serde_json::{Value, json};

use super::Arrival;
use crate::support::broker::Broker;
use crate::support::http::{exchange, request};

/// It ends with the process that started it, whatever becomes of that, and then takes its folder away. moto looks at the time for each
/// message of the queue at each call, and its own way to it takes seconds where there are hundreds.
const SERVER: &str = "
import os, shutil, sys, threading, time
import moto.sqs.models
from moto.server import main
moto.sqs.models.unix_time_millis = lambda _=None: time.time() * 1000
parent = os.getppid()
def watch():
    while os.getppid() == parent:
        time.sleep(0.2)
    shutil.rmtree(sys.argv[2], ignore_errors=True)
    os._exit(0)
threading.Thread(target=watch, daemon=True).start()
main(['-H', '127.0.0.1', '-p', sys.argv[1]])
";

pub(super) fn start() -> Broker {
    Broker::start(command)
}

fn command(folder: &Path, port: u16) -> Command {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/moto/bin/python");
    assert!(python.is_file(), "this test needs moto's server: run tests/support/moto.sh");
    let mut command = Command::new(python);
    command.args(["-c", SERVER, &port.to_string()]).arg(folder);
    command
}

/// One call of the API, as an operator or a consumer.
pub(super) fn call(port: u16, action: &str, body: &Value) -> Value {
    let headers = format!(
        "Content-Type: application/x-amz-json-1.0\r\nX-Amz-Target: AmazonSQS.{action}\r\n\
         Authorization: AWS4-HMAC-SHA256 Credential=OTHER/20150830/us-east-1/sqs/aws4_request, SignedHeaders=host, Signature=0\r\n"
    );
    let answer = exchange(
        SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        &request("POST", "/", &headers, body.to_string()),
    );
    assert_eq!(answer.status(), 200, "{action}: {}", answer.0);
    answer.json()
}

/// One queue of a server, and all that was ever taken out of it.
pub(super) struct Queue {
    port: u16,
    name: String,
    taken: Mutex<Vec<Message>>,
}

/// A message as a consumer gets it.
#[derive(Debug, Clone)]
pub(super) struct Message(pub(super) Value);

impl Message {
    pub(super) fn body(&self) -> &str {
        self.0["Body"].as_str().unwrap()
    }

    pub(super) fn attribute(&self, name: &str) -> Option<&str> {
        self.0["MessageAttributes"][name]["StringValue"].as_str()
    }

    pub(super) fn arrival(&self) -> Arrival {
        super::arrival(&self.0["Body"])
    }
}

impl Queue {
    /// A new one of the server that the tests share; `{}` in its name is a number.
    pub(super) fn shared(name: &str) -> Self {
        static SHARED: LazyLock<Broker> = LazyLock::new(start);
        Self::new(SHARED.port(), name)
    }

    pub(super) fn new(port: u16, name: &str) -> Self {
        let queue = Self::missing(port, name);
        queue.create(&json!({}));
        queue
    }

    pub(super) fn missing(port: u16, name: &str) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { port, name: name.replace("{}", &format!("q{number}")), taken: Mutex::default() }
    }

    /// With more attributes.
    pub(super) fn create(&self, attributes: &Value) {
        let mut attributes = attributes.clone();
        if self.name.strip_suffix(".fifo").is_some() {
            attributes["FifoQueue"] = "true".into();
        }
        call(self.port, "CreateQueue", &json!({"QueueName": self.name, "Attributes": attributes}));
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn url(&self) -> String {
        self.url_at(self.port)
    }

    /// The same through a proxy.
    pub(super) fn url_at(&self, port: u16) -> String {
        format!("http://127.0.0.1:{port}/123456789012/{}", self.name)
    }

    /// Takes what is there out of it; all that was ever taken, in the order in which it came.
    pub(super) fn arrived(&self) -> Vec<Message> {
        let mut taken = self.taken();
        loop {
            let ask = json!({
                "QueueUrl": self.url(),
                "MaxNumberOfMessages": 10,
                "AttributeNames": ["All"],
                "MessageAttributeNames": ["All"],
            });
            let answer = call(self.port, "ReceiveMessage", &ask);
            let Some(messages) = answer["Messages"].as_array().filter(|all| !all.is_empty()) else {
                return taken.clone();
            };
            let entry = |(n, message): (usize, &Value)| json!({"Id": n.to_string(), "ReceiptHandle": message["ReceiptHandle"]});
            let entries: Vec<Value> = messages.iter().enumerate().map(entry).collect();
            call(self.port, "DeleteMessageBatch", &json!({"QueueUrl": self.url(), "Entries": entries}));
            taken.extend(messages.iter().cloned().map(Message));
        }
    }

    /// Messages that wait to be taken.
    pub(super) fn waiting(&self) -> u64 {
        let ask = json!({"QueueUrl": self.url(), "AttributeNames": ["ApproximateNumberOfMessages"]});
        let answer = call(self.port, "GetQueueAttributes", &ask);
        answer["Attributes"]["ApproximateNumberOfMessages"].as_str().unwrap().parse().unwrap()
    }

    fn taken(&self) -> MutexGuard<'_, Vec<Message>> {
        self.taken.lock().unwrap()
    }
}
