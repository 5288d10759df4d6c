//! Metrics and probes, which monitoring asks without a login: whether the daemon lives and is ready. It tells nothing of accounts or users.

use std::sync::Arc;

use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, StatusCode};

use super::Admin;
use crate::http::{Answer, Body, Handler, answer};
use crate::store::Health as StoreHealth;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

impl Admin {
    /// The handler of `[metrics] listen`.
    pub fn probes(self: Arc<Self>) -> impl Handler {
        move |request: Request<Body>| {
            let admin = Arc::clone(&self);
            async move { admin.probe(request.method(), request.uri().path()) }
        }
    }

    fn probe(&self, method: &Method, path: &str) -> Answer {
        match (method, path) {
            (&Method::GET, "/metrics") => self.rendered_metrics(),
            // That it answers is all that there is to say.
            (&Method::GET, "/livez") => answer::text(StatusCode::OK, "ok\n"),
            (&Method::GET, "/readyz") => self.readiness(),
            _ => answer::empty(StatusCode::NOT_FOUND),
        }
    }

    pub(super) fn rendered_metrics(&self) -> Answer {
        self.refresh_metrics();
        let mut answer = answer::text(StatusCode::OK, self.metrics.render());
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(OPENMETRICS));
        answer
    }

    /// Whether webhooks can be kept now.
    fn readiness(&self) -> Answer {
        let unready = match self.store.health() {
            StoreHealth::Ready => return answer::text(StatusCode::OK, "ready\n"),
            StoreHealth::LowDisk { .. } => "the store's disk is nearly full\n",
            StoreHealth::Failing { .. } => "the store can't be read or written\n",
            StoreHealth::Damaged { .. } => "the store is damaged\n",
        };
        answer::text(StatusCode::SERVICE_UNAVAILABLE, unready)
    }
}
