//! The schedule over accounts, answers and clocks, one behaviour a test.

mod overview;
mod policy;

use proptest::prelude::*;

use super::due::BEFORE_EXPIRY;
use super::*;
use crate::domain::access_token::Reason;
use crate::domain::heard::Objection;
use crate::domain::refresh::{Gain, Health, Pace};
use crate::domain::time::Millis;

const HOUR: Duration = Duration::from_hours(1);
const START: Millis = Millis(1_790_000_000_000);

/// So long after a time when the process had run for a while.
fn at(ticks: Duration) -> Moment {
    Moment { wall: START.plus(ticks), ticks: HOUR + ticks }
}

fn renewed(ago: Duration) -> Record {
    Record {
        renewed_at: START.minus(ago),
        expires_at: START,
        end: None,
        unsettled: false,
        told: Notice::Fresh,
        proof: Proof::Honoured,
    }
}

/// Accounts from 0 on, that were renewed so long ago.
fn planner(ago: &[Duration]) -> Planner {
    let mut planner = Planner::new(Policy::default());
    for (account, ago) in (0..).zip(ago) {
        planner.plan(account, &renewed(*ago), at(Duration::ZERO), 0);
    }
    planner
}

fn answer(planner: &mut Planner, account: u32, answer: Outcome, ticks: Duration) -> Option<Decision> {
    assert_eq!(planner.next(at(ticks)), Next::Refresh(account));
    planner.answered(account, answer, at(ticks), 0)
}

const RENEWED: Outcome = Outcome::Answer(Gain::Renewed { expires_in: Duration::from_hours(4) });

#[test]
fn whoever_is_closest_to_the_end_comes_first() {
    let days = |n: u64| Duration::from_hours(24 * n);
    let mut planner = planner(&[days(2), days(29), days(0), days(12)]);
    let now = at(Duration::ZERO);
    assert_eq!([(); 3].map(|()| planner.next(now)), [1, 3, 0].map(Next::Refresh));
    assert_eq!(planner.next(now), Next::Wait(LONGEST_NAP));
    assert_eq!(planner.nearest_lapse(), Some(START.plus(days(1))));
    let hour = at(HOUR + Duration::from_secs(1));
    let health: Vec<_> = (0..4).map(|account| planner.health(account, hour).unwrap()).collect();
    assert_eq!(health, [Health::Late, Health::Lapsing, Health::Fresh, Health::Late]);
}

#[test]
fn a_renewal_starts_the_30_days_anew() {
    let mut planner = planner(&[29 * 24 * HOUR]);
    assert_eq!(answer(&mut planner, 0, RENEWED, HOUR), Some(Decision::Renewed));
    assert_eq!(planner.health(0, at(HOUR)), Some(Health::Fresh));
    assert_eq!(planner.lapses_at(0), Some(START.plus(31 * HOUR * 24 - 23 * HOUR)));
    assert_eq!(planner.next(at(24 * HOUR)), Next::Wait(LONGEST_NAP));
    assert_eq!(planner.next(at(25 * HOUR)), Next::Refresh(0));
}

#[test]
fn access_tokens_are_kept_fresh_when_that_is_wanted() {
    let mut planner = Planner::new(Policy { pace: Pace::AlwaysFresh, ..Policy::default() });
    planner.plan(0, &renewed(HOUR), at(Duration::ZERO), 0);
    assert_eq!(answer(&mut planner, 0, RENEWED, Duration::ZERO), Some(Decision::Renewed));
    let due = 4 * HOUR - BEFORE_EXPIRY;
    assert_eq!(planner.next(at(due - Duration::from_secs(1))), Next::Wait(Duration::from_secs(1)));
    assert_eq!(planner.next(at(due)), Next::Refresh(0));
}

