//! The schedule at a glance is what a look at every account would give, and looks at none.

use super::*;
use crate::domain::looks::counted;
use crate::domain::refresh::End;

/// The same, from a look at every account.
fn recount(planner: &Planner, now: Moment) -> ([usize; 7], usize, Option<Millis>) {
    let (mut by_health, mut failing, mut nearest) = ([0; 7], 0, None);
    for (account, entry) in planner.queue.entries() {
        by_health[planner.health(account, now).unwrap() as usize] += 1;
        if entry.end.is_none() {
            failing += usize::from(entry.failures > 0 || entry.proof == Proof::Refused);
            nearest = nearest.into_iter().chain(planner.lapses_at(account)).min();
        }
    }
    (by_health, failing, nearest)
}

fn glance(planner: &mut Planner, now: Moment) -> ([usize; 7], usize, Option<Millis>) {
    let overview = planner.overview(now);
    (overview.by_health, overview.failing, overview.nearest_lapse)
}

fn record(random: u64) -> Record {
    let ago = HOUR * u32::try_from(random % 800).unwrap();
    let of = |choice: u64| random >> 16 & choice == 0;
    Record {
        renewed_at: START.minus(ago),
        expires_at: START.plus(HOUR).minus(ago),
        end: [None, None, None, None, Some(End::Lapsed), Some(End::Revoked)][(random >> 24) as usize % 6],
        unsettled: of(4),
        told: if of(3) { Notice::Late } else { Notice::Fresh },
        proof: [Proof::Honoured, Proof::Untried, Proof::Refused][(random >> 32) as usize % 3],
    }
}

proptest! {
    #[test]
    fn it_is_what_a_look_at_every_account_gives_whatever_came_before(
        always_fresh: bool,
        steps in prop::collection::vec((0_u8..14, 0_u32..40, 0_u64..400_000, any::<u64>()), 1..300),
    ) {
        let pace = if always_fresh { Pace::AlwaysFresh } else { Policy::default().pace };
        let mut planner = Planner::new(Policy { pace, ..Policy::default() });
        let (mut ticks, mut set) = (Duration::ZERO, 0_i64);
        for (what, account, seconds, random) in steps {
            ticks += Duration::from_secs(seconds / 20);
            // The wall clock is set now and then, either way.
            if random % 16 == 0 {
                set += i64::try_from(seconds).unwrap() * 2 - 400_000;
            }
            let wall = Millis(START.plus(ticks).0.saturating_add_signed(set * 1000));
            let now = Moment { wall, ticks: HOUR + ticks };
            let answers = [
                RENEWED,
                Outcome::SILENT,
                Outcome::Refused(Objection::Grant),
                Outcome::Refused(Objection::Client),
                Outcome::Answer(Gain::Kept { wait: HOUR }),
            ];
            match what {
                0..3 => planner.plan(account, &record(random), now, random),
                3..6 => drop(planner.next(now)),
                6..9 => drop(planner.answered(account, answers[account as usize % answers.len()], now, random)),
                9 => planner.remove(account, now),
                10 => planner.hasten(account, now),
                11 => planner.reconsider(account, now),
                12 => planner.told(account, Notice::Late, now),
                _ => planner.ask_the_time(now),
            }
            let counted = recount(&planner, now);
            prop_assert_eq!(glance(&mut planner, now), counted);
            // At another time the same accounts may be called otherwise.
            let later = Moment { wall: now.wall.plus(Duration::from_secs(random >> 44)), ..now };
            let counted = recount(&planner, later);
            prop_assert_eq!(glance(&mut planner, later), counted);
        }
    }
}

#[test]
fn a_glance_looks_at_no_account() {
    const ACCOUNTS: u32 = 50_000;
    let mut planner = Planner::new(Policy::default());
    for account in 0..ACCOUNTS {
        planner.plan(account, &renewed(Duration::from_secs(u64::from(account))), at(Duration::ZERO), 0);
    }
    let recounted = recount(&planner, at(Duration::ZERO));
    assert_eq!(recounted.0.iter().sum::<usize>(), ACCOUNTS as usize);
    assert_eq!(glance(&mut planner, at(Duration::ZERO)), recounted);
    // In this outage one account a second begins to be late; those seconds are passed, and no account is looked at.
    planner.overview(at(12 * HOUR));
    for minutes in 1..=40 {
        let now = at(12 * HOUR + Duration::from_mins(minutes));
        let (seen, looks) = counted(|| glance(&mut planner, now));
        let recounted = recount(&planner, now);
        assert!(recounted.0[Health::Late as usize] > 1000, "{recounted:?}");
        assert_eq!((seen, looks), (recounted, 60));
    }
}
