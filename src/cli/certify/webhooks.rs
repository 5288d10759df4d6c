//! Sends the test event as Ring sends webhooks, and asks the daemon what has come of it.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use hyper::header::CONTENT_TYPE;
use serde::Deserialize;
use serde_json::Value;

use crate::cli::client::{Client as Daemon, encoded};
use crate::cli::doctor::public::Public;
use crate::cli::doctor::reach::send;
use crate::cli::failure::Failure;
use crate::clock;
use crate::domain::certify::{Answer, LIMIT, Landed, code, duplicate, forged, signed};
use crate::domain::doctor::Finding;
use crate::domain::signature::{HEADER, sign};
use crate::domain::status;
use crate::domain::verdict::Verdict;
use crate::http_client::Client;

/// The same event so often, for its times.
const REPEATS: usize = 4;
/// Nobody's key.
const WRONG_KEY: &[u8] = b"ringhookd certify signs a forgery with this";
const MISMATCHES: [Verdict; 5] = [
    Verdict::Forged,
    Verdict::Unproven,
    Verdict::NoSignature,
    Verdict::MalformedSignature,
    Verdict::RepeatedSignature,
];

/// For an answer. Ring's limit is below it, so that a slow one is timed and not only given up.
pub(super) const EACH: Duration = LIMIT.saturating_mul(3);

/// A test event, as the daemon makes it.
#[derive(Debug, Deserialize)]
pub(super) struct TestEvent {
    pub(super) id: String,
    body: String,
    code: String,
}

/// What is sent, where to, and who tells what became of it.
#[derive(Debug)]
pub(super) struct Webhooks<'a> {
    pub(super) client: &'a Client,
    pub(super) daemon: &'a Daemon,
    pub(super) public: &'a Public,
    pub(super) event: &'a TestEvent,
}

/// What `inspect` tells of the test event.
#[derive(Debug, Deserialize)]
struct Known {
    requests: Vec<Noted>,
}

#[derive(Debug, Deserialize)]
struct Noted {
    outcome: String,
    count: u64,
}

impl Webhooks<'_> {
    /// The findings, and how long each answer took. After an event that fails, the others would only say the same.
    pub(super) async fn tried(
        &self,
        path: &str,
        key: &[u8],
        before: &status::Report,
    ) -> Result<(Vec<Finding>, Vec<Duration>), Failure> {
        let body = self.event.body.as_bytes();
        let (good, wrong) = (sign(key, body), sign(WRONG_KEY, body));
        let mut took = Vec::new();
        // Whether the daemon may be asked at all.
        let _: Value = self.daemon.get("/v1/receipts?limit=1").await?;
        let answer = self.post(path, &good, &mut took).await;
        let first = signed(path, &answer, &self.landed(before).await?);
        if answer != Ok(200) || took.iter().any(|took| *took >= LIMIT) {
            return Ok((vec![first], took));
        }
        let mut answer = answer;
        for _ in 0..REPEATS {
            if answer == Ok(200) {
                answer = self.post(path, &good, &mut took).await;
            }
        }
        let again = duplicate(path, &answer, &self.landed(before).await?);
        let answer = self.post(path, &wrong, &mut took).await;
        Ok((vec![first, again, forged(path, &answer, &self.landed(before).await?)], took))
    }

    async fn post(&self, path: &str, signature: &str, took: &mut Vec<Duration>) -> Answer {
        let url = self.public.at(path).ok_or("its address can't be written")?;
        let request = Request::post(url)
            .header(CONTENT_TYPE, "application/json")
            .header(HEADER, signature)
            .body(Full::new(Bytes::from(self.event.body.clone())));
        let began = clock::ticks();
        let answered = send(self.client, request.map_err(|error| error.to_string())?, EACH).await;
        let answered = answered.map(|answered| answered.status);
        if answered.is_ok() {
            took.push(clock::ticks() - began);
        }
        answered
    }

    /// What the daemon has noted since.
    async fn landed(&self, before: &status::Report) -> Result<Landed, Failure> {
        let path = format!("/v1/inspect/{}", encoded(&self.event.id));
        // Where nothing has come it says so by an error.
        let known: Option<Known> = self.daemon.get(&path).await.ok();
        let mut outcomes = BTreeMap::new();
        for Noted { outcome, count } in known.into_iter().flat_map(|known| known.requests) {
            *outcomes.entry(outcome).or_default() += count;
        }
        let now: status::Report = self.daemon.get("/v1/status").await?;
        let of = |report: &status::Report| {
            let count = |verdict| report.status.webhooks.outcomes.get(verdict).copied().unwrap_or_default();
            MISMATCHES.iter().map(count).sum::<u64>()
        };
        Ok(Landed { outcomes, mismatches: of(&now).saturating_sub(of(before)) })
    }

    /// Brings a code that nobody gave to the Token Exchange URL, as Ring brings one.
    pub(super) async fn code(&self, path: &str, can_exchange: bool) -> Finding {
        let answer = async {
            let url = self.public.at(path).ok_or("its address can't be written")?;
            let request = Request::post(url)
                .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(Full::new(Bytes::from(format!("code={}", self.event.code))));
            let answered = send(self.client, request.map_err(|error| error.to_string())?, EACH).await?;
            Ok(answered.status)
        };
        code(path, &answer.await, can_exchange)
    }
}
