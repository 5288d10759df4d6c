//! The public listener: webhooks, and what Ring and its users' browsers call. Its limits and routes are those of the configuration in force.

use std::sync::Arc;
use std::time::Duration;

use super::descriptors;
use crate::config::Config;
use crate::http::routes::{Route, Routes, Table, Unmatched};
use crate::http::{Limits, Server};
use crate::intake::Intake;
use crate::linking::Endpoint;
use crate::live::Live;
use crate::requests::Requests;
use crate::telemetry::{ListenerName, Metrics};
use crate::test_events::TestEvents;
use crate::tokens::TokenService;

/// The parts that answer its requests.
#[derive(Debug)]
struct Parts {
    intake: Arc<Intake>,
    tokens: Arc<TokenService>,
    metrics: Metrics,
    requests: Arc<Requests>,
    test_events: Arc<TestEvents>,
}

#[derive(Debug)]
pub(super) struct Public {
    parts: Parts,
    pub server: Arc<Server>,
    table: Arc<Table>,
    pub unmatched: Arc<Unmatched>,
}

impl Public {
    pub(super) fn new(
        config: &Config,
        (intake, tokens): (&Arc<Intake>, &Arc<TokenService>),
        metrics: &Metrics,
        (requests, test_events): (&Arc<Requests>, &Arc<TestEvents>),
    ) -> Arc<Self> {
        let parts = Parts {
            intake: Arc::clone(intake),
            tokens: Arc::clone(tokens),
            metrics: metrics.clone(),
            requests: Arc::clone(requests),
            test_events: Arc::clone(test_events),
        };
        let server = Server::noting(limits(config), metrics.http(ListenerName::Public), &parts.requests);
        let unmatched = Unmatched::new(metrics.unmatched_posts.clone(), metrics.wrong_methods.clone());
        let table = Arc::new(Live::new(parts.table(config)));
        Arc::new(Self { parts, server, table, unmatched: Arc::new(unmatched) })
    }

    /// The handler of its requests.
    pub(super) fn routes(&self) -> Routes {
        let (table, unmatched) = (Arc::clone(&self.table), Arc::clone(&self.unmatched));
        Routes::new(table, unmatched, Arc::clone(&self.parts.requests))
    }

    /// Requests that come from now on are taken by this configuration. The address stays.
    pub(super) fn put_in_force(&self, config: &Config) {
        self.parts.intake.set(config.webhook.clone());
        self.server.set(limits(config));
        self.table.set(Arc::new(self.parts.table(config)));
    }
}

impl Parts {
    fn table(&self, config: &Config) -> Vec<Route> {
        let (linking, webhook) = (config.linking.clone(), config.webhook.clone());
        let (tokens, metrics) = (Arc::clone(&self.tokens), self.metrics.clone());
        let endpoint = Endpoint::new(linking, webhook, tokens, metrics, Arc::clone(&self.test_events));
        Arc::new(endpoint).routes().into_iter().chain([self.intake.route()]).collect()
    }
}

fn limits(config: &Config) -> Limits {
    let defaults = Limits::default();
    Limits {
        setup_timeout: config.tls.as_ref().map_or(defaults.setup_timeout, |tls| tls.handshake_timeout),
        header_timeout: config.http.header_timeout,
        max_header_bytes: config.http.max_header_bytes,
        max_headers: config.http.max_headers,
        keep_alive_idle: config.http.keep_alive_idle,
        max_connections: descriptors::connections(config),
        max_requests: config.http.max_requests,
        max_bytes_in_flight: config.http.max_bytes_in_flight,
        // The intake keeps its own budget; this one is for its bugs.
        request_budget: config.webhook.answer_within + Duration::from_millis(250),
        ..defaults
    }
}
