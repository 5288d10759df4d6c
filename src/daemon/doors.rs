//! The doors of the daemon: the admin API's sockets and addresses, and the address for metrics. They open, change and close while it runs.
//!
//! ```text
//! prepare: bind each new one ──▶ put_in_force: rights of those that stay ▶ open the new ▶ close the others
//!             └── one can't be bound: all are dropped again, and nothing has changed
//! ```

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use super::error::Error;
use super::inherited::Inherited;
use super::sockets::{self, SocketFile, Unplaced};
use super::stop::{DRAIN, Stop, Stopped};
use super::tasks::Tasks;
use crate::admin::{Admin, Door, limits};
use crate::clock;
use crate::config::{Config, Socket};
use crate::domain::privacy::{self, ReaderFacts};
use crate::domain::rights::Rights;
use crate::domain::routing::Selection;
use crate::domain::secret::Secret;
use crate::domain::status::{Applied, Outstanding};
use crate::http::{Handler, Listener, Server};
use crate::telemetry::{ListenerName, Metrics};

const HELD_BY_SYSTEMD: &str =
    "systemd holds it: take it out of its socket unit too, and restart both the unit and the daemon";

/// Where a door is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Socket(Socket),
    Address(SocketAddr),
    Metrics(SocketAddr),
}

/// A door as the configuration wants it.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    place: Place,
    rights: Rights,
    /// The name of the file of an address's token.
    token_name: String,
}

/// A bound door that is not open yet: connections wait in the kernel.
#[derive(Debug)]
pub(super) struct Bound {
    listening: Listening,
    is_inherited: bool,
}

#[derive(Debug)]
enum Listening {
    /// One that was inherited has no file of ours: who made it removes it.
    Unix(UnixListener, Option<SocketFile>),
    /// It takes the place of one of ours.
    Beside(Unplaced),
    Tcp(TcpListener),
}

/// An open door.
#[derive(Debug)]
struct Open {
    place: Place,
    is_inherited: bool,
    /// What lets callers of the admin API in.
    door: Option<Arc<Door>>,
    file: Option<Arc<SocketFile>>,
    stop: Stop,
    closed: Closed,
}

/// Resolves once nothing is accepted any more.
type Closed = watch::Receiver<()>;

/// All doors.
#[derive(Debug)]
pub(super) struct Doors {
    admin: Arc<Admin>,
    metrics: Metrics,
    tasks: Tasks,
    /// Of the whole daemon.
    stopped: Stopped,
    open: Mutex<Vec<Open>>,
}

#[derive(Debug)]
struct Opening {
    wanted: Wanted,
    token: Option<Secret<String>>,
    bound: Bound,
    /// The place, among the open ones, of the door that it replaces.
    replaces: Option<usize>,
}

/// A door that is to be bound, its token, and the place of the open one that it replaces.
type Unbound = (Wanted, Option<Secret<String>>, Option<usize>);

/// What differs between the doors that are open and those that are wanted, with all new ones bound.
#[derive(Debug)]
pub(super) struct Plan {
    /// By their place among the open ones.
    staying: Vec<(usize, Wanted, Option<Secret<String>>)>,
    closing: Vec<usize>,
    opening: Vec<Opening>,
    /// Doors that open or close, as a configuration names them.
    pub applied: Vec<Applied>,
    /// What only a restart changes.
    pub outstanding: Vec<Outstanding>,
}

impl Place {
    /// The same door, whoever may open it.
    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Socket(one), Self::Socket(other)) => one.path == other.path,
            (one, other) => one == other,
        }
    }

    /// As a configuration names it.
    fn key(&self) -> String {
        match self {
            Self::Socket(socket) => format!("socket {:?}", socket.name),
            Self::Address(address) => format!("socket \"{address}\""),
            Self::Metrics(_) => "metrics.listen".to_owned(),
        }
    }

    /// The keys of the file's mode and group, of those that differ.
    fn file_keys(&self, other: &Self) -> Vec<String> {
        let (Self::Socket(one), Self::Socket(other)) = (self, other) else { return Vec::new() };
        let differ = [("mode", one.mode != other.mode), ("group", one.group != other.group)];
        let differ = differ.into_iter().filter(|(_, differs)| *differs);
        differ.map(|(key, _)| format!("socket {:?}.{key}", other.name)).collect()
    }
}

