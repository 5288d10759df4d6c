//! The validated configuration. config.example.toml says what each key means; here are the types.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::compare::Written;
use super::files::{MasterKey, Secrets, Sources, StoreKeys};
use super::problem::Problems;
use crate::domain::address::Receiver;
use crate::domain::ids::QueueName;
use crate::domain::rights::Rights;
use crate::domain::routing::{Filter, Unclaimed};
use crate::domain::table::Table;
use crate::domain::template::Template;

pub use crate::domain::format::Format;
pub use crate::domain::freshness::Expected;
pub use crate::domain::refresh::Pace;

/// Everything the operator decides. Paths are absolute.
#[derive(Debug)]
pub struct Config {
    /// Where all this is written; empty where only a text was parsed.
    pub file: PathBuf,
    /// The same way.
    pub written: Written,
    pub listen: SocketAddr,
    pub sources: Sources,
    pub webhook: Webhook,
    pub http: Http,
    /// Without it the public listener speaks plain HTTP.
    pub tls: Option<Tls>,
    pub store: Store,
    /// Without it no token is refreshed.
    pub ring: Option<Ring>,
    pub tokens: Tokens,
    pub linking: Linking,
    pub silence: Silence,
    pub seen: Seen,
    pub held: Held,
    pub dead_letters: DeadLetters,
    pub quarantine: Quarantine,
    pub unrouted: Unrouted,
    pub receipts: Receipts,
    /// Of what callers of the admin API did.
    pub audit: Receipts,
    pub queues: Vec<Queue>,
    /// At least one.
    pub sockets: Vec<Socket>,
    /// The `[[socket]]` entries with `listen`.
    pub api_listeners: Vec<ApiListener>,
    /// Where metrics and probes are served in the clear, if anywhere.
    pub metrics_listen: Option<SocketAddr>,
    pub log: Log,
}

impl Config {
    /// Reads every secret.
    ///
    /// # Errors
    /// All that is wrong with their files.
    pub fn secrets(&self, master_key: MasterKey) -> Result<Secrets, Problems> {
        self.sources.read(master_key).map_err(|list| Problems { file: self.file.clone(), list })
    }

    /// Reads the keys of the store alone.
    ///
    /// # Errors
    /// What is wrong with their files.
    pub fn store_keys(&self) -> Result<StoreKeys, Problems> {
        self.sources.store_keys().map_err(|list| Problems { file: self.file.clone(), list })
    }
}

/// What is taken as a webhook, and how fast it is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    pub path: String,
    /// Bytes.
    pub max_body: usize,
    pub body_timeout: Duration,
    /// The budget for a whole answer; longer than `body_timeout`.
    pub answer_within: Duration,
    /// An event older than this is marked, not refused.
    pub late_after: Duration,
    /// An event this far in the future is marked, not refused.
    pub early_after: Duration,
}

/// Limits of the public listener, against slow and greedy clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http {
    pub header_timeout: Duration,
    pub max_header_bytes: usize,
    pub max_headers: usize,
    pub keep_alive_idle: Duration,
    pub max_connections: usize,
    pub max_requests: usize,
    /// At least [`Webhook::max_body`].
    pub max_bytes_in_flight: usize,
}

/// TLS of the public listener. Its certificate and key are [`Sources::tls`], or an authority gives them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The names under which it is reached, as far as they are told.
    pub names: Vec<String>,
    /// Between two looks at the files.
    pub look_every: Duration,
    pub handshake_timeout: Duration,
    pub acme: Option<Acme>,
}

/// The authority that gives the certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acme {
    /// At least one.
    pub names: Vec<String>,
    /// `mailto:` addresses.
    pub contacts: Vec<String>,
    pub directory: String,
    pub folder: PathBuf,
}

/// Where everything is kept, and how much. Sizes in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    pub folder: PathBuf,
    pub create: bool,
    pub environment: String,
    /// At least the sum of all other bounds of what is kept.
    pub max_bytes: u64,
    /// Memory for pages.
    pub cache: usize,
    /// Size of the file that keeps room to recover in.
    pub reserve: u64,
    /// With less left on the disk, intake answers 503.
    pub min_free: u64,
    /// The file is made small by itself where more of it is free, if at all.
    pub compact_above: Option<u64>,
}

/// Who we are at Ring, and where it is.
#[derive(Debug)]
pub struct Ring {
    pub client_id: String,
    /// The token endpoint.
    pub oauth_url: String,
    pub api_url: String,
    /// Shorter than `call_timeout`.
    pub connect_timeout: Duration,
    pub call_timeout: Duration,
    /// For OAuth's answer to a token or a code; not shorter than `call_timeout`.
    pub answer_timeout: Duration,
    /// Of all requests together.
    pub per_second: u32,
}

/// How tokens are kept alive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    pub refresh: Pace,
    /// Refreshes in flight at a time.
    pub parallel: usize,
    /// Between two tries with a token whose answer was lost: the first wait, and the longest.
    pub repeat: (Duration, Duration),
    /// So many such tries, then once a day.
    pub repeats: u16,
    /// The same where an answer that can't be read may hold the tokens that replaced it.
    pub repeat_unreadable: Duration,
    /// So long before its end a link is warned about; descending.
    pub warn_before: [Duration; 3],
    /// Not inside [`Store::folder`].
    pub guard_folder: PathBuf,
}

/// Where account links begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Linking {
    /// Where Ring brings authorization codes; not [`Webhook::path`].
    pub code_path: String,
    /// Where Ring sends the user's browser; another one.
    pub link_path: String,
    /// The partner's page that `link_path` leads to; without it there is nothing.
    pub sign_in_url: Option<String>,
    /// Codes that are taken; with [`Ring::per_second`] within what Ring allows.
    pub codes_per_second: u32,
    /// How far ahead of our clock the time of a visit may be.
    pub clock_skew: Duration,
    /// How long after its app was removed an account is forgotten; never without it.
    pub forget_after_removal: Option<Duration>,
}

