//! TLS with a CA of one's own.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsAcceptor;

use super::server::converse;
use super::*;

pub(super) struct Ca {
    certificate: rcgen::Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    pub(super) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    pub(super) fn pem(&self) -> Vec<u8> {
        let lines = data_encoding::BASE64.encode(self.certificate.der());
        format!("-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n").into_bytes()
    }

    /// A server that shows a certificate for `host`.
    async fn server(&self, host: &str) -> Server {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([host.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.unwrap().with_no_client_auth();
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let config = config.with_single_cert(vec![certificate.der().clone()], key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Server::with(move |stream, seen| {
            let acceptor = acceptor.clone();
            async move {
                let mut stream = acceptor.accept(stream).await.ok()?;
                converse(&mut stream, &seen, &http("200 OK", PAIR), Then::Next).await
            }
        })
        .await
    }
}

fn trusting(ca: &Ca, server: &Server) -> RingApi {
    let base = server.base().replace("http:", "https:");
    RingApi::new(Settings { ca_pem: Some(ca.pem()), ..settings(&base) }).unwrap()
}

#[tokio::test]
async fn a_ca_of_ones_own() {
    let ours = Ca::new("ours");
    let server = ours.server("127.0.0.1").await;
    let api = trusting(&ours, &server);
    assert_eq!(told(&api.refresh(&secret(TOKEN)).await), "renewed");
    returned().await;
    assert_eq!(told(&api.refresh(&secret(TOKEN)).await), "renewed");
    assert_eq!((server.received(TOKEN), server.connections()), (2, 1));
    for theirs in ["theirs", "ours"] {
        let exchange = trusting(&Ca::new(theirs), &server).refresh(&secret(TOKEN)).await;
        let expected = "not sent: TLS: the certificate is from no CA that is trusted here";
        assert_eq!(told(&exchange), expected, "{theirs}");
    }
    assert_eq!((server.received(TOKEN), server.connections()), (2, 3));
}

#[tokio::test]
async fn several_cas() {
    let (ours, theirs) = (Ca::new("ours"), Ca::new("theirs"));
    let server = ours.server("127.0.0.1").await;
    let both = [theirs.pem(), b"# a note\n".to_vec(), ours.pem()].concat();
    let base = server.base().replace("http:", "https:");
    let api = RingApi::new(Settings { ca_pem: Some(both), ..settings(&base) }).unwrap();
    assert_eq!(told(&api.refresh(&secret(TOKEN)).await), "renewed");
}

#[tokio::test]
async fn another_host() {
    let ca = Ca::new("ours");
    let server = ca.server("ring.example").await;
    let exchange = trusting(&ca, &server).refresh(&secret(TOKEN)).await;
    assert_eq!(told(&exchange), "not sent: TLS: the certificate is for another host");
    assert_eq!((server.requests().len(), server.connections()), (0, 1));
}

#[tokio::test]
async fn a_handshake_that_never_ends_or_is_none() {
    let ca = Ca::new("ours");
    let silent = Server::with(|stream, _| async move {
        let _stream = stream;
        std::future::pending().await
    })
    .await;
    let base = silent.base().replace("http:", "https:");
    let limit = Duration::from_millis(200);
    let hasty = Settings { connect_timeout: limit, ca_pem: Some(ca.pem()), ..settings(&base) };
    let exchange = RingApi::new(hasty).unwrap().refresh(&secret(TOKEN)).await;
    assert_eq!(told(&exchange), "not sent: connecting took too long");
    let plain =
        Server::with(
            |mut stream, _| async move { stream.write_all(http("400 Bad", "").as_bytes()).await.ok() },
        )
        .await;
    let exchange = trusting(&ca, &plain).refresh(&secret(TOKEN)).await;
    assert!(told(&exchange).starts_with("not sent: "), "{exchange:?}");
}
