//! Tokens whose account is not known yet. Each is an account under a name of ours until Ring has told its own: so it is
//! refreshed, journalled and guarded like any other.

use std::mem::{replace, take};

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use super::tokens::Opened;
use super::transaction::Txn;
use super::{accounts, forget, import, journal, links, rivals, tokens};
use crate::domain::arrival::Arrival;
use crate::domain::ids::AccountId;
use crate::domain::link::{Answer, Event, LinkState, Tenure};
use crate::domain::refresh::{LIFE, Proof};
use crate::domain::ring_time::RingTime;
use crate::domain::secret::Secret;
use crate::domain::tokens::{Pair, Span};
use crate::store::command::{AccountRefusal, Bound, Import};
use crate::store::kv::error::Fault;
use crate::store::memory::index::NO_USER;
use crate::store::rows::account::{AccountRow, ArrivalRow, ByCode, OURS};
use crate::store::rows::row::{Damaged, Table};
use crate::store::rows::small::ArrivedRow;

/// So many accounts pass between two looks for what is too old.
const CLEAN_EVERY: u32 = 256;

/// What a refresh token is taken for.
#[derive(Debug, PartialEq, Eq)]
pub enum Arrived {
    /// The number of the account that stands for its own, and whether it is new.
    Arriving { number: u32, is_new: bool },
    /// It came before, and its account has what OAuth gave for it: it must not be sent again. The account is the user's now, or
    /// another one's still.
    Known(AccountId, Result<Bound, AccountRefusal>),
}

/// What came of giving an arrival to its account.
#[derive(Debug)]
pub enum Identified {
    Given(Result<Bound, AccountRefusal>),
    /// A refresh of it is under way, or its outcome unknown: later.
    Busy,
    /// It is not here any more.
    Gone,
}

/// What stands for the account until its id is known, after the hash of its refresh token.
fn our_name(digest: &[u8; 16]) -> Result<AccountId, Damaged> {
    AccountId::new(&format!("{OURS}{}", HEXLOWER.encode(digest))).map_err(|_| Table::Accounts.damaged())
}

fn digest(refresh_token: &Secret<String>) -> [u8; 16] {
    let mut digest = [0; 16];
    digest.copy_from_slice(&Sha256::digest(refresh_token.expose().as_bytes())[..16]);
    digest
}

pub(crate) fn arrive(txn: &mut Txn<'_>, arrival: &Arrival) -> Result<Arrived, Fault> {
    let digest = digest(&arrival.refresh_token);
    let name = our_name(&digest)?;
    let user = arrival.user.as_ref().map_or(Ok(NO_USER), |user| accounts::user_number(txn, user))?;
    let (replace, expects) = (arrival.replace, arrival.expects.clone());
    if let Some(number) = txn.core.accounts.find(&name) {
        // Whoever asks again corrects what was said before.
        let row = accounts::read_account(txn, number)?.ok_or(Table::Accounts.damaged())?;
        if user != NO_USER && !matches!(row.arrival, Some(ArrivalRow::Code(_))) {
            let tenure = Tenure::new(LinkState::Arriving, user);
            let arrival = Some(ArrivalRow::PutIn { replace, expects });
            accounts::write_account(txn, number, &AccountRow { tenure, arrival, ..row })?;
        }
        return Ok(Arrived::Arriving { number, is_new: false });
    }
    if let Some(account) = account_of_token(txn, digest)? {
        let bound = if expects.is_none_or(|expects| expects == account) {
            let user = arrival.user.clone();
            import::import(txn, &Import { account: account.clone(), user, tokens: None, replace })?
        } else {
            Err(AccountRefusal::AnotherAccount)
        };
        return Ok(Arrived::Known(account, bound));
    }
    let tenure = Tenure::new(LinkState::Arriving, user);
    let arrived = Some(ArrivalRow::PutIn { replace, expects });
    let row = AccountRow { arrival: arrived, ..AccountRow::new(&name, tenure, txn.now) };
    let number = accounts::add_account(txn, &row)?;
    tokens::put_tokens(
        txn,
        number,
        &name,
        &Pair::of(None, arrival.refresh_token.expose()),
        Span::of_import(None, txn.now),
        Proof::Untried,
    )?;
    Ok(Arrived::Arriving { number, is_new: true })
}

/// Takes in what OAuth gave for a code that came then.
pub(crate) fn arrive_by_code(
    txn: &mut Txn<'_>,
    pair: &Pair,
    span: Span,
    came: RingTime,
) -> Result<u32, Fault> {
    let name = our_name(&digest(&pair.refresh_token))?;
    let number = if let Some(number) = txn.core.accounts.find(&name) {
        number
    } else {
        let tenure = Tenure::new(LinkState::Arriving, NO_USER);
        let behind = rivals::younger(txn, came.likely, span.renewed_at);
        let arrival = Some(ArrivalRow::Code(ByCode { behind, ..ByCode::new(came) }));
        accounts::add_account(txn, &AccountRow { arrival, ..AccountRow::new(&name, tenure, txn.now) })?
    };
    tokens::put_tokens(txn, number, &name, pair, span, Proof::Honoured)?;
    Ok(number)
}