#[test]
fn a_refusal_is_final_the_second_time_an_hour_later_and_tried_daily_until_day_30() {
    let mut planner = planner(&[28 * 24 * HOUR]);
    for minutes in [0, 20, 40] {
        let decision =
            answer(&mut planner, 0, Outcome::Refused(Objection::Grant), Duration::from_mins(minutes));
        assert_eq!(decision, Some(Decision::Retry { within: HOUR / 3 }));
    }
    assert_eq!(planner.next(at(HOUR - Duration::from_secs(1))), Next::Wait(Duration::from_secs(1)));
    let second = answer(&mut planner, 0, Outcome::Refused(Objection::Grant), HOUR);
    assert_eq!(second, Some(Decision::Ended(End::Revoked)));
    assert_eq!(planner.health(0, at(HOUR)), Some(Health::Revoked));
    let tries =
        tries_of_one_that_ended(&mut planner, HOUR, 20 * 24 * HOUR, Outcome::Refused(Objection::Grant));
    assert!((19..=20).contains(&tries), "{tries}: while OAuth honours nobody, a clock alone ends nothing");
    planner.refusals.honoured(9, at(20 * 24 * HOUR));
    tries_of_one_that_ended(
        &mut planner,
        20 * 24 * HOUR,
        20 * 24 * HOUR + HOUR,
        Outcome::Refused(Objection::Grant),
    );
    planner.plan(1, &Record { end: Some(End::Lapsed), ..renewed(31 * 24 * HOUR) }, at(20 * 24 * HOUR), 0);
    assert_eq!(planner.counts().0, 1, "day 30 is over, and OAuth honours others");
    assert_eq!(planner.health(0, at(200 * HOUR)), Some(Health::Revoked));
}

/// Account 0 alone, asked every ten minutes.
fn tries_of_one_that_ended(planner: &mut Planner, from: Duration, to: Duration, heard: Outcome) -> usize {
    let (mut now, mut tries) = (from, 0);
    while now < to {
        now += Duration::from_mins(10);
        if planner.next(at(now)) == Next::Refresh(0) {
            tries += 1;
            planner.answered(0, heard, at(now), 0);
        }
    }
    tries
}

#[test]
fn what_ended_comes_back_if_oauth_takes_it_again() {
    let mut planner = planner(&[48 * HOUR]);
    answer(&mut planner, 0, Outcome::Refused(Objection::Grant), Duration::ZERO);
    answer(&mut planner, 0, Outcome::Refused(Objection::Grant), HOUR);
    assert_eq!(answer(&mut planner, 0, RENEWED, 49 * HOUR), Some(Decision::Renewed));
    assert_eq!(planner.health(0, at(49 * HOUR)), Some(Health::Fresh));
}

#[test]
fn a_token_that_was_put_in_is_untried_and_then_refused_and_never_called_well_before_it_worked() {
    let mut planner = Planner::new(Policy::default());
    let told = Record { proof: Proof::Untried, told: Notice::Late, ..renewed(24 * HOUR) };
    planner.plan(0, &told, at(Duration::ZERO), 0);
    assert_eq!(planner.health(0, at(2 * HOUR)), Some(Health::Late));
    planner.plan(0, &Record { proof: Proof::Untried, ..renewed(24 * HOUR) }, at(Duration::ZERO), 0);
    assert_eq!(planner.health(0, at(Duration::ZERO)), Some(Health::Untried));
    answer(&mut planner, 0, Outcome::Refused(Objection::Grant), Duration::ZERO);
    let now = at(Duration::from_mins(1));
    assert_eq!((planner.health(0, now), planner.news_of(0, now)), (Some(Health::Refused), None));
    assert_eq!(planner.overview(now).failing, 1);
    assert_eq!(planner.next_try(0, now), Some(START.plus(HOUR / 3)));
    // The next start knows it, and asks again soon.
    let mut again = Planner::new(Policy::default());
    again.plan(0, &Record { proof: Proof::Refused, ..renewed(HOUR) }, now, u64::MAX);
    assert_eq!(again.health(0, now), Some(Health::Refused));
    assert!(again.next_try(0, now).unwrap() <= now.wall.plus(HOUR / 3));
    answer(&mut planner, 0, RENEWED, HOUR);
    assert_eq!(planner.health(0, at(HOUR)), Some(Health::Fresh));
}

