//! What is wrong with the certificate of the public listener, beyond that its files can be used: clients would refuse it, or soon will.

use crate::clock;
use crate::config::{Config, PairFiles};
use crate::domain::certificate::{Standing, standing};
use crate::domain::units::span;
use crate::tls::server::Pair;

/// Why clients refuse it.
pub(super) fn problems(config: &Config) -> Vec<String> {
    let Some((files, pair)) = pair(config) else { return Vec::new() };
    let names = config.tls.as_ref().map(|tls| tls.names.as_slice()).unwrap_or_default();
    pair.faults(names, clock::now()).iter().map(|fault| format!("{}: {fault}", files.certificate)).collect()
}

/// That it ends soon.
pub(super) fn notes(config: &Config) -> Vec<String> {
    let Some((files, pair)) = pair(config) else { return Vec::new() };
    let (own, now) = (pair.certificate(), clock::now());
    match standing(own.not_before, own.not_after, now) {
        Standing::Due | Standing::Urgent => {
            vec![format!("{}: it ends in {}", files.certificate, span(own.not_after.since(now)))]
        }
        Standing::Fine | Standing::Expired | Standing::NotYetValid => Vec::new(),
    }
}

/// What is wrong with the files themselves was told with the configuration.
fn pair(config: &Config) -> Option<(&PairFiles, Pair)> {
    let files = config.sources.tls.as_ref()?;
    let identity = files.read().ok()?;
    Some((files, Pair::read(&identity.certificates, identity.key.expose()).ok()?))
}
