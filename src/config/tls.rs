//! The sections `[tls]` and `[acme]`: certificate and key of the public listener, in files, or from an authority.

use std::path::Path;
use std::time::Duration;

use super::acme;
use super::files::PairFiles;
use super::model::Tls;
use super::raw::{Echo, Section};
use super::secrets::NamedFile;
use super::value::{Wrong, duration, text};

/// `[tls]` as it was read. Where nothing is wrong there are files, or there is an authority, if TLS is spoken.
pub(super) struct Read {
    pub(super) tls: Option<Tls>,
    pub(super) files: Option<PairFiles>,
    pub(super) acme_ca_file: Option<NamedFile>,
}

pub(super) fn tls(root: &mut Section<'_>, store: &Path) -> Read {
    let mut s = root.section("tls");
    let acme::Read { acme, ca_file: acme_ca_file } = acme::acme(root.section("acme"), store);
    let source = text(s.source());
    let certificate =
        s.optional("certificate_file", "/etc/ringhookd/tls/fullchain.pem", Echo::Hidden, &source);
    let key = s.optional("key_file", "/etc/ringhookd/tls/privkey.pem", Echo::Hidden, &source);
    let names = s.list("names", &[], Echo::Shown, name);
    let names: Vec<String> = names.into_iter().map(|name| name.value).collect();
    let second = Duration::from_secs(1);
    let look_every = s.get("look_every", "1m", duration(second..=3_600 * second));
    let handshake_timeout = s.get("handshake_timeout", "5s", duration(second / 20..=60 * second));
    if s.sound(&["certificate_file", "key_file"]) {
        match (&certificate, &key) {
            (Some(_), None) => s.missing("key_file", "is missing: the file with the key of certificate_file"),
            (None, Some(_)) => s.missing(
                "certificate_file",
                "is missing: the file with the certificate of key_file, and its authorities' below",
            ),
            (Some(_), Some(_)) if acme.is_some() => {
                s.refuse_hidden("certificate_file", "is there beside [acme]; write one of them".into());
            }
            (None, None) if !names.is_empty() && acme.is_none() => {
                s.missing("certificate_file", "is missing, and key_file: without them no TLS is spoken");
            }
            _ => {}
        }
    }
    if acme.is_some() && !names.is_empty() {
        s.refuse("names", "is there beside acme.names, which tells the same; take it out here".into());
    }
    let files = certificate.zip(key).map(|(certificate, key)| PairFiles {
        certificate: s.named("certificate_file", certificate),
        key: s.named("key_file", key),
    });
    s.finish();
    let names = acme.as_ref().map_or(names, |acme| acme.names.clone());
    let spoken = files.is_some() || acme.is_some();
    Read { tls: spoken.then_some(Tls { names, look_every, handshake_timeout, acme }), files, acme_ca_file }
}

/// The name of a host, as it stands in an address.
fn name(text: &str) -> Result<String, Wrong> {
    let fits = (1..=253).contains(&text.len())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':'));
    if fits {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(Wrong::Form("the name of a host, such as hooks.example.com"))
    }
}
