//! What is kept, element by element, with the numbers that hold now.

use super::Element;
use super::facts::{Bound, Bounds, Facts, Queue};
use crate::domain::claim::ANSWERED_FOR;
use crate::domain::link::KEPT;
use crate::domain::refresh::LIFE;
use crate::domain::units::{count, exact, size};

const CHECKED: &str =
    "in the clear, with a checksum, in the store's file, whose folder the daemon's own user alone may enter";
const ONLY_THE_SEAL: &str =
    "numbers of account, user and queue, times and lengths lie beside it in the clear, with a checksum";
const BY_FORGET: &str = "`ringhookd accounts forget`";

pub(super) fn elements(facts: &Facts) -> Vec<Element> {
    [events(facts), identity(facts), secrets(facts), beside(facts)].concat()
}

/// An element that lies in these tables. What is said of its deletion follows.
fn element(name: &str, holds: &str, tables: &[&str], purpose: &str) -> Element {
    Element {
        name: name.into(),
        holds: holds.into(),
        tables: tables.iter().map(|table| (*table).to_owned()).collect(),
        purpose: purpose.into(),
        protection: CHECKED.into(),
        retention: Vec::new(),
        deleted: String::new(),
        remains: None,
    }
}

impl Element {
    fn sealed(self, protection: String) -> Self {
        Self { protection, ..self }
    }

    fn kept(mut self, statement: impl Into<String>) -> Self {
        self.retention.push(statement.into());
        self
    }

    fn deleted(self, how: &str) -> Self {
        Self { deleted: how.into(), ..self }
    }

    fn remains(self, what: &str) -> Self {
        Self { remains: Some(what.into()), ..self }
    }
}

/// How events rest.
fn sealed(facts: &Facts, what: &str) -> String {
    let key = &facts.fixed.master_key;
    format!("AES-256-GCM under {what}, which the master key (`{key}`) wraps; {ONLY_THE_SEAL}")
}

fn by_account(facts: &Facts) -> String {
    sealed(facts, "a key of this account's events alone (one key for all events without an account)")
}

/// `11 days ([held] max_age), at most 8.0 MiB`.
fn within(bound: &Bound, section: &str) -> String {
    let events = bound.max_events.map(|most| format!(" and {}", count(most, "event"))).unwrap_or_default();
    format!(
        "at most {} (`{section} max_age`), and at most {}{events}; the oldest leave first",
        exact(bound.max_age),
        size(bound.max_bytes)
    )
}

