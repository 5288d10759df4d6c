//! Whose an event is in the store, and whose a device, when what Ring tells comes late and links change hands.

use std::sync::Arc;
use std::time::Duration;

use crate::support::*;
use ringhookd::clock;
use ringhookd::domain::actor::Actor;
use ringhookd::domain::arrival::Arrival;
use ringhookd::domain::claim::Bid;
use ringhookd::domain::code::{CodeEnd, Grant};
use ringhookd::domain::heard::{Heard, Objection};
use ringhookd::domain::ids::DeviceId;
use ringhookd::domain::refresh::Notice;
use ringhookd::domain::ring_time::RingTime;
use ringhookd::domain::routing::Selection;
use ringhookd::domain::secret::Secret;
use ringhookd::domain::time::Millis;
use ringhookd::domain::tokens::{ACCESS_LIFE, Granted, Pair, Span};
use ringhookd::domain::visit::Visit;
use ringhookd::store::{Arrived, Asking, Claimed, Exchanged, Identified, KeptCode, NoAsking, Store, Which};

struct Linked {
    dir: tempfile::TempDir,
    store: Store,
    began: Millis,
}

impl Linked {
    /// Began 100 s ago, so that a story fits before now.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir.path().join("store"), vec![spec("all")]);
        Self { dir, store, began: clock::now().minus(Duration::from_secs(100)) }
    }

    fn at(&self, seconds: u64) -> Millis {
        self.began.plus(Duration::from_secs(seconds))
    }

    /// The story goes on so many seconds after its beginning, and after all that has come.
    async fn now_is(&mut self, seconds: u64) {
        tokio::time::sleep(Duration::from_millis(2)).await;
        self.began = clock::now().minus(Duration::from_secs(seconds));
    }

    /// OAuth gives tokens for a code that came then; their account is not known yet.
    async fn code(&self, name: &str, seconds: u64) -> u32 {
        self.code_at(name, seconds, clock::now()).await
    }

    /// The same, where OAuth was asked for them then.
    async fn code_at(&self, name: &str, seconds: u64, given_at: Millis) -> u32 {
        let grant = Grant { code: Secret::new(name.to_owned()), verifier: None };
        let KeptCode::New(id) = self.store.outbox().keep_code(grant).await.unwrap() else { panic!() };
        let pair = Pair::of(Some(&format!("at-{name}")), &format!("rt-{name}"));
        let (span, came) = (Span::from_now(given_at, ACCESS_LIFE), RingTime::exactly(self.at(seconds)));
        self.store.outbox().exchanged_code(id, Exchanged { pair, span, came }.into()).await.unwrap()
    }

    /// The refresh token that is sent for it now, if any may be; nothing comes of it.
    async fn sends(&self, number: u32) -> Option<String> {
        let outbox = self.store.outbox();
        let intent = outbox.begin_refresh(number, Which::Current, HOUR).await.unwrap().ok()?;
        let token = intent.token.expose().clone();
        outbox.settle_refresh(number, intent.fence, clock::now(), Arc::new(Heard::WITHHELD)).await.unwrap();
        Some(token)
    }

    fn reopen(&mut self) {
        self.store.close();
        self.store = open(&self.dir.path().join("store"), options(vec![spec("all")])).unwrap();
    }

    async fn identify(&self, number: u32) {
        let given = self.store.links().identify(number, account("a")).await.unwrap();
        assert!(matches!(given, Identified::Given(Ok(_))), "{given:?}");
    }

    async fn add_app(&self, name: &str, seconds: u64) {
        let number = self.code(name, seconds).await;
        self.identify(number).await;
    }

    async fn claim(&self, name: &str, seconds: u64) {
        let time = self.at(seconds).0;
        let mut nonce = [7; 32];
        nonce[..8].copy_from_slice(&time.to_be_bytes());
        let nonce = data_encoding::BASE64URL_NOPAD.encode(&nonce);
        let visit = Visit::new(&nonce, &time.to_string()).unwrap();
        let by = Actor::Daemon;
        let bid = Bid { visit, user: user(name), identifier: None, accounts: Selection::All, by };
        let claimed = self.store.links().claim(self.number().await, bid, HOUR).await.unwrap();
        assert!(matches!(claimed, Claimed::Taken { .. }), "{claimed:?}");
    }

    async fn number(&self) -> u32 {
        self.store.links().access(account("a")).await.unwrap().unwrap().number
    }

    async fn happens(&self, id: &str, kind: &str, device: Option<&str>, seconds: u64) {
        self.happens_to("a", id, kind, device, seconds).await;
    }

    async fn happens_to(&self, of: &str, id: &str, kind: &str, device: Option<&str>, seconds: u64) {
        let mut event = event_of(id, Some(of), kind, device);
        event.event.time = Some(self.at(seconds));
        self.store.inbox().accept(event).await.unwrap();
    }

    /// The same for a webhook that says so of when it was sent.
    async fn comes_in(&self, of: &str, id: &str, kind: &str, device: Option<&str>, seconds: u64) {
        self.store.ring_clock().sent(self.at(seconds));
        self.happens_to(of, id, kind, device, seconds).await;
    }

    /// Whose the waiting events are, by their ids.
    async fn whose(&self) -> Vec<(String, String)> {
        let events = drain(&self.store, "all", 99).await;
        let name = |user: Option<_>| {
            user.map_or("nobody".to_owned(), |user: ringhookd::domain::ids::UserId| user.as_str().to_owned())
        };
        events.into_iter().map(|e| (e.event.key, name(e.event.user))).collect()
    }

    fn dropped(&self) -> u64 {
        self.store.stats().dropped.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// The account that the map finds for an event of the device alone.
    async fn account_of(&self, id: &str, device: &str) -> Option<String> {
        let mut event = event_of(id, None, "motion_detected", Some(device));
        event.event.device = Some(DeviceId::new(device).unwrap());
        self.store.inbox().accept(event).await.unwrap();
        let found = drain(&self.store, "all", 99).await.pop();
        found.and_then(|found| found.event.account).map(|account| account.as_str().to_owned())
    }
}

