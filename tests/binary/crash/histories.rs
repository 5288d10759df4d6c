//! Made-up histories: good ones that the ledger must believe, and one for each promise that it must see broken.

use super::event::{Event, Seen, account_name, user_of};
use super::ledger::{Ledger, Queue};
use super::line::Holder;

const ALL: usize = 0;
const OPEN: usize = 1;
const BUTTONS: usize = 2;

/// A ledger in its first run.
fn ledger() -> Ledger {
    let mut ledger = Ledger::new(&[
        Queue { name: "all", every: 1, unclaimed: false },
        Queue { name: "open", every: 1, unclaimed: true },
        Queue { name: "buttons", every: 3, unclaimed: false },
    ]);
    ledger.begin_run();
    ledger
}

/// One claimed account with `sent` answered events that only the queue `all` is looked at for.
fn with_events(sent: u32) -> (Ledger, Vec<Event>) {
    let mut ledger = Ledger::new(&[Queue { name: "all", every: 1, unclaimed: false }]);
    ledger.begin_run();
    let account = ledger.open_account();
    ledger.claiming(account);
    ledger.claimed(account);
    let events = (0..sent).map(|_| accept(&mut ledger, account)).collect();
    (ledger, events)
}

fn accept(ledger: &mut Ledger, account: u32) -> Event {
    let event = ledger.sending(account);
    ledger.answered(event, 200);
    event
}

fn seen(event: Event) -> Seen {
    let body = serde_json::from_str(&event.body()).unwrap();
    let account = Some(account_name(event.account));
    Seen { key: event.key(), account, user: Some(user_of(event.account)), body }
}

fn anonymous(event: Event) -> Seen {
    Seen { user: None, ..seen(event) }
}

fn holder(ledger: &Ledger, lease: u64) -> Holder {
    Holder { run: ledger.run(), lease }
}

fn lease(ledger: &mut Ledger, lease: u64, events: &[Event]) -> Holder {
    let holder = holder(ledger, lease);
    let seen: Vec<_> = events.iter().map(|&event| (seen(event), 1)).collect();
    ledger.leased(ALL, holder, &seen);
    holder
}

fn take(ledger: &mut Ledger, number: u64, events: &[Event]) {
    let holder = lease(ledger, number, events);
    ledger.settling(ALL, holder, events);
    ledger.settled(ALL, holder, events);
}

fn appear(ledger: &mut Ledger, event: Event) {
    ledger.appeared(ALL, ledger.run(), &seen(event));
}

#[track_caller]
fn good(ledger: &Ledger) {
    assert_eq!(ledger.verdict(), [""; 0]);
    assert_eq!(ledger.missing(), 0);
}

#[track_caller]
fn bad(ledger: &Ledger, words: &str) {
    let verdict = ledger.verdict();
    assert!(verdict.len() == 1 && verdict[0].contains(words), "{words}: {verdict:?}");
}

#[test]
fn what_goes_well_is_believed() {
    let (mut ledger, events) = with_events(5);
    take(&mut ledger, 1, &events[..2]);
    assert_eq!(ledger.missing(), 3);
    let again = lease(&mut ledger, 2, &events[2..]);
    ledger.giving_back(ALL, again, &events[2..]);
    take(&mut ledger, 3, &events[2..]);
    good(&ledger);
}

#[test]
fn what_a_crash_excuses_is_believed() {
    let (mut ledger, events) = with_events(4);
    let cut_off = lease(&mut ledger, 1, &events[..2]);
    ledger.settling(ALL, cut_off, &events[..1]);
    ledger.begin_run();
    take(&mut ledger, 2, &events[..1]);
    let cut_off = lease(&mut ledger, 3, &events[1..2]);
    ledger.settling(ALL, cut_off, &events[1..2]);
    ledger.begin_run();
    take(&mut ledger, 4, &events[2..]);
    good(&ledger);
    assert_eq!(ledger.counts().again, 2);
}

#[test]
fn a_lost_event_is_seen() {
    let (mut ledger, events) = with_events(3);
    take(&mut ledger, 1, &events[..2]);
    bad(&ledger, "1 answered events of account 0 are lost, from Some(2)");
    let (ledger, _) = with_events(1);
    bad(&ledger, "1 answered events of account 0 are lost, from Some(0)");
}