/// Gives tokens that a code brought to their account, whatever state it is in. It keeps its user.
fn take_up(txn: &mut Txn<'_>, account: &AccountId, opened: Opened, came: RingTime) -> Result<Bound, Fault> {
    let known = txn.core.accounts.find(account);
    let number = match known {
        Some(number) => number,
        None => links::add_unclaimed(txn, account)?,
    };
    let before = take(&mut txn.released);
    // The app was removed since: these are of no use any more.
    if links::on_link(txn, number, Event::Code { came })?.answer != Answer::Old {
        tokens::add_tokens(txn, number, account, opened)?;
    }
    Ok(Bound { created: known.is_none(), released: replace(&mut txn.released, before) })
}

pub(crate) fn identify(txn: &mut Txn<'_>, number: u32, account: &AccountId) -> Result<Identified, Fault> {
    if journal::is_unsettled(txn, number)? {
        return Ok(Identified::Busy);
    }
    let Some(opened) = tokens::sound_tokens(txn, number)? else { return Ok(Identified::Gone) };
    let Some((name, row)) = leave_arrival(txn, number)? else { return Ok(Identified::Gone) };
    let (replace, expects) = match row.arrival {
        Some(ArrivalRow::Code(ByCode { came, .. })) => {
            let given_at = opened.row.span.renewed_at;
            let bound = take_up(txn, account, opened, came)?;
            rivals::note_known(txn, account, came.likely, given_at)?;
            note_arrived(txn, &name, account)?;
            return Ok(Identified::Given(Ok(bound)));
        }
        Some(ArrivalRow::PutIn { replace, expects }) => (replace, expects),
        None => (false, None),
    };
    let user = accounts::user_name(txn, row.tenure.holder());
    let is_expected = expects.is_none_or(|expects| expects == *account);
    let done = if is_expected {
        let import = Import { account: account.clone(), user, tokens: None, replace };
        import::import(txn, &import)?
    } else {
        Err(AccountRefusal::AnotherAccount)
    };
    // OAuth may have replaced the tokens that the account's user has by these, whoever brought them. A link that was removed
    // is nobody's.
    let is_removed = state_of(txn, account) == Some(LinkState::Removed);
    if done.is_err() && is_removed {
        take_up(txn, account, opened, txn.ring)?;
    } else {
        let number = match txn.core.accounts.find(account) {
            Some(number) => number,
            None => links::add_unclaimed(txn, account)?,
        };
        if tokens::add_tokens(txn, number, account, opened)? {
            links::on_link(txn, number, Event::PutIn)?;
        }
    }
    note_arrived(txn, &name, account)?;
    Ok(Identified::Given(done))
}

fn state_of(txn: &Txn<'_>, account: &AccountId) -> Option<LinkState> {
    let number = txn.core.accounts.find(account)?;
    txn.core.accounts.get(number).map(|slot| slot.state)
}

/// Whose a refresh token is that came before, while its link lives.
fn account_of_token(txn: &mut Txn<'_>, digest: [u8; 16]) -> Result<Option<AccountId>, Fault> {
    let row = txn.tables.get(digest)?.and_then(|found| found.row().ok());
    let Some(ArrivedRow { account: number, .. }) = row else { return Ok(None) };
    let lives = tokens::sound_tokens(txn, number)?.is_some_and(|opened| opened.row.end.is_none());
    if lives { Ok(accounts::read_account(txn, number)?.and_then(|row| row.id)) } else { Ok(None) }
}

/// Kept for as long as a refresh token may live; what is older goes now and then.
fn note_arrived(txn: &mut Txn<'_>, name: &AccountId, account: &AccountId) -> Result<(), Fault> {
    let hex = name.as_str().trim_start_matches(OURS);
    let digest = HEXLOWER.decode(hex.as_bytes()).ok().and_then(|digest| digest.try_into().ok());
    let (Some(digest), Some(number)) = (digest, txn.core.accounts.find(account)) else { return Ok(()) };
    txn.tables.put::<ArrivedRow>(digest, &ArrivedRow { account: number, at: txn.now })?;
    let before = txn.now.minus(LIFE);
    if number % CLEAN_EVERY == 0 {
        txn.tables.retain(|row| row.is_ok_and(|ArrivedRow { at, .. }| at >= before))?;
    }
    Ok(())
}

pub(crate) fn leave_arrival(
    txn: &mut Txn<'_>,
    number: u32,
) -> Result<Option<(AccountId, AccountRow)>, Fault> {
    let Some(row) = accounts::read_account(txn, number)? else { return Ok(None) };
    let Some(name) = row.id.clone().filter(|_| row.tenure.state == LinkState::Arriving) else {
        return Ok(None);
    };
    drop(forget::forget(txn, &name, None)?);
    Ok(Some((name, row)))
}
