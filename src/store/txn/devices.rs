//! The device map inside a transaction: which account a device is of, as the newest word of Ring's has it.

use std::time::Duration;

use super::transaction::Txn;
use super::{accounts, device_log};
use crate::domain::ids::DeviceId;
use crate::domain::link::LinkState;
use crate::domain::time::Millis;
use crate::logging::audit::{Entry, What};
use crate::store::kv::error::Fault;
use crate::store::memory::core::DeviceHint;
use crate::store::memory::index::{self, NO_ACCOUNT};
use crate::store::memory::shared::bump;
use crate::store::rows::small::DeviceRow;

/// The newest event of a device is in memory, and on disk where it is so much newer than what is there.
const NOTED_EVERY: Duration = Duration::from_hours(24);

fn device_key(device: &DeviceId) -> [u8; 16] {
    index::short_hash(device.as_str())
}

/// The account of the first device that has one.
pub(crate) fn account_of_devices<'d>(
    txn: &mut Txn<'_>,
    devices: impl Iterator<Item = &'d DeviceId>,
) -> Result<u32, Fault> {
    for device in devices {
        let account = read_device(txn, &device_key(device))?.map_or(NO_ACCOUNT, |row| row.account);
        let lives = |slot: &index::AccountSlot| slot.state != LinkState::Forgotten && account != NO_ACCOUNT;
        if txn.core.accounts.get(account).is_some_and(lives) {
            return Ok(account);
        }
    }
    Ok(NO_ACCOUNT)
}

/// An event of the device came that names the account. It moves the device unless the map has newer word.
pub(crate) fn note_device(
    txn: &mut Txn<'_>,
    device: &DeviceId,
    account: u32,
    at: Option<Millis>,
) -> Result<(), Fault> {
    let (key, at) = (device_key(device), at.unwrap_or_default());
    let hint = txn.core.devices.get(index::key(&key));
    let is_at_hand = |hint: &DeviceHint| hint.account == account && at.since(hint.written) < NOTED_EVERY;
    if let Some(hint) = hint.filter(is_at_hand) {
        if at > hint.newest {
            txn.core.devices.insert(index::key(&key), DeviceHint { newest: at, ..hint });
        }
        return Ok(());
    }
    let written = read_device(txn, &key)?;
    match newest(txn, &key, written) {
        Some(row) if row.account == account && at.since(row.since) < NOTED_EVERY => {
            let written = written.map_or(row.since, |row| row.since);
            let newest = row.since.max(at);
            txn.core.devices.insert(index::key(&key), DeviceHint { account, newest, written });
            Ok(())
        }
        // It is worth a write that the device is contested.
        Some(row) if row.since >= at => {
            if written == Some(row) {
                Ok(())
            } else {
                write_device(txn, &key, row)
            }
        }
        _ => {
            note_move(txn, written, account)?;
            write_device(txn, &key, DeviceRow { account, since: at })
        }
    }
}

/// Tells the log of a device that is another account's than before.
fn note_move(txn: &mut Txn<'_>, before: Option<DeviceRow>, account: u32) -> Result<(), Fault> {
    let Some(former) = before.map(|row| row.account).filter(|&of| of != account && of != NO_ACCOUNT) else {
        return Ok(());
    };
    txn.note(What::DeviceMoved, |txn, entry| {
        let id = |txn: &mut Txn<'_>, number| {
            Ok::<_, Fault>(accounts::read_account(txn, number)?.and_then(|row| row.id))
        };
        let user = |txn: &Txn<'_>, number| {
            txn.core.accounts.get(number).and_then(|slot| accounts::user_name(txn, slot.user))
        };
        let from =
            id(txn, former)?.map_or_else(|| "a forgotten account".to_owned(), |id| format!("account {id}"));
        let (account, of, former) = (id(txn, account)?, user(txn, account), user(txn, former));
        Ok(Entry { account, user: of, former, detail: Some(format!("from {from}")), ..entry })
    })
}

/// The row with what memory knows beyond it.
fn newest(txn: &mut Txn<'_>, key: &[u8; 16], row: Option<DeviceRow>) -> Option<DeviceRow> {
    let hint = txn.core.devices.get(index::key(key));
    row.map(|row| match hint {
        Some(hint) if hint.account == row.account && txn.ring.allows(hint.newest) => {
            DeviceRow { since: row.since.max(hint.newest), ..row }
        }
        _ => row,
    })
}

/// The device was added to the account: since then it is there, also if it was before.
pub(crate) fn add_device(
    txn: &mut Txn<'_>,
    device: &DeviceId,
    account: u32,
    at: Option<Millis>,
) -> Result<(), Fault> {
    let key = device_key(device);
    let since = at.unwrap_or_default();
    let row = read_device(txn, &key)?;
    if newest(txn, &key, row).is_none_or(|row| row.since < since) {
        note_move(txn, row, account)?;
        return write_device(txn, &key, DeviceRow { account, since });
    }
    Ok(())
}

/// The device was removed from the account, unless the map has newer word, or the removal is of a link before the present one.
pub(crate) fn forget_device(
    txn: &mut Txn<'_>,
    device: &DeviceId,
    account: u32,
    at: Option<Millis>,
) -> Result<(), Fault> {
    let at = at.unwrap_or(txn.ring.likely);
    let is_of_before = accounts::read_account(txn, account)?.is_some_and(|row| row.tenure.is_of_before(at));
    let key = device_key(device);
    let row = read_device(txn, &key)?;
    let present = newest(txn, &key, row);
    if is_of_before || present.is_some_and(|row| row.account != account || row.since > at) {
        return Ok(());
    }
    // Kept, so that an older event does not bring it back.
    write_device(txn, &key, DeviceRow { account: NO_ACCOUNT, since: at })
}

/// The row of a device, where the time in it may be true: one that is still to come at Ring says nothing.
fn read_device(txn: &mut Txn<'_>, key: &[u8; 16]) -> Result<Option<DeviceRow>, Fault> {
    let Some(row) = device_log::get(&txn.core.device_log, &mut txn.tables, key)? else { return Ok(None) };
    // A damaged row is written anew when the device is next heard of with its account.
    if row.is_err() {
        bump(&txn.shared.stats.damaged);
    }
    let ring = txn.ring;
    let possible = |since| if ring.allows(since) { since } else { Millis(0) };
    Ok(row.ok().map(|row| DeviceRow { since: possible(row.since), ..row }))
}

fn write_device(txn: &mut Txn<'_>, key: &[u8; 16], row: DeviceRow) -> Result<(), Fault> {
    let DeviceRow { account, since } = row;
    if account == NO_ACCOUNT {
        txn.core.devices.remove(index::key(key));
    } else {
        let hint = DeviceHint { account, newest: since, written: since };
        txn.core.devices.insert(index::key(key), hint);
    }
    let most = txn.options.devices_waiting;
    device_log::put(&mut txn.core.device_log, &mut txn.tables, (*key, row), most)
}
