//! The daemon as a timeline: open the store, bind every door, say READY, serve, and on SIGTERM finish what is in flight.

mod descriptors;
mod doors;
mod hardening;
mod linking;
mod queues;
mod setup;
mod signals;
mod sockets;
mod supervisor;
mod tokens;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::{Request, StatusCode};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::admin::Admin;
use crate::clock;
use crate::config::{self, Config, Secrets};
use crate::domain::signature::Keys;
use crate::http::routes::Unmatched;
use crate::http::{Body, Handler, Limits, Server, answer};
use crate::intake::{self, Intake, Settings};
use crate::linking::{Endpoint, Linking};
use crate::ring_api::SettingsError;
use crate::store::{Inbox, Store, StoreError};
use crate::telemetry::{Door, Metrics};
use crate::tokens::Desk;

use self::signals::Signals;

pub use hardening::forbid_dumps;
pub use setup::{create_store, examine, inspect_store, load, load_to_create, options};
pub use tokens::ring_api;

/// How long requests in flight may take after SIGTERM; systemd gives 30 s in all.
const DRAIN: Duration = Duration::from_secs(8);
/// And how long OAuth's answers: each may hold the only tokens of a link that live.
const ANSWERS: Duration = Duration::from_secs(20);
/// How often what is known of the webhook keys is kept.
const NOTE_PROOFS: Duration = Duration::from_mins(1);

/// Why the daemon does not run.
#[derive(Debug, Error)]
pub enum Error {
    #[error("{0}")]
    Config(#[from] config::ConfigError),
    #[error("{0}")]
    Secrets(#[from] config::Problems),
    /// Of an error that names neither file nor folder.
    #[error("{place}: {error}")]
    StoreAt { place: String, error: StoreError },
    #[error("[ring]: {0}")]
    Ring(#[from] SettingsError),
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("{what}: {error}")]
    Bind { what: String, error: io::Error },
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl Error {
    /// The daemon's exit code: 78 refused configuration, 65 damaged store, 75 store in use, else 1. An address that can't
    /// be bound may come later, so systemd shall try again: 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Secrets(_) | Self::Ring(_) => 78,
            Self::Store(error) | Self::StoreAt { error, .. } => match error {
                StoreError::InUse { .. } => 75,
                StoreError::Damaged(_)
                | StoreError::Foreign { .. }
                | StoreError::Newer { .. }
                | StoreError::Older { .. } => 65,
                StoreError::Missing { .. }
                | StoreError::Denied(_)
                | StoreError::NoFolder { .. }
                | StoreError::Exists { .. }
                | StoreError::Partial { .. }
                | StoreError::Environment { .. }
                | StoreError::WrongKey { .. }
                | StoreError::Vault(_) => 78,
                _ => 1,
            },
            Self::Bind { .. } | Self::Io(_) => 1,
        }
    }
}

/// A daemon whose store is open and whose doors accept.
#[derive(Debug)]
pub struct Daemon {
    store: Store,
    intake: Arc<Intake>,
    metrics: Metrics,
    address: SocketAddr,
    admin: Arc<Admin>,
    desk: Arc<Desk>,
    linking: Arc<Linking>,
    stop: watch::Sender<Option<Instant>>,
    tasks: JoinSet<()>,
}

impl Daemon {
    /// Opens the store, binds everything, and starts to serve.
    ///
    /// # Errors
    /// What is wrong with configuration, store or addresses, in words that say what to do.
    pub async fn start(config: Config) -> Result<Self, Error> {
        let (store, secrets) = setup::open_store(&config)?;
        let metrics = Metrics::default();
        store.report_to(&metrics);
        let (stop, stopped) = watch::channel(None);
        let mut tasks = JoinSet::new();

        let listener = TcpListener::bind(config.listen).await;
        let listener = listener
            .map_err(|error| Error::Bind { what: format!("listen = \"{}\"", config.listen), error })?;
        let address = listener.local_addr()?;
        let server = Server::new(public_limits(&config), metrics.http(Door::Public));
        let intake = Arc::new(make_intake(&config, &secrets, &store, &metrics).await);
        let api = ring_api(&config, &secrets, store.ring_clock())?;
        let desk = tokens::desk(&config, &store, api.clone(), &metrics).await?;
        let endpoint = linking::endpoint(&config, &desk, &metrics);
        let unmatched = Arc::new(Unmatched::new(metrics.unmatched_posts.clone()));
        let handler = public_handler(&intake, endpoint, &unmatched);
        let serving = server.serve(listener, handler, stopping(stopped.clone()));
        tasks.spawn(async move {
            let _ = serving.await;
        });
        tasks.spawn(keep_proofs(Arc::clone(&intake), store.inbox().clone(), stopped.clone()));
        let states = queues::start(&config, &store, &mut tasks, || stopping(stopped.clone()));
        let drained = stopping(stopped.clone());
        tasks.spawn(Arc::clone(&desk).run(async { drained.await + ANSWERS.saturating_sub(DRAIN) }));
        let linking = linking::linking(&config, &secrets, &store, api, &desk, &metrics);
        tasks.spawn(Arc::clone(&linking).run(stopping(stopped.clone())));
        let parts = doors::Behind {
            store: &store,
            intake: &intake,
            unmatched: &unmatched,
            deliveries: &states,
            desk: &desk,
            linking: &linking,
            metrics: &metrics,
        };
        let admin = doors::open(&config, parts, &mut tasks, || stopping(stopped.clone()))?;
        if config.queues.is_empty() {
            tracing::warn!("no [[queue]] is configured: events are only kept for [unrouted] max_age");
        }
        tracing::info!(%address, queues = config.queues.len(), "ready for webhooks");
        Ok(Self { store, intake, metrics, address, admin, desk, linking, stop, tasks })
    }

