//! A simulated disk: what was synced, what is only cached, calls that fail on demand, and images of a power cut.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use redb::StorageBackend;

use crate::support::rng::Rng;

const PAGE: usize = 4096;
const SECTOR: usize = 512;

type Page = Arc<[u8; PAGE]>;

/// The content of a file in pages that copies share.
#[derive(Debug, Clone, Default)]
pub(crate) struct Image {
    pages: Vec<Option<Page>>,
    len: u64,
}

impl Image {
    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        let mut image = Self::default();
        image.write(0, bytes);
        image
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![0; usize::try_from(self.len).unwrap()];
        self.read(0, &mut out);
        out
    }

    pub(crate) fn flip(&mut self, offset: u64, bit: u8) {
        let mut byte = [0];
        self.read(offset, &mut byte);
        byte[0] ^= 1 << bit;
        self.write(offset, &byte);
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> bool {
        let mut at = usize::try_from(offset).unwrap();
        if offset + out.len() as u64 > self.len {
            return false;
        }
        let mut rest = out;
        while !rest.is_empty() {
            let (page, within) = (at / PAGE, at % PAGE);
            let (now, later) = rest.split_at_mut(rest.len().min(PAGE - within));
            match self.pages.get(page).and_then(Option::as_ref) {
                Some(page) => now.copy_from_slice(&page[within..within + now.len()]),
                None => now.fill(0),
            }
            at += now.len();
            rest = later;
        }
        true
    }

    /// Writes; the file grows when it must, as it does where only the change of its length was lost.
    fn write(&mut self, offset: u64, data: &[u8]) {
        self.len = self.len.max(offset + data.len() as u64);
        self.pages.resize(usize::try_from(self.len).unwrap().div_ceil(PAGE), None);
        let mut at = usize::try_from(offset).unwrap();
        let mut rest = data;
        while !rest.is_empty() {
            let (page, within) = (at / PAGE, at % PAGE);
            let (now, later) = rest.split_at(rest.len().min(PAGE - within));
            let page = self.pages[page].get_or_insert_with(|| Arc::new([0; PAGE]));
            Arc::make_mut(page)[within..within + now.len()].copy_from_slice(now);
            at += now.len();
            rest = later;
        }
    }

    fn set_len(&mut self, len: u64) {
        self.len = len;
        let end = usize::try_from(len).unwrap();
        self.pages.resize(end.div_ceil(PAGE), None);
        if let (Some(Some(last)), 1..) = (self.pages.last_mut(), end % PAGE) {
            Arc::make_mut(last)[end % PAGE..].fill(0);
        }
    }

    pub(crate) fn apply_all(&mut self, changes: &[Change]) {
        for change in changes {
            self.apply(change);
        }
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Write(offset, data) => self.write(*offset, data),
            Change::SetLen(len) => self.set_len(*len),
            Change::Sync => {}
        }
    }
}

/// One step of what the disk was told.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    Write(u64, Vec<u8>),
    SetLen(u64),
    Sync,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Read,
    Write,
    Sync,
    SetLen,
}

/// Which calls fail.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fault {
    /// The `at`-th call counts from 0, over all of `kinds`.
    pub(crate) at: usize,
    pub(crate) kinds: &'static [Kind],
    /// How many calls fail from there on.
    pub(crate) times: usize,
    pub(crate) full: bool,
    /// Of a failed sync: how likely each write since the last one is lost, while the cache goes on showing it.
    pub(crate) lost: Option<f64>,
}

#[derive(Debug, Default)]
struct State {
    cached: Image,
    durable: Image,
    /// Since the last sync.
    pending: Vec<Change>,
    /// Everything with the epoch it happened in, while recorded.
    log: Option<Vec<(usize, Change)>>,
    epoch: usize,
    fault: Option<Fault>,
    calls: usize,
    failed: usize,
    rng: Rng,
}

/// A disk with one file. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk(Arc<Mutex<State>>);

impl Disk {
    pub(crate) fn holding(image: Image) -> Self {
        let disk = Self::default();
        disk.state().cached = image.clone();
        disk.state().durable = image;
        disk
    }

