//! Whether Ring's OAuth and API answer: a request without a token or a code, which changes nothing.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request, Uri};
use tokio::time::timeout;

use crate::clock;
use crate::domain::doctor::Finding;
use crate::http_client::{Client, Failure, Limits, client, date};
use crate::tls;

const CHECK: &str = "reach";

/// What an address answers.
#[derive(Debug)]
pub(in crate::cli) struct Answered {
    pub(in crate::cli) status: u16,
    pub(in crate::cli) allow: Option<String>,
    /// Where it leads to.
    pub(in crate::cli) location: Option<String>,
    pub(in crate::cli) content_type: Option<String>,
    /// How far the other side's clock is ahead of ours, in milliseconds.
    pub(in crate::cli) ahead_ms: Option<i64>,
}

/// A client that trusts the system's certificates, and those in `ca_pem`.
pub(in crate::cli) fn connector(
    ca_pem: Option<&[u8]>,
    needed: bool,
    connect: Duration,
) -> Result<Client, String> {
    let limits = Limits {
        connect,
        idle: Duration::from_secs(1),
        max_idle: 0,
        alive: Duration::from_secs(5),
        repeat_unsent: false,
        stuck: None,
        max_head: None,
    };
    Ok(client(tls::trusting(ca_pem, needed).map_err(|error| error.to_string())?, &limits))
}

/// Asks once. Nothing but the address goes out.
pub(in crate::cli) async fn ask(
    client: &Client,
    method: Method,
    url: &Uri,
    within: Duration,
) -> Result<Answered, String> {
    let request = Request::builder().method(method).uri(url.clone()).body(Full::new(Bytes::new()));
    send(client, request.map_err(|error| error.to_string())?, within).await
}

/// Sends once, and hears the head of the answer.
pub(in crate::cli) async fn send(
    client: &Client,
    request: Request<Full<Bytes>>,
    within: Duration,
) -> Result<Answered, String> {
    let answer = match timeout(within, client.request(request)).await {
        Err(_) => return Err("no answer in time".to_owned()),
        Ok(Err(error)) => {
            let (Failure::NotSent(words) | Failure::Unknown(words)) = Failure::of(&error);
            return Err(words);
        }
        Ok(Ok(answer)) => answer,
    };
    let header = |name| answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (allow, location, content_type) = (header("allow"), header("location"), header("content-type"));
    // A date has no milliseconds: half a second is the likeliest.
    let ahead_ms = date(answer.headers())
        .and_then(|theirs| i64::try_from(i128::from(theirs.0) + 500 - i128::from(clock::now().0)).ok());
    Ok(Answered { status: answer.status().as_u16(), allow, location, content_type, ahead_ms })
}

/// How a side of Ring's answers, and how far its clock is ahead.
pub(super) async fn reach(
    client: &Client,
    name: &str,
    url: &str,
    within: Duration,
) -> (Finding, Option<i64>) {
    let Ok(uri) = url.parse::<Uri>() else {
        return (Finding::failed(CHECK, format!("{name}: its address can't be read")), None);
    };
    let host = uri.host().unwrap_or_default();
    match ask(client, Method::GET, &uri, within).await {
        Err(why) => {
            let finding = Finding::failed(CHECK, format!("{name}, {host}: {why}"));
            (
                finding.so("look at the name server, the firewall, a proxy ([ring] ca_file), and the clock"),
                None,
            )
        }
        Ok(Answered { status, ahead_ms, .. }) if status >= 500 => {
            let words = format!("{name}, {host}: it answers {status}");
            (Finding::warning(CHECK, words).so("try again later; refreshes are repeated meanwhile"), ahead_ms)
        }
        Ok(Answered { status, ahead_ms, .. }) => {
            let words = format!("{name}, {host}: it answers ({status}, as expected without a token)");
            (Finding::well(CHECK, words), ahead_ms)
        }
    }
}
