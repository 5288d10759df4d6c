//! The one state of a simulated Ring, and what it sends to its partner.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::time::timeout;

use super::clock::SimClock;
use super::integrations::Visit;
use super::options::{First, Options, Partner};
use super::peer::{self, with_query};
use super::world::World;
use super::{api, events};
use crate::clock;
use crate::domain::time::Millis;

/// What is on its way to the partner.
type Sending = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What connections and the handle share.
#[derive(Debug)]
pub(super) struct Shared {
    world: Mutex<World>,
    pub(super) clock: SimClock,
    pub(super) started: Instant,
    partner: Mutex<Partner>,
    /// Whether `app_integration_added` is sent.
    tells_added: bool,
    first: First,
    /// What sends to the partner.
    runtime: Handle,
    sent: AtomicU64,
    /// Told of every request and webhook in a line.
    narrate: Option<fn(&str)>,
    /// Whether `/sim/` is there.
    pub(super) control: bool,
}

impl Shared {
    pub(super) fn new(world: World, runtime: Handle, options: &Options) -> Self {
        Self {
            world: Mutex::new(world),
            clock: SimClock::default(),
            started: clock::instant(),
            partner: Mutex::new(options.partner.clone()),
            tells_added: options.tells_added,
            first: options.first,
            runtime,
            sent: AtomicU64::new(0),
            narrate: options.narrate,
            control: options.control,
        }
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_partner(&self, partner: Partner) {
        *self.partner.lock().unwrap_or_else(PoisonError::into_inner) = partner;
    }

    fn partner(&self) -> Partner {
        self.partner.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn say(&self, line: impl FnOnce() -> String) {
        if let Some(narrate) = self.narrate {
            narrate(&line());
        }
    }

    /// Sends an event of that time on its way, to be delivered as Ring does; of the first account when none is named.
    pub(super) fn send(
        self: &Arc<Self>,
        event: &str,
        account: Option<&str>,
        at: Millis,
    ) -> Result<(), String> {
        let account = account.map(Arc::from).or_else(|| self.world().oauth.accounts().next().cloned());
        let account = account.ok_or("there is no account")?;
        let [device, _] = api::device_ids(&account);
        let sending = self.event(event, &account, &device, at);
        self.runtime.spawn(sending.ok_or("there is no webhook URL to send to")?);
        Ok(())
    }

    /// The delivery of an event of that time; nothing where there is no webhook.
    fn event(self: &Arc<Self>, event: &str, account: &str, device: &str, at: Millis) -> Option<Sending> {
        let webhook = self.partner().webhook?;
        // The wall clock is in the id, so that no run repeats another's.
        let id = format!("sim-{}-{}", clock::now().0, self.sent.fetch_add(1, Ordering::Relaxed));
        let body = events::body(event, &id, account, device, at);
        let (shared, event, account) = (Arc::clone(self), event.to_owned(), account.to_owned());
        Some(Box::pin(async move {
            let delivery = webhook.deliver(&body, 1).await;
            shared.say(|| format!("webhook {event} {delivery} {account}"));
        }))
    }

    /// The user adds the app: its devices are told and its code is brought, in the order that was asked for.
    pub(super) fn install(self: &Arc<Self>, account: &str) -> Result<(), String> {
        let codes = self.partner().codes.ok_or("there is no token exchange URL to bring a code to")?;
        let now = self.clock.now();
        let code = self.world().install(account, now);
        let devices = api::device_ids(account);
        let added: Vec<_> =
            devices.iter().filter_map(|device| self.event("device_added", account, device, now)).collect();
        let (shared, account) = (Arc::clone(self), account.to_owned());
        let brought: Sending = Box::pin(async move {
            let delivery = codes.bring(&code, 1).await;
            shared.say(|| format!("code {delivery} {account}"));
        });
        let (first, then) = match self.first {
            First::Devices => (added, vec![brought]),
            First::Code => (vec![brought], added),
        };
        self.runtime.spawn(async move {
            let first: Vec<_> = first.into_iter().map(tokio::spawn).collect();
            // What is tried again goes on beside the rest: a code lasts a minute, an event's retries more than an hour.
            let answered = async {
                for sending in first {
                    let _ = sending.await;
                }
            };
            let _ = timeout(peer::TIMEOUT, answered).await;
            for sending in then {
                tokio::spawn(sending);
            }
        });
        Ok(())
    }

    /// What a browser is sent to the partner with, and the whole address if that is known.
    pub(super) fn visit(&self, account: &str) -> Option<(Visit, Option<String>)> {
        let visit = self.world().integrations.visit(account, self.clock.now())?;
        let query = format!("nonce={}&time={}", visit.nonce, visit.time);
        let url = self.partner().link_url.map(|url| with_query(&url, &query));
        Some((visit, url))
    }

    /// The user removes the app, and the webhook hears of it, unless that is lost. Whether there was such an account.
    pub(super) fn revoke(self: &Arc<Self>, account: &str, is_told: bool) -> bool {
        let known = self.world().revoke(account);
        if known && is_told {
            let now = self.clock.now();
            let devices = api::device_ids(account);
            let removed = devices.iter().map(|device| ("device_removed", device));
            for (event, device) in std::iter::once(("app_integration_removed", &devices[0])).chain(removed) {
                let _ = self.event(event, account, device, now).map(|sending| self.runtime.spawn(sending));
            }
        }
        known
    }

    /// A link that was completed is said to be, whether or not the partner heard the answer.
    pub(super) fn tell_completed(self: &Arc<Self>) {
        let completed = self.world().integrations.take_completed();
        for account in completed.into_iter().filter(|_| self.tells_added) {
            let [device, _] = api::device_ids(&account);
            let added = self.event("app_integration_added", &account, &device, self.clock.now());
            let _ = added.map(|sending| self.runtime.spawn(sending));
        }
    }
}
