//! Questions to a server whether an entry could be added, which change nothing. Where it does not answer one, nothing is said of that.

use ::redis::{FromRedisValue, Value, cmd, from_redis_value};

use super::durability::Wanted;
use super::server::Connection;
use crate::delivery::sinks::probed::Probed;
use crate::domain::template::Template;

/// What stands against an entry of `stream`, or how the server may lose it.
pub(super) async fn look(
    connection: &Connection,
    username: &str,
    stream: &Template,
    wanted: &Wanted,
) -> Probed {
    let wire = &connection.wire;
    let role: Vec<Value> = wire.ask(&cmd("ROLE")).await.unwrap_or_default();
    if part::<String>(&role, 0).as_deref() == Some("slave") {
        return Err("the server is a replica, which takes no entries".to_owned());
    }
    let replicas = part::<Vec<Value>>(&role, 2).map(|replicas| replicas.len());
    if let Some(replicas) = replicas.filter(|replicas| *replicas < wanted.replicas() as usize) {
        let asked = wanted.replicas();
        return Err(format!("the server has {replicas} replicas, and wait_replicas asks for {asked}"));
    }
    // Of a key that events make nothing is known yet.
    let key = stream.fixed();
    if let Some(key) = key
        && let Ok(kind) = wire.ask::<String>(cmd("TYPE").arg(key)).await
        && !["none", "stream"].contains(&kind.as_str())
    {
        return Err(format!("the key {key} is no stream but of type {kind}"));
    }
    let mut dry_run = cmd("ACL");
    dry_run.arg("DRYRUN").arg(username).arg("XADD").arg(key.unwrap_or("ringhookd"));
    let said: Option<String> = wire.ask(dry_run.arg("*").arg("event").arg("")).await.ok();
    let is_against = |said: &String| said.contains("'xadd' command") || (key.is_some() && said != "OK");
    if let Some(said) = said.filter(is_against) {
        return Err(said);
    }
    Ok(connection.settings.doubts().map(str::to_owned))
}

fn part<T: FromRedisValue>(of: &[Value], at: usize) -> Option<T> {
    of.get(at).and_then(|value| from_redis_value(value.clone()).ok())
}
