//! The `[[queue]]` entries.

use std::path::Path;
use std::time::Duration;

use super::amqp::amqp;
use super::common::{AGES, SIZES, lies_in, selection};
use super::files::ReceiverFiles;
use super::kinds::{KINDS, Kind};
use super::model::{Format, Nats, Queue, QueueKind, Spool};
use super::mqtt::mqtt;
use super::postgres::postgres;
use super::raw::{Echo, Section};
use super::receivers::{nats, target};
use super::redis::redis;
use super::sqs::sqs;
use super::value::{Wrong, because, bytes, choice, count, duration, text};
use crate::domain::ids::{AccountId, DeviceId, QueueName, UserId};
use crate::domain::routing::{BodyValue, Filter, Selection, TypePattern, Unclaimed};

/// Each event is held against every queue, and marked with those that take it.
const MAX_QUEUES: usize = 64;

/// The queues that could be read, each with the path of its section, and the files of those that have some.
pub(super) fn queues(root: &mut Section<'_>, store: &Path) -> (Vec<(String, Queue)>, Vec<ReceiverFiles>) {
    let mut queues: Vec<(String, Queue)> = Vec::new();
    let mut files = Vec::new();
    for (n, section) in root.each("queue").into_iter().enumerate() {
        if n == MAX_QUEUES {
            section.refuse_all(format!("is one too many: {MAX_QUEUES} queues at most"));
        }
        if let Some((queue, its_files)) = queue(section, &queues, store) {
            files.extend(its_files.map(|files| ReceiverFiles { queue: Some(queue.name.clone()), ..files }));
            queues.push((format!("queue[{n}]"), queue));
        }
    }
    (queues, files)
}

fn queue(
    mut s: Section<'_>,
    earlier: &[(String, Queue)],
    store: &Path,
) -> Option<(Queue, Option<ReceiverFiles>)> {
    let name = s.required("name", "alerts", text(queue_name));
    if let Some((path, _)) = earlier.iter().find(|(_, other)| Some(&other.name) == name.as_ref()) {
        s.refuse("name", format!("is the name of {path} already"));
    }
    let kind = s.required("kind", "embedded", choice(KINDS));
    if let Some(feature) = kind.and_then(Kind::missing_feature) {
        s.refuse("kind", format!("is not part of this build; cargo builds it with --features {feature}"));
    }
    let filter = filter(&mut s);
    let unclaimed = unclaimed(&mut s, &filter);
    let formats = &[
        ("cloudevents", Format::CloudEvents),
        ("cloudevents-binary", Format::CloudEventsBinary),
        ("raw", Format::Raw),
    ];
    // A table has columns instead.
    s.only_where(kind.map(|kind| kind != Kind::Postgres), "kinds other than postgres");
    let format = s.get("format", "cloudevents", choice(formats));
    s.only_where(Some(true), "every kind");
    if format == Format::CloudEventsBinary && kind.is_some_and(|kind| !kind.has_headers()) {
        s.refuse("format", "only for a kind with headers".into());
    }
    let max_age = s.get("max_age", "7d", duration(AGES));
    let max_bytes = s.get("max_bytes", "1 GiB", bytes(SIZES));
    let max_attempts = s.get("max_attempts", 10_u64, count(1..=10_000));

    s.only_where(kind.map(|kind| kind != Kind::Embedded), "kinds other than embedded");
    let events_per_second = s.optional("events_per_second", 100_u64, Echo::Shown, count(1_u32..=100_000));

    let embedded = embedded(&mut s, kind);
    let spool = spool(&mut s, kind, earlier, store);
    let (target, mut files) = target(&mut s, kind);
    let redis = redis(&mut s, kind, target.as_ref());
    let subject = nats(&mut s, kind);
    let mqtt = mqtt(&mut s, kind, name.as_ref(), target.as_ref(), store);
    let postgres = postgres(&mut s, kind, target.as_ref());
    let amqp = amqp(&mut s, kind, target.as_ref());
    let sqs = sqs(&mut s, kind, target.as_ref(), &mut files);
    s.finish();
    let (kind, files) = match kind? {
        Kind::Embedded => (embedded, None),
        Kind::Spool => (spool?, None),
        Kind::Http => (QueueKind::Http(target?), Some(files)),
        Kind::Redis => (redis?, Some(files)),
        Kind::Nats => (QueueKind::Nats(Nats { target: target?, subject }), Some(files)),
        Kind::Mqtt => (QueueKind::Mqtt(mqtt?), Some(files)),
        Kind::Postgres => (postgres?, Some(files)),
        Kind::Amqp => (amqp?, Some(files)),
        Kind::Sqs => (sqs?, Some(files)),
    };
    let name = name?;
    let queue =
        Queue { name, kind, filter, unclaimed, format, max_age, max_bytes, max_attempts, events_per_second };
    Some((queue, files))
}

