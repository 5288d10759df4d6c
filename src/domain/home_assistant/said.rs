//! What an event says of its device.

use serde_json::{Value, json};

use super::aspect::{Aspect, MOTIONS, RING};
use crate::domain::event::{Event, FORGOTTEN};
use crate::domain::routing::OWN_KINDS;
use crate::domain::time::Millis;

/// On and off in Home Assistant's own words for them.
pub(super) const ON: &str = "ON";
pub(super) const OFF: &str = "OFF";

/// Ring's types that tell of a state, with whether it is on.
const STATES: [(&str, Aspect, bool); 18] = [
    ("device_online", Aspect::Online, true),
    ("device_offline", Aspect::Online, false),
    ("contact_sensor_faulted", Aspect::Contact, true),
    ("contact_sensor_cleared", Aspect::Contact, false),
    ("tamper_detected", Aspect::Tamper, true),
    ("tamper_cleared", Aspect::Tamper, false),
    ("flood_detected", Aspect::Flood, true),
    ("flood_cleared", Aspect::Flood, false),
    ("freeze_detected", Aspect::Freeze, true),
    ("freeze_cleared", Aspect::Freeze, false),
    ("temperature_exceeded", Aspect::Temperature, true),
    ("temperature_cleared", Aspect::Temperature, false),
    ("humidity_exceeded", Aspect::Humidity, true),
    ("humidity_cleared", Aspect::Humidity, false),
    ("pm25_exceeded", Aspect::Pm25, true),
    ("pm25_cleared", Aspect::Pm25, false),
    ("co_exceeded", Aspect::Co, true),
    ("co_cleared", Aspect::Co, false),
];

/// What an event says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    /// Nothing of a device.
    Nothing,
    /// That its device is there, and perhaps a state of it.
    Device { aspect: Option<(Aspect, String)>, online: bool },
    /// That its device is gone.
    DeviceGone,
    /// That all devices of its account are gone.
    AccountGone,
}

pub(super) fn said(event: &Event) -> Said {
    if event.kind == "app_integration_removed" || event.kind == FORGOTTEN {
        return Said::AccountGone;
    }
    if event.device.is_none() || event.kind.starts_with(OWN_KINDS) {
        return Said::Nothing;
    }
    let aspect = match event.kind.as_str() {
        "device_removed" => return Said::DeviceGone,
        "button_press" => Some((Aspect::Doorbell, moment(event, RING))),
        "motion_detected" => Some((Aspect::Motion, moment(event, motion(event.sub_kind.as_deref())))),
        kind => STATES.iter().find(|(known, ..)| *known == kind).map(|&(_, aspect, on)| {
            (aspect, if aspect.is_reading() { reading(event, aspect, on) } else { word(on).to_owned() })
        }),
    };
    // A device that tells of anything is online, but for this.
    Said::Device { aspect, online: event.kind != "device_offline" }
}

/// When it happened, as far as is known.
pub(super) fn time(event: &Event) -> Millis {
    event.time.unwrap_or(event.received_at)
}

const fn word(on: bool) -> &'static str {
    if on { ON } else { OFF }
}

fn motion(sub_kind: Option<&str>) -> &'static str {
    let [first, .., other] = MOTIONS;
    sub_kind.map_or(first, |sub| MOTIONS.into_iter().find(|known| *known == sub).unwrap_or(other))
}

/// An event of Home Assistant; all but its type are attributes.
fn moment(event: &Event, event_type: &str) -> String {
    let mut payload = json!({"event_type": event_type, "id": event.key, "time": time(event)});
    if let Some(sub_kind) = &event.sub_kind {
        payload["sub_type"] = sub_kind.as_str().into();
    }
    payload.to_string()
}

/// The state together with the reading, where Ring sent one.
fn reading(event: &Event, aspect: Aspect, on: bool) -> String {
    let body: Value = serde_json::from_slice(&event.body).unwrap_or_default();
    let value = &body["data"]["attributes"][aspect.word()];
    let value = if value.is_number() { value } else { &Value::Null };
    json!({"state": word(on), "value": value}).to_string()
}
