//! The journal of refreshes: what is about to be sent is on disk before it is sent, and what came back before it is used.
//!
//! ```text
//! begin_refresh ──commit──▶ request ──▶ answer ──settle_refresh──▶ new pair, entry gone
//!      entry: sent                        │
//!                                         ├── unknown: the entry stays; the same token is sent again
//!                                         ├── unreadable: kept in the entry, sealed
//!                                         └── refused, or not sent: entry gone
//! ```
//!
//! An entry that is found when the next attempt begins means that nobody knows what came of the one before.

use std::time::Duration;

use super::journal::{NoRefresh, RefreshIntent};
use super::tokens::Opened;
use super::transaction::Txn;
use super::{accounts, journal, routing, stand_back, tokens};
use crate::domain::heard::{Heard, Objection};
use crate::domain::ids::AccountId;
use crate::domain::refresh::{LIFE, Notice, Proof};
use crate::domain::secret::Secret;
use crate::domain::time::Millis;
use crate::domain::tokens::{Granted, Pair, Span, TokenPair};
use crate::store::kv::error::Fault;
use crate::store::memory::index::seconds;
use crate::store::rows::journal::{Entry, Which, open_answer, seal_answer};
use crate::store::rows::token::{Predecessor, TokenRow, seal_pair};

pub(crate) fn begin_refresh(
    txn: &mut Txn<'_>,
    number: u32,
    which: Which,
    lease: Duration,
) -> Result<Result<RefreshIntent, NoRefresh>, Fault> {
    if let Some(&(_, until)) = txn.core.refreshing.get(&number) {
        // Further off than it can be: the clock was set back since.
        let left = until.since(txn.now);
        if !left.is_zero() && left <= lease {
            return Ok(Err(NoRefresh::Taken));
        }
    }
    if stand_back::must_stand_back(txn, number)? {
        return Ok(Err(NoRefresh::Taken));
    }
    let Some(Opened { row, key, account, pair, others }) = tokens::sound_tokens(txn, number)? else {
        return Ok(Err(NoRefresh::NoToken));
    };
    let before = journal::journal(txn, number)?.filter(|entry| entry.generation == row.generation);
    // What was sent is sent again until OAuth has answered it.
    let open = before.as_ref().filter(|entry| entry.unsettled).map(|entry| entry.which);
    // The present token is tried before its predecessor. One that was put in after the caller had decided was not refused yet.
    let which = open.unwrap_or(if row.proof == Proof::Refused { which } else { Which::Current });
    let token = match which {
        Which::Current => pair.refresh_token,
        Which::Predecessor => match others.into_iter().next().filter(|_| row.predecessor.may_be_tried()) {
            Some(token) => token,
            None => return Ok(Err(NoRefresh::NoToken)),
        },
    };
    let answer = before.as_ref().and_then(|entry| entry.answer.clone());
    let kept = match answer.as_deref() {
        Some(sealed) => open_answer(&key, before.as_ref().map_or(0, |b| b.answer_fence), &account, sealed),
        None => None,
    };
    let kept = kept.map(|plain| (plain, before.as_ref().map_or(txn.now, |entry| entry.answered_for)));
    let fence = journal::raise_epoch(txn)?;
    let entry = Entry {
        fence,
        generation: row.generation,
        which,
        sent_at: txn.now,
        again: open.is_some(),
        unsettled: true,
        answer_fence: before.as_ref().map_or(0, |entry| entry.answer_fence),
        answered_for: before.as_ref().map_or(Millis(0), |entry| entry.answered_for),
        answer,
    };
    txn.tables.put(number, &entry)?;
    txn.core.refreshing.insert(number, (fence, txn.now.plus(lease)));
    Ok(Ok(RefreshIntent { number, account, fence, which, again: open.is_some(), token, kept, key }))
}

