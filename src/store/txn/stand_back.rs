//! Older tokens of two codes stand back where the younger ones may be of their account, because OAuth may end a link whose replaced
//! token is used again.

use std::time::Duration;

use super::tokens::AT_ONCE;
use super::transaction::Txn;
use super::{accounts, codes, rivals, unidentified};
use crate::domain::refresh::LIFE;
use crate::store::kv::error::Fault;
use crate::store::rows::account::ArrivalRow;
use crate::store::rows::token::TokenRow;

/// So long tokens stand back behind younger ones whose account is not known, unless Ring does not honour them: most of them are of
/// different accounts.
const PATIENCE: Duration = Duration::from_hours(24);

/// Whether the refresh token must not be sent now, since it may be a replaced one of a living link.
pub(crate) fn must_stand_back(txn: &mut Txn<'_>, number: u32) -> Result<bool, Fault> {
    if !rivals::is_arriving(txn, number) {
        return Ok(false);
    }
    let arrival = accounts::read_account(txn, number)?.and_then(|row| row.arrival);
    let (Some(ArrivalRow::Code(by_code)), Some(given_at)) = (arrival, rivals::given_at(txn, number)?) else {
        return Ok(false);
    };
    let age = txn.now.since(given_at);
    if age <= AT_ONCE && codes::any_waiting(txn)? {
        return Ok(true);
    }
    let waits = by_code.refused || age <= PATIENCE;
    if waits
        && rivals::others(txn, by_code.came.likely, Some(number))?
            .iter()
            .any(|of| (of.3, of.0) > (given_at, number))
    {
        return Ok(true);
    }
    if !by_code.refused {
        return Ok(false);
    }
    for known in by_code.behind {
        if lives(txn, known)? {
            if age > LIFE {
                // Dead of disuse.
                unidentified::leave_arrival(txn, number)?;
            }
            return Ok(true);
        }
    }
    Ok(false)
}

fn lives(txn: &mut Txn<'_>, number: u32) -> Result<bool, Fault> {
    let row = txn.tables.row::<TokenRow>(number).or_else(|fault| fault.of_one_record().map(|_| None))?;
    Ok(row.is_some_and(|row| row.end.is_none()))
}
