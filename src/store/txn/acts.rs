//! Acts of callers inside a transaction: noted in the commit that does them, and dropped from their old end, each kind by itself.

use super::transaction::Txn;
use crate::domain::act::{Act, Kind};
use crate::domain::actor::{Actor, Caller};
use crate::domain::ids::AccountId;
use crate::store::kv::error::Fault;
use crate::store::rows::act::{ActRow, Whom};

/// Rows that one commit drops of a kind that is over its bound, or by age.
const DROPPED: usize = 64;
/// Longest detail that is kept, in bytes.
const DETAIL_BYTES: usize = 300;

/// Notes an act, where a caller of the admin API does what this transaction does.
pub(crate) fn note(txn: &mut Txn<'_>, act: Act, whom: Whom, detail: Option<&str>) -> Result<(), Fault> {
    let Actor::Socket(by) = &txn.by else { return Ok(()) };
    let by = Some(by.clone());
    write(txn, act, by, whom, detail)
}

/// Notes an act of the daemon by itself.
pub(crate) fn note_own(txn: &mut Txn<'_>, act: Act, whom: Whom, detail: &str) -> Result<(), Fault> {
    write(txn, act, None, whom, Some(detail))
}

fn write(
    txn: &mut Txn<'_>,
    act: Act,
    by: Option<Caller>,
    whom: Whom,
    detail: Option<&str>,
) -> Result<(), Fault> {
    let (kind, most) = (act.kind(), txn.options.audit.max_bytes / Kind::ALL.len() as u64);
    if most == 0 {
        return Ok(());
    }
    let detail = detail.map(|detail| detail[..detail.floor_char_boundary(DETAIL_BYTES)].to_owned());
    let row = ActRow { at: txn.now, act, by, whom, detail };
    let number = txn.core.acts.next;
    txn.core.acts.next += 1;
    let bytes = txn.tables.put_sized((kind as u8, number), &row)? as u64;
    *bytes_of(txn, kind) += bytes;
    for _ in 0..DROPPED {
        if *bytes_of(txn, kind) <= most || !drop_oldest(txn, kind)? {
            break;
        }
    }
    Ok(())
}

/// Notes an act about this account, and the user who has it.
pub(crate) fn note_of(
    txn: &mut Txn<'_>,
    act: Act,
    account: Option<&AccountId>,
    detail: Option<&str>,
) -> Result<(), Fault> {
    let account = account.and_then(|id| txn.core.accounts.find(id)).unwrap_or_default();
    note(txn, act, whom(txn, account), detail)
}

/// An account, and who has it.
pub(crate) fn whom(txn: &Txn<'_>, account: u32) -> Whom {
    let user = txn.core.accounts.get(account).map_or(0, |slot| slot.user);
    Whom { account, user, former: 0 }
}

/// Drops what is too old.
pub(crate) fn expire(txn: &mut Txn<'_>) -> Result<bool, Fault> {
    let before = txn.now.minus(txn.options.audit.max_age);
    for &kind in Kind::ALL {
        for dropped in 0.. {
            let oldest = txn.tables.range::<ActRow>(of(kind))?.next().transpose()?;
            // A damaged one goes, because nothing tells how old it is.
            let is_old = oldest.is_some_and(|found| found.row().map_or(true, |row| row.at < before));
            if !is_old || !drop_oldest(txn, kind)? {
                break;
            }
            if dropped >= DROPPED {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Whether there was one.
fn drop_oldest(txn: &mut Txn<'_>, kind: Kind) -> Result<bool, Fault> {
    let oldest = txn.tables.range::<ActRow>(of(kind))?.next().transpose()?;
    let Some(key) = oldest.map(|found| found.key()).transpose()? else { return Ok(false) };
    let bytes = txn.tables.remove::<ActRow>(key)?.map_or(0, |found| found.bytes().len() as u64);
    let left = bytes_of(txn, kind);
    *left = left.saturating_sub(bytes);
    Ok(true)
}

fn of(kind: Kind) -> std::ops::RangeInclusive<(u8, u64)> {
    (kind as u8, 0)..=(kind as u8, u64::MAX)
}

fn bytes_of<'t>(txn: &'t mut Txn<'_>, kind: Kind) -> &'t mut u64 {
    &mut txn.core.acts.bytes[kind as usize - 1]
}
