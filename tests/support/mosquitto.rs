//! mosquitto with a subscriber, `mosquitto_sub`, that takes down every message in its order.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use ringhookd::store::Leased;
use serde_json::Value;

use super::broker::{Broker, program};

/// Whoever asks may do everything, and no message waits in memory for a subscriber's acknowledgement.
const OPEN: &str = "allow_anonymous true\nmax_inflight_messages 0\nmax_queued_messages 0\n";

/// A message as the subscriber got it.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) topic: String,
    /// Read where it is JSON, else as it is.
    pub(crate) payload: Value,
    pub(crate) retain: bool,
    /// User properties, and the content type.
    pub(crate) properties: Value,
}

pub(crate) struct Mosquitto {
    pub(crate) broker: Broker,
    subscriber: Subscriber,
    login: Vec<String>,
}

/// One `mosquitto_sub` of everything, and what it got.
struct Subscriber {
    child: Child,
    messages: Arc<Mutex<Vec<Message>>>,
}

impl Subscriber {
    fn start(port: u16, login: &[String]) -> Self {
        let mut child = client("mosquitto_sub", port, login);
        // The server keeps nothing for it in memory: what it has acknowledged to us is on the way to the subscriber.
        child.args(["-q", "0", "-t", "#", "-F", "%j"]).stdout(Stdio::piped());
        let mut child = child.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let messages = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&messages);
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                notes.lock().unwrap().push(message(&line));
            }
        });
        Self { child, messages }
    }

    /// What came so far, without the probes.
    fn messages(&self) -> Vec<Message> {
        let mut messages = self.messages.lock().unwrap().clone();
        messages.retain(|message| message.topic != "probe");
        messages
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Mosquitto {
    /// Takes everything from everybody, but for what `more` says.
    pub(crate) fn open(more: &str) -> Self {
        let more = more.to_owned();
        Self::start(move |port| format!("listener {port} 127.0.0.1\n{OPEN}{more}\n"), &[], &[])
    }

    /// Configured by what `listener` makes of a port, with these files in FOLDER, and subscribed as `login` says.
    pub(crate) fn start(
        listener: impl Fn(u16) -> String + Send + Sync + 'static,
        files: &[(&str, &str)],
        login: &[&str],
    ) -> Self {
        let own = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
        let files: Vec<(String, String)> = files.iter().map(own).collect();
        let broker = Broker::start(move |folder, port| {
            for (name, text) in &files {
                fs::write(folder.join(name), text).unwrap();
            }
            let file = folder.join("mosquitto.conf");
            // Started by root it would become another user, who can't read this folder.
            let text = format!("user root\n{}", listener(port));
            fs::write(&file, text.replace("FOLDER", folder.to_str().unwrap())).unwrap();
            let mut command = Command::new(program("mosquitto", "mosquitto"));
            command.arg("-c").arg(file);
            command
        });
        let login: Vec<String> =
            login.iter().map(|word| word.replace("FOLDER", broker.folder().to_str().unwrap())).collect();
        let subscriber = Subscriber::start(broker.port(), &login);
        let server = Self { broker, subscriber, login };
        server.until_subscribed(&server.subscriber);
        server
    }

    pub(crate) fn port(&self) -> u16 {
        self.broker.port()
    }

    /// Starts the server again, and waits for the subscriber.
    pub(crate) fn again(&mut self) {
        self.broker.again();
        self.until_subscribed(&self.subscriber);
    }

    /// What came so far, without the probes.
    pub(crate) fn messages(&self) -> Vec<Message> {
        self.subscriber.messages()
    }

    /// What is retained: all that one who subscribes now gets, in no particular order.
    pub(crate) fn retained(&self) -> Vec<Message> {
        let late = Subscriber::start(self.port(), &self.login);
        // Before anything that is published after it has subscribed.
        self.until_subscribed(&late);
        late.messages()
    }

    /// The ids of what came so far.
    pub(crate) fn ids(&self) -> Vec<String> {
        let messages = self.messages();
        messages.iter().map(|message| message.payload["id"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Waits for so many messages, however slow the machine is.
    pub(crate) async fn until(&self, count: usize) -> Vec<Message> {
        self.until_so(&format!("{count} messages"), |messages| messages.len() >= count).await
    }

    /// Waits until it is so of all that came.
    pub(crate) async fn until_so(&self, what: &str, is_so: impl Fn(&[Message]) -> bool) -> Vec<Message> {
        for _ in 0..12_000 {
            let messages = self.messages();
            if is_so(&messages) {
                return messages;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{what} did not come, but {:?}; the server: {}", self.messages(), self.broker.said());
    }

    /// Waits until each of these has come, however often. All ids that came, in their order.
    pub(crate) async fn until_each_of(&self, events: &[Leased]) -> Vec<String> {
        for _ in 0..12_000 {
            let ids = self.ids();
            if events.iter().all(|event| ids.contains(&event.event.key)) {
                return ids;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("not all came, but {:?}; the server: {}", self.ids(), self.broker.said());
    }

    /// Publishes by another client, with these arguments beside the login.
    pub(crate) fn publish(&self, arguments: &[&str]) {
        let status = client("mosquitto_pub", self.port(), &self.login).args(arguments).status();
        assert!(status.is_ok_and(|status| status.success()), "{}", self.broker.said());
    }

    /// Probes reach the subscriber, and so does all that follows. Each is another: one of before a restart may come late.
    fn until_subscribed(&self, subscriber: &Subscriber) {
        for n in 0..1200 {
            let probe = format!("{{\"probe\":\"{}-{n}\"}}", subscriber.messages.lock().unwrap().len());
            self.publish(&["-t", "probe", "-m", &probe]);
            thread::sleep(Duration::from_millis(50));
            let probe: Value = serde_json::from_str(&probe).unwrap();
            if subscriber.messages.lock().unwrap().iter().any(|message| message.payload == probe) {
                return;
            }
        }
        panic!("the subscriber does not subscribe: {}", self.broker.said());
    }
}

fn client(name: &str, port: u16, login: &[String]) -> Command {
    let mut command = Command::new(program(name, "mosquitto-clients"));
    command.args(["-V", "5", "-h", "127.0.0.1", "-p", &port.to_string()]).args(login);
    command.stdin(Stdio::null()).stderr(Stdio::null());
    command
}

fn message(line: &str) -> Message {
    let line: Value = serde_json::from_str(line).unwrap();
    let payload = line["payload"].as_str().unwrap_or_default();
    Message {
        topic: line["topic"].as_str().unwrap().to_owned(),
        payload: serde_json::from_str(payload).unwrap_or_else(|_| payload.into()),
        retain: line["retain"] == 1,
        properties: line["properties"].clone(),
    }
}
