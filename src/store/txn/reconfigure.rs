//! Takes over other bounds and queues while the store runs, as opening it with them does.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::transaction::{Staged, Txn};
use crate::domain::ids::QueueName;
use crate::failpoint;
use crate::store::kv::error::Fault;
use crate::store::memory::options::{Options, QueueSpec};
use crate::store::rows::row::Table;
use crate::store::rows::small::QueueRow;

/// Events that are accepted after this go by the new filters. A queue that comes for the first time gets its number; one that is
/// taken out keeps what waits in it.
pub(crate) fn reconfigure(txn: &mut Txn<'_>, options: &Arc<Options>) -> Result<(), Fault> {
    // From the tables and not from memory: a command before this one may have removed a queue.
    let (mut known, mut last) = (BTreeMap::new(), 0);
    for found in txn.tables.range::<QueueRow>(..)? {
        let found = found?;
        last = found.key()?;
        if let QueueRow(Some(name)) = found.row()? {
            known.insert(name, last);
        }
    }
    let mut numbers = Vec::with_capacity(options.queues.len());
    for QueueSpec { name, .. } in &options.queues {
        let number = known.get(name).copied();
        if number.is_none() {
            last = number_queue(txn, name, last)?;
        }
        numbers.push(number.unwrap_or(last));
    }
    let mut routes: Vec<_> = numbers.iter().copied().zip(options.queues.iter().cloned()).collect();
    routes.sort_by_key(|(number, _)| *number);
    failpoint!("store.reconfigured");
    txn.core.routes = routes;
    txn.options = Arc::clone(options);
    txn.staged.push(Staged::Options { options: Arc::clone(options), numbers });
    Ok(())
}

fn number_queue(txn: &mut Txn<'_>, name: &QueueName, last: u16) -> Result<u16, Fault> {
    let number = last.checked_add(1).ok_or(Table::Queues.damaged())?;
    txn.tables.put(number, &QueueRow(Some(name.clone())))?;
    Ok(number)
}
