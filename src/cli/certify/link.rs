//! Where a browser ends that Ring sends to the Account Link URL, with a nonce that no account has.

use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use hyper::{Method, Uri};
use sha2::{Digest, Sha256};

use crate::cli::doctor::reach::ask;
use crate::domain::certify::{Page, link};
use crate::domain::doctor::Finding;
use crate::domain::time::Millis;
use crate::http_client::Client;

/// For each page.
const EACH: Duration = Duration::from_secs(10);
/// As browsers follow, and then some patience less.
const REDIRECTIONS: usize = 5;

pub(super) async fn tried(client: &Client, url: Option<&Uri>, id: &str, now: Millis) -> Finding {
    match url {
        None => link(None),
        Some(url) => link(Some(follow(client, url, id, now).await)),
    }
}

async fn follow(client: &Client, url: &Uri, id: &str, now: Millis) -> Result<Page, String> {
    let nonce = BASE64URL_NOPAD.encode(&Sha256::digest(id));
    let joint = if url.query().is_some() { '&' } else { '?' };
    let mut at: Uri = parsed(&format!("{url}{joint}nonce={nonce}&time={}", now.0))?;
    for _ in 0..=REDIRECTIONS {
        let address = shown(&at);
        let answered =
            ask(client, Method::GET, &at, EACH).await.map_err(|why| format!("{address}: {why}"))?;
        if !(300..400).contains(&answered.status) {
            let is_html = answered.content_type.is_some_and(|kind| kind.starts_with("text/html"));
            let is_https = at.scheme_str() == Some("https");
            return Ok(Page { address, is_https, status: answered.status, is_html });
        }
        let to = answered.location.ok_or_else(|| format!("{address} redirects to nowhere"))?;
        at = next(&at, &to)?;
    }
    Err(format!("it redirects more than {REDIRECTIONS} times"))
}

/// The address that a `Location` means: a whole one, or a path of the same host.
fn next(at: &Uri, to: &str) -> Result<Uri, String> {
    if let Some(rest) = to.strip_prefix("//") {
        return parsed(&format!("{}://{rest}", at.scheme_str().unwrap_or("https")));
    }
    if to.contains("://") {
        return parsed(to);
    }
    let (scheme, host) =
        (at.scheme_str().unwrap_or("https"), at.authority().map_or("", |host| host.as_str()));
    let folder = at.path().rsplit_once('/').map_or("", |(folder, _)| folder);
    let path = if to.starts_with('/') { to.to_owned() } else { format!("{folder}/{to}") };
    parsed(&format!("{scheme}://{host}{path}"))
}

fn parsed(text: &str) -> Result<Uri, String> {
    let uri = text.parse::<Uri>().ok().filter(|uri| uri.host().is_some());
    uri.ok_or_else(|| "it redirects to an address that can't be read".to_owned())
}

/// Without its query, which may hold a nonce.
fn shown(uri: &Uri) -> String {
    let host = uri.authority().map_or("", |host| host.as_str());
    format!("{}://{host}{}", uri.scheme_str().unwrap_or_default(), uri.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_followed_as_browsers_do() {
        let at: Uri = "https://www.example.com/ring/link?nonce=x".parse().unwrap();
        for (to, expected) in [
            ("https://login.example.com/a?b=c", "https://login.example.com/a?b=c"),
            ("//login.example.com/a", "https://login.example.com/a"),
            ("/sign-in?to=x", "https://www.example.com/sign-in?to=x"),
            ("sign-in", "https://www.example.com/ring/sign-in"),
        ] {
            assert_eq!(next(&at, to).unwrap().to_string(), expected);
        }
        assert!(next(&at, "://").is_err());
        assert_eq!(shown(&at), "https://www.example.com/ring/link");
    }
}
