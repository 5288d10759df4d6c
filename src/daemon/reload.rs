//! Reads the configuration anew while the daemon runs, and puts it in force whole or not at all.
//!
//! ```text
//! read ─▶ make all that can fail ─▶ the store takes it over, durably ─▶ swap: nothing fails any more
//!   └── problems ──┴── dropped again ──┴─▶ refused: all stays as it was
//! ```
//!
//! `Reload::prepare` and `Prepared::put_in_force` are the one place where a part of the daemon takes over its change.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::take;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::sync::Notify;
use tokio::task::spawn_blocking;

use super::certificate::Certificates;
use super::deliveries::{self, Deliveries, Replacement};
use super::doors::{Doors, Plan};
use super::public::Public;
use super::services::hmac_keys;
use super::{services, setup};
use crate::admin::{Admin, fixed};
use crate::clock;
use crate::config::{Change, Config, How, LogLevel, MasterKey, Print, Queue, Secrets, Written};
use crate::domain::ids::QueueName;
use crate::domain::nonce::Nonces;
use crate::domain::signature::Keys;
use crate::domain::status::{Applied, ConfigurationReport, Outstanding, RefusedConfiguration, Reloaded};
use crate::intake::Intake;
use crate::linking::Linking;
use crate::live::Live;
use crate::ring_api::{Current, RingApi};
use crate::store::Store;
use crate::tokens::TokenService;
use crate::{failpoint, logging};

/// What the operator is shown of the configuration.
#[derive(Debug)]
pub(super) struct Standing {
    report: Mutex<ConfigurationReport>,
    /// Told when that has changed.
    pub changed: Notify,
}

/// The parts that take over a change.
#[derive(Debug)]
pub(super) struct Parts {
    pub store: Store,
    pub intake: Arc<Intake>,
    pub public: Arc<Public>,
    pub ring: Current,
    pub tokens: Arc<TokenService>,
    pub linking: Arc<Linking>,
    pub deliveries: Deliveries,
    /// As the admin API shows and reads them.
    pub queues: Arc<Live<Vec<Queue>>>,
    pub admin: Arc<Admin>,
    /// Once they are open.
    pub doors: OnceLock<Doors>,
    /// Where the public listener speaks TLS. They look at their files between reloads too, and take what is good by themselves.
    pub certificates: Option<Arc<Certificates>>,
}

#[derive(Debug)]
pub(super) struct Reload {
    /// As at the start.
    config: Arc<Config>,
    prints: Prints,
    standing: Arc<Standing>,
    parts: Parts,
    /// What was taken over last. One at a time does it.
    last: tokio::sync::Mutex<Last>,
    stopping: AtomicBool,
}

#[derive(Debug)]
struct Last {
    written: Written,
    prints: Prints,
    level: LogLevel,
}

/// Prints of the content of files, by key or section.
type Prints = BTreeMap<String, Print>;

/// Everything that a configuration names, made and not in force yet.
struct Prepared {
    config: Config,
    prints: Prints,
    keys: Keys,
    nonces: Nonces,
    replacements: Vec<Replacement>,
    plan: Plan,
    ring: Ring,
}

/// The client of Ring, where anything of it has changed.
enum Ring {
    Same,
    Other(Option<RingApi>),
}

impl Standing {
    pub(super) fn new() -> Arc<Self> {
        let report = ConfigurationReport { read_at: clock::now(), ..ConfigurationReport::default() };
        Arc::new(Self { report: Mutex::new(report), changed: Notify::new() })
    }

    pub(super) fn report(&self) -> ConfigurationReport {
        self.report.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, change: impl FnOnce(&mut ConfigurationReport)) {
        change(&mut self.report.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_one();
    }
}

impl Reload {
    /// `prints` are of the files as they were read at the start.
    pub(super) fn new(config: &Arc<Config>, prints: Prints, standing: Arc<Standing>, parts: Parts) -> Self {
        let (written, level) = (config.written.clone(), config.log.level);
        let last = tokio::sync::Mutex::new(Last { written, prints: prints.clone(), level });
        Self { config: Arc::clone(config), prints, standing, parts, last, stopping: AtomicBool::new(false) }
    }

    /// Nothing is taken over from now on.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// These are open.
    pub(super) fn serves_on(&self, doors: Doors) {
        let doors = self.parts.doors.get_or_init(|| doors);
        self.parts.tell_of_doors(doors, &self.config, &self.config);
    }

    pub(super) fn deliveries(&self) -> &Deliveries {
        &self.parts.deliveries
    }