fn embedded(s: &mut Section<'_>, kind: Option<Kind>) -> QueueKind {
    s.only_where(kind.map(|kind| kind == Kind::Embedded), "kind = \"embedded\"");
    let leases = Duration::from_secs(1)..=Duration::from_hours(12);
    QueueKind::Embedded { visibility: s.get("visibility", "30s", duration(leases)) }
}

fn spool(
    s: &mut Section<'_>,
    kind: Option<Kind>,
    earlier: &[(String, Queue)],
    store: &Path,
) -> Option<QueueKind> {
    s.only_where(kind.map(|kind| kind == Kind::Spool), "kind = \"spool\"");
    let folder = s.required("folder", "/var/spool/ringhookd/alerts", s.path());
    let max_files = s.get("max_files", 10_000_u64, count(1..=10_000_000));
    let max_bytes = s.get("spool_bytes", "256 MiB", bytes(SIZES));
    let folder = folder?;
    let shares = |other: &Queue| matches!(&other.kind, QueueKind::Spool(spool) if spool.folder == folder);
    if let Some((path, _)) = earlier.iter().find(|(_, other)| shares(other)) {
        s.refuse("folder", format!("is the folder of {path} already"));
    } else if lies_in(&folder, store) {
        s.refuse("folder", "lies in store.folder, which no reader can enter; name a folder beside it".into());
    }
    Some(QueueKind::Spool(Spool { folder, max_files, max_bytes }))
}

fn filter(s: &mut Section<'_>) -> Filter {
    let pattern = |text: &str| TypePattern::parse(text).map_err(because);
    let types = s.list("types", &["*"], Echo::Shown, pattern);
    let subtypes = s.list("subtypes", &[], Echo::Shown, pattern);
    Filter {
        types: types.into_iter().map(|pattern| pattern.value).collect(),
        subtypes: subtypes.into_iter().map(|pattern| pattern.value).collect(),
        users: selection(s, "users", &[], |id| UserId::new(id).map(drop)),
        accounts: selection(s, "accounts", &[], |id| AccountId::new(id).map(drop)),
        devices: selection(s, "devices", &[], |id| DeviceId::new(id).map(drop)),
        body: s.each("body").into_iter().filter_map(body_value).collect(),
    }
}

/// One `[[queue.body]]`.
fn body_value(mut s: Section<'_>) -> Option<BodyValue> {
    let pointer = |text: &str| BodyValue::new(text, []).map(|_| text.to_owned()).map_err(because);
    let pointer = s.required("pointer", "/data/attributes/source_type", text(pointer));
    let one_of = s.list("one_of", &[], Echo::Shown, |text| Ok(Box::from(text)));
    if one_of.is_empty() && s.sound(&["one_of"]) {
        s.missing("one_of", "is missing; write the values that are wanted, such as one_of = [\"doorbell\"]");
    }
    s.finish();
    BodyValue::new(&pointer?, one_of.into_iter().map(|value| value.value)).ok()
}

fn unclaimed(s: &mut Section<'_>, filter: &Filter) -> Unclaimed {
    let words = &[("hold", Unclaimed::Hold), ("deliver", Unclaimed::Deliver)];
    let unclaimed = s.get("unclaimed", "hold", choice(words));
    if unclaimed == Unclaimed::Deliver && filter.users != Selection::All {
        let hint = "no unclaimed event passes the filter on users; write \"hold\", or take out users";
        s.refuse("unclaimed", hint.into());
    }
    unclaimed
}

fn queue_name(text: &str) -> Result<QueueName, Wrong> {
    QueueName::new(text)
        .ok_or(Wrong::Form("a name of at most 64 letters, digits, - _ and . (not as the first)"))
}
