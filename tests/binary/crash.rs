//! The crash harness: kills the real daemon at fail points and at random under load, starts it again, and holds what
//! comes out against a ledger kept outside.
//!
//! ```text
//! RINGHOOKD_KILLS=1000 cargo test --locked --test binary crash::kills -- --nocapture
//! RINGHOOKD_SEED=… repeats what chance decided; how threads meet stays chance
//! ```

mod backups;
mod compaction;
mod daemon;
mod event;
mod histories;
mod kills;
mod ledger;
mod line;
mod linking;
mod load;
mod points;
mod random;
mod reader;
mod refresh;
mod reload;
mod scenes;
mod sender;
mod workload;

use std::thread::sleep;
use std::time::Duration;

use self::load::{Supervisor, under_load};
use self::random::Random;
use crate::support::rng::wanted_seed;
use crate::support::whole::share;
use ringhookd::clock;

#[test]
fn kills_at_fail_points_and_at_random_break_no_promise() {
    let kills = number("RINGHOOKD_KILLS")
        .map_or_else(|| share("kills under load"), |kills| usize::try_from(kills).unwrap());
    under_load(seeded(), |supervisor, random| kills::storm(supervisor, random, kills));
}

#[test]
fn sigterm_under_load_ends_well_and_breaks_no_promise() {
    under_load(seeded(), |supervisor, random| {
        for _ in 0..3 {
            let daemon = supervisor.start();
            sleep(Duration::from_millis(300) + random.ms(400));
            let took = Supervisor::stop(daemon);
            println!("SIGTERM to exit  {} ms", took.as_millis());
        }
    });
}

fn seeded() -> Random {
    let seed = wanted_seed().unwrap_or_else(|| clock::now().0);
    println!("RINGHOOKD_SEED={seed}");
    Random::new(seed)
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text:?}: not a number")))
}
