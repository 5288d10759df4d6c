//! The bodies of every event type that Ring documents.

use serde_json::{Map, Value, json};

use crate::domain::time::Millis;

/// Every documented `data.type`; sensors are Ring's early access.
pub const KINDS: [&str; 26] = [
    "device_added",
    "app_integration_added",
    "motion_detected",
    "button_press",
    "device_online",
    "device_offline",
    "subscription_activated",
    "subscription_deactivated",
    "contact_sensor_faulted",
    "contact_sensor_cleared",
    "tamper_detected",
    "tamper_cleared",
    "flood_detected",
    "flood_cleared",
    "freeze_detected",
    "freeze_cleared",
    "temperature_exceeded",
    "temperature_cleared",
    "humidity_exceeded",
    "humidity_cleared",
    "pm25_exceeded",
    "pm25_cleared",
    "co_exceeded",
    "co_cleared",
    "device_removed",
    "app_integration_removed",
];

/// The body of an event as Ring writes it (envelope v1.1): of `kind`, for `account`, about `device`, sent at `now`.
pub fn body(kind: &str, request_id: &str, account: &str, device: &str, now: Millis) -> Vec<u8> {
    let meta = json!({
        "version": "1.1",
        "time": now.rfc3339(),
        "request_id": request_id,
        "account_id": account,
    });
    let mut data = json!({ "id": format!("{device}_{kind}_{}", now.0), "type": kind });
    data["attributes"] = attributes(kind, account, device, now);
    if kind == "motion_detected" {
        data["subType"] = "human".into();
    }
    if kind.starts_with("subscription_") {
        data["relationships"] = json!({ "devices": { "data": [{ "type": "device", "id": device }] } });
    }
    json!({ "meta": meta, "data": data }).to_string().into_bytes()
}

fn attributes(kind: &str, account: &str, device: &str, now: Millis) -> Value {
    let of = |source: &str, source_type: &str| {
        let mut map = Map::new();
        map.insert("source".into(), source.into());
        map.insert("source_type".into(), source_type.into());
        map
    };
    if kind.starts_with("app_integration_") {
        let mut map = of(account, "users");
        map.insert("timestamp".into(), now.0.into());
        return Value::Object(map);
    }
    if kind.starts_with("subscription_") {
        let mut map = of("subscriptions", "subscriptions");
        map.insert("source_id".into(), format!("subscription-of-{device}").into());
        map.insert("sub_type".into(), "paid".into());
        map.insert("plan_id".into(), "basic".into());
        if kind == "subscription_activated" {
            map.insert("expires_at".into(), Millis(now.0 + 30 * 86_400_000).rfc3339().into());
        }
        return Value::Object(map);
    }
    let mut map = of(device, "devices");
    map.insert("timestamp".into(), now.0.into());
    if let Some((quantity, _)) = kind.split_once("_exceeded") {
        map.insert(quantity.into(), 41.5.into());
        map.insert("threshold_type".into(), "max".into());
    }
    Value::Object(map)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::envelope;

    #[test]
    fn every_event_is_understood() {
        for kind in KINDS {
            let event = envelope::parse(&body(kind, "r", "acc", "dev", Millis(1_700_000_000_000))).unwrap();
            assert_eq!((event.kind.as_str(), event.account.unwrap().as_str()), (kind, "acc"));
            assert_eq!(event.sent_at, Some(Millis(1_700_000_000_000)));
            let without = kind.starts_with("app_integration_") || kind.starts_with("subscription_");
            assert_eq!(event.device.is_none(), without, "{kind}");
            assert_eq!(event.devices.len(), usize::from(kind.starts_with("subscription_")), "{kind}");
        }
    }
}
