//! ringhookd: receives Ring's signed webhooks durably and routes each event to the user whose account it is.
//!
//! ARCHITECTURE.md is the map: the rooms, the two flows and the invariants.

pub mod access;
pub mod acme;
pub mod admin;
pub mod cli;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod delivery;
pub mod domain;
pub mod failpoint;
pub mod http;
pub mod http_client;
pub mod intake;
pub mod linking;
pub mod live;
pub mod logging;
pub mod outbound;
pub mod randomness;
pub mod requests;
pub mod ring_api;
pub mod sim;
pub mod store;
pub mod telemetry;
pub mod test_events;
pub mod tls;
pub mod tokens;
pub mod vault;
