//! The listeners: the address for webhooks and the admin sockets, bound or inherited before the store is opened; and the admin API's parts.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock, Weak};

use tokio::net::{TcpListener, UnixListener};
use tokio::time::Instant;

use super::certificate::Certificates;
use super::deliveries::States;
use super::doors::Doors;
use super::error::Error;
use super::inherited::Inherited;
use super::reload::{Reload, Standing};
use super::sockets;
use super::sockets::SocketFile;
use super::tasks::Tasks;
use crate::admin::{Admin, Delivery, Facts, Parts, Reloader, Reporter, fixed, limits};
use crate::clock;
use crate::config::{ApiListener, Config, Queue, Socket};
use crate::delivery::State;
use crate::domain::ids::QueueName;
use crate::domain::secret::Secret;
use crate::domain::signature::Proof;
use crate::domain::status::KeyProof;
use crate::domain::time::Millis;
use crate::http::Server;
use crate::http::routes::Unmatched;
use crate::intake::Intake;
use crate::linking::Linking;
use crate::live::Live;
use crate::requests::Requests;
use crate::store::{Store, StoreError};
use crate::telemetry::{ListenerName, Metrics};
use crate::test_events::TestEvents;
use crate::tokens::TokenService;

/// Bound and not served yet: connections wait in the kernel.
#[derive(Debug)]
pub(super) struct Listeners {
    pub listener: TcpListener,
    pub address: SocketAddr,
    /// In the configuration's order.
    pub sockets: Vec<AdminSocket>,
    /// The same API on addresses, in the configuration's order.
    pub addresses: Vec<TcpListener>,
    /// For metrics and probes.
    pub metrics: Option<TcpListener>,
}

/// One that was inherited has no file of ours: whoever made it removes it.
type AdminSocket = (UnixListener, Option<SocketFile>);

impl Listeners {
    /// The address for webhooks, every socket of the admin API, and the address for metrics: each as it is inherited, else bound.
    pub(super) async fn bind(config: &Config, mut inherited: Inherited) -> Result<Self, Error> {
        let from = &mut inherited;
        let listener = bind(config.listen, "", from).await?;
        let address = listener.local_addr()?;
        let mut addresses = Vec::new();
        for ApiListener { address, .. } in &config.api_listeners {
            addresses.push(bind(*address, "[[socket]] ", from).await?);
        }
        let metrics = match config.metrics_listen {
            Some(address) => Some(bind(address, "[metrics] ", from).await?),
            None => None,
        };
        let mut unix = |socket: &Socket| match from.unix(&socket.path) {
            Some(listener) => {
                sockets::check_inherited(socket)?;
                Ok((UnixListener::from_std(listener)?, None))
            }
            None => sockets::bind(socket).map(|(listener, file)| (listener, Some(file))),
        };
        let sockets = config.sockets.iter().map(&mut unix).collect::<Result<_, Error>>()?;
        inherited.end()?;
        Ok(Self { listener, address, sockets, addresses, metrics })
    }
}

async fn bind(address: SocketAddr, section: &str, inherited: &mut Inherited) -> Result<TcpListener, Error> {
    if let Some(listener) = inherited.tcp(address) {
        return Ok(TcpListener::from_std(listener)?);
    }
    let bound = TcpListener::bind(address).await;
    bound.map_err(|error| Error::Bind { what: format!("{section}listen = \"{address}\""), error })
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
        fixed: fixed(config),
    };
    Ok(Admin::new(parts).map_err(StoreError::from)?)
}

/// Everything on which the admin API is served, and what each lets in.
pub(super) struct AdminListeners<'a> {
    pub config: &'a Config,
    pub sockets: Vec<AdminSocket>,
    pub addresses: Vec<TcpListener>,
    pub tokens: Vec<Secret<String>>,
    pub probes: Option<TcpListener>,
}

/// Serves the admin API on each socket and address with its rights, until `stop` resolves.
pub(super) fn serve<F>(
    listeners: AdminListeners<'_>,
    admin: &Arc<Admin>,
    metrics: &Metrics,
    tasks: &Tasks,
    stop: impl Fn() -> F,
) -> Doors
where
    F: Future<Output = Instant> + Send + 'static,
{
    let mut doors = Doors::default();
    let AdminListeners { config, sockets, addresses, tokens, probes } = listeners;
    // Each has limits and budgets of its own, so callers that fill one keep nobody from another.
    let server = || Server::new(limits(), metrics.http(ListenerName::Admin));
    for ((listener, file), socket) in sockets.into_iter().zip(&config.sockets) {
        let door = admin.door(&socket.path.to_string_lossy(), socket.rights.clone(), None);
        let serving = server().serve(listener, Arc::clone(admin).serving(&door), stop());
        doors.sockets.push((socket.path.clone(), door));
        tasks.spawn(async move {
            let _ = serving.await;
            drop(file);
        });
    }
    if let Some(listener) = probes {
        serve_probes(listener, admin, metrics, tasks, stop());
    }
    let tokens = config.sources.api_tokens.iter().zip(tokens);
    for ((listener, of), (name, token)) in addresses.into_iter().zip(&config.api_listeners).zip(tokens) {
        let address = listener.local_addr().unwrap_or(of.address).to_string();
        tracing::info!(address, "the admin API listens");
        let door = admin.door(&address, of.rights.clone(), Some((&name.source.to_string(), &token)));
        let serving = server().serve(listener, Arc::clone(admin).serving(&door), stop());
        doors.addresses.push((of.address, door));
        tasks.spawn(async move {
            let _ = serving.await;
        });
    }
    doors
}

/// Metrics and probes, with limits of their own.
fn serve_probes(
    listener: TcpListener,
    admin: &Arc<Admin>,
    metrics: &Metrics,
    tasks: &Tasks,
    stop: impl Future<Output = Instant> + Send + 'static,
) {
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, "metrics and probes listen");
    }
    let server = Server::new(limits(), metrics.http(ListenerName::Metrics));
    spawn(tasks, server.serve(listener, Arc::clone(admin).probes(), stop));
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
        certificate: certificates.as_ref().map(|certificates| certificates.report()),
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
