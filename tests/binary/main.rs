//! Tests that start the real binary, or another program.
#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod acme;
mod acts;
mod alerts;
mod audit;
mod backup;
mod certify;
mod check_connect;
mod check_event;
mod check_sense;
mod cli;
mod compact;
mod consumers;
mod crash;
mod damaged_store;
mod demo;
mod description;
mod doctor;
mod exec;
mod fronts;
mod full_disk;
#[cfg(feature = "sink-mqtt")]
mod home_assistant;
mod http_queue;
mod import;
mod inspect;
mod interrupted;
mod key_files;
mod linking;
mod log_lines;
mod metrics;
mod output;
mod partner;
mod paths;
mod pause;
mod privacy;
mod reach;
mod reload;
mod restart;
mod secrets;
mod signals;
mod simulate;
mod sqs_queue;
mod start;
mod status;
mod status_page;
#[path = "../support/mod.rs"]
mod support;
mod tls;
mod tokens_cli;
mod upgrade;
mod watchdog;
