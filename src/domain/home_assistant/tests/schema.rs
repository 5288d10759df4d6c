//! Holds discovery messages against `fixtures/home_assistant.json`.

use serde_json::{Map, Value};

use crate::domain::home_assistant::Message;

/// Checks a message that makes an entity known: its topic, and all of its payload.
pub(super) fn check(message: &Message) {
    let schema: Value =
        serde_json::from_str(include_str!("../../../../fixtures/home_assistant.json")).unwrap();
    let [prefix, component, node, object, "config"] = message.topic.split('/').collect::<Vec<_>>()[..] else {
        panic!("{message:?}")
    };
    assert_eq!((prefix, message.retain), ("homeassistant", true));
    for id in [node, object] {
        assert!(!id.is_empty() && id.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c)), "{id}");
    }
    let payload: Value = serde_json::from_str(&message.payload).unwrap();
    let mut known = schema["every"].as_object().unwrap().clone();
    known.extend(schema[component].as_object().unwrap_or_else(|| panic!("{component}")).clone());
    object_fits(&payload, &known, component);
    let text = |key: &str| payload[key].as_str().unwrap_or_default().to_owned();
    if component == "sensor" && payload.get("device_class").is_some() {
        let units = schema["units"][text("device_class")].as_array().unwrap();
        assert!(units.contains(&payload["unit_of_measurement"]), "{payload}");
    }
    if component == "event"
        && let Some(needed) = schema["event_types_needed"].get(text("device_class"))
    {
        assert!(payload["event_types"].as_array().unwrap().contains(needed), "{payload}");
    }
}

fn object_fits(value: &Value, known: &Map<String, Value>, path: &str) {
    let fields = value.as_object().unwrap_or_else(|| panic!("{path}: {value}"));
    for (key, value) in fields {
        let needed = format!("*{key}");
        let rule = known.get(key).or_else(|| known.get(&needed)).unwrap_or_else(|| panic!("{path}.{key}"));
        fits(value, rule, &format!("{path}.{key}"));
    }
    for needed in known.keys().filter_map(|key| key.strip_prefix('*')) {
        assert!(fields.contains_key(needed), "{path}.{needed} is missing");
    }
}

fn fits(value: &Value, rule: &Value, path: &str) {
    let text = value.as_str().filter(|text| !text.is_empty());
    let holds = match rule {
        Value::Object(known) => return object_fits(value, known, path),
        Value::Array(words) => words.contains(value),
        Value::String(kind) => match kind.as_str() {
            "text" => text.is_some(),
            "texts" => {
                value.as_array().is_some_and(|all| !all.is_empty() && all.iter().all(Value::is_string))
            }
            "count" => value.as_u64().is_some_and(|count| count > 0),
            "icon" => text.is_some_and(|text| text.starts_with("mdi:")),
            "template" => text.is_some_and(|text| text.contains("{{ ") && text.contains(" }}")),
            "topic" => text.is_some_and(|text| !text.contains(['+', '#', '\0']) && !text.starts_with('$')),
            other => panic!("{path}: no such kind: {other}"),
        },
        other => panic!("{path}: no rule: {other}"),
    };
    assert!(holds, "{path}: {value} is not {rule}");
}