fn refused() -> Arc<Heard<Granted>> {
    Arc::new(Heard::Refused(Objection::Grant))
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(id, user)| ((*id).to_owned(), (*user).to_owned())).collect()
}

#[tokio::test]
async fn a_farewell_that_comes_after_the_next_link_is_the_former_users() {
    let house = Linked::new();
    house.add_app("one", 10).await;
    house.claim("ann", 20).await;
    house.happens("1", "device_added", Some("front"), 11).await;
    house.happens("2", "app_integration_removed", None, 30).await;
    house.add_app("two", 40).await;
    // While nobody has claimed it, and after Bob has.
    house.happens("3", "device_removed", Some("front"), 30).await;
    house.happens("4", "device_added", Some("front"), 41).await;
    house.claim("bob", 45).await;
    house.happens("5", "device_removed", Some("back"), 30).await;
    house.happens("6", "device_removed", Some("front"), 31).await;
    house.happens("7", "motion_detected", Some("front"), 50).await;
    let expected =
        [("1", "ann"), ("2", "ann"), ("3", "ann"), ("4", "bob"), ("5", "ann"), ("6", "ann"), ("7", "bob")];
    assert_eq!(house.whose().await, pairs(&expected));
    assert_eq!(
        house.account_of("8", "front").await.as_deref(),
        Some("a"),
        "the map keeps the new link's device"
    );
}

#[tokio::test]
async fn what_was_held_between_two_links_goes_by_its_time_when_the_next_is_claimed() {
    let house = Linked::new();
    house.add_app("one", 10).await;
    house.claim("ann", 20).await;
    house.happens("1", "app_integration_removed", None, 30).await;
    house.happens("2", "device_offline", Some("front"), 31).await;
    house.happens("3", "device_added", Some("front"), 39).await;
    house.happens("4", "motion_detected", Some("front"), 38).await;
    house.add_app("two", 40).await;
    house.claim("bob", 45).await;
    let mut whose = house.whose().await;
    whose.sort();
    assert_eq!(whose, pairs(&[("1", "ann"), ("2", "ann"), ("3", "bob"), ("4", "ann")]));
}

