//! The rules of a backlog, by example and by steps in any order; and what a call looks at.

use proptest::prelude::*;

use super::*;
use crate::domain::looks::counted;

fn entry(seq: u64) -> Entry {
    Entry { seq, at: 0, user: 1, bytes: 100 }
}

fn want(max_events: usize, until: u64) -> Want {
    Want { max_events, max_bytes: u64::MAX, until: Millis(until), scope: Scope::default() }
}

fn seqs(lease: &Lease) -> Vec<u64> {
    lease.events.iter().map(|t| t.entry.seq).collect()
}

fn filled(events: &[(u32, u64)]) -> Backlog {
    let mut backlog = Backlog::default();
    for &(account, seq) in events {
        backlog.push(account, entry(seq));
    }
    backlog
}

#[test]
fn a_lane_is_free_again_when_the_first_event_of_its_expired_lease_is_buried() {
    let mut backlog = filled(&[(1, 1), (1, 2)]);
    backlog.take(Millis(0), &want(9, 10)).unwrap();
    assert_eq!(backlog.expired(Millis(10)), [(1, 1)]);
    backlog.remove(1, 1);
    assert_eq!(seqs(&backlog.take(Millis(11), &want(9, 20)).unwrap()), [2]);
}

#[test]
fn one_holder_has_an_account_and_others_go_on() {
    let mut backlog = filled(&[(1, 1), (2, 2), (1, 3)]);
    let first = backlog.take(Millis(0), &want(1, 10)).unwrap();
    assert_eq!(seqs(&first), [1]);
    let second = backlog.take(Millis(0), &want(9, 10)).unwrap();
    assert_eq!(seqs(&second), [2], "account 1 is held");
    assert!(backlog.take(Millis(0), &want(9, 10)).is_none());
    backlog.remove(1, 1);
    assert_eq!(seqs(&backlog.take(Millis(0), &want(9, 10)).unwrap()), [3]);
}

#[test]
fn a_failure_keeps_the_account_waiting_and_the_order() {
    let mut backlog = filled(&[(1, 1), (1, 2), (1, 3)]);
    let lease = backlog.take(Millis(0), &want(3, 10)).unwrap();
    backlog.remove(1, 1);
    backlog.failed(1, 2, 1, Millis(50));
    assert_eq!(backlog.check(lease.id, 1, 3), Err(NotHeld), "went back with the failure");
    assert!(backlog.take(Millis(49), &want(3, 60)).is_none());
    assert_eq!(backlog.next_change(), Some(Millis(50)));
    let again = backlog.take(Millis(50), &want(3, 60)).unwrap();
    assert_eq!(again.events.iter().map(|t| (t.entry.seq, t.attempt)).collect::<Vec<_>>(), [(2, 2), (3, 1)]);
}

#[test]
fn what_is_given_back_for_later_waits_with_its_account_and_counts_no_failure() {
    let mut backlog = filled(&[(1, 1), (1, 2), (2, 3)]);
    let lease = backlog.take(Millis(0), &want(1, 10)).unwrap();
    backlog.give_back(lease.id, 1, Some(Millis(50)));
    assert_eq!(seqs(&backlog.take(Millis(49), &want(9, 60)).unwrap()), [3], "the others go on");
    assert_eq!(backlog.next_change(), Some(Millis(50)));
    let again = backlog.take(Millis(50), &want(9, 60)).unwrap();
    assert_eq!(again.events.iter().map(|t| (t.entry.seq, t.attempt)).collect::<Vec<_>>(), [(1, 1), (2, 1)]);
}

#[test]
fn an_expired_lease_frees_nothing_before_the_attempt_is_counted() {
    let mut backlog = filled(&[(1, 1), (1, 2)]);
    let lease = backlog.take(Millis(0), &want(2, 10)).unwrap();
    assert!(backlog.expired(Millis(9)).is_empty());
    assert_eq!(backlog.expired(Millis(10)), [(1, 1)]);
    assert!(backlog.take(Millis(10), &want(2, 20)).is_none(), "not yet counted");
    assert_eq!(backlog.extend(lease.id, Millis(99)), Err(NotHeld), "too late");
    backlog.failed(1, 1, 1, Millis(10));
    assert_eq!(backlog.check(lease.id, 1, 1), Err(NotHeld));
    assert_eq!(seqs(&backlog.take(Millis(10), &want(2, 20)).unwrap()), [1, 2]);
}