/// The doors that a configuration wants, in its order.
pub(super) fn wanted(config: &Config) -> Vec<Wanted> {
    let of = |place, rights: &Rights, token_name| Wanted { place, rights: rights.clone(), token_name };
    let sockets =
        config.sockets.iter().map(|socket| of(Place::Socket(socket.clone()), &socket.rights, String::new()));
    let listeners = config.api_listeners.iter().zip(&config.sources.api_tokens);
    let addresses = listeners.map(|(listener, token)| {
        of(Place::Address(listener.address), &listener.rights, token.source.to_string())
    });
    let nothing = Rights::new(Vec::new(), Selection::All, Selection::All);
    let metrics = config.metrics_listen.map(|address| of(Place::Metrics(address), &nothing, String::new()));
    sockets.chain(addresses).chain(metrics).collect()
}

/// Binds a door at the start, unless it is inherited.
pub(super) async fn bind_or_inherit(wanted: &Wanted, inherited: &mut Inherited) -> Result<Bound, Error> {
    let taken = match &wanted.place {
        Place::Socket(socket) => match inherited.unix(&socket.path) {
            Some(listener) => {
                sockets::check_inherited(socket)?;
                Some(Listening::Unix(UnixListener::from_std(listener)?, None))
            }
            None => None,
        },
        Place::Address(address) | Place::Metrics(address) => match inherited.tcp(*address) {
            Some(listener) => Some(Listening::Tcp(TcpListener::from_std(listener)?)),
            None => None,
        },
    };
    match taken {
        Some(listening) => Ok(Bound { listening, is_inherited: true }),
        None => bind(wanted, false).await,
    }
}

/// Binds a door; `beside` another on the same path, which it replaces.
async fn bind(wanted: &Wanted, beside: bool) -> Result<Bound, Error> {
    let listening = match &wanted.place {
        Place::Socket(socket) => {
            let socket = socket.clone();
            let bound = spawn_blocking(move || {
                if beside {
                    return sockets::bind_beside(&socket).map(Listening::Beside);
                }
                sockets::bind(&socket).map(|(listener, file)| Listening::Unix(listener, Some(file)))
            });
            bound.await.map_err(std::io::Error::other)??
        }
        Place::Address(address) => Listening::Tcp(bind_address(*address, "[[socket]] ").await?),
        Place::Metrics(address) => Listening::Tcp(bind_address(*address, "[metrics] ").await?),
    };
    Ok(Bound { listening, is_inherited: false })
}

/// Binds an address, which `section` of the configuration has.
pub(super) async fn bind_address(address: SocketAddr, section: &str) -> Result<TcpListener, Error> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|error| Error::Bind { what: format!("{section}listen = \"{address}\""), error })
}

impl Bound {
    /// With its file in its place.
    fn placed(self) -> std::io::Result<Self> {
        let Self { listening, is_inherited } = self;
        let listening = match listening {
            Listening::Beside(unplaced) => {
                let (listener, file) = unplaced.place()?;
                Listening::Unix(listener, Some(file))
            }
            listening => listening,
        };
        Ok(Self { listening, is_inherited })
    }
}

impl Doors {
    /// Opens those that were bound at the start; `tokens` are those of the addresses, in the configuration's order.
    pub(super) fn open(
        admin: &Arc<Admin>,
        metrics: &Metrics,
        tasks: &Tasks,
        stopped: &Stopped,
        (bound, tokens): (Vec<(Wanted, Bound)>, Vec<Secret<String>>),
    ) -> Self {
        let (admin, metrics, tasks) = (Arc::clone(admin), metrics.clone(), tasks.clone());
        let doors = Self { admin, metrics, tasks, stopped: stopped.clone(), open: Mutex::default() };
        let mut tokens = tokens.into_iter();
        for (wanted, bound) in bound {
            let token = tokens_of(&wanted, &mut tokens);
            doors.add(wanted, token.as_ref(), bound);
        }
        doors
    }

