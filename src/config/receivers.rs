//! Queues of kind `http`: where events are sent, and the files that go with it.

use std::time::Duration;

use super::common::path;
use super::files::ReceiverFiles;
use super::model::{HttpQueue, QueueKind};
use super::raw::{At, Echo, Section};
use super::secrets::{NamedFile, SecretSource};
use super::value::{because, count, duration, text};
use crate::domain::address::Receiver;

/// Above it two requests would not fit into the time after which a delivery is given up.
const TIMEOUTS: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_mins(1);

/// The kind and its files; no kind where the address is missing or wrong.
pub(super) fn http(s: &mut Section<'_>) -> (Option<QueueKind>, ReceiverFiles) {
    let receiver = |text: &str| Receiver::parse(text).map_err(because);
    // Hidden, because an address may hold a password, and its path is often a secret.
    let url = s.required_hidden("url", "http://127.0.0.1:8080/ring", text(receiver));
    let source = |text: &str| SecretSource::parse(text).map_err(because);
    let secrets = s.list("secret_files", &[], Echo::Hidden, source);
    let bearer = s.optional("bearer_file", "credential:receiver.token", Echo::Hidden, text(source));
    let ca = s.optional("ca_file", "/etc/ringhookd/receiver-ca.pem", Echo::Shown, text(path));
    let timeout = s.get("timeout", "15s", duration(TIMEOUTS));
    let parallel = s.get("parallel", 16_u64, count(1_usize..=256));
    let files = ReceiverFiles {
        queue: None,
        secrets: secrets
            .into_iter()
            .map(|At { line, key, value }| NamedFile { line, key, source: value })
            .collect(),
        bearer: bearer.map(|source| s.named("bearer_file", source)),
        ca: ca.map(|path| s.named("ca_file", SecretSource::File(path))),
    };
    (url.map(|url| QueueKind::Http(HttpQueue { url, timeout, parallel })), files)
}
