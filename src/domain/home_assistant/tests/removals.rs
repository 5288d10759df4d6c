//! A device that is gone leaves nothing behind, and nothing else goes with it.

use std::collections::HashSet;

use super::*;
use crate::domain::event::FORGOTTEN;

/// The topics that are emptied.
fn emptied(plan: &Plan) -> HashSet<String> {
    assert!(plan.before.is_empty());
    assert!(plan.after.iter().all(|message| message.payload.is_empty() && message.retain), "{plan:?}");
    plan.after.iter().map(|message| message.topic.clone()).collect()
}

/// Everything that can be retained of a device.
fn all_of(event: &Event) -> HashSet<String> {
    let kinds = [
        "device_online",
        "button_press",
        "motion_detected",
        "contact_sensor_faulted",
        "tamper_detected",
        "flood_detected",
        "freeze_detected",
        "temperature_exceeded",
        "humidity_exceeded",
        "pm25_exceeded",
        "co_exceeded",
    ];
    let mut announced = Announced::default();
    let plans = kinds.map(|kind| tell(&mut announced, &Event { kind: kind.into(), ..event.clone() }));
    let messages = plans.iter().flat_map(|plan| plan.before.iter().chain(&plan.after));
    messages.filter(|message| message.retain).map(|message| message.topic.clone()).collect()
}

#[test]
fn a_removed_device_takes_all_that_was_retained_with_it() {
    let removed = fixture("device_removed");
    let all = all_of(&removed);
    assert_eq!(all.len(), 16 + 9);
    // Also over a connection over which it was never told of.
    assert_eq!(emptied(&tell(&mut Announced::default(), &removed)), all);
    let mut announced = Announced::default();
    tell(&mut announced, &event("button_press", 9));
    assert_eq!(emptied(&tell(&mut announced, &event("device_removed", 8))), all_of(&event("x", 0)));
    let back = tell(&mut announced, &event("device_added", 7));
    assert_eq!((made_known(&back).len(), states(&back).len()), (1, 1), "added again it is there again");
}

#[test]
fn entities_go_before_the_states_that_they_read() {
    let plan = tell(&mut Announced::default(), &event("device_removed", 0));
    let is_config = |message: &Message| message.topic.ends_with("/config");
    let last_config = plan.after.iter().rposition(is_config).unwrap();
    assert!(plan.after[..last_config].iter().all(is_config));
}

#[test]
fn what_happened_before_a_removal_does_not_bring_the_device_back() {
    let mut announced = Announced::default();
    tell(&mut announced, &event("device_removed", 10));
    let late = tell(&mut announced, &event("motion_detected", 11));
    assert!(late.before.is_empty() && late.after.is_empty());
    assert_eq!(made_known(&tell(&mut announced, &event("motion_detected", 9))).len(), 3);
    // Ring sends it again, up to three days later.
    let old = tell(&mut announced, &event("device_removed", 10));
    assert!(old.before.is_empty() && old.after.is_empty());
    assert!(tell(&mut announced, &event("motion_detected", 8)).before.is_empty(), "it is known still");
}

#[test]
fn a_removed_app_and_a_forgotten_account_take_their_devices_with_them() {
    ["app_integration_removed", FORGOTTEN].into_iter().for_each(takes_its_devices);
}

fn takes_its_devices(gone: &str) {
    let mut announced = Announced::default();
    let of = |user: &str, account: &str, device: &str, kind: &str, ago| Event {
        user: UserId::new(user).ok(),
        account: AccountId::new(account).ok(),
        device: DeviceId::new(device).ok(),
        ..event(kind, ago)
    };
    let theirs = ["door", "garden"].map(|device| of("ann", "a", device, "button_press", 10));
    let others =
        [("bob", "a"), ("ann", "b")].map(|(user, account)| of(user, account, "door", "button_press", 10));
    for event in theirs.iter().chain(&others) {
        tell(&mut announced, event);
    }
    let removed = |ago| Event { device: None, ..of("ann", "a", "x", gone, ago) };
    assert!(emptied(&tell(&mut announced, &removed(11))).is_empty(), "they were heard of since");
    let expected: HashSet<String> = theirs.iter().flat_map(all_of).collect();
    assert_eq!(emptied(&tell(&mut announced, &removed(9))), expected);
    assert!(emptied(&tell(&mut announced, &removed(9))).is_empty(), "they are gone already");
    for event in &others {
        assert!(tell(&mut announced, event).before.is_empty(), "it is still there");
    }
}
