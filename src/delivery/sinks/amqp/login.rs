//! The way into a broker: TCP, TLS, the login, the virtual host, and a channel whose messages are confirmed.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rustls::ClientConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::frame::{Arguments, CHANNEL, LEAST_FRAME, MOST_FRAME, Reason, Said, Value, id, take};
use super::session::Session;
use crate::clock;
use crate::delivery::sinks::dial::{CONNECT, Stream, connect};
use crate::delivery::sinks::wire::{Line, broke};
use crate::delivery::sinks::words::Words;
use crate::domain::secret::Secret;

/// The ports that are usual without TLS and with it.
const PORTS: (u16, u16) = (5672, 5671);
/// For the login, once there is a connection.
const WELCOME: Duration = Duration::from_secs(10);
/// Seconds between two signs of life at most; the broker gives up a client after two to three times as long. A line gives its own
/// every 5 s, and takes a broker for gone after 20 s without one.
const HEARTBEATS: (u16, u16) = (5, 10);

/// By which right we are there.
pub(super) enum Login {
    Password(String, Secret<String>),
    /// The name in our certificate.
    Certificate,
}

/// Where a broker is, and who we are there.
pub(super) struct Place {
    pub(super) words: Arc<Words>,
    pub(super) tls: Option<Arc<ClientConfig>>,
    pub(super) login: Login,
    pub(super) vhost: String,
    /// The name of the connection in the broker's lists.
    pub(super) name: String,
    /// Messages that wait to be written.
    pub(super) waiting: usize,
}

impl Place {
    /// Connects and logs in. Fails in words.
    pub(super) async fn begin(&self) -> Result<Line<Session>, String> {
        let broker = self.words.receiver();
        let port = broker.uri().port_u16().unwrap_or(if broker.is_encrypted() { PORTS.1 } else { PORTS.0 });
        let stream = connect(broker.host(), port, self.tls.as_ref(), clock::ticks() + CONNECT).await?;
        let mut talk = Talk { stream, input: BytesMut::new(), words: &self.words };
        let frame_max = timeout(WELCOME, self.log_in(&mut talk)).await;
        let frame_max = frame_max.unwrap_or_else(|_| Err("the login took too long".to_owned()))?;
        let session = Session::new(Arc::clone(&self.words), frame_max);
        Ok(Line::start(talk.stream, talk.input, session, self.waiting))
    }

    /// The largest frame that both sides take.
    async fn log_in(&self, talk: &mut Talk<'_>) -> Result<usize, String> {
        talk.write(b"AMQP\x00\x00\x09\x01").await?;
        let Said::Start { mechanisms } = talk.hear().await? else { return Err(unforeseen()) };
        let start_ok = self.start_ok(&mechanisms)?;
        talk.write(&start_ok).await?;
        let Said::Tune { frame_max, heartbeat, .. } = talk.hear().await? else { return Err(unforeseen()) };
        // None is no bound.
        let frame_max = if frame_max == 0 { MOST_FRAME } else { MOST_FRAME.min(frame_max as usize) };
        if frame_max < LEAST_FRAME {
            return Err(format!("the broker's frame_max of {frame_max} bytes is below {LEAST_FRAME}"));
        }
        let mut rest = BytesMut::new();
        let heartbeat =
            if heartbeat == 0 { HEARTBEATS.1 } else { heartbeat.clamp(HEARTBEATS.0, HEARTBEATS.1) };
        let most = u32::try_from(frame_max).unwrap_or(u32::MAX);
        Arguments::default().u16(1).u32(most).u16(heartbeat).write(0, id::TUNE_OK, &mut rest);
        Arguments::default().short(&self.vhost).short("").u8(0).write(0, id::OPEN, &mut rest);
        talk.write(&rest).await?;
        let Said::OpenOk = talk.hear().await? else { return Err(unforeseen()) };
        rest.clear();
        Arguments::default().short("").write(CHANNEL, id::CHANNEL_OPEN, &mut rest);
        Arguments::default().u8(0).write(CHANNEL, id::SELECT, &mut rest);
        talk.write(&rest).await?;
        let Said::ChannelOpenOk = talk.hear().await? else { return Err(unforeseen()) };
        let Said::SelectOk = talk.hear().await? else { return Err(unforeseen()) };
        Ok(frame_max)
    }

    fn start_ok(&self, mechanisms: &str) -> Result<Zeroizing<Vec<u8>>, String> {
        let (mechanism, response) = match &self.login {
            Login::Password(user, password) => {
                ("PLAIN", Zeroizing::new(format!("\0{user}\0{}", password.expose())))
            }
            Login::Certificate => ("EXTERNAL", Zeroizing::default()),
        };
        if !mechanisms.split_ascii_whitespace().any(|offered| offered == mechanism) {
            let offered = self.words.said(mechanisms);
            return Err(format!("the broker takes no login by {mechanism}, but by: {offered}"));
        }
        let capabilities = [
            ("publisher_confirms", Value::Flag(true)),
            ("basic.nack", Value::Flag(true)),
            ("connection.blocked", Value::Flag(true)),
            ("authentication_failure_close", Value::Flag(true)),
        ];
        let properties = [
            ("product", Value::Text("ringhookd")),
            ("version", Value::Text(env!("CARGO_PKG_VERSION"))),
            ("connection_name", Value::Text(&self.name)),
            ("capabilities", Value::Table(&capabilities)),
        ];
        let room = LEAST_FRAME + response.len();
        let mut frame = Zeroizing::new(Vec::with_capacity(room));
        let arguments = Arguments::roomy(room).table(&properties).short(mechanism);
        arguments.long(response.as_bytes()).short("en_US").write(0, id::START_OK, &mut *frame);
        if frame.len() > LEAST_FRAME {
            return Err("user and password are too long for a login".to_owned());
        }
        Ok(frame)
    }
}

fn unforeseen() -> String {
    "the broker does not answer as a login goes".to_owned()
}

/// A connection before there is a line.
struct Talk<'a> {
    stream: Box<dyn Stream>,
    input: BytesMut,
    words: &'a Words,
}

impl Talk<'_> {
    async fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.stream.write_all(bytes).await.map_err(|error| broke(&error))?;
        self.stream.flush().await.map_err(|error| broke(&error))
    }

    /// The next word that is no sign of life. The broker's refusal is an error.
    async fn hear(&mut self) -> Result<Said, String> {
        loop {
            match take(&mut self.input)? {
                Some(Said::Nothing) => {}
                Some(Said::Close(reason) | Said::ChannelClose(reason)) => return Err(self.refused(&reason)),
                Some(said) => return Ok(said),
                None => {
                    let read = self.stream.read_buf(&mut self.input).await;
                    if read.map_err(|error| broke(&error))? == 0 {
                        return Err("the broker closed the connection at the login".to_owned());
                    }
                }
            }
        }
    }

    fn refused(&self, reason: &Reason) -> String {
        format!("the broker refuses the login: {}", reason.words(self.words))
    }
}
