//! What the writer keeps in memory of the file: rebuilt by `load`, thrown away whenever a transaction fails.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use super::device_log::DeviceLog;
use super::freshness::Freshness;
use super::index::Accounts;
use super::options::QueueSpec;
use super::recent::Recent;
use super::seen::SeenIndex;
use crate::domain::act::Kind;
use crate::domain::ids::QueueName;
use crate::domain::time::Millis;
use crate::store::rows::aside::AsideKey;
use crate::store::rows::chunk::Chunk;
use crate::store::rows::ids::IdRow;
use crate::store::rows::receipt::Steps;
use crate::vault::DataKey;

/// Opened data keys that are kept at hand, and up to twice as many: about 600 bytes each, 38 MiB at most.
const KEYS_AT_HAND: usize = 1 << 15;
/// Devices whose account is known to be on disk, and up to twice as many: 35 to 60 bytes each, 60 MiB at most.
const DEVICES_AT_HAND: usize = 1 << 19;

/// How far one chunk is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChunkState {
    pub count: u32,
    /// (Event, queue) pairs in it.
    pub pairs: u32,
    /// Those of them that are not done.
    pub live: u32,
    pub bytes: u32,
    /// When it was accepted, in seconds.
    pub at: u32,
}

/// Number and size of a kind of records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Total {
    pub events: u64,
    pub bytes: u64,
}

impl Total {
    pub(crate) fn add(&mut self, bytes: u64) {
        self.events += 1;
        self.bytes += bytes;
    }

    pub(crate) fn sub(&mut self, bytes: u64) {
        self.events = self.events.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// An event that waits for its account to be claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HeldEvent {
    pub account: u32,
    pub bytes: u32,
    pub at: u32,
}

/// Whose a device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DeviceHint {
    pub account: u32,
    /// The newest event that says so, by Ring's time.
    pub newest: Millis,
    /// What is on disk of that.
    pub written: Millis,
}

/// Tokens that a code brought to an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CodeTokens {
    pub account: u32,
    /// When the code came, at Ring.
    pub came: Millis,
    pub given_at: Millis,
}

/// The rows of receipts.
#[derive(Debug, Default)]
pub(crate) struct Receipts {
    /// The oldest row, and the one that comes next.
    pub first: u64,
    pub next: u64,
    pub bytes: u64,
    /// What the transaction has noted and not written yet; empty between two.
    pub steps: Steps,
    /// Accounts whose receipts are to be erased, and how far that is.
    pub erasing: BTreeSet<u32>,
    pub erased_to: u64,
}

/// The rows of acts.
#[derive(Debug, Default)]
pub(crate) struct Acts {
    pub next: u64,
    /// By kind.
    pub bytes: [u64; Kind::ALL.len()],
}

/// The writer's memory.
#[derive(Debug)]
pub(crate) struct Core {
    pub next_seq: u64,
    pub accounts: Accounts,
    pub freshness: Freshness,
    pub seen: SeenIndex,
    /// The newest row of ids, which grows.
    pub tail: IdRow,
    pub tail_number: u64,
    pub oldest_row: u64,
    /// When the oldest remembered id came.
    pub oldest_at: Millis,
    pub chunks: BTreeMap<u64, ChunkState>,
    pub log_bytes: u64,
    /// Sequence to event, so that the oldest of all is found.
    pub held: BTreeMap<u64, HeldEvent>,
    pub held_by_account: HashMap<u32, Total>,
    pub held_bytes: u64,
    /// Accounts without a key of which events may be left.
    pub forgotten: BTreeMap<u32, Leaving>,
    /// By class, as the rows of `off_queue` name it.
    pub letters: [Total; 3],
    pub parked_bytes: u64,
    pub receipts: Receipts,
    pub acts: Acts,
    /// Where the search for chunks worth cleaning goes on.
    pub clean_from: u64,
    /// Fingerprint of a device to its account: so that most events cost no look-up and no write on disk.
    pub devices: Recent<u64, DeviceHint>,
    /// The account whose app is removed that was looked at last.
    pub removed_from: u32,
    /// What was written of devices and is not in their table yet.
    pub device_log: DeviceLog,
    /// When tombstones that are too old were looked for last.
    pub tombstones_cleaned_at: Millis,
    /// Tokens of codes whose account became known last.
    pub lately: VecDeque<CodeTokens>,
    /// The configured queues by number.
    pub routes: Vec<(u16, QueueSpec)>,
    /// Of the refresh journal, the highest that was ever noted.
    pub epoch: u64,
    /// Accounts whose refresh is under way: its fence, and until when nobody else may begin one.
    pub refreshing: HashMap<u32, (u64, Millis)>,
    /// When codes that are too old were looked for last.
    pub codes_cleaned_at: Millis,
    /// The chunk that a transaction collects; empty between two.
    pub chunk: Chunk,
    /// Room for an event before it is sealed.
    pub plain: Vec<u8>,
    keys: Recent<u32, Arc<DataKey>>,
}