    /// Reads the file at `by`'s word, once those before have ended. It is not to be dropped half way: spawn it.
    ///
    /// # Errors
    /// Every problem of the file and of those that it names, a line each. The old configuration stays.
    pub(super) async fn run(&self, by: &str) -> Result<Reloaded, String> {
        let mut last = self.last.lock().await;
        if self.stopping.load(Ordering::Relaxed) {
            return Err("the daemon is stopping: the next start reads the configuration".to_owned());
        }
        let done = self.apply(&mut last).await;
        match &done {
            Ok(done) => tell(by, done),
            Err(problems) => {
                for problem in problems.lines() {
                    tracing::error!(by, problem, "the new configuration is refused, and the old one stays");
                }
            }
        }
        let at = clock::now();
        self.standing.set(|report| match &done {
            Ok(Reloaded { needs_restart, .. }) => {
                *report =
                    ConfigurationReport { read_at: at, refused: None, needs_restart: needs_restart.clone() };
            }
            Err(problems) => {
                let problems = problems.lines().map(str::to_owned).collect();
                report.refused = Some(RefusedConfiguration { at, problems });
            }
        });
        done
    }

    async fn apply(&self, last: &mut Last) -> Result<Reloaded, String> {
        // Before the rest, because a broken pair is a problem of the configuration too, and `status` is to name it.
        let certificate = self.look_at_certificate().await;
        let (config, secrets) = self.read().await?;
        let certificate = certificate?;
        let prints = prints(&config, &secrets);
        let live = changes(last, &config.written, &prints, |change| change.waits_because().is_none());
        let start = (&self.config.written, &self.prints);
        let waiting = changes_between(start, (&config.written, &prints));
        let has_other_client = live.iter().any(|change| change.key.starts_with("ring."));
        let mut prepared = self.prepare(last, (config, has_other_client), secrets, prints).await?;
        let (opened, held) = (take(&mut prepared.plan.applied), take(&mut prepared.plan.outstanding));
        failpoint!("reload.prepared");
        let options = setup::options(&prepared.config);
        self.parts.store.reconfigure(options).await.map_err(|error| format!("the store: {error}"))?;
        failpoint!("reload.stored");
        *last = prepared.put_in_force(&self.parts, &self.config, last.level).await;
        let mut applied: Vec<Applied> = live
            .iter()
            .map(|change| Applied { key: change.key.clone(), words: change.words().into() })
            .filter(|applied| held.iter().all(|held| held.key != applied.key))
            .collect();
        // A door that is open without being written is no change of the file.
        let is_told = |applied: &[Applied], key: &str| applied.iter().any(|told| told.key == key);
        for door in opened {
            if !is_told(&applied, &door.key) {
                applied.push(door);
            }
        }
        applied.extend(certificate);
        let waiting = waiting.iter().filter_map(|change| {
            Some(Outstanding { key: change.key.clone(), why: change.waits_because()?.to_owned() })
        });
        Ok(Reloaded { applied, needs_restart: waiting.chain(held).collect() })
    }

    /// What has changed by it.
    async fn look_at_certificate(&self) -> Result<Option<Applied>, String> {
        let Some(certificates) = self.parts.certificates.clone() else { return Ok(None) };
        let looked = spawn_blocking(move || certificates.look()).await.map_err(|error| error.to_string())?;
        let change = Change { key: "tls.certificate_file".into(), how: How::Content };
        Ok(looked?.then(|| Applied { words: change.words().into(), key: change.key }))
    }

    /// The file and all that it names.
    async fn read(&self) -> Result<(Config, Secrets), String> {
        let start = Arc::clone(&self.config);
        let read = move || {
            let file = &start.file;
            if file.as_os_str().is_empty() {
                return Err("the daemon runs without a configuration file".to_owned());
            }
            let config = setup::load(file).map_err(|error| error.to_string())?;
            // Every default that lies in the folder would lie elsewhere.
            if config.store.folder != start.store.folder {
                return Err(format!(
                    "{}: store.folder: is that of another store, which only a restart can open: restart, or put {} back",
                    file.display(),
                    start.store.folder.display()
                ));
            }
            let secrets = config.secrets(MasterKey::Needed).map_err(|problems| problems.to_string())?;
            Ok((config, secrets))
        };
        spawn_blocking(read).await.map_err(|error| error.to_string())?
    }

