//! Claims in the store: what removals, codes and operators do between two of them, in whatever order they come.

use std::sync::Arc;
use std::time::Duration;

use crate::support::*;
use data_encoding::BASE64URL_NOPAD;
use ringhookd::clock;
use ringhookd::domain::actor::Actor;
use ringhookd::domain::arrival::Arrival;
use ringhookd::domain::claim::{Bid, Ruling};
use ringhookd::domain::code::Grant;
use ringhookd::domain::confirm::{Call, Progress, Step};
use ringhookd::domain::ring_time::RingTime;
use ringhookd::domain::routing::Selection;
use ringhookd::domain::secret::Secret;
use ringhookd::domain::time::Millis;
use ringhookd::domain::tokens::{ACCESS_LIFE, Pair, Span};
use ringhookd::domain::visit::Visit;
use ringhookd::store::{
    AccountView, Arrived, Claimed, Exchanged, Identified, Import, KeptCode, Store, WaitingCode,
};

const SKEW: Duration = Duration::from_secs(5);

struct House {
    _dir: tempfile::TempDir,
    store: Store,
}

impl House {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir.path().join("store"), vec![spec("all")]);
        Self { _dir: dir, store }
    }

    /// A code comes; its tokens are not the account's yet.
    async fn code(&self, name: &str) -> u32 {
        let grant = Grant { code: Secret::new(name.to_owned()), verifier: None };
        let KeptCode::New(id) = self.store.outbox().keep_code(grant).await.unwrap() else {
            panic!("it came before")
        };
        let pair = Pair::of(Some(&format!("at-{name}")), &format!("rt-{name}"));
        let came = RingTime::exactly(clock::now());
        let exchanged = Exchanged { pair, span: Span::from_now(clock::now(), ACCESS_LIFE), came };
        self.store.outbox().exchanged_code(id, Arc::new(exchanged)).await.unwrap()
    }

    async fn identify(&self, number: u32) {
        let given = self.store.links().identify(number, account("a")).await.unwrap();
        assert!(matches!(given, Identified::Given(_)), "{given:?}");
    }

    /// A code comes, and its account is known at once.
    async fn add_app(&self, name: &str) {
        let number = self.code(name).await;
        self.identify(number).await;
        pass().await;
    }

    async fn happens(&self, kind: &str, at: Millis) {
        let mut event = event_of(&format!("{kind}-{}", at.0), Some("a"), kind, None);
        event.event.time = Some(at);
        self.store.inbox().accept(event).await.unwrap();
    }

    async fn claim(&self, visit: &Visit, name: &str) -> Claimed {
        let seen = self.store.links().claimable(clock::now(), |id| id == "a").await.unwrap();
        let Some((number, _)) = seen.found else { return Claimed::Not(Ruling::NoMatch) };
        let bid = Bid {
            visit: visit.clone(),
            user: user(name),
            identifier: Some("a***".into()),
            accounts: Selection::All,
            by: Actor::Daemon,
        };
        self.store.links().claim(number, bid, SKEW).await.unwrap()
    }

    /// Ring is told of the claim, as far as `step`.
    async fn advance(&self, step: Step) {
        let number = self.number().await;
        let claim = self.store.links().claim_of(number).await.unwrap().unwrap();
        let to = Progress { step, ..claim.progress };
        assert!(self.store.outbox().advance_claim(&claim, to).await.unwrap());
    }

    async fn number(&self) -> u32 {
        self.store.links().access(account("a")).await.unwrap().unwrap().number
    }

    async fn linked_to(&self, name: &str, code: &str) {
        self.add_app(code).await;
        assert!(matches!(self.claim(&visit(), name).await, Claimed::Taken { .. }));
        self.advance(Step::Done).await;
        pass().await;
    }

    async fn view(&self) -> AccountView {
        self.store.links().account(account("a")).await.unwrap().unwrap()
    }

    async fn stands(&self, state: &str, holder: Option<&str>) {
        let view = self.view().await;
        assert_eq!((view.state.name(), view.user), (state, holder.map(user)));
    }

    async fn access(&self) -> String {
        let access = self.store.links().access(account("a")).await.unwrap().unwrap();
        access.token.unwrap().expose().clone()
    }
}

/// Of now; each time has a nonce of its own.
fn visit() -> Visit {
    visit_of(clock::now())
}

fn visit_of(at: Millis) -> Visit {
    let mut nonce = [7; 32];
    nonce[..8].copy_from_slice(&at.0.to_be_bytes());
    Visit::new(&BASE64URL_NOPAD.encode(&nonce), &at.0.to_string()).unwrap()
}

/// So that what follows has a later time.
async fn pass() {
    tokio::time::sleep(Duration::from_millis(3)).await;
}