fn events(facts: &Facts) -> Vec<Element> {
    let Bounds { held, held_total, dead, unrouted, quarantined, max_bytes, .. } = &facts.bounds;
    let content =
        "the webhook's body as Ring sent it, with its type, device, account and user, and when it came";
    let gone = format!("{BY_FORGET} destroys the key at once, and takes the records out step by step");
    let mut waiting = element(
        "Events that wait in queues",
        content,
        &["chunks", "progress", "off_queue", "attempts"],
        "every event reaches the receivers of its user once they take it, also after a crash or an outage",
    )
    .sealed(format!("{}; so do the words in which a receiver refused an event", by_account(facts)))
    .kept("until every queue that takes the event has delivered it. Events that were accepted in one moment lie together: a delivered one may stay, sealed, until most of them are delivered");
    for queue in &facts.queues {
        waiting = waiting.kept(in_queue(queue));
    }
    let waiting = waiting
        .kept("in a queue that the configuration no longer names: until `ringhookd queue remove`")
        .kept(format!("at most {} of all kinds of events together (`[store] max_bytes`)", size(*max_bytes)))
        .deleted(&format!("by delivery, by age and size, and by hand (`ringhookd queue remove`). {gone}"));
    let held = element(
        "Events of accounts that no user has claimed",
        content,
        &["off_queue"],
        "Ring sends the first events of a link before its user has signed in; they are the user's who then claims the account",
    )
    .sealed(by_account(facts))
    .kept(format!("for one account {}", within(held, "[held]")))
    .kept(format!("over all accounts at most {}", size(*held_total)))
    .kept("then among the dead letters, where no user is found")
    .deleted(&format!("by a claim, which gives them to the queues, and by age and size. {gone}"));
    let letters = |name: &str, purpose: &str, bound: &Bound, section: &str, class: &str| {
        element(name, content, &["off_queue"], purpose)
            .sealed(by_account(facts))
            .kept(within(bound, section))
            .deleted(&format!(
                "by age and size, and by hand (`ringhookd dead-letters drop --class {class}`). {gone}"
            ))
    };
    let dead = letters(
        "Dead letters",
        "what could not be delivered can be looked at, and delivered once its receiver is well again",
        dead,
        "[dead_letters]",
        "dead",
    );
    let unrouted = letters(
        "Events that no queue takes",
        "a mistake in the filters of queues loses nothing",
        unrouted,
        "[unrouted]",
        "unrouted",
    );
    let quarantined = element(
        "Signed bodies that could not be understood",
        "the body as Ring sent it; whose it is, is not known",
        &["off_queue"],
        "a new form of Ring's webhooks loses nothing",
    )
    .sealed(sealed(facts, "a key for what belongs to no account"))
    .kept(within(quarantined, "[quarantine]"))
    .deleted("by age, size and number, and by hand (`ringhookd dead-letters drop --class quarantined`)")
    .remains(
        "`ringhookd accounts forget` does not find them, because nothing in them could be read as an account",
    );
    vec![waiting, held, dead, unrouted, quarantined, seen(&facts.bounds)]
}

fn in_queue(queue: &Queue) -> String {
    let Queue { name, max_age, max_bytes, max_attempts, .. } = queue;
    format!(
        "queue `{name}`: at most {}, {} and {}, then among the dead letters",
        exact(*max_age),
        size(*max_bytes),
        count((*max_attempts).into(), "failed attempt")
    )
}

fn seen(bounds: &Bounds) -> Element {
    element(
        "Remembered request ids",
        "16 bytes of a hash of each webhook's request id, and 8 of its content; no id and no content",
        &["ids"],
        "Ring sends an event again, up to 72 hours later: the same event is not delivered twice, and a captured one not replayed",
    )
    .kept(format!("{} (`[seen] retention`), and at most {} ids", exact(bounds.seen_for), bounds.max_ids))
    .deleted("by age and number; a hash leads to no account, so no forget asks for it")
}

fn identity(facts: &Facts) -> Vec<Element> {
    let late = exact(KEPT);
    let account = element(
        "Accounts and their links",
        "Ring's account id (opaque), the number of the user who has it, the state of the link, its times, and its former users",
        &["accounts", "account_ids"],
        "an event reaches the user whose Ring account it is, and no other",
    )
    .kept(match facts.bounds.forget_removed_after {
        Some(after) => format!(
            "as long as the account is not forgotten; {} after the app was removed in Ring it is (`[linking] forget_after_removal`)",
            exact(after)
        ),
        None => "as long as the account is not forgotten, also after the app was removed in Ring".into(),
    })
    .kept(format!("a link's former users for {late}, because Ring's events come so late; at most 16 of them"))
    .deleted(&format!("{BY_FORGET}, in one commit"))
    .remains("a row without an id: the account's number, and when it was made");
    let users = element(
        "User ids",
        "the name or id that your own app gave for the signed-in user",
        &["users"],
        "an account belongs to a user of yours",
    )
    .kept("as long as the store")
    .deleted("only with the store")
    .remains("the user's id, without any account: let it be an opaque id, not a name or an address");
    let devices = element(
        "The device map",
        "16 bytes of a hash of a device's id, the number of its account, and the time of the newest event that says so",
        &["devices", "device_log"],
        "events without an account id are those of the account that has the device",
    )
    .kept("as long as the store; Ring's `device_removed` takes the account out of the row")
    .deleted("only with the store; a row of a forgotten account leads to none")
    .remains("the hash, with the number of a row without an id");
    let freshness = element(
        "When webhooks came",
        "of each account the time of its last webhook, and its longest wait for one; no content",
        &["freshness"],
        "a silence of one account or of all is told to the operator",
    )
    .kept("as long as the account is not forgotten")
    .deleted(BY_FORGET);
    let tombstones = element(
        "Tombstones of forgotten accounts",
        "16 bytes of a hash of the account's id, and when it was forgotten",
        &["forgotten"],
        "a late event of a forgotten account is dropped, and is no later user's",
    )
    .kept(late)
    .deleted("by age");
    let names = element(
        "Names of queues, and facts of the store",
        "names of queues, which are paused, counters, and fingerprints of webhook keys with the time of their last proof; nothing of a user",
        &["queues", "meta"],
        "the daemon goes on where it was",
    )
    .kept("as long as the store")
    .deleted(&format!("only with the store, which lies in `{}`", facts.store.folder));
    vec![account, users, devices, freshness, tombstones, names, receipts(facts), acts(facts)]
}

