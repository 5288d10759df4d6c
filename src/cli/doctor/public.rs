//! The public name, as Ring comes to it: its name, its certificate, and what the daemon's addresses answer behind it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hyper::{Method, Uri};
use tokio::net::lookup_host;
use tokio::time::timeout;

use super::handshake::certificate;
use super::reach::{Answered, ask, connector};
use crate::config::{Linking, Webhook};
use crate::domain::doctor::{CERTIFICATE, Fault, Finding, fault, public, refused};
use crate::tls;

const ADDRESS: &str = "address";
const FRONT: &str = "front";
/// For one step; all of them together take less than the check may.
const EACH: Duration = Duration::from_secs(10);

/// What to look at.
#[derive(Debug)]
pub(in crate::cli) struct Public(pub(in crate::cli) Uri);

/// What is found, and the addresses that the name leads to.
#[derive(Debug, Default)]
pub(in crate::cli) struct Looked {
    pub(in crate::cli) found: Vec<Finding>,
    pub(in crate::cli) addresses: Vec<SocketAddr>,
}

impl Public {
    pub(in crate::cli) async fn look(&self, webhook: &Webhook, linking: &Linking) -> Looked {
        let mut found: Vec<Finding> = refused(&self.0).into_iter().collect();
        let (host, is_tls) = (self.host(), self.is_tls());
        let port = self.0.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let Some(addresses) = resolve(&host, port, &mut found).await else {
            return Looked { found, ..Looked::default() };
        };
        if is_tls {
            match tls::trusting(None, true) {
                Ok(config) => found.push(certificate(config, &host, &addresses).await),
                Err(error) => found.push(Finding::failed(CERTIFICATE, error.to_string())),
            }
        }
        found.extend(self.addresses(webhook, linking).await);
        Looked { found, addresses }
    }

    /// Without the brackets of a number.
    pub(in crate::cli) fn host(&self) -> String {
        self.0.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned()
    }

    pub(in crate::cli) fn is_tls(&self) -> bool {
        self.0.scheme_str() == Some("https")
    }

    /// What the addresses that the daemon serves answer through the front.
    async fn addresses(&self, webhook: &Webhook, linking: &Linking) -> Vec<Finding> {
        let client = match connector(None, self.is_tls(), EACH) {
            Ok(client) => client,
            Err(error) => return vec![Finding::failed(FRONT, error)],
        };
        let mut asked =
            vec![("Webhook URL", &webhook.path, "POST"), ("Token Exchange URL", &linking.code_path, "POST")];
        if linking.sign_in_url.is_some() {
            asked.push(("Account Link URL", &linking.link_path, "GET"));
        }
        let mut found = Vec::new();
        for (name, path, method) in asked {
            let Some(url) = self.at(path) else { continue };
            // Nothing in the daemon takes it, so it changes nothing, and 405 says which path it has come to.
            let answered = ask(&client, Method::OPTIONS, &url, EACH).await;
            found.push(judged(name, path, method, answered));
        }
        if linking.sign_in_url.is_none() {
            found.push(Finding::note(FRONT, "Account Link URL: a page of your own web app, so it is not tried here ([linking] sign_in_url is not set)"));
        }
        found.push(Finding::note(FRONT, "App Homepage URL: a page of your own, so it is not tried here"));
        found
    }

    /// The address of a path there.
    pub(in crate::cli) fn at(&self, path: &str) -> Option<Uri> {
        let base = Uri::builder().scheme(self.0.scheme_str()?).authority(self.0.authority()?.as_str());
        base.path_and_query(path).build().ok()
    }
}

