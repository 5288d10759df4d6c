//! Ring's part: posts signed events, one in flight per account, and sends each again until it is answered 200.

use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::Duration;

use super::event::{Event, account_name, user_of};
use super::random::Random;
use super::workload::Workload;
use crate::support::http::Client;

/// Accounts that one sender goes around with.
const ACCOUNTS: usize = 4;
/// Ring waits seconds before it sends again; the order of things is the same.
const RETRY_MS: u64 = 20;
const CLAIMS_EVERY: Duration = Duration::from_millis(20);

/// Sends until the workload is quiet. `pace_ms` lies between two events, on average half of it.
pub(crate) fn send(workload: &Workload, mut random: Random, pace_ms: u64) {
    let mut post = Post { workload, client: None };
    let mut accounts: Vec<(u32, u64)> = Vec::new();
    while !workload.is_quiet() {
        let at = usize::try_from(random.below(ACCOUNTS as u64)).unwrap();
        if at >= accounts.len() {
            accounts.push((open(workload, &mut random), 5 + random.below(60)));
            continue;
        }
        let (account, left) = &mut accounts[at];
        let account = *account;
        *left -= 1;
        if *left == 0 {
            accounts.swap_remove(at);
        }
        let event = workload.ledger().sending(account);
        post.until_answered(event, &mut random);
        if random.percent(5) {
            post.until_answered(event, &mut random);
        }
        if random.percent(2) {
            let earlier = u32::try_from(random.below(u64::from(event.n) + 1)).unwrap();
            post.until_answered(Event { account, n: earlier }, &mut random);
        }
        if random.percent(1) {
            post.forge(event);
        }
        sleep(random.ms(pace_ms));
    }
}

/// A new account; half of them are claimed before Ring sends anything.
fn open(workload: &Workload, random: &mut Random) -> u32 {
    let account = workload.ledger().open_account();
    if random.percent(50) {
        claim(workload, account);
    }
    account
}

/// Imports the account's user until that is answered.
pub(crate) fn claim(workload: &Workload, account: u32) {
    workload.ledger().claiming(account);
    let body = user_entry(account);
    while !workload.is_over() {
        let header = "Content-Type: application/json\r\n";
        let answer = Client::unix(&workload.socket)
            .and_then(|mut client| client.send("POST", "/v1/accounts", header, body.as_bytes()));
        match answer {
            Ok((200, text)) => {
                let text = String::from_utf8_lossy(&text);
                assert!(text.contains("\"imported\":1"), "{text}");
                return workload.ledger().claimed(account);
            }
            Ok((500..600, _)) | Err(_) => sleep(Duration::from_millis(5)),
            Ok((status, text)) => {
                let text = String::from_utf8_lossy(&text).into_owned();
                return workload.ledger().complain(&format!("import was answered {status}: {text}"));
            }
        }
    }
}

/// What an import takes: an account with its user, without tokens.
pub(crate) fn user_entry(account: u32) -> String {
    format!(r#"{{"account_id":"{}","user":"{}"}}"#, account_name(account), user_of(account))
}

/// Claims accounts a while after Ring began to send for them, and those that nobody sends for any more.
pub(crate) fn claim_now_and_then(workload: &Workload, mut random: Random) {
    let mut first = 0;
    while !workload.is_quiet() {
        let accounts = workload.ledger().accounts();
        while first < accounts && workload.ledger().is_claimed(first) {
            first += 1;
        }
        for account in first..accounts {
            if random.percent(4) && !workload.ledger().is_claimed(account) {
                claim(workload, account);
            }
        }
        sleep(CLAIMS_EVERY);
    }
}

struct Post<'a> {
    workload: &'a Workload,
    client: Option<Client>,
}

impl Post<'_> {
    fn until_answered(&mut self, event: Event, random: &mut Random) {
        while !self.workload.is_over() {
            let status = self.once(event, &event.signature());
            if let Some(status) = status {
                self.workload.ledger().answered(event, status);
                if !(500..600).contains(&status) {
                    return;
                }
            }
            sleep(random.ms(RETRY_MS));
        }
    }

    /// What another key signed must not come out anywhere.
    fn forge(&mut self, near: Event) {
        let forged = Event { account: near.account, n: near.n + 1_000_000 };
        if let Some(status) = self.once(forged, &near.signature())
            && !matches!(status, 401 | 503)
        {
            self.workload.ledger().complain(&format!("a forgery was answered {status}"));
        }
    }

    fn once(&mut self, event: Event, signature: &str) -> Option<u16> {
        self.workload.tries.fetch_add(1, Ordering::Relaxed);
        let mut client = match self.client.take() {
            Some(client) => client,
            None => Client::tcp(self.workload.address()?).ok()?,
        };
        let (status, _) = client.send("POST", "/webhooks/ring", signature, event.body().as_bytes()).ok()?;
        self.client = Some(client);
        Some(status)
    }
}
