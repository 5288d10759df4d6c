//! Claims among many accounts that nobody has claimed: looking for a nonce, and the whole claim with what Ring is told.

use std::error::Error;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use ringhookd::clock;
use ringhookd::daemon::Daemon;
use ringhookd::domain::nonce::Nonces;
use ringhookd::domain::tokens::{ACCESS_LIFE, Pair, Span};
use ringhookd::domain::visit::Visit;
use ringhookd::sim::{Options, Ring};
use ringhookd::store::Import;

use super::Bench;
use crate::load::events::{HMAC_KEY, account};
use crate::report::Figure;
use crate::stores::due::ring_settings;
use crate::stores::{config, import_with, make, open};

/// Visits that nobody is found with, and such as are claimed.
const MISSES: usize = 300;
const CLAIMS: u64 = 200;

/// Among so many unclaimed accounts.
pub(crate) fn among(bench: &mut Bench, folder: &Path, accounts: u64) -> Result<(), Box<dyn Error>> {
    make(folder)?;
    let ring = Ring::start(Options { hmac_key: HMAC_KEY.into(), rate: None, ..Options::default() })?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // A store that has tokens before its guard folder saw it would be taken for an older copy.
    let first = runtime.block_on(Daemon::start(config(folder)?))?;
    runtime.block_on(first.stop());
    fill(&runtime, folder, &ring, accounts)?;
    ring_settings(folder, &ring.address().to_string(), 90)?;
    let daemon = runtime.block_on(Daemon::start(config(folder)?))?;
    let socket = folder.join("admin.sock");

    let bare = bare(accounts);
    let nobody = |n: u64| (format!("{:0>43}", "A"), (clock::now().0 - n).to_string());
    let mut misses =
        (0..MISSES as u64).map(|n| timed(&socket, &nobody(n), "no_match")).collect::<Result<Vec<_>, _>>()?;
    report(bench, &format!("claims: no match among {accounts}, over its HMACs alone"), &mut misses, bare);
    // Spread over all of them.
    let mut claims = Vec::new();
    for n in 0..CLAIMS {
        let visit = ring.visit(&account(n * (accounts / CLAIMS))).ok_or("no such link")?;
        claims.push(timed(&socket, &(visit.nonce, visit.time), "linked")?);
    }
    report(bench, &format!("claims: a claim among {accounts}, POST and PATCH included"), &mut claims, bare);
    runtime.block_on(daemon.stop());
    Ok(())
}

fn fill(
    runtime: &tokio::runtime::Runtime,
    folder: &Path,
    ring: &Ring,
    accounts: u64,
) -> Result<(), Box<dyn Error>> {
    let store = open(folder)?;
    let span = Span::from_now(clock::now(), ACCESS_LIFE);
    let mut imports = Vec::new();
    for number in 0..accounts {
        let given = ring.add_account(&account(number));
        let pair = Pair::of(Some(&given.access), &given.refresh);
        imports.push(Import { user: None, ..import_with(number, pair, span)? });
    }
    runtime.block_on(store.fill_accounts(imports))?;
    store.close();
    Ok(())
}

/// What the comparisons alone take, in microseconds.
fn bare(accounts: u64) -> f64 {
    let ids: Vec<String> = (0..accounts).map(account).collect();
    let nonces = Nonces::new([HMAC_KEY.as_bytes()]);
    let visit = Visit::new(&format!("{:0>43}", "A"), "1700000000000");
    let Ok(matcher) = visit.map(|visit| nonces.of(&visit)) else { return f64::NAN };
    let began = clock::instant();
    let found = ids.iter().filter(|id| matcher.matches(id)).count();
    let took = began.elapsed().as_secs_f64() * 1e6;
    if found == 0 { took } else { f64::NAN }
}

/// How long one claim takes, in microseconds.
fn timed(socket: &Path, (nonce, time): &(String, String), outcome: &str) -> Result<f64, Box<dyn Error>> {
    let body = serde_json::json!({ "nonce": nonce, "time": time, "user": "ann" }).to_string();
    let length = body.len();
    let request = format!(
        "POST /v1/claims HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    let mut stream = UnixStream::connect(socket)?;
    let began = clock::instant();
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let took = began.elapsed();
    if !answer.contains(&format!("\"outcome\":\"{outcome}\"")) {
        return Err(format!("{outcome} was due: {answer}").into());
    }
    Ok(took.as_secs_f64() * 1e6)
}

fn report(bench: &mut Bench, name: &str, times: &mut [f64], bare: f64) {
    times.sort_by(f64::total_cmp);
    let (p50, p99) = (times[times.len() / 2], times[times.len() * 99 / 100]);
    let from = format!("p50 {p50:.0} µs, p99 {p99:.0} µs, of {}; the HMACs alone {bare:.0} µs", times.len());
    bench.report.add(Figure { name: name.to_owned(), value: p50 / bare, unit: "", from, goal: None });
}
