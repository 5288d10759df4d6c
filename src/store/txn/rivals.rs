//! Tokens that codes brought at about the same time, which may be of one account: the older ones know of the younger ones.

use super::accounts;
use super::tokens::AT_ONCE;
use super::transaction::Txn;
use crate::domain::ids::AccountId;
use crate::domain::link::LinkState;
use crate::domain::time::Millis;
use crate::store::kv::error::Fault;
use crate::store::memory::core::CodeTokens;
use crate::store::rows::account::{AccountRow, ArrivalRow, ByCode};
use crate::store::rows::token::TokenRow;

/// So many tokens whose account became known are remembered.
const LATELY: usize = 128;
fn is_near(one: Millis, other: Millis) -> bool {
    one.since(other).max(other.since(one)) <= AT_ONCE
}

/// Known accounts that got tokens later, by a code of about that time.
pub(crate) fn younger(txn: &Txn<'_>, came: Millis, given_at: Millis) -> Vec<u32> {
    let younger = txn.core.lately.iter().filter(|of| is_near(of.came, came) && of.given_at >= given_at);
    younger.map(|of| of.account).collect()
}

/// The account of tokens that a code brought is known now: older ones of about the same time may be of it.
pub(crate) fn note_known(
    txn: &mut Txn<'_>,
    account: &AccountId,
    came: Millis,
    given_at: Millis,
) -> Result<(), Fault> {
    let Some(known) = txn.core.accounts.find(account) else { return Ok(()) };
    for (number, row, by_code, at) in others(txn, came, None)? {
        if at <= given_at && by_code.behind.len() < LATELY {
            let behind = by_code.behind.iter().copied().chain([known]).collect();
            let arrival = Some(ArrivalRow::Code(ByCode { behind, ..by_code }));
            accounts::write_account(txn, number, &AccountRow { arrival, ..row })?;
        }
    }
    if txn.core.lately.len() >= LATELY {
        txn.core.lately.pop_front();
    }
    txn.core.lately.push_back(CodeTokens { account: known, came, given_at });
    Ok(())
}

/// Ring does not honour the access token.
pub(crate) fn note_refused(txn: &mut Txn<'_>, number: u32) -> Result<(), Fault> {
    let Some(row) = accounts::read_account(txn, number)? else { return Ok(()) };
    if let Some(ArrivalRow::Code(by_code)) = row.arrival.clone().filter(|_| is_arriving(txn, number)) {
        let arrival = Some(ArrivalRow::Code(ByCode { refused: true, ..by_code }));
        accounts::write_account(txn, number, &AccountRow { arrival, ..row })?;
    }
    Ok(())
}

pub(crate) fn is_arriving(txn: &Txn<'_>, number: u32) -> bool {
    txn.core.accounts.get(number).is_some_and(|slot| slot.state == LinkState::Arriving)
}

pub(crate) fn given_at(txn: &mut Txn<'_>, number: u32) -> Result<Option<Millis>, Fault> {
    let row = txn.tables.row::<TokenRow>(number).or_else(|fault| fault.of_one_record().map(|_| None))?;
    Ok(row.map(|row| row.span.renewed_at))
}

/// Tokens whose account is not known, of codes of about that time, but that one's; and when OAuth gave them.
pub(crate) fn others(
    txn: &mut Txn<'_>,
    came: Millis,
    but: Option<u32>,
) -> Result<Vec<(u32, AccountRow, ByCode, Millis)>, Fault> {
    if txn.core.accounts.count(LinkState::Arriving) == u64::from(but.is_some()) {
        return Ok(Vec::new());
    }
    let numbers: Vec<u32> = txn.core.accounts.in_state(LinkState::Arriving).collect();
    let mut found = Vec::new();
    for number in numbers.into_iter().filter(|&number| Some(number) != but) {
        let Some(row) = accounts::read_account(txn, number)? else { continue };
        let Some(ArrivalRow::Code(by_code)) = row.arrival.clone() else { continue };
        if !is_near(by_code.came.likely, came) {
            continue;
        }
        if let Some(at) = given_at(txn, number)? {
            found.push((number, row, by_code, at));
        }
    }
    Ok(found)
}
