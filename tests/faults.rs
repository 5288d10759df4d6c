//! Faults below the store: failing calls, power cuts, damage, full disks, and long times.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

mod faults {
    pub(crate) mod calls;
    pub(crate) mod crash;
    pub(crate) mod damage;
    pub(crate) mod disk;
    pub(crate) mod growth;
    pub(crate) mod ledger;
    pub(crate) mod model;
    pub(crate) mod rng;
    pub(crate) mod world;
}

use faults::{disk, ledger, rng, world};
