//! A session with a broker after the login: messages out on one channel, and what the broker says of each.
//!
//! A message that reaches no queue is returned before it is acknowledged, so an acknowledgement alone says little: it counts once
//! nothing came back under the message's id.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::sync::oneshot;

use super::frame::{Arguments, CHANNEL, Reason, Said, header_frame, heartbeat, id, publish, take};
use super::message::Message;
use crate::delivery::sinks::wire::Protocol;
use crate::delivery::sinks::words::Words;

/// What comes of one message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// The queues that it reached have it.
    Confirmed,
    /// It reached no queue.
    Returned(Reason),
    /// The broker does not say why.
    Rejected,
    /// The broker takes nothing from publishers now, in its words.
    Blocked(String),
    /// The broker closed the channel because of this message.
    Blamed(Blame, Reason),
    /// Its header fits into no frame that the broker takes.
    HeaderTooLarge { bytes: usize, most: usize },
}

/// What of a message the broker closed the channel for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blame {
    Exchange,
    RoutingKey,
    Size,
}

/// A message to publish.
pub(super) struct Publish {
    pub(super) message: Message,
    pub(super) reply: oneshot::Sender<Reply>,
}

/// The state of a line of AMQP.
#[derive(Debug)]
pub(super) struct Session {
    words: Arc<Words>,
    frame_max: usize,
    /// The number of the message that was sent last; the broker counts them too.
    last: u64,
    waiting: BTreeMap<u64, Sent>,
    /// Why publishers are blocked.
    blocked: Option<String>,
    /// Why the message comes back whose header is next.
    returning: Option<Reason>,
}

/// A message that the broker has not acknowledged.
#[derive(Debug)]
struct Sent {
    message: Message,
    returned: Option<Reason>,
    reply: oneshot::Sender<Reply>,
}

impl Session {
    pub(super) fn new(words: Arc<Words>, frame_max: usize) -> Self {
        Self { words, frame_max, last: 0, waiting: BTreeMap::new(), blocked: None, returning: None }
    }

    fn said(&mut self, said: Said, output: &mut BytesMut) -> Result<(), String> {
        match said {
            Said::Ack { tag, multiple } => self.answered(tag, multiple, true),
            Said::Nack { tag, multiple } => self.answered(tag, multiple, false),
            Said::Return(reason) => self.returning = Some(reason),
            Said::Header { message_id } => self.came_back(&message_id),
            Said::Blocked(reason) => self.block(self.words.said(&reason)),
            Said::Unblocked | Said::Flow { active: true } => self.blocked = None,
            Said::Flow { active: false } => self.block("it asks for a pause".to_owned()),
            Said::Close(reason) => {
                Arguments::default().write(0, id::CLOSE_OK, output);
                return Err(format!("the broker closed the connection: {}", reason.words(&self.words)));
            }
            Said::ChannelClose(reason) => {
                Arguments::default().write(CHANNEL, id::CHANNEL_CLOSE_OK, output);
                goodbye(output);
                self.blame(&reason);
                return Err(format!("the broker closed the channel: {}", reason.words(&self.words)));
            }
            Said::Nothing => {}
            Said::Start { .. } | Said::Tune { .. } | Said::OpenOk | Said::ChannelOpenOk | Said::SelectOk => {
                return Err("the broker sent a word of the login after it".to_owned());
            }
        }
        Ok(())
    }

    fn answered(&mut self, tag: u64, multiple: bool, taken: bool) {
        let first = if multiple { 0 } else { tag };
        // Without a number it is all that were sent.
        let last = if multiple && tag == 0 { self.last } else { tag };
        for (_, Sent { returned, reply, .. }) in self.waiting.extract_if(first..=last, |_, _| true) {
            let _ = reply.send(match (taken, returned) {
                (false, _) => Reply::Rejected,
                (true, Some(reason)) => Reply::Returned(reason),
                (true, None) => Reply::Confirmed,
            });
        }
    }

