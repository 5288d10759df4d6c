//! The route table of a listener: path, methods, handler; and the trace that POSTs to unknown paths leave for the operator.

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use hyper::header::{ALLOW, HeaderValue};
use hyper::{Method, Request, StatusCode};
use prometheus_client::metrics::counter::Counter;

use super::{Answer, Body, Handler, answer};
use crate::clock;
use crate::domain::limiter::Limiter;
use crate::domain::receipt::forwarded_for;
use crate::domain::time::Millis;
use crate::live::Live;
use crate::logging::text;
use crate::requests::{Asked, Requests};

/// The header in which a proxy tells whose request it brings.
const FORWARDED_FOR: &str = "x-forwarded-for";
/// Lines a minute.
const LINES: u32 = 6;

/// An answer that is being made. It is on the heap, so that a connection without a request does not carry the room for it.
type Answering = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// One path, the methods that it takes, and the handler of its requests.
pub struct Route {
    path: String,
    methods: &'static [&'static str],
    handler: Box<dyn Fn(Request<Body>) -> Answering + Send + Sync>,
    /// Its handler notes its requests itself.
    notes: bool,
}

impl Route {
    pub fn new<F>(
        path: &str,
        methods: &'static [&'static str],
        handler: impl Fn(Request<Body>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        let handler = Box::new(move |request| Box::pin(handler(request)) as Answering);
        Self { path: path.to_owned(), methods, handler, notes: false }
    }

    /// Its handler notes its requests itself, because it knows more of them.
    #[must_use]
    pub fn noting(self) -> Self {
        Self { notes: true, ..self }
    }

    /// A slash at the end makes no difference, because one is easily written into Ring's form or added by a proxy, and Ring never
    /// retries a 404.
    fn is_at(&self, path: &str) -> bool {
        path.trim_end_matches('/') == self.path.trim_end_matches('/')
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.methods.join("|"), self.path)
    }
}

/// The routes of a listener, which can be replaced while it is served. Of two with one path, the first counts.
pub type Table = Live<Vec<Route>>;

/// Requests by the table of this moment. Other paths are answered 404, other methods 405.
#[derive(Debug)]
pub struct Routes {
    table: Arc<Table>,
    unmatched: Arc<Unmatched>,
    requests: Arc<Requests>,
}

impl Routes {
    pub fn new(table: Arc<Table>, unmatched: Arc<Unmatched>, requests: Arc<Requests>) -> Self {
        Self { table, unmatched, requests }
    }

    fn find<'t>(&self, table: &'t [Route], method: &Method, path: &str) -> Result<&'t Route, Box<Answer>> {
        let Some(route) = table.iter().find(|route| route.is_at(path)) else {
            self.unmatched.note(method, path);
            return Err(Box::new(answer::empty(StatusCode::NOT_FOUND)));
        };
        if route.methods.contains(&method.as_str()) {
            return Ok(route);
        }
        self.unmatched.note_method(method, path);
        let mut refusal = answer::empty(StatusCode::METHOD_NOT_ALLOWED);
        if let Ok(allowed) = HeaderValue::from_str(&route.methods.join(", ")) {
            refusal.headers_mut().insert(ALLOW, allowed);
        }
        Err(Box::new(refusal))
    }
}

impl Handler for Routes {
    async fn handle(&self, request: Request<Body>) -> Answer {
        let table = self.table.get();
        let found = self.find(&table, request.method(), request.uri().path());
        if let Ok(route) = &found
            && route.notes
        {
            return (route.handler)(request).await;
        }
        let asked = asked(&request);
        let answer = match found {
            Ok(route) => (route.handler)(request).await,
            Err(refusal) => *refusal,
        };
        self.requests.note(asked.answered(outcome(answer.status()), answer.status().as_u16()));
        answer
    }
}

/// What the receipt of a request says of it before its answer.
fn asked(request: &Request<Body>) -> Asked {
    let from = request.body().peer().address;
    Asked {
        method: text(request.method().as_str()).to_string(),
        path: text(request.uri().path()).to_string(),
        from,
        forwarded_for: forwarded(request, from),
    }
}

/// The address that a proxy on this machine tells, from which the request comes to it.
pub fn forwarded<B>(request: &Request<B>, from: Option<IpAddr>) -> Option<IpAddr> {
    forwarded_for(from, request.headers().get_all(FORWARDED_FOR).iter().map(HeaderValue::as_bytes))
}

fn outcome(status: StatusCode) -> &'static str {
    match status {
        StatusCode::NOT_FOUND => "not_found",
        StatusCode::METHOD_NOT_ALLOWED => "wrong_method",
        status if status.is_client_error() => "refused",
        status if status.is_server_error() => "failed",
        _ => "answered",
    }
}