/// Ring's retry of the first sign of a link comes after the code, and after the claim.
#[tokio::test]
async fn a_first_sign_that_comes_late_is_of_the_link_that_it_began() {
    for is_claimed in [false, true] {
        let house = Linked::new();
        house.add_app("one", 10).await;
        house.claim("ann", 20).await;
        house.happens("1", "app_integration_removed", None, 30).await;
        house.add_app("two", 40).await;
        if is_claimed {
            house.claim("bob", 45).await;
        }
        house.happens("2", "device_added", Some("front"), 36).await;
        house.happens("3", "device_removed", Some("front"), 31).await;
        house.happens("4", "motion_detected", Some("front"), 37).await;
        if !is_claimed {
            house.claim("bob", 45).await;
        }
        let mut whose = house.whose().await;
        whose.sort();
        assert_eq!(whose, pairs(&[("1", "ann"), ("2", "bob"), ("3", "ann"), ("4", "bob")]), "{is_claimed}");
    }
}

#[tokio::test]
async fn late_farewells_of_a_link_that_nobody_claimed_are_not_the_next_users() {
    let house = Linked::new();
    house.add_app("one", 10).await;
    house.add_app("two", 40).await;
    house.claim("bob", 45).await;
    house.happens("1", "app_integration_removed", None, 30).await;
    house.happens("2", "device_removed", Some("front"), 31).await;
    house.happens("3", "motion_detected", Some("front"), 20).await;
    house.happens("4", "motion_detected", Some("front"), 41).await;
    assert_eq!(house.whose().await, pairs(&[("4", "bob")]));
    let view = house.store.links().account(account("a")).await.unwrap().unwrap();
    assert_eq!((view.user, view.tokens.is_some()), (Some(user("bob")), true), "the present link lives");
}

#[tokio::test]
async fn each_of_several_links_keeps_its_own_events_also_over_a_restart_of_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let store_ = store(&dir.path().join("store"), vec![spec("all")]);
    let mut house = Linked { dir, store: store_, began: clock::now().minus(Duration::from_secs(100)) };
    for (round, name) in [(0, "ann"), (1, "bob"), (2, "cyd")] {
        let start = round * 20;
        house.add_app(name, start + 1).await;
        house.claim(name, start + 5).await;
        house.happens(&format!("gone-{name}"), "app_integration_removed", None, start + 10).await;
    }
    house.whose().await;
    house.store.close();
    house.store = open(&house.dir.path().join("store"), options(vec![spec("all")])).unwrap();
    for (id, seconds) in [("a", 6), ("b", 26), ("c", 46)] {
        house.happens(id, "motion_detected", None, seconds).await;
    }
    assert_eq!(house.whose().await, pairs(&[("a", "ann"), ("b", "bob"), ("c", "cyd")]));
}

#[tokio::test]
async fn a_replayed_event_moves_no_device_back() {
    let house = Linked::new();
    for (id, name) in [("a", "ann"), ("b", "bob")] {
        link(&house.store, id, name).await;
    }
    house.happens_to("a", "1", "device_added", Some("front"), 10).await;
    house.happens_to("b", "2", "device_added", Some("front"), 20).await;
    house.happens_to("a", "3", "motion_detected", Some("front"), 15).await;
    house.happens_to("a", "4", "device_removed", Some("front"), 16).await;
    house.whose().await;
    assert_eq!(house.account_of("5", "front").await.as_deref(), Some("b"));
    house.happens_to("b", "6", "device_removed", Some("front"), 30).await;
    house.happens_to("b", "7", "motion_detected", Some("front"), 25).await;
    house.whose().await;
    assert_eq!(house.account_of("8", "front").await, None, "nor brings it back");
}

#[tokio::test]
async fn a_late_event_moves_no_device_from_the_account_of_a_newer_one() {
    const DAYS: u64 = 86_400;
    for (newest, late, restarts) in [(30, 20, false), (2 * DAYS, DAYS, false), (2 * DAYS, DAYS, true)] {
        let mut house = Linked::new();
        house.began = clock::now().minus(Duration::from_secs(4 * DAYS));
        for (id, name) in [("a", "ann"), ("b", "bob")] {
            link(&house.store, id, name).await;
        }
        house.happens_to("a", "1", "motion_detected", Some("front"), 10).await;
        house.happens_to("a", "2", "motion_detected", Some("front"), newest).await;
        if restarts {
            house.reopen();
        }
        for (id, kind) in [("3", "motion_detected"), ("4", "device_added"), ("5", "device_removed")] {
            house.happens_to("b", id, kind, Some("front"), late).await;
        }
        // The contest is on disk.
        house.reopen();
        house.happens_to("b", "6", "motion_detected", Some("front"), late + 1).await;
        house.happens_to("a", "7", "device_removed", Some("front"), late + 2).await;
        house.whose().await;
        assert_eq!(house.account_of("8", "front").await.as_deref(), Some("a"), "{newest} {restarts}");
        house.happens_to("b", "9", "motion_detected", Some("front"), newest + 1).await;
        house.whose().await;
        assert_eq!(house.account_of("10", "front").await.as_deref(), Some("b"), "{newest} {restarts}");
    }
}