fn receipts(facts: &Facts) -> Element {
    element(
        "Receipts of events",
        "of each event its id and type, the numbers of its account and user, the address that it came from, and what became of it in each queue, with the words of a receiver that refused it; no content",
        &["receipts", "meta"],
        "an operator can tell what became of an event (`ringhookd inspect`)",
    )
    .sealed(sealed(facts, "a key for what belongs to no account"))
    .kept(if facts.bounds.receipts.max_bytes == 0 {
        "not at all (`[receipts] max_bytes` is 0)".to_owned()
    } else {
        within(&facts.bounds.receipts, "[receipts]")
    })
    .deleted(&format!("by age and size; {BY_FORGET} has those of the account erased step by step"))
}

fn acts(facts: &Facts) -> Element {
    element(
        "Acts of callers of the admin API",
        "who changed what, and who was handed an access token, through which socket, with the numbers of the account and of the users who have and had it",
        &["audit"],
        "access and changes can be told afterwards (`ringhookd audit`)",
    )
    .kept(if facts.bounds.audit.max_bytes == 0 {
        "not at all (`[audit] max_bytes` is 0)".to_owned()
    } else {
        within(&facts.bounds.audit, "[audit]")
    })
    .deleted(&format!("by age and size; {BY_FORGET} leaves that an account was forgotten, and nothing that names it or who had it"))
}

fn secrets(facts: &Facts) -> Vec<Element> {
    let life = exact(LIFE);
    let tokens = |what: &str| sealed(facts, what);
    let pair = element(
        "OAuth tokens",
        "the access token and the refresh token of an account, and the refresh token before it",
        &["tokens"],
        "the link stays alive, and local workers are lent access tokens",
    )
    .sealed(tokens("a key of this account's tokens alone"))
    .kept(format!("each until the next refresh replaces it; Ring's end after {life} without one"))
    .deleted(&format!("when Ring says that the app was removed (`app_integration_removed`), and {BY_FORGET}: the key and the record in one commit"));
    let journal = element(
        "Refreshes under way",
        "which token was sent and when; an answer of OAuth that could not be read",
        &["journal"],
        "a crash in the middle of a refresh does not end a link",
    )
    .sealed(tokens("the key of the account's tokens, as far as it is an answer"))
    .kept("until the outcome is known")
    .deleted("by the outcome, and with the account's tokens");
    let codes = element(
        "Authorization codes",
        "the code that Ring brings at a link; then 16 bytes of its hash, and what became of it",
        &["codes"],
        "a code is exchanged once, and never twice",
    )
    .sealed(tokens("a key for what belongs to no account, and emptied at its end; the hash is in the clear, with a checksum"))
    .kept("the code: its minute")
    .kept(format!("the hash: {life} of one that was exchanged, 1 h of any other"))
    .deleted("by age");
    let arrived = element(
        "Tokens without an account",
        "16 bytes of a hash of a refresh token that came before Ring named its account, and the account's number",
        &["arrived"],
        "a token that comes again is not sent again",
    )
    .kept(format!("{life}; older ones are removed when the next one comes"))
    .deleted("by age");
    let claims = element(
        "Claims",
        "of each account that may be claimed its id; of its last claim the nonce, its time, the user's number, how far Ring was told, and the masked identity that your app gave (`account_identifier`)",
        &["claims"],
        "a nonce counts once, and Ring is told of a link until it has confirmed",
    )
    .kept(format!("until Ring has confirmed the link, and {} after the claim; an account without a user as long as it has none", exact(ANSWERED_FOR)))
    .deleted(&format!("by the end of the claim, and {BY_FORGET}"));
    let keys = element(
        "Data keys",
        "the keys that seal an account's events and tokens",
        &["keys"],
        "to destroy a key is to destroy what it sealed, wherever it lies",
    )
    .sealed(format!(
        "AES-256-GCM under the master key (`{}`), which is not in the store",
        facts.fixed.master_key
    ))
    .kept("as long as the account is not forgotten")
    .deleted(&format!("{BY_FORGET}, in one commit"))
    .remains("wrapped copies in freed pages and in backups; after `ringhookd keys rotate` and the end of the old master key nobody opens them");
    vec![pair, journal, codes, arrived, claims, keys]
}

