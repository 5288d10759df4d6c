//! The certificate of the public listener: new connections are shown the one of the configured files, which are looked at while the
//! daemon runs, or the one that an authority gives. A pair that is no good changes nothing.

use std::future::Future;
use std::mem::discriminant;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use ring::digest::{Context, SHA256};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use super::acme::Orders;
use super::error::Error;
use crate::clock;
use crate::config::{Config, Identity, PairFiles, Secrets, Tls};
use crate::domain::certificate::{Certificate, days_until};
use crate::domain::status::{AuthorityReport, CertificateReport, RefusedPair};
use crate::http::TlsListener;
use crate::telemetry::Metrics;
use crate::tls::server::{Answers, Challenges, Fault, Pair, Shown};

/// Two files are not replaced at once: one that does not fit the other is looked at again before anybody is told.
const HALFWAY: Duration = Duration::from_secs(5);

/// The certificate in force, and what became of newer ones.
#[derive(Debug)]
pub(super) struct Certificates {
    wishes: Tls,
    origin: Origin,
    shown: Arc<Shown>,
    answers: Answers,
    /// Held over a look at the files, which may hang.
    looking: Mutex<()>,
    standing: Mutex<Standing>,
}

/// Where pairs come from.
#[derive(Debug)]
enum Origin {
    Files(PairFiles),
    Authority(Box<Orders>),
}

#[derive(Debug)]
struct Standing {
    /// None before an authority has given the first.
    pair: Option<Pair>,
    /// Of the files that hold it.
    digest: Vec<u8>,
    refused: Option<RefusedPair>,
}

impl Certificates {
    /// None where the listener speaks plain HTTP.
    pub(super) fn new(config: &Config, secrets: &Secrets) -> Result<Option<Arc<Self>>, Error> {
        let Some(wishes) = &config.tls else { return Ok(None) };
        let (origin, pair, digest) = if let Some(acme) = &wishes.acme {
            let orders = Orders::new(acme, secrets.acme_ca_pem.as_deref()).map_err(Error::Certificate)?;
            let pair = orders.present();
            (Origin::Authority(Box::new(orders)), pair, Vec::new())
        } else {
            let Some((files, identity)) = config.sources.tls.as_ref().zip(secrets.tls.as_ref()) else {
                return Ok(None);
            };
            let pair = pair(identity).map_err(Error::Certificate)?;
            (Origin::Files(files.clone()), Some(pair), digest(identity))
        };
        for fault in pair.iter().flat_map(|pair| pair.faults(&wishes.names, clock::now())) {
            tracing::error!(%fault, from = origin.name(), "the certificate is shown, and clients will refuse it");
        }
        let shown = Shown::new(pair.as_ref());
        let answers = Answers::new(Arc::clone(&shown), origin.challenges())
            .map_err(|error| Error::Certificate(error.to_string()))?;
        let standing = Standing { pair, digest, refused: None };
        Ok(Some(Arc::new(Self {
            wishes: wishes.clone(),
            origin,
            shown,
            answers,
            looking: Mutex::new(()),
            standing: Mutex::new(standing),
        })))
    }

