//! Ring's devices in Home Assistant: from an event to the messages of MQTT that its discovery understands, and to the states that its
//! entities read.
//!
//! ```text
//! event ──said.rs──▶ which aspect of the device, which state ──announced.rs──▶ what Home Assistant does not know yet ──▶ messages
//! ```
//!
//! Each entity has a retained message of its own. One for a whole device would have to hold all its entities, and after a restart nobody
//! could tell which those were. So an entity comes with the first event that needs it, and stays.

mod announced;
mod aspect;
mod said;
#[cfg(test)]
mod tests;

use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub use self::announced::{Announced, Plan};
use self::aspect::{Aspect, Entity};
use super::event::Event;
use super::ids::{AccountId, DeviceId, UserId};

/// Bytes of a hash that stands for a device: too many for two devices to share it.
const HASH: usize = 16;
/// Hex digits of it in a device's name.
const IN_NAME: usize = 6;
/// Home Assistant's own words for availability.
pub const ONLINE: &str = "online";
pub const OFFLINE: &str = "offline";

/// A message for Home Assistant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub topic: String,
    /// An empty one takes back what was retained.
    pub payload: String,
    pub retain: bool,
}

/// Stands for a device of one account of one user: in topics and in Home Assistant's registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct DeviceKey([u8; HASH]);

/// Whose a device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct OwnerKey([u8; HASH]);

impl DeviceKey {
    fn of(event: &Event, device: &DeviceId) -> Self {
        let OwnerKey(owner) = OwnerKey::of(event);
        Self(hash([Some(&owner[..]), Some(device.as_str().as_bytes())]))
    }

    /// Letters and digits, as Home Assistant wants them in a topic.
    fn hex(self) -> String {
        HEXLOWER.encode(&self.0)
    }
}

impl OwnerKey {
    fn of(event: &Event) -> Self {
        let user = event.user.as_ref().map(UserId::as_str).map(str::as_bytes);
        let account = event.account.as_ref().map(AccountId::as_str).map(str::as_bytes);
        Self(hash([user, account]))
    }
}

/// No two lists of parts have the same text under the hash.
fn hash<const N: usize>(parts: [Option<&[u8]>; N]) -> [u8; HASH] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update([u8::from(part.is_some())]);
        let part = part.unwrap_or_default();
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    let mut short = [0; HASH];
    short.copy_from_slice(&hash.finalize()[..HASH]);
    short
}

/// Where one queue tells Home Assistant of devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discovery {
    /// Home Assistant's discovery prefix.
    prefix: String,
    availability: String,
}

impl Discovery {
    /// Of the client with this id, whose connection says whether the entities are available.
    pub fn new(prefix: &str, client_id: &str) -> Self {
        let client = HEXLOWER.encode(&hash([Some(client_id.as_bytes())]));
        Self { prefix: prefix.to_owned(), availability: format!("{prefix}/ringhookd/availability/{client}") }
    }

    /// The topic that holds [`ONLINE`] while the queue is connected, and else [`OFFLINE`].
    pub fn availability(&self) -> &str {
        &self.availability
    }

    /// What makes the entities of an aspect known; retained.
    fn configs(&self, key: DeviceKey, device: &DeviceId, aspect: Aspect) -> Vec<Message> {
        let config = |entity: Entity| {
            let payload = self.config(key, device, aspect, &entity).to_string();
            Message { topic: self.config_topic(key, &entity), payload, retain: true }
        };
        aspect.entities().into_iter().map(config).collect()
    }

    fn config(&self, key: DeviceKey, device: &DeviceId, aspect: Aspect, entity: &Entity) -> Value {
        let id = key.hex();
        let mut config = json!({
            "name": entity.name,
            "unique_id": format!("ringhookd_{id}_{}", entity.object),
            "state_topic": self.state_topic(key, aspect),
            "availability_topic": self.availability,
            "qos": 1,
            "device": {
                "identifiers": [format!("ringhookd_{id}")],
                "name": format!("Ring {}", &id[..IN_NAME]),
                "manufacturer": "Ring",
                "serial_number": device.as_str(),
            },
            "origin": {"name": "ringhookd", "sw_version": env!("CARGO_PKG_VERSION")},
        });
        if let (Some(config), Value::Object(own)) = (config.as_object_mut(), &entity.own) {
            config.extend(own.clone());
        }
        config
    }

    fn state(&self, key: DeviceKey, aspect: Aspect, payload: String) -> Message {
        Message { topic: self.state_topic(key, aspect), payload, retain: !aspect.is_moment() }
    }

    /// What takes all back that was ever retained of a device, its entities first.
    fn nothing_of(&self, key: DeviceKey) -> Vec<Message> {
        let empty = |topic| Message { topic, payload: String::new(), retain: true };
        let entities = Aspect::ALL.into_iter().flat_map(Aspect::entities);
        let configs = entities.map(|entity| empty(self.config_topic(key, &entity)));
        let kept = Aspect::ALL.into_iter().filter(|aspect| !aspect.is_moment());
        let states = kept.map(|aspect| empty(self.state_topic(key, aspect)));
        configs.chain(states).collect()
    }

    fn config_topic(&self, key: DeviceKey, entity: &Entity) -> String {
        let (prefix, id) = (&self.prefix, key.hex());
        format!("{prefix}/{}/ringhookd_{id}/{}/config", entity.component, entity.object)
    }

    /// Of a shape that Home Assistant does not take for a discovery topic.
    fn state_topic(&self, key: DeviceKey, aspect: Aspect) -> String {
        format!("{}/ringhookd/{}/{}", self.prefix, key.hex(), aspect.word())
    }
}
