//! Faults below the store: failing calls, power cuts, damage, full disks, and long times.

mod calls;
mod crash;
mod damage;
mod growth;
mod harness;
mod ledger;
mod model;
mod visible;
