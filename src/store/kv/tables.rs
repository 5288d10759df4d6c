//! The tables of the redb file, opened when a transaction first needs them.

use std::borrow::Borrow;
use std::ops::{Deref, RangeBounds};

use redb::{
    AccessGuard, Database, Key, ReadTransaction, ReadableDatabase, ReadableTable, ReadableTableMetadata,
    Table, TableDefinition, TableHandle, WriteTransaction,
};

use super::changes::Changes;
use super::error::Fault;
use crate::store::rows::codec::Damaged;

type Bytes = &'static [u8];

/// Small facts by name: schema, identity, canary, key proofs.
pub(crate) const META: TableDefinition<&str, Bytes> = TableDefinition::new("meta");
/// First sequence of a chunk to the chunk.
pub(crate) const LOG: TableDefinition<u64, Bytes> = TableDefinition::new("log");
/// Row number to remembered ids.
pub(crate) const IDS: TableDefinition<u64, Bytes> = TableDefinition::new("ids");
/// (First sequence of a chunk, queue) to a bitmap of what the queue has done.
pub(crate) const PROGRESS: TableDefinition<(u64, u16), Bytes> = TableDefinition::new("progress");
/// (Queue, sequence) to failed attempts.
pub(crate) const ATTEMPTS: TableDefinition<(u16, u64), Bytes> = TableDefinition::new("attempts");
/// (Kind, account or queue or time, sequence, queue) to a record kept outside the log.
pub(crate) const ASIDE: TableDefinition<AsideKey, Bytes> = TableDefinition::new("aside");
/// Hash of an account's id to its number.
pub(crate) const ACCOUNT_IDS: TableDefinition<Bytes, Bytes> = TableDefinition::new("account_ids");
pub(crate) const ACCOUNTS: TableDefinition<u32, Bytes> = TableDefinition::new("accounts");
pub(crate) const TOKENS: TableDefinition<u32, Bytes> = TableDefinition::new("tokens");
/// Account to the refresh that is under way, or whose outcome nobody knows.
pub(crate) const JOURNAL: TableDefinition<u32, Bytes> = TableDefinition::new("journal");
/// Hash of a refresh token that came without its account to that account, and when it was given to it.
pub(crate) const ARRIVED: TableDefinition<Bytes, Bytes> = TableDefinition::new("arrived");
/// Hash of a forgotten account's id to when it was forgotten.
pub(crate) const FORGOTTEN: TableDefinition<Bytes, Bytes> = TableDefinition::new("forgotten");
/// Account to who may claim it, and how far its last claim is.
pub(crate) const CLAIMS: TableDefinition<u32, Bytes> = TableDefinition::new("claims");
/// Hash of an authorization code to what became of it.
pub(crate) const CODES: TableDefinition<Bytes, Bytes> = TableDefinition::new("codes");
/// (Account, purpose) to a wrapped data key.
pub(crate) const KEYS: TableDefinition<(u32, u8), Bytes> = TableDefinition::new("keys");
pub(crate) const USERS: TableDefinition<u32, Bytes> = TableDefinition::new("users");
/// Hash of a device id to its account.
pub(crate) const DEVICES: TableDefinition<Bytes, Bytes> = TableDefinition::new("devices");
pub(crate) const QUEUES: TableDefinition<u16, Bytes> = TableDefinition::new("queues");

/// See [`ASIDE`].
pub(crate) type AsideKey = (u8, u64, u64, u32);

/// The key as bytes, for the record's checksum.
pub(crate) fn aside_key_bytes(key: AsideKey) -> [u8; 21] {
    let mut out = [0; 21];
    out[0] = key.0;
    out[1..9].copy_from_slice(&key.1.to_be_bytes());
    out[9..17].copy_from_slice(&key.2.to_be_bytes());
    out[17..].copy_from_slice(&key.3.to_be_bytes());
    out
}

/// The same for a (sequence, queue) key.
pub(crate) fn progress_key_bytes(key: (u64, u16)) -> [u8; 10] {
    let mut out = [0; 10];
    out[..8].copy_from_slice(&key.0.to_be_bytes());
    out[8..].copy_from_slice(&key.1.to_be_bytes());
    out
}

/// An open table: it is read as redb's own, and what is changed is noted for the log.
pub(crate) struct Open<'b, 't, K: Key + 'static> {
    name: &'static str,
    table: &'b mut Table<'t, K, Bytes>,
    changes: &'b mut Changes,
}

impl<'t, K: Key + 'static> Deref for Open<'_, 't, K> {
    type Target = Table<'t, K, Bytes>;

    fn deref(&self) -> &Self::Target {
        self.table
    }
}