    pub(super) fn over(&self, listener: TcpListener, metrics: Metrics) -> TlsListener<TcpListener> {
        TlsListener::new(listener, self.answers.clone(), metrics)
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn certificate(&self) -> Option<Certificate> {
        self.standing().pair.as_ref().map(|pair| pair.certificate().clone())
    }

    /// None before the first one.
    pub(super) fn report(&self) -> Option<CertificateReport> {
        let (standing, now) = (self.standing(), clock::now());
        let pair = standing.pair.as_ref()?;
        let own = pair.certificate();
        let faults = pair.faults(&self.wishes.names, now);
        // The time of its end tells that.
        let faults = faults.iter().filter(|fault| !matches!(fault, Fault::Expired(_)));
        Some(CertificateReport {
            names: own.names.clone(),
            not_before: own.not_before,
            not_after: own.not_after,
            days_left: days_until(own.not_after, now),
            faults: faults.map(ToString::to_string).collect(),
            refused: standing.refused.clone(),
        })
    }

    /// How the orders stand, where an authority gives the certificate.
    pub(super) fn orders(&self) -> Option<AuthorityReport> {
        match &self.origin {
            Origin::Files(_) => None,
            Origin::Authority(orders) => Some(orders.report(self.certificate().as_ref())),
        }
    }

    /// Looks at the files now, at an operator's word; true where they hold another pair, which is shown from here on. Blocks. An order
    /// that waits after a failure is tried at once.
    ///
    /// # Errors
    /// Why the pair in the files is refused. The old one stays.
    pub(super) fn look(&self) -> Result<bool, String> {
        match &self.origin {
            Origin::Files(files) => self.take(files).inspect_err(|why| self.refuse(why)),
            Origin::Authority(orders) => {
                orders.ask();
                Ok(false)
            }
        }
    }

    /// Looks at the files in steady turns, or orders in time, until `stop` resolves.
    pub(super) async fn keep(self: Arc<Self>, stop: impl Future<Output = Instant>) {
        match &self.origin {
            Origin::Files(_) => self.keep_looking(stop).await,
            Origin::Authority(orders) => {
                let certificate = || self.certificate();
                orders.keep(certificate, |pair| self.show(pair, Vec::new(), "[acme]"), stop).await;
            }
        }
    }

    async fn keep_looking(self: &Arc<Self>, stop: impl Future<Output = Instant>) {
        let mut stop = pin!(stop);
        let mut again = false;
        loop {
            let pause = self.wishes.look_every;
            let pause = if again { pause.min(HALFWAY) } else { pause };
            let own = Arc::clone(self);
            let looked = async {
                sleep(pause).await;
                in_thread(move || match &own.origin {
                    Origin::Files(files) => own.take(files),
                    Origin::Authority(_) => Ok(false),
                })
                .await
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

    fn take(&self, files: &PairFiles) -> Result<bool, String> {
        let _looking = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        let identity = files.read().map_err(|problems| {
            let lines: Vec<_> =
                problems.iter().map(|problem| format!("{} {}", problem.key, problem.hint)).collect();
            lines.join("; ")
        })?;
        let digest = digest(&identity);
        let old_faults = {
            let mut standing = self.standing();
            if standing.digest == digest {
                standing.refused = None;
                return Ok(false);
            }
            let old = standing.pair.as_ref();
            old.map(|old| old.faults(&self.wishes.names, clock::now())).unwrap_or_default()
        };
        let new = pair(&identity)?;
        let is_new_fault =
            |fault: &Fault| old_faults.iter().all(|old| discriminant(old) != discriminant(fault));
        if let Some(fault) =
            new.faults(&self.wishes.names, clock::now()).iter().find(|fault| is_new_fault(fault))
        {
            return Err(format!("{}: {fault}", files.certificate));
        }
        self.show(new, digest, &files.certificate.to_string());
        Ok(true)
    }

    fn show(&self, new: Pair, digest: Vec<u8>, from: &str) {
        self.shown.show(&new);
        let until = new.certificate().not_after.rfc3339();
        tracing::info!(from, names = ?new.certificate().names, until, "new connections get a new certificate");
        *self.standing() = Standing { pair: Some(new), digest, refused: None };
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

impl Origin {
    fn name(&self) -> String {
        match self {
            Self::Files(files) => files.certificate.to_string(),
            Self::Authority(orders) => orders.file(),
        }
    }

    fn challenges(&self) -> Option<Arc<Challenges>> {
        match self {
            Self::Files(_) => None,
            Self::Authority(orders) => Some(orders.challenges()),
        }
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
async fn in_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (done, wait) = oneshot::channel();
    let work = move || {
        let _ = done.send(work());
    };
    thread::Builder::new().name("certificate".into()).spawn(work).ok()?;
    wait.await.ok()
}