/// How far the events of a forgotten account have left.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Leaving {
    /// When it was forgotten; 0 where a restart found it.
    pub since: Millis,
    /// The dead letter that was looked at last.
    pub letter: Option<AsideKey>,
    /// How many dead letters of it have left.
    pub dead_letters: u64,
}

impl Core {
    /// The names of configured queues.
    pub(crate) fn queue_names<'a>(&'a self, numbers: &'a [u16]) -> impl Iterator<Item = QueueName> + 'a {
        let wanted = self.routes.iter().filter(|(number, _)| numbers.contains(number));
        wanted.map(|(_, spec)| spec.name.clone())
    }

    pub(crate) fn new() -> Self {
        Self {
            next_seq: 1,
            accounts: Accounts::new(),
            freshness: Freshness::default(),
            seen: SeenIndex::new(),
            tail: IdRow::default(),
            tail_number: 1,
            oldest_row: 1,
            oldest_at: Millis(0),
            chunks: BTreeMap::new(),
            log_bytes: 0,
            held: BTreeMap::new(),
            held_by_account: HashMap::new(),
            held_bytes: 0,
            forgotten: BTreeMap::new(),
            letters: [Total::default(); 3],
            parked_bytes: 0,
            receipts: Receipts::default(),
            acts: Acts::default(),
            clean_from: 0,
            devices: Recent::new(DEVICES_AT_HAND),
            removed_from: 0,
            device_log: DeviceLog::default(),
            tombstones_cleaned_at: Millis(0),
            lately: VecDeque::new(),
            routes: Vec::new(),
            epoch: 0,
            refreshing: HashMap::new(),
            codes_cleaned_at: Millis(0),
            chunk: Chunk::default(),
            plain: Vec::new(),
            keys: Recent::new(KEYS_AT_HAND),
        }
    }

    /// Everything kept, as `max_bytes` counts it.
    pub(crate) fn kept_bytes(&self) -> u64 {
        self.log_bytes + self.aside_bytes()
    }

    pub(crate) fn aside_bytes(&self) -> u64 {
        self.held_bytes + self.parked_bytes + self.letters.iter().map(|t| t.bytes).sum::<u64>()
    }

    /// The chunk that holds a sequence, by its first.
    pub(crate) fn chunk_of(&self, seq: u64) -> Option<u64> {
        let (&first, chunk) = self.chunks.range(..=seq).next_back()?;
        (seq < first + u64::from(chunk.count)).then_some(first)
    }

    pub(crate) fn hold(&mut self, seq: u64, event: HeldEvent) {
        let bytes = u64::from(event.bytes);
        self.held.insert(seq, event);
        self.held_by_account.entry(event.account).or_default().add(bytes);
        self.held_bytes += bytes;
    }

    pub(crate) fn unhold(&mut self, seq: u64) -> Option<HeldEvent> {
        let event = self.held.remove(&seq)?;
        let bytes = u64::from(event.bytes);
        self.held_bytes -= bytes;
        if let Some(total) = self.held_by_account.get_mut(&event.account) {
            total.sub(bytes);
            if total.events == 0 {
                self.held_by_account.remove(&event.account);
            }
        }
        Some(event)
    }

    pub(crate) fn key_at_hand(&mut self, account: u32) -> Option<Arc<DataKey>> {
        self.keys.get(account)
    }

    pub(crate) fn keep_key(&mut self, account: u32, key: Arc<DataKey>) {
        self.keys.insert(account, key);
    }

    pub(crate) fn drop_key(&mut self, account: u32) {
        self.keys.remove(account);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::{Purpose, Vault};

    fn hint(account: u32) -> DeviceHint {
        DeviceHint { account, newest: Millis(2), written: Millis(1) }
    }

    #[test]
    fn twenty_thousand_accounts_with_three_devices_each_stay_at_hand() {
        let vault = Vault::from_hex("ab".repeat(32).as_bytes(), None).unwrap();
        let (key, _) = vault.fresh_key(1, Purpose::Events).unwrap();
        let (key, mut core) = (Arc::new(key), Core::new());
        for account in 0..20_000 {
            core.keep_key(account, Arc::clone(&key));
            for device in 0..3 {
                core.devices.insert(u64::from(account) << 2 | device, hint(account));
            }
        }
        for account in 0..20_000 {
            assert!(core.key_at_hand(account).is_some(), "{account}");
            for device in 0..3 {
                assert_eq!(core.devices.get(u64::from(account) << 2 | device), Some(hint(account)));
            }
        }
    }
}