    /// Makes everything that can fail. Nothing is in force by it, and what is dropped leaves nothing behind.
    async fn prepare(
        &self,
        last: &Last,
        (config, has_other_client): (Config, bool),
        mut secrets: Secrets,
        prints: Prints,
    ) -> Result<Prepared, String> {
        let (keys, nonces) = hmac_keys(&secrets);
        let api_tokens = take(&mut secrets.api_tokens);
        let others = |queue: &&Queue| {
            let section = section(&queue.name);
            last.prints.get(&section) != prints.get(&section)
        };
        let files: BTreeSet<QueueName> =
            config.queues.iter().filter(others).map(|q| q.name.clone()).collect();
        let (before, queues) = (self.parts.queues.get(), self.parts.store.queues().clone());
        let ring_clock = self.parts.store.ring_clock();
        let made = spawn_blocking(move || {
            let ring = if has_other_client {
                let made = services::ring_api(&config, &secrets, ring_clock);
                Ring::Other(made.map_err(|error| error.to_string())?)
            } else {
                Ring::Same
            };
            let made = deliveries::prepare(&queues, &before, &config.queues, &files, &mut secrets);
            let replacements = made.map_err(|error| error.to_string())?;
            Ok::<_, String>((replacements, ring, config))
        });
        let (replacements, ring, config) = made.await.map_err(|error| error.to_string())??;
        let doors = self.parts.doors.get().ok_or("the daemon is starting")?;
        let plan = doors.prepare(&config, api_tokens).await?;
        Ok(Prepared { config, prints, keys, nonces, replacements, plan, ring })
    }
}

impl Parts {
    /// For the privacy sheet.
    fn tell_of_doors(&self, doors: &Doors, start: &Config, config: &Config) {
        let (readers, metrics) = doors.readers();
        self.admin.set_fixed(fixed(start, config, readers, metrics));
    }
}

impl Prepared {
    /// Nothing of the configuration is refused from here on.
    async fn put_in_force(self, parts: &Parts, start: &Config, level: LogLevel) -> Last {
        let Self { config, prints, keys, nonces, replacements, plan, ring } = self;
        parts.intake.set_keys(keys);
        parts.linking.set_keys(nonces);
        parts.linking.set_clock_skew(config.linking.clock_skew);
        parts.public.put_in_force(&config);
        let has_other_client = matches!(ring, Ring::Other(_));
        if let Ring::Other(api) = ring {
            parts.ring.set(api);
        }
        parts.tokens.set(services::settings(&config, has_other_client)).await;
        if let Some(doors) = parts.doors.get() {
            doors.put_in_force(plan).await;
            parts.tell_of_doors(doors, start, &config);
        }
        parts.queues.set(Arc::new(config.queues));
        parts.deliveries.replace(replacements);
        parts.store.queues().wake_all();
        if config.log.level != level
            && let Err(error) = logging::set_filter(config.log.level.as_str())
        {
            tracing::error!(%error, "the log level could not be changed");
        }
        Last { written: config.written, prints, level: config.log.level }
    }
}

/// Prints of all files that are compared.
pub(super) fn prints(config: &Config, secrets: &Secrets) -> Prints {
    let receivers = secrets.receivers.iter().map(|(queue, secrets)| (section(queue), secrets.print()));
    let addresses = config.api_listeners.iter().map(|of| format!("socket \"{}\".token_file", of.address));
    let tokens = addresses.zip(secrets.token_prints());
    secrets.prints().into_iter().chain(receivers).chain(tokens).collect()
}

/// As changes name the section of a queue.
fn section(queue: &QueueName) -> String {
    format!("queue \"{queue}\"")
}

fn changes(last: &Last, written: &Written, prints: &Prints, wanted: impl Fn(&Change) -> bool) -> Vec<Change> {
    let mut changes = changes_between((&last.written, &last.prints), (written, prints));
    changes.retain(wanted);
    changes
}

/// What is written otherwise, and what lies otherwise in files whose keys are as they were.
fn changes_between(
    (old, old_prints): (&Written, &Prints),
    (new, new_prints): (&Written, &Prints),
) -> Vec<Change> {
    let mut changes = old.changes(new);
    // Inline keys and those of files are one list.
    let list = |key: &str| if key.starts_with("hmac_key") { "hmac_key" } else { key }.to_owned();
    for (key, print) in new_prints {
        let of = list(key);
        let is_told = changes.iter().any(|change| change.key.starts_with(&of) || of.starts_with(&change.key));
        if old_prints.get(key).is_some_and(|before| before != print) && !is_told {
            changes.push(Change { key: key.clone(), how: How::Content });
        }
    }
    changes
}

/// A line for each change.
fn tell(by: &str, Reloaded { applied, needs_restart }: &Reloaded) {
    for Applied { key, words } in applied {
        tracing::info!(by, "the configuration has changed: {key} {words}");
    }
    for Outstanding { key, why } in needs_restart {
        tracing::warn!(
            by,
            "the configuration can't change while the daemon runs: {key} needs a restart, because {why}"
        );
    }
    tracing::info!(
        by,
        applied = applied.len(),
        needs_restart = needs_restart.len(),
        "the configuration was read anew"
    );
}
