//! `ringhookd demo`: a simulated Ring, the daemon and a reader for each user, over real sockets, without configuration.

mod link;

use std::fmt::{Arguments, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;

use super::failure::Failure;
use super::output::Output;
use super::stop::Stop;
use crate::clock;
use crate::config;
use crate::daemon::{Daemon, Error};
use crate::domain::access_token::AccessRequest;
use crate::domain::ids::{AccountId, QueueName, UserId};
use crate::domain::signature::sign;
use crate::domain::tokens::{Pair, Span};
use crate::sim::{KINDS, Options, Ring, Sender, body};
use crate::store::{Import, LeaseRequest, Leased, NewTokens, Outcome, Queues, Scope};

const KEY: &str = "made-up-signing-key-for-the-demo";
const PATH: &str = "/webhooks/ring";
/// User, account and device of each link that is there from the start.
const LINKS: [(&str, &str, &str); 2] =
    [("user-1", "ava1.ring.account.DEMO1", "front-door"), ("user-2", "ava1.ring.account.DEMO2", "garage")];
/// The queue that is left to those who play with the demo.
const YOURS: &str = "yours";
const UNCLAIMED: (&str, &str) = ("ava1.ring.account.DEMO3", "shed");
/// Characters of a device's id that are shown.
const SHOWN: usize = 24;
/// How long the demo waits for an event to come out of its queue before it calls it lost.
const PATIENCE: Duration = Duration::from_secs(10);

/// What came out of a queue.
struct Arrival {
    queue: &'static str,
    event: Leased,
}

/// Runs the demo in a temporary folder, which is gone afterwards.
///
/// # Errors
/// When something did not come out as promised, or the daemon did not start.
pub(super) async fn run(keep_running: bool) -> Result<(), DemoError> {
    let out = Output::open(false)?;
    let folder = TemporaryFolder::new()?;
    let oauth = Ring::start(Options { hmac_key: KEY.into(), ..Options::default() })?;
    let daemon = Daemon::start(configuration(&folder.0, &oauth, keep_running)?).await?;
    let mut stage = Stage::new(&daemon, &oauth, out);
    stage.opening(&folder.0)?;
    stage.links().await?;
    stage.every_kind().await?;
    stage.oddities().await?;
    stage.link().await?;
    stage.summary()?;
    if keep_running {
        let mut stop = Stop::listen_with_hangup()?;
        stage.invitation(&admin_socket(&folder.0))?;
        stage.play(&mut stop).await?;
    }
    stage.what_next()?;
    daemon.stop().await;
    Ok(())
}

/// Why the demo failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum DemoError {
    #[error("{0}")]
    Daemon(#[from] Error),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Store(#[from] crate::store::StoreError),
    #[error("{0}")]
    Output(#[from] Failure),
    #[error("not as promised: {0}")]
    Broken(String),
}

/// Where the commands of another terminal come in, while the demo goes on.
fn admin_socket(folder: &Path) -> PathBuf {
    folder.join("admin.sock")
}

/// One that others look at has a socket for them, and a queue that the demo itself does not read.
fn configuration(folder: &Path, oauth: &Ring, is_open: bool) -> Result<config::Config, DemoError> {
    let mut text = format!(
        "listen = \"127.0.0.1:0\"\nhmac_keys = [\"{KEY}\"]\n[store]\nfolder = \"{0}/store\"\ncreate = true\n\
         environment = \"demo\"\nreserve = \"8 MiB\"\nmin_free = \"1 MiB\"\n[log]\nlevel = \"warn\"\n",
        folder.display()
    );
    let _ = write!(
        text,
        "[ring]\nclient_id = \"{}\"\nclient_secret = \"{}\"\noauth_url = \"{}\"\napi_url = \"{}\"\n",
        oauth.client().id,
        oauth.client().secret,
        oauth.oauth_url(),
        oauth.url()
    );
    for user in ["user-1", "user-2", "user-3"] {
        let _ = write!(text, "[[queue]]\nname = \"{user}\"\nkind = \"embedded\"\nusers = [\"{user}\"]\n");
    }
    if is_open {
        let socket = admin_socket(folder);
        let _ = write!(
            text,
            "[[queue]]\nname = \"{YOURS}\"\nkind = \"embedded\"\n[[socket]]\npath = \"{}\"\n",
            socket.display()
        );
    }
    let refused = |problems: Vec<config::Problem>| {
        let list: Vec<_> = problems.iter().map(ToString::to_string).collect();
        DemoError::Broken(list.join("; "))
    };
    config::parse(&text, folder).map_err(refused)
}

struct Stage<'d> {
    daemon: &'d Daemon,
    oauth: &'d Ring,
    ring: Sender,
    arrivals: mpsc::Receiver<Arrival>,
    sent: u32,
    arrived: u32,
    out: Output,
}

impl<'d> Stage<'d> {
    fn new(daemon: &'d Daemon, oauth: &'d Ring, out: Output) -> Self {
        let (sender, arrivals) = mpsc::channel(64);
        for queue in ["user-1", "user-2", "user-3"] {
            tokio::spawn(read(daemon.store().queues().clone(), queue, sender.clone()));
        }
        let ring = Sender::new(daemon.address(), PATH, KEY.as_bytes());
        Self { daemon, oauth, ring, arrivals, sent: 0, arrived: 0, out }
    }

    /// A line, at once.
    fn say(&mut self, line: Arguments<'_>) -> Result<(), DemoError> {
        Ok(self.out.show(format_args!("{line}\n"))?)
    }

    /// The beginning of a line, at once.
    fn part(&mut self, text: Arguments<'_>) -> Result<(), DemoError> {
        Ok(self.out.show(text)?)
    }

    fn opening(&mut self, folder: &Path) -> Result<(), DemoError> {
        self.say(format_args!(
            "A simulated Ring, the daemon, and a reader for each user's queue. All of it stays on this machine.\n"
        ))?;
        self.say(format_args!("  store     {}", folder.join("store").display()))?;
        self.say(format_args!("  webhooks  http://{}{PATH}", self.daemon.address()))?;
        self.say(format_args!("  OAuth     {}\n", self.oauth.oauth_url()))
    }

    async fn links(&mut self) -> Result<(), DemoError> {
        for (user, account, _) in LINKS {
            let import = Import {
                account: account_id(account)?,
                user: Some(user_id(user)?),
                tokens: Some(NewTokens {
                    pair: Pair::of(None, &self.oauth.add_account(account).refresh),
                    span: Span::of_import(None, clock::now()),
                }),
                replace: false,
            };
            self.daemon.store().links().import(import).await?.map_err(broken)?;
            self.say(format_args!("  imported  {account} for {user}, with a refresh token"))?;
        }
        for (user, account, _) in LINKS {
            let ask = AccessRequest {
                account: account_id(account)?,
                min_life: Duration::from_hours(1),
                refused: None,
            };
            let given = self
                .daemon
                .tokens()
                .access_tokens()
                .get(&ask)
                .await
                .map_err(|denied| broken(denied.reason.words()))?;
            if !self.oauth.honours_access(given.token.expose()) {
                return Err(broken("Ring does not honour the access token"));
            }
            self.say(format_args!(
                "  refreshed {account}: an access token for {user}'s workers, good until {}",
                given.expires_at.rfc3339()
            ))?;
        }
        self.say(format_args!(
            "\n  {:<40} {:<6} {:<10} where it came out",
            "Ring sends", "answer", "it was"
        ))?;
        Ok(())
    }

    /// Every documented type, to one user or the other, each seen until it comes out of its queue.
    async fn every_kind(&mut self) -> Result<(), DemoError> {
        for (i, kind) in KINDS.iter().enumerate() {
            let (user, account, device) = LINKS[i % LINKS.len()];
            let text = body(kind, &self.request_id(), account, device, clock::now());
            self.send(kind, &text, None, 200).await?;
            self.comes_out(user, &text).await?;
        }
        Ok(())
    }

    async fn oddities(&mut self) -> Result<(), DemoError> {
        let (user, account, device) = LINKS[0];
        let fresh = body("button_press", &self.request_id(), account, device, clock::now());
        self.send("button_press", &fresh, None, 200).await?;
        self.comes_out(user, &fresh).await?;
        self.send("the same once more (duplicate)", &fresh, None, 200).await?;
        self.say(format_args!("dropped    it was accepted before"))?;

        let forged = sign(b"not the key of this app", &fresh);
        self.send("one that somebody else signed (forged)", &fresh, Some(&forged), 401).await?;
        self.say(format_args!("refused    nothing of it is kept"))?;

        let unknown = body("from_the_future", &self.request_id(), account, device, clock::now());
        self.send("a type that nobody knows yet", &unknown, None, 200).await?;
        self.comes_out(user, &unknown).await?;

        self.send("signed text that is no event", b"1700000000000:ava1.ring.account.DEMO1", None, 200)
            .await?;
        self.say(format_args!("kept       in quarantine, for people"))?;

        let early = body("device_added", &self.request_id(), UNCLAIMED.0, UNCLAIMED.1, clock::now());
        self.send("for an account nobody has claimed", &early, None, 200).await?;
        self.say(format_args!("held       until somebody does"))?;
        Ok(())
    }

    fn summary(&mut self) -> Result<(), DemoError> {
        let stats = self.daemon.store().stats();
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Relaxed);
        let (accepted, released) = (count(&stats.accepted), count(&stats.released));
        let (duplicates, quarantined) = (count(&stats.duplicates), count(&stats.quarantined));
        let arrived = self.arrived;
        self.say(format_args!(
            "\n  {accepted} events accepted ({released} of them held, then released), {duplicates} duplicate dropped, \
             {quarantined} quarantined, 1 forged refused; {arrived} came out of their queues."
        ))
    }

    fn what_next(&mut self) -> Result<(), DemoError> {
        self.say(format_args!("\n  What next:"))?;
        self.say(format_args!(
            "  - run it with a configuration of your own: ringhookd serve --config config.example.toml (README.md)"
        ))?;
        self.say(format_args!(
            "  - link Ring accounts: the addresses to register, and the claim (docs/LINKING.md)"
        ))?;
        self.say(format_args!(
            "  - take events: ringhookd queue read NAME --exec COMMAND, or a broker or address of yours (docs/SINKS.md)"
        ))
    }

    fn invitation(&mut self, socket: &Path) -> Result<(), DemoError> {
        let (_, account, device) = LINKS[0];
        self.say(format_args!("\nIt goes on until Ctrl-C. Look at it from another terminal:\n"))?;
        self.say(format_args!("  export RINGHOOKD_SOCKET={}", socket.display()))?;
        for command in ["status", "accounts list", "queue read yours"] {
            self.say(format_args!("  ringhookd {command}"))?;
        }
        self.say(format_args!("\nPlay Ring there, as often as you like:\n"))?;
        self.say(format_args!(
            "  body='{{\"meta\":{{\"request_id\":\"'$(openssl rand -hex 16)'\",\"account_id\":\"{account}\"}},\
             \"data\":{{\"type\":\"button_press\",\"attributes\":{{\"source\":\"{device}\",\"source_type\":\"devices\"}}}}}}'"
        ))?;
        self.say(format_args!(
            "  signature=$(printf %s \"$body\" | openssl dgst -sha256 -hmac {KEY} -r | cut -d' ' -f1)"
        ))?;
        self.say(format_args!(
            "  curl -i http://{}{PATH} -H \"X-Signature: sha256=$signature\" -d \"$body\"\n",
            self.daemon.address()
        ))
    }

    /// Shows what comes out of the queues, until it is told to stop.
    async fn play(&mut self, stop: &mut Stop) -> Result<(), DemoError> {
        loop {
            tokio::select! {
                () = stop.told() => return Ok(()),
                Some(arrival) = self.arrivals.recv() => {
                    self.say(format_args!("  queue {}: {}", arrival.queue, line(&arrival.event)))?;
                }
            }
        }
    }

    fn request_id(&mut self) -> String {
        format!("demo-{:04}-{}", self.sent, clock::now().0)
    }

    /// Sends one event and shows the answer, which must be `expected`.
    async fn send(
        &mut self,
        what: &str,
        body: &[u8],
        signature: Option<&str>,
        expected: u16,
    ) -> Result<(), DemoError> {
        self.sent += 1;
        let status = match signature {
            Some(signature) => self.ring.post_signed(body, signature).await?,
            None => self.ring.post(body).await?,
        };
        self.part(format_args!("  {what:<40} {status:<6} "))?;
        if status == expected { Ok(()) } else { Err(broken(format!("{expected} was due, not {status}"))) }
    }

    /// Waits for the event to come out of the user's queue, to the byte.
    async fn comes_out(&mut self, user: &str, body: &[u8]) -> Result<(), DemoError> {
        let arrival = self.arrival().await?;
        self.say(format_args!("accepted   queue {}: {}", arrival.queue, line(&arrival.event)))?;
        if arrival.queue == user && arrival.event.event.body == body {
            Ok(())
        } else {
            Err(broken(format!("it was {user}'s")))
        }
    }

    async fn arrival(&mut self) -> Result<Arrival, DemoError> {
        let arrival = timeout(PATIENCE, self.arrivals.recv()).await.ok().flatten();
        self.arrived += 1;
        arrival.ok_or_else(|| broken("an accepted event did not come out of its queue"))
    }
}

