//! The certificate of the public listener: new connections are shown the one of the configured files, which are looked at while the
//! daemon runs. A pair of files that is no good changes nothing.

use std::future::Future;
use std::mem::discriminant;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use ring::digest::{Context, SHA256};
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use super::error::Error;
use crate::clock;
use crate::config::{Config, Identity, PairFiles, Secrets, Tls};
use crate::domain::certificate::days_until;
use crate::domain::status::{CertificateReport, RefusedPair};
use crate::http::TlsListener;
use crate::telemetry::Metrics;
use crate::tls::server::{self, Fault, Pair, Shown};

/// Two files are not replaced at once: one that does not fit the other is looked at again before anybody is told.
const HALFWAY: Duration = Duration::from_secs(5);

/// The certificate in force, and what became of newer ones.
#[derive(Debug)]
pub(super) struct Certificates {
    files: PairFiles,
    wishes: Tls,
    shown: Arc<Shown>,
    config: Arc<ServerConfig>,
    /// Held over a look at the files, which may hang.
    looking: Mutex<()>,
    standing: Mutex<Standing>,
}

#[derive(Debug)]
struct Standing {
    pair: Pair,
    /// Of the files that hold it.
    digest: Vec<u8>,
    refused: Option<RefusedPair>,
}

impl Certificates {
    /// None where the listener speaks plain HTTP.
    pub(super) fn new(config: &Config, secrets: &Secrets) -> Result<Option<Arc<Self>>, Error> {
        let all = config.tls.as_ref().zip(config.sources.tls.as_ref()).zip(secrets.tls.as_ref());
        let Some(((wishes, files), identity)) = all else { return Ok(None) };
        let pair = pair(identity).map_err(Error::Certificate)?;
        for fault in pair.faults(&wishes.names, clock::now()) {
            tracing::error!(file = %files.certificate, %fault, "the certificate is shown, and clients will refuse it");
        }
        let shown = Shown::new(&pair);
        let config =
            server::config(Arc::clone(&shown)).map_err(|error| Error::Certificate(error.to_string()))?;
        let standing = Standing { pair, digest: digest(identity), refused: None };
        Ok(Some(Arc::new(Self {
            files: files.clone(),
            wishes: wishes.clone(),
            shown,
            config: Arc::new(config),
            looking: Mutex::new(()),
            standing: Mutex::new(standing),
        })))
    }

    pub(super) fn over(&self, listener: TcpListener, metrics: Metrics) -> TlsListener<TcpListener> {
        TlsListener::new(listener, Arc::clone(&self.config), metrics)
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn report(&self) -> CertificateReport {
        let (standing, now) = (self.standing(), clock::now());
        let own = standing.pair.certificate();
        let faults = standing.pair.faults(&self.wishes.names, now);
        // The time of its end tells that.
        let faults = faults.iter().filter(|fault| !matches!(fault, Fault::Expired(_)));
        CertificateReport {
            names: own.names.clone(),
            not_before: own.not_before,
            not_after: own.not_after,
            days_left: days_until(own.not_after, now),
            faults: faults.map(ToString::to_string).collect(),
            refused: standing.refused.clone(),
        }
    }

    /// Looks at the files now, at an operator's word; true where they hold another pair, which is shown from here on. Blocks.
    ///
    /// # Errors
    /// Why the pair in the files is refused. The old one stays.
    pub(super) fn look(&self) -> Result<bool, String> {
        self.take().inspect_err(|why| self.refuse(why))
    }

    /// Looks at the files in steady turns until `stop` resolves.
    pub(super) async fn keep(self: Arc<Self>, stop: impl Future<Output = Instant>) {
        let mut stop = pin!(stop);
        let mut again = false;
        loop {
            let pause = self.wishes.look_every;
            let pause = if again { pause.min(HALFWAY) } else { pause };
            let own = Arc::clone(&self);
            let looked = async {
                sleep(pause).await;
                aside(move || own.take()).await
            };
            let looked = tokio::select! {
                _ = &mut stop => return,
                looked = looked => looked,
            };
            match looked {
                Some(Err(why)) if again => {
                    self.refuse(&why);
                    again = false;
                }
                Some(Err(_)) => again = true,
                Some(Ok(_)) | None => again = false,
            }
        }
    }

    fn take(&self) -> Result<bool, String> {
        let _looking = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        let identity = self.files.read().map_err(|problems| {
            let lines: Vec<_> =
                problems.iter().map(|problem| format!("{} {}", problem.key, problem.hint)).collect();
            lines.join("; ")
        })?;
        let digest = digest(&identity);
        let mut standing = self.standing();
        if standing.digest == digest {
            standing.refused = None;
            return Ok(false);
        }
        let new = pair(&identity)?;
        let (now, names) = (clock::now(), &self.wishes.names);
        let old_faults = standing.pair.faults(names, now);
        let is_new_fault =
            |fault: &Fault| old_faults.iter().all(|old| discriminant(old) != discriminant(fault));
        if let Some(fault) = new.faults(names, now).iter().find(|fault| is_new_fault(fault)) {
            return Err(format!("{}: {fault}", self.files.certificate));
        }
        self.shown.show(&new);
        let until = new.certificate().not_after.rfc3339();
        tracing::info!(file = %self.files.certificate, names = ?new.certificate().names, until, "new connections get a new certificate");
        *standing = Standing { pair: new, digest, refused: None };
        Ok(true)
    }

    fn refuse(&self, why: &str) {
        let mut standing = self.standing();
        if standing.refused.as_ref().is_some_and(|refused| refused.why == why) {
            return;
        }
        tracing::error!(why, "a new certificate is refused, and the old one stays");
        standing.refused = Some(RefusedPair { at: clock::now(), why: why.to_owned() });
    }
}

fn pair(identity: &Identity) -> Result<Pair, String> {
    Pair::read(&identity.certificates, identity.key.expose()).map_err(|error| error.to_string())
}

fn digest(identity: &Identity) -> Vec<u8> {
    let mut context = Context::new(&SHA256);
    context.update(&identity.certificates);
    context.update(identity.key.expose());
    context.finish().as_ref().to_vec()
}

/// Runs what may hang on a disk in a thread of its own: the runtime would wait for one of its own at the end.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (done, wait) = oneshot::channel();
    let work = move || {
        let _ = done.send(work());
    };
    thread::Builder::new().name("certificate".into()).spawn(work).ok()?;
    wait.await.ok()
}
