//! Accounts whose app was removed long ago are forgotten, where the configuration says after how long.

use super::transaction::Txn;
use super::{accounts, acts, forget};
use crate::domain::act::Act;
use crate::domain::link::LinkState;
use crate::domain::units::exact;
use crate::store::kv::error::Fault;
use crate::store::rows::act::Whom;

/// Accounts that one step looks at, and forgets.
const LOOKED_AT: usize = 256;
const FORGOTTEN: usize = 16;

/// One step, which goes on where the last one was. What is left of their events leaves later, as after a forget that was broken off. The
/// next step waits for that, because while events and receipts of forgotten accounts leave, less of everything else does.
pub(crate) fn forget_old(txn: &mut Txn<'_>) -> Result<(), Fault> {
    let Some(after) = txn.options.forget_removed_after else { return Ok(()) };
    let is_under_way = !txn.core.forgotten.is_empty() || !txn.core.receipts.erasing.is_empty();
    if is_under_way || txn.core.accounts.count(LinkState::Removed) == 0 {
        return Ok(());
    }
    let from = txn.core.removed_from;
    let removed = txn.core.accounts.in_state(LinkState::Removed).filter(|number| *number > from);
    let numbers: Vec<u32> = removed.take(LOOKED_AT).collect();
    let is_last = numbers.len() < LOOKED_AT;
    // Our own clock destroys nothing: before Ring is heard, nothing is old.
    let before = txn.ring.earliest.minus(after);
    let mut forgotten = 0;
    for number in numbers {
        txn.core.removed_from = number;
        let Some(row) = accounts::read_account(txn, number)? else { continue };
        // Whatever came since, such as a new sign of the app or another user, begins the time anew.
        let Some(id) = row.id.filter(|_| row.tenure.newest() < before) else { continue };
        let why =
            format!("its app was removed more than {} ago ([linking] forget_after_removal)", exact(after));
        let whom = Whom { account: number, ..Whom::default() };
        acts::note_own(txn, Act::ForgetAccount, whom, &why)?;
        drop(forget::forget(txn, &id, Some(&why))?);
        forgotten += 1;
        if forgotten == FORGOTTEN {
            return Ok(());
        }
    }
    if is_last {
        txn.core.removed_from = 0;
    }
    Ok(())
}
