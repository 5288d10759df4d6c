//! The daemon as a timeline: bind every listener, open the store, say READY, serve, and on SIGTERM finish the requests in flight.

mod acme;
mod certificate;
mod compaction;
mod deliveries;
mod descriptors;
mod doors;
mod error;
mod hardening;
mod inherited;
mod listeners;
mod public;
mod reload;
mod services;
mod setup;
mod signals;
mod sockets;
mod stop;
mod supervisor;
mod tasks;
mod watchdog;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::task::{JoinSet, spawn_blocking};

use crate::admin::Admin;
use crate::clock;
use crate::config::{Config, MasterKey, Secrets};
use crate::domain::secret::Secret;
use crate::failpoint;
use crate::intake::{self, Intake};
use crate::linking::Linking;
use crate::live::Live;
use crate::requests::Requests;
use crate::ring_api::Current;
use crate::store::{Inbox, Store};
use crate::telemetry::Metrics;
use crate::test_events::TestEvents;
use crate::tokens::TokenService;

use self::signals::{Signals, Wish};
use certificate::Certificates;
use deliveries::{Deliveries, Replacement};
use doors::Doors;
use listeners::Listeners;
use public::Public;
use reload::{Reload, Standing};
use services::hmac_keys;
use stop::{DRAIN, Stop, Stopped};
use tasks::Tasks;
use watchdog::{Vitals, Watchdog};

pub use compaction::keep_small;
pub use error::Error;
pub use hardening::forbid_dumps;
pub use inherited::Inherited;
pub use services::ring_api;
pub use setup::{
    create_store, examine, inspect_store, load, load_text, load_to_create, master_key_to_make, options,
    restore_store,
};
pub use sockets::check_inherited;

/// And how long OAuth's answers: each may hold the only tokens of a link that live.
const ANSWERS: Duration = Duration::from_secs(20);
/// How often the supervisor's line about the daemon is looked at.
const LINE_ABOUT: Duration = Duration::from_secs(5);
/// How often what is known of the webhook keys is kept.
const NOTE_PROOFS: Duration = Duration::from_mins(1);

/// A daemon before READY: every listener is bound, and the store is open. Nothing runs yet, and connections wait in the kernel.
#[derive(Debug)]
pub struct Prepared {
    config: Arc<Config>,
    listeners: Listeners,
    /// Of the admin API on addresses.
    api_tokens: Vec<Secret<String>>,
    store: Store,
    public: Arc<Public>,
    deliveries: Vec<Replacement>,
    intake: Arc<Intake>,
    metrics: Metrics,
    admin: Arc<Admin>,
    tokens: Arc<TokenService>,
    linking: Arc<Linking>,
    reload: Arc<Reload>,
    standing: Arc<Standing>,
    /// Where the public listener speaks TLS.
    certificates: Option<Arc<Certificates>>,
    stop: Stop,
    stopped: Stopped,
    tasks: Tasks,
}

impl Prepared {
    /// Has every listener, inherited or bound, then opens the store: a daemon whose addresses are taken leaves the store alone.
    ///
    /// # Errors
    /// What is wrong with configuration, store or addresses, in words that say what to do.
    pub async fn new(config: Config, inherited: Inherited) -> Result<Self, Error> {
        Self::over(config, inherited, setup::open_store).await
    }

