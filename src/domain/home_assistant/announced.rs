//! What Home Assistant was told over one connection, and what an event adds to that. Bounded: telling again does no harm.

use std::collections::HashMap;
use std::time::Duration;

use super::aspect::Aspect;
use super::said::{OFF, ON, Said, said, time};
use super::{DeviceKey, Discovery, Message, OwnerKey};
use crate::domain::event::Event;
use crate::domain::ids::DeviceId;
use crate::domain::time::Millis;

/// Devices that are kept in mind, of about 170 bytes each. With more all are told anew.
const MOST: usize = 4096;
/// Home Assistant dates what it is told by when it is told. What has waited here for longer than this is no news any more, and no bell
/// rings for it.
const NEWS: Duration = Duration::from_mins(5);

/// The devices that Home Assistant was told of.
#[derive(Debug, Default)]
pub struct Announced {
    pub(super) devices: HashMap<DeviceKey, Known>,
}

/// What was told of one device.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    owner: OwnerKey,
    /// Whose entities are known.
    aspects: [bool; Aspect::ALL.len()],
    online: Option<bool>,
    /// When the newest told state of an aspect began: Ring's events can come out of order.
    since: [Millis; Aspect::ALL.len()],
    /// When the newest event of it happened.
    newest: Millis,
    /// When it was removed. What happened before that does not bring it back.
    gone: Option<Millis>,
}

impl Known {
    fn new(owner: OwnerKey) -> Self {
        let since = [Millis(0); Aspect::ALL.len()];
        Self {
            owner,
            aspects: [false; Aspect::ALL.len()],
            online: None,
            since,
            newest: Millis(0),
            gone: None,
        }
    }

    /// Whether nothing newer was told of the aspect than what was so at that time; it is the newest from here on.
    fn is_newest(&mut self, aspect: Aspect, at: Millis) -> bool {
        let since = &mut self.since[aspect.index()];
        let is_newest = at >= *since;
        *since = at.max(*since);
        is_newest
    }
}

/// What is to be told around an event.
#[derive(Debug, Default, Clone)]
pub struct Plan {
    /// Before the event's own message.
    pub before: Vec<Message>,
    /// After it.
    pub after: Vec<Message>,
    known: Vec<(DeviceKey, Known)>,
}

impl Announced {
    /// What `event`, which goes out `now`, adds.
    pub fn plan(&self, discovery: &Discovery, event: &Event, now: Millis) -> Plan {
        match (said(event), &event.device) {
            (Said::AccountGone, _) => self.account_gone(discovery, event),
            (Said::DeviceGone, Some(device)) => {
                let key = DeviceKey::of(event, device);
                let known = self.devices.get(&key).copied().unwrap_or(Known::new(OwnerKey::of(event)));
                gone(discovery, vec![(key, known)], event)
            }
            (Said::Device { aspect, online }, Some(device)) => {
                self.device(discovery, event, device, aspect, online, now)
            }
            _ => Plan::default(),
        }
    }

    /// Notes that all of a plan was told.
    pub fn told(&mut self, plan: Plan) {
        for (key, known) in plan.known {
            if self.devices.len() >= MOST && !self.devices.contains_key(&key) {
                self.devices.clear();
            }
            self.devices.insert(key, known);
        }
    }

    fn device(
        &self,
        discovery: &Discovery,
        event: &Event,
        device: &DeviceId,
        aspect: Option<(Aspect, String)>,
        online: bool,
        now: Millis,
    ) -> Plan {
        let (key, at) = (DeviceKey::of(event, device), time(event));
        let mut known = self.devices.get(&key).copied().unwrap_or(Known::new(OwnerKey::of(event)));
        if known.gone.is_some_and(|gone| at < gone) {
            return Plan::default();
        }
        let mut plan = Plan::default();
        (known.gone, known.newest) = (None, known.newest.max(at));
        for aspect in [Some(Aspect::Online), aspect.as_ref().map(|(aspect, _)| *aspect)].into_iter().flatten()
        {
            if !std::mem::replace(&mut known.aspects[aspect.index()], true) {
                plan.before.extend(discovery.configs(key, device, aspect));
            }
        }
        if known.is_newest(Aspect::Online, at) && known.online != Some(online) {
            known.online = Some(online);
            let word = if online { ON } else { OFF };
            plan.after.push(discovery.state(key, Aspect::Online, word.to_owned()));
        }
        if let Some((aspect, payload)) = aspect.filter(|(aspect, _)| *aspect != Aspect::Online) {
            let is_news = now.since(event.received_at) <= NEWS;
            let counts = if aspect.is_moment() { is_news } else { known.is_newest(aspect, at) };
            if counts {
                plan.after.push(discovery.state(key, aspect, payload));
            }
        }
        plan.known = vec![(key, known)];
        plan
    }

    fn account_gone(&self, discovery: &Discovery, event: &Event) -> Plan {
        let owner = OwnerKey::of(event);
        let theirs = self.devices.iter().filter(|(_, known)| known.owner == owner && known.gone.is_none());
        gone(discovery, theirs.map(|(key, known)| (*key, *known)).collect(), event)
    }
}

/// Takes these devices back, but for those that were heard of since `event` happened: Ring sends it again up to three days later.
fn gone(discovery: &Discovery, mut devices: Vec<(DeviceKey, Known)>, event: &Event) -> Plan {
    let at = time(event);
    devices.retain(|(_, known)| known.newest <= at);
    let after = devices.iter().flat_map(|(key, _)| discovery.nothing_of(*key)).collect();
    let fresh = |known: Known| Known { gone: Some(at), newest: at, ..Known::new(known.owner) };
    let known = devices.into_iter().map(|(key, known)| (key, fresh(known))).collect();
    Plan { before: Vec::new(), after, known }
}