#[test]
fn leases_and_delays_go_along_with_a_clock_that_is_set() {
    let by = |ms| Duration::from_millis(ms);
    for (jump, now) in [(Jump::Ahead(by(500)), 505), (Jump::Back(by(500)), 5)] {
        let start = if now == 5 { 500 } else { 0 };
        let mut backlog = filled(&[(1, 1), (2, 2), (3, 3)]);
        let lease = backlog.take(Millis(start), &want(1, start + 10)).unwrap();
        let ended = backlog.take(Millis(start), &want(1, start + 1)).unwrap();
        backlog.failed(3, 3, 1, Millis(start + 20));
        assert_eq!(backlog.expired(Millis(start + 5)), [(2, 2)]);

        backlog.carry(jump, Millis(now));
        assert_eq!(backlog.next_deadline(), Some(Millis(now + 5)));
        assert!(backlog.expired(Millis(now + 4)).is_empty());
        assert!(backlog.take(Millis(now + 14), &want(9, 900)).is_none());
        assert_eq!(seqs(&backlog.take(Millis(now + 15), &want(9, 900)).unwrap()), [3]);
        assert_eq!(backlog.extend(ended.id, Millis(900)), Err(NotHeld), "over is over");
        assert_eq!(backlog.expired(Millis(now + 5)), [(1, 1)]);
        assert_eq!(backlog.check(lease.id, 1, 1), Ok(()));
    }
}

#[test]
fn nothing_is_carried_farther_than_a_lease_may_last() {
    let mut backlog = filled(&[(1, 1)]);
    let year = Duration::from_hours(24 * 365);
    let now = Millis(0).plus(year);
    // Taken after the jump and before it was noticed.
    backlog.take(now, &want(1, now.0 + 10)).unwrap();
    backlog.carry(Jump::Ahead(year), now);
    assert_eq!(backlog.next_deadline(), Some(now.plus(FARTHEST)));
}

#[test]
fn a_user_sees_only_their_events() {
    let mut backlog = Backlog::default();
    for (account, seq, user) in [(1, 1, 7), (2, 2, 8), (1, 3, 8)] {
        backlog.push(account, Entry { user, ..entry(seq) });
    }
    let of = |user| Scope { users: Some([user].into()), accounts: None };
    let only = |user| Want { scope: of(user), ..want(9, 10) };
    let eight = backlog.take(Millis(0), &only(8)).unwrap();
    assert_eq!(seqs(&eight), [2, 3], "account 1 was 7's before; the oldest of the user's own first");
    assert!(backlog.take(Millis(0), &only(7)).is_none(), "account 1 has a holder");
    assert_eq!(backlog.newest(9, u64::MAX, &of(7)).iter().map(|e| e.1.seq).collect::<Vec<_>>(), [1]);
}

#[test]
fn accounts_in_scope_go_oldest_first() {
    let mut backlog = filled(&[(1, 1), (2, 2), (3, 3), (2, 4)]);
    let scope = |accounts: &[u32]| Scope { users: None, accounts: Some(accounts.iter().copied().collect()) };
    let only = |accounts| Want { scope: scope(accounts), ..want(9, 10) };
    assert_eq!(
        backlog.newest(2, u64::MAX, &scope(&[1, 2])).iter().map(|e| e.1.seq).collect::<Vec<_>>(),
        [2, 4]
    );
    assert!(backlog.take(Millis(0), &only(&[9])).is_none());
    assert_eq!(seqs(&backlog.take(Millis(0), &only(&[3, 2])).unwrap()), [2, 4, 3]);
    assert!(backlog.take(Millis(0), &only(&[2])).is_none(), "it has a holder");
    assert_eq!(seqs(&backlog.take(Millis(0), &want(9, 10)).unwrap()), [1]);
}

#[test]
fn a_released_lease_is_free_at_once_and_holds_nothing() {
    let mut backlog = filled(&[(1, 1), (2, 2)]);
    let first = backlog.take(Millis(0), &want(9, 10)).unwrap();
    assert!(backlog.release(first.id));
    assert!(!backlog.release(first.id));
    assert_eq!((backlog.leased(), backlog.next_deadline()), (0, None));
    let again = backlog.take(Millis(0), &want(9, 10)).unwrap();
    assert_eq!(again.events, first.events, "no attempt was counted");
    assert!(!backlog.release(first.id), "the second holder keeps them");
}

