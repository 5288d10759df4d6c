//! One session with a broker, from its CONNECT to its end. There is no way back: what is not acknowledged by then is lost to it, and
//! every publisher is told.
//!
//! ```text
//! publish ─ a permit of the broker's receive maximum ─▶ write ──▶ broker
//!    ▲                                                              │
//!    └────────────── PUBACK of that very packet id ◀──── read ◀─────┘
//! ```

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader, BufWriter, ReadHalf, WriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::time::timeout;

use super::packet::{
    ConnAck, Connect, DISCONNECT, Incoming, Length, MOST_INCOMING, PINGREQ, TooLong, Unnumbered, decode,
    is_known,
};
use super::reason::{Reason, SUCCESS, TOO_LARGE};
use crate::delivery::sinks::dial::Stream;
use crate::delivery::sinks::{shared, wire};

/// After so long without a word to the broker it is asked whether it lives.
const PING: Duration = Duration::from_secs(10);
/// Nothing from the broker for so long: it is gone.
const SILENCE: Duration = Duration::from_secs(25);
/// The keep alive that the broker is told, in seconds. It takes a client for dead after one and a half of it.
pub(super) const KEEP_ALIVE: u16 = 20;
/// Packets that wait to be written. Each holds a permit besides.
const WAITING: usize = 16;
/// The broker's last words are awaited for so long after it has closed its side.
const LAST_WORDS: Duration = Duration::from_secs(1);

type Reader = BufReader<ReadHalf<Box<dyn Stream>>>;
type Writer = BufWriter<WriteHalf<Box<dyn Stream>>>;

/// Why a session ended, or did not begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// The broker says why.
    Told(Reason),
    /// Nobody does.
    Broke(String),
}

/// Why a message was not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unacknowledged {
    /// It is larger than what the broker takes.
    TooLarge {
        bytes: usize,
        most: u32,
    },
    /// The broker ended the session at a packet that is too large. No larger one than this was on its way.
    Largest(Reason),
    Ended(End),
}

/// A session that has begun.
#[derive(Debug)]
pub(super) struct Connection {
    /// Gone with this, the session ends in order.
    outgoing: mpsc::Sender<Vec<u8>>,
    maximum_packet: Option<u32>,
    /// Nobody subscribes to a message of this session; told once.
    unheard: AtomicBool,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    permits: Arc<Semaphore>,
    waiting: Mutex<Waiting>,
    end: watch::Sender<Option<End>>,
}

/// The packets that the broker has not acknowledged.
#[derive(Debug, Default)]
struct Waiting {
    last: u16,
    packets: HashMap<u16, Sent>,
}

#[derive(Debug)]
struct Sent {
    bytes: usize,
    answer: oneshot::Sender<Result<Reason, Unacknowledged>>,
    /// Free once the broker has answered, however long the publisher waits.
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    /// Begins a session over `wire`. `most` bounds the messages on their way, beside the broker's own bound.
    pub(super) async fn open(wire: Box<dyn Stream>, connect: &Connect<'_>, most: usize) -> Result<Self, End> {
        let (reader, writer) = tokio::io::split(wire);
        let (mut reader, mut writer) = (BufReader::new(reader), BufWriter::new(writer));
        let connect = connect.encode().map_err(|error: TooLong| End::Broke(error.to_string()))?;
        send(&mut writer, &connect).await?;
        let ConnAck { reason, receive_maximum, maximum_packet, takes_qos_1, keep_alive } =
            match receive(&mut reader).await? {
                Incoming::ConnAck(answer) => answer,
                Incoming::Disconnect(reason) => return Err(End::Told(reason)),
                Incoming::PubAck { .. } | Incoming::PingResp => return Err(not_mqtt()),
            };
        if reason.code != SUCCESS {
            return Err(End::Told(reason));
        }
        if !takes_qos_1 {
            return Err(End::Broke("the broker takes no messages with QoS 1".to_owned()));
        }
        let shared = Arc::new(Shared {
            permits: Arc::new(Semaphore::new(most.clamp(1, receive_maximum.into()))),
            waiting: Mutex::default(),
            end: watch::Sender::new(None),
        });
        let (outgoing, packets) = mpsc::channel(WAITING);
        let theirs =
            keep_alive.filter(|seconds| *seconds > 0).map(|seconds| Duration::from_secs(seconds.into()));
        let ping = theirs.map_or(PING, |theirs| PING.min(theirs / 2));
        tokio::spawn(run(reader, writer, packets, ping, Arc::clone(&shared)));
        Ok(Self { outgoing, maximum_packet, unheard: AtomicBool::new(false), shared })
    }

    /// Publishes, and waits for the acknowledgement of this very message. Where the future is dropped the message is on its way
    /// nevertheless.
    pub(super) async fn publish(&self, message: Unnumbered) -> Result<Reason, Unacknowledged> {
        let bytes = message.len();
        if let Some(most) = self.maximum_packet.filter(|most| bytes > *most as usize) {
            return Err(Unacknowledged::TooLarge { bytes, most });
        }
        let permit = Arc::clone(&self.shared.permits).acquire_owned().await.map_err(|_| self.ended())?;
        let place = self.outgoing.reserve().await.map_err(|_| self.ended())?;
        // No await between the number and the write, so that each number that is taken is sent.
        let (answer, answered) = oneshot::channel();
        let id = self.shared.expect(Sent { bytes, answer, _permit: permit }).ok_or_else(|| self.ended())?;
        place.send(message.numbered(id));
        answered.await.unwrap_or_else(|_| Err(self.ended()))
    }

    /// Ends the session at once: what is on its way comes again in another.
    pub(super) fn give_up(&self, why: &str) {
        self.shared.end(End::Broke(why.to_owned()));
    }