#[test]
fn an_event_that_was_only_handed_out_is_lost() {
    let (mut ledger, events) = with_events(2);
    let holder = lease(&mut ledger, 1, &events);
    bad(&ledger, "2 answered events");
    ledger.settling(ALL, holder, &events[..1]);
    bad(&ledger, "2 answered events");
    ledger.begin_run();
    bad(&ledger, "1 answered events");
}

#[test]
fn an_event_that_nobody_was_told_of_may_be_missing() {
    let (mut ledger, events) = with_events(1);
    take(&mut ledger, 1, &events);
    let unanswered = ledger.sending(0);
    ledger.answered(unanswered, 503);
    good(&ledger);
    take(&mut ledger, 2, &[unanswered]);
    good(&ledger);
}

#[test]
fn a_double_is_seen() {
    let (mut ledger, events) = with_events(2);
    take(&mut ledger, 1, &events);
    ledger.begin_run();
    lease(&mut ledger, 2, &events[1..]);
    bad(&ledger, "event-0-1 came again after it was settled");
}

#[test]
fn an_acknowledgement_that_was_answered_and_undone_is_seen() {
    let (mut ledger, events) = with_events(1);
    let first = lease(&mut ledger, 1, &events);
    ledger.settling(ALL, first, &events);
    ledger.begin_run();
    let second = lease(&mut ledger, 2, &events);
    ledger.settled(ALL, first, &events);
    assert!(ledger.verdict()[0].contains("settled, yet Out"), "{:?}", ledger.verdict());
    ledger.settling(ALL, second, &events);
}

#[test]
fn what_the_order_proved_settled_must_not_come() {
    let (mut ledger, events) = with_events(2);
    let first = lease(&mut ledger, 1, &events[..1]);
    ledger.settling(ALL, first, &events[..1]);
    ledger.begin_run();
    take(&mut ledger, 2, &events[1..]);
    good(&ledger);
    take(&mut ledger, 3, &events[..1]);
    bad(&ledger, "event-0-0 came again after it was settled");
}

#[test]
fn two_holders_at_a_time_are_seen() {
    let (mut ledger, events) = with_events(2);
    lease(&mut ledger, 1, &events[..1]);
    take(&mut ledger, 2, &events[..1]);
    take(&mut ledger, 3, &events[1..]);
    bad(&ledger, "event-0-0 came while another held it");
    let (mut ledger, events) = with_events(2);
    let first = lease(&mut ledger, 1, &events[..1]);
    take(&mut ledger, 2, &events[1..]);
    ledger.settling(ALL, first, &events[..1]);
    ledger.settled(ALL, first, &events[..1]);
    bad(&ledger, "event-0-1 came before number 0");
}

#[test]
fn a_wrong_order_is_seen() {
    let (mut ledger, events) = with_events(3);
    take(&mut ledger, 1, &[events[0], events[2]]);
    take(&mut ledger, 2, &[events[1]]);
    bad(&ledger, "event-0-2 came before number 1");
    let (mut ledger, events) = with_events(2);
    lease(&mut ledger, 1, &events[..1]);
    ledger.begin_run();
    take(&mut ledger, 2, &events[1..]);
    take(&mut ledger, 3, &events[..1]);
    assert!(ledger.verdict()[0].contains("event-0-1 came before number 0"), "{:?}", ledger.verdict());
}

#[test]
fn wrong_users_accounts_and_bodies_are_seen() {
    type Spoil = fn(&mut Seen);
    let cases: [(Spoil, &str); 4] = [
        (|seen| seen.user = Some("user-1".into()), "came for user Some(\"user-1\")"),
        (|seen| seen.user = None, "came for user None"),
        (|seen| seen.account = Some("account-1".into()), "came for account Some(\"account-1\")"),
        (|seen| seen.body["data"]["type"] = "x".into(), "came as {"),
    ];
    for (spoil, words) in cases {
        let (mut ledger, events) = with_events(1);
        let mut spoiled = seen(events[0]);
        spoil(&mut spoiled);
        let by = holder(&ledger, 1);
        ledger.leased(ALL, by, &[(spoiled, 1)]);
        ledger.settling(ALL, by, &events);
        ledger.settled(ALL, by, &events);
        bad(&ledger, words);
    }
}

#[test]
fn invented_events_are_seen() {
    for key in ["event-0-1", "event-1-0", "event-0-01", "forged", ""] {
        let (mut ledger, events) = with_events(1);
        take(&mut ledger, 1, &events);
        let by = holder(&ledger, 2);
        ledger.leased(ALL, by, &[(Seen { key: key.into(), ..seen(events[0]) }, 1)]);
        bad(&ledger, "was never sent");
    }
}

