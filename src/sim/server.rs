//! The simulated Ring's sockets: reads requests, lets the world answer, and waits or hangs up as a fault demands.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::call::{Call, Reply};
use super::clock::SimClock;
use super::integrations::Visit;
use super::peer::{self, with_query};
use super::ring::{First, Options, Partner};
use super::world::World;
use super::{api, control, events};
use crate::clock;
use crate::domain::time::Millis;

/// Longer bodies are cut off with their connection.
const MAX_BODY: usize = 64 * 1024;

/// What is on its way to the partner.
type Sending = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What connections and the handle share.
#[derive(Debug)]
pub(super) struct Shared {
    world: Mutex<World>,
    pub(super) clock: SimClock,
    started: Instant,
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
    control: bool,
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
    fn tell_completed(self: &Arc<Self>) {
        let completed = self.world().integrations.take_completed();
        for account in completed.into_iter().filter(|_| self.tells_added) {
            let [device, _] = api::device_ids(&account);
            let added = self.event("app_integration_added", &account, &device, self.clock.now());
            let _ = added.map(|sending| self.runtime.spawn(sending));
        }
    }
}

/// Serves until it is told to stop, and then drops what is in flight.
pub(super) async fn serve(
    listener: std::net::TcpListener,
    shared: Arc<Shared>,
    mut stop: oneshot::Receiver<()>,
) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    loop {
        tokio::select! {
            _ = &mut stop => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => { tokio::spawn(connection(stream, Arc::clone(&shared))); }
                // Out of descriptors: they come back as connections end.
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
            },
        }
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>) {
    // Only costs latency where it fails.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| handle(Arc::clone(&shared), request));
    // The error is the client's, or a fault's that was asked for.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// An error makes hyper close the connection without an answer.
async fn handle(shared: Arc<Shared>, request: Request<Incoming>) -> io::Result<Response<Full<Bytes>>> {
    let call = read(request).await?;
    if shared.control
        && let Some(reply) = control::answer(&shared, &call)
    {
        shared.say(|| line(&call, None, Some(&reply)));
        return response(reply);
    }
    let begun = shared.world().begin(&call, shared.clock.now(), clock::instant() - shared.started);
    let begun = match begun {
        Ok(begun) => begun,
        Err(refusal) => return response(refusal),
    };
    let _in_flight = begun.account.clone().map(|account| InFlight::new(&shared, account));
    // A task of its own: Ring works on what it has read, whether or not the client waits for it.
    let work = tokio::spawn({
        let shared = Arc::clone(&shared);
        async move {
            tokio::time::sleep(begun.due.before).await;
            let now = shared.clock.now();
            let reply = shared.world().work(&call, &begun, now);
            shared.tell_completed();
            shared.say(|| line(&call, begun.account.as_deref(), reply.as_ref()));
            tokio::time::sleep(begun.due.after).await;
            reply
        }
    });
    let reply = work.await.map_err(io::Error::other)?;
    response(reply.ok_or(io::ErrorKind::ConnectionAborted)?)
}

async fn read(request: Request<Incoming>) -> io::Result<Call> {
    let (head, mut body) = request.into_parts();
    let text = |name: HeaderName| head.headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = text(AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer ")).map(Into::into);
    let content_type = text(CONTENT_TYPE).unwrap_or_default().to_owned();
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Ok(piece) = frame.map_err(io::Error::other)?.into_data() {
            bytes.extend_from_slice(&piece);
        }
        if bytes.len() > MAX_BODY {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    let path = head.uri.path().to_owned();
    Ok(Call { method: head.method, path, content_type, bearer, body: bytes.freeze() })
}

fn response(reply: Reply) -> io::Result<Response<Full<Bytes>>> {
    let mut builder = Response::builder().status(reply.status).header(CONTENT_TYPE, reply.content_type);
    for (name, value) in reply.headers {
        builder = builder.header(name, value);
    }
    builder.body(Full::new(reply.body.into())).map_err(io::Error::other)
}

fn line(call: &Call, account: Option<&str>, reply: Option<&Reply>) -> String {
    let status = reply.map_or("no answer".to_owned(), |reply| reply.status.to_string());
    // The path is the client's: nothing in it may steer a terminal.
    format!("{} {} {status} {}", call.method, call.path.escape_debug(), account.unwrap_or(""))
}

/// A request at the token endpoint that its client waits for.
struct InFlight<'s> {
    shared: &'s Shared,
    account: Arc<str>,
}

impl<'s> InFlight<'s> {
    fn new(shared: &'s Shared, account: Arc<str>) -> Self {
        shared.world().ledger.begin(&account);
        Self { shared, account }
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.shared.world().ledger.end(&self.account);
    }
}
