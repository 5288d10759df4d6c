//! Accounts are imported, and given to users.

use std::mem;
use std::mem::take;

use super::transaction::Txn;
use super::{accounts, acts, links, tokens};
use crate::domain::act::Act;
use crate::domain::ids::{AccountId, UserId};
use crate::domain::link::Event;
use crate::domain::refresh::Proof;
use crate::store::command::{AccountRefusal, Bound, Import};
use crate::store::kv::error::Fault;
use crate::store::rows::act::Whom;

/// Gives an account its user and tokens.
pub(crate) fn import(txn: &mut Txn<'_>, import: &Import) -> Result<Result<Bound, AccountRefusal>, Fault> {
    let known = txn.core.accounts.find(&import.account);
    if let Some(user) = &import.user
        && let Some(other) = known.and_then(|number| other_user(txn, number, user))
        && !import.replace
    {
        return Ok(Err(AccountRefusal::OtherUser(other)));
    }
    let number = match known {
        Some(number) => number,
        None => links::add_unclaimed(txn, &import.account)?,
    };
    let former = acts::whom(txn, number).user;
    // The user first: what tokens begin is not to be told to whoever had the account before.
    let before = take(&mut txn.released);
    if let Some(user) = &import.user {
        give(txn, number, user)?;
    }
    if let Some(tokens) = &import.tokens
        && tokens::put_tokens(txn, number, &import.account, &tokens.pair, tokens.span, Proof::Untried)?
    {
        links::on_link(txn, number, Event::PutIn)?;
    }
    note(txn, Act::ImportAccount, number, former)?;
    Ok(Ok(Bound { created: known.is_none(), released: mem::replace(&mut txn.released, before) }))
}

/// Gives a known account another user.
pub(crate) fn set_user(
    txn: &mut Txn<'_>,
    account: &AccountId,
    user: &UserId,
    replace: bool,
) -> Result<Result<Bound, AccountRefusal>, Fault> {
    let Some(number) = txn.core.accounts.find(account) else { return Ok(Err(AccountRefusal::Unknown)) };
    if let Some(other) = other_user(txn, number, user).filter(|_| !replace) {
        return Ok(Err(AccountRefusal::OtherUser(other)));
    }
    let (before, former) = (take(&mut txn.released), acts::whom(txn, number).user);
    give(txn, number, user)?;
    note(txn, Act::SetUser, number, former)?;
    Ok(Ok(Bound { created: false, released: mem::replace(&mut txn.released, before) }))
}

/// Notes the act, with who had the account before where that was another.
fn note(txn: &mut Txn<'_>, act: Act, number: u32, former: u32) -> Result<(), Fault> {
    let whom = acts::whom(txn, number);
    let former = if former == whom.user { 0 } else { former };
    acts::note(txn, act, Whom { former, ..whom }, None)
}

fn other_user(txn: &Txn<'_>, number: u32, user: &UserId) -> Option<UserId> {
    let slot = txn.core.accounts.get(number)?;
    accounts::user_name(txn, slot.user).filter(|present| present != user)
}

fn give(txn: &mut Txn<'_>, number: u32, user: &UserId) -> Result<(), Fault> {
    let user = accounts::user_number(txn, user)?;
    links::on_link(txn, number, Event::Given { user }).map(drop)
}
