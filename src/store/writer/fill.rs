//! Fills a store in bulk, for benches: what millions of events and accounts would have left behind.

use crate::domain::dedup::Identity;
use crate::domain::ids::{AccountId, DeviceId};
use crate::store::Store;
use crate::store::command::Import;
use crate::store::kv::error::StoreError;
use crate::store::txn::transaction::Txn;
use crate::store::txn::{devices, ids, import, keys};

impl Store {
    /// Remembers ids as if their events had come and gone, all in one commit.
    ///
    /// # Errors
    /// When it could not be made durable.
    #[doc(hidden)]
    pub async fn fill_ids(&self, ids: Vec<Identity>) -> Result<(), StoreError> {
        self.handle
            .submit(move |txn: &mut Txn<'_>| ids.iter().try_for_each(|id| ids::remember(txn, id)))
            .await
    }

    /// Imports accounts, all in one commit.
    ///
    /// # Errors
    /// When it could not be made durable.
    #[doc(hidden)]
    pub async fn fill_accounts(&self, imports: Vec<Import>) -> Result<(), StoreError> {
        let fill = move |txn: &mut Txn<'_>| {
            imports.iter().try_for_each(|import| import::import(txn, import).map(drop))
        };
        self.handle.submit(fill).await
    }

    /// Gives accounts the event key and the device that their first event would have, all in one commit.
    ///
    /// # Errors
    /// When it could not be made durable.
    #[doc(hidden)]
    pub async fn fill_devices(&self, devices: Vec<(AccountId, DeviceId)>) -> Result<(), StoreError> {
        let fill = move |txn: &mut Txn<'_>| {
            devices.iter().try_for_each(|(account, device)| {
                let Some(number) = txn.core.accounts.find(account) else { return Ok(()) };
                keys::event_key(txn, number)?;
                devices::note_device(txn, device, number, None)
            })
        };
        self.handle.submit(fill).await
    }
}
