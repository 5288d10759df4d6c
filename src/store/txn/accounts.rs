//! Rows of accounts and users.

use super::transaction::Txn;
use crate::domain::ids::UserId;
use crate::store::kv::error::Fault;
use crate::store::memory::index::hash;
use crate::store::rows::account::AccountRow;
use crate::store::rows::row::Table;
use crate::store::rows::small::{AccountNumber, UserRow};

pub(crate) fn add_account(txn: &mut Txn<'_>, row: &AccountRow) -> Result<u32, Fault> {
    let Some(id) = &row.id else { return Err(Table::Accounts.damaged().into()) };
    let tenure = &row.tenure;
    let number = txn.core.accounts.add(id, tenure.holder(), tenure.state);
    write_account(txn, number, row)?;
    txn.tables.put(hash(id), &AccountNumber(number))?;
    Ok(number)
}

/// The number of a user; added when new.
pub(crate) fn user_number(txn: &mut Txn<'_>, user: &UserId) -> Result<u32, Fault> {
    let known = {
        let users = txn.shared.users();
        if let Some(number) = users.find(user.as_str()) {
            return Ok(number);
        }
        users.count()
    };
    if let Some(number) = txn.users.find(user) {
        return Ok(number);
    }
    let number = txn.users.add(user, known);
    txn.tables.put(number, &UserRow(user.clone()))?;
    Ok(number)
}

pub(crate) fn user_name(txn: &Txn<'_>, number: u32) -> Option<UserId> {
    let users = txn.shared.users();
    let behind = (number as usize).checked_sub(users.count() + 1);
    match behind {
        Some(behind) => txn.users.name(behind).cloned(),
        None => users.name(number).and_then(|name| UserId::new(name).ok()),
    }
}

pub(crate) fn write_account(txn: &mut Txn<'_>, number: u32, row: &AccountRow) -> Result<(), Fault> {
    txn.tables.put(number, row)?;
    txn.core.accounts.set_link(number, &row.tenure);
    Ok(())
}

pub(crate) fn read_account(txn: &mut Txn<'_>, number: u32) -> Result<Option<AccountRow>, Fault> {
    txn.tables.row(number)
}
