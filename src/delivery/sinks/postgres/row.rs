//! Events as rows: the columns of the table, and the statement that fills them.

use serde_json::Value;
use tokio_postgres::types::{ToSql, Type};

use crate::domain::ids::{AccountId, DeviceId, UserId};
use crate::domain::table::Table;
use crate::domain::time::Millis;
use crate::store::Leased;

/// The last millisecond that a `timestamptz` holds, with room to spare.
const LAST: u64 = 9_000_000_000_000_000;

/// The statement that makes the table where there is none; docs/POSTGRES.md shows it.
pub(super) fn create(table: &Table) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {table} (
    id text PRIMARY KEY,
    position bigint GENERATED ALWAYS AS IDENTITY,
    type text NOT NULL,
    subtype text,
    account_id text,
    user_id text,
    device_id text,
    time timestamptz,
    received timestamptz NOT NULL,
    sequence bigint NOT NULL,
    marks text NOT NULL,
    body bytea NOT NULL,
    document jsonb
)"
    )
}

/// The statement that adds the rows of [`Rows::params`], in their order, but for those that are there.
pub(super) fn insert_into(table: &Table) -> String {
    format!(
        "INSERT INTO {table} (id, type, subtype, account_id, user_id, device_id, time, received, sequence, marks, body, document) \
         SELECT r.id, r.type, r.subtype, r.account_id, r.user_id, r.device_id, to_timestamp(r.time / 1000.0), \
         to_timestamp(r.received / 1000.0), r.sequence, r.marks, r.body, r.document::jsonb \
         FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::int8[], $8::int8[], $9::int8[], \
         $10::text[], $11::bytea[], $12::text[]) WITH ORDINALITY AS r (id, type, subtype, account_id, user_id, device_id, time, \
         received, sequence, marks, body, document, nth) ORDER BY r.nth ON CONFLICT (id) DO NOTHING"
    )
}

/// Rows, column by column.
#[derive(Debug, Default)]
pub(super) struct Rows<'a> {
    ids: Vec<&'a str>,
    types: Vec<&'a str>,
    subtypes: Vec<Option<&'a str>>,
    accounts: Vec<Option<&'a str>>,
    users: Vec<Option<&'a str>>,
    devices: Vec<Option<&'a str>>,
    times: Vec<Option<i64>>,
    received: Vec<Option<i64>>,
    sequences: Vec<i64>,
    marks: Vec<String>,
    bodies: Vec<&'a [u8]>,
    documents: Vec<Option<&'a str>>,
}

impl<'a> Rows<'a> {
    pub(super) fn of(events: &'a [Leased]) -> Self {
        let mut rows = Self::default();
        for leased in events {
            rows.push(leased);
        }
        rows
    }

    pub(super) fn without_documents(events: &'a [Leased]) -> Self {
        let documents = vec![None; events.len()];
        Self { documents, ..Self::of(events) }
    }

    fn push(&mut self, Leased { seq, event, .. }: &'a Leased) {
        self.ids.push(&event.key);
        self.types.push(&event.kind);
        self.subtypes.push(event.sub_kind.as_deref());
        self.accounts.push(event.account.as_ref().map(AccountId::as_str));
        self.users.push(event.user.as_ref().map(UserId::as_str));
        self.devices.push(event.device.as_ref().map(DeviceId::as_str));
        self.times.push(event.time.and_then(timestamp));
        self.received.push(timestamp(event.received_at));
        self.sequences.push(i64::try_from(*seq).unwrap_or(i64::MAX));
        self.marks.push(event.marks.to_string());
        self.bodies.push(&event.body);
        self.documents.push(document(&event.body));
    }

    /// In the order of the statement's places.
    pub(super) fn params(&self) -> [(&(dyn ToSql + Sync), Type); 12] {
        [
            (&self.ids, Type::TEXT_ARRAY),
            (&self.types, Type::TEXT_ARRAY),
            (&self.subtypes, Type::TEXT_ARRAY),
            (&self.accounts, Type::TEXT_ARRAY),
            (&self.users, Type::TEXT_ARRAY),
            (&self.devices, Type::TEXT_ARRAY),
            (&self.times, Type::INT8_ARRAY),
            (&self.received, Type::INT8_ARRAY),
            (&self.sequences, Type::INT8_ARRAY),
            (&self.marks, Type::TEXT_ARRAY),
            (&self.bodies, Type::BYTEA_ARRAY),
            (&self.documents, Type::TEXT_ARRAY),
        ]
    }
}

fn timestamp(time: Millis) -> Option<i64> {
    i64::try_from(time.0).ok().filter(|_| time.0 <= LAST)
}

/// The body where `jsonb` can hold it: JSON, without NUL and without halves of a pair of surrogates, which `serde_json`
/// refuses, as it does numbers beyond a double's.
fn document(body: &[u8]) -> Option<&str> {
    let text = str::from_utf8(body).ok()?;
    let is_json = serde_json::from_str::<Value>(text).is_ok();
    (is_json && !text.contains("\\u0000")).then_some(text)
}