    async fn over(
        config: Config,
        inherited: Inherited,
        open: impl FnOnce(&Config) -> Result<(Store, Secrets), Error> + Send + 'static,
    ) -> Result<Self, Error> {
        let config = Arc::new(config);
        setup::make_folder(&config)?;
        let listeners = Listeners::bind(&config, inherited).await?;
        let (store, mut secrets) = opened(&config, open).await?;
        let metrics = metrics_of(&store);
        let (requests, test_events) = (Arc::new(Requests::default()), Arc::new(TestEvents::default()));
        let intake = make_intake(&config, &secrets, &store, &metrics, (&requests, &test_events)).await;
        let ring = Current::from(ring_api(&config, &secrets, store.ring_clock())?);
        let tokens = services::tokens(&config, &store, &ring, &metrics).await?;
        let public = Public::new(&config, (&intake, &tokens), &metrics, (&requests, &test_events));
        let linking = services::linking(&config, &secrets, &store, &ring, &tokens, &metrics);
        let ((stop, stopped), tasks, standing) = (Stop::new(), Tasks::default(), Standing::new());
        let certificates = Certificates::new(&config, &secrets)?;
        // Secrets of queues are taken out below.
        let prints = reload::prints(&config, &secrets);
        let running = Deliveries::new(stopped.clone(), tasks.clone());
        let deliveries = deliveries::prepare_all(store.queues(), &config.queues, &mut secrets)?;
        let queues = Arc::new(Live::new(config.queues.clone()));
        let (reloads, states) = (Arc::new(OnceLock::new()), running.states());
        let services = listeners::Services {
            reload: listeners::reloader(&reloads),
            store: &store,
            intake: &intake,
            unmatched: &public.unmatched,
            requests: &requests,
            test_events: &test_events,
            queues: &queues,
            deliveries: states,
            standing: &standing,
            tokens: &tokens,
            linking: &linking,
            metrics: &metrics,
            certificates: certificates.as_ref(),
        };
        let admin = listeners::admin(&config, &services)?;
        let parts = reload::Parts {
            store: store.clone(),
            intake: Arc::clone(&intake),
            public: Arc::clone(&public),
            ring,
            tokens: Arc::clone(&tokens),
            linking: Arc::clone(&linking),
            deliveries: running,
            queues,
            admin: Arc::clone(&admin),
            doors: OnceLock::new(),
            certificates: certificates.clone(),
        };
        let reload = Arc::new(Reload::new(&config, prints, Arc::clone(&standing), parts));
        reloads.get_or_init(|| Arc::downgrade(&reload));
        Ok(Self {
            config,
            listeners,
            api_tokens: secrets.api_tokens,
            store,
            public,
            deliveries,
            intake,
            metrics,
            admin,
            tokens,
            linking,
            reload,
            standing,
            certificates,
            stop,
            stopped,
            tasks,
        })
    }

    /// Starts everything.
    pub fn serve(self) -> Daemon {
        let (stop, stopped, tasks) = (self.stop, self.stopped, self.tasks);
        let stopping = || stopped.clone().said();
        let Listeners { listener, address, doors } = self.listeners;
        let is_tls = self.certificates.is_some();
        match self.certificates {
            None => listeners::spawn(
                &tasks,
                self.public.server.clone().serve(listener, self.public.routes(), stopping()),
            ),
            Some(certificates) => {
                let listener = certificates.over(listener, self.metrics.clone());
                listeners::spawn(
                    &tasks,
                    self.public.server.clone().serve(listener, self.public.routes(), stopping()),
                );
                tasks.spawn(certificates.keep(stopping()));
            }
        }
        tasks.spawn(keep_proofs(Arc::clone(&self.intake), self.store.inbox().clone(), stopped.clone()));
        if let Some(above) = self.config.store.compact_above {
            tasks.spawn(keep_small(self.store.clone(), above, stopping()));
        }
        self.reload.deliveries().replace(self.deliveries);
        let drained = stopping();
        tasks.spawn(Arc::clone(&self.tokens).run(async { drained.await + ANSWERS.saturating_sub(DRAIN) }));
        tasks.spawn(Arc::clone(&self.linking).run(stopping()));
        let bound = (doors, self.api_tokens);
        self.reload.serves_on(Doors::open(&self.admin, &self.metrics, &tasks, &stopped, bound));
        if self.config.queues.is_empty() {
            tracing::warn!("no [[queue]] is configured: events are only kept for [unrouted] max_age");
        }
        tracing::info!(%address, tls = is_tls, queues = self.config.queues.len(), "ready for webhooks");
        Daemon {
            store: self.store,
            intake: self.intake,
            metrics: self.metrics,
            address,
            admin: self.admin,
            tokens: self.tokens,
            linking: self.linking,
            reload: self.reload,
            standing: self.standing,
            stop,
            tasks,
        }
    }
}

/// A daemon that runs.
#[derive(Debug)]
pub struct Daemon {
    store: Store,
    intake: Arc<Intake>,
    metrics: Metrics,
    address: SocketAddr,
    admin: Arc<Admin>,
    tokens: Arc<TokenService>,
    linking: Arc<Linking>,
    reload: Arc<Reload>,
    standing: Arc<Standing>,
    stop: Stop,
    tasks: Tasks,
}

impl Daemon {
    /// Prepares one and lets it serve.
    ///
    /// # Errors
    /// As [`Prepared::new`].
    pub async fn start(config: Config) -> Result<Self, Error> {
        Ok(Prepared::new(config, Inherited::default()).await?.serve())
    }