    pub(crate) fn fail(&self, fault: Fault) {
        let mut state = self.state();
        state.fault = Some(fault);
        state.calls = 0;
        state.failed = 0;
    }

    pub(crate) fn heal(&self) {
        self.state().fault = None;
    }

    /// How many calls failed since [`Disk::fail`].
    pub(crate) fn failed(&self) -> usize {
        self.state().failed
    }

    pub(crate) fn seed(&self, seed: u64) {
        self.state().rng = Rng(seed);
    }

    pub(crate) fn record(&self) {
        self.state().log = Some(Vec::new());
    }

    pub(crate) fn recorded(&self) -> Vec<(usize, Change)> {
        self.state().log.take().unwrap_or_default()
    }

    pub(crate) fn set_epoch(&self, epoch: usize) {
        self.state().epoch = epoch;
    }

    /// What a power cut leaves when nothing is written that was not synced.
    pub(crate) fn durable(&self) -> Image {
        self.state().durable.clone()
    }

    pub(crate) fn cached(&self) -> Image {
        self.state().cached.clone()
    }

    pub(crate) fn size(&self) -> u64 {
        self.state().cached.len
    }

    /// The page cache forgets: what is read next is what lies on the disk.
    pub(crate) fn drop_cache(&self) {
        let mut state = self.state();
        state.cached = state.durable.clone();
        state.pending.clear();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl State {
    fn call(&mut self, kind: Kind) -> io::Result<()> {
        let Some(fault) = self.fault else { return Ok(()) };
        if !fault.kinds.contains(&kind) {
            return Ok(());
        }
        let number = self.calls;
        self.calls += 1;
        if number < fault.at || number - fault.at >= fault.times {
            return Ok(());
        }
        self.failed += 1;
        if let (Kind::Sync, Some(lost)) = (kind, fault.lost) {
            // The kernel marks the pages clean although they never reached the disk.
            for change in std::mem::take(&mut self.pending) {
                if !self.rng.chance(lost) {
                    self.durable.apply(&change);
                }
            }
        }
        Err(if fault.full { io::ErrorKind::StorageFull.into() } else { io::Error::from_raw_os_error(5) })
    }

    fn change(&mut self, change: Change) {
        self.cached.apply(&change);
        if matches!(change, Change::Sync) {
            for pending in std::mem::take(&mut self.pending) {
                self.durable.apply(&pending);
            }
        } else {
            self.pending.push(change.clone());
        }
        let epoch = self.epoch;
        if let Some(log) = &mut self.log {
            log.push((epoch, change));
        }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().cached.len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut state = self.state();
        state.call(Kind::Read)?;
        if state.cached.read(offset, out) { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state();
        state.call(Kind::SetLen)?;
        state.change(Change::SetLen(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.state();
        state.call(Kind::Sync)?;
        state.change(Change::Sync);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        if let Err(error) = state.call(Kind::Write) {
            // A write that fails may have got half way.
            let half = data.len() / 2;
            state.change(Change::Write(offset, data[..half].to_vec()));
            return Err(error);
        }
        state.change(Change::Write(offset, data.to_vec()));
        Ok(())
    }
}

/// What a power cut leaves of `durable` and the changes since: each is kept with probability `keep`, a write maybe in
/// part, and in any order.
pub(crate) fn crash_image(durable: &Image, since: &[Change], keep: f64, rng: &mut Rng) -> Image {
    let mut image = durable.clone();
    let mut kept: Vec<&Change> = since.iter().filter(|_| rng.chance(keep)).collect();
    if rng.chance(0.5) {
        rng.shuffle(&mut kept);
    }
    for change in kept {
        match change {
            Change::Write(offset, data) if rng.chance(0.2) => {
                let mut start = 0;
                for sector in data.chunks(SECTOR) {
                    if rng.chance(0.5) {
                        image.write(offset + start, sector);
                    }
                    start += sector.len() as u64;
                }
            }
            change => image.apply(change),
        }
    }
    image
}