#[test]
fn an_access_token_lives_as_long_as_oauth_said_by_whichever_clock_is_worse() {
    let mut planner = planner(&[24 * HOUR]);
    answer(&mut planner, 0, RENEWED, Duration::ZERO);
    let set_back = |ticks: Duration| Moment { wall: START.minus(20 * HOUR).plus(ticks), ..at(ticks) };
    assert_eq!(planner.access_left(0, set_back(HOUR)), Some(3 * HOUR));
    assert_eq!(planner.access_left(0, set_back(4 * HOUR)), Some(Duration::ZERO));
    // Known from a run before: by the wall clock at the start, and then by the other.
    let given = Record { renewed_at: START.minus(HOUR), expires_at: START.plus(3 * HOUR), ..renewed(HOUR) };
    for (wall, left) in [
        (START, 3 * HOUR),
        (START.plus(2 * HOUR), HOUR),
        (START.plus(9 * HOUR), Duration::ZERO),
        (START.minus(HOUR), 4 * HOUR),
        (START.minus(20 * HOUR), Duration::ZERO),
    ] {
        assert_eq!(given.access_left(wall), left);
        let mut planner = Planner::new(Policy::default());
        planner.plan(0, &given, Moment { wall, ticks: HOUR }, 0);
        assert_eq!(planner.access_left(0, Moment { wall, ticks: 2 * HOUR }), Some(left.saturating_sub(HOUR)));
    }
}

#[test]
fn what_ended_is_tried_daily_however_often_the_daemon_starts() {
    for every in [HOUR / 6, 5 * HOUR, 12 * HOUR, 24 * HOUR] {
        let ended = Record { end: Some(End::Revoked), ..renewed(HOUR) };
        let (mut tries, mut now) = (0, Duration::ZERO);
        while now < 20 * 24 * HOUR {
            let mut planner = Planner::new(Policy::default());
            planner.plan(0, &ended, at(now), 0);
            tries +=
                tries_of_one_that_ended(&mut planner, now, now + every, Outcome::Refused(Objection::Grant));
            now += every;
        }
        assert!((19..=21).contains(&tries), "{tries} in 20 days, started every {every:?}");
    }
}

#[test]
fn after_day_30_it_lapsed() {
    let mut planner = planner(&[31 * 24 * HOUR]);
    answer(&mut planner, 0, Outcome::Refused(Objection::Grant), Duration::ZERO);
    assert_eq!(planner.health(0, at(HOUR)), Some(Health::Refused), "no clock ends a link");
    assert_eq!(
        answer(&mut planner, 0, Outcome::Refused(Objection::Grant), HOUR),
        Some(Decision::Ended(End::Lapsed))
    );
    assert_eq!(planner.health(0, at(HOUR)), Some(Health::Lapsed));
}

#[test]
fn our_own_wrong_secret_stops_everybody_and_marks_nobody() {
    let mut planner = planner(&[48 * HOUR, 49 * HOUR]);
    answer(&mut planner, 1, Outcome::Refused(Objection::Client), Duration::ZERO);
    for minutes in 0..15 {
        assert!(matches!(planner.next(at(Duration::from_mins(minutes))), Next::Wait(_)));
    }
    assert_eq!(planner.health(1, at(2 * HOUR)), Some(Health::Late));
    assert_eq!(planner.next(at(CLIENT_PAUSE)), Next::Refresh(0), "the one that got it lets others go first");
    assert!(matches!(planner.next(at(CLIENT_PAUSE)), Next::Wait(_)), "one probe at a time");
}

#[test]
fn a_retry_after_holds_for_all() {
    let mut planner = planner(&[48 * HOUR, 49 * HOUR]);
    let wait = Duration::from_secs(40);
    answer(&mut planner, 1, Outcome::throttled(Some(wait)), Duration::ZERO);
    assert_eq!(planner.take_call(at(Duration::ZERO)), Err(wait));
    assert_eq!(planner.next(at(Duration::ZERO)), Next::Wait(wait));
    assert_eq!(planner.next(at(wait)), Next::Refresh(1));
}

#[test]
fn an_answer_nobody_knows_is_asked_for_again_before_all_others() {
    let mut planner = planner(&[29 * 24 * HOUR, HOUR * 24]);
    assert_eq!(planner.next(at(Duration::ZERO)), Next::Refresh(0));
    answer(&mut planner, 1, Outcome::SILENT, Duration::ZERO);
    planner.answered(0, Outcome::NO_CONNECTION, at(Duration::ZERO), 0);
    assert_eq!(planner.next(at(Duration::from_secs(1))), Next::Refresh(1));
    assert_eq!(planner.next(at(Duration::from_secs(1))), Next::Refresh(0));
}