/// Ring's webhook names a time that is a year away, and the daemon has heard no time of Ring's, or none for long.
#[tokio::test]
async fn an_event_that_is_stamped_a_year_ahead_moves_devices_and_links_for_no_longer_than_until_the_next() {
    const YEAR: u64 = 365 * 86_400;
    for (kind, restarts, says_when_sent) in [
        ("motion_detected", false, true),
        ("motion_detected", true, false),
        ("device_added", false, true),
        ("device_removed", true, true),
    ] {
        let mut house = Linked::new();
        for (id, name) in [("a", "ann"), ("b", "bob")] {
            link(&house.store, id, name).await;
        }
        house.happens_to("a", "1", "device_added", Some("front"), 10).await;
        if says_when_sent {
            house.comes_in("a", "2", kind, Some("front"), YEAR).await;
        } else {
            house.happens_to("a", "2", kind, Some("front"), YEAR).await;
        }
        if restarts {
            house.reopen();
        }
        house.now_is(100).await;
        house.comes_in("b", "3", "motion_detected", Some("front"), 100).await;
        house.whose().await;
        assert_eq!(house.account_of("4", "front").await.as_deref(), Some("b"), "{kind}");
    }
    // Nor may a removal, or a device that is added, be of the time after every link to come.
    let mut house = Linked::new();
    house.add_app("one", 10).await;
    house.claim("ann", 20).await;
    house.comes_in("a", "1", "device_added", Some("front"), YEAR).await;
    house.comes_in("a", "2", "app_integration_removed", None, YEAR).await;
    house.now_is(100).await;
    house.add_app("two", 100).await;
    house.claim("bob", 101).await;
    house.comes_in("a", "3", "motion_detected", Some("front"), 102).await;
    assert_eq!(house.whose().await, pairs(&[("1", "ann"), ("2", "ann"), ("3", "bob")]));
}

/// It was noted while nothing spoke against it.
#[tokio::test]
async fn a_device_whose_newest_event_is_still_to_come_at_ring_follows_the_next_event() {
    let house = Linked::new();
    for (id, name) in [("a", "ann"), ("b", "bob")] {
        link(&house.store, id, name).await;
    }
    let ring = house.store.ring_clock();
    for witness in 0..3 {
        ring.sent(house.at(86_400 + witness));
    }
    house.happens_to("a", "1", "motion_detected", Some("front"), 86_400).await;
    house.happens_to("b", "2", "motion_detected", Some("front"), 100).await;
    house.whose().await;
    assert_eq!(house.account_of("3", "front").await.as_deref(), Some("a"));
    ring.answered(clock::now().minus(Duration::from_secs(1)), ring.asked());
    house.happens_to("b", "4", "motion_detected", Some("front"), 100).await;
    house.whose().await;
    assert_eq!(house.account_of("5", "front").await.as_deref(), Some("b"));
    // Nor does a reader get such a time.
    house.happens_to("a", "6", "motion_detected", None, 86_400).await;
    let event = drain(&house.store, "all", 99).await.pop().unwrap().event;
    assert!(event.time.unwrap() < house.at(43_200), "{event:?}");
}