    /// Whether it is the first time in this session that nobody subscribes to a message.
    pub(super) fn is_newly_unheard(&self) -> bool {
        !self.unheard.swap(true, Ordering::Relaxed)
    }

    /// Waits until it has ended.
    pub(super) async fn over(&self) {
        // The session itself holds the sender.
        let _ = self.shared.end.subscribe().wait_for(Option::is_some).await;
    }

    fn ended(&self) -> Unacknowledged {
        Unacknowledged::Ended(self.shared.end.borrow().clone().unwrap_or_else(closed))
    }
}

impl shared::Connection for Connection {
    fn is_over(&self) -> bool {
        self.shared.end.borrow().is_some()
    }
}

impl Shared {
    /// The packet id under which this is awaited; none once the session has ended.
    fn expect(&self, sent: Sent) -> Option<u16> {
        let mut waiting = self.waiting();
        if self.end.borrow().is_some() {
            return None;
        }
        // There are fewer permits than ids, so one is free.
        loop {
            waiting.last = waiting.last.checked_add(1).unwrap_or(1);
            let id = waiting.last;
            if let Entry::Vacant(place) = waiting.packets.entry(id) {
                place.insert(sent);
                return Some(id);
            }
        }
    }

    fn acknowledged(&self, id: u16, reason: Reason) -> Result<(), End> {
        let sent = self.waiting().packets.remove(&id);
        // The publisher may wait no longer.
        let answer = |sent: Sent| _ = sent.answer.send(Ok(reason));
        sent.map(answer).ok_or_else(not_mqtt)
    }

    /// Notes the end, of which the first counts, and tells every publisher.
    fn end(&self, end: End) {
        let mut waiting = self.waiting();
        let is_first = self.end.send_if_modified(|known| {
            let is_first = known.is_none();
            known.get_or_insert_with(|| end.clone());
            is_first
        });
        let packets = std::mem::take(&mut waiting.packets);
        drop(waiting);
        self.permits.close();
        if let End::Told(reason) = end
            && is_first
            && reason.code == TOO_LARGE
            && let Some(largest) = packets.into_values().max_by_key(|sent| sent.bytes)
        {
            let _ = largest.answer.send(Err(Unacknowledged::Largest(reason)));
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads and writes until the session ends.
async fn run(
    reader: Reader,
    writer: Writer,
    packets: mpsc::Receiver<Vec<u8>>,
    ping: Duration,
    shared: Arc<Shared>,
) {
    let mut end = shared.end.subscribe();
    // Nothing of the channel is kept over an await.
    let given_up = async move { _ = end.wait_for(Option::is_some).await.is_ok() };
    let end = {
        let mut reading = std::pin::pin!(read(reader, &shared));
        tokio::select! {
            end = &mut reading => end,
            () = given_up => return,
            written = write(writer, packets, ping) => match written {
                Ok(()) => closed(),
                Err(end) => timeout(LAST_WORDS, reading).await.unwrap_or(end),
            },
        }
    };
    shared.end(end);
}

async fn read(mut reader: Reader, shared: &Shared) -> End {
    loop {
        let packet = match timeout(SILENCE, receive(&mut reader)).await {
            Ok(Ok(packet)) => packet,
            Ok(Err(end)) => return end,
            Err(_) => return End::Broke(format!("the broker said nothing for {} s", SILENCE.as_secs())),
        };
        let known = match packet {
            Incoming::PubAck { id, reason } => shared.acknowledged(id, reason),
            Incoming::PingResp => Ok(()),
            Incoming::Disconnect(reason) => return End::Told(reason),
            Incoming::ConnAck(_) => Err(not_mqtt()),
        };
        if let Err(end) = known {
            return end;
        }
    }
}

/// Writes what comes; ends in order once nobody can send any more.
async fn write(mut writer: Writer, mut packets: mpsc::Receiver<Vec<u8>>, ping: Duration) -> Result<(), End> {
    loop {
        match timeout(ping, packets.recv()).await {
            Ok(Some(packet)) => {
                let put = writer.write_all(&packet).await;
                put.map_err(|error| broke(&error))?;
                if packets.is_empty() {
                    send(&mut writer, &[]).await?;
                }
            }
            Ok(None) => return send(&mut writer, &DISCONNECT).await,
            Err(_) => send(&mut writer, &PINGREQ).await?,
        }
    }
}

async fn send(writer: &mut Writer, packet: &[u8]) -> Result<(), End> {
    let sent = async {
        writer.write_all(packet).await?;
        writer.flush().await
    };
    sent.await.map_err(|error| broke(&error))
}

async fn receive(reader: &mut Reader) -> Result<Incoming, End> {
    let broken = |error: io::Error| broke(&error);
    let head = reader.read_u8().await.map_err(broken)?;
    // At once, as another protocol's next byte may promise more than ever comes.
    if !is_known(head) {
        return Err(not_mqtt());
    }
    let mut length = Length::default();
    let length = loop {
        let byte = reader.read_u8().await.map_err(broken)?;
        if let Some(length) = length.push(byte).map_err(|_| not_mqtt())? {
            break length;
        }
    };
    if length > MOST_INCOMING {
        return Err(not_mqtt());
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).await.map_err(broken)?;
    decode(head, &body).ok_or_else(not_mqtt)
}

fn not_mqtt() -> End {
    End::Broke("the answer is not MQTT 5".to_owned())
}

fn closed() -> End {
    End::Broke("the session is closed".to_owned())
}

/// Why it ended, in words that hold nothing of what went over it.
fn broke(error: &io::Error) -> End {
    End::Broke(match error.kind() {
        io::ErrorKind::UnexpectedEof => "the broker closed the connection".to_owned(),
        _ => wire::broke(error),
    })
}
