//! The section `[tls]`: certificate and key of the public listener.

use std::time::Duration;

use super::files::PairFiles;
use super::model::Tls;
use super::raw::{Echo, Section};
use super::value::{Wrong, duration, text};

/// `[tls]` as it was read; both or nothing where nothing is wrong.
pub(super) struct Read {
    pub(super) tls: Option<Tls>,
    pub(super) files: Option<PairFiles>,
}

pub(super) fn tls(mut s: Section<'_>) -> Read {
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
            (None, None) if !names.is_empty() => {
                s.missing("certificate_file", "is missing, and key_file: without them no TLS is spoken");
            }
            _ => {}
        }
    }
    let files = certificate.zip(key).map(|(certificate, key)| PairFiles {
        certificate: s.named("certificate_file", certificate),
        key: s.named("key_file", key),
    });
    s.finish();
    Read { tls: files.is_some().then_some(Tls { names, look_every, handshake_timeout }), files }
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
