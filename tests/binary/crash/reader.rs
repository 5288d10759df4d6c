//! Readers of queues: of embedded ones through the admin socket, of spooled ones through their folder.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, UNIX_EPOCH};

use ringhookd::clock;
use serde_json::{Value, json};

use super::event::{Event, Seen};
use super::ledger::Ledger;
use super::line::Holder;
use super::random::Random;
use super::workload::Workload;
use crate::support::http::Client;

const PAUSE: Duration = Duration::from_millis(5);
/// Longer than a lease is ever held here.
const LASTS: Duration = Duration::from_mins(10);
/// Soon, since the end of the test waits for it.
const DIES_AFTER: Duration = Duration::from_secs(1);

/// Leases and settles events of one queue until the workload is over.
pub(crate) fn lease(workload: &Workload, queue: usize, name: &str, mut random: Random) {
    while !workload.is_over() {
        let run = workload.ledger().run();
        let client = Client::unix(&workload.socket);
        // The same before and after, so that the connection is to this run's daemon.
        let (Ok(client), true) = (client, workload.ledger().run() == run) else {
            sleep(PAUSE);
            continue;
        };
        let reader = Reader { workload, queue, name, run, client };
        // The connection is dead, and so is the daemon.
        if reader.serve(&mut random).is_none() {
            sleep(PAUSE);
        }
    }
}

struct Reader<'a> {
    workload: &'a Workload,
    queue: usize,
    name: &'a str,
    run: u32,
    client: Client,
}

struct Leased {
    id: Value,
    holder: Holder,
    /// With their sequence numbers.
    events: Vec<(u64, Event)>,
}

impl Reader<'_> {
    fn serve(mut self, random: &mut Random) -> Option<()> {
        while !self.workload.is_over() {
            let max = 1 + random.below(80);
            if random.percent(3) {
                self.lease_and_die(max)?;
                continue;
            }
            let answer = self.lease(max, LASTS)?;
            let leased = self.note(&mut self.workload.ledger(), &answer);
            if leased.events.is_empty() {
                continue;
            }
            if random.percent(10) {
                self.settle_some(&leased, random)?;
            } else {
                self.settle(&leased, &leased.events, &json!([]), &[])?;
            }
        }
        Some(())
    }

    /// Takes a lease and lets it run out. What came is noted only if nobody else can have it yet: after that, which of the
    /// two holders the harness hears of first says nothing.
    fn lease_and_die(&mut self, max: u64) -> Option<()> {
        let asked = clock::instant();
        let answer = self.lease(max, DIES_AFTER)?;
        let mut ledger = self.workload.ledger();
        if asked.elapsed() < DIES_AFTER {
            let leased = self.note(&mut ledger, &answer);
            let events: Vec<Event> = leased.events.iter().map(|(_, event)| *event).collect();
            ledger.giving_back(self.queue, leased.holder, &events);
        }
        Some(())
    }

    /// Nothing when the daemon is gone, no events in the answer when none wait.
    fn lease(&mut self, max: u64, visibility: Duration) -> Option<Value> {
        let visibility = u64::try_from(visibility.as_millis()).unwrap();
        self.call("lease", &json!({"max": max, "visibility_ms": visibility, "wait_ms": 100}))
    }

    fn note(&self, ledger: &mut Ledger, answer: &Value) -> Leased {
        let id = answer["lease"].clone();
        let holder = Holder { run: self.run, lease: self.workload.next_lease() };
        let (mut seen, mut events) = (Vec::new(), Vec::new());
        for item in answer["events"].as_array().unwrap() {
            let event = Seen::read(&item["event"]).unwrap_or_else(|| panic!("not a CloudEvent: {item}"));
            if let Some(known) = Event::from_key(&event.key) {
                events.push((item["seq"].as_u64().unwrap(), known));
            }
            seen.push((event, u32::try_from(item["attempt"].as_u64().unwrap()).unwrap()));
        }
        ledger.leased(self.queue, holder, &seen);
        Leased { id, holder, events }
    }

    /// Acknowledges what lies before some event, fails that one and gives back what follows.
    fn settle_some(&mut self, leased: &Leased, random: &mut Random) -> Option<()> {
        let at = usize::try_from(random.below(leased.events.len() as u64)).unwrap();
        let (done, rest) = leased.events.split_at(at);
        self.give_back(leased, rest);
        let failed = json!([{"seq": rest[0].0, "delay_ms": random.below(50), "why": "made up"}]);
        let returned: Vec<u64> = rest[1..].iter().map(|(seq, _)| *seq).collect();
        self.settle(leased, done, &failed, &returned)?;
        self.workload.ledger().failed(self.queue, rest[0].1);
        Some(())
    }

    fn settle(&mut self, leased: &Leased, done: &[(u64, Event)], nack: &Value, back: &[u64]) -> Option<()> {
        let (seqs, events): (Vec<u64>, Vec<Event>) = done.iter().copied().unzip();
        let body = json!({"lease": leased.id, "ack": seqs, "nack": nack, "return": back});
        self.workload.ledger().settling(self.queue, leased.holder, &events);
        let answer = self.call("settle", &body)?;
        if answer["lost"] != 0 {
            self.workload.ledger().complain(&format!("{} lost a lease too early: {answer}", self.name));
        }
        self.workload.ledger().settled(self.queue, leased.holder, &events);
        Some(())
    }

    fn give_back(&self, leased: &Leased, events: &[(u64, Event)]) {
        let events: Vec<Event> = events.iter().map(|(_, event)| *event).collect();
        self.workload.ledger().giving_back(self.queue, leased.holder, &events);
    }

    /// Nothing when the daemon is gone.
    fn call(&mut self, what: &str, body: &Value) -> Option<Value> {
        let path = format!("/v1/queues/{}/{what}", self.name);
        let text = body.to_string();
        let answer = self.client.send("POST", &path, "Content-Type: application/json\r\n", text.as_bytes());
        let (status, text) = answer.ok()?;
        if status != 200 {
            let text = String::from_utf8_lossy(&text).into_owned();
            self.workload.ledger().complain(&format!("{path} {body} was answered {status}: {text}"));
            return None;
        }
        Some(serde_json::from_slice(&text).unwrap())
    }
}