fn beside(facts: &Facts) -> Vec<Element> {
    let here = "the system's permissions";
    let pages = element(
        "Freed pages of the store's file",
        "what left the tables since the file was last made small, sealed or in the clear as it lay there",
        &[],
        "a database uses its pages again",
    )
    .kept("until the page is used again")
    .deleted("`ringhookd compact` makes the file anew without them")
    .remains("free blocks of the disk, which its encryption protects");
    let guard = element(
        "The guard folder",
        "a counter that tells an older copy of the store; an answer of OAuth that the store could not take",
        &[],
        "a restored store does not burn tokens",
    )
    .sealed(format!(
        "the answer is sealed under the key of the account's tokens; the folder `{}` is its user's alone",
        facts.fixed.guard_folder
    ))
    .kept("an answer until the store has it")
    .deleted("by the store, once it has the answer");
    let log = element(
        "Log lines",
        "account ids and user ids where a link, a token or an event changes, and who caused it (the audit); request ids of refused webhooks; no body, no token, no code",
        &[],
        "access and changes can be told afterwards",
    )
    .sealed(format!("{here} of the system's log"))
    .kept("as long as the system's log keeps them (`journalctl`, or the container's log)")
    .deleted("by the system's log")
    .remains("lines of a forgotten account, until the system's log removes them");
    let metrics = element(
        "Metrics",
        "counts and times, with names of queues; no id",
        &[],
        "the operator is told of faults",
    )
    .sealed("in the clear, to whoever reaches the address or has the right `metrics`".into())
    .kept("in memory; then as long as your Prometheus keeps them")
    .deleted("with the process");
    let backups = element(
        "Backups",
        "everything in the store at that moment, with the wrapped keys, without the master key",
        &[],
        "a lost disk loses nothing that was acknowledged before the backup",
    )
    .sealed("as in the store; the file is its owner's alone".into())
    .kept("as long as you keep the file; the unit `ringhookd-backup.service` removes those older than 14 days")
    .deleted("by you: a forget does not reach into a backup, and a backup older than a forget brings the account back when it is restored")
    .remains("a forgotten account, until the last backup from before is deleted");
    let memory = element(
        "Memory of the process",
        "opened keys, tokens and events in use; for followers of a queue the newest 1,024 events, or 8 MiB; and of requests that left no event the newest 128 of each kind, with path, sender's address and account",
        &[],
        "events are delivered and tokens refreshed",
    )
    .sealed("core dumps are switched off; secrets are overwritten when they are dropped".into())
    .kept("as long as the process")
    .deleted("with the process");
    vec![pages, guard, log, metrics, backups, memory]
}
