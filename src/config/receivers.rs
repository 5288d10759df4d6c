//! Queues whose events are sent to a receiver: where it is, how it is reached, and the files that go with it.

use std::time::Duration;

use super::common::word;
use super::files::ReceiverFiles;
use super::kinds::Kind;
use super::model::Target;
use super::raw::{At, Echo, Section};
use super::secrets::{NamedFile, SecretSource};
use super::value::{Wrong, because, count, duration, text};
use crate::domain::address::Receiver;
use crate::domain::template::Template;

/// Above it two requests would not fit into the time after which a delivery is given up.
const TIMEOUTS: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_mins(1);

/// The receiver and its files; none where the address is missing or wrong.
pub(super) fn target(s: &mut Section<'_>, kind: Option<Kind>) -> (Option<Target>, ReceiverFiles) {
    let source = s.source();
    s.only_where(kind.map(|kind| !kind.schemes().is_empty()), "a kind with a receiver");
    let schemes = kind.map_or(&[] as &[&str], Kind::schemes);
    let receiver = |text: &str| Receiver::parse(text, schemes).map_err(because);
    // Hidden, because an address may hold a password, and its path is often a secret.
    let url = s.required_hidden("url", kind.unwrap_or(Kind::Http).example(), text(receiver));
    let ca = s.optional("ca_file", "/etc/ringhookd/receiver-ca.pem", Echo::Shown, s.path());
    let chain = s.optional("client_certificate_file", "/etc/ringhookd/client.pem", Echo::Shown, s.path());
    let key = s.optional("client_key_file", "credential:client.key", Echo::Hidden, text(&source));
    if chain.is_some() != key.is_some() {
        let (there, missing) = match chain {
            Some(_) => ("client_certificate_file", "client_key_file"),
            None => ("client_key_file", "client_certificate_file"),
        };
        s.refuse_hidden(there, format!("goes with {missing}, which is missing"));
    }
    let timeout = s.get("timeout", "15s", duration(TIMEOUTS));
    let parallel = s.get("parallel", 16_u64, count(1_usize..=256));

    s.only_where(kind.map(Kind::has_login), "a kind with a login");
    let username = s.optional("username", "ringhookd", Echo::Shown, text(word));
    let password = s.optional("password_file", "credential:receiver.password", Echo::Hidden, text(&source));

    if matches!(kind, Some(Kind::Nats | Kind::Amqp)) && username.is_some() != password.is_some() {
        let (there, missing) = match username {
            Some(_) => ("username", "password_file"),
            None => ("password_file", "username"),
        };
        s.refuse_hidden(there, format!("goes with {missing}, which is missing"));
    }

    s.only_where(kind.map(|kind| kind == Kind::Http), "kind = \"http\"");
    let secrets = s.list("secret_files", &[], Echo::Hidden, &source);

    s.only_where(kind.map(Kind::has_token), "a kind with a token");
    let bearer = s.optional("bearer_file", "credential:receiver.token", Echo::Hidden, text(&source));
    if username.is_some() && bearer.is_some() {
        s.refuse_hidden("bearer_file", "is instead of username and password_file, not beside them".into());
    }

    let files = ReceiverFiles {
        queue: None,
        secrets: secrets
            .into_iter()
            .map(|At { line, key, value }| NamedFile { line, key, source: value })
            .collect(),
        bearer: bearer.map(|source| s.named("bearer_file", source)),
        password: password.map(|source| s.named("password_file", source)),
        ca: ca.map(|path| s.named("ca_file", SecretSource::File(path))),
        identity: chain.zip(key).map(|(chain, key)| {
            let chain = s.named("client_certificate_file", SecretSource::File(chain));
            (chain, s.named("client_key_file", key))
        }),
        secret_access_key: None,
        session_token: None,
    };
    (url.map(|url| Target { url, username, timeout, parallel }), files)
}

/// The subject of a queue of kind `nats`.
pub(super) fn nats(s: &mut Section<'_>, kind: Option<Kind>) -> Template {
    s.only_where(kind.map(|kind| kind == Kind::Nats), "kind = \"nats\"");
    let subject = |subject: &str| {
        let template = Template::parse(subject).map_err(because)?;
        let literal = |c: char| c.is_ascii_graphic() && !matches!(c, '*' | '>');
        if !template.literals().all(|text| text.chars().all(literal)) {
            return Err(Wrong::Value("may have no space, no * and no > in it".into()));
        }
        // `$` is for the server's own subjects, and an attribute at the front could be anything.
        if !subject.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            return Err(Wrong::Value("must begin with a letter or a digit, such as ringhookd.{user}".into()));
        }
        if subject.ends_with('.') || subject.contains("..") {
            return Err(Wrong::Value("has an empty part between its dots".into()));
        }
        Ok(template)
    };
    s.get("subject", "ringhookd.{user}.{device}.{type}", text(subject))
}
