//! What all threads of the harness share: the ledger, where the daemon is now, and when to stop.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use ringhookd::clock;

use super::ledger::{Ledger, Queue};

#[derive(Debug)]
pub(crate) struct Workload {
    ledger: Mutex<Ledger>,
    address: Mutex<Option<SocketAddr>>,
    pub(crate) socket: PathBuf,
    /// When each run was started, as the wall clock has it: its files are not older.
    began: Mutex<Vec<u64>>,
    /// No new events.
    pub(crate) quiet: AtomicBool,
    /// The readers end, too.
    pub(crate) over: AtomicBool,
    pub(crate) tries: AtomicU64,
    leases: AtomicU64,
}

impl Workload {
    pub(crate) fn new(queues: &[Queue], socket: PathBuf) -> Self {
        Self {
            ledger: Mutex::new(Ledger::new(queues)),
            address: Mutex::new(None),
            socket,
            began: Mutex::default(),
            quiet: AtomicBool::new(false),
            over: AtomicBool::new(false),
            tries: AtomicU64::new(0),
            leases: AtomicU64::new(0),
        }
    }

    /// The ledger; poisoned by a thread that failed, whose panic says more.
    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap()
    }

    pub(crate) fn begin_run(&self) {
        *self.address.lock().unwrap() = None;
        let mut began = self.began.lock().unwrap();
        self.ledger().begin_run();
        began.push(clock::now().0);
    }

    /// The run that was on at this time of the wall clock.
    pub(crate) fn run_at(&self, ms: u64) -> u32 {
        let began = self.began.lock().unwrap();
        u32::try_from(began.partition_point(|&at| at <= ms)).unwrap()
    }

    pub(crate) fn set_address(&self, address: SocketAddr) {
        *self.address.lock().unwrap() = Some(address);
    }

    pub(crate) fn address(&self) -> Option<SocketAddr> {
        *self.address.lock().unwrap()
    }

    pub(crate) fn next_lease(&self) -> u64 {
        self.leases.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet.load(Ordering::Relaxed)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

/// Makes the readers end when the supervisor's part of a scope does, by a panic too.
pub(crate) struct EndOnDrop<'a>(pub(crate) &'a Workload);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.quiet.store(true, Ordering::Relaxed);
        self.0.over.store(true, Ordering::Relaxed);
    }
}
