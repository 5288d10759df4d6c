//! Certificates of a made-up authority, for receivers with TLS and for us.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

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
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        // Without a name of its own it would be taken for the certificates that it signs.
        params.distinguished_name.push(DnType::CommonName, "an authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let ca = pem("CERTIFICATE", params.self_signed(&key).unwrap().der());
        let issuer = Issuer::new(params, key);
        let leaf = |name: &str, hosts: Vec<String>| {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(hosts).unwrap();
            params.distinguished_name.push(DnType::CommonName, name);
            let certificate = params.signed_by(&key, &issuer).unwrap();
            (pem("CERTIFICATE", certificate.der()), pem("PRIVATE KEY", &key.serialize_der()))
        };
        let server = leaf("a server", vec!["127.0.0.1".into(), "localhost".into()]);
        Self { server, client: leaf(client, vec![client.into()]), ca }
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let base64 = data_encoding::BASE64.encode(der);
    let lines: Vec<&str> = base64.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
