//! What `simulate` can be told, and what that means to the simulated Ring.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use hyper::Uri;

use crate::cli::failure::Failure;
use crate::sim::{CodeSender, CodeShape, FAULT_KINDS, Options, Partner, Peer, Plan, Policy, Sender};

#[derive(Debug, clap::Args)]
#[command(after_help = kinds())]
pub(crate) struct Wishes {
    /// Where it listens, for OAuth, the API and /sim/ alike; a loopback address, port 0 is any.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8490")]
    pub(super) listen: SocketAddr,
    /// What becomes of a refresh token that was replaced.
    #[arg(long, value_enum, default_value = "dead-at-once")]
    policy: PolicyName,
    /// How long a replaced refresh token stays good under --policy grace.
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = humantime::parse_duration)]
    grace: Duration,
    /// A replaced refresh token that comes again revokes all tokens of its account (RFC 9700).
    #[arg(long)]
    reuse_revokes: bool,
    /// How many linked accounts there are from the start.
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(super) accounts: u32,
    /// Requests a second, over all endpoints, beyond which it answers 429; 0 is no limit.
    #[arg(long, value_name = "N", default_value_t = 100)]
    rate: usize,
    /// The same seed makes the same tokens.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Send signed events to this http:// address.
    #[arg(long, value_name = "URL", requires = "hmac_key_file")]
    pub(super) webhook_url: Option<Uri>,
    /// Bring the codes of /sim/install to this http:// address.
    #[arg(long, value_name = "URL")]
    pub(super) token_exchange_url: Option<Uri>,
    /// How a code is written: form, json, query or multipart. Ring does not say which it is.
    #[arg(long, value_name = "SHAPE", default_value = "form", requires = "token_exchange_url", value_parser = str::parse::<CodeShape>)]
    code_shape: CodeShape,
    /// The partner's page that a user's browser is sent to, for the address that /sim/visit answers.
    #[arg(long, value_name = "URL")]
    pub(super) account_link_url: Option<Uri>,
    /// The key that signs events and nonces: the file's text, without the line end.
    #[arg(long, value_name = "FILE")]
    pub(super) hmac_key_file: Option<PathBuf>,
    /// Time between two events; 0s sends none but those of the scenario and of /sim/send.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = humantime::parse_duration)]
    pub(super) every: Duration,
    /// Steps that happen by the clock, in TOML.
    #[arg(long, value_name = "FILE")]
    pub(super) scenario: Option<PathBuf>,
    /// What goes wrong from the start: the next N times, or every time. Can be repeated.
    #[arg(long = "fault", value_name = "PLACE-KIND[:ARGUMENT][=N]", value_parser = plan)]
    pub(super) faults: Vec<Plan>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum PolicyName {
    /// It is dead once it was exchanged.
    DeadAtOnce,
    /// It stays good for --grace; each further use yields a new pair.
    Grace,
}

impl Wishes {
    pub(super) fn options(&self) -> Result<Options, Failure> {
        let default = Options::default();
        let made_up = || Ok(default.hmac_key.clone());
        let hmac_key = self.hmac_key_file.as_deref().map_or_else(made_up, key)?;
        let to = |flag, url: &Option<Uri>| url.as_ref().map(|url| peer(flag, url)).transpose();
        let webhook = to("--webhook-url", &self.webhook_url)?;
        let codes = to("--token-exchange-url", &self.token_exchange_url)?;
        let policy = match self.policy {
            PolicyName::DeadAtOnce => Policy::DeadAtOnce,
            PolicyName::Grace => Policy::Grace(self.grace),
        };
        Ok(Options {
            listen: self.listen,
            policy,
            reuse_revokes: self.reuse_revokes,
            rate: (self.rate > 0).then_some(self.rate),
            seed: self.seed,
            partner: Partner {
                webhook: webhook.map(|to| Sender::new(to.to, &to.path, hmac_key.as_bytes())),
                codes: codes.map(|to| CodeSender::new(to, self.code_shape)),
                link_url: self.account_link_url.as_ref().map(Uri::to_string),
            },
            hmac_key,
            control: true,
            ..default
        })
    }
}

fn key(path: &Path) -> Result<String, Failure> {
    let named = |words: String| Failure::no(format!("{}: {words}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| named(error.to_string()))?;
    let key = text.trim_end_matches(['\r', '\n']);
    if key.is_empty() { Err(named("there is no key in it".into())) } else { Ok(key.to_owned()) }
}

fn peer(flag: &str, url: &Uri) -> Result<Peer, Failure> {
    let wrong = |why: &str| Failure::Usage(format!("{flag} {url}: {why}"));
    if url.scheme_str() != Some("http") {
        return Err(wrong("an address with http:// is due; TLS is for a real Ring"));
    }
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
    let address = (host, url.port_u16().unwrap_or(80)).to_socket_addrs().ok().and_then(|mut all| all.next());
    let to = address.ok_or_else(|| wrong("the host has no address"))?;
    let path = url.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    Ok(Peer { to, path })
}

fn plan(text: &str) -> Result<Plan, String> {
    let (fault, times) = match text.rsplit_once('=') {
        Some((fault, times)) => (fault, Some(times)),
        None => (text, None),
    };
    let count = |times: &str| times.parse().ok().filter(|times| *times > 0);
    let times = times.map(|times| count(times).ok_or(format!("`{times}` is not how often, 1 or more")));
    let fault = fault.parse().map_err(|error: crate::sim::NoFault| error.to_string())?;
    Ok(Plan { fault, times: times.transpose()?, account: None })
}

fn kinds() -> String {
    let kinds = FAULT_KINDS.map(|(name, what)| format!("  {name:<23} {what}\n"));
    format!(
        "Faults are PLACE-KIND, the places being oauth, users-me, devices, link-post and link-patch; the kinds:\n{}\
         For example: --fault oauth-500=3 --fault users-me-slow-after:2s",
        kinds.concat()
    )
}
