//! The schedule goes by another policy, or with another client, from one moment on.

use super::*;
use crate::domain::refresh::Warnings;

const DAY: Duration = Duration::from_hours(24);

#[test]
fn another_pace_brings_accounts_forward_and_puts_them_off() {
    let mut planner = planner(&[HOUR, HOUR]);
    let now = at(Duration::ZERO);
    let pace = |hours| Policy { pace: Pace::Every(Duration::from_hours(hours)), ..Policy::default() };
    assert!(matches!(planner.next(now), Next::Wait(_)));
    assert!(!planner.set_policy(Policy { parallel: 3, ..Policy::default() }, now), "the pace is as it was");
    assert!(planner.set_policy(pace(2), now));
    planner.pace_anew(0..1, now, || 0);
    let tried = |planner: &Planner, account| planner.next_try(account, now).unwrap();
    assert_eq!(tried(&planner, 0), START.plus(HOUR), "an hour of the two is over");
    assert_eq!(tried(&planner, 1), START.plus(HOUR * 23), "it was not asked for");
    planner.pace_anew(0..2, now, || 0);
    assert_eq!(tried(&planner, 1), START.plus(HOUR));
    planner.set_policy(pace(48), now);
    planner.pace_anew(0..9, now, || 0);
    assert_eq!([0, 1].map(|account| tried(&planner, account)), [START.plus(HOUR * 47); 2]);
    planner.set_policy(Policy { pace: Pace::AlwaysFresh, ..Policy::default() }, now);
    planner.pace_anew(0..2, now, || 0);
    assert_eq!(planner.next(now), Next::Refresh(0), "its access token has run out");
}

#[test]
fn what_failed_or_is_under_way_keeps_its_time() {
    let mut planner = planner(&[DAY * 2, DAY * 2]);
    let now = at(Duration::ZERO);
    let silent = answer(&mut planner, 0, Outcome::SILENT, Duration::ZERO);
    let Some(Decision::Retry { within }) = silent else { panic!("{silent:?}") };
    let later = planner.next_try(0, now);
    assert_eq!(planner.next(at(within * 3)), Next::Refresh(0));
    planner.set_policy(Policy { pace: Pace::Every(DAY * 9), ..Policy::default() }, now);
    planner.pace_anew(0..2, at(within * 3), || 0);
    assert!(planner.queue.in_flight_of(0).is_some());
    assert!(later.is_some_and(|later| later > START));
    assert!(planner.answered(0, RENEWED, at(within * 3), 0).is_some());
    let next = planner.next_try(0, at(within * 3)).unwrap();
    assert!(next > START.plus(DAY * 8), "the new pace holds from here on: {next:?}");
}

#[test]
fn warnings_places_and_repeats_hold_at_once() {
    let mut planner = planner(&[DAY * 15, HOUR]);
    let now = at(Duration::ZERO);
    assert_eq!(planner.health(0, now), Some(Health::Fresh), "it has an hour");
    let warnings = Warnings([DAY * 20, DAY * 5, DAY]);
    planner.set_policy(Policy { warnings, parallel: 1, ..Policy::default() }, now);
    assert_eq!(planner.health(0, now), Some(Health::Lapsing));
    let by_health = planner.overview(now).by_health;
    assert_eq!(
        (by_health[Health::Lapsing as usize], by_health[Health::Fresh as usize]),
        (1, 1),
        "{by_health:?}"
    );
    assert_eq!(planner.nearest_lapse(), Some(START.plus(DAY * 15)));
    planner.hasten(1, now);
    assert_eq!(planner.next(now), Next::Refresh(1));
    assert!(matches!(planner.next(now), Next::Wait(_)), "one at a time");
    planner.set_policy(Policy { parallel: 2, ..Policy::default() }, now);
    assert_eq!(planner.next(now), Next::Refresh(0));
}

#[test]
fn another_client_waits_for_nothing_that_the_one_before_was_refused() {
    let mut planner = planner(&[DAY * 2, DAY * 2, DAY * 2]);
    let now = at(Duration::ZERO);
    answer(&mut planner, 0, Outcome::Refused(Objection::Client), Duration::ZERO);
    assert!(matches!(planner.next(now), Next::Wait(_)));
    assert!(planner.overview(now).client_paused);
    planner.client_changed(now);
    let mut sent = Vec::new();
    for _ in 0..3 {
        let Next::Refresh(account) = planner.next(now) else { panic!("{sent:?}") };
        assert!(!sent.is_empty() || matches!(planner.next(now), Next::Wait(_)), "the first is a probe");
        assert_eq!(planner.answered(account, RENEWED, now, 0), Some(Decision::Renewed));
        sent.push(account);
    }
    sent.sort_unstable();
    assert_eq!(sent, [0, 1, 2]);
}