    /// Binds what is new in `config`. Nothing is open by it, and what is dropped leaves nothing behind.
    ///
    /// # Errors
    /// For the first that can't be bound.
    pub(super) async fn prepare(&self, config: &Config, tokens: Vec<Secret<String>>) -> Result<Plan, String> {
        let (mut plan, unbound) = self.compare(config, tokens);
        for (wanted, token, replaces) in unbound {
            let bound = bind(&wanted, replaces.is_some()).await.map_err(|error| error.to_string())?;
            plan.opening.push(Opening { wanted, token, bound, replaces });
        }
        Ok(plan)
    }

    /// Those that are to be bound, each with the open one that it replaces, if any.
    fn compare(&self, config: &Config, tokens: Vec<Secret<String>>) -> (Plan, Vec<Unbound>) {
        let (open, mut tokens) = (self.all(), tokens.into_iter());
        let (staying, closing, opening) = (Vec::new(), Vec::new(), Vec::new());
        let mut plan = Plan { staying, closing, opening, applied: Vec::new(), outstanding: Vec::new() };
        let (mut unbound, mut found) = (Vec::new(), vec![false; open.len()]);
        let told = |place: &Place, words: &'static str| Applied { key: place.key(), words: words.into() };
        for wanted in wanted(config) {
            let token = tokens_of(&wanted, &mut tokens);
            let same = (0..open.len()).find(|&at| !found[at] && open[at].place.is(&wanted.place));
            let Some(at) = same else {
                plan.applied.push(told(&wanted.place, "is new"));
                unbound.push((wanted, token, None));
                continue;
            };
            found[at] = true;
            let file = open[at].place.file_keys(&wanted.place);
            if !file.is_empty() && !open[at].is_inherited {
                plan.closing.push(at);
                unbound.push((wanted, token, Some(at)));
                continue;
            }
            let why = || "systemd made its file: change its socket unit too".to_owned();
            plan.outstanding.extend(file.into_iter().map(|key| Outstanding { key, why: why() }));
            plan.staying.push((at, wanted, token));
        }
        for (at, open) in open.iter().enumerate().filter(|(at, _)| !found[*at]) {
            if open.is_inherited {
                let (key, why) = (open.place.key(), HELD_BY_SYSTEMD.to_owned());
                plan.outstanding.push(Outstanding { key, why });
            } else {
                plan.applied.push(told(&open.place, "is taken out"));
                plan.closing.push(at);
            }
        }
        (plan, unbound)
    }

    /// A file that can't be moved into its place is told, and nothing else fails. Resolves once those that are closed accept nothing more; what is under way there has its time.
    pub(super) async fn put_in_force(&self, plan: Plan) {
        for (at, wanted, token) in plan.staying {
            let all = self.all();
            if let Some(door) = &all[at].door {
                let token = token.as_ref().map(|token| (wanted.token_name.as_str(), token));
                self.admin.change(door, wanted.rights, token);
            }
        }
        let mut closing = plan.closing;
        for Opening { wanted, token, bound, replaces } in plan.opening {
            match bound.placed() {
                Ok(bound) => {
                    if let Some(file) = replaces.and_then(|at| self.all()[at].file.clone()) {
                        file.is_replaced();
                    }
                    self.add(wanted, token.as_ref(), bound);
                }
                Err(error) => {
                    let socket = wanted.place.key();
                    if let Some(door) = replaces.and_then(|at| self.all()[at].door.clone()) {
                        self.admin.change(&door, wanted.rights, None);
                    }
                    tracing::error!(socket, %error, "the socket keeps its mode and group: the new file can't be moved into its place");
                    closing.retain(|at| Some(*at) != replaces);
                }
            }
        }
        // From behind, so that the places of the others stay.
        closing.sort_unstable_by(|one, other| other.cmp(one));
        let closed: Vec<Open> = {
            let mut all = self.all();
            closing.into_iter().map(|at| all.remove(at)).collect()
        };
        for Open { door, file, stop, mut closed, .. } in closed {
            if let Some(file) = file {
                file.remove();
            }
            if let Some(door) = door {
                self.admin.close(&door);
            }
            stop.at(clock::ticks() + DRAIN);
            while closed.changed().await.is_ok() {}
        }
    }