/// A link's own times tell that our clock is behind, so that its next event is not of the link before.
#[tokio::test]
async fn what_comes_before_ring_is_heard_is_the_present_links_also_by_a_clock_that_is_hours_behind() {
    let mut house = Linked::new();
    let hours = |hours: u64| Duration::from_hours(hours);
    // Three hours ago by our clock was now, at Ring.
    let ring = house.store.ring_clock();
    ring.answered(clock::now().plus(hours(3)), ring.asked());
    house.began = house.began.plus(hours(3));
    house.add_app("one", 10).await;
    house.claim("ann", 20).await;
    house.happens("1", "app_integration_removed", None, 30).await;
    house.add_app("two", 40).await;
    house.claim("bob", 50).await;
    house.whose().await;
    house.reopen();
    house.comes_in("a", "2", "motion_detected", Some("front"), 60).await;
    house.comes_in("a", "3", "app_integration_removed", None, 70).await;
    assert_eq!(house.whose().await, pairs(&[("2", "bob"), ("3", "bob")]));
    let view = house.store.links().account(account("a")).await.unwrap().unwrap();
    assert_eq!(view.state.name(), "removed");
    // The first sign of the next link.
    house.reopen();
    house.comes_in("a", "4", "device_added", Some("front"), 80).await;
    assert_eq!(house.whose().await, pairs(&[]));
    let ring = house.store.ring_clock();
    ring.answered(clock::now().plus(hours(3)), ring.asked());
    house.add_app("three", 82).await;
    house.claim("cyd", 83).await;
    assert_eq!(house.whose().await, pairs(&[("4", "cyd")]));
}

#[tokio::test]
async fn older_tokens_stand_back_until_the_younger_ones_of_about_their_time_are_refused_for_good() {
    for (restarts, known_before) in [(false, false), (true, false), (false, true)] {
        let mut house = Linked::new();
        let given_at = clock::now().minus(Duration::from_secs(1));
        let (older, younger) = if known_before {
            let younger = house.code("younger", 30).await;
            house.identify(younger).await;
            (house.code_at("older", 20, given_at).await, None)
        } else {
            (house.code_at("older", 20, given_at).await, Some(house.code("younger", 30).await))
        };
        if let Some(younger) = younger {
            assert!(house.sends(younger).await.is_some());
            assert!(house.sends(older).await.is_none(), "the younger account is not known");
            house.identify(younger).await;
        }
        house.store.links().refused_by_ring(older).await.unwrap();
        if restarts {
            house.reopen();
        }
        assert!(house.sends(older).await.is_none(), "it may be of the known account");
        let number = house.number().await;
        let record = house.store.links().token_record(number).await.unwrap().unwrap().record;
        house.store.links().tell(number, record.renewed_at, Notice::Revoked).await.unwrap().unwrap();
        assert_eq!(house.sends(older).await.as_deref(), Some("rt-older"));
    }
}

#[tokio::test]
async fn refused_tokens_without_rivals_are_refreshed_once_no_code_is_on_its_way() {
    let house = Linked::new();
    let alone = house.code("alone", 30).await;
    house.store.links().refused_by_ring(alone).await.unwrap();
    let grant = Grant { code: Secret::new("on-its-way".into()), verifier: None };
    let KeptCode::New(id) = house.store.outbox().keep_code(grant).await.unwrap() else { panic!() };
    assert!(house.sends(alone).await.is_none());
    house.store.outbox().end_code(id, CodeEnd::Refused).await.unwrap();
    assert_eq!(house.sends(alone).await.as_deref(), Some("rt-alone"));
}

#[tokio::test]
async fn of_two_codes_the_one_exchanged_last_is_tried_first_and_the_other_kept_until_oauth_speaks() {
    let house = Linked::new();
    // The second code was exchanged first, because OAuth failed over the first.
    let (second, first) = (house.code("second", 30).await, house.code("first", 20).await);
    house.identify(second).await;
    house.claim("ann", 40).await;
    house.identify(first).await;
    let number = house.number().await;
    let access = async || house.store.links().access(account("a")).await.unwrap().unwrap().token.unwrap();
    assert_eq!(access().await.expose(), "at-first");
    let outbox = house.store.outbox();
    let intent = outbox.begin_refresh(number, Which::Current, HOUR).await.unwrap().unwrap();
    assert_eq!(intent.token.expose(), "rt-first");
    outbox.settle_refresh(number, intent.fence, clock::now(), refused()).await.unwrap();
    let record = house.store.links().token_record(number).await.unwrap().unwrap();
    assert!(record.predecessor && record.rival);
    let intent = outbox.begin_refresh(number, Which::Predecessor, HOUR).await.unwrap().unwrap();
    assert_eq!(intent.token.expose(), "rt-second");
    outbox.settle_refresh(number, intent.fence, clock::now(), refused()).await.unwrap();
    assert!(!house.store.links().token_record(number).await.unwrap().unwrap().predecessor);
}