#[tokio::test]
async fn a_removal_that_comes_after_the_next_code_ends_the_link_before_and_keeps_the_tokens() {
    let house = House::new();
    house.linked_to("ann", "one").await;
    let removed = clock::now();
    pass().await;
    house.add_app("two").await;
    house.stands("linked", Some("ann")).await;
    assert_eq!(house.claim(&visit(), "bob").await, Claimed::Not(Ruling::OtherUser), "for all we know");
    house.happens("app_integration_removed", removed).await;
    house.stands("unclaimed", None).await;
    assert_eq!(house.access().await, "at-two");
    house.happens("device_added", clock::now()).await;
    pass().await;
    let claimed = house.claim(&visit(), "bob").await;
    let Claimed::Taken { released } = claimed else { panic!("{claimed:?}") };
    assert_eq!((released.events, released.queues.values().sum::<u64>()), (1, 1));
    // Ring sends it again, for days.
    house.happens("app_integration_removed", Millis(removed.0 + 1)).await;
    house.stands("claiming", Some("bob")).await;
    let users: Vec<_> = drain(&house.store, "all", 9).await.into_iter().map(|e| e.event.user).collect();
    assert_eq!(users, [Some(user("ann")), Some(user("bob")), Some(user("ann"))], "each of its own link");
}

#[tokio::test]
async fn a_removal_of_the_link_before_ends_nothing_once_its_user_has_claimed_again() {
    let house = House::new();
    house.linked_to("ann", "one").await;
    let removed = clock::now();
    pass().await;
    house.linked_to("ann", "two").await;
    house.happens("app_integration_removed", removed).await;
    house.stands("linked", Some("ann")).await;
    assert_eq!(house.access().await, "at-two");
}

#[tokio::test]
async fn a_removal_with_an_impossible_time_neither_blocks_nor_is_lost() {
    for at in [clock::now().0 * 1000, clock::now().0 / 1000] {
        let house = House::new();
        house.linked_to("ann", "one").await;
        house.happens("app_integration_removed", Millis(at)).await;
        house.stands("removed", Some("ann")).await;
        pass().await;
        house.linked_to("bob", "two").await;
        house.stands("linked", Some("bob")).await;
    }
}

#[tokio::test]
async fn the_code_that_came_last_has_the_account_whichever_is_identified_first() {
    let house = House::new();
    let one = house.code("one").await;
    pass().await;
    let two = house.code("two").await;
    house.identify(two).await;
    pass().await;
    assert!(matches!(house.claim(&visit(), "ann").await, Claimed::Taken { .. }));
    house.identify(one).await;
    assert_eq!(house.access().await, "at-two");
    house.stands("claiming", Some("ann")).await;
    assert!(matches!(house.claim(&visit(), "bob").await, Claimed::Not(Ruling::OtherUser)));
}

#[tokio::test]
async fn a_code_from_before_a_removal_revives_nothing() {
    let house = House::new();
    house.linked_to("ann", "one").await;
    let late = house.code("late").await;
    pass().await;
    house.happens("app_integration_removed", clock::now()).await;
    house.identify(late).await;
    house.stands("removed", Some("ann")).await;
    assert!(house.store.links().access(account("a")).await.unwrap().is_none());
}

#[tokio::test]
async fn a_code_in_the_middle_of_a_claim_begins_it_anew() {
    let house = House::new();
    house.add_app("one").await;
    assert!(matches!(house.claim(&visit(), "ann").await, Claimed::Taken { .. }));
    house.advance(Step::Patching { posted: true, again: true }).await;
    house.add_app("two").await;
    let claim = house.store.links().claim_of(house.number().await).await.unwrap().unwrap();
    assert_eq!(claim.progress.call(), Some(Call::Post), "Ring knows nothing of it for the new one");
    let old = Progress { step: Step::Done, ..claim.progress };
    let stale = ringhookd::store::Claim { progress: Progress { step: Step::Posted, posts: 1 }, ..claim };
    assert!(
        !house.store.outbox().advance_claim(&stale, old).await.unwrap(),
        "what was in flight says nothing"
    );
    house.stands("claiming", Some("ann")).await;
}

#[tokio::test]
async fn an_import_that_another_user_keeps_revives_no_removed_link() {
    let house = House::new();
    house.linked_to("ann", "one").await;
    house.happens("app_integration_removed", clock::now()).await;
    pass().await;
    let arrival = Arrival {
        refresh_token: Secret::new("rt-import".into()),
        user: Some(user("bob")),
        replace: false,
        expects: None,
    };
    let Arrived::Arriving { number, .. } = house.store.links().arrive(arrival).await.unwrap() else {
        panic!()
    };
    let given = house.store.links().identify(number, account("a")).await.unwrap();
    assert!(matches!(given, Identified::Given(Err(_))), "{given:?}");
    house.stands("unclaimed", None).await;
}

#[tokio::test]
async fn no_visit_from_before_a_removal_counts_whatever_the_operator_did_since() {
    let house = House::new();
    let import = Import {
        account: account("a"),
        user: Some(user("ann")),
        tokens: Some(tokens("at", "rt")),
        replace: false,
    };
    house.store.links().import(import).await.unwrap().unwrap();
    let before = visit();
    pass().await;
    house.happens("app_integration_removed", clock::now()).await;
    house.store.links().set_user(account("a"), user("bob"), true).await.unwrap().unwrap();
    pass().await;
    house.add_app("two").await;
    assert_eq!(house.claim(&before, "ann").await, Claimed::Not(Ruling::Expired));
    assert!(matches!(house.claim(&visit(), "ann").await, Claimed::Taken { .. }));
}