    /// Where webhooks are taken.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Where access tokens are to be had.
    pub fn desk(&self) -> &Arc<Desk> {
        &self.desk
    }

    /// Where accounts are claimed.
    pub fn linking(&self) -> &Arc<Linking> {
        &self.linking
    }

    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Takes nothing new, finishes what is in flight, makes it durable, and closes the store.
    pub async fn stop(mut self) {
        self.admin.stop();
        self.stop.send_replace(Some(clock::ticks() + DRAIN));
        while self.tasks.join_next().await.is_some() {}
        if let Ok(proofs) = serde_json::to_vec(&self.intake.proofs())
            && let Err(error) = self.store.inbox().note_proofs(proofs).await
        {
            tracing::warn!(%error, "what is known of the webhook keys could not be noted");
        }
        let store = self.store;
        // Closing waits for the disk.
        let _ = tokio::task::spawn_blocking(move || store.close()).await;
        tracing::info!("stopped");
    }
}

/// Runs until a signal ends it, and tells systemd how it stands.
///
/// # Errors
/// What kept the daemon from starting.
pub async fn serve(config: Config) -> Result<(), Error> {
    let mut signals = Signals::catch()?;
    let daemon = Daemon::start(config).await?;
    supervisor::notify(supervisor::READY);
    let signal = signals.ending().await;
    tracing::info!(signal, "stopping");
    supervisor::notify(supervisor::STOPPING);
    tokio::select! {
        () = daemon.stop() => {}
        () = signals.finishing() => {}
    }
    Ok(())
}

fn public_limits(config: &Config) -> Limits {
    Limits {
        header_timeout: config.http.header_timeout,
        max_header_bytes: config.http.max_header_bytes,
        max_headers: config.http.max_headers,
        keep_alive_idle: config.http.keep_alive_idle,
        max_connections: descriptors::connections(config),
        max_requests: config.http.max_requests,
        max_bytes_in_flight: config.http.max_bytes_in_flight,
        // The intake keeps its own budget; this one is for its bugs.
        request_budget: config.webhook.answer_within + Duration::from_millis(250),
        ..Limits::default()
    }
}

async fn make_intake(config: &Config, secrets: &Secrets, store: &Store, metrics: &Metrics) -> Intake {
    let settings = Settings {
        path: config.webhook.path.clone(),
        max_body: config.webhook.max_body,
        body_timeout: config.webhook.body_timeout,
        answer_within: config.webhook.answer_within,
        late_after: config.webhook.late_after,
        early_after: config.webhook.early_after,
    };
    let keys = Keys::new(secrets.hmac_keys.iter().map(|key| key.expose().as_slice()));
    let noted = intake::noted(store.inbox()).await;
    Intake::new(settings, keys, &noted, store.inbox().clone(), metrics.clone())
}

/// Webhooks, and what belongs to linking.
fn public_handler(intake: &Arc<Intake>, endpoint: Arc<Endpoint>, unmatched: &Arc<Unmatched>) -> impl Handler {
    let (intake, unmatched) = (Arc::clone(intake), Arc::clone(unmatched));
    move |request: Request<Body>| {
        let (intake, endpoint, unmatched) =
            (Arc::clone(&intake), Arc::clone(&endpoint), Arc::clone(&unmatched));
        async move {
            let path = request.uri().path();
            if endpoint.is_for(path) {
                endpoint.handle(request).await
            } else if intake.is_for(path) {
                intake.handle(request).await
            } else {
                unmatched.note(request.method(), path);
                answer::empty(StatusCode::NOT_FOUND)
            }
        }
    }
}

/// Resolves to the drain's deadline when the daemon shall stop.
async fn stopping(mut stopped: watch::Receiver<Option<Instant>>) -> Instant {
    match stopped.wait_for(Option::is_some).await {
        Ok(deadline) => deadline.unwrap_or_else(clock::ticks),
        // The daemon itself is gone.
        Err(_) => clock::ticks(),
    }
}

async fn keep_proofs(intake: Arc<Intake>, inbox: Inbox, stopped: watch::Receiver<Option<Instant>>) {
    let mut stop = std::pin::pin!(stopping(stopped));
    let mut noted = intake.proofs();
    loop {
        tokio::select! {
            _ = &mut stop => return,
            () = tokio::time::sleep(NOTE_PROOFS) => {}
        }
        let proofs = intake.proofs();
        if proofs != noted {
            intake::note(inbox.clone(), &proofs);
            noted = proofs;
        }
    }
}
