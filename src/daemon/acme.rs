//! Orders at an ACME authority: in time before the certificate ends, at once where there is none, and again after a failure.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use crate::acme::{Authority, Folder, Wanted};
use crate::config::Acme;
use crate::domain::acme::{due_at, pause, renew_at};
use crate::domain::certificate::Certificate;
use crate::domain::status::{AuthorityReport, FailedOrder};
use crate::domain::time::Millis;
use crate::tls::server::{Challenges, Pair};
use crate::{clock, randomness, tls};

/// No order takes longer, whatever the authority does.
const LONGEST: Duration = Duration::from_mins(10);
/// A wait is never longer: clocks are set, and machines sleep.
const LONGEST_WAIT: Duration = Duration::from_hours(1);

/// The orders of one certificate.
#[derive(Debug)]
pub(super) struct Orders {
    authority: Authority,
    challenges: Arc<Challenges>,
    asked: Notify,
    /// Of the last order, if it failed.
    failed: Mutex<Option<FailedOrder>>,
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
            failed: Mutex::new(None),
        })
    }

    /// The pair in the folder. One that can't be used is as good as none, because a new one is ordered.
    pub(super) fn present(&self) -> Option<Pair> {
        let read = self.authority.folder().read().and_then(|pem| {
            let read = pem.map(|pem| Pair::read(&pem, &pem)).transpose();
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

    fn failed(&self) -> MutexGuard<'_, Option<FailedOrder>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn report(&self, present: Option<&Certificate>) -> AuthorityReport {
        let wanted = self.authority.wanted();
        AuthorityReport {
            directory: wanted.directory.clone(),
            names: wanted.names.clone(),
            renew_at: present.map(renew_at),
            failed: self.failed().clone(),
        }
    }

    /// Orders whenever one is due, and gives what came of it to `show`, until `stop` resolves. An order under way is given up then: what
    /// the authority has begun costs nothing.
    pub(super) async fn keep(
        &self,
        present: impl Fn() -> Option<Certificate>,
        show: impl Fn(Pair),
        stop: impl Future<Output = Instant>,
    ) {
        let mut stop = pin!(stop);
        loop {
            let wait = self.due(present().as_ref()).since(clock::now()).min(LONGEST_WAIT);
            let asked = tokio::select! {
                _ = &mut stop => return,
                () = sleep(wait) => false,
                () = self.asked.notified() => true,
            };
            let certificate = present();
            let due = if asked { self.needed(certificate.as_ref()) } else { self.due(certificate.as_ref()) };
            if due > clock::now() {
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
            Ok(pair) => {
                let is_due = self.needed(Some(pair.certificate())) <= clock::now();
                show(pair);
                is_due.then(|| "the one that the authority gave is due already: see whether this machine's clock is right".into())
            }
            Err(why) => Some(why),
        };
        let mut failed = self.failed();
        *failed = why.map(|why| {
            let times = failed.as_ref().map_or(0, |failed| failed.times).saturating_add(1);
            let at = clock::now();
            let next_at = at.plus(pause(times, randomness::random()));
            tracing::error!(why, next_at = next_at.rfc3339(), "no certificate could be had");
            FailedOrder { at, why, times, next_at }
        });
    }

    /// When the certificate is due, had no order failed.
    fn needed(&self, present: Option<&Certificate>) -> Millis {
        due_at(present, &self.authority.wanted().names, clock::now())
    }

    fn due(&self, present: Option<&Certificate>) -> Millis {
        let next = self.failed().as_ref().map(|failed| failed.next_at);
        self.needed(present).max(next.unwrap_or(Millis(0)))
    }
}