async fn resolve(host: &str, port: u16, found: &mut Vec<Finding>) -> Option<Vec<SocketAddr>> {
    let records =
        "set its A or AAAA record to the public address of your front, and wait until it is known everywhere";
    let addresses: Vec<SocketAddr> = match timeout(EACH, lookup_host((host, port))).await {
        Err(_) => {
            let words = format!("the name server did not answer for {host} within {} s", EACH.as_secs());
            found.push(Finding::failed(ADDRESS, words).so("look at /etc/resolv.conf"));
            return None;
        }
        Ok(Err(error)) => {
            found.push(Finding::failed(ADDRESS, format!("{host} can't be resolved: {error}")).so(records));
            return None;
        }
        Ok(Ok(addresses)) => addresses.collect(),
    };
    let mut shown: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
    shown.dedup();
    let inner: Vec<IpAddr> = addresses.iter().map(SocketAddr::ip).filter(|ip| !public(*ip)).collect();
    let words = format!("{host} leads to {}", shown.join(", "));
    found.push(if inner.is_empty() {
        Finding::well(ADDRESS, words)
    } else {
        Finding::warning(
            ADDRESS,
            format!("{words}, as seen from here: the Internet does not lead to {}", inner[0]),
        )
        .so(format!(
            "where this network answers for its own name, ask outside: dig @1.1.1.1 {host}; else {records}"
        ))
    });
    (!addresses.is_empty()).then_some(addresses)
}

/// `OPTIONS` is answered 405 by the daemon, with the methods that the path takes.
fn judged(name: &str, path: &str, method: &str, answered: Result<Answered, String>) -> Finding {
    let failed =
        |words: String, action: &str| Finding::failed(FRONT, format!("{name}, {path}: {words}")).so(action);
    match answered {
        Err(why) => failed(why, "look at the front, and at the way to it"),
        Ok(Answered { status: 405, allow: Some(allow), .. }) if allow.split(", ").any(|one| one == method) => {
            Finding::well(FRONT, format!("{name}, {path}: the daemon answers"))
        }
        Ok(Answered { status, .. }) if let Some(Fault { words, action }) = fault(status) => {
            failed(words, action)
        }
        Ok(Answered { status, .. }) => Finding::warning(FRONT, format!("{name}, {path}: it answers {status} where the daemon says 405"))
            .so("look whether the front passes this path on to the daemon, with every method, and without a sign-in of its own"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::doctor::State;

    fn answered(status: u16, allow: Option<&str>) -> Answered {
        let allow = allow.map(str::to_owned);
        Answered { status, allow, location: None, content_type: None, ahead_ms: None }
    }

    #[test]
    fn only_the_daemons_own_answer_is_well() {
        for (answer, state, words) in [
            (Ok(answered(405, Some("POST"))), State::Well, "the daemon answers"),
            (Ok(answered(405, Some("POST, PUT, GET"))), State::Well, "the daemon answers"),
            (Ok(answered(405, Some("GET"))), State::Warning, "405"),
            (Ok(answered(405, None)), State::Warning, "405"),
            (Ok(answered(200, None)), State::Warning, "200"),
            (Ok(answered(401, None)), State::Warning, "401"),
            (Ok(answered(301, None)), State::Failed, "leads elsewhere"),
            (Ok(answered(404, None)), State::Failed, "404"),
            (Ok(answered(502, None)), State::Failed, "does not reach the daemon (502)"),
            (Err("no connection".into()), State::Failed, "no connection"),
        ] {
            let found = judged("Webhook URL", "/webhooks/ring", "POST", answer);
            assert_eq!(found.state, state, "{found:?}");
            assert!(found.words.contains(words), "{found:?}");
            assert_eq!(found.action.is_some(), state > State::Well);
        }
    }

    #[tokio::test]
    async fn a_name_that_nobody_has_and_a_port_that_nobody_listens_on_fail() {
        let mut found = Vec::new();
        assert_eq!(resolve("no-such-name.invalid", 443, &mut found).await, None);
        assert_eq!(found[0].state, State::Failed, "{found:?}");
        let mut found = Vec::new();
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let addresses = resolve("127.0.0.1", closed.port(), &mut found).await.unwrap();
        assert_eq!(found[0].state, State::Warning, "the Internet does not lead there");
        let config = tls::trusting(None, false).unwrap();
        let refused = certificate(config, "127.0.0.1", &addresses).await;
        assert!(refused.state == State::Failed && refused.words.contains("no connection"), "{refused:?}");
    }
}
