//! What some accounts get must not cost the others their links, nor be taken for what all get.

use std::time::Duration;

use ringhookd::domain::heard::Objection;
use ringhookd::domain::refresh::{Health, Outcome};

use super::fleet::{DAY, Fleet, HOUR, RENEWED};

const SOON: Duration = Duration::from_millis(150);
const TIMEOUT: Duration = Duration::from_secs(10);
/// The pace is 24 h.
const IN_TIME: Duration = Duration::from_hours(26);

/// Half of them time out, the others are answered 503.
fn bad(account: u32) -> (Outcome, Duration) {
    (Outcome::SILENT, if account.is_multiple_of(2) { TIMEOUT } else { SOON })
}

fn tell(fleet: &Fleet, what: &str, first_healthy: usize) {
    let gap = fleet.longest_gap(first_healthy).as_secs_f64() / 3600.0;
    let Fleet { tries, halted, down, .. } = fleet;
    println!("{what}: longest gap {gap:.2} h, {tries} tries, halted {halted:?}, down {down:?}");
}

#[test]
fn thirty_that_always_fail_starve_none_of_500() {
    let mut fleet = Fleet::new(530, |account, _| if account < 30 { bad(account) } else { (RENEWED, SOON) });
    fleet.run(29 * DAY);
    tell(&fleet, "500 + 30 bad, 29 days", 30);
    assert!(fleet.longest_gap(30) <= IN_TIME, "{:?}", fleet.longest_gap(30));
    assert!(fleet.down < HOUR, "OAuth was not down: {:?}", fleet.down);
}

#[test]
fn thirty_that_always_fail_starve_none_of_500_when_the_daemon_starts_every_day() {
    let mut fleet = Fleet::new(530, |account, _| if account < 30 { bad(account) } else { (RENEWED, SOON) });
    for day in 1..=15 {
        fleet.run(day * DAY + day * HOUR);
        fleet.restart();
    }
    tell(&fleet, "500 + 30 bad, a start a day", 30);
    assert!(fleet.longest_gap(30) <= IN_TIME, "{:?}", fleet.longest_gap(30));
}

#[test]
fn a_hundred_that_always_fail_starve_none_of_10_000() {
    let mut fleet =
        Fleet::new(10_100, |account, _| if account < 100 { bad(account) } else { (RENEWED, SOON) });
    fleet.run(3 * DAY);
    tell(&fleet, "10,000 + 100 bad, 3 days", 100);
    assert!(fleet.longest_gap(100) <= IN_TIME, "{:?}", fleet.longest_gap(100));
}

#[test]
fn three_hundred_that_time_out_leave_places_for_2700() {
    let mut fleet =
        Fleet::new(
            3000,
            |account, _| {
                if account < 300 { (Outcome::SILENT, 3 * TIMEOUT) } else { (RENEWED, SOON) }
            },
        );
    fleet.run(4 * DAY);
    tell(&fleet, "2700 + 300 that time out, 4 days", 300);
    assert!(fleet.longest_gap(300) <= IN_TIME, "{:?}", fleet.longest_gap(300));
}

#[test]
fn an_outage_of_all_is_still_seen_among_those_that_always_fail_and_ends_in_a_ramp() {
    const BEGINS: Duration = Duration::from_hours(40);
    const ENDS: Duration = Duration::from_hours(80);
    let mut fleet = Fleet::new(530, |account, now| match account {
        _ if (BEGINS..ENDS).contains(&now) => bad(account),
        0..30 => bad(account),
        _ => (RENEWED, SOON),
    });
    fleet.run(BEGINS);
    let (tries, down) = (fleet.tries, fleet.down);
    fleet.run(ENDS.saturating_sub(HOUR));
    let probes = fleet.tries - tries;
    // Nobody else is due at times. A probe takes up to its timeout, in which there is no other.
    let down = fleet.down.saturating_sub(down);
    assert!(fleet.planner.is_oauth_down() && down > 30 * HOUR, "{down:?}");
    assert!(probes < 40 * 120, "{probes} requests in 40 hours are no probes");
    fleet.run(ENDS);
    fleet.run(ENDS + HOUR);
    tell(&fleet, "500 + 30 bad, after 40 h of outage", 30);
    assert!(fleet.longest_gap(30) < 40 * HOUR + IN_TIME && !fleet.planner.is_oauth_down());
    let late = (30..530).filter(|&account| fleet.health(account) != Some(Health::Fresh)).count();
    assert_eq!(late, 0, "an hour is enough for everybody");
}

#[test]
fn one_that_oauth_refuses_our_client_to_halts_none_of_5000() {
    let mut fleet = Fleet::new(5001, |account, _| {
        (if account == 0 { Outcome::Refused(Objection::Client) } else { RENEWED }, SOON)
    });
    fleet.run(3 * DAY);
    tell(&fleet, "5000 + 1 refused client, 3 days", 1);
    assert!(fleet.longest_gap(1) <= IN_TIME, "{:?}", fleet.longest_gap(1));
    assert!(fleet.halted <= HOUR, "{:?}", fleet.halted);
}

#[test]
fn a_wrong_secret_of_ours_still_halts_everybody_and_marks_nobody() {
    let mut fleet = Fleet::new(500, |_, now| {
        (if (DAY..6 * DAY).contains(&now) { Outcome::Refused(Objection::Client) } else { RENEWED }, SOON)
    });
    fleet.run(DAY);
    let tries = fleet.tries;
    fleet.run(6 * DAY);
    assert!(fleet.tries - tries <= 16 + 5 * 96, "{}", fleet.tries - tries);
    fleet.run(6 * DAY + HOUR);
    tell(&fleet, "500, wrong secret for 5 days", 0);
    assert!((0..500).all(|account| fleet.health(account) == Some(Health::Fresh)), "an hour is enough");
    assert!(fleet.ended.is_empty());
}

#[test]
fn six_of_a_hundred_who_left_are_seen_to_have_left() {
    let mut fleet = Fleet::overdue(100, |account, _| {
        (if account < 6 { Outcome::Refused(Objection::Grant) } else { RENEWED }, SOON)
    });
    fleet.run(3 * DAY);
    println!("94 + 6 revoked: {:?}", fleet.ended);
    assert_eq!(fleet.ended.len(), 6);
    assert!((0..6).all(|account| fleet.health(account) == Some(Health::Revoked)));
    let first = fleet.ended[0].0;
    assert!(first >= 6 * HOUR, "six at once are believed of nobody: {first:?}");
}

#[test]
fn nobody_has_left_when_oauth_refuses_a_third_for_days() {
    for accounts in [12, 100, 3000] {
        let mut fleet = Fleet::new(accounts, |account, now| {
            let mad = account.is_multiple_of(3) && (DAY..9 * DAY).contains(&now);
            (if mad { Outcome::Refused(Objection::Grant) } else { RENEWED }, SOON)
        });
        fleet.run(9 * DAY);
        // Until it is seen how many they are, the first are few enough to be believed. The daily try brings them back.
        let believed = 5.max(accounts / 100);
        println!("a third of {accounts}: {} were taken for gone", fleet.ended.len());
        assert!(fleet.ended.len() <= believed, "of {accounts}: {:?}", fleet.ended);
        fleet.run(11 * DAY + HOUR);
        tell(&fleet, "a third refused for 8 days", 0);
        assert!((0..12).all(|account| fleet.health(account) == Some(Health::Fresh)));
    }
}