    /// Of an id that was sent again all count as returned: one too many comes again, and none is lost.
    fn came_back(&mut self, message_id: &str) {
        let Some(reason) = self.returning.take() else { return };
        for sent in self.waiting.values_mut().filter(|sent| sent.message.id == message_id) {
            sent.returned = Some(reason.clone());
        }
    }

    /// The broker may read no further, so nobody waits for it.
    fn block(&mut self, why: String) {
        for (_, Sent { reply, .. }) in std::mem::take(&mut self.waiting) {
            let _ = reply.send(Reply::Blocked(why.clone()));
        }
        self.blocked = Some(why);
    }

    /// Tells those for whose message the channel was closed; the others learn that the connection ended.
    fn blame(&mut self, reason: &Reason) {
        let blamed = |sent: &Sent| blame(reason, &sent.message);
        for (_, sent) in self.waiting.extract_if(.., |_, sent| blamed(sent).is_some()) {
            if let Some(blame) = blame(reason, &sent.message) {
                let _ = sent.reply.send(Reply::Blamed(blame, reason.clone()));
            }
        }
    }
}

impl Protocol for Session {
    type Command = Publish;

    fn received(&mut self, input: &mut BytesMut, output: &mut BytesMut) -> Result<(), String> {
        while let Some(said) = take(input)? {
            if let Said::Flow { active } = said {
                Arguments::default().u8(active.into()).write(CHANNEL, id::FLOW_OK, output);
            }
            self.said(said, output)?;
        }
        Ok(())
    }

    fn send(&mut self, publishing: Publish, output: &mut BytesMut) {
        let Publish { message, reply } = publishing;
        // Given up while it waited.
        if reply.is_closed() {
            return;
        }
        if let Some(why) = &self.blocked {
            let _ = reply.send(Reply::Blocked(why.clone()));
            return;
        }
        let (bytes, most) = (header_frame(&message.properties), self.frame_max);
        if bytes > most {
            let _ = reply.send(Reply::HeaderTooLarge { bytes, most });
            return;
        }
        publish((&message.exchange, &message.key), &message.properties, &message.body, most, output);
        self.last += 1;
        self.waiting.insert(self.last, Sent { message, returned: None, reply });
    }

    fn beat(&mut self, output: &mut BytesMut) {
        self.waiting.retain(|_, sent| !sent.reply.is_closed());
        heartbeat(output);
    }
}

impl Reason {
    pub(super) fn words(&self, words: &Words) -> String {
        format!("{} {}", self.code, words.said(&self.text))
    }
}

/// Ends the connection in order.
fn goodbye(output: &mut BytesMut) {
    Arguments::default().u16(200).short("").u16(0).u16(0).write(0, id::CLOSE, output);
}

/// Whether the channel was closed for this message. The broker names the exchange, the routing key or the size.
fn blame(reason: &Reason, message: &Message) -> Option<Blame> {
    let text = reason.text.as_str();
    match reason.code {
        // Texts of more than 255 bytes end in dots.
        403 if text.contains(" topic '") => {
            let (_, rest) = text.split_once(" topic '")?;
            let is_this = match rest.split_once('\'') {
                // What follows may be cut off.
                Some((key, rest)) => {
                    key == message.key && exchange(rest).is_none_or(|name| name == message.exchange)
                }
                None => message.key.starts_with(rest.trim_end_matches("...")),
            };
            is_this.then_some(Blame::RoutingKey)
        }
        403 | 404 => (exchange(text)? == message.exchange).then_some(Blame::Exchange),
        311 | 406 => {
            let (_, rest) = text.split_once("message size ")?;
            let size = rest.split(' ').next()?.parse::<usize>().ok()?;
            (size == message.body.len()).then_some(Blame::Size)
        }
        _ => None,
    }
}

/// The exchange that the broker names.
fn exchange(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("exchange '")?;
    rest.split_once('\'').map(|(name, _)| name)
}

#[cfg(test)]
mod tests;