#[test]
fn who_is_waited_for_goes_before_those_with_time() {
    let mut planner = planner(&[29 * 24 * HOUR + 12 * HOUR, 10 * 24 * HOUR, HOUR]);
    planner.hasten(2, at(Duration::ZERO));
    planner.hasten(9, at(Duration::ZERO));
    assert_eq!([(); 3].map(|()| planner.next(at(Duration::ZERO))), [0, 2, 1].map(Next::Refresh));
}

#[test]
fn tokens_that_are_replaced_in_flight_wait_for_the_answer_which_says_nothing() {
    let mut planner = planner(&[48 * HOUR, 49 * HOUR]);
    let now = at(Duration::ZERO);
    assert_eq!([(); 2].map(|()| planner.next(now)), [1, 0].map(Next::Refresh));
    planner.plan(0, &renewed(48 * HOUR), now, 0);
    planner.remove(1, now);
    planner.hasten(0, now);
    assert_eq!(planner.next(now), Next::Wait(LONGEST_NAP), "one in flight for an account");
    assert_eq!(planner.health(1, now), None);
    assert_eq!(planner.answered(0, Outcome::Refused(Objection::Grant), now, 0), None);
    assert_eq!(planner.answered(1, RENEWED, now, 0), None);
    assert_eq!((planner.next(now), planner.counts()), (Next::Refresh(0), (1, 0, 1)));
}

#[test]
fn a_clock_set_back_makes_nobody_wait_longer() {
    let mut planner = planner(&[HOUR]);
    let year = 365 * 24 * HOUR;
    let jumped = Moment { wall: START.plus(year), ticks: 2 * HOUR };
    assert_eq!(planner.next(jumped), Next::Refresh(0));
    planner.answered(0, RENEWED, jumped, 0);
    let back = at(2 * HOUR);
    assert!(matches!(planner.next(back), Next::Wait(_)));
    assert_eq!(
        planner.lapses_at(0),
        Some(back.wall.plus(super::super::LIFE).minus(HOUR)),
        "not a year later"
    );
    assert_eq!(planner.next(at(26 * HOUR)), Next::Refresh(0));
}

#[test]
fn tokens_renewed_in_the_future_are_due_now_however_often_the_daemon_starts() {
    for _ in 0..2 {
        let mut planner = Planner::new(Policy::default());
        let ahead = Record { renewed_at: START.plus(40 * 24 * HOUR), ..renewed(HOUR) };
        planner.plan(0, &ahead, at(Duration::ZERO), 0);
        assert_eq!(planner.next(at(Duration::ZERO)), Next::Refresh(0));
    }
}

#[test]
fn a_clock_set_back_between_the_plan_and_the_first_look_is_noticed() {
    let mut planner = Planner::new(Policy::default());
    let ahead = Moment { wall: START.plus(40 * 24 * HOUR), ticks: HOUR };
    let record = Record { renewed_at: ahead.wall.minus(30 * HOUR), ..renewed(HOUR) };
    planner.plan(0, &record, ahead, 0);
    assert_eq!(planner.next(at(Duration::from_secs(1))), Next::Refresh(0));
}

#[test]
fn what_may_be_made_good_is_urgent_only_for_its_first_tries() {
    let mut planner = planner(&[HOUR, 25 * HOUR]);
    let (mut now, mut tries) = (Duration::ZERO, 0);
    planner.plan(0, &Record { unsettled: true, ..renewed(HOUR) }, at(now), 0);
    // OAuth answers others all the while, e.g. an arrival.
    while planner.next(at(now)) == Next::Refresh(0) {
        planner.answered(0, Outcome::SILENT, at(now), 0);
        planner.heard(Outcome::Refused(Objection::Grant), at(now), 0);
        now += Duration::from_secs(1);
        tries += 1;
        assert!(tries < 9, "the other waits");
    }
    assert_eq!(tries, 5);
}

#[test]
fn who_has_failed_least_is_the_probe() {
    let mut planner = planner(&[29 * 24 * HOUR, 2 * 24 * HOUR]);
    for seconds in [0, 1, 2, 3, 4] {
        assert_eq!(planner.next(at(Duration::from_secs(seconds))), Next::Refresh(0));
        planner.answered(0, Outcome::NO_CONNECTION, at(Duration::from_secs(seconds)), 0);
    }
    assert_eq!(
        planner.trouble(at(Duration::from_secs(4))),
        Some((Reason::OauthDown, Duration::from_secs(2)))
    );
    assert_eq!(planner.next(at(Duration::from_secs(6))), Next::Refresh(1));
}

