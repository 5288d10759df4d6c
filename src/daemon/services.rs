//! Makes the services that need Ring: its client, the token service with its guard and policy, and linking.

use std::sync::Arc;

use super::error::Error;
use crate::clock::RingClock;
use crate::config::{Config, Secrets};
use crate::domain::backoff::Backoff;
use crate::domain::nonce::Nonces;
use crate::domain::refresh::{Policy, Warnings};
use crate::domain::secret::Secret;
use crate::domain::signature::Keys;
use crate::linking::{self, Linking};
use crate::ring_api::{self, Current, RingApi};
use crate::store::Store;
use crate::telemetry::Metrics;
use crate::tokens::{Clock, Guard, Parts, Settings, TokenService};

/// Largest answer of Ring's that is read, in bytes.
const MAX_ANSWER: usize = 64 << 10;

/// The token service of this store.
pub(super) async fn tokens(
    config: &Config,
    store: &Store,
    api: &Current,
    metrics: &Metrics,
) -> Result<Arc<TokenService>, Error> {
    if !api.is_there() {
        tracing::warn!("[ring] client_id is not set: no tokens are refreshed");
    }
    let Settings { policy, late_after, answer_timeout, codes_per_second, .. } = settings(config, false);
    let parts = Parts {
        store: store.clone(),
        api: api.clone(),
        policy,
        late_after,
        answer_timeout,
        codes_per_second,
        guard: Guard::new(&config.tokens.guard_folder, &store.identity().store),
        metrics: metrics.clone(),
        clock: Clock::of_the_machine(store.ring_clock()),
    };
    Ok(TokenService::new(parts).await?)
}

/// What the configuration says of tokens and codes.
pub(super) fn settings(config: &Config, has_other_client: bool) -> Settings {
    let mut policy = Policy {
        pace: config.tokens.refresh,
        parallel: config.tokens.parallel,
        backoff: Backoff { least: config.tokens.repeat.0, most: config.tokens.repeat.1 },
        repeats: config.tokens.repeats,
        repeat_unreadable: config.tokens.repeat_unreadable,
        warnings: Warnings(config.tokens.warn_before),
        ..Policy::default()
    };
    if let Some(ring) = &config.ring {
        policy.per_second = ring.per_second;
    }
    Settings {
        policy,
        late_after: config.ring.as_ref().map(|ring| ring.call_timeout).unwrap_or_default(),
        answer_timeout: config.ring.as_ref().map(|ring| ring.answer_timeout).unwrap_or_default(),
        codes_per_second: config.linking.codes_per_second,
        has_other_client,
    }
}

/// The client of Ring as it is configured; none without `[ring]`. `ring_clock` hears the time from its answers.
///
/// # Errors
/// When an address can't be used.
pub fn ring_api(config: &Config, secrets: &Secrets, ring_clock: RingClock) -> Result<Option<RingApi>, Error> {
    let (Some(ring), Some(client_secret)) = (&config.ring, &secrets.client_secret) else { return Ok(None) };
    let (oauth_url, api_url) = (ring.oauth_url.clone(), ring.api_url.clone());
    let api = RingApi::new(ring_api::Settings {
        oauth_url,
        api_url,
        client_id: ring.client_id.clone(),
        client_secret: Secret::new(client_secret.expose().clone()),
        ca_pem: secrets.ca_pem.clone(),
        connect_timeout: ring.connect_timeout,
        call_timeout: ring.call_timeout,
        answer_timeout: ring.answer_timeout,
        max_answer: MAX_ANSWER,
        ring_clock,
    })?;
    Ok(Some(api))
}

/// The webhook keys in both of their forms.
pub(super) fn hmac_keys(secrets: &Secrets) -> (Keys, Nonces) {
    let bytes = || secrets.hmac_keys.iter().map(|key| key.expose().as_slice());
    (Keys::new(bytes()), Nonces::new(bytes()))
}

/// Linking over this store.
pub(super) fn linking(
    config: &Config,
    secrets: &Secrets,
    store: &Store,
    api: &Current,
    tokens: &Arc<TokenService>,
    metrics: &Metrics,
) -> Arc<Linking> {
    Linking::new(linking::Parts {
        store: store.clone(),
        api: api.clone(),
        tokens: Arc::clone(tokens),
        nonces: hmac_keys(secrets).1,
        clock_skew: config.linking.clock_skew,
        metrics: metrics.clone(),
    })
}