    /// The same over a store that is open already: for tests with failing disks.
    ///
    /// # Errors
    /// As [`Prepared::new`].
    #[doc(hidden)]
    pub async fn start_over(config: Config, store: Store) -> Result<Self, Error> {
        let open = move |config: &Config| Ok((store, config.secrets(MasterKey::MadeLater)?));
        Ok(Prepared::over(config, Inherited::default(), open).await?.serve())
    }

    /// Where webhooks are taken.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Where access tokens are to be had.
    pub fn tokens(&self) -> &Arc<TokenService> {
        &self.tokens
    }

    /// Where accounts are claimed.
    pub fn linking(&self) -> &Arc<Linking> {
        &self.linking
    }

    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Feeds the supervisor's watchdog, where there is one, and keeps its line about the daemon true for as long as the returned task runs.
    fn tell_supervisor(&self) -> JoinSet<()> {
        if let Some(watchdog) = Watchdog::of_this_process() {
            let vitals = Vitals { store: self.store.clone(), tokens: Arc::clone(&self.tokens) };
            // It goes on while the daemon finishes.
            drop(tokio::spawn(watchdog.feed(vitals)));
        }
        let (admin, standing) = (Arc::clone(&self.admin), Arc::clone(&self.standing));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let (mut line, mut told) = (supervisor::Line::default(), String::new());
            loop {
                let words = format!("STATUS={}\n", admin.headline());
                if words != told {
                    line.tell(&words);
                    told = words;
                }
                tokio::select! {
                    () = tokio::time::sleep(LINE_ABOUT) => {}
                    () = standing.changed.notified() => {}
                }
            }
        });
        tasks
    }

    /// Takes nothing new, finishes what is in flight, makes it durable, and closes the store.
    pub async fn stop(self) {
        self.reload.stop();
        self.admin.stop();
        self.stop.at(clock::ticks() + DRAIN);
        self.tasks.ended().await;
        if let Ok(proofs) = serde_json::to_vec(&self.intake.proofs())
            && let Err(error) = self.store.inbox().note_proofs(proofs).await
        {
            tracing::warn!(%error, "what is known of the webhook keys could not be noted");
        }
        let store = self.store;
        // Closing waits for the disk.
        let _ = spawn_blocking(move || store.close()).await;
        tracing::info!("stopped");
    }
}

/// Runs until a signal ends it, and tells systemd how it stands. Listens on what is `inherited`, and binds the rest.
///
/// # Errors
/// What kept the daemon from starting.
pub async fn serve(config: Config, inherited: Inherited) -> Result<(), Error> {
    let mut signals = Signals::catch()?;
    let prepared = Prepared::new(config, inherited).await?;
    failpoint!("daemon.prepared");
    supervisor::ready();
    let daemon = prepared.serve();
    let telling = daemon.tell_supervisor();
    let signal = loop {
        match signals.next().await {
            Wish::Reload => {
                let reload = Arc::clone(&daemon.reload);
                // Its outcome is in the log.
                drop(tokio::spawn(async move { reload.run("SIGHUP").await }));
            }
            Wish::End(signal) => break signal,
        }
    };
    tracing::info!(signal, "stopping");
    drop(telling);
    supervisor::Line::default().tell(supervisor::STOPPING);
    tokio::select! {
        () = daemon.stop() => {}
        () = signals.finishing() => {}
    }
    Ok(())
}

fn metrics_of(store: &Store) -> Metrics {
    let metrics = Metrics::default();
    store.report_to(&metrics);
    metrics
}

async fn opened(
    config: &Arc<Config>,
    open: impl FnOnce(&Config) -> Result<(Store, Secrets), Error> + Send + 'static,
) -> Result<(Store, Secrets), Error> {
    let config = Arc::clone(config);
    spawn_blocking(move || open(&config)).await.map_err(io::Error::other)?
}

async fn make_intake(
    config: &Config,
    secrets: &Secrets,
    store: &Store,
    metrics: &Metrics,
    (requests, test_events): (&Arc<Requests>, &Arc<TestEvents>),
) -> Arc<Intake> {
    let (keys, _) = hmac_keys(secrets);
    let noted = intake::noted(store.inbox()).await;
    let (inbox, requests, tests) = (store.inbox().clone(), Arc::clone(requests), Arc::clone(test_events));
    Arc::new(Intake::new(config.webhook.clone(), keys, &noted, inbox, metrics.clone(), requests, tests))
}

async fn keep_proofs(intake: Arc<Intake>, inbox: Inbox, stopped: Stopped) {
    let mut stop = std::pin::pin!(stopped.said());
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
