//! Fills a store in bulk, for benches: what millions of events and accounts would have left behind.

use crate::domain::dedup::Identity;
use crate::domain::ids::{AccountId, DeviceId};
use crate::store::Store;
use crate::store::command::Import;
use crate::store::kv::error::StoreError;
use crate::store::txn::batch::Batch;

impl Store {
    /// Remembers ids as if their events had come and gone, all in one commit.
    ///
    /// # Errors
    /// When it could not be made durable.
    #[doc(hidden)]
    pub async fn fill_ids(&self, ids: Vec<Identity>) -> Result<(), StoreError> {
        self.handle
            .submit(move |batch: &mut Batch<'_>| ids.iter().try_for_each(|id| batch.remember(id)))
            .await
    }

    /// Imports accounts, all in one commit.
    ///
    /// # Errors
    /// When it could not be made durable.
    #[doc(hidden)]
    pub async fn fill_accounts(&self, imports: Vec<Import>) -> Result<(), StoreError> {
        let fill =
            move |batch: &mut Batch<'_>| imports.iter().try_for_each(|import| batch.import(import).map(drop));
        self.handle.submit(fill).await
    }

    /// Gives accounts the event key and the device that their first event would have, all in one commit.
    ///
    /// # Errors
    /// When it could not be made durable.
    #[doc(hidden)]
    pub async fn fill_devices(&self, devices: Vec<(AccountId, DeviceId)>) -> Result<(), StoreError> {
        let fill = move |batch: &mut Batch<'_>| {
            devices.iter().try_for_each(|(account, device)| {
                let Some(number) = batch.core.accounts.find(account) else { return Ok(()) };
                batch.event_key(number)?;
                batch.note_device(device, number, None)
            })
        };
        self.handle.submit(fill).await
    }
}