/// POSTs to paths where nothing is: Ring's, if an address is registered wrongly.
#[derive(Debug)]
pub struct Unmatched {
    count: Counter,
    /// Requests by a method that their path does not take.
    wrong_methods: Counter,
    last: Mutex<Option<LastUnmatched>>,
    lines: Mutex<Limiter<StatusCode>>,
}

/// The last of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastUnmatched {
    pub at: Millis,
    /// Escaped and cut.
    pub path: String,
}

impl Unmatched {
    pub fn new(count: Counter, wrong_methods: Counter) -> Self {
        Self { count, wrong_methods, last: Mutex::default(), lines: Mutex::new(Limiter::new(LINES)) }
    }

    /// Notes a request by a method that its path does not take.
    fn note_method(&self, method: &Method, path: &str) {
        self.wrong_methods.inc();
        if let Some(silent_before) = self.pass(StatusCode::METHOD_NOT_ALLOWED, clock::now()) {
            let (method, path) = (text(method.as_str()).to_string(), text(path).to_string());
            tracing::warn!(method, path, silent_before, "a request by a method that its path does not take");
        }
    }

    fn pass(&self, status: StatusCode, at: Millis) -> Option<u64> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).pass(status, at)
    }

    /// Notes a request that found nothing; only POSTs count, because scanners send everything else.
    pub fn note(&self, method: &Method, path: &str) {
        if method != Method::POST {
            return;
        }
        self.count.inc();
        let (at, path) = (clock::now(), text(path).to_string());
        if let Some(silent_before) = self.pass(StatusCode::NOT_FOUND, at) {
            tracing::warn!(
                path,
                silent_before,
                "a POST to a path where nothing is: is the address right that is registered at Ring?"
            );
        }
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(LastUnmatched { at, path });
    }

    pub fn count(&self) -> u64 {
        self.count.get()
    }

    pub fn last(&self) -> Option<LastUnmatched> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(path: &str, methods: &'static [&'static str]) -> Route {
        Route::new(path, methods, async |_| answer::empty(StatusCode::OK))
    }

    #[test]
    fn a_slash_at_the_end_makes_no_difference() {
        for (asked, configured) in [("/a/b", "/a/b"), ("/a/b/", "/a/b"), ("/a/b", "/a/b/"), ("/", "/")] {
            assert!(route(configured, &[]).is_at(asked), "{asked} {configured}");
        }
        for asked in ["/a", "/a/b/c", "/a//b", "/A/b", "a/b", "/a/b/.", ""] {
            assert!(!route("/a/b", &[]).is_at(asked), "{asked}");
        }
    }

    #[test]
    fn another_method_is_told_those_of_the_path_and_leaves_no_trace() {
        let unmatched = Arc::new(Unmatched::new(Counter::default(), Counter::default()));
        let table = vec![route("/a", &["POST", "PUT"]), route("/b", &["GET"])];
        let routes = Routes::new(Arc::new(Live::new(table)), Arc::clone(&unmatched), Arc::default());
        let table = routes.table.get();
        let find = |method: &Method, path: &str| routes.find(&table, method, path);
        assert_eq!(find(&Method::PUT, "/a/").unwrap().path, "/a");
        assert_eq!(find(&Method::GET, "/b").unwrap().path, "/b");
        for (method, path, status, allowed) in [
            (Method::GET, "/a", 405, Some("POST, PUT")),
            (Method::POST, "/b", 405, Some("GET")),
            (Method::GET, "/c", 404, None),
        ] {
            let refusal = find(&method, path).unwrap_err();
            let told = refusal.headers().get(ALLOW).map(|value| value.to_str().unwrap());
            assert_eq!((refusal.status().as_u16(), told), (status, allowed), "{method} {path}");
        }
        assert_eq!(unmatched.count(), 0);
        assert_eq!(find(&Method::POST, "/c").unwrap_err().status(), 404);
        assert_eq!(unmatched.count(), 1);
    }

    #[test]
    fn only_posts_leave_a_trace_and_a_bounded_one() {
        let unmatched = Unmatched::new(Counter::default(), Counter::default());
        unmatched.note(&Method::GET, "/favicon.ico");
        assert_eq!((unmatched.count(), unmatched.last()), (0, None));
        unmatched.note(&Method::POST, "/first");
        unmatched.note(&Method::POST, &format!("/\u{1b}[2J{}", "x".repeat(100_000)));
        let last = unmatched.last().unwrap();
        assert!(last.path.starts_with("/\\u{1b}[2Jx") && last.path.len() < 300, "{}", last.path);
        assert_eq!(unmatched.count(), 2);
    }
}
