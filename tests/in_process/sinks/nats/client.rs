//! A client of NATS for the tests, over a blocking connection: it reads what arrived, and asks `JetStream`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use data_encoding::BASE64;
use serde_json::{Value, json};

/// What the server handed over.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) subject: String,
    pub(super) headers: String,
    pub(super) payload: Vec<u8>,
}

impl Message {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let line = self.headers.lines().find(|line| line.starts_with(&format!("{name}: ")))?;
        Some(&line[name.len() + 2..])
    }
}

pub(super) struct Client(BufReader<TcpStream>);

impl Client {
    /// Nothing where no server answers on this port.
    pub(super) fn connect(port: u16) -> Option<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
        // Only a hang meets it.
        stream.set_read_timeout(Some(Duration::from_mins(2))).unwrap();
        let mut client = Self(BufReader::new(stream));
        client.say("CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}\r\n")?;
        client.flush()?;
        Some(client)
    }

    fn say(&mut self, text: &str) -> Option<()> {
        self.0.get_mut().write_all(text.as_bytes()).ok()
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        self.0.read_line(&mut line).ok().filter(|n| *n > 0)?;
        Some(line.trim_end().to_owned())
    }

    /// Waits until the server has done all before.
    fn flush(&mut self) -> Option<()> {
        self.say("PING\r\n")?;
        while self.line()? != "PONG" {}
        Some(())
    }

    pub(super) fn subscribe(&mut self, subject: &str) -> Option<()> {
        self.say(&format!("SUB {subject} 7\r\n"))?;
        self.flush()
    }

    /// The next message of a subscription.
    pub(super) fn next(&mut self) -> Option<Message> {
        loop {
            let line = self.line()?;
            let words: Vec<&str> = line.split(' ').collect();
            match words[0] {
                "PING" => self.say("PONG\r\n")?,
                "MSG" | "HMSG" => {
                    let total: usize = words.last()?.parse().ok()?;
                    let headers: usize =
                        if words[0] == "HMSG" { words[words.len() - 2].parse().ok()? } else { 0 };
                    let mut bytes = vec![0; total + 2];
                    self.0.read_exact(&mut bytes).ok()?;
                    bytes.truncate(total);
                    let payload = bytes.split_off(headers);
                    let headers = String::from_utf8(bytes).unwrap();
                    return Some(Message { subject: words[1].to_owned(), headers, payload });
                }
                _ => {}
            }
        }
    }

    /// Asks `JetStream`.
    pub(super) fn ask(&mut self, call: &str, body: &Value) -> Option<Value> {
        let body = body.to_string();
        self.subscribe("_INBOX.test")?;
        self.say(&format!("PUB $JS.API.{call} _INBOX.test {}\r\n{body}\r\n", body.len()))?;
        let answer = self.next()?;
        self.say("UNSUB 7\r\n")?;
        self.flush()?;
        serde_json::from_slice(&answer.payload).ok()
    }

    /// What the stream `all` has in this place.
    pub(super) fn stored(&mut self, place: usize) -> Option<Message> {
        let answer = self.ask("STREAM.MSG.GET.all", &json!({ "seq": place }))?;
        let message = &answer["message"];
        let decoded =
            |name: &str| BASE64.decode(message[name].as_str().unwrap_or_default().as_bytes()).unwrap();
        let headers = String::from_utf8(decoded("hdrs")).unwrap();
        let subject = message["subject"].as_str()?.to_owned();
        Some(Message { subject, headers, payload: decoded("data") })
    }
}
