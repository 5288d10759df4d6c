//! A server of Debian's package, and what a reader sees of its streams.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, MutexGuard};

use redis::{Connection, FromRedisValue};

use super::Entry;
use crate::support::broker::{Broker, program};

/// A server whose log is synced with each command, so that a kill loses nothing that it has confirmed.
pub(super) struct Server {
    broker: Mutex<Broker>,
    port: u16,
}

impl Server {
    /// With more lines of configuration; in them, PORT is the one that it listens on.
    pub(super) fn start(more: &[&str]) -> Self {
        let more: Vec<String> = more.iter().map(|&line| line.to_owned()).collect();
        let broker = Broker::start(move |folder, port| command(folder, port, &more));
        let port = broker.port();
        Self { broker: Mutex::new(broker), port }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn broker(&self) -> MutexGuard<'_, Broker> {
        self.broker.lock().unwrap()
    }

    /// As an operator at the server.
    pub(super) fn ask<T: FromRedisValue>(&self, command: &str) -> T {
        let mut words = command.split(' ');
        let mut question = redis::cmd(words.next().unwrap());
        words.for_each(|word| {
            question.arg(word);
        });
        question.query(&mut self.connection()).unwrap()
    }

    /// All entries of a stream, the oldest first.
    pub(super) fn entries(&self, stream: &str) -> Vec<Entry> {
        let mut question = redis::cmd("XRANGE");
        question.arg(stream).arg("-").arg("+");
        let entries: Vec<(String, HashMap<String, String>)> = question.query(&mut self.connection()).unwrap();
        entries.into_iter().map(|(_, fields)| fields).collect()
    }

    /// Tried until the server has read its files.
    fn connection(&self) -> Connection {
        let client = redis::Client::open(("127.0.0.1", self.port)).unwrap();
        loop {
            let mut connection = client.get_connection().unwrap();
            let pong: redis::RedisResult<String> = redis::cmd("PING").query(&mut connection);
            match pong {
                Err(error) if error.code() == Some("LOADING") => std::thread::yield_now(),
                _ => return connection,
            }
        }
    }
}

fn command(folder: &Path, port: u16, more: &[String]) -> Command {
    let lines = [
        format!("port {port}"),
        "bind 127.0.0.1".to_owned(),
        format!("dir {}", folder.display()),
        "appendonly yes".to_owned(),
        "appendfsync always".to_owned(),
        "save \"\"".to_owned(),
        "enable-debug-command yes".to_owned(),
    ];
    let lines: Vec<String> =
        lines.into_iter().chain(more.iter().map(|line| line.replace("PORT", &port.to_string()))).collect();
    let file = folder.join("redis.conf");
    std::fs::write(&file, lines.join("\n")).unwrap();
    let mut command = Command::new(program("redis-server", "redis-server"));
    command.arg(file);
    command
}