pub(crate) fn settle_refresh(
    txn: &mut Txn<'_>,
    number: u32,
    fence: u64,
    at: Millis,
    heard: &Heard<Granted>,
) -> Result<Option<u64>, Fault> {
    if txn.core.refreshing.get(&number).is_some_and(|&(of, _)| of == fence) {
        txn.core.refreshing.remove(&number);
    }
    if matches!(heard, Heard::Unknown(_)) {
        return Ok(None);
    }
    let Some(mut entry) = journal::journal(txn, number)?.filter(|entry| entry.fence == fence) else {
        return Ok(None);
    };
    let Some(opened) = tokens::sound_tokens(txn, number)?.filter(|o| o.row.generation == entry.generation)
    else {
        return Ok(None);
    };
    match heard {
        Heard::Unknown(_) => {}
        Heard::Answer(Granted::Pair(pair)) => {
            return renew(txn, number, entry.which, opened, pair, at).map(Some);
        }
        Heard::Answer(Granted::Unreadable(answer)) => {
            entry.answer = Some(seal_answer(&opened.key, fence, &opened.account, answer.expose())?);
            (entry.answer_fence, entry.answered_for) = (fence, entry.sent_at);
            txn.tables.put(number, &entry)?;
        }
        Heard::Refused(Objection::Grant) => {
            // The present one was refused before its predecessor is tried.
            let row = TokenRow { proof: Proof::Refused, ..opened.row };
            if entry.which == Which::Predecessor {
                tokens::drop_other(txn, number, Opened { row, ..opened })?;
            } else {
                txn.tables.put(number, &row)?;
            }
            entry.unsettled = false;
            journal::close_entry(txn, number, &entry)?;
        }
        Heard::NotSent(_) | Heard::Refused(_) => {
            entry.unsettled = entry.again;
            journal::close_entry(txn, number, &entry)?;
        }
    }
    Ok(None)
}

fn renew(
    txn: &mut Txn<'_>,
    number: u32,
    which: Which,
    opened: Opened,
    given: &TokenPair,
    at: Millis,
) -> Result<u64, Fault> {
    let Opened { row, key, account, pair, others } = opened;
    let TokenPair { access_token, refresh_token, scope, expires_in, .. } = given;
    let sent = match (which, others.into_iter().next()) {
        (Which::Predecessor, Some(previous)) => previous,
        _ => pair.refresh_token,
    };
    let copy = |token: &Secret<String>| Secret::new(token.expose().clone());
    let replaced = refresh_token.as_ref().is_some_and(|new| new.expose() != sent.expose());
    let new = Pair {
        access_token: Some(copy(access_token)),
        refresh_token: copy(refresh_token.as_ref().unwrap_or(&sent)),
        scope: scope.clone().or(pair.scope),
    };
    let generation = tokens::next_generation(txn, Some(&row))?;
    // It is proven: no other token of the account is needed.
    let previous = if replaced { vec![copy(&sent)] } else { Vec::new() };
    let sealed = seal_pair(&key, &account, generation, &new, &previous)?;
    let predecessor = if replaced { Predecessor::Untried } else { Predecessor::None };
    let (told, proof) = (row.told, Proof::Honoured);
    let span = Span::from_now(at, *expires_in);
    let row = TokenRow { generation, span, end: None, told, predecessor, proof, sealed };
    txn.tables.put(number, &row)?;
    txn.tables.remove::<Entry>(number)?;
    Ok(generation)
}

pub(crate) fn take_back_answer(
    txn: &mut Txn<'_>,
    number: u32,
    fence: u64,
    sealed: &[u8],
) -> Result<bool, Fault> {
    let Some(mut entry) = journal::journal(txn, number)?.filter(|entry| entry.fence == fence) else {
        return Ok(false);
    };
    let opened = tokens::sound_tokens(txn, number)?;
    let Some(opened) = opened.filter(|o| o.row.generation == entry.generation) else { return Ok(false) };
    if open_answer(&opened.key, fence, &opened.account, sealed).is_none() {
        return Ok(false);
    }
    entry.answer = Some(sealed.to_vec());
    (entry.answer_fence, entry.answered_for) = (fence, entry.sent_at);
    txn.tables.put(number, &entry)?;
    Ok(true)
}

pub(crate) fn tell(
    txn: &mut Txn<'_>,
    number: u32,
    renewed_at: Millis,
    notice: Notice,
) -> Result<Option<AccountId>, Fault> {
    let row = txn.tables.row::<TokenRow>(number).or_else(|fault| fault.of_one_record().map(|_| None))?;
    let Some(row) = row.filter(|row| seconds(row.span.renewed_at) == seconds(renewed_at)) else {
        return Ok(None);
    };
    let (lapses_at, end) = (row.span.renewed_at.plus(LIFE), notice.end());
    if (row.told, row.end) != (notice, end) {
        txn.tables.put(number, &TokenRow { told: notice, end, ..row })?;
        routing::announce(txn, number, notice.as_str(), Some(lapses_at))?;
    }
    Ok(accounts::read_account(txn, number)?.and_then(|row| row.id))
}
