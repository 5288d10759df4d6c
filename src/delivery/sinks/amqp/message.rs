//! The message for an event: its exchange, its routing key, its properties and its body.

use bytes::Bytes;

use super::frame::{SHORT, Value, properties};
use crate::domain::cloudevent::CONTENT_TYPE;
use crate::domain::format::Format;
use crate::domain::template::{Template, shorten};
use crate::store::Leased;

/// Bytes of an exchange's name.
pub(super) const LONGEST_EXCHANGE: usize = 127;
const STRUCTURED: &str = "application/cloudevents+json; charset=utf-8";

/// A message on its way to an exchange.
#[derive(Debug, Clone)]
pub(super) struct Message {
    /// Empty for the default exchange, whose routing keys are names of queues.
    pub(super) exchange: String,
    pub(super) key: String,
    /// The event's key; of one that is too long for the property the end is a hash.
    pub(super) id: String,
    pub(super) properties: Bytes,
    pub(super) body: Bytes,
}

/// Makes the messages of one queue.
#[derive(Debug)]
pub(super) struct Messages {
    pub(super) exchange: Option<Template>,
    pub(super) routing_key: Template,
    pub(super) format: Format,
}

impl Messages {
    pub(super) fn of(&self, leased: &Leased) -> Message {
        let Leased { seq, attempt, event } = leased;
        let exchange = self.exchange.as_ref();
        let exchange = exchange.map(|template| template.render(event, is_plain, LONGEST_EXCHANGE));
        let mut attributes = event.cloudevent_attributes(*seq, *attempt);
        let (content_type, body) = match self.format {
            Format::CloudEvents => {
                (Some(STRUCTURED.to_owned()), Bytes::from(event.cloudevent(*seq, *attempt)))
            }
            Format::CloudEventsBinary | Format::Raw => {
                // It has a place of its own in a message.
                let own = attributes.extract_if(.., |(name, _)| name == CONTENT_TYPE).next();
                (own.map(|(_, value)| value), event.body.clone())
            }
        };
        if self.format == Format::Raw {
            attributes.clear();
        }
        for (name, _) in &mut attributes {
            name.insert_str(0, "cloudEvents:");
        }
        let headers: Vec<_> =
            attributes.iter().map(|(name, value)| (name.as_str(), Value::Text(value))).collect();
        let id = shorten(event.key.clone(), SHORT);
        Message {
            exchange: exchange.unwrap_or_default(),
            key: self.routing_key.render(event, is_plain, SHORT),
            properties: properties(content_type.as_deref(), &headers, &id),
            id,
            body,
        }
    }
}

/// Characters of an id that stand in a name as they are: neither a dot, which divides a routing key, nor a wildcard of a binding.
fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_')
}