#[test]
fn bytes_bound_a_lease_but_one_event_always_goes() {
    let mut backlog = filled(&[(1, 1), (1, 2), (1, 3)]);
    let small = Want { max_bytes: 10, ..want(9, 10) };
    assert_eq!(seqs(&backlog.take(Millis(0), &small).unwrap()), [1]);
    backlog.remove(1, 1);
    let two = Want { max_bytes: 200, ..want(9, 10) };
    assert_eq!(seqs(&backlog.take(Millis(0), &two).unwrap()), [2, 3]);
}

#[test]
fn the_oldest_unleased_are_found_across_accounts() {
    let mut backlog = filled(&[(1, 1), (2, 2), (1, 3), (3, 4), (2, 5)]);
    let seqs = |b: &Backlog, max| b.oldest(max).map(|(_, e)| e.seq).collect::<Vec<_>>();
    assert_eq!(seqs(&backlog, 9), [1, 2, 3, 4, 5]);
    backlog.take(Millis(0), &want(1, 10)).unwrap();
    backlog.take(Millis(0), &want(1, 10)).unwrap();
    backlog.failed(2, 2, 1, Millis(99));
    assert_eq!(seqs(&backlog, 2), [2, 4], "account 1 is leased, account 2 only delayed");
}

#[test]
fn lease_ids_of_an_earlier_run_fit_nothing() {
    let mut before = filled(&[(1, 1)]);
    let old = before.take(Millis(0), &want(1, 10)).unwrap();
    let mut reopened = Backlog::default();
    reopened.succeed(&before);
    for mut after in [reopened, Backlog::opened_at(Millis(1))] {
        after.push(1, entry(1));
        after.take(Millis(0), &want(1, 10)).unwrap();
        assert_eq!(after.check(old.id, 1, 1), Err(NotHeld));
    }
}

/// Lanes of the accounts from 1 to `lanes` with an event each, of user 1.
fn wide(lanes: u32) -> Backlog {
    filled(&(1..=lanes).map(|n| (n, u64::from(n))).collect::<Vec<_>>())
}

fn of_users(users: &[u32]) -> Scope {
    Scope { users: Some(users.iter().copied().collect()), accounts: None }
}

#[test]
fn a_taker_of_one_user_looks_at_that_user_s_lanes_only() {
    let mut backlog = wide(10_000);
    backlog.push(20_000, Entry { user: 2, ..entry(20_000) });
    let only = |user| Want { scope: of_users(&[user]), ..want(9, 10) };
    let (lease, looks) = counted(|| backlog.take(Millis(0), &only(2)));
    assert_eq!(seqs(&lease.unwrap()), [20_000]);
    assert!(looks <= 5, "{looks}");
    for user in [2, 3] {
        let (none, looks) = counted(|| backlog.take(Millis(0), &only(user)));
        assert!(none.is_none() && looks <= 2, "user {user}: {looks}");
    }
    let (lease, looks) = counted(|| backlog.take(Millis(0), &only(1)));
    assert_eq!((lease.unwrap().events.len(), looks <= 30), (9, true), "{looks}");
}

#[test]
fn a_taker_of_many_users_or_accounts_looks_at_the_fewer_of_them_and_what_is_free() {
    let many: Vec<u32> = (1..=10_000).collect();
    let mut backlog = wide(3);
    let accounts = Scope { users: None, accounts: Some(many.iter().copied().collect()) };
    for scope in [of_users(&many), accounts] {
        let (lease, looks) = counted(|| backlog.take(Millis(0), &Want { scope, ..want(9, 10) }));
        let lease = lease.unwrap();
        assert_eq!((seqs(&lease), looks <= 12), (vec![1, 2, 3], true), "{looks}");
        backlog.release(lease.id);
    }
}

#[test]
fn settling_a_lease_looks_at_each_event_a_few_times() {
    let mut backlog = Backlog::default();
    for seq in 1..=6000 {
        backlog.push(u32::try_from(seq % 3).unwrap(), entry(seq));
    }
    let lease = backlog.take(Millis(0), &want(6000, 10)).unwrap();
    let settle = || {
        for seq in lease.events.iter().map(|taken| taken.entry.seq) {
            let account = backlog.holder(lease.id, seq).unwrap();
            backlog.check(lease.id, account, seq).unwrap();
            backlog.remove(account, seq);
        }
    };
    let ((), looks) = counted(settle);
    assert!(looks <= 4 * 6000 && backlog.is_empty(), "{looks}");
}

