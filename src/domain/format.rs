//! The forms in which an event leaves a queue.

use bytes::Bytes;

use super::event::Event;

/// The form of a queue's events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    CloudEvents,
    /// In the headers of HTTP or the properties of MQTT, with the body as Ring sent it. Elsewhere there is no such place, so it is
    /// [`Format::CloudEvents`].
    CloudEventsBinary,
    Raw,
}

impl Format {
    /// The whole content of a message or a file: a `CloudEvent` with its line end, or the body as Ring sent it.
    pub fn content(self, event: &Event, sequence: u64, attempt: u32) -> Bytes {
        match self {
            Self::CloudEvents | Self::CloudEventsBinary => {
                let mut line = event.cloudevent(sequence, attempt);
                line.push('\n');
                line.into()
            }
            Self::Raw => event.body.clone(),
        }
    }

    /// A JSON value on one line, for a document that holds several events.
    pub fn line(self, event: &Event, sequence: u64, attempt: u32) -> String {
        match self {
            Self::CloudEvents | Self::CloudEventsBinary => event.cloudevent(sequence, attempt),
            Self::Raw => event.raw(),
        }
    }
}
