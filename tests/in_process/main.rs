//! Tests of the library in this process, and of what stands in the repository. None starts a process: a child that is being
//! started holds the lock of a store for a moment.
#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod admin;
mod claims;
mod cloudevents;
mod compaction;
mod config;
mod dashboard;
mod devices;
mod dispatcher;
mod exports;
mod faults;
mod fixtures;
mod freshness;
mod full_house;
mod hanging_disk;
mod imports;
mod links;
mod moved_file;
mod pause;
mod reference;
mod refresh;
mod retention;
mod sinks;
mod store;
#[path = "../support/mod.rs"]
mod support;
mod systemd;
mod tidy;
mod token_service;
mod tokens;
mod webhooks;
mod whole;
