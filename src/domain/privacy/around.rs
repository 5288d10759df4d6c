//! Who can read what is kept, what leaves the machine, and how data is deleted.

use std::time::Duration;

use super::facts::{Facts, Fixed, Place, Queue, ReaderFacts, Way};
use super::{Deletion, Destination, Reader};
use crate::domain::rights::Call;
use crate::domain::routing::Selection;
use crate::domain::units::exact;

pub(super) fn readers(fixed: &Fixed) -> Vec<Reader> {
    let metrics = fixed.metrics.iter().map(|address| Reader {
        place: format!("http://{address}/metrics"),
        open_to: "whoever reaches the address; there is no login".into(),
        rights: vec!["metrics".into()],
        sees: "counts and times, with names of queues; no id and no event".into(),
    });
    fixed.readers.iter().map(reader).chain(metrics).collect()
}

fn reader(facts: &ReaderFacts) -> Reader {
    let (place, open_to) = match &facts.place {
        Place::Socket { path, mode, group } => {
            let group =
                group.as_ref().map_or("the daemon's own group".to_owned(), |name| format!("group {name}"));
            let open_to = match (mode & 0o070, mode & 0o007) {
                (0, 0) => "the daemon's own user and root".to_owned(),
                (_, 0) => format!("the daemon's own user, root, and {group}"),
                _ => "every user of this machine".to_owned(),
            };
            (path.clone(), format!("{open_to} (mode {mode:04o})"))
        }
        Place::Address(address) => {
            (format!("http://{address}"), "whoever on this machine has the token of its file".to_owned())
        }
    };
    Reader { place, open_to, rights: rights(facts), sees: sees(facts) }
}

/// `*` is every call.
fn rights(facts: &ReaderFacts) -> Vec<String> {
    let is_all = Call::ALL.into_iter().all(|call| facts.rights.allows(call, None));
    if is_all { vec!["*".to_owned()] } else { facts.rights.named().into_iter().collect() }
}

fn sees(facts: &ReaderFacts) -> String {
    let listed = |selection: &Selection, what: &str| match selection {
        Selection::All => None,
        Selection::Only(ids) => Some(format!("{} listed {what}", ids.len())),
    };
    let parts = [listed(facts.rights.accounts(), "accounts"), listed(facts.rights.users(), "users")];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "all accounts and users".into() } else { format!("{} alone", parts.join(" and ")) }
}

pub(super) fn destinations(facts: &Facts) -> Vec<Destination> {
    let Fixed { ring, sign_in, .. } = &facts.fixed;
    let queues = facts.queues.iter().map(queue);
    let ring = ring.iter().flat_map(|(oauth, api)| {
        [
            Destination {
                to: format!("Ring's OAuth, {oauth}"),
                what: "refresh tokens and authorization codes, with the app's client id and secret".into(),
                transport: transport(oauth.starts_with("https://"), false),
                copy: "Ring's own".into(),
            },
            Destination {
                to: format!("Ring's API, {api}"),
                what: "access tokens of the account in question; at a link its nonce and the masked identity"
                    .into(),
                transport: transport(api.starts_with("https://"), false),
                copy: "Ring's own".into(),
            },
        ]
    });
    let sign_in = sign_in.iter().map(|host| Destination {
        to: format!("the page on which users sign in, {host}"),
        what:
            "nothing from the store: the user's browser is sent there with the nonce and time that it brought"
                .into(),
        transport: transport(host.starts_with("https://"), false),
        copy: "your own web app's".into(),
    });
    queues.chain(ring).chain(sign_in).collect()
}

fn queue(queue: &Queue) -> Destination {
    let Queue { name, kind, way, types, takes_unclaimed, is_narrowed, .. } = queue;
    let types = if types.is_empty() {
        "events of every type".to_owned()
    } else {
        format!("events of types {}", types.join(", "))
    };
    let narrowed = if *is_narrowed { ", of some users, accounts, devices or bodies alone" } else { "" };
    let unclaimed = if *takes_unclaimed { ", also of accounts that no user has" } else { "" };
    let (to, transport, copy) = match way {
        Way::Read => (
            "whoever reads it through an admin socket with the right `queue.read`".to_owned(),
            "Unix sockets and loopback addresses of this machine".to_owned(),
            "in the reader's hands: delete it there too".to_owned(),
        ),
        Way::Files { folder } => (
            format!("files in `{folder}`"),
            "on this machine".to_owned(),
            "files in the clear for those who may read the folder: delete them there too".to_owned(),
        ),
        Way::Address { address, is_encrypted, is_local } => (
            address.clone(),
            transport(*is_encrypted, *is_local),
            "in the receiver's hands: delete it there too".to_owned(),
        ),
    };
    Destination {
        to: format!("queue `{name}` ({kind}): {to}"),
        what: format!("{types}{narrowed}{unclaimed}, with body, account and user"),
        transport,
        copy,
    }
}

fn transport(is_encrypted: bool, is_local: bool) -> String {
    match (is_encrypted, is_local) {
        (true, _) => "TLS".into(),
        (false, true) => "without TLS, and does not leave this machine".into(),
        (false, false) => "**without TLS**".into(),
    }
}

pub(super) fn deletions(forget_removed_after: Option<Duration>) -> Vec<Deletion> {
    let way = |by: &str, deletes: &str, leaves: &str| Deletion {
        by: by.into(),
        deletes: deletes.into(),
        leaves: leaves.into(),
    };
    let removed = match forget_removed_after {
        Some(after) => format!(
            "the account and its events, until they are delivered or too old; {} after the removal the account is forgotten, as on request, unless it is linked again (`[linking] forget_after_removal`)",
            exact(after)
        ),
        None => "the account and its events, until they are delivered, too old, or forgotten: forget the account if your terms say so, or set `[linking] forget_after_removal`".into(),
    };
    vec![
        way(
            "On request of a user: `ringhookd accounts forget ACCOUNT`",
            "in one commit the account's keys, tokens, claim and id; from then on nobody reads an event of it. Its waiting and held events and its dead letters leave step by step. Each queue that may have got its events is told (`com.ringhookd.account.forgotten`), so that its receiver deletes too; a receipt says what went",
            "a tombstone; the user's id; hashes of its devices; what the queues are told, until it is delivered; freed pages until `ringhookd compact`; log lines; every copy at a receiver; and backups from before, which hold the account with its keys, sealed under the master key of then, until you delete them: so the last of them decides when it is gone for good",
        ),
        way(
            "By the operator, who ends the link: `ringhookd accounts disconnect ACCOUNT`",
            "the same, after Ring has paused the app on the account; nothing before that, unless the operator says so",
            "the same; and at Ring the app, paused, until the user removes it in the Ring app",
        ),
        way(
            "By the user, who removes the app in Ring (`app_integration_removed`)",
            "the account's tokens; nothing is asked of Ring for it any more",
            &removed,
        ),
        way("By age, size and number", "each element as said above", "nothing"),
        way(
            "By hand: `ringhookd dead-letters drop`, `ringhookd queue remove`",
            "those events",
            "freed pages until `ringhookd compact`",
        ),
        way(
            "At the end: delete the store's folder, the guard folder, the master key and the backups",
            "everything; without the master key nothing that is sealed opens again",
            "log lines, and every copy at a receiver",
        ),
    ]
}
