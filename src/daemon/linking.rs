//! Opens account linking: the URLs that Ring calls, and claims, over the tokens' desk.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::admin::LinkDesk;
use crate::config::{Config, Secrets};
use crate::domain::claim::{Bid, Told, Unanswered};
use crate::domain::code::{Grant, NoRoom};
use crate::domain::lending::{Ask, Denied, Lent};
use crate::domain::nonce::Nonces;
use crate::linking::{Endpoint, Linking, Parts, Settings, Tokens};
use crate::ring_api::RingApi;
use crate::store::Store;
use crate::telemetry::Metrics;
use crate::tokens::Desk;

/// Claims of this store.
pub(super) fn linking(
    config: &Config,
    secrets: &Secrets,
    store: &Store,
    api: Option<RingApi>,
    desk: &Arc<Desk>,
    metrics: &Metrics,
) -> Arc<Linking> {
    Linking::new(Parts {
        store: store.clone(),
        api,
        tokens: Arc::new(Behind(Arc::clone(desk))),
        nonces: Nonces::new(secrets.hmac_keys.iter().map(|key| key.expose().as_slice())),
        clock_skew: config.linking.clock_skew,
        metrics: metrics.clone(),
    })
}

/// The URLs beside the webhooks'.
pub(super) fn endpoint(config: &Config, desk: &Arc<Desk>, metrics: &Metrics) -> Endpoint {
    let settings = Settings {
        code_path: config.linking.code_path.clone(),
        link_path: config.linking.link_path.clone(),
        sign_in_url: config.linking.sign_in_url.clone(),
        body_timeout: config.webhook.body_timeout,
        answer_within: config.webhook.answer_within,
    };
    let tokens = Arc::new(Behind(Arc::clone(desk)));
    Endpoint::new(settings, tokens, metrics.clone())
}

/// The desk as linking sees it.
#[derive(Debug)]
struct Behind(Arc<Desk>);

impl Tokens for Behind {
    fn take_code(&self, grant: Grant) -> Pin<Box<dyn Future<Output = Result<(), NoRoom>> + Send + '_>> {
        Box::pin(self.0.take_code(grant))
    }

    fn expects_accounts(&self) -> bool {
        self.0.expects_accounts()
    }

    fn lend<'a>(&'a self, ask: &'a Ask) -> Pin<Box<dyn Future<Output = Result<Lent, Denied>> + Send + 'a>> {
        Box::pin(self.0.lend(ask))
    }

    fn one_call(&self) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
        Box::pin(self.0.one_call())
    }

    fn throttled(&self, retry_after: Option<Duration>) {
        self.0.throttled(retry_after);
    }
}

/// Linking as the admin API sees it.
#[derive(Debug)]
pub(super) struct LinksBehind(pub Arc<Linking>);

impl LinkDesk for LinksBehind {
    fn claim(&self, bid: Bid) -> Pin<Box<dyn Future<Output = Result<Told, Unanswered>> + Send + '_>> {
        Box::pin(self.0.claim(bid))
    }
}
