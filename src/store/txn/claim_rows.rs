//! Rows of claims: who may claim an account, and how far the last claim is.

use super::transaction::{Staged, Txn};
use crate::domain::ids::AccountId;
use crate::domain::link::Claiming;
use crate::store::kv::error::Fault;
use crate::store::rows::claim::ClaimRow;

pub(crate) fn forget_stale_claim(txn: &mut Txn<'_>, number: u32) -> Result<(), Fault> {
    let is_stale = claim_row(txn, number)?.is_some_and(|row| !row.claiming.is_claimable(txn.now));
    if is_stale { drop_claim(txn, number) } else { Ok(()) }
}

fn drop_claim(txn: &mut Txn<'_>, number: u32) -> Result<(), Fault> {
    if txn.tables.remove::<ClaimRow>(number)?.is_some() {
        txn.staged.push(Staged::Claim { account: number });
    }
    Ok(())
}

/// Nothing as well where it does not read: nobody can claim the account then, and everything else goes on.
pub(crate) fn claim_row(txn: &mut Txn<'_>, number: u32) -> Result<Option<ClaimRow>, Fault> {
    let Some(row) = txn.tables.get(number)?.map(|found| found.row()) else { return Ok(None) };
    if row.is_err() {
        crate::store::memory::shared::bump(&txn.shared.stats.damaged);
    }
    Ok(row.ok())
}

pub(crate) fn write_claiming(
    txn: &mut Txn<'_>,
    number: u32,
    account: &AccountId,
    before: Option<&ClaimRow>,
    claiming: Claiming,
    code_came: bool,
) -> Result<(), Fault> {
    if !claiming.open && claiming.last.is_none() {
        return if before.is_some() { drop_claim(txn, number) } else { Ok(()) };
    }
    let row = ClaimRow { account: account.clone(), claiming };
    if !code_came && before.is_some_and(|before| before.says(&row)) {
        return Ok(());
    }
    txn.tables.put(number, &row)?;
    txn.staged.push(Staged::Claim { account: number });
    Ok(())
}
