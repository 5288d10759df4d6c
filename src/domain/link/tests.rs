//! The link machine: its walks, and what holds in whatever order things happen.

use data_encoding::BASE64URL_NOPAD;
use proptest::prelude::*;

use super::*;

const T0: u64 = 1_700_000_000_000;
const ANN: u32 = 1;
const BOB: u32 = 2;
const SKEW: Duration = Duration::from_secs(5);

fn at(seconds: u64) -> Millis {
    Millis(T0 + seconds * 1000)
}

fn now(seconds: u64) -> Now {
    // A wall clock that is an hour wrong: nothing here may go by it.
    Now { ring: RingTime::exactly(at(seconds)), wall: at(seconds + 3600) }
}

fn visit(seconds: u64) -> Visit {
    let time = at(seconds).0;
    let mut nonce = [7; 32];
    nonce[..8].copy_from_slice(&time.to_be_bytes());
    Visit::new(&BASE64URL_NOPAD.encode(&nonce), &time.to_string()).unwrap()
}

fn code(seconds: u64) -> Event {
    Event::Code { came: RingTime::exactly(at(seconds)) }
}

fn claim(seconds: u64, user: u32) -> Event {
    Event::Claimed { visit: visit(seconds), user, identifier: None, skew: SKEW }
}

fn removed(seconds: u64) -> Event {
    Event::Removed { at: at(seconds) }
}

fn walk(link: Link, steps: impl IntoIterator<Item = (u64, Event)>) -> Link {
    steps.into_iter().fold(link, |link, (seconds, event)| link.on(event, now(seconds)).0)
}

/// Ann links at 10, removes at 100; Bob adds the app at 200 and claims at 210.
fn handed_on() -> Link {
    walk(
        Link::unclaimed(None),
        [(10, code(10)), (20, claim(20, ANN)), (100, removed(100)), (200, code(200)), (210, claim(210, BOB))],
    )
}

fn owner(link: &Link, kind: &str, seconds: u64) -> Owner {
    link.tenure.whose(kind, Some(at(seconds)))
}

#[test]
fn an_event_is_of_the_link_in_whose_time_it_happened() {
    let link = handed_on();
    for (seconds, user) in [(0, ANN), (99, ANN), (101, ANN), (199, ANN), (200, BOB), (300, BOB)] {
        for kind in ["motion_detected", "device_removed"] {
            assert_eq!(owner(&link, kind, seconds), Owner::User(user), "{kind} at {seconds}");
        }
    }
    assert_eq!(link.tenure.whose("motion_detected", None), Owner::User(BOB));
}

#[test]
fn what_happens_after_a_removal_waits_until_it_is_known_whose_it_is() {
    let removed = walk(Link::unclaimed(None), [(10, code(10)), (20, claim(20, ANN)), (100, removed(100))]);
    assert_eq!(owner(&removed, "device_removed", 101), Owner::User(ANN));
    assert_eq!(owner(&removed, "motion_detected", 101), Owner::NextOr(ANN));
    let (next, effects) = removed.on(Event::DeviceAdded { at: at(190) }, now(191));
    assert!(effects.release, "what is held may be decided now");
    assert_eq!(owner(&next, "motion_detected", 101), Owner::User(ANN));
    assert_eq!(owner(&next, "motion_detected", 190), Owner::Next);
    assert_eq!((next.tenure.state, next.tenure.holder()), (LinkState::Removed, ANN));
    let bobs = walk(next, [(200, code(200)), (210, claim(210, BOB))]);
    assert_eq!(owner(&bobs, "motion_detected", 190), Owner::User(BOB), "his link began with its devices");
    assert_eq!(owner(&bobs, "motion_detected", 189), Owner::User(ANN));
}

#[test]
fn a_link_that_nobody_claimed_is_never_the_next_ones() {
    let link = walk(
        Link::unclaimed(None),
        [(10, code(10)), (100, removed(100)), (200, code(200)), (210, claim(210, BOB))],
    );
    assert_eq!(owner(&link, "motion_detected", 50), Owner::Nobody);
    assert_eq!(owner(&link, "motion_detected", 200), Owner::User(BOB));
}