/// Takes events out of a queue for as long as somebody wants to see them.
async fn read(queues: Queues, queue: &'static str, arrivals: mpsc::Sender<Arrival>) {
    let Some(name) = QueueName::new(queue) else { return };
    let Some(wake) = queues.wake(&name) else { return };
    loop {
        let notified = Arc::clone(&wake).notified_owned();
        let request = LeaseRequest {
            max_events: 16,
            max_bytes: 1 << 20,
            until: clock::now().plus(PATIENCE),
            scope: Scope::default(),
        };
        let Ok(Some(lease)) = queues.lease(&name, &request, clock::now()).await else {
            notified.await;
            continue;
        };
        let done = lease.events.iter().map(|event| (event.seq, Outcome::Done)).collect();
        if queues.settle(&name, lease.id, done).await.is_err() {
            return;
        }
        for event in lease.events {
            if arrivals.send(Arrival { queue, event }).await.is_err() {
                return;
            }
        }
    }
}

fn line(event: &Leased) -> String {
    let kind = &event.event.kind;
    let Some(device) = &event.event.device else { return format!("com.ring.{kind}") };
    // Ring's are about 110 characters long.
    let short: String = device.as_str().chars().take(SHOWN).collect();
    let more = if short.len() < device.as_str().len() { "…" } else { "" };
    format!("com.ring.{kind} from {short}{more}")
}

fn broken(what: impl std::fmt::Display) -> DemoError {
    DemoError::Broken(what.to_string())
}

fn account_id(text: &str) -> Result<AccountId, DemoError> {
    AccountId::new(text).map_err(broken)
}

fn user_id(text: &str) -> Result<UserId, DemoError> {
    UserId::new(text).map_err(broken)
}

/// A folder that goes with the demo.
struct TemporaryFolder(PathBuf);

impl TemporaryFolder {
    fn new() -> std::io::Result<Self> {
        let path = std::env::temp_dir().join(format!("ringhookd-demo-{}", std::process::id()));
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        // It lies in the system's temporary folder: left behind it harms nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
