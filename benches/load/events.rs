//! Signed events, all distinct, and requests for tokens; made before they are needed.

use std::fmt::Write;

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use ringhookd::clock;
use sha2::Sha256;

/// The key that the servers are given.
pub(crate) const HMAC_KEY: &str = "a-made-up-key-for-benches";
pub(crate) const PATH: &str = "/webhooks/ring";

/// Account of a number, as long as Ring's are.
pub(crate) fn account(number: u64) -> String {
    format!("ava1.ring.account.{:016x}{:016x}", mix(number), mix(!number))
}

/// Device of an account, as long as Ring's are.
pub(crate) fn device(account: u64) -> String {
    let [a, b, c] = [1, 2, 3].map(|n| mix(account ^ (n << 60)));
    format!("ava1.ring.device.{a:016x}{b:016x}{c:016x}{a:016x}{b:016x}{:08x}", c >> 32)
}

/// Makes events; no two of one source are alike.
pub(crate) struct Events {
    accounts: u64,
    next: u64,
    /// When they happen, or up to a second later.
    born: u64,
}

impl Events {
    /// Of accounts below `accounts`, each as often as the others, in no order. `seed` sets runs against one store apart.
    pub(crate) fn new(accounts: u64, seed: u64) -> Self {
        Self { accounts, next: seed << 40, born: clock::now().0 }
    }

    fn made(&mut self, count: usize) -> Requests {
        let mut all = Requests::with_capacity(count, 1100);
        let key = Hmac::<Sha256>::new_from_slice(HMAC_KEY.as_bytes()).expect("HMAC takes keys of any length");
        let mut head = String::new();
        for _ in 0..count {
            let body = self.body();
            let signature = key.clone().chain_update(&body).finalize().into_bytes();
            head.clear();
            let written = write!(
                head,
                "POST {PATH} HTTP/1.1\r\nHost: hooks.example.com\r\nContent-Type: application/json\r\n\
                 X-Signature: sha256={}\r\nContent-Length: {}\r\n\r\n",
                HEXLOWER.encode(&signature),
                body.len()
            );
            written.expect("a string takes all text");
            all.push(&[head.as_bytes(), body.as_bytes()]);
        }
        all
    }

    fn body(&mut self) -> String {
        self.next += 1;
        let (number, random) = (self.next, mix(self.next));
        let account_number = random % self.accounts;
        let (account, device) = (account(account_number), device(account_number));
        let at = self.born + number % 1000;
        let id = format!(
            "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
            random >> 32,
            number >> 48,
            random & 0xfff,
            random >> 12 & 0xfff,
            number & 0xffff_ffff_ffff
        );
        format!(
            r#"{{"meta":{{"version":"1.1","time":"2026-09-21T14:13:20.123456789Z","request_id":"{id}","account_id":"{account}"}},"data":{{"id":"{device}_human_{at}","type":"motion_detected","subType":"human","attributes":{{"source":"{device}","source_type":"devices","timestamp":{at}}},"relationships":{{"devices":{{"data":[{{"type":"devices","id":"{device}"}}]}}}}}}}}"#
        )
    }
}

/// What a client sends.
pub(crate) trait Source {
    /// `count` whole requests.
    fn requests(&mut self, count: usize) -> Requests;
}

impl Source for Events {
    fn requests(&mut self, count: usize) -> Requests {
        self.made(count)
    }
}

/// Asks for tokens, of accounts below a number in no order.
pub(crate) struct Loans {
    accounts: u64,
    next: u64,
}

impl Loans {
    pub(crate) fn of(accounts: u64) -> Self {
        Self { accounts, next: 0 }
    }
}

impl Source for Loans {
    fn requests(&mut self, count: usize) -> Requests {
        let mut all = Requests::with_capacity(count, 120);
        for _ in 0..count {
            self.next += 1;
            let account = account(mix(self.next) % self.accounts);
            let head = format!(
                "POST /v1/accounts/{account}/token HTTP/1.1\r\nHost: ringhookd\r\nContent-Length: 0\r\n\r\n"
            );
            all.push(&[head.as_bytes()]);
        }
        all
    }
}

/// Requests in one piece of memory, handed out once each.
pub(crate) struct Requests {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    at: usize,
}

impl Requests {
    /// None yet; room for `count`, of `bytes` each.
    fn with_capacity(count: usize, bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(count * bytes), ends: Vec::with_capacity(count), at: 0 }
    }

    fn push(&mut self, pieces: &[&[u8]]) {
        self.bytes.extend(pieces.iter().copied().flatten());
        self.ends.push(self.bytes.len());
    }

    pub(crate) fn next(&mut self) -> Option<&[u8]> {
        let end = *self.ends.get(self.at)?;
        let start = self.at.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.at += 1;
        Some(&self.bytes[start..end])
    }

    pub(crate) fn left(&self) -> usize {
        self.ends.len() - self.at
    }
}

/// A number that looks random: splitmix64's last step, a bijection.
pub(crate) fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
