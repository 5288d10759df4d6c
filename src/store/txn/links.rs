//! A link is loaded, told an event, and written; its effects are performed. `domain::link` decides what they are.

use super::transaction::Txn;
use super::{accounts, claim_rows, disconnect, held, routing, tokens, tombstones};
use crate::domain::ids::AccountId;
use crate::domain::link::{Effects, Event, Link, LinkState, Tenure};
use crate::logging::audit::{Entry, What};
use crate::store::kv::error::Fault;
use crate::store::memory::index::NO_USER;
use crate::store::rows::account::AccountRow;
use crate::store::rows::row::Table;

/// Tells the link of the account what happened.
pub(crate) fn on_link(txn: &mut Txn<'_>, number: u32, event: Event) -> Result<Effects, Fault> {
    let row = accounts::read_account(txn, number)?.ok_or(Table::Accounts.damaged())?;
    let claim = claim_rows::claim_row(txn, number)?;
    let is_forgotten = matches!(event, Event::Forget);
    let claiming = claim.as_ref().map(|claim| claim.claiming.clone()).unwrap_or_default();
    let link = Link { tenure: row.tenure.clone(), claiming };
    let (Link { tenure, claiming }, effects) = link.on(event, txn.link_now());
    if let Some(id) = &row.id {
        let code_came = tenure.code_at != row.tenure.code_at;
        claim_rows::write_claiming(txn, number, id, claim.as_ref(), claiming, code_came)?;
        note_link(txn, id, &row.tenure, &tenure)?;
    }
    let (state, moved) = (tenure.state, tenure.holder() != row.tenure.holder());
    if tenure != row.tenure {
        let id = row.id.filter(|_| !is_forgotten);
        accounts::write_account(txn, number, &AccountRow { id, tenure, ..row })?;
    }
    if effects.destroy_tokens {
        tokens::destroy_tokens(txn, number)?;
    }
    if effects.tell || moved {
        // Ring was asked to pause the app for a user, or in a state, that is another now.
        disconnect::end(txn, number)?;
    }
    if effects.tell {
        routing::announce(txn, number, state.name(), None)?;
    }
    if effects.release {
        held::release(txn, number)?;
    }
    Ok(effects)
}

/// Tells the log of a link that is another than before.
fn note_link(txn: &mut Txn<'_>, id: &AccountId, before: &Tenure, after: &Tenure) -> Result<(), Fault> {
    use LinkState::{Arriving, Claiming, Forgotten, Linked, Refused, Removed, Unclaimed};
    let (former, holder) = (before.holder(), after.holder());
    let moved = former != NO_USER && holder != NO_USER && holder != former;
    let what = match after.state {
        Arriving | Forgotten => return Ok(()),
        state if state == before.state && moved => What::LinkMoved,
        state if state == before.state => return Ok(()),
        Linked => What::LinkMade,
        Claiming => What::LinkClaimed,
        Refused => What::LinkRefused,
        Removed => What::LinkRemoved,
        Unclaimed if matches!(before.state, Linked | Claiming | Refused) => What::LinkRemoved,
        Unclaimed => return Ok(()),
    };
    txn.note(what, |txn, entry| {
        let user = if holder == NO_USER { former } else { holder };
        let former = if moved { accounts::user_name(txn, former) } else { None };
        Ok(Entry { account: Some(id.clone()), user: accounts::user_name(txn, user), former, ..entry })
    })
}

/// A new account that nobody has.
pub(crate) fn add_unclaimed(txn: &mut Txn<'_>, id: &AccountId) -> Result<u32, Fault> {
    let forgotten_at = tombstones::find(txn, id)?;
    let Link { tenure, claiming } = Link::unclaimed(forgotten_at);
    let number = accounts::add_account(txn, &AccountRow::new(id, tenure, txn.now))?;
    claim_rows::write_claiming(txn, number, id, None, claiming, false)?;
    Ok(number)
}