#[test]
fn the_oldest_and_the_newest_are_found_without_a_look_at_the_others() {
    let mut backlog = wide(10_000);
    for account in 1..=5000 {
        backlog.failed(account, u64::from(account), 1, Millis(99));
    }
    let (oldest, looks) = counted(|| backlog.oldest(1).next());
    assert_eq!((oldest.unwrap().0, looks <= 2), (1, true), "{looks}");
    // The first question makes the order.
    backlog.newest(1, u64::MAX, &Scope::default());
    let (newest, looks) = counted(|| backlog.newest(10, u64::MAX, &Scope::default()));
    assert_eq!((newest.len(), newest[9].0, looks <= 20), (10, 10_000, true), "{looks}");
    backlog.push(1, Entry { user: 2, ..entry(10_001) });
    let (newest, looks) = counted(|| backlog.newest(10, u64::MAX, &of_users(&[2])));
    assert_eq!((newest, looks <= 5), (vec![(1, Entry { user: 2, ..entry(10_001) })], true), "{looks}");
}

#[test]
fn the_order_of_the_newest_is_kept_while_it_is_asked_for() {
    let mut backlog = wide(10);
    assert!(backlog.latest.is_none());
    let last = |backlog: &mut Backlog| backlog.newest(1, u64::MAX, &Scope::default())[0].1.seq;
    assert_eq!(last(&mut backlog), 10);
    for seq in 11..=10 + 1040 {
        backlog.push(u32::try_from(seq % 10).unwrap() + 1, entry(seq));
        assert!(backlog.latest.is_some(), "{seq}");
    }
    backlog.push(3, entry(2000));
    assert!(backlog.latest.is_none(), "nobody asks any more");
    assert_eq!(last(&mut backlog), 2000);
    check(&mut backlog);
}

#[test]
fn the_newest_are_bounded_by_bytes_too_but_one_is_always_given() {
    let mut backlog = filled(&[(1, 1), (2, 2), (1, 3)]);
    let mut seqs =
        |bytes| backlog.newest(9, bytes, &Scope::default()).iter().map(|n| n.1.seq).collect::<Vec<_>>();
    assert_eq!((seqs(10), seqs(200), seqs(300)), (vec![3], vec![2, 3], vec![1, 2, 3]));
}

/// What is kept to find lanes fast is what a look at all of them finds.
fn check(backlog: &mut Backlog) {
    let (mut free, mut latest, mut delayed) = (Order::default(), Order::default(), BTreeSet::new());
    for (&account, lane) in &backlog.lanes {
        let ends = |events: Vec<u64>| (events.first().copied(), events.last().copied());
        let (first, last) = ends(lane.entries().iter().map(|e| e.seq).collect());
        latest.shift(account, None, last);
        if lane.hold == Hold::Free {
            free.shift(account, None, first);
        } else if let Hold::Delayed(_) = lane.hold {
            delayed.extend(first.map(|first| (first, account)));
        }
        let users: BTreeSet<u32> = lane.entries().iter().map(|e| e.user).collect();
        for user in users {
            let own = lane.entries().iter().filter(|e| e.user == user).map(|e| e.seq);
            let (first, last) = ends(own.collect());
            latest.shift_user(account, user, None, last);
            if lane.hold == Hold::Free {
                free.shift_user(account, user, None, first);
            }
        }
    }
    assert_eq!((&backlog.free, &backlog.delayed_by_age), (&free, &delayed));
    assert!(backlog.latest.as_ref().is_none_or(|kept| *kept == latest), "{:?}", backlog.latest);
    for scope in [Scope::default(), of_users(&[1]), of_users(&[2]), of_users(&[1, 2, 3, 4, 5, 6, 7, 8, 9])] {
        let mut all: Vec<_> = backlog.lanes.values().flat_map(Lane::entries).copied().collect();
        all.retain(|e| scope.has_user(e.user));
        all.sort_unstable_by_key(|e| e.seq);
        let newest: Vec<_> = backlog.newest(5, u64::MAX, &scope).into_iter().map(|n| n.1).collect();
        assert_eq!(newest, all[all.len().saturating_sub(5)..]);
    }
}

