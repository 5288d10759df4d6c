//! Opens account linking: the URLs that Ring calls, and claims, over the token service.

use std::sync::Arc;

use crate::config::{Config, Secrets};
use crate::domain::nonce::Nonces;
use crate::linking::{Endpoint, Linking, Parts, Settings};
use crate::ring_api::RingApi;
use crate::store::Store;
use crate::telemetry::Metrics;
use crate::tokens::TokenService;

/// Claims of this store.
pub(super) fn linking(
    config: &Config,
    secrets: &Secrets,
    store: &Store,
    api: Option<RingApi>,
    tokens: &Arc<TokenService>,
    metrics: &Metrics,
) -> Arc<Linking> {
    Linking::new(Parts {
        store: store.clone(),
        api,
        tokens: Arc::clone(tokens),
        nonces: Nonces::new(secrets.hmac_keys.iter().map(|key| key.expose().as_slice())),
        clock_skew: config.linking.clock_skew,
        metrics: metrics.clone(),
    })
}

/// The URLs beside the webhooks'.
pub(super) fn endpoint(config: &Config, tokens: &Arc<TokenService>, metrics: &Metrics) -> Endpoint {
    let settings = Settings {
        code_path: config.linking.code_path.clone(),
        link_path: config.linking.link_path.clone(),
        sign_in_url: config.linking.sign_in_url.clone(),
        body_timeout: config.webhook.body_timeout,
        answer_within: config.webhook.answer_within,
    };
    Endpoint::new(settings, Arc::clone(tokens), metrics.clone())
}