/// After how long without a webhook an operator is told: of all accounts, and of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Silence {
    pub after: Expected,
    pub account_after: Expected,
}

/// The memory of request ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub retention: Duration,
    pub max_ids: u64,
}

/// Bounds of what waits for an account to be claimed. Sizes in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    pub max_age: Duration,
    /// Per account.
    pub max_events: u64,
    /// Per account.
    pub max_bytes: u64,
    /// Over all accounts.
    pub total_bytes: u64,
}

/// Bounds of what could not be delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetters {
    pub max_age: Duration,
    pub max_bytes: u64,
}

/// Bounds of what was signed and not understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantine {
    pub max_events: u64,
    pub max_bytes: u64,
    pub max_age: Duration,
}

/// Bounds of what no queue takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unrouted {
    pub max_age: Duration,
    pub max_bytes: u64,
}

/// Bounds of what is noted of events, or of acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipts {
    pub max_age: Duration,
    pub max_bytes: u64,
}

/// One `[[queue]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    pub name: QueueName,
    pub kind: QueueKind,
    pub filter: Filter,
    pub unclaimed: Unclaimed,
    pub format: Format,
    pub max_age: Duration,
    /// Bytes in the store, which are counted against [`Store::max_bytes`].
    pub max_bytes: u64,
    /// After so many failures an event becomes a dead letter.
    pub max_attempts: u32,
    /// Events that the daemon hands to the receiver a second; any number without it.
    pub events_per_second: Option<u32>,
}

/// What only one kind of queue has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueueKind {
    /// Read through the admin socket; `visibility` is how long a lease lasts.
    Embedded {
        visibility: Duration,
    },
    Spool(Spool),
    /// One request an event.
    Http(Target),
    /// One entry of a stream an event.
    Redis(Redis),
    Nats(Nats),
    /// One message an event.
    Mqtt(Mqtt),
    /// One row of a table an event.
    Postgres(Postgres),
    /// One message to an exchange an event.
    Amqp(Amqp),
    /// One message an event, several in a request.
    Sqs(Sqs),
}

/// One file an event in `folder`, which waits for its reader at either bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spool {
    pub folder: PathBuf,
    pub max_files: u64,
    /// `spool_bytes`: of all files.
    pub max_bytes: u64,
}

/// Where a queue's events are sent. The secrets that go with it are in [`Secrets::receivers`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub url: Receiver,
    /// Only of kinds with a login.
    pub username: Option<String>,
    /// For one delivery, from its beginning to its confirmation.
    pub timeout: Duration,
    /// Deliveries in flight.
    pub parallel: usize,
}

/// A server of Redis, and what is added to its streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redis {
    pub target: Target,
    pub database: u32,
    /// The stream's key.
    pub stream: Template,
    /// About so many entries stay in a stream.
    pub max_len: Option<u64>,
    /// An event is confirmed once so many replicas have it.
    pub wait_replicas: u32,
    /// An event is confirmed once it is on the disks of the server and of those replicas.
    pub wait_aof: bool,
}

/// A message an event, to the subject that `subject` makes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nats {
    pub target: Target,
    pub subject: Template,
}

/// A broker of MQTT 5.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mqtt {
    pub target: Target,
    pub topic: Template,
    /// No other client of the broker has it.
    pub client_id: String,
    /// Where Home Assistant looks for devices, if it is told of them.
    pub discovery_prefix: Option<String>,
}

/// A database of PostgreSQL, and the table that gets the rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Postgres {
    /// With a user.
    pub target: Target,
    pub database: String,
    pub table: Table,
    /// Makes the table where there is none.
    pub create_table: bool,
    pub tls: bool,
}

/// A broker of AMQP 0-9-1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Amqp {
    pub target: Target,
    pub vhost: String,
    /// None for the default exchange.
    pub exchange: Option<Template>,
    pub routing_key: Template,
}

/// A queue of Amazon SQS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sqs {
    /// The queue's own URL.
    pub target: Target,
    pub region: String,
    /// With the secrets that go with it; without it credentials are looked for where AWS's own tools do.
    pub access_key_id: Option<String>,
}

impl QueueKind {
    /// Whether its events are sent to an address.
    pub const fn has_receiver(&self) -> bool {
        !matches!(self, Self::Embedded { .. } | Self::Spool(_))
    }

    /// The word that stands in the configuration.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Embedded { .. } => "embedded",
            Self::Spool(_) => "spool",
            Self::Http(_) => "http",
            Self::Redis(_) => "redis",
            Self::Nats(_) => "nats",
            Self::Mqtt(_) => "mqtt",
            Self::Postgres(_) => "postgres",
            Self::Amqp(_) => "amqp",
            Self::Sqs(_) => "sqs",
        }
    }
}

/// One `[[socket]]` of the admin API, with its own rights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Socket {
    /// Its path as it is written.
    pub name: String,
    pub path: PathBuf,
    pub group: Option<String>,
    /// Permission bits, within 0o777.
    pub mode: u32,
    pub rights: Rights,
}

/// One `[[socket]]` with `listen`: the admin API on a loopback address. Each call brings the token of its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiListener {
    /// Always of the loopback interface.
    pub address: SocketAddr,
    pub rights: Rights,
}

/// How the daemon logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    pub format: LogFormat,
    pub level: LogLevel,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Human on a terminal, JSON otherwise.
    Auto,
    Human,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    /// The word that tracing's filters take.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}
