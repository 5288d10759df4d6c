//! Which accounts are about to be disconnected: Ring was asked to pause the app, and they are not forgotten yet. A note outlives the daemon,
//! so that a crash leaves no account of which nobody knows that its app may be paused.

use super::transaction::Txn;
use super::{accounts, acts};
use crate::domain::act::Act;
use crate::domain::ids::{AccountId, UserId};
use crate::domain::link::LinkState;
use crate::store::command::AccountRefusal;
use crate::store::kv::error::Fault;
use crate::store::rows::account::AccountRow;
use crate::store::rows::facts::Disconnecting;

/// Notes at a time: one that is over this many is not begun before others are at their end.
const MOST: usize = 1000;

/// What is on disk before Ring is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asking {
    /// The account's number.
    pub number: u32,
    /// An earlier request had no answer.
    pub again: bool,
}

/// Why Ring need not, or can't, be asked to pause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoAsking {
    /// The user removed the app: nothing is left to pause.
    Removed,
    /// Too many others are half way.
    TooMany,
    /// Another user has the account than the one for whom it was asked, or none.
    Moved,
    Account(AccountRefusal),
}

/// Notes that Ring is about to be asked to pause the app on the account, which is `holder`'s as far as the caller knows.
pub(crate) fn begin(
    txn: &mut Txn<'_>,
    account: &AccountId,
    holder: Option<&UserId>,
) -> Result<Result<Asking, NoAsking>, Fault> {
    let number = txn.core.accounts.find(account);
    let Some((number, row)) =
        number.map(|number| Ok::<_, Fault>((number, accounts::read_account(txn, number)?))).transpose()?
    else {
        return Ok(Err(NoAsking::Account(AccountRefusal::Unknown)));
    };
    if let Some(AccountRow { tenure, .. }) = row {
        // The caller may have no right to the account of another user.
        if accounts::user_name(txn, tenure.holder()).as_ref() != holder {
            return Ok(Err(NoAsking::Moved));
        }
        if tenure.state == LinkState::Removed {
            return Ok(Err(NoAsking::Removed));
        }
    }
    let mut noted = noted(txn)?;
    let again = noted.0.contains_key(&number);
    if !again && noted.0.len() >= MOST {
        return Ok(Err(NoAsking::TooMany));
    }
    noted.0.insert(number, txn.now);
    txn.tables.put(Disconnecting::NAME, &noted)?;
    acts::note(txn, Act::DisconnectAccount, acts::whom(txn, number), Some("Ring is asked to pause the app"))?;
    Ok(Ok(Asking { number, again }))
}

/// Takes the note away: Ring has not done it, or the state or the user of the link is another than the one it was asked for.
pub(crate) fn end(txn: &mut Txn<'_>, number: u32) -> Result<(), Fault> {
    let mut noted = noted(txn)?;
    let was_noted = noted.0.remove(&number).is_some();
    if was_noted { txn.tables.put(Disconnecting::NAME, &noted) } else { Ok(()) }
}

/// As this transaction knows them: a command before this one may have changed them.
fn noted(txn: &mut Txn<'_>) -> Result<Disconnecting, Fault> {
    Ok(txn.tables.row(Disconnecting::NAME)?.unwrap_or_default())
}
