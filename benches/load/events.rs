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

/// Device of an account by its number there, as long as Ring's are.
pub(crate) fn device(account: u64, number: u64) -> String {
    let [a, b, c] = [1, 2, 3].map(|n| mix(account ^ (n << 60) ^ (number << 40)));
    format!("ava1.ring.device.{a:016x}{b:016x}{c:016x}{a:016x}{b:016x}{:08x}", c >> 32)
}

/// The accounts and devices that events are of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Population {
    /// Numbered from 0, each as often as the others, in no order.
    pub(crate) accounts: u64,
    /// Of each account.
    pub(crate) devices: u64,
    /// Of a thousand events, how many are of a new device of these accounts.
    pub(crate) new_devices: u64,
    /// How many are of a new account.
    pub(crate) new_accounts: u64,
    /// How many came before: one of the first [`REPEATED`] of the source.
    pub(crate) repeats: u64,
}

impl Population {
    pub(crate) fn of(accounts: u64, devices: u64) -> Self {
        Self { accounts, devices, new_devices: 0, new_accounts: 0, repeats: 0 }
    }
}

/// How many events of a source are sent before any comes again.
pub(crate) const REPEATED: u64 = 20_000;

/// Makes events; no two of one source are alike, but for those that come again.
pub(crate) struct Events {
    population: Population,
    first: u64,
    next: u64,
    /// When the first of them happened.
    born: u64,
}

impl Events {
    /// Of accounts below `accounts` with a device each. `seed` sets runs against one store apart.
    pub(crate) fn new(accounts: u64, seed: u64) -> Self {
        Self::of(Population::of(accounts, 1), seed)
    }

    pub(crate) fn of(population: Population, seed: u64) -> Self {
        Self { population, first: seed << 40, next: seed << 40, born: clock::now().0 }
    }

    fn made(&mut self, count: usize) -> Requests {
        let mut all = Requests::with_capacity(count, 1100);
        let key = Hmac::<Sha256>::new_from_slice(HMAC_KEY.as_bytes()).expect("HMAC takes keys of any length");
        let mut head = String::new();
        // They happen when they are sent, or nearly so.
        let now = clock::now().0;
        for _ in 0..count {
            let body = self.body(now);
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

    fn body(&mut self, now: u64) -> String {
        self.next += 1;
        let Population { accounts, new_devices, new_accounts, repeats, .. } = self.population;
        let number = self.next;
        // The first come once, whatever the population.
        let dice = if number > self.first + REPEATED { mix(number ^ (1 << 63)) % 1000 } else { 1000 };
        if dice < repeats {
            let number = self.first + 1 + mix(number) % REPEATED;
            return self.event(number, mix(number) % accounts, mix(number), self.born);
        }
        let is_new_device = dice < repeats + new_devices;
        let is_new_account = !is_new_device && dice < repeats + new_devices + new_accounts;
        let account = if is_new_account { number } else { mix(number) % accounts };
        let device = if is_new_device { number } else { mix(number) };
        let born = if number > self.first + REPEATED { now } else { self.born };
        self.event(number, account, device, born)
    }

    /// Event of a number, of an account, of one of its devices or of a new one.
    fn event(&self, number: u64, account_number: u64, device_number: u64, born: u64) -> String {
        let random = mix(number);
        let device_number =
            if device_number == number { number } else { (device_number >> 32) % self.population.devices };
        let (account, device) = (account(account_number), device(account_number, device_number));
        let at = born + number % 1000;
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
