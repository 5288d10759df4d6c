//! Orders at an ACME authority: in time before the certificate ends, at once where there is none, and again after a failure.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use crate::acme::{Authority, Folder, Issued, Wanted};
use crate::config::Acme;
use crate::domain::acme::{due_at, pause, renew_at};
use crate::domain::certificate::Certificate;
use crate::domain::status::{AuthorityReport, FailedOrder};
use crate::domain::time::Millis;
use crate::tls::server::{Challenges, Pair};
use crate::{clock, randomness, tls};

const DUE_ALREADY: &str =
    "the one that the authority gave is due already: see whether this machine's clock is right";
/// No order takes longer, whatever the authority does.
const LONGEST: Duration = Duration::from_mins(15);
/// A wait is never longer: clocks are set, and machines sleep.
const LONGEST_WAIT: Duration = Duration::from_hours(1);

/// The orders of one certificate.
#[derive(Debug)]
pub(super) struct Orders {
    authority: Authority,
    challenges: Arc<Challenges>,
    asked: Notify,
    /// Whether the certificate at hand is another authority's, such as one for trying.
    is_others: AtomicBool,
    /// The last order, if it failed.
    failed: Mutex<Option<Failure>>,
}

#[derive(Debug)]
struct Failure {
    report: FailedOrder,
    /// By the clock that nobody sets.
    again_at: Instant,
}

impl Orders {
    /// # Errors
    /// That there is nobody to trust, in words for the operator.
    pub(super) fn new(acme: &Acme, ca_pem: Option<&[u8]>) -> Result<Self, String> {
        let tls = tls::trusting(ca_pem, true).map_err(|error| format!("[acme] {error}"))?;
        let wanted = Wanted {
            directory: acme.directory.clone(),
            contacts: acme.contacts.clone(),
            names: acme.names.clone(),
        };
        Ok(Self {
            authority: Authority::new(wanted, Folder::new(acme.folder.clone()), tls),
            challenges: Arc::default(),
            asked: Notify::new(),
            is_others: AtomicBool::new(false),
            failed: Mutex::new(None),
        })
    }

    /// The pair in the folder. One that can't be used is as good as none, because a new one is ordered; one of another authority is
    /// shown until the new one is there.
    pub(super) fn present(&self) -> Option<Pair> {
        let read = self.authority.folder().read().and_then(|pem| {
            let Some(pem) = pem else { return Ok(None) };
            let is_ours = Folder::is_of(&pem, &self.authority.wanted().directory);
            self.is_others.store(!is_ours, Ordering::Relaxed);
            let read = Pair::read(&pem, &pem).map(Some);
            read.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
        });
        read.unwrap_or_else(|error| {
            tracing::error!(file = self.file(), %error, "the certificate can't be used, and a new one is ordered");
            None
        })
    }

    pub(super) fn file(&self) -> String {
        self.authority.folder().pair().display().to_string()
    }

    pub(super) fn challenges(&self) -> Arc<Challenges> {
        Arc::clone(&self.challenges)
    }

    /// An order that is due is tried at once, whatever pause a failure has left.
    pub(super) fn ask(&self) {
        self.asked.notify_one();
    }

    fn failed(&self) -> MutexGuard<'_, Option<Failure>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn report(&self, present: Option<&Certificate>) -> AuthorityReport {
        let wanted = self.authority.wanted();
        AuthorityReport {
            directory: wanted.directory.clone(),
            names: wanted.names.clone(),
            renew_at: present.filter(|_| !self.is_others.load(Ordering::Relaxed)).map(renew_at),
            failed: self.failed().as_ref().map(|failed| failed.report.clone()),
        }
    }

    /// Orders whenever one is due, and gives what came of it to `show`, until `stop` resolves. An order under way is given up then, and
    /// the next start makes another.
    pub(super) async fn keep(
        &self,
        present: impl Fn() -> Option<Certificate>,
        show: impl Fn(Pair),
        stop: impl Future<Output = Instant>,
    ) {
        let mut stop = pin!(stop);
        loop {
            let wait = self.wait(present().as_ref()).min(LONGEST_WAIT);
            let asked = tokio::select! {
                _ = &mut stop => return,
                () = sleep(wait) => false,
                () = self.asked.notified() => true,
            };
            let certificate = present();
            let is_due = if asked {
                self.is_needed(certificate.as_ref())
            } else {
                self.wait(certificate.as_ref()).is_zero()
            };
            if !is_due {
                continue;
            }
            tokio::select! {
                _ = &mut stop => return,
                () = self.order(&show) => {}
            }
        }
    }

    async fn order(&self, show: impl Fn(Pair)) {
        let wanted = self.authority.wanted();
        tracing::info!(directory = wanted.directory, names = ?wanted.names, "a certificate is ordered");
        let ordered = timeout(LONGEST, self.authority.order(&self.challenges)).await;
        let ordered = ordered.map_err(|_| "the authority has not finished in time".to_owned());
        let why = match ordered.and_then(|ordered| ordered.map_err(|error| error.to_string())) {
            Ok(Issued { pair, unkept }) => {
                self.is_others.store(false, Ordering::Relaxed);
                let is_due = self.is_needed(Some(pair.certificate()));
                show(pair);
                match unkept {
                    Some(error) => Some(format!("there is one, which is lost at the next start: {error}")),
                    None => is_due.then(|| DUE_ALREADY.to_owned()),
                }
            }
            Err(why) => Some(why),
        };
        let mut failed = self.failed();
        *failed = why.map(|why| {
            let times = failed.as_ref().map_or(0, |failed| failed.report.times).saturating_add(1);
            let (at, pause) = (clock::now(), pause(times, randomness::random()));
            let next_at = at.plus(pause);
            tracing::error!(why, next_at = next_at.rfc3339(), "no certificate could be had");
            Failure { report: FailedOrder { at, why, times, next_at }, again_at: clock::ticks() + pause }
        });
    }

    /// Whether one is due, had no order failed.
    fn is_needed(&self, present: Option<&Certificate>) -> bool {
        self.due(present) <= clock::now()
    }

    fn due(&self, present: Option<&Certificate>) -> Millis {
        let ours = present.filter(|_| !self.is_others.load(Ordering::Relaxed));
        due_at(ours, &self.authority.wanted().names, clock::now())
    }

    /// Until the next order, a failure's pause included.
    fn wait(&self, present: Option<&Certificate>) -> Duration {
        let again_at = self.failed().as_ref().map(|failed| failed.again_at);
        let pause = again_at.map(|at| at.saturating_duration_since(clock::ticks()));
        self.due(present).since(clock::now()).max(pause.unwrap_or_default())
    }
}