/// The code came then, by a clock that is so many milliseconds unsure.
fn code_about(seconds: u64, unsure: u64, is_late: bool) -> Event {
    let (truth, off) = (at(seconds), Duration::from_millis(unsure));
    let likely = if is_late { truth.plus(off) } else { truth.minus(off) };
    Event::Code { came: RingTime { earliest: likely.minus(off), likely, latest: likely.plus(off) } }
}

#[test]
fn a_link_begins_with_its_first_sign_in_whatever_order_signs_arrive() {
    for is_confirmation in [false, true] {
        let sign = |seconds| {
            let at = at(seconds);
            if is_confirmation { Event::Added { at } } else { Event::DeviceAdded { at } }
        };
        let (first, code, claim) = ((220, sign(190)), (200, code(200)), (210, claim(210, BOB)));
        for order in [[&first, &code, &claim], [&code, &first, &claim], [&code, &claim, &first]] {
            let gone = walk(
                Link::unclaimed(None),
                [(10, self::code(10)), (20, self::claim(20, ANN)), (100, removed(100))],
            );
            let link = walk(gone, order.map(Clone::clone));
            assert_eq!(owner(&link, "device_added", 190), Owner::User(BOB));
            assert_eq!(owner(&link, "motion_detected", 189), Owner::User(ANN));
            assert_eq!(owner(&link, "device_removed", 101), Owner::User(ANN));
        }
    }
    // What the operator gave began when the operator said so.
    let given =
        walk(handed_on(), [(300, Event::Given { user: 3 }), (310, Event::DeviceAdded { at: at(290) })]);
    assert_eq!((owner(&given, "x", 299), owner(&given, "x", 300)), (Owner::User(BOB), Owner::User(3)));
}

#[test]
fn an_unsure_time_of_the_code_gives_the_former_user_nothing_of_the_next_link() {
    for (unsure, is_late) in [(0, true), (500, true), (500, false), (1000, true), (700_000, true)] {
        let gone = walk(Link::unclaimed(None), [(10, code(10)), (20, claim(20, ANN)), (100, removed(100))]);
        let link = walk(gone, [(200, code_about(200, unsure, is_late)), (200, claim(200, BOB))]);
        assert_eq!(owner(&link, "motion_detected", 200), Owner::User(BOB), "{unsure} {is_late}");
        let farewell = link.tenure.whose("device_removed", Some(at(100).plus(Duration::from_millis(1))));
        assert_eq!(farewell, Owner::User(ANN), "{unsure} {is_late}");
    }
    // An estimate that can't be right is mended by the visit, because Ring itself told its time.
    let gone = walk(Link::unclaimed(None), [(10, code(10)), (20, claim(20, ANN)), (100, removed(100))]);
    let link = walk(gone, [(200, code(230)), (230, claim(201, BOB))]);
    assert_eq!(owner(&link, "motion_detected", 201), Owner::User(BOB));
}

