//! Settings that are sound and can hardly be meant: values of an example, sockets for nobody, filters that nothing passes, a disk without room.

use rustix::fs::statvfs;

use crate::config::{Config, Socket};
use crate::domain::rights::Call;

/// The examples' text where a value of one's own belongs.
const PLACEHOLDER: &str = "put-here";

/// Settings that keep the daemon from its work.
pub(super) fn problems(config: &Config) -> Vec<String> {
    let ring = config.ring.iter().filter(|ring| ring.client_id.starts_with(PLACEHOLDER));
    let ring = ring.map(|ring| format!("ring.client_id = {:?}: put in what Ring shows", ring.client_id));
    let sockets = config.sockets.iter().filter(|socket| allows_nothing(config, socket));
    let sockets = sockets.map(|socket| {
        format!("socket {}: calls allows nothing: name calls, or take the socket out", socket.path.display())
    });
    let filters = config.queues.iter().filter_map(|queue| {
        let why = queue.filter.contradiction()?;
        Some(format!("queue {}: nothing can pass its filter: {why}", queue.name))
    });
    ring.chain(sockets).chain(filters).chain(room(config)).collect()
}

/// Settings that may be meant.
pub(super) fn notes(config: &Config) -> Vec<String> {
    let none = config.queues.is_empty().then(|| {
        "there is no [[queue]]: every event is kept as unrouted, until `[unrouted] max_age` is over"
            .to_owned()
    });
    let whole = |socket: &Socket| {
        Call::ALL.into_iter().all(|call| socket.rights.allows(call, None)) && socket.rights.sees(None, None)
    };
    let nobody = (!config.sockets.iter().any(whole)).then(|| {
        "no [[socket]] allows every call for all accounts: some commands can't be run, not even by you"
            .to_owned()
    });
    let unknown = config.queues.iter().flat_map(|queue| {
        queue.filter.unknown_types().map(|kind| {
            format!("queue {}: types has {kind:?}, and Ring is not known to send such events", queue.name)
        })
    });
    none.into_iter().chain(nobody).chain(unknown).collect()
}

fn allows_nothing(config: &Config, socket: &Socket) -> bool {
    let allows = |call| {
        let queues = config.queues.iter().map(|queue| Some(&queue.name));
        queues.chain([None]).any(|queue| socket.rights.allows(call, queue))
    };
    !Call::ALL.into_iter().any(allows)
}

/// Webhooks are refused while the disk has less than `min_free`.
fn room(config: &Config) -> Option<String> {
    let stat = config.store.folder.ancestors().find_map(|folder| statvfs(folder).ok())?;
    let (free, needed) = (stat.f_bavail.saturating_mul(stat.f_frsize), config.store.min_free);
    (free < needed).then(|| {
        format!(
            "store.folder: its disk has {} MiB left, and every webhook is answered 503 below store.min_free, {} MiB",
            free >> 20,
            needed >> 20
        )
    })
}