impl<K: Key + 'static> Open<'_, '_, K> {
    pub(crate) fn insert<'k>(
        &mut self,
        key: impl Borrow<K::SelfType<'k>>,
        value: &[u8],
    ) -> Result<(), Fault> {
        self.changes.put(self.name, K::as_bytes(key.borrow()).as_ref(), value);
        self.table.insert(key, value)?;
        Ok(())
    }

    pub(crate) fn remove<'k>(
        &mut self,
        key: impl Borrow<K::SelfType<'k>>,
    ) -> Result<Option<AccessGuard<'_, Bytes>>, Fault> {
        let removed = self.table.remove(key.borrow())?;
        if removed.is_some() {
            self.changes.remove(self.name, K::as_bytes(key.borrow()).as_ref());
        }
        Ok(removed)
    }

    /// Removes the rows that are not to be kept.
    pub(crate) fn retain(
        &mut self,
        mut keep: impl for<'r> FnMut(K::SelfType<'r>, &[u8]) -> bool,
    ) -> Result<(), Fault> {
        let Self { name, changes, .. } = self;
        self.table.retain(|key, value| {
            let bytes = K::as_bytes(&key).as_ref().to_vec();
            let kept = keep(key, value);
            if !kept {
                changes.remove(name, &bytes);
            }
            kept
        })?;
        Ok(())
    }

    /// Removes the rows of a range of keys.
    pub(crate) fn clear<'k, Q: Borrow<K::SelfType<'k>> + 'k>(
        &mut self,
        range: impl RangeBounds<Q> + 'k,
    ) -> Result<(), Fault> {
        let Self { name, changes, .. } = self;
        self.table.retain_in(range, |key, _| {
            changes.remove(name, K::as_bytes(&key).as_ref());
            false
        })?;
        Ok(())
    }
}

macro_rules! tables {
    ($($field:ident: $definition:ident<$key:ty>),* $(,)?) => {
        /// Open tables of one write transaction, and what it changes in them.
        pub(crate) struct Tables<'t> {
            txn: &'t WriteTransaction,
            changes: Changes,
            $($field: Option<Table<'t, $key, Bytes>>,)*
        }

        impl<'t> Tables<'t> {
            pub(crate) fn new(txn: &'t WriteTransaction, changes: Changes) -> Self {
                Self { txn, changes, $($field: None,)* }
            }

            /// Closes the tables; what was changed in them.
            pub(crate) fn into_changes(self) -> Changes {
                self.changes
            }

            /// Does a change again that was noted before, and does not note it.
            pub(crate) fn restore(&mut self, table: &str, key: &[u8], value: Option<&[u8]>) -> Result<(), Fault> {
                $(if table == $definition.name() {
                    let table = self.$field()?.table;
                    let key = <$key as redb::Value>::from_bytes(key);
                    match value {
                        Some(value) => drop(table.insert(key, value)?),
                        None => drop(table.remove(key)?),
                    }
                    return Ok(());
                })*
                Err(Damaged("wal").into())
            }

            $(pub(crate) fn $field(&mut self) -> Result<Open<'_, 't, $key>, Fault> {
                if self.$field.is_none() {
                    self.$field = Some(self.txn.open_table($definition)?);
                }
                // Filled just above.
                let table = self.$field.as_mut().ok_or(Fault::Closed)?;
                Ok(Open { name: $definition.name(), table, changes: &mut self.changes })
            })*
        }

        /// Makes every table, so that readers of a new store find them.
        pub(crate) fn create_all(txn: &WriteTransaction) -> Result<(), Fault> {
            $(txn.open_table($definition)?;)*
            Ok(())
        }

        /// How many rows there are.
        pub(crate) fn row_count(read: &ReadTransaction) -> Result<u64, Fault> {
            let mut rows = 0;
            $(rows += read.open_table($definition)?.len()?;)*
            Ok(rows)
        }

        /// Tells table, key and value of every row, in order.
        pub(crate) fn each_row(
            read: &ReadTransaction,
            mut tell: impl FnMut(&str, &[u8], &[u8]) -> Result<(), Fault>,
        ) -> Result<(), Fault> {
            $(for row in read.open_table($definition)?.iter()? {
                let (key, value) = row?;
                tell($definition.name(), <$key as redb::Value>::as_bytes(&key.value()).as_ref(), value.value())?;
            })*
            Ok(())
        }
    };
}

tables! {
    meta: META<&'static str>,
    log: LOG<u64>,
    ids: IDS<u64>,
    progress: PROGRESS<(u64, u16)>,
    attempts: ATTEMPTS<(u16, u64)>,
    aside: ASIDE<AsideKey>,
    accounts: ACCOUNTS<u32>,
    account_ids: ACCOUNT_IDS<Bytes>,
    tokens: TOKENS<u32>,
    journal: JOURNAL<u32>,
    arrived: ARRIVED<Bytes>,
    forgotten: FORGOTTEN<Bytes>,
    claims: CLAIMS<u32>,
    codes: CODES<Bytes>,
    keys: KEYS<(u32, u8)>,
    users: USERS<u32>,
    devices: DEVICES<Bytes>,
    queues: QUEUES<u16>,
}

/// A write transaction whose commit survives power cuts and failed syncs, and after which opening is quick.
pub(crate) fn begin_write(db: &Database) -> Result<WriteTransaction, Fault> {
    let mut txn = db.begin_write()?;
    txn.set_quick_repair(true);
    Ok(txn)
}

pub(crate) fn begin_read(db: &impl ReadableDatabase) -> Result<ReadTransaction, Fault> {
    Ok(db.begin_read()?)
}
