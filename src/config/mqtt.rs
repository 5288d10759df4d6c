//! Keys that only queues of kind `mqtt` have: the topic, and who we are at the broker.

use std::path::{Path, absolute};

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use super::common::word;
use super::kinds::Kind;
use super::model::{Mqtt, Target};
use super::raw::{Echo, Section};
use super::value::{Wrong, because, flag, text};
use crate::domain::ids::QueueName;
use crate::domain::template::Template;

/// Bytes of a hash that tells one installation from another.
const OURS: usize = 4;

/// The broker and its topics; none where the address is missing or wrong.
pub(super) fn mqtt(
    s: &mut Section<'_>,
    kind: Option<Kind>,
    name: Option<&QueueName>,
    target: Option<&Target>,
    store: &Path,
) -> Option<Mqtt> {
    s.only_where(kind.map(|kind| kind == Kind::Mqtt), "kind = \"mqtt\"");
    let topic = s.get("topic", "ringhookd/{user}/{device}/{type}", text(topic));
    let client_id = s.optional("client_id", "ringhookd-alerts", Echo::Shown, text(word));
    let home_assistant = s.get("home_assistant", false, flag);
    s.only_where(kind.map(|kind| kind == Kind::Mqtt && home_assistant), "home_assistant = true");
    let prefix = s.get("discovery_prefix", "homeassistant", text(prefix));
    if kind != Some(Kind::Mqtt) {
        return None;
    }
    let (name, target) = (name?, target?);
    let path = target.url.uri().path_and_query().map_or("", |path| path.as_str());
    if !matches!(path, "" | "/") {
        s.refuse_hidden(
            "url",
            "ends with the port: a broker has no path. Topics are written as topic".into(),
        );
    }
    let client_id = client_id.unwrap_or_else(|| default_client_id(name, store));
    let begins = topic.literals().next().is_some_and(|text| text.starts_with(&format!("{prefix}/")));
    if home_assistant && begins {
        s.refuse("topic", "begins with discovery_prefix: those topics are Home Assistant's".into());
    }
    let discovery_prefix = home_assistant.then_some(prefix);
    Some(Mqtt { target: target.clone(), topic, client_id, discovery_prefix })
}

/// A template whose own text may stand in the topic of a message.
fn topic(text: &str) -> Result<Template, Wrong> {
    let template = Template::parse(text).map_err(because)?;
    let wrong = |why: &str| Err(Wrong::Value(why.to_owned()));
    if text.starts_with('$') {
        return wrong("can't begin with $: such topics are the broker's own");
    }
    if template.literals().any(|text| text.contains(['+', '#'])) {
        return wrong("can't hold + or #: they are for subscriptions");
    }
    if template.literals().any(|text| text.chars().any(char::is_control)) {
        return wrong("can't hold a control character");
    }
    if text.len() > 1024 {
        return wrong("is longer than 1024 bytes");
    }
    Ok(template)
}

/// A topic that can stand before others.
fn prefix(text: &str) -> Result<String, Wrong> {
    let fits =
        |part: &str| !part.is_empty() && !part.contains(['+', '#']) && !part.contains(char::is_control);
    if text.len() <= 128 && !text.starts_with('$') && text.split('/').all(fits) {
        Ok(text.to_owned())
    } else {
        Err(Wrong::Form("a topic of at most 128 bytes without +, # and empty parts"))
    }
}

/// The same at each start, and another one for another machine, store or queue: of two clients with one id a broker serves the last.
fn default_client_id(name: &QueueName, store: &Path) -> String {
    let machine = std::fs::read("/proc/sys/kernel/hostname").unwrap_or_default();
    let store = absolute(store).unwrap_or_else(|_| store.to_owned());
    let hash =
        Sha256::new().chain_update(machine).chain_update(store.as_os_str().as_encoded_bytes()).finalize();
    format!("ringhookd-{name}-{}", HEXLOWER.encode(&hash[..OURS]))
}