    fn add(&self, wanted: Wanted, token: Option<&Secret<String>>, bound: Bound) {
        let Wanted { place, rights, token_name } = wanted;
        let Bound { listening, is_inherited } = bound;
        let (stop, stopped) = Stop::new();
        let (accepting, closed) = watch::channel(());
        let token = token.map(|token| (token_name.as_str(), token));
        let serving = Serving { doors: self, stopped, accepting };
        let (door, file) = match listening {
            Listening::Tcp(listener) => (serving.address(&place, rights, token, listener), None),
            Listening::Unix(listener, file) => serving.socket(&place, rights, listener, file),
            // `placed` leaves none.
            Listening::Beside(_) => return,
        };
        self.all().push(Open { place, is_inherited, door, file, stop, closed });
    }

    /// For the privacy sheet: who may read through what is open, and where metrics are served.
    pub(super) fn readers(&self) -> (Vec<ReaderFacts>, Option<String>) {
        let (mut readers, mut metrics) = (Vec::new(), None);
        for Open { place, door, .. } in self.all().iter() {
            let place = match place {
                Place::Socket(socket) => privacy::Place::Socket {
                    path: socket.path.display().to_string(),
                    mode: socket.mode,
                    group: socket.group.clone(),
                },
                Place::Address(address) => privacy::Place::Address(address.to_string()),
                Place::Metrics(address) => {
                    metrics = Some(address.to_string());
                    continue;
                }
            };
            readers.extend(door.as_ref().map(|door| ReaderFacts { place, rights: door.rights() }));
        }
        (readers, metrics)
    }

    fn all(&self) -> MutexGuard<'_, Vec<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Only addresses of the API have a token.
fn tokens_of(wanted: &Wanted, tokens: &mut impl Iterator<Item = Secret<String>>) -> Option<Secret<String>> {
    if matches!(wanted.place, Place::Address(_)) { tokens.next() } else { None }
}

/// Lets a door be served.
struct Serving<'a> {
    doors: &'a Doors,
    stopped: Stopped,
    accepting: watch::Sender<()>,
}

impl Serving<'_> {
    fn socket(
        self,
        place: &Place,
        rights: Rights,
        listener: UnixListener,
        file: Option<SocketFile>,
    ) -> (Option<Arc<Door>>, Option<Arc<SocketFile>>) {
        let name = match place {
            Place::Socket(socket) => socket.path.to_string_lossy().into_owned(),
            _ => place.key(),
        };
        let door = self.doors.admin.door(&name, rights, None);
        let file = file.map(Arc::new);
        let handler = Arc::clone(&self.doors.admin).serving(&door);
        self.spawn(listener, handler, ListenerName::Admin, file.clone());
        (Some(door), file)
    }

    fn address(
        self,
        place: &Place,
        rights: Rights,
        token: Option<(&str, &Secret<String>)>,
        listener: TcpListener,
    ) -> Option<Arc<Door>> {
        let (admin, address) = (&self.doors.admin, listener.local_addr());
        let address = address.map_or_else(|_| place.key(), |address| address.to_string());
        if let Place::Metrics(_) = place {
            tracing::info!(address, "metrics and probes listen");
            let handler = Arc::clone(admin).probes();
            self.spawn(listener, handler, ListenerName::Metrics, None);
            return None;
        }
        tracing::info!(address, "the admin API listens");
        let door = admin.door(&address, rights, token);
        let handler = Arc::clone(admin).serving(&door);
        self.spawn(listener, handler, ListenerName::Admin, None);
        Some(door)
    }

    /// Each has limits and budgets of its own, so callers that fill one keep nobody from another.
    fn spawn(
        self,
        listener: impl Listener,
        handler: impl Handler,
        name: ListenerName,
        file: Option<Arc<SocketFile>>,
    ) {
        let Doors { metrics, tasks, stopped: all, .. } = self.doors;
        let server = Server::new(limits(), metrics.http(name));
        let listener = Accepting { listener, _accepting: self.accepting };
        let serving = server.serve(listener, handler, self.stopped.or(all.clone()));
        tasks.spawn(async move {
            let _ = serving.await;
            // At a stop of the daemon, once all is answered.
            if let Some(file) = file {
                file.remove();
            }
        });
    }
}

/// A listener that tells when it is gone.
struct Accepting<L> {
    listener: L,
    _accepting: watch::Sender<()>,
}

impl<L: Listener> Listener for Accepting<L> {
    type Accepted = L::Accepted;

    async fn accept(&mut self) -> std::io::Result<L::Accepted> {
        self.listener.accept().await
    }
}