#[tokio::test]
async fn tokens_of_another_account_than_was_said_bind_nothing() {
    let house = Linked::new();
    let arrival = Arrival {
        refresh_token: Secret::new("rt".into()),
        user: Some(user("bob")),
        replace: false,
        expects: Some(account("named")),
    };
    let Arrived::Arriving { number, .. } = house.store.links().arrive(arrival).await.unwrap() else {
        panic!()
    };
    let given = house.store.links().identify(number, account("a")).await.unwrap();
    assert!(matches!(given, Identified::Given(Err(_))), "{given:?}");
    assert!(house.store.links().account(account("named")).await.unwrap().is_none());
    let view = house.store.links().account(account("a")).await.unwrap().unwrap();
    assert_eq!((view.user, view.tokens.is_some()), (None, true), "what may live is kept");
}

/// Ring's retries of what happened before `accounts forget` go to nobody, however late, and bring nothing of the account back.
#[tokio::test]
async fn late_events_of_a_user_who_was_forgotten_are_dropped_and_never_the_next_users() {
    for restarts in [false, true] {
        let mut house = Linked::new();
        house.add_app("one", 10).await;
        house.claim("ann", 20).await;
        house.happens("1", "motion_detected", Some("front"), 30).await;
        assert_eq!(house.whose().await, pairs(&[("1", "ann")]));
        house.store.links().forget(account("a")).await.unwrap().unwrap();
        let told: Vec<String> = house.whose().await.into_iter().map(|(_, user)| user).collect();
        assert_eq!(told, ["ann"], "her queue is told of it");
        // Before it is linked anew.
        house.happens("2", "app_integration_removed", None, 40).await;
        house.happens("3", "motion_detected", Some("front"), 41).await;
        assert!(house.store.links().account(account("a")).await.unwrap().is_none(), "nothing brings it back");
        let dropped = house.dropped();
        if restarts {
            house.store.close();
            house.store = open(&house.dir.path().join("store"), options(vec![spec("all")])).unwrap();
        }
        // The story goes on after the forget, which was now.
        let passed = clock::now().since(house.began).as_secs() + 10;
        tokio::time::sleep(Duration::from_millis(20)).await;
        house.began = clock::now().minus(Duration::from_secs(passed));
        house.add_app("two", passed).await;
        house.claim("bob", passed).await;
        house.happens("4", "motion_detected", Some("front"), 50).await;
        house.happens("5", "device_removed", Some("front"), 51).await;
        house.happens("6", "app_integration_removed", None, 52).await;
        house.happens("7", "motion_detected", Some("back"), passed).await;
        assert_eq!(house.whose().await, pairs(&[("7", "bob")]), "after a restart: {restarts}");
        let view = house.store.links().account(account("a")).await.unwrap().unwrap();
        assert_eq!((view.user, view.state.name()), (Some(user("bob")), "claiming"));
        let before = if restarts { 0 } else { dropped };
        assert_eq!(house.dropped() - before, 3);
        // Ring's repeat of one that was dropped is a duplicate like any other.
        house.happens("4", "motion_detected", Some("front"), 50).await;
        assert_eq!(house.whose().await, pairs(&[]));
    }
}

/// A caller who may ask for ann's accounts alone has asked; the operator moves the account before Ring is told.
#[tokio::test]
async fn a_pause_that_was_asked_for_one_user_is_neither_begun_nor_noted_for_another() {
    let house = Linked::new();
    link(&house.store, "a", "ann").await;
    let begin =
        |holder: &str| house.store.outbox().begin_pause(account("a"), Some(user(holder)), Actor::Daemon);
    let noted = async || {
        let view = house.store.links().account(account("a")).await.unwrap().unwrap();
        view.disconnecting_since.is_some()
    };
    let asking = begin("ann").await.unwrap().unwrap();
    assert!(!asking.again && noted().await);
    house.store.links().set_user(account("a"), user("bob"), true).await.unwrap().unwrap();
    assert!(!noted().await, "it was ann's");
    assert_eq!(begin("ann").await.unwrap(), Err(NoAsking::Moved));
    assert!(!noted().await);
    assert_eq!(begin("bob").await.unwrap(), Ok(Asking { again: false, ..asking }));
}
