//! Receivers of every kind on loopback, in the folders of temporary servers.

use std::any::Any;
use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use crate::postgres_server::Server as Postgres;
use crate::servers::{Role, Server};
use crate::support::broker::{Broker, program};

/// The kinds, as `[[queue]] kind` has them.
pub(crate) const KINDS: [&str; 5] = ["http", "mqtt", "nats", "postgres", "redis"];

/// A receiver that takes events until this is dropped.
pub(crate) struct Receiver {
    /// The keys of `[[queue]]` for a queue that delivers to it.
    pub(crate) settings: String,
    _server: Box<dyn Any>,
}

impl Receiver {
    /// Starts a receiver of this kind.
    pub(crate) fn start(kind: &str) -> Result<Self, Box<dyn Error>> {
        Ok(match kind {
            "http" => {
                let server = Server::start(Role::Baseline, Path::new("."))?;
                Self::of(format!("kind = \"http\"\nurl = \"http://{}/ring\"", server.address), server)
            }
            "mqtt" => {
                let broker = Broker::start(mosquitto);
                let url = format!("mqtt://127.0.0.1:{}", broker.port());
                Self::of(format!("kind = \"mqtt\"\nurl = \"{url}\""), broker)
            }
            "nats" => {
                let broker = Broker::start(nats);
                make_stream(broker.port())?;
                let url = format!("nats://127.0.0.1:{}", broker.port());
                Self::of(format!("kind = \"nats\"\nurl = \"{url}\""), broker)
            }
            "postgres" => {
                let server = Postgres::trusting();
                let url = format!("postgres://127.0.0.1:{}/events", server.port());
                let login = "username = \"ringhookd\"\ntable = \"ringhookd_events\"\ncreate_table = true";
                Self::of(format!("kind = \"postgres\"\nurl = \"{url}\"\n{login}"), server)
            }
            "redis" => {
                let broker = Broker::start(redis);
                let url = format!("redis://127.0.0.1:{}", broker.port());
                Self::of(format!("kind = \"redis\"\nurl = \"{url}\"\nstream = \"ring:{{user}}\""), broker)
            }
            _ => return Err(format!("no receiver of kind {kind}").into()),
        })
    }

    fn of(settings: String, server: impl Any) -> Self {
        Self { settings, _server: Box::new(server) }
    }
}

fn mosquitto(folder: &Path, port: u16) -> Command {
    let file = folder.join("mosquitto.conf");
    let text = format!("user root\nlistener {port} 127.0.0.1\nallow_anonymous true\n");
    std::fs::write(&file, text).expect("a temporary folder can be written");
    let mut command = Command::new(program("mosquitto", "mosquitto"));
    command.arg("-c").arg(file);
    command
}

fn nats(folder: &Path, port: u16) -> Command {
    let file = folder.join("server.conf");
    let store = folder.join("jetstream");
    let text = format!("listen: \"127.0.0.1:{port}\"\njetstream {{ store_dir: \"{}\" }}\n", store.display());
    std::fs::write(&file, text).expect("a temporary folder can be written");
    let mut command = Command::new(program("nats-server", "nats-server"));
    command.arg("-c").arg(file);
    command
}

/// Synced once a second, as the server is packaged.
fn redis(folder: &Path, port: u16) -> Command {
    let mut command = Command::new(program("redis-server", "redis-server"));
    let folder = folder.display().to_string();
    let port = port.to_string();
    let options = [("--port", &*port), ("--bind", "127.0.0.1"), ("--dir", &folder), ("--appendonly", "yes")];
    for (name, value) in options {
        command.args([name, value]);
    }
    command
}

/// A stream that keeps all that the queue publishes.
fn make_stream(port: u16) -> Result<(), Box<dyn Error>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    let wanted = r#"{"name":"RING","subjects":["ringhookd.>"],"storage":"file","num_replicas":1}"#;
    write!(
        stream,
        "CONNECT {{\"verbose\":false}}\r\nSUB answers 1\r\nPUB $JS.API.STREAM.CREATE.RING answers {}\r\n{wanted}\r\n",
        wanted.len()
    )?;
    for line in BufReader::new(stream).lines() {
        let line = line?;
        if line.contains("\"error\"") {
            return Err(line.into());
        }
        if line.contains("\"config\"") {
            return Ok(());
        }
    }
    Err("the server closed the connection".into())
}
