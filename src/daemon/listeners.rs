//! The listeners: the address for webhooks and the doors, bound or inherited before the store is opened; and the admin API's parts.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock, Weak};

use tokio::net::TcpListener;

use super::certificate::Certificates;
use super::deliveries::States;
use super::doors::{self, Bound, Wanted, bind_address, bind_or_inherit};
use super::error::Error;
use super::inherited::Inherited;
use super::reload::{Reload, Standing};
use super::tasks::Tasks;
use crate::admin::{Admin, Delivery, Facts, Parts, Reloader, Reporter, fixed};
use crate::clock;
use crate::config::{Config, Queue};
use crate::delivery::State;
use crate::domain::ids::QueueName;
use crate::domain::signature::Proof;
use crate::domain::status::KeyProof;
use crate::domain::time::Millis;
use crate::http::routes::Unmatched;
use crate::intake::Intake;
use crate::linking::Linking;
use crate::live::Live;
use crate::requests::Requests;
use crate::store::{Store, StoreError};
use crate::telemetry::Metrics;
use crate::test_events::TestEvents;
use crate::tokens::TokenService;

/// Bound and not served yet: connections wait in the kernel.
#[derive(Debug)]
pub(super) struct Listeners {
    pub listener: TcpListener,
    pub address: SocketAddr,
    /// Of the admin API, and for metrics and probes.
    pub doors: Vec<(Wanted, Bound)>,
}

impl Listeners {
    /// The address for webhooks, and every door: each as it is inherited, else bound.
    pub(super) async fn bind(config: &Config, mut inherited: Inherited) -> Result<Self, Error> {
        let listener = match inherited.tcp(config.listen) {
            Some(listener) => TcpListener::from_std(listener)?,
            None => bind_address(config.listen, "").await?,
        };
        let address = listener.local_addr()?;
        let mut doors = Vec::new();
        for wanted in doors::wanted(config) {
            let bound = bind_or_inherit(&wanted, &mut inherited).await?;
            doors.push((wanted, bound));
        }
        inherited.end()?;
        Ok(Self { listener, address, doors })
    }
}

/// Runs a listener's connections to their end.
pub(super) fn spawn(tasks: &Tasks, serving: impl Future<Output = usize> + Send + 'static) {
    tasks.spawn(async move {
        let _ = serving.await;
    });
}

/// The services that the admin API calls.
pub(super) struct Services<'a> {
    pub store: &'a Store,
    pub intake: &'a Arc<Intake>,
    pub unmatched: &'a Arc<Unmatched>,
    pub requests: &'a Arc<Requests>,
    pub test_events: &'a Arc<TestEvents>,
    pub queues: &'a Arc<Live<Vec<Queue>>>,
    pub deliveries: States,
    pub standing: &'a Arc<Standing>,
    pub tokens: &'a Arc<TokenService>,
    pub linking: &'a Arc<Linking>,
    pub metrics: &'a Metrics,
    pub reload: Reloader,
    pub certificates: Option<&'a Arc<Certificates>>,
}

/// The admin API.
pub(super) fn admin(config: &Config, services: &Services<'_>) -> Result<Arc<Admin>, Error> {
    let Services { intake, unmatched, requests, queues, deliveries, standing, .. } = services;
    let parts = Parts {
        store: services.store.clone(),
        metrics: services.metrics.clone(),
        queues: Arc::clone(queues),
        facts: reporter(
            Arc::clone(intake),
            Arc::clone(unmatched),
            Arc::clone(deliveries),
            Arc::clone(standing),
            services.certificates.cloned(),
        ),
        tokens: Arc::clone(services.tokens),
        links: Arc::clone(services.linking),
        reload: services.reload.clone(),
        requests: Arc::clone(requests),
        test_events: Arc::clone(services.test_events),
        fixed: fixed(config, config, Vec::new(), None),
    };
    Ok(Admin::new(parts).map_err(StoreError::from)?)
}

/// What reloads once the daemon serves. The admin API does not keep it alive, because it serves the admin API.
pub(super) fn reloader(reload: &Arc<OnceLock<Weak<Reload>>>) -> Reloader {
    let reload = Arc::clone(reload);
    Reloader::new(move |by| {
        let reload = reload.get().and_then(Weak::upgrade);
        async move {
            let reload = reload.ok_or("the daemon is stopping")?;
            // It goes on where the caller is gone.
            let done = tokio::spawn(async move { reload.run(&by).await }).await;
            done.map_err(|error| error.to_string())?
        }
    })
}

fn reporter(
    intake: Arc<Intake>,
    unmatched: Arc<Unmatched>,
    deliveries: States,
    standing: Arc<Standing>,
    certificates: Option<Arc<Certificates>>,
) -> Reporter {
    let started_at = clock::now();
    Reporter::new(move || Facts {
        started_at,
        configuration: standing.report(),
        unmatched_posts: unmatched.count(),
        last_unmatched: unmatched.last(),
        refusals: intake.last_refusals(),
        per_minute: intake.last_hour(),
        certificate: certificates.as_ref().and_then(|certificates| certificates.report()),
        authority: certificates.as_ref().and_then(|certificates| certificates.orders()),
        webhook_keys: intake.proofs().iter().map(key_proof).collect(),
        deliveries: deliveries.get().iter().map(|(queue, state)| delivery(queue, &state.borrow())).collect(),
    })
}

fn key_proof(proof: &Proof) -> KeyProof {
    KeyProof {
        fingerprint: proof.fingerprint.to_string(),
        set_at: Millis(proof.set_at),
        verified_at: proof.verified_at.map(Millis),
    }
}

fn delivery(queue: &QueueName, state: &State) -> Delivery {
    let (since, why) = match state {
        State::Limited { since, why }
        | State::SinkBusy { since, why }
        | State::StoreFailing { since, why } => (Some(*since), Some(why.clone())),
        State::Delivering | State::Stopped => (None, None),
    };
    Delivery { queue: queue.clone(), state: state.name(), why, since }
}