/// Everybody is due, and OAuth has what it is sent and does not answer, until the connection ends after `unknown`: who was sent
/// before the first was late, and who ever after, for `span`.
fn sent_into_silence(planner: &mut Planner, unknown: Duration, span: Duration) -> (Vec<u32>, Vec<u32>) {
    const LATE: Duration = Duration::from_secs(8);
    let mut sent: Vec<(u32, Duration)> = Vec::new();
    let mut now = Duration::ZERO;
    while now < span {
        send_all(planner, &mut sent, now);
        now += Duration::from_secs(1);
        for n in 0..sent.len() {
            let (account, at_once) = sent[n];
            if now == at_once + LATE {
                planner.late(account, at(now), u64::MAX);
            } else if now == at_once + unknown {
                planner.answered(account, Outcome::SILENT, at(now), u64::MAX);
            }
            send_all(planner, &mut sent, now);
        }
    }
    let accounts = |late| move |&(account, at): &(u32, Duration)| ((at >= LATE) == late).then_some(account);
    (sent.iter().filter_map(accounts(false)).collect(), sent.iter().filter_map(accounts(true)).collect())
}

fn send_all(planner: &mut Planner, sent: &mut Vec<(u32, Duration)>, now: Duration) {
    while let Next::Refresh(account) = planner.next(at(now)) {
        sent.push((account, now));
    }
}

#[test]
fn a_place_that_a_late_answer_frees_is_given_to_nobody_who_is_well() {
    for parallel in [16, 4, 1] {
        let mut planner = planner(&[48 * HOUR; 60]);
        planner.policy.parallel = parallel;
        let (first, later) =
            sent_into_silence(&mut planner, Duration::from_secs(11), Duration::from_secs(30));
        assert_eq!(first.len(), parallel);
        assert!(!later.is_empty(), "those in doubt are the probes");
        assert!(later.iter().all(|account| first.contains(account)), "{parallel}: {first:?} {later:?}");
    }
}

#[test]
fn an_oauth_that_may_be_answering_late_is_probed_with_accounts_that_are_in_doubt_already() {
    let mut planner = planner(&[48 * HOUR; 60]);
    let (first, later) = sent_into_silence(&mut planner, Duration::from_mins(3), Duration::from_mins(50));
    assert_eq!(first.len(), Policy::default().parallel);
    assert!(later.len() > 5, "it is probed: {later:?}");
    assert!(later.iter().all(|account| first.contains(account)), "{first:?} {later:?}");
    assert!(planner.is_oauth_down());
}

#[test]
fn one_account_more_is_put_at_risk_in_an_hour_where_those_in_doubt_keep_failing() {
    let mut planner = planner(&[48 * HOUR; 60]);
    let (first, later) = sent_into_silence(&mut planner, Duration::from_mins(3), 5 * HOUR);
    let mut others: Vec<_> = later.iter().filter(|account| !first.contains(account)).collect();
    others.sort();
    others.dedup();
    assert!((1..=5).contains(&others.len()), "{others:?}");
}

#[test]
fn answers_that_come_late_are_taken_and_the_rest_follows() {
    let mut planner = planner(&[48 * HOUR; 60]);
    let mut now = Duration::ZERO;
    let mut renewed = 0;
    while renewed < 60 {
        let mut sent = Vec::new();
        while let Next::Refresh(account) = planner.next(at(now)) {
            sent.push(account);
        }
        now += Duration::from_secs(8);
        for &account in &sent {
            planner.late(account, at(now), u64::MAX);
        }
        now += Duration::from_secs(4);
        for &account in &sent {
            assert_eq!(planner.answered(account, RENEWED, at(now), 0), Some(Decision::Renewed));
            renewed += 1;
        }
    }
    assert!(now < Duration::from_mins(3), "{now:?}");
    assert!(!planner.is_oauth_down());
}

