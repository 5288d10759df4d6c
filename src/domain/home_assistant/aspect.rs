//! The aspects of a device that events tell of, and the entities that show them.

use serde_json::{Value, json};

/// Seconds after which a motion is over: Ring tells of its beginning alone.
const MOTION_LASTS: u32 = 30;
/// Seen in Ring's sub types; an entity takes no others than it has named. An unknown one goes as `other_motion`.
pub(super) const MOTIONS: [&str; 7] =
    ["motion", "human", "vehicle", "animal", "package", "package_delivery", "other_motion"];
/// The event type that Home Assistant asks of every doorbell.
pub(super) const RING: &str = "ring";

/// What one topic of a device tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Aspect {
    Online,
    Doorbell,
    Motion,
    Contact,
    Tamper,
    Flood,
    Freeze,
    Temperature,
    Humidity,
    Pm25,
    Co,
}

/// One entity of Home Assistant, without what all have in common.
pub(super) struct Entity {
    /// Home Assistant's word for the kind of entity.
    pub(super) component: &'static str,
    pub(super) object: &'static str,
    pub(super) name: &'static str,
    pub(super) own: Value,
}

impl Aspect {
    pub(super) const ALL: [Self; 11] = [
        Self::Online,
        Self::Doorbell,
        Self::Motion,
        Self::Contact,
        Self::Tamper,
        Self::Flood,
        Self::Freeze,
        Self::Temperature,
        Self::Humidity,
        Self::Pm25,
        Self::Co,
    ];

    /// Its word in a topic; of a reading also Ring's name for it in the body.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Doorbell => "doorbell",
            Self::Motion => "motion",
            Self::Contact => "contact",
            Self::Tamper => "tamper",
            Self::Flood => "flood",
            Self::Freeze => "freeze",
            Self::Temperature => "temperature",
            Self::Humidity => "humidity",
            Self::Pm25 => "pm25",
            Self::Co => "co",
        }
    }

    /// Its place in an array.
    pub(super) const fn index(self) -> usize {
        self as usize
    }

    /// Whether it happens, and is not a state that lasts. It is never retained.
    pub(super) const fn is_moment(self) -> bool {
        matches!(self, Self::Doorbell | Self::Motion)
    }

    /// Whether a reading comes with it.
    pub(super) const fn is_reading(self) -> bool {
        matches!(self, Self::Temperature | Self::Humidity | Self::Pm25 | Self::Co)
    }

    pub(super) fn entities(self) -> Vec<Entity> {
        match self {
            Self::Online => {
                let own = json!({"device_class": "connectivity", "entity_category": "diagnostic"});
                vec![Entity { component: "binary_sensor", object: "online", name: "Online", own }]
            }
            Self::Doorbell => {
                let own = json!({"device_class": "doorbell", "event_types": [RING]});
                vec![Entity { component: "event", object: "doorbell", name: "Doorbell", own }]
            }
            Self::Motion => motion(),
            Self::Contact => vec![binary("contact", "Contact", "opening")],
            Self::Tamper => vec![binary("tamper", "Tamper", "tamper")],
            Self::Flood => vec![binary("flood", "Flood", "moisture")],
            Self::Freeze => vec![binary("freeze", "Freeze", "cold")],
            // Ring does not say in which unit, and Home Assistant takes no temperature without one.
            Self::Temperature => vec![
                alarm("temperature_alarm", "Temperature alarm", "problem"),
                reading("temperature", "Temperature", json!({"icon": "mdi:thermometer"})),
            ],
            Self::Humidity => vec![
                alarm("humidity_alarm", "Humidity alarm", "problem"),
                reading(
                    "humidity",
                    "Humidity",
                    json!({"device_class": "humidity", "unit_of_measurement": "%"}),
                ),
            ],
            Self::Pm25 => vec![
                alarm("pm25_alarm", "PM2.5 alarm", "problem"),
                reading(
                    "pm25",
                    "PM2.5",
                    json!({"device_class": "pm25", "unit_of_measurement": "\u{b5}g/m\u{b3}"}),
                ),
            ],
            Self::Co => vec![
                alarm("co_alarm", "Carbon monoxide alarm", "carbon_monoxide"),
                reading(
                    "co",
                    "Carbon monoxide",
                    json!({"device_class": "carbon_monoxide", "unit_of_measurement": "ppm"}),
                ),
            ],
        }
    }
}

/// The motion as an event with its kind, and as a state for a while; both read one topic.
fn motion() -> Vec<Entity> {
    let event = json!({"device_class": "motion", "event_types": MOTIONS});
    let state = json!({"device_class": "motion", "value_template": "{{ 'ON' }}", "off_delay": MOTION_LASTS});
    vec![
        Entity { component: "event", object: "motion_event", name: "Motion event", own: event },
        Entity { component: "binary_sensor", object: "motion", name: "Motion", own: state },
    ]
}

/// On or off, in Home Assistant's own words for it.
fn binary(object: &'static str, name: &'static str, class: &str) -> Entity {
    Entity { component: "binary_sensor", object, name, own: json!({"device_class": class}) }
}

/// Whether a reading is beyond its threshold.
fn alarm(object: &'static str, name: &'static str, class: &str) -> Entity {
    let own = json!({"device_class": class, "value_template": "{{ value_json.state }}"});
    Entity { component: "binary_sensor", object, name, own }
}

fn reading(object: &'static str, name: &'static str, mut own: Value) -> Entity {
    own["value_template"] = "{{ value_json.value }}".into();
    Entity { component: "sensor", object, name, own }
}
