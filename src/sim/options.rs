//! How a simulated Ring is asked for: its rules, its client, and where its partner is.

use std::net::SocketAddr;

use super::codes::CodeSender;
use super::oauth::Policy;
use super::sender::Sender;
use super::world::Client;

/// How the simulated Ring is.
#[derive(Debug, Clone)]
pub struct Options {
    /// A loopback address; port 0 is any.
    pub listen: SocketAddr,
    pub policy: Policy,
    /// A replaced refresh token that comes again, its grace being over, revokes all of its account's.
    pub reuse_revokes: bool,
    /// Requests a second over all endpoints; nothing is no limit.
    pub rate: Option<usize>,
    /// The same seed makes the same tokens.
    pub seed: u64,
    pub client: Client,
    /// Signs nonces.
    pub hmac_key: String,
    pub partner: Partner,
    /// Whether a completed link is told as `app_integration_added`.
    pub tells_added: bool,
    /// What comes first when the app is added. Ring promises no order.
    pub first: First,
    /// Whether developers find their endpoints under `/sim/`.
    pub control: bool,
    /// Told of every request and webhook in a line, from the thread that serves them.
    pub narrate: Option<fn(&str)>,
}

impl Default for Options {
    fn default() -> Self {
        let client = Client { id: "sim-client".into(), secret: "sim-client-secret-made-up".into() };
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            policy: Policy::DeadAtOnce,
            reuse_revokes: false,
            rate: Some(100),
            seed: 1,
            client,
            hmac_key: "sim-hmac-key-made-up".into(),
            partner: Partner::default(),
            tells_added: true,
            first: First::default(),
            control: false,
            narrate: None,
        }
    }
}

/// What comes first when the app is added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum First {
    /// `device_added` of each device: the harder order, since nobody knows the account then.
    #[default]
    Devices,
    Code,
}

/// What Ring calls of the partner's.
#[derive(Debug, Clone, Default)]
pub struct Partner {
    /// Where events go.
    pub webhook: Option<Sender>,
    /// Where codes go of accounts that add the app.
    pub codes: Option<CodeSender>,
    /// The Account Link URL, to which a user's browser is sent.
    pub link_url: Option<String>,
}
