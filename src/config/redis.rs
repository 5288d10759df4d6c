//! Keys that only queues of kind `redis` have: the stream, its length, and how far an entry is confirmed.

use super::kinds::Kind;
use super::model::{QueueKind, Redis, Target};
use super::raw::{Echo, Section};
use super::value::{Wrong, because, count, flag, text};
use crate::domain::template::Template;

/// The queue's own keys; none where the receiver or one of them is missing or wrong.
pub(super) fn redis(s: &mut Section<'_>, kind: Option<Kind>, target: Option<&Target>) -> Option<QueueKind> {
    let is_redis = kind.map(|kind| kind == Kind::Redis);
    s.only_where(is_redis, "kind = \"redis\"");
    let stream = s.get("stream", "ringhookd:{user}", text(key));
    let max_len = s.optional("max_len", 100_000_u64, Echo::Shown, count(1..=u64::MAX));
    let wait_replicas = s.get("wait_replicas", 0_u64, count(0..=100));
    let wait_aof = s.get("wait_aof", false, flag);
    let target = target.filter(|_| is_redis == Some(true))?.clone();
    let Some(database) = database(&target) else {
        s.refuse_hidden("url", "the path is the number of a database, such as /0; nothing follows it".into());
        return None;
    };
    Some(QueueKind::Redis(Redis { target, database, stream, max_len, wait_replicas, wait_aof }))
}

/// The template of a key.
fn key(value: &str) -> Result<Template, Wrong> {
    let template = Template::parse(value).map_err(because)?;
    let plain = template.literals().all(|text| !text.contains(char::is_control));
    if plain { Ok(template) } else { Err(Wrong::Value("holds a control character".into())) }
}

/// The number in the path of the address; 0 where it has none.
fn database(target: &Target) -> Option<u32> {
    let uri = target.url.uri();
    match uri.path().trim_start_matches('/') {
        _ if uri.query().is_some() => None,
        "" => Some(0),
        number => number.parse().ok().filter(|_| number.bytes().all(|b| b.is_ascii_digit())),
    }
}
