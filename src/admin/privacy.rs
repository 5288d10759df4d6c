//! The privacy sheet: what `domain::privacy` needs is gathered here, from the bounds, queues and sockets that hold now.

use super::Admin;
use super::refusal::Reply;
use super::request::ok;
use super::session::Session;
use crate::clock;
use crate::config::{self, Config, QueueKind};
use crate::domain::address::Receiver;
use crate::domain::privacy::{Bound, Bounds, Facts, Fixed, Queue, ReaderFacts, Sheet, StoreFacts, Way};
use crate::domain::rights::Call;
use crate::domain::routing::{Selection, Unclaimed};
use crate::store::{self, Options};

impl Admin {
    pub(super) fn privacy(&self, session: &Session) -> Reply {
        session.may(Call::Status, None)?;
        session.must_see_all("the sheet tells how the data of all is kept")?;
        ok(&Sheet::of(&self.privacy_facts()))
    }

    fn privacy_facts(&self) -> Facts {
        let identity = self.store.identity();
        Facts {
            at: clock::now(),
            version: env!("RINGHOOKD_VERSION").to_owned(),
            store: StoreFacts {
                name: identity.store.clone(),
                environment: identity.environment.clone(),
                folder: self.store.folder().display().to_string(),
            },
            bounds: bounds(&self.store.options()),
            queues: self.queues.get().iter().map(queue).collect(),
            fixed: Fixed::clone(&self.fixed.get()),
        }
    }
}

fn bounds(options: &Options) -> Bounds {
    let bound = |bounds: &store::Bounds| Bound {
        max_age: bounds.max_age,
        max_bytes: bounds.max_bytes,
        max_events: Some(bounds.max_events).filter(|most| *most < u64::MAX),
    };
    let noted = |bounds: &store::ReceiptBounds| Bound {
        max_age: bounds.max_age,
        max_bytes: bounds.max_bytes,
        max_events: None,
    };
    let held = &options.held;
    Bounds {
        held: Bound { max_age: held.max_age, max_bytes: held.max_bytes, max_events: Some(held.max_events) },
        held_total: held.total_bytes,
        dead: bound(&options.dead),
        unrouted: bound(&options.unrouted),
        quarantined: bound(&options.quarantined),
        receipts: noted(&options.receipts),
        audit: noted(&options.audit),
        forget_removed_after: options.forget_removed_after,
        seen_for: options.seen_for,
        max_ids: options.max_ids,
        max_bytes: options.max_bytes,
    }
}

fn queue(queue: &config::Queue) -> Queue {
    let filter = &queue.filter;
    let any = |selection: &Selection| matches!(selection, Selection::All);
    let is_narrowed = !(filter.subtypes.is_empty()
        && filter.body.is_empty()
        && [&filter.users, &filter.accounts, &filter.devices].into_iter().all(any));
    let mut types: Vec<String> = filter.types.iter().map(ToString::to_string).collect();
    types.retain(|pattern| pattern != "*");
    Queue {
        name: queue.name.clone(),
        kind: queue.kind.as_str(),
        way: way(&queue.kind),
        max_age: queue.max_age,
        max_bytes: queue.max_bytes,
        max_attempts: queue.max_attempts,
        types,
        takes_unclaimed: queue.unclaimed == Unclaimed::Deliver,
        is_narrowed,
    }
}

fn way(kind: &QueueKind) -> Way {
    let target = match kind {
        QueueKind::Embedded { .. } => return Way::Read,
        QueueKind::Spool(spool) => return Way::Files { folder: spool.folder.display().to_string() },
        QueueKind::Http(target) => target,
        QueueKind::Redis(redis) => &redis.target,
        QueueKind::Nats(nats) => &nats.target,
        QueueKind::Mqtt(mqtt) => &mqtt.target,
        QueueKind::Postgres(postgres) => &postgres.target,
        QueueKind::Amqp(amqp) => &amqp.target,
        QueueKind::Sqs(sqs) => &sqs.target,
    };
    let says_tls = matches!(kind, QueueKind::Postgres(postgres) if postgres.tls);
    Way::Address {
        address: target.url.to_string(),
        is_encrypted: says_tls || target.url.is_encrypted(),
        is_local: target.url.is_local(),
    }
}

/// Facts that are set by `start`, the configuration of the daemon's start, by `config`, which is in force, and by the doors that are open.
pub fn fixed(start: &Config, config: &Config, readers: Vec<ReaderFacts>, metrics: Option<String>) -> Fixed {
    Fixed {
        master_key: start.sources.master.source.to_string(),
        guard_folder: start.tokens.guard_folder.display().to_string(),
        readers,
        metrics,
        ring: config.ring.as_ref().map(|ring| (host(&ring.oauth_url), host(&ring.api_url))),
        sign_in: config.linking.sign_in_url.as_deref().map(host),
    }
}

/// An address without its path.
fn host(url: &str) -> String {
    Receiver::parse(url, &["https", "http"]).map_or_else(|error| error.to_string(), |url| url.to_string())
}