#[test]
fn an_answer_that_never_comes_holds_up_nobody_else_for_long() {
    let mut planner = planner(&[48 * HOUR; 40]);
    planner.policy.parallel = 1;
    let mut now = Duration::from_secs(1);
    let Next::Refresh(slow) = planner.next(at(now)) else { panic!("all are due") };
    assert_eq!(planner.next(at(now)), Next::Wait(LONGEST_NAP), "there is one place");
    now += Duration::from_secs(8);
    planner.late(slow, at(now), 0);
    assert_eq!(planner.next(at(now)), Next::Wait(probe::HOLD), "OAuth may be answering nobody in time");
    now += probe::HOLD;
    for _ in 1..40 {
        now += Duration::from_secs(1);
        let Next::Refresh(account) = planner.next(at(now)) else { panic!("its place is free") };
        assert_eq!(planner.answered(account, RENEWED, at(now), 0), Some(Decision::Renewed));
    }
    assert_eq!(planner.counts(), (40, 0, 1));
    assert_eq!(planner.answered(slow, RENEWED, at(now), 0), Some(Decision::Renewed));
    assert_eq!(planner.overview(at(now)).late, 0);
}

#[test]
fn a_throttle_without_a_time_pauses_twice_as_long_each_time_and_a_failure_as_long_as_it_asks() {
    let mut planner = planner(&[48 * HOUR]);
    let (mut now, mut waits) = (Duration::ZERO, Vec::new());
    for _ in 0..6 {
        answer(&mut planner, 0, Outcome::throttled(None), now);
        let Next::Wait(wait) = planner.next(at(now)) else { panic!("it is throttled") };
        waits.push(wait.as_secs());
        now += wait;
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32]);
    let failed = Outcome::failed(Some(Duration::from_secs(90)));
    answer(&mut planner, 0, failed, now);
    assert_eq!(planner.next(at(now)), Next::Wait(Duration::from_secs(1)), "its own");
    assert_eq!(planner.next(at(now + Duration::from_secs(40))), Next::Wait(Duration::from_secs(50)));
    now += Duration::from_secs(90);
    answer(&mut planner, 0, RENEWED, now);
    planner.heard(Outcome::throttled(None), at(now), 0);
    assert_eq!(planner.take_call(at(now)), Err(Duration::from_secs(1)), "an answer ends the series");
}

#[test]
fn an_answer_lost_after_an_outage_is_asked_for_as_soon_as_any() {
    let mut planner = planner(&[48 * HOUR]);
    let mut now = Duration::ZERO;
    while now < 6 * HOUR {
        now += Duration::from_secs(1);
        if planner.next(at(now)) == Next::Refresh(0) {
            planner.answered(0, Outcome::SILENT, at(now), u64::MAX);
        }
    }
    assert!(planner.is_oauth_down());
    for _ in 0..9 {
        planner.heard(RENEWED, at(now), 0);
    }
    planner.hasten(0, at(now));
    assert_eq!(planner.next(at(now)), Next::Refresh(0));
    let decision = planner.answered(0, Outcome::SILENT, at(now), u64::MAX);
    assert!(
        matches!(decision, Some(Decision::Retry { within }) if within < Duration::from_secs(3)),
        "{decision:?}"
    );
}

#[test]
fn of_two_the_one_left_is_judged_though_the_other_is_dead() {
    let mut planner = planner(&[48 * HOUR]);
    planner.plan(1, &Record { end: Some(End::Revoked), ..renewed(HOUR) }, at(Duration::ZERO), 0);
    assert_eq!(planner.next(at(Duration::ZERO)), Next::Refresh(0));
    planner.answered(0, Outcome::Refused(Objection::Grant), at(Duration::ZERO), 0);
    planner.hasten(0, at(HOUR));
    assert_eq!(planner.next(at(HOUR)), Next::Refresh(0));
    assert_eq!(
        planner.answered(0, Outcome::Refused(Objection::Grant), at(HOUR), 0),
        Some(Decision::Ended(End::Revoked))
    );
}

