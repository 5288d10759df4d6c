//! Whose events are meant: names to the numbers that backlogs go by. And leases that nobody will settle.

use super::{Scope, Store, StoreError};
use crate::domain::ids::{AccountId, QueueName, UserId};

impl Store {
    /// The events of these users and these accounts; `None` is any. Names that are not known yet match nothing.
    ///
    /// The writer answers, so whatever was being committed when this was called can be seen afterwards.
    ///
    /// # Errors
    /// When the file can't be read.
    pub async fn scope(
        &self,
        users: Option<&[UserId]>,
        accounts: Option<Vec<AccountId>>,
    ) -> Result<Scope, StoreError> {
        let find = move |batch: &mut super::Batch<'_>| {
            let find = |id: &AccountId| batch.core.accounts.find(id);
            Ok(accounts.as_ref().map(|ids| ids.iter().filter_map(find).collect()))
        };
        let accounts = self.submit(find).await?;
        let known = self.shared.users();
        let find = |user: &UserId| known.find(user.as_str());
        Ok(Scope { users: users.map(|names| names.iter().filter_map(find).collect()), accounts })
    }

    /// Gives back all that a lease still holds; no attempt is counted. For a reader that is gone.
    pub fn release(&self, queue: &QueueName, lease: u64) {
        let Some(number) = self.shared.queue_number(queue) else { return };
        let mut queues = self.shared.queues();
        if let Some(state) = queues.get_mut(&number)
            && state.backlog.release(lease)
        {
            state.wake.notify_waiters();
        }
    }
}
