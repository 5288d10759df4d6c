//! Reads acts of callers, the newest first. A row that is damaged is passed over and counted.

use crate::domain::act::{Act, Kind};
use crate::domain::actor::Caller;
use crate::domain::backlog::Scope;
use crate::domain::ids::{AccountId, UserId};
use crate::domain::time::Millis;
use crate::store::kv::error::Fault;
use crate::store::memory::index::{NO_ACCOUNT, NO_USER, hash};
use crate::store::memory::shared::{Shared, bump};
use crate::store::rows::account::AccountRow;
use crate::store::rows::act::ActRow;
use crate::store::rows::small::AccountNumber;

/// Rows of a kind that are looked at for one answer.
const LOOKED_AT: usize = 20_000;

/// Which acts are meant.
#[derive(Debug, Clone, Default)]
pub struct ActFilter {
    pub since: Option<Millis>,
    pub account: Option<AccountId>,
    /// Only acts on accounts of these; all acts where neither side is restricted.
    pub scope: Scope,
}

/// An act as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActView {
    pub number: u64,
    pub at: Millis,
    pub act: Act,
    /// Nothing for what the daemon did by itself.
    pub by: Option<Caller>,
    pub account: Option<AccountId>,
    /// The account was forgotten since, or by this; who had it is not told any more.
    pub forgotten: bool,
    pub user: Option<UserId>,
    pub former: Option<UserId>,
    pub detail: Option<String>,
}

/// Up to `limit` acts with a number below `before`; the second value says where to go on.
pub(crate) fn newest(
    shared: &Shared,
    filter: &ActFilter,
    before: u64,
    limit: usize,
) -> Result<(Vec<ActView>, Option<u64>), Fault> {
    let view = shared.view()?;
    let wanted = match &filter.account {
        None => None,
        Some(id) => match view.row(hash(id))? {
            Some(AccountNumber(number)) => Some(number),
            None => return Ok((Vec::new(), None)),
        },
    };
    let table = view.table::<ActRow>()?;
    let (mut rows, mut cut) = (Vec::new(), 0);
    for &kind in Kind::ALL {
        let (mut taken, mut looked_at) = (0, 0);
        for found in table.range((kind as u8, 0)..(kind as u8, before))?.rev() {
            let found = found?;
            let (_, number) = found.key()?;
            if taken > limit || looked_at == LOOKED_AT {
                cut = cut.max(number + 1);
                break;
            }
            looked_at += 1;
            let Ok(row) = found.row() else {
                bump(&shared.stats.damaged);
                continue;
            };
            if filter.since.is_some_and(|since| row.at < since) {
                break;
            }
            if wanted.is_none_or(|account| row.whom.account == account) && is_of(&filter.scope, &row) {
                taken += 1;
                rows.push((number, row));
            }
        }
    }
    // Below this one kind has not been looked at.
    rows.retain(|(number, _)| *number >= cut);
    rows.sort_unstable_by_key(|(number, _)| std::cmp::Reverse(*number));
    let more = rows.len() > limit || cut > 0;
    rows.truncate(limit);
    let next = rows.last().map_or(cut, |(number, _)| *number);
    let accounts = view.table::<AccountRow>()?;
    let shown = |(number, row): (u64, ActRow)| {
        let id = match row.whom.account {
            NO_ACCOUNT => None,
            account => accounts.row(account)?.and_then(|row| row.id),
        };
        Ok::<_, Fault>(shown(shared, &filter.scope, number, row, id))
    };
    let shown = rows.into_iter().map(shown).collect::<Result<_, _>>()?;
    Ok((shown, Some(next).filter(|_| more)))
}

fn shown(shared: &Shared, scope: &Scope, number: u64, row: ActRow, id: Option<AccountId>) -> ActView {
    let ActRow { at, act, by, whom, detail } = row;
    let forgotten = whom.account != NO_ACCOUNT && id.is_none();
    let name = |user: u32| {
        let is_told = !forgotten && user != NO_USER;
        let is_told = is_told && scope.users.as_ref().is_none_or(|users| users.contains(&user));
        is_told.then(|| shared.users().name(user).and_then(|name| UserId::new(name).ok())).flatten()
    };
    let (user, former) = (name(whom.user), name(whom.former));
    ActView { number, at, act, by, account: id, forgotten, user, former, detail }
}

fn is_of(scope: &Scope, row: &ActRow) -> bool {
    scope.accounts.as_ref().is_none_or(|accounts| accounts.contains(&row.whom.account))
        && scope.users.as_ref().is_none_or(|users| users.contains(&row.whom.user))
}
