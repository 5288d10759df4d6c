//! A connection at work: one task reads and writes it, gives signs of life, and notices a receiver that gives none.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use crate::clock;
use crate::delivery::sinks::dial::Stream;
use crate::delivery::sinks::shared::Connection;
use crate::tls;

/// Between two signs of life of ours.
const BEAT: Duration = Duration::from_secs(5);
/// A receiver that says nothing for so long is gone. It answers our signs, or gives its own as often.
const SILENCE: Duration = Duration::from_secs(20);
/// With so many bytes unwritten no more is taken up.
const MOST_UNWRITTEN: usize = 256 << 10;
/// For the last words to a receiver.
const GOODBYE: Duration = Duration::from_secs(1);

/// A protocol that is spoken on a line. It keeps who waits for which answer; when it is dropped, they learn that none comes.
pub(crate) trait Protocol: Send + 'static {
    type Command: Send + 'static;

    /// Takes all that is whole off the front of `input`. An error ends the line.
    fn received(&mut self, input: &mut BytesMut, output: &mut BytesMut) -> Result<(), String>;

    /// Writes what the command asks for.
    fn send(&mut self, command: Self::Command, output: &mut BytesMut);

    /// Writes a sign of life.
    fn beat(&mut self, output: &mut BytesMut);
}

/// A connection; ends with its value.
pub(crate) struct Line<P: Protocol> {
    commands: mpsc::Sender<P::Command>,
    why: Arc<OnceLock<String>>,
    task: AbortHandle,
}

impl<P: Protocol> Line<P> {
    /// Begins with `input`, which came with the greeting. At most `waiting` commands wait to be written.
    pub(crate) fn start(stream: Box<dyn Stream>, input: BytesMut, protocol: P, waiting: usize) -> Self {
        let (commands, taken) = mpsc::channel(waiting.max(1));
        let why = Arc::new(OnceLock::new());
        let ended = Arc::clone(&why);
        let task = tokio::spawn(async move {
            let mut at_work = AtWork::new(stream, input, protocol, taken);
            let reason = at_work.run().await;
            // Before those who wait are told, since they ask for it.
            let _ = ended.set(reason);
            let _ = timeout(GOODBYE, at_work.writer.write_all_buf(&mut at_work.output)).await;
        });
        Self { commands, why, task: task.abort_handle() }
    }

    /// Hands a command over; the error says why the line has ended.
    pub(crate) async fn send(&self, command: P::Command) -> Result<(), String> {
        self.commands.send(command).await.map_err(|_| self.why_ended())
    }

    pub(crate) fn why_ended(&self) -> String {
        self.why.get().cloned().unwrap_or_else(|| "the connection ended".to_owned())
    }
}

impl<P: Protocol> Connection for Line<P> {
    fn is_over(&self) -> bool {
        self.why.get().is_some() || self.commands.is_closed()
    }
}

impl<P: Protocol> Drop for Line<P> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The state of the task.
struct AtWork<P: Protocol> {
    reader: ReadHalf<Box<dyn Stream>>,
    writer: WriteHalf<Box<dyn Stream>>,
    input: BytesMut,
    output: BytesMut,
    protocol: P,
    commands: mpsc::Receiver<P::Command>,
    /// When the receiver last said anything.
    heard: Instant,
}

impl<P: Protocol> AtWork<P> {
    fn new(
        stream: Box<dyn Stream>,
        input: BytesMut,
        protocol: P,
        commands: mpsc::Receiver<P::Command>,
    ) -> Self {
        let (reader, writer) = split(stream);
        Self { reader, writer, input, output: BytesMut::new(), protocol, commands, heard: clock::ticks() }
    }

    /// Reads and writes beside each other, so that neither waits for the other; says why it ends.
    async fn run(&mut self) -> String {
        let mut beat = interval_at(self.heard + BEAT, BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut unflushed = false;
        if let Err(why) = self.protocol.received(&mut self.input, &mut self.output) {
            return why;
        }
        loop {
            let unwritten = self.output.len();
            tokio::select! {
                // The receiver's words count before its silence is measured.
                biased;

                read = self.reader.read_buf(&mut self.input) => match read {
                    Ok(0) => return "the receiver closed the connection".to_owned(),
                    Ok(_) => {
                        self.heard = clock::ticks();
                        if let Err(why) = self.protocol.received(&mut self.input, &mut self.output) {
                            return why;
                        }
                    }
                    Err(error) => return broke(&error),
                },
                written = write(&mut self.writer, &mut self.output), if unwritten > 0 || unflushed => match written {
                    Ok(all) => unflushed = !all,
                    Err(error) => return broke(&error),
                },
                command = self.commands.recv(), if unwritten < MOST_UNWRITTEN => match command {
                    Some(command) => self.protocol.send(command, &mut self.output),
                    None => return "it is not needed any more".to_owned(),
                },
                _ = beat.tick() => {
                    if clock::ticks() - self.heard > SILENCE {
                        return format!("no sign of life for {} s", SILENCE.as_secs());
                    }
                    self.protocol.beat(&mut self.output);
                }
            }
        }
    }
}

/// Writes a piece, or ends the writing of all pieces; says whether nothing is left. Dropped at its await, it has done nothing.
async fn write(writer: &mut WriteHalf<Box<dyn Stream>>, output: &mut BytesMut) -> io::Result<bool> {
    if output.is_empty() {
        writer.flush().await?;
        return Ok(true);
    }
    writer.write_buf(output).await?;
    Ok(false)
}

/// Why a connection does not go on.
pub(crate) fn broke(error: &io::Error) -> String {
    let tls = tls::words_of_io(error);
    tls.map_or_else(|| format!("the connection broke: {}", error.kind()), str::to_owned)
}
