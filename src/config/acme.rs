//! The section `[acme]`: an authority that gives the public listener its certificate.

use std::path::{Path, PathBuf};

use super::model::Acme;
use super::raw::{Echo, Section};
use super::secrets::{NamedFile, SecretSource};
use super::value::{Wrong, because, flag, text};
use crate::domain::address;

/// `[acme]` as it was read.
pub(super) struct Read {
    /// Nothing without names.
    pub(super) acme: Option<Acme>,
    pub(super) ca_file: Option<NamedFile>,
}

pub(super) fn acme(mut s: Section<'_>, store: &Path) -> Read {
    let names: Vec<String> =
        s.list("names", &[], Echo::Shown, name).into_iter().map(|name| name.value).collect();
    let agreed = s.get("terms_agreed", false, flag);
    let contacts: Vec<String> =
        s.list("contacts", &[], Echo::Shown, contact).into_iter().map(|contact| contact.value).collect();
    let directory = s.get("directory", "https://acme-v02.api.letsencrypt.org/directory", text(directory));
    let ca_file = s.optional("ca_file", "/etc/ringhookd/acme-ca.pem", Echo::Shown, s.path());
    let folder = s.optional("folder", "/var/lib/ringhookd/acme", Echo::Shown, s.path());
    if s.sound(&["names"]) {
        if names.is_empty() && (agreed || !contacts.is_empty()) {
            s.missing(
                "names",
                "is missing: the names under which Ring reaches the daemon, such as [\"hooks.example.com\"]",
            );
        }
        if !names.is_empty() && !agreed {
            s.missing("terms_agreed", "must be true: the authority gives certificates only to those who agree to its terms of service");
        }
    }
    // Nothing is asked that would need it.
    let ca_file = ca_file
        .filter(|_| !names.is_empty())
        .map(|path: PathBuf| s.named("ca_file", SecretSource::File(path)));
    s.finish();
    let folder = folder.unwrap_or_else(|| store.join("acme"));
    let acme = (!names.is_empty()).then_some(Acme { names, contacts, directory, folder });
    Read { acme, ca_file }
}

/// A name that an authority looks up: no address, and no pattern.
fn name(text: &str) -> Result<String, Wrong> {
    let part = |part: &str| {
        (1..=63).contains(&part.len())
            && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    let is_address = text.chars().all(|c| c.is_ascii_digit() || c == '.');
    if text.len() <= 253 && text.contains('.') && text.split('.').all(part) && !is_address {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(Wrong::Form(
            "a public name, such as hooks.example.com; an authority signs no address and no name of your network alone",
        ))
    }
}

fn contact(text: &str) -> Result<String, Wrong> {
    let fits = text.split_once('@').is_some_and(|(user, host)| !user.is_empty() && host.contains('.'));
    if fits && text.chars().all(|c| c.is_ascii_graphic()) && !text.starts_with("mailto:") {
        Ok(format!("mailto:{text}"))
    } else {
        Err(Wrong::Form("an e-mail address, such as you@example.com"))
    }
}

fn directory(text: &str) -> Result<String, Wrong> {
    address::callable(text).map(|_| text.to_owned()).map_err(because)
}
