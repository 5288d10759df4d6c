//! The wait of a webhook while the store's file is compacted, over its wait without.

use std::error::Error;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::{ACCOUNTS, Bench};
use crate::load::events::{Requests, Source};
use crate::load::{Client, Round};
use crate::report::Figure;
use crate::servers::{Role, Server};
use crate::stores::{self, Content};

const CONNECTIONS: usize = 8;
/// What a compaction has to copy, beside the events of the rounds before.
const IDS: u64 = 500_000;
/// Each of two halves. With the making of the store it takes less than 20 s.
const ROUNDS: usize = 3;
const SPAN: Duration = Duration::from_secs(2);
/// A round ends early when they run out.
const REQUESTS: usize = 60_000;

/// Rounds without and with compaction alternate, against one daemon.
pub(crate) fn beside_compaction(bench: &mut Bench, folder: &Path) -> Result<(), Box<dyn Error>> {
    stores::make(folder)?;
    stores::add(folder, Content { accounts: ACCOUNTS, ids: IDS, ..Content::default() })?;
    let server = Server::start(Role::Durable, folder)?;
    let mut client = Client::connect(&server.address, CONNECTIONS)?;
    let mut events = bench.events(ACCOUNTS);
    client.run(&mut events.requests(REQUESTS / 10), SPAN)?;
    let (mut without, mut with, done) = (Round::default(), Round::default(), AtomicUsize::new(0));
    for _ in 0..ROUNDS {
        add(&mut without, client.run(&mut events.requests(REQUESTS), SPAN)?)?;
        let mut requests = events.requests(REQUESTS);
        add(&mut with, compacting(folder, &mut client, &mut requests, &done)?)?;
    }
    let done = done.into_inner();
    if done == 0 {
        return Err("no compaction ended".into());
    }
    for (what, share) in [("p50", 0.5), ("p99", 0.99), ("longest", 1.0)] {
        let (ours, theirs) = (wait(&mut with, share), wait(&mut without, share));
        let name = format!("compaction: {what} wait with / without");
        let from = format!("{:.2} ms over {:.2} ms; {done} compactions", ours / 1000.0, theirs / 1000.0);
        bench.report.add(Figure { name, value: ours / theirs, unit: "", from, goal: None });
    }
    server.stop()
}

/// In microseconds.
fn wait(round: &mut Round, share: f64) -> f64 {
    let longest = round.latencies.iter().max().map_or(f64::NAN, |&ns| ns as f64 / 1000.0);
    if share < 1.0 { round.percentile(share) } else { longest }
}

fn add(all: &mut Round, one: Round) -> Result<(), Box<dyn Error>> {
    if one.refused > 0 || one.answers == 0 {
        return Err(format!("{} answers, {} others were not 200", one.answers, one.refused).into());
    }
    all.latencies.extend(one.latencies);
    Ok(())
}

/// A round during which one compaction follows another.
fn compacting(
    folder: &Path,
    client: &mut Client,
    requests: &mut Requests,
    done: &AtomicUsize,
) -> Result<Round, Box<dyn Error>> {
    let over = AtomicBool::new(false);
    thread::scope(|threads| {
        let compacting = threads.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                compact(&folder.join("admin.sock")).map_err(|error| error.to_string())?;
                done.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<_, String>(())
        });
        let round = client.run(requests, SPAN);
        over.store(true, Ordering::Relaxed);
        compacting.join().map_err(|_| "the thread that compacts panicked")??;
        Ok(round?)
    })
}

/// Resolves once it has ended.
fn compact(socket: &Path) -> Result<(), Box<dyn Error>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.write_all(
        b"POST /v1/compact HTTP/1.1\r\nHost: bench\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if answer.contains("\"after\"") { Ok(()) } else { Err(answer.into()) }
}
