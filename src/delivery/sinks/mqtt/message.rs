//! The message for an event: its topic, its content by the queue's format, its attributes as user properties.

use super::packet::{Publish, TooLong, Unnumbered};
use crate::domain::cloudevent::{CONTENT_TYPE, is_attribute_char};
use crate::domain::event::Event;
use crate::domain::format::Format;
use crate::domain::home_assistant;
use crate::domain::template::Template;
use crate::store::Leased;

/// As the MQTT binding of CloudEvents names its structured mode.
const STRUCTURED: &str = "application/cloudevents+json; charset=utf-8";
/// Bytes of the longest topic; of a longer one the end is a hash.
const LONGEST_TOPIC: usize = 4096;

/// Makes the messages of one queue.
#[derive(Debug)]
pub(super) struct Messages {
    topic: Template,
    format: Format,
}

impl Messages {
    pub(super) fn new(topic: Template, format: Format) -> Self {
        Self { topic, format }
    }

    pub(super) fn topic(&self, event: &Event) -> String {
        self.topic.render(event, is_safe, LONGEST_TOPIC)
    }

    /// The event's message to `topic`, never retained.
    pub(super) fn of(&self, topic: &str, leased: &Leased) -> Result<Unnumbered, TooLong> {
        let Leased { seq, attempt, event } = leased;
        let mut properties = event.cloudevent_attributes(*seq, *attempt);
        let structured;
        let mut content_type = STRUCTURED.to_owned();
        let payload: &[u8] = match self.format {
            Format::CloudEvents => {
                structured = event.cloudevent(*seq, *attempt);
                structured.as_bytes()
            }
            Format::CloudEventsBinary | Format::Raw => {
                // It has a place of its own in a message.
                let own = properties.extract_if(.., |(name, _)| name == CONTENT_TYPE).next();
                content_type = own.map(|(_, value)| value).unwrap_or_default();
                &event.body
            }
        };
        if self.format == Format::Raw {
            properties = vec![("id".to_owned(), event.key.clone())];
        }
        Publish { topic, retain: false, content_type: Some(&content_type), properties: &properties, payload }
            .encode()
    }
}

/// A message for Home Assistant, as it is.
pub(super) fn of_home(message: &home_assistant::Message) -> Result<Unnumbered, TooLong> {
    let home_assistant::Message { topic, payload, retain } = message;
    Publish { topic, retain: *retain, content_type: None, properties: &[], payload: payload.as_bytes() }
        .encode()
}

/// Whether an id may hold `c` in a topic: no separator, no wildcard, not the `$` of a broker's own topics, no control character.
pub(super) fn is_safe(c: char) -> bool {
    !matches!(c, '/' | '+' | '#' | '$') && is_attribute_char(c)
}
