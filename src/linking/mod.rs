//! How an account comes to be linked: a code from Ring's backend, then a browser with a nonce.

pub mod request;