#[test]
fn after_day_30_very_many_are_believed_unless_the_clock_has_leapt() {
    let ended = |leap: Duration, ago: Duration| {
        let mut planner = planner(&[ago; 50]);
        planner.next(at(Duration::ZERO));
        planner.answered(0, Outcome::WITHHELD, at(Duration::ZERO), 0);
        let mut ended = 0;
        for second in 1..4000 {
            let moment = at(Duration::from_secs(second));
            let moment = Moment { wall: moment.wall.plus(leap), ..moment };
            while let Next::Refresh(account) = planner.next(moment) {
                let decision = planner.answered(account, Outcome::Refused(Objection::Grant), moment, 0);
                ended += usize::from(decision == Some(Decision::Ended(End::Lapsed)));
            }
        }
        ended
    };
    assert_eq!(ended(Duration::ZERO, 31 * 24 * HOUR), 50);
    assert_eq!(ended(29 * 24 * HOUR, 2 * 24 * HOUR), 0);
}

#[test]
fn nobody_is_late_before_an_hour_has_passed_since_it_was_planned() {
    for pace in [Pace::AlwaysFresh, Pace::Every(12 * HOUR), Pace::Every(24 * HOUR)] {
        let mut planner = Planner::new(Policy { pace, ..Policy::default() });
        let import = Record { expires_at: Millis(0), ..renewed(24 * HOUR) };
        planner.plan(0, &import, at(Duration::ZERO), 0);
        planner.plan(1, &Record { told: Notice::Late, ..import }, at(Duration::ZERO), 0);
        assert_eq!(planner.news_of(0, at(HOUR)), None, "{pace:?}");
        let later = at(HOUR + Duration::from_secs(1));
        assert_eq!(planner.news_of(0, later), Some(Notice::Late), "{pace:?}");
        assert_eq!(planner.news_of(1, later), None, "{pace:?}");
    }
    let mut planner = Planner::new(Policy { pace: Pace::AlwaysFresh, ..Policy::default() });
    planner.plan(0, &Record { told: Notice::Late, ..renewed(HOUR) }, at(2 * HOUR), 0);
    assert_eq!(planner.news_of(0, at(2 * HOUR)), None, "a start takes nothing back");
}

#[test]
fn what_is_heard_of_others_holds_for_all_and_calls_wait_like_refreshes() {
    let now = at(Duration::ZERO);
    let mut throttled = planner(&[48 * HOUR]);
    let wait = Duration::from_secs(40);
    throttled.heard(Outcome::throttled(Some(wait)), now, 0);
    assert_eq!(throttled.trouble(now), Some((Reason::Throttled, wait)));
    assert_eq!((throttled.take_call(now), throttled.next(now)), (Err(wait), Next::Wait(wait)));
    assert_eq!(throttled.trouble(at(wait)), None);

    let mut halted = planner(&[48 * HOUR]);
    halted.heard(Outcome::Refused(Objection::Client), now, 0);
    assert_eq!(halted.trouble(now), Some((Reason::ClientRefused, CLIENT_PAUSE)));
    assert_eq!(halted.take_call(now), Err(CLIENT_PAUSE));

    let mut down = planner(&[48 * HOUR]);
    for _ in 0..5 {
        down.heard(Outcome::NO_CONNECTION, now, 0);
    }
    let pause = Duration::from_secs(2);
    assert_eq!(down.trouble(now), Some((Reason::OauthDown, pause)));
    assert_eq!((down.take_call(now), down.next(now)), (Err(pause), Next::Wait(pause)));
    assert_eq!(down.take_call(at(pause)), Ok(()), "a call may be the probe");
    assert!(matches!(down.next(at(pause)), Next::Wait(_)));
    down.heard(RENEWED, at(pause), 0);
    assert_eq!(down.next(at(pause)), Next::Refresh(0));
}

#[test]
fn an_account_that_waits_on_an_answer_that_was_kept_says_so_until_it_is_tried_again() {
    let mut planner = planner(&[48 * HOUR]);
    let kept = Outcome::Answer(Gain::Kept { wait: 9 * HOUR });
    assert!(!planner.waits_on_kept_answer(0));
    answer(&mut planner, 0, kept, Duration::ZERO);
    assert!(planner.waits_on_kept_answer(0));
    assert!(matches!(planner.next(at(HOUR)), Next::Wait(_)) && planner.waits_on_kept_answer(0));
    answer(&mut planner, 0, RENEWED, 9 * HOUR);
    assert!(!planner.waits_on_kept_answer(0));
}

