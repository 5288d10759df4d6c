//! The public name, as Ring comes to it: its name, its certificate, and what the daemon's addresses answer behind it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::{Method, Uri};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ProtocolVersion};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::reach::{Answered, ask, connector};
use crate::config::{Linking, Webhook};
use crate::domain::doctor::{Finding, public, refused};
use crate::tls;

const ADDRESS: &str = "address";
const CERTIFICATE: &str = "certificate";
const FRONT: &str = "front";
/// For one step; all of them together take less than the check may.
const EACH: Duration = Duration::from_secs(10);

/// What to look at.
#[derive(Debug)]
pub(super) struct Public {
    pub(super) url: Uri,
    /// For tests: trusted beside the system's certificates.
    pub(super) ca_pem: Option<Vec<u8>>,
}

impl Public {
    pub(super) async fn look(&self, webhook: &Webhook, linking: &Linking) -> Vec<Finding> {
        let mut found: Vec<Finding> = refused(&self.url).into_iter().collect();
        let host =
            self.url.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
        let is_tls = self.url.scheme_str() == Some("https");
        let port = self.url.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let Some(addresses) = resolve(&host, port, &mut found).await else { return found };
        if is_tls {
            match tls::trusting(self.ca_pem.as_deref(), true) {
                Ok(config) => found.push(certificate(config, &host, &addresses).await),
                Err(error) => found.push(Finding::failed(CERTIFICATE, error.to_string())),
            }
        }
        found.extend(self.addresses(webhook, linking).await);
        found
    }

    /// What the addresses that the daemon serves answer through the front.
    async fn addresses(&self, webhook: &Webhook, linking: &Linking) -> Vec<Finding> {
        let is_tls = self.url.scheme_str() == Some("https");
        let client = match connector(self.ca_pem.as_deref(), is_tls, EACH) {
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

    fn at(&self, path: &str) -> Option<Uri> {
        let base = Uri::builder().scheme(self.url.scheme_str()?).authority(self.url.authority()?.as_str());
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

/// The handshake at the first address that lets us in.
async fn certificate(config: ClientConfig, host: &str, addresses: &[SocketAddr]) -> Finding {
    let connector = TlsConnector::from(Arc::new(config));
    let Ok(name) = ServerName::try_from(host.to_owned()) else {
        return Finding::failed(CERTIFICATE, format!("{host} can be no certificate's name"));
    };
    let stream = match timeout(EACH, TcpStream::connect(addresses)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return unconnected(host, &error.to_string()),
        Err(_) => return unconnected(host, "no answer in time"),
    };
    let stream = match timeout(EACH, connector.connect(name, stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            let why = tls::words_of_io(&error).map_or_else(|| format!("TLS: {error}"), str::to_owned);
            return Finding::failed(CERTIFICATE, format!("{host}: {why}"))
                .so("have the front show its whole chain, from a CA that is trusted everywhere, for this name, with TLS 1.2 or later");
        }
        Err(_) => return unconnected(host, "the TLS handshake did not end in time"),
    };
    let version = match stream.get_ref().1.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
        _ => "TLS 1.2",
    };
    Finding::well(CERTIFICATE, format!("{host}: {version}, and the chain leads to a CA that is trusted here"))
}

fn unconnected(host: &str, why: &str) -> Finding {
    Finding::failed(CERTIFICATE, format!("{host}: no connection: {why}"))
        .so("let connections from everywhere to the front's port: Ring has no list of addresses that it comes from")
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
        Ok(Answered { status: 404, .. }) => failed(
            "nothing is there (404), and Ring never sends an event again after a 404".into(),
            "have the front pass this path on to the daemon as it is",
        ),
        Ok(Answered { status: status @ 300..=399, .. }) => failed(
            format!("it leads elsewhere ({status}), and Ring's POST does not follow"),
            "register the address that it leads to, or have the front pass the path on",
        ),
        Ok(Answered { status: status @ 500..=599, .. }) => failed(
            format!("the front does not reach the daemon ({status})"),
            "look at the front's log, and whether the daemon runs and listens where the front looks for it",
        ),
        Ok(Answered { status, .. }) => Finding::warning(FRONT, format!("{name}, {path}: it answers {status} where the daemon says 405"))
            .so("look whether the front passes this path on to the daemon, with every method, and without a sign-in of its own"),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    use rustls::ServerConfig;
    use rustls::pki_types::PrivateKeyDer;
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::domain::doctor::State;

    /// A server on this machine with a certificate for `host`, and its authority as PEM.
    async fn server(host: &str) -> (SocketAddr, Vec<u8>) {
        let (mut params, key) = (CertificateParams::default(), KeyPair::generate().unwrap());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = data_encoding::BASE64.encode(params.self_signed(&key).unwrap().der());
        let pem = format!("-----BEGIN CERTIFICATE-----\n{pem}\n-----END CERTIFICATE-----\n").into_bytes();
        let (issuer, own) = (Issuer::new(params, key), KeyPair::generate().unwrap());
        let certificate =
            CertificateParams::new([host.to_owned()]).unwrap().signed_by(&own, &issuer).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let key = PrivateKeyDer::Pkcs8(own.serialize_der().into());
        let config = config.unwrap().with_no_client_auth();
        let config = config.with_single_cert(vec![certificate.der().clone()], key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // Who does not trust us breaks it off.
                let _ = acceptor.accept(stream).await;
            }
        });
        (address, pem)
    }

    #[tokio::test]
    async fn a_chain_that_leads_to_trust_is_well_and_any_other_fails() {
        let (address, ours) = server("127.0.0.1").await;
        let (_, theirs) = server("127.0.0.1").await;
        let (other_host, its) = server("hooks.example").await;
        for (pem, address, state, words) in [
            (&ours, address, State::Well, "TLS 1.3"),
            (&theirs, address, State::Failed, "no CA that is trusted"),
            (&its, other_host, State::Failed, "for another host"),
        ] {
            let config = tls::trusting(Some(pem), false).unwrap();
            let found = certificate(config, "127.0.0.1", &[address]).await;
            assert_eq!(found.state, state, "{found:?}");
            assert!(found.words.contains(words), "{found:?}");
        }
    }

    fn answered(status: u16, allow: Option<&str>) -> Answered {
        Answered { status, allow: allow.map(str::to_owned), ahead_ms: None }
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
