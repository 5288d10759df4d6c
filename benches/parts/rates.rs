//! Answers per second of one server over another's, in alternating rounds.

use std::error::Error;
use std::time::Duration;

use crate::load::events::{Requests, Source};
use crate::load::{Client, Round};
use crate::report::median;
use crate::servers::{Server, busy};

/// Requests made for a second of a round; a round ends early when they run out.
const MADE_PER_SECOND: f64 = 200_000.0;

/// How long is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    pub(crate) rounds: usize,
    pub(crate) span: Duration,
}

/// What the rounds of one server brought, medians.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rates {
    pub(crate) per_second: f64,
    /// Latencies, in microseconds.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    /// Processor time of an answer, in microseconds: the server's, and the load generator's.
    pub(crate) busy: f64,
    pub(crate) load: f64,
}

/// Two servers under the same load.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pair {
    /// Median of the ratios round by round, which a machine that others slow down moves least.
    pub(crate) ratio: f64,
    pub(crate) ours: Rates,
    pub(crate) theirs: Rates,
}

impl Pair {
    /// Of rounds that alternated.
    pub(crate) fn of(ours: &[Rates], theirs: &[Rates]) -> Self {
        let mut ratios: Vec<f64> =
            ours.iter().zip(theirs).map(|(a, b)| a.per_second / b.per_second).collect();
        Self { ratio: median(&mut ratios), ours: middle(ours), theirs: middle(theirs) }
    }

    /// How many answers the processors allow, over how many they allow `theirs`: what the ratio is where nothing
    /// waits.
    pub(crate) fn by_processor(&self) -> f64 {
        (self.theirs.busy + self.theirs.load) / (self.ours.busy + self.ours.load)
    }
}

/// Alternates rounds of `ours` and `theirs`.
pub(crate) fn compare(
    servers: [&Server; 2],
    connections: usize,
    source: &mut impl Source,
    effort: Effort,
) -> Result<Pair, Box<dyn Error>> {
    compare_at(servers.map(|server| (server, server.address.as_str())), connections, source, effort)
}

/// The same, at these addresses of the two.
pub(crate) fn compare_at(
    [ours, theirs]: [(&Server, &str); 2],
    connections: usize,
    source: &mut impl Source,
    effort: Effort,
) -> Result<Pair, Box<dyn Error>> {
    let mut clients = [Client::connect(ours.1, connections)?, Client::connect(theirs.1, connections)?];
    let mut under_test = [(ours.0, Vec::new()), (theirs.0, Vec::new())];
    // One round more: the first warms up and does not count.
    for round in 0..=effort.rounds {
        for (client, (server, rates)) in clients.iter_mut().zip(&mut under_test) {
            let one = once(server, client, source, effort.span)?;
            if round > 0 {
                rates.push(one);
            }
        }
    }
    let [ours, theirs] = under_test.map(|(_, rates)| rates);
    Ok(Pair::of(&ours, &theirs))
}

/// One round of one server, checked and counted.
pub(crate) fn once(
    server: &Server,
    client: &mut Client,
    source: &mut impl Source,
    span: Duration,
) -> Result<Rates, Box<dyn Error>> {
    let mut requests = source.requests((MADE_PER_SECOND * span.as_secs_f64()) as usize);
    with(server, client, &mut requests, span)
}

/// The same with requests that are made already.
pub(crate) fn with(
    server: &Server,
    client: &mut Client,
    requests: &mut Requests,
    span: Duration,
) -> Result<Rates, Box<dyn Error>> {
    let (server_before, load_before) = (server.busy()?, busy("self")?);
    let mut round = client.run(requests, span)?;
    let (server_busy, load) = (server.busy()? - server_before, busy("self")? - load_before);
    if round.refused > 0 || round.answers == 0 {
        return Err(format!("{} answers, {} others were not 200", round.answers, round.refused).into());
    }
    Ok(rates(&mut round, server_busy, load))
}

fn rates(round: &mut Round, server_busy: f64, load: f64) -> Rates {
    let each = 1e6 / round.answers as f64;
    Rates {
        per_second: round.per_second(),
        p50: round.percentile(0.5),
        p99: round.percentile(0.99),
        busy: server_busy * each,
        load: load * each,
    }
}

fn middle(rounds: &[Rates]) -> Rates {
    let of = |field: fn(&Rates) -> f64| median(&mut rounds.iter().map(field).collect::<Vec<_>>());
    Rates {
        per_second: of(|r| r.per_second),
        p50: of(|r| r.p50),
        p99: of(|r| r.p99),
        busy: of(|r| r.busy),
        load: of(|r| r.load),
    }
}