#[test]
fn a_slot_stays_small() {
    assert!(size_of::<ScheduleEntry>() <= 28, "{}", size_of::<ScheduleEntry>());
}

proptest! {
    #[test]
    fn accounts_imported_together_spread_out(count in 200_u32..1000, seed: u64) {
        let mut planner = Planner::new(Policy::default());
        let random = |n: u32| (seed ^ u64::from(n)).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(31).wrapping_mul(0xD6E8_FEB8_6659_FD93);
        for account in 0..count {
            planner.plan(account, &renewed(Duration::ZERO), at(Duration::ZERO), random(account));
        }
        let mut hours = [0_u32; 25];
        for (_, entry) in planner.queue.entries() {
            let wait = entry.due - seconds(START);
            prop_assert!((18 * 3600..=24 * 3600).contains(&wait), "{wait}");
            hours[wait as usize / 3600] += 1;
        }
        prop_assert!(hours.iter().all(|&n| n < count / 3), "{hours:?}");
    }

    #[test]
    fn whatever_comes_one_is_in_flight_for_an_account_and_nobody_gets_lost(
        steps in prop::collection::vec((0_u8..9, 0_u32..6, 0_u64..100_000, any::<u64>()), 1..200),
    ) {
        let mut planner = planner(&[HOUR; 6]);
        let (mut now, mut flying) = (Duration::ZERO, std::collections::BTreeSet::new());
        for (what, account, ms, random) in steps {
            now += Duration::from_millis(ms * 10);
            match what {
                0..4 => match planner.next(at(now)) {
                    Next::Refresh(account) => prop_assert!(flying.insert(account), "twice in flight"),
                    Next::Wait(wait) => prop_assert!(wait > Duration::ZERO && wait <= LONGEST_NAP),
                },
                4 => planner.plan(account, &renewed(HOUR), at(now), random),
                5 => planner.hasten(account, at(now)),
                _ if flying.remove(&account) => {
                    let answer = [RENEWED, Outcome::SILENT, Outcome::Refused(Objection::Grant)][usize::from(what - 6)];
                    planner.answered(account, answer, at(now), random);
                }
                _ => {}
            }
            let (all, due, in_flight) = planner.counts();
            prop_assert_eq!(in_flight, flying.len());
            prop_assert!(due + in_flight <= all);
        }
        for account in flying {
            planner.answered(account, RENEWED, at(now), 0);
        }
        let ended = planner.queue.entries().filter(|(_, entry)| entry.place == Place::Nowhere).count();
        prop_assert_eq!(planner.counts().0 + ended, 6);
    }
}

#[test]
fn while_nobody_has_told_the_time_the_next_to_come_due_is_refreshed_and_no_other() {
    let at = |ticks| Moment { wall: START.plus(ticks), ticks };
    let (start, listened) = (at(Duration::ZERO), at(LISTEN));
    let mut planner = Planner::new(Policy::default());
    for (account, ago) in (0..).zip([1, 9, 5]) {
        planner.plan(account, &renewed(ago * HOUR), start, 0);
    }
    planner.ask_the_time(start);
    assert!(matches!(planner.next(start), Next::Wait(_)), "Ring may tell it unasked");
    // What has no answer told the time no more than silence: the next one is asked, not again the one that failed.
    for asked in [1, 2, 0] {
        planner.ask_the_time(listened);
        assert_eq!(planner.next(listened), Next::Refresh(asked));
        planner.ask_the_time(listened);
        assert!(matches!(planner.next(listened), Next::Wait(_)), "one at a time");
        planner.answered(asked, Outcome::SILENT, listened, 0);
    }
}

#[test]
fn tokens_put_in_within_the_second_of_refused_ones_are_other_tokens() {
    let untried = Record { proof: Proof::Untried, ..renewed(30 * HOUR) };
    let mut planner = Planner::new(Policy::default());
    planner.plan(0, &untried, at(Duration::ZERO), 0);
    assert!(planner.knows(0, &untried));
    let decision = answer(&mut planner, 0, Outcome::Refused(Objection::Grant), Duration::ZERO);
    assert!(matches!(decision, Some(Decision::Retry { .. })), "{decision:?}");
    assert!(planner.knows(0, &Record { proof: Proof::Refused, ..untried }));
    assert!(!planner.knows(0, &untried), "the store has tokens that were not tried");
}