#[test]
fn a_late_removal_of_a_link_that_nobody_claimed_takes_back_what_lies_before_the_next() {
    let link = walk(
        Link::unclaimed(None),
        [(10, code(10)), (11, Event::DeviceAdded { at: at(11) }), (200, code(200)), (210, claim(210, BOB))],
    );
    assert_eq!(owner(&link, "motion_detected", 50), Owner::User(BOB), "no removal is known");
    let (split, effects) = link.on(removed(100), now(220));
    assert_eq!((effects.answer, effects.destroy_tokens, effects.release), (Answer::Old, false, true));
    assert_eq!((split.tenure.state, split.tenure.holder()), (LinkState::Claiming, BOB));
    for (kind, seconds) in
        [("app_integration_removed", 100), ("device_removed", 101), ("motion_detected", 50)]
    {
        assert_eq!(owner(&split, kind, seconds), Owner::Nobody, "{kind}");
    }
    assert_eq!(owner(&split, "motion_detected", 200), Owner::User(BOB));
    let (moved, _) = split.on(Event::DeviceAdded { at: at(190) }, now(230));
    assert_eq!(owner(&moved, "device_added", 190), Owner::User(BOB));
    // The removal is of the first of three, and the second is the present user's.
    let link = walk(
        Link::unclaimed(None),
        [(10, code(10)), (200, code(200)), (400, code(400)), (410, claim(410, BOB)), (420, removed(100))],
    );
    assert_eq!((owner(&link, "x", 99), owner(&link, "x", 250)), (Owner::Nobody, Owner::User(BOB)));
    // Who had the first link keeps it.
    let again = walk(
        Link::unclaimed(None),
        [(10, code(10)), (20, claim(20, ANN)), (200, code(200)), (210, claim(210, ANN)), (220, removed(100))],
    );
    assert_eq!((owner(&again, "x", 50), again.tenure.terms.len()), (Owner::User(ANN), 1));
}

#[test]
fn a_late_removal_ends_the_link_before_and_a_real_one_the_present() {
    let relinked = walk(Link::unclaimed(None), [(10, code(10)), (20, claim(20, ANN)), (200, code(200))]);
    let (late, effects) = relinked.on(removed(100), now(201));
    assert_eq!((late.tenure.state, effects.destroy_tokens), (LinkState::Unclaimed, false));
    assert_eq!(owner(&late, "motion_detected", 150), Owner::User(ANN));
    assert_eq!(owner(&late, "motion_detected", 201), Owner::Next);
    let (old, effects) = handed_on().on(removed(100), now(400));
    assert_eq!((old.tenure.state, effects.answer), (LinkState::Claiming, Answer::Old));
    let (gone, effects) = handed_on().on(removed(300), now(400));
    assert_eq!((gone.tenure.state, effects.destroy_tokens), (LinkState::Removed, true));
}

#[test]
fn whoever_claimed_after_a_removal_keeps_the_account_when_it_is_told() {
    let again = walk(
        Link::unclaimed(None),
        [(10, code(10)), (20, claim(20, ANN)), (200, code(200)), (210, claim(210, ANN))],
    );
    let (kept, effects) = again.on(removed(100), now(220));
    assert_eq!((kept.tenure.holder(), effects.answer), (ANN, Answer::Old));
    let given = walk(Link::unclaimed(None), [(10, code(10)), (20, claim(20, ANN)), (200, code(200))]);
    let given = walk(given, [(205, Event::Given { user: BOB }), (220, removed(100))]);
    assert_eq!((given.tenure.state, given.tenure.holder()), (LinkState::Linked, BOB));
}

#[test]
fn a_code_that_surely_came_before_a_removal_revives_nothing() {
    let gone = walk(Link::unclaimed(None), [(10, code(10)), (20, claim(20, ANN)), (100, removed(100))]);
    let (same, effects) = gone.clone().on(code(99), now(101));
    assert_eq!((same.tenure.state, effects.answer), (LinkState::Removed, Answer::Old));
    // One that may have come after it is not thrown away.
    let came = RingTime { earliest: at(98), likely: at(99), latest: at(101) };
    let (next, _) = gone.on(Event::Code { came }, now(102));
    assert_eq!(next.tenure.state, LinkState::Unclaimed);
}

#[test]
fn a_claim_is_refused_taken_again_and_confirmed() {
    let link = walk(Link::unclaimed(None), [(10, code(10)), (20, claim(20, ANN))]);
    let refuse = |link: &Link| {
        let last = link.claiming.last.as_ref().unwrap();
        let to = Progress { step: Step::Refused(crate::domain::confirm::Refusal::Nonce), ..last.progress };
        Event::Advanced { nonce: *last.visit.nonce(), from: last.progress, to }
    };
    let event = refuse(&link);
    let refused = walk(link, [(25, event)]);
    assert_eq!((refused.tenure.state, refused.tenure.holder()), (LinkState::Refused, ANN));
    let bobs = walk(refused, [(40, claim(40, BOB)), (50, Event::Added { at: at(45) })]);
    assert_eq!((bobs.tenure.state, bobs.tenure.holder()), (LinkState::Linked, BOB));
    assert_eq!(owner(&bobs, "motion_detected", 39), Owner::User(ANN));
}