#[tokio::test]
async fn what_only_ring_needed_to_be_told_goes_with_the_end() {
    let house = House::new();
    house.add_app("one").await;
    assert!(matches!(house.claim(&visit(), "ann").await, Claimed::Taken { .. }));
    let number = house.number().await;
    assert!(house.store.links().claim_of(number).await.unwrap().unwrap().identifier.is_some());
    house.advance(Step::Done).await;
    assert!(house.store.links().claim_of(number).await.unwrap().unwrap().identifier.is_none());
}

#[tokio::test]
async fn a_code_that_is_kept_and_not_under_way_is_told_of_again() {
    let house = House::new();
    let grant = || Grant { code: Secret::new("one".into()), verifier: None };
    let KeptCode::New(id) = house.store.outbox().keep_code(grant()).await.unwrap() else { panic!() };
    let again = house.store.outbox().keep_code(grant()).await.unwrap();
    assert!(matches!(again, KeptCode::Waiting(WaitingCode { id: same, tries: 0, .. }) if same == id));
    house.store.outbox().send_code(id).await.unwrap().unwrap();
    assert_eq!(house.store.outbox().waiting_codes().await.unwrap()[0].tries, 1);
    house.store.outbox().end_code(id, ringhookd::domain::code::CodeEnd::Lost).await.unwrap();
    assert_eq!(house.store.outbox().keep_code(grant()).await.unwrap(), KeptCode::Known);
    assert!(
        house.store.outbox().send_code(id).await.unwrap().is_none()
            && house.store.outbox().waiting_codes().await.unwrap().is_empty()
    );
}

#[tokio::test]
async fn what_happened_before_a_removal_is_of_whoever_had_the_account_then() {
    let house = House::new();
    house.linked_to("ann", "one").await;
    let then = clock::now().minus(Duration::from_mins(10));
    house.happens("app_integration_removed", clock::now()).await;
    pass().await;
    house.linked_to("bob", "two").await;
    house.happens("motion_detected", then).await;
    house.happens("button_press", clock::now()).await;
    let events = drain(&house.store, "all", 9).await;
    let whose: Vec<_> =
        events.iter().map(|e| (e.event.kind.as_str(), e.event.user.as_ref().unwrap().as_str())).collect();
    let expected = [("app_integration_removed", "ann"), ("motion_detected", "ann"), ("button_press", "bob")];
    assert_eq!(whose, expected);
}

#[tokio::test]
async fn a_link_that_nobody_had_is_nobodys_when_it_is_removed() {
    let house = House::new();
    house.linked_to("ann", "one").await;
    house.happens("app_integration_removed", clock::now()).await;
    drain(&house.store, "all", 9).await;
    pass().await;
    house.add_app("two").await;
    pass().await;
    house.happens("app_integration_removed", clock::now()).await;
    house.happens("device_removed", clock::now()).await;
    house.stands("removed", None).await;
    assert!(drain(&house.store, "all", 9).await.is_empty(), "Ann had the link before it");
}

#[tokio::test]
async fn a_late_removal_ends_a_claim_from_before_it_but_not_what_an_operator_did() {
    let house = House::new();
    house.linked_to("ann", "one").await;
    assert!(matches!(house.claim(&visit(), "ann").await, Claimed::Not(Ruling::Already)));
    // A claim is under way when the app is removed and added again.
    let house = House::new();
    house.add_app("one").await;
    assert!(matches!(house.claim(&visit(), "ann").await, Claimed::Taken { .. }));
    pass().await;
    let removed = clock::now();
    pass().await;
    house.add_app("two").await;
    house.happens("app_integration_removed", removed).await;
    house.stands("unclaimed", None).await;
    assert_eq!(house.access().await, "at-two");
    assert!(matches!(house.claim(&visit(), "bob").await, Claimed::Taken { .. }));

    let house = House::new();
    house.linked_to("ann", "one").await;
    let removed = clock::now();
    pass().await;
    house.add_app("two").await;
    house.store.links().set_user(account("a"), user("bob"), true).await.unwrap().unwrap();
    house.happens("app_integration_removed", removed).await;
    house.stands("linked", Some("bob")).await;
}

#[tokio::test]
async fn whoever_had_an_account_is_not_told_of_the_next_ones_link() {
    let house = House::new();
    house.linked_to("ann", "one").await;
    house.happens("app_integration_removed", clock::now()).await;
    let import = Import {
        account: account("a"),
        user: Some(user("bob")),
        tokens: Some(tokens("at", "rt")),
        replace: true,
    };
    house.store.links().import(import).await.unwrap().unwrap();
    house.stands("linked", Some("bob")).await;
}