#[test]
fn a_queue_gets_only_what_its_filter_takes() {
    let mut ledger = ledger();
    let account = ledger.open_account();
    ledger.claiming(account);
    ledger.claimed(account);
    let events: Vec<_> = (0..4).map(|_| accept(&mut ledger, account)).collect();
    assert_eq!(ledger.missing(), 4 + 4 + 2);
    let by = holder(&ledger, 1);
    let buttons = [events[0], events[3]];
    ledger.leased(BUTTONS, by, &buttons.map(|event| (seen(event), 1)));
    ledger.settling(BUTTONS, by, &buttons);
    ledger.settled(BUTTONS, by, &buttons);
    assert_eq!(ledger.missing(), 4 + 4);
    assert!(!ledger.broken());
    ledger.leased(BUTTONS, by, &[(seen(events[1]), 1)]);
    assert!(ledger.verdict()[0].contains("event-0-1 is not for that queue"));
}

#[test]
fn unclaimed_events_wait_or_come_without_a_user() {
    let mut ledger = ledger();
    let account = ledger.open_account();
    let event = accept(&mut ledger, account);
    assert_eq!(ledger.missing(), 1, "only the open queue's");
    let by = holder(&ledger, 1);
    ledger.leased(OPEN, by, &[(anonymous(event), 1)]);
    ledger.settling(OPEN, by, &[event]);
    ledger.settled(OPEN, by, &[event]);
    good(&ledger);
    ledger.claiming(account);
    ledger.claimed(account);
    assert_eq!(ledger.missing(), 2);
    take(&mut ledger, 2, &[event]);
    ledger.leased(BUTTONS, by, &[(seen(event), 1)]);
    ledger.settling(BUTTONS, by, &[event]);
    ledger.settled(BUTTONS, by, &[event]);
    good(&ledger);
}

#[test]
fn an_event_that_comes_before_the_claim_is_seen() {
    let mut held = ledger();
    let account = held.open_account();
    let event = accept(&mut held, account);
    lease(&mut held, 1, &[event]);
    assert!(held.verdict()[0].contains("came for user"), "{:?}", held.verdict());

    let mut late = ledger();
    let account = late.open_account();
    late.claiming(account);
    late.claimed(account);
    let event = accept(&mut late, account);
    late.leased(OPEN, Holder { run: 1, lease: 1 }, &[(anonymous(event), 1)]);
    assert!(late.verdict()[0].contains("came for user None"), "{:?}", late.verdict());
}

#[test]
fn forgotten_attempts_are_seen() {
    let (mut ledger, events) = with_events(1);
    let first = lease(&mut ledger, 1, &events);
    ledger.giving_back(ALL, first, &events);
    ledger.failed(ALL, events[0]);
    ledger.begin_run();
    take(&mut ledger, 2, &events);
    bad(&ledger, "attempt 1 after 1 failures");
}

#[test]
fn a_refusal_of_a_good_event_is_seen() {
    for status in [401, 400, 413, 429, 302] {
        let (mut ledger, events) = with_events(1);
        take(&mut ledger, 1, &events);
        let event = ledger.sending(0);
        ledger.answered(event, status);
        bad(&ledger, &format!("was answered {status}"));
    }
}

#[test]
fn files_may_come_again_only_after_a_crash() {
    let (mut ledger, events) = with_events(2);
    appear(&mut ledger, events[0]);
    ledger.begin_run();
    appear(&mut ledger, events[0]);
    appear(&mut ledger, events[1]);
    good(&ledger);
    appear(&mut ledger, events[1]);
    bad(&ledger, "event-0-1 came twice in one run");
}

#[test]
fn files_out_of_order_and_missing_files_are_seen() {
    let (mut ledger, events) = with_events(2);
    appear(&mut ledger, events[1]);
    appear(&mut ledger, events[0]);
    bad(&ledger, "event-0-1 came before number 0");
    let (mut ledger, events) = with_events(2);
    appear(&mut ledger, events[0]);
    bad(&ledger, "1 answered events");
}

#[test]
fn a_file_that_comes_again_long_after_is_seen() {
    let (mut ledger, events) = with_events(2);
    appear(&mut ledger, events[0]);
    for _ in 0..50 {
        ledger.begin_run();
    }
    appear(&mut ledger, events[1]);
    appear(&mut ledger, events[0]);
    bad(&ledger, "event-0-0 came twice");
}
