//! Certificates of a made-up authority, for receivers with TLS and for us, and what every kind must make of them.

use std::fs;
use std::path::Path;

use ringhookd::config::{Identity, ReceiverSecrets};
use ringhookd::delivery::{Sink, Verdict};
use ringhookd::domain::secret::Secret;

use super::deliveries::{busy, one};
use crate::support::certificates::{Authority, Pair, VALID};

/// In PEM: the authority's certificate, and certificate and key of a server on this machine and of a client.
#[derive(Clone)]
pub(crate) struct Certificates {
    pub(crate) ca: String,
    pub(crate) server: (String, String),
    pub(crate) client: (String, String),
}

impl Certificates {
    /// The client's is for this name.
    pub(crate) fn new(client: &str) -> Self {
        let authority = Authority::new("an authority");
        let leaf = |name: &str, hosts: &[&str]| {
            let Pair { chain, key } = authority.sign(name, hosts, VALID);
            (chain, key)
        };
        let server = leaf("a server", &["127.0.0.1", "localhost"]);
        Self { server, client: leaf(client, &[client]), ca: authority.ca }
    }

    /// The files that a server reads: `ca.pem`, `server.pem`, `server.key`.
    pub(crate) fn write(&self, folder: &Path) {
        let files = [("ca.pem", &self.ca), ("server.pem", &self.server.0), ("server.key", &self.server.1)];
        for (name, text) in files {
            fs::write(folder.join(name), text).unwrap();
        }
    }

    /// The server is trusted, and nothing is shown to it.
    pub(crate) fn trusting(&self) -> ReceiverSecrets {
        ReceiverSecrets { ca_pem: Some(self.ca.clone().into_bytes()), ..ReceiverSecrets::default() }
    }

    /// The server is trusted, and knows us.
    pub(crate) fn known(&self) -> ReceiverSecrets {
        let identity = Identity {
            certificates: self.client.0.clone().into_bytes(),
            key: Secret::new(self.client.1.clone().into_bytes()),
        };
        ReceiverSecrets { identity: Some(identity), ..self.trusting() }
    }
}

/// A server that asks for certificates: who shows one delivers, who shows none or trusts nobody does not, and no attempt is used up.
pub(crate) async fn both_sides_show_a_certificate<S: Sink>(
    certificates: &Certificates,
    sink: impl Fn(ReceiverSecrets) -> S,
) {
    assert_eq!(sink(certificates.known()).deliver(one()).await, [Verdict::Done]);
    let why = busy(&sink(ReceiverSecrets::default()).deliver(one()).await);
    assert!(why.ends_with("TLS: the certificate is from no CA that is trusted here"), "{why}");
    let why = busy(&sink(certificates.trusting()).deliver(one()).await);
    // Some servers say so, and some close the connection.
    let known = ["certificate", "the connection broke", "the connection ended"];
    assert!(known.iter().any(|words| why.contains(words)), "{why}");
}