#[derive(Debug, Clone)]
enum Step {
    Push(u32, u32),
    Take(usize, u32),
    Done(usize),
    Fail(usize),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..4u32, 1..3u32).prop_map(|(account, user)| Step::Push(account, user)),
        (1..5usize, 0..3u32).prop_map(|(max, user)| Step::Take(max, user)),
        (0..9usize).prop_map(Step::Done),
        (0..9usize).prop_map(Step::Fail),
        (1..30u64).prop_map(Step::Pass),
    ]
}

proptest! {
    /// Whatever happens, an account's events leave in order, one holder at a time, and none is lost.
    #[test]
    fn order_per_account_holds(steps in prop::collection::vec(step(), 1..200)) {
        let mut backlog = Backlog::default();
        let (mut now, mut seq) = (0u64, 0u64);
        let mut open: Vec<(u64, Taken)> = Vec::new();
        let mut left: HashMap<(u32, u32), u64> = HashMap::new();
        let mut waiting: BTreeSet<u64> = BTreeSet::new();
        for step in steps {
            match step {
                Step::Push(account, user) => {
                    seq += 1;
                    backlog.push(account, Entry { user, ..entry(seq) });
                    waiting.insert(seq);
                }
                Step::Take(max, user) => {
                    let scope = if user == 0 { Scope::default() } else { of_users(&[user]) };
                    let want = Want { scope: scope.clone(), ..want(max, now + 20) };
                    let taken = backlog.take(Millis(now), &want);
                    if let Some(lease) = taken {
                        prop_assert!(lease.events.iter().all(|t| scope.has_user(t.entry.user)));
                        for taken in lease.events {
                            let other = open.iter().any(|(id, t)| *id != lease.id
                                && t.account == taken.account && backlog.check(*id, t.account, t.entry.seq).is_ok());
                            prop_assert!(!other, "two holders of account {}", taken.account);
                            open.push((lease.id, taken));
                        }
                    }
                }
                Step::Done(i) if i < open.len() => {
                    // A careful consumer settles in order: the first open event of the account.
                    let (lease, _) = open[i];
                    let account = open[i].1.account;
                    let first = open.iter().position(|(l, t)| *l == lease && t.account == account).unwrap();
                    let (lease, taken) = open.remove(first);
                    if backlog.check(lease, account, taken.entry.seq).is_ok() {
                        backlog.remove(account, taken.entry.seq);
                        waiting.remove(&taken.entry.seq);
                        let last = left.entry((account, taken.entry.user)).or_default();
                        prop_assert!(*last < taken.entry.seq, "out of order");
                        *last = taken.entry.seq;
                    }
                }
                Step::Fail(i) if i < open.len() => {
                    let (lease, taken) = open.remove(i);
                    let account = taken.account;
                    if backlog.check(lease, account, taken.entry.seq).is_ok() {
                        backlog.failed(account, taken.entry.seq, taken.attempt, Millis(now + 5));
                    }
                }
                Step::Pass(ms) => {
                    now += ms;
                    for (account, seq) in backlog.expired(Millis(now)) {
                        let failures = backlog.failures(seq) + 1;
                        backlog.failed(account, seq, failures, Millis(now));
                    }
                }
                Step::Done(_) | Step::Fail(_) => {}
            }
            prop_assert_eq!(backlog.len(), waiting.len() as u64);
            prop_assert_eq!(backlog.bytes(), waiting.len() as u64 * 100);
            check(&mut backlog);
        }
        // Everything that is left can still be taken once all leases are over.
        now += 1_000;
        for (account, seq) in backlog.expired(Millis(now)) {
            backlog.failed(account, seq, 1, Millis(now));
        }
        let mut rest = BTreeSet::new();
        while let Some(lease) = backlog.take(Millis(now), &want(100, now + 1)) {
            rest.extend(lease.events.iter().map(|t| t.entry.seq));
            for taken in lease.events {
                backlog.remove(taken.account, taken.entry.seq);
            }
        }
        prop_assert_eq!(rest, waiting);
        prop_assert!(backlog.is_empty() && backlog.lanes.is_empty() && backlog.leases.is_empty());
        check(&mut backlog);
    }
}
