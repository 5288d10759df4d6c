//! A year of refreshes in virtual time: random outages, restarts, clock jumps and lost answers, and no link lost.
//!
//! `RINGHOOKD_SEED=N cargo test --test in_process refresh` runs one seed again; a failure prints it.

mod alone;
mod fleet;
mod oauth;
mod year;

use oauth::Policy;
use year::{Setting, Year};

use crate::support::rng::wanted_seed;
use crate::support::whole::share;

const DAYS: u64 = 365;

fn small_years() -> u64 {
    share("simulated years of 60 accounts") as u64
}

fn seeds(seeds: std::ops::Range<u64>) -> Vec<u64> {
    wanted_seed().map_or_else(|| seeds.collect(), |seed| vec![seed])
}

#[test]
fn no_link_is_lost_in_many_small_years_when_old_tokens_die_at_once() {
    for seed in seeds(1..1 + small_years()) {
        Year::new(Setting { accounts: 60, days: DAYS, policy: Policy::DeadAtOnce, seed }).run();
    }
}

#[test]
fn no_link_is_lost_in_many_small_years_when_old_tokens_have_a_grace_time() {
    for seed in seeds(1..1 + small_years()) {
        Year::new(Setting { accounts: 60, days: DAYS, policy: Policy::Grace, seed }).run();
    }
}

#[test]
fn no_link_of_thousands_is_lost_when_old_tokens_die_at_once() {
    for seed in seeds(1..2) {
        Year::new(Setting {
            accounts: share("accounts in a large simulated year"),
            days: DAYS,
            policy: Policy::DeadAtOnce,
            seed,
        })
        .run();
    }
}

/// With seed 1 a start whose clock is 18 days ahead falls into the 90 minutes between outages of 21 and 15 days: a token that was dated by
/// a clock 39 days ahead looks a day old then.
#[test]
fn no_link_of_thousands_is_lost_when_old_tokens_have_a_grace_time() {
    for seed in seeds(1..2) {
        Year::new(Setting {
            accounts: share("accounts in a large simulated year"),
            days: DAYS,
            policy: Policy::Grace,
            seed,
        })
        .run();
    }
}