#[test]
fn a_past_is_bounded_and_what_is_older_is_nobodys() {
    let mut link = Link::unclaimed(None);
    for round in 0..100 {
        let start = 1000 * round;
        let user = if round % 2 == 0 { ANN } else { BOB };
        link = walk(
            link,
            [
                (start + 10, code(start + 10)),
                (start + 20, claim(start + 20, user)),
                (start + 100, removed(start + 100)),
            ],
        );
        assert!(link.tenure.terms.len() <= 17 && link.tenure.signs.len() <= 16);
    }
    assert_eq!(owner(&link, "motion_detected", 50), Owner::Nobody);
    assert_eq!(owner(&link, "motion_detected", 98_050), Owner::User(ANN));
    let later = walk(link, [(1_000_000, code(1_000_000))]);
    assert_eq!(later.tenure.terms.len(), 2, "76 h later only the last link and the present one matter");
}

fn event() -> impl Strategy<Value = (u64, u8, u32, u64)> {
    (1_u64..60, 0_u8..8, ANN..=3, 0_u64..4000)
}

proptest! {
    /// Whatever comes in whatever order: the past is ascending and bounded, no event is of a user who never had the account, and what
    /// happened before the present link began is never of a user who has had it only since.
    #[test]
    fn no_order_of_events_crosses_two_users(steps in prop::collection::vec(event(), 1..60)) {
        let (mut link, mut time) = (Link::unclaimed(None), 10_000);
        for (pause, kind, user, back) in steps {
            time += pause;
            let then = time - back;
            let before = link.clone();
            let event = match kind {
                0 => code(time),
                1 => claim(time, user),
                2 => removed(then),
                3 => Event::DeviceAdded { at: at(then) },
                4 => Event::Given { user },
                5 => Event::PutIn,
                6 => Event::Added { at: at(then) },
                _ => removed(time),
            };
            let is_operators = matches!(event, Event::Given { .. } | Event::PutIn);
            let (next, effects) = link.on(event, now(time));
            let tenure = &next.tenure;
            prop_assert!(tenure.terms.is_sorted_by(|one, next| one.from < next.from), "{:?}", tenure.terms);
            prop_assert!(!tenure.terms.is_empty() && tenure.terms.len() <= 17 && tenure.signs.len() <= 16);
            prop_assert_eq!(effects.tell, tenure.state != before.tenure.state);
            prop_assert_eq!(effects.release, tenure.terms != before.tenure.terms);
            prop_assert!(!effects.destroy_tokens || tenure.state == LinkState::Removed);
            prop_assert!(tenure.state != LinkState::Unclaimed || next.claiming.open);
            prop_assert_eq!(tenure.state.is_held(), tenure.state != LinkState::Removed && tenure.holder() != NOBODY);
            // A user's past is not given to another one: only what nobody had may get a user.
            for seconds in (0..time).step_by(97) {
                let (was, is) = (owner(&before, "motion_detected", seconds), owner(&next, "motion_detected", seconds));
                if let (Owner::User(was), Owner::User(is)) = (was, is) {
                    let was_present = !before.tenure.is_of_before(at(seconds));
                    // After the removal there was nothing but the next link, which an earlier sign moves back.
                    let at_removal = before.tenure.whose("device_removed", Some(before.tenure.removed_at));
                    let is_gap = at(seconds) > before.tenure.removed_at && at_removal == Owner::User(was);
                    prop_assert!(was == is || was_present || is_operators || is_gap, "{was} had {seconds}, now {is}: {:?}", tenure.terms);
                }
            }
            link = next;
        }
    }
}