/// Takes files out of a spool's folder until the workload is over.
pub(crate) fn take_files(workload: &Workload, queue: usize, folder: &Path) {
    while !workload.is_over() {
        for (path, run, seen) in in_order(workload, folder) {
            workload.ledger().appeared(queue, run, &seen);
            fs::remove_file(&path).unwrap();
        }
        sleep(PAUSE);
    }
}

/// The files that may be taken now, by name. One listing may miss a file and yet show a later one; what a second
/// listing shows besides is taken only up to what the first showed of that account.
fn in_order(workload: &Workload, folder: &Path) -> Vec<(PathBuf, u32, Seen)> {
    let first = names(folder);
    let mut files = Vec::new();
    let mut last = BTreeMap::new();
    for name in names(folder) {
        let path = folder.join(&name);
        let written = fs::metadata(&path).unwrap().modified().unwrap().duration_since(UNIX_EPOCH).unwrap();
        let event: Value = serde_json::from_slice(&fs::read(&path).unwrap())
            .unwrap_or_else(|error| panic!("{} is not whole: {error}", path.display()));
        let seen = Seen::read(&event).unwrap_or_else(|| panic!("not a CloudEvent: {event}"));
        if first.binary_search(&name).is_ok() {
            last.insert(seen.account.clone(), name.clone());
        }
        let run = workload.run_at(u64::try_from(written.as_millis()).unwrap());
        files.push((path, name, run, seen));
    }
    files.retain(|(_, name, _, seen)| last.get(&seen.account).is_some_and(|last| name <= last));
    files.into_iter().map(|(path, _, run, seen)| (path, run, seen)).collect()
}

fn names(folder: &Path) -> Vec<String> {
    // The daemon makes the folder when it starts.
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| !name.starts_with('.')).collect();
    names.sort();
    names
}
