//! Tokens kept alive and handed out against the simulated Ring: the daemon's token service over real sockets and a real store.

mod codes;
mod damaged;
mod ends;
mod full_disk;
pub(crate) mod hung_guard;
mod late;
mod shown;

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use crate::support::tokens::{TokenHarness, soon};
use crate::support::*;
use ringhookd::domain::access_token::Reason;
use ringhookd::domain::actor::Actor;
use ringhookd::domain::arrival::{Arrival, Unwelcome, Welcome};
use ringhookd::domain::heard::Heard;
use ringhookd::domain::released::Released;
use ringhookd::domain::secret::Secret;
use ringhookd::sim::{Plan, Policy};
use ringhookd::store::{Arrived, Identified, Which};

const GRACE: Policy = Policy::Grace(Duration::from_mins(2));

#[tokio::test(flavor = "multi_thread")]
async fn an_imported_token_is_exchanged_and_lent() {
    let harness = TokenHarness::new(Policy::DeadAtOnce).await;
    let pair = harness.import("a").await;
    let lent = harness.lend("a").await.unwrap();
    assert!(harness.ring.honours_access(lent.token.expose()));
    assert!(!harness.ring.honours(&pair.refresh), "it was exchanged");
    assert_eq!(harness.ring.counts("a").granted, 1);
    let again = harness.lend("a").await.unwrap();
    assert_eq!((again.generation, again.token.expose()), (lent.generation, lent.token.expose()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_askers_cause_one_refresh() {
    let harness = Arc::new(TokenHarness::new(Policy::DeadAtOnce).await);
    harness.hold_back().await;
    harness.import("a").await;
    let mut askers = tokio::task::JoinSet::new();
    for _ in 0..1000 {
        let harness = Arc::clone(&harness);
        askers.spawn(async move { harness.lend("a").await.unwrap().generation });
    }
    harness.let_go().await;
    let generations = askers.join_all().await;
    assert!(generations.iter().all(|generation| *generation == generations[0]));
    assert_eq!((harness.ring.counts("a").granted, harness.ring.most_in_flight()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_was_refused_is_replaced_unless_it_was_just_made() {
    let harness = TokenHarness::new(Policy::DeadAtOnce).await;
    harness.import("a").await;
    let first = harness.lend("a").await.unwrap();
    let young = harness.lend_newer("a", first.generation).await.unwrap_err();
    assert_eq!(young.reason, Reason::JustRenewed);
    assert!(young.retry_after.unwrap() <= Duration::from_secs(30));
    // One that has been replaced since needs no refresh.
    let newer = harness.lend_newer("a", first.generation - 1).await.unwrap();
    assert_eq!(newer.generation, first.generation);
    // An older one is.
    let span = ringhookd::domain::tokens::Span {
        renewed_at: ringhookd::clock::now().minus(HOUR),
        expires_at: later(HOUR),
    };
    harness.import_as("b", span).await;
    let old = harness.lend("b").await.unwrap();
    assert_eq!(harness.ring.counts("b").granted, 0);
    let fresh = harness.lend_newer("b", old.generation).await.unwrap();
    assert!(fresh.generation > old.generation && harness.ring.honours_access(fresh.token.expose()));
    assert_eq!(harness.ring.counts("b").granted, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_or_too_much_is_denied_for_good() {
    let harness = TokenHarness::new(Policy::DeadAtOnce).await;
    harness.import("a").await;
    assert_eq!(harness.lend("nobody").await.unwrap_err().reason, Reason::NoTokens);
    let long = harness.lend_for("a", Duration::from_hours(5)).await.unwrap_err();
    assert_eq!((long.reason, long.retry_after), (Reason::TooLong, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_app_removed_ends_calls_at_once() {
    let harness = TokenHarness::new(Policy::DeadAtOnce).await;
    harness.import("a").await;
    harness.lend("a").await.unwrap();
    let mut removed = event_of("1", Some("a"), "app_integration_removed", None);
    removed.event.time = Some(later(HOUR));
    harness.store.inbox().accept(removed).await.unwrap();
    assert_eq!(harness.lend("a").await.unwrap_err().reason, Reason::NoTokens);
    soon("it leaves the schedule", || {
        harness.tokens().status().overview.by_health.iter().sum::<usize>() == 0
    })
    .await;
}

/// Every fault that leaves the tokens as they are, or whose answer still shows them, under both policies; one whose answer is lost
/// where the old token stays good for a while.
#[tokio::test(flavor = "multi_thread")]
async fn no_fault_loses_a_link_that_ring_would_still_honour() {
    let harmless = [
        "oauth-lost-request",
        "oauth-500",
        "oauth-503",
        "oauth-429:1",
        "oauth-html",
        "oauth-no-refresh-token",
        "oauth-no-expires-in",
        "oauth-absurd-expires-in:-5",
        "oauth-same-refresh-token",
        "oauth-slow-before:50ms",
        "oauth-invalid-client",
    ];
    let lost = ["oauth-lost-answer", "oauth-500-after-work", "oauth-truncated", "oauth-slow-after:3s"];
    for policy in [Policy::DeadAtOnce, GRACE] {
        let harness = TokenHarness::new(policy).await;
        let faults = harmless.iter().filter(|fault| **fault != "oauth-invalid-client");
        let faults: Vec<_> = if policy == GRACE { faults.chain(&lost).collect() } else { faults.collect() };
        for fault in faults {
            harness.ring.clear_faults();
            harness.fault(fault, 1);
            harness.import(fault).await;
            harness.survives(fault).await;
            assert_eq!(harness.ring.fired(fault.split(':').next().unwrap()), 1, "{fault}");
        }
        assert_eq!(harness.ring.most_in_flight(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_wrong_secret_ends_no_link() {
    let harness = TokenHarness::new(Policy::DeadAtOnce).await;
    harness.fault("oauth-invalid-client", 1);
    harness.import("a").await;
    soon("it halts", || harness.tokens().status().overview.client_paused).await;
    let denied = harness.lend("a").await.unwrap_err();
    assert_eq!(denied.reason, Reason::ClientRefused);
    assert!(denied.retry_after.unwrap() > Duration::from_mins(14));
    assert_eq!(harness.tokens().status().overview.by_health[3..].iter().sum::<usize>(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_hears_that_oauth_refused_the_token_or_gave_an_answer_that_cannot_be_read() {
    for (fault, reason, counted) in [
        ("oauth-invalid-grant", Reason::Refused, "refused"),
        ("oauth-duplicate-keys", Reason::Unreadable, "unreadable"),
    ] {
        let harness = TokenHarness::new(Policy::DeadAtOnce).await;
        harness.ring.inject(Plan { fault: fault.parse().unwrap(), times: None, account: None });
        let number = harness.import_number("a").await;
        soon("it has failed", || harness.refreshes(counted) >= 1).await;
        soon("the schedule knows", || harness.tokens().status().overview.failing == 1).await;
        let denied = harness.lend("a").await.unwrap_err();
        assert_eq!(denied.reason, reason, "{fault}");
        let left = harness.tokens().next_try(number).unwrap().since(harness.wall());
        let said = denied.retry_after.unwrap();
        assert!(
            said.abs_diff(left) < Duration::from_mins(2),
            "{fault}: {said:?}, and next_try_at says {left:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_read_is_kept_sealed_and_taken_once_it_can_be() {
    let harness = TokenHarness::new(Policy::DeadAtOnce).await;
    harness.fault("oauth-duplicate-keys", 1);
    let number = harness.import_number("a").await;
    soon("the answer is kept", || harness.ring.counts("a").granted == 1).await;
    harness.stop().await;
    let intent = harness.store.outbox().begin_refresh(number, Which::Current, HOUR).await.unwrap().unwrap();
    let (kept, _) = intent.kept.unwrap();
    let live = harness.ring.live("a").unwrap();
    assert!(String::from_utf8_lossy(kept.expose()).contains(&live), "the pair is in there");
    let files = fs::read(harness.folder().join("store/store.redb")).unwrap();
    assert!(!files.windows(live.len()).any(|window| window == live.as_bytes()), "in the clear");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_copy_of_the_store_burns_nothing_until_told_to() {
    let mut harness = TokenHarness::new(Policy::DeadAtOnce).await;
    harness.import("a").await;
    harness.lend("a").await.unwrap();
    harness.close().await;
    let copy = harness.folder().join("copy");
    copy_folder(&harness.folder().join("store"), &copy);
    harness.open().await;
    // The original goes on: the copy's token is dead.
    harness.refresh_again("a").await;
    harness.close().await;
    fs::remove_dir_all(harness.folder().join("store")).unwrap();
    fs::rename(&copy, harness.folder().join("store")).unwrap();
    let before = harness.ring.exchanges().len();
    harness.open().await;
    soon("it is noticed", || harness.tokens().status().guarded).await;
    assert_eq!(harness.refused_newer("a").await, Reason::Guarded);
    for n in 0..20 {
        harness.import(&format!("imported-{n}")).await;
    }
    harness.close().await;
    harness.open().await;
    assert!(harness.tokens().status().guarded, "imports take it no further");
    let unknown =
        Arrival { refresh_token: Secret::new("x".into()), user: None, replace: false, expects: None };
    assert_eq!(harness.tokens().welcome(unknown).await, Err(Unwelcome::Guarded));
    assert_eq!(harness.ring.exchanges().len(), before, "nothing was sent");

    harness.tokens().accept_restored(&Actor::Daemon).await.unwrap();
    harness.import("b").await;
    harness.lend("b").await.unwrap();
    harness.close().await;
    harness.open().await;
    harness.lend("b").await.unwrap();
    assert!(!harness.tokens().status().guarded, "it stays accepted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_epoch_is_an_older_copy_for_all_we_know() {
    let mut harness = TokenHarness::new(Policy::DeadAtOnce).await;
    harness.import("a").await;
    harness.lend("a").await.unwrap();
    harness.close().await;
    fs::remove_dir_all(harness.folder().join("guard")).unwrap();
    harness.open().await;
    soon("it is noticed", || harness.tokens().status().guarded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_alone_finds_its_account() {
    let harness = TokenHarness::new(Policy::DeadAtOnce).await;
    let pair = harness.ring.add_account("ava1.ring.account.X");
    let arrive = |token: &str, name: &str, replace| Arrival {
        refresh_token: Secret::new(token.to_owned()),
        user: Some(user(name)),
        replace,
        expects: None,
    };
    let welcome = harness.tokens().welcome(arrive(&pair.refresh, "ann", false)).await;
    let expected = Welcome::Linked {
        account: account("ava1.ring.account.X"),
        created: true,
        released: Released::default(),
    };
    assert_eq!(welcome, Ok(expected));
    harness.lend("ava1.ring.account.X").await.unwrap();
    // Again, as when a whole file is: it is known, and not sent again, which might end the link.
    let exchanges = harness.ring.exchanges().len();
    let again = harness.tokens().welcome(arrive(&pair.refresh, "ann", false)).await;
    let expected = Welcome::Linked {
        account: account("ava1.ring.account.X"),
        created: false,
        released: Released::default(),
    };
    assert_eq!((again, harness.ring.exchanges().len()), (Ok(expected), exchanges));
    let strange = harness.tokens().welcome(arrive("nobody knows this one", "ann", false)).await;
    assert_eq!(strange, Err(Unwelcome::NotHonoured));
    // Another user's: the account stays whose it is, with the tokens that live.
    let live = harness.ring.live("ava1.ring.account.X").unwrap();
    let other = harness.tokens().welcome(arrive(&live, "bob", false)).await.unwrap_err();
    let (account, user) = (account("ava1.ring.account.X"), user("ann"));
    assert_eq!(other, Unwelcome::OtherUser { account, user });
    let lent = harness.lend("ava1.ring.account.X").await.unwrap();
    assert!(harness.ring.honours_access(lent.token.expose()));
    assert!(harness.store.links().arriving().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_are_put_in_again_do_not_replace_what_oauth_gave_for_them() {
    let harness = TokenHarness::new(Policy::DeadAtOnce).await;
    let given = harness.import("a").await;
    let first = harness.lend("a").await.unwrap();
    for refresh in [given.refresh.clone(), harness.ring.live("a").unwrap()] {
        harness.import_pair("a", None, &refresh).await;
        let lent = harness.lend("a").await.unwrap();
        assert_eq!((lent.generation, harness.ring.counts("a").granted), (first.generation, 1));
    }
    // While it is under way.
    harness.fault("oauth-slow-after:500ms", 1);
    let given = harness.import("b").await;
    soon("it is replaced", || harness.ring.counts("b").granted == 1).await;
    harness.import_pair("b", None, &given.refresh).await;
    harness.survives("b").await;
    assert_eq!(harness.ring.counts("b").granted, 1);
    // A slip: another token, which is none. The one before is not lost for it.
    harness.import_pair("a", None, "mistyped").await;
    let number = harness.store.links().access(account("a")).await.unwrap().unwrap().number;
    assert!(harness.store.links().token_record(number).await.unwrap().unwrap().predecessor);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_makes_oauth_refresh_by_asking() {
    let harness = TokenHarness::new(Policy::DeadAtOnce).await;
    harness.import("a").await;
    harness.lend("a").await.unwrap();
    for life in [239, 300] {
        for _ in 0..20 {
            let lent = harness.lend_for("a", Duration::from_mins(life)).await;
            assert!(lent.is_ok() || lent.unwrap_err().reason == Reason::TooLong);
        }
    }
    for _ in 0..20 {
        assert!(harness.lend_newer("a", u64::MAX).await.is_err());
    }
    assert_eq!(harness.ring.counts("a").granted, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_token_that_arrives_twice_is_exchanged_once() {
    let harness = TokenHarness::new(Policy::DeadAtOnce).await;
    for n in 0..5 {
        let id = format!("X{n}");
        let pair = harness.ring.add_account(&id);
        let arrive = |name: &str| arrival_of(&pair.refresh, name);
        let (first, second) =
            tokio::join!(harness.tokens().welcome(arrive("ann")), harness.tokens().welcome(arrive("ann")));
        assert!(first.is_ok() || second.is_ok(), "{first:?} {second:?}");
        harness.survives(&id).await;
        assert_eq!(harness.ring.counts(&id).granted, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_arrival_outlives_its_access_token_and_goes_to_the_user_who_was_named_last() {
    let harness = TokenHarness::new(Policy::DeadAtOnce).await;
    let pair = harness.ring.add_account("X");
    harness.ring.inject(Plan { fault: "users-me-503".parse().unwrap(), times: None, account: None });
    let arrive = |name: &str| arrival_of(&pair.refresh, name);
    let pending = Ok(Welcome::Pending(Reason::UsersMe));
    assert_eq!(harness.tokens().welcome(arrive("wrong")).await, pending);
    harness.advance(Duration::from_hours(5)).await;
    harness.ring.clear_faults();
    // Asked again by whoever corrects it.
    let again = harness.tokens().welcome(arrive("right")).await;
    assert!(again.is_ok(), "{again:?}");
    harness.all_have_arrived().await;
    assert_eq!(harness.store.links().account(account("X")).await.unwrap().unwrap().user, Some(user("right")));
    harness.survives("X").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_arrival_says_which_of_rings_endpoints_failed() {
    for (fault, why) in [
        ("oauth-500", Reason::OauthDown),
        ("oauth-lost-answer", Reason::OauthDown),
        ("oauth-429:60", Reason::Throttled),
        ("users-me-500", Reason::UsersMe),
        ("users-me-403", Reason::UsersMe),
    ] {
        let harness = TokenHarness::new(Policy::DeadAtOnce).await;
        let pair = harness.ring.add_account("X");
        harness.ring.inject(Plan { fault: fault.parse().unwrap(), times: None, account: None });
        let arrival = arrival_of(&pair.refresh, "ann");
        assert_eq!(harness.tokens().welcome(arrival).await, Ok(Welcome::Pending(why)), "{fault}");
    }
    assert!(Reason::UsersMe.words().contains("users/me") && Reason::OauthDown.words().contains("OAuth"));
    assert!(Reason::ApiDown.words().contains("app-integrations"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_arrival_that_ring_was_not_asked_about_is_kept() {
    for fault in ["oauth-lost-request", "oauth-429:1", "oauth-500", "oauth-html"] {
        let harness = TokenHarness::new(Policy::DeadAtOnce).await;
        let pair = harness.ring.add_account("X");
        harness.fault(fault, 1);
        let arrival = arrival_of(&pair.refresh, "ann");
        let outcome = harness.tokens().welcome(arrival).await;
        assert!(matches!(outcome, Ok(Welcome::Pending(_) | Welcome::Linked { .. })), "{fault}: {outcome:?}");
        harness.all_have_arrived().await;
        harness.survives("X").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_arrival_that_users_me_refuses_is_asked_about_again_and_not_refreshed_for_it() {
    let harness = TokenHarness::new(Policy::DeadAtOnce).await;
    let pair = harness.ring.add_account("X");
    harness.ring.inject(Plan { fault: "users-me-403".parse().unwrap(), times: None, account: None });
    let arrival = arrival_of(&pair.refresh, "ann");
    assert_eq!(harness.tokens().welcome(arrival).await, Ok(Welcome::Pending(Reason::UsersMe)));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(harness.ring.counts("X").granted, 1);
    harness.ring.clear_faults();
    harness.all_have_arrived().await;
    harness.survives("X").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slip_of_a_token_is_turned_away_though_oauth_throttled_the_first_try() {
    let harness = TokenHarness::new(Policy::DeadAtOnce).await;
    harness.fault("oauth-429:1", 1);
    let arrival =
        Arrival { refresh_token: Secret::new("mistyped".into()), user: None, replace: false, expects: None };
    let outcome = harness.tokens().welcome(arrival).await;
    assert!(matches!(outcome, Ok(Welcome::Pending(_)) | Err(Unwelcome::NotHonoured)), "{outcome:?}");
    harness.all_have_arrived().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_arrival_is_not_given_away_while_its_refresh_is_under_way() {
    let harness = TokenHarness::new(Policy::DeadAtOnce).await;
    harness.stop().await;
    let arrival = Arrival {
        refresh_token: Secret::new("rt".into()),
        user: Some(user("ann")),
        replace: false,
        expects: None,
    };
    let arrived = harness.store.links().arrive(arrival).await.unwrap();
    let Arrived::Arriving { number, is_new: true } = arrived else { panic!("{arrived:?}") };
    let intent = harness.store.outbox().begin_refresh(number, Which::Current, HOUR).await.unwrap().unwrap();
    let busy = harness.store.links().identify(number, account("X")).await.unwrap();
    assert!(matches!(busy, Identified::Busy), "{busy:?}");
    let not_sent = Arc::new(Heard::WITHHELD);
    harness
        .store
        .outbox()
        .settle_refresh(number, intent.fence, ringhookd::clock::now(), not_sent)
        .await
        .unwrap();
    let given = harness.store.links().identify(number, account("X")).await.unwrap();
    assert!(matches!(given, Identified::Given(Ok(_))), "{given:?}");
    let gone = harness.store.links().identify(number, account("X")).await.unwrap();
    assert!(matches!(gone, Identified::Gone), "{gone:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistyped_import_can_be_corrected() {
    let harness = TokenHarness::new(Policy::DeadAtOnce).await;
    harness.stop().await;
    for token in ["right", "wrong", "right"] {
        harness.import_pair("a", None, token).await;
    }
    let number = harness.store.links().access(account("a")).await.unwrap().unwrap().number;
    let intent = harness.store.outbox().begin_refresh(number, Which::Current, HOUR).await.unwrap().unwrap();
    assert_eq!(intent.token.expose(), "right");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_arrival_whose_account_ring_does_not_tell_goes_on_by_itself() {
    let mut harness = TokenHarness::new(Policy::DeadAtOnce).await;
    let pair = harness.ring.add_account("X");
    harness.fault("users-me-500", 1);
    let arrival = arrival_of(&pair.refresh, "ann");
    assert_eq!(harness.tokens().welcome(arrival).await, Ok(Welcome::Pending(Reason::UsersMe)));
    harness.close().await;
    harness.open().await;
    harness.all_have_arrived().await;
    assert!(harness.ring.honours_access(harness.lend("X").await.unwrap().token.expose()));
    assert_eq!(harness.store.links().account(account("X")).await.unwrap().unwrap().user, Some(user("ann")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_from_before_an_arrival_was_exchanged_does_not_send_it_again() {
    let mut harness = TokenHarness::new(Policy::DeadAtOnce).await;
    let pair = harness.ring.add_account("X");
    harness.fault("oauth-lost-request", 1);
    let arrival = arrival_of(&pair.refresh, "ann");
    assert_eq!(harness.tokens().welcome(arrival).await, Ok(Welcome::Pending(Reason::OauthDown)));
    harness.close().await;
    let copy = harness.folder().join("copy");
    copy_folder(&harness.folder().join("store"), &copy);
    harness.open().await;
    harness.all_have_arrived().await;
    harness.close().await;
    fs::remove_dir_all(harness.folder().join("store")).unwrap();
    fs::rename(&copy, harness.folder().join("store")).unwrap();
    let before = harness.ring.exchanges().len();
    harness.open().await;
    assert!(harness.tokens().status().guarded);
    harness.stop().await;
    assert_eq!(harness.ring.exchanges().len(), before, "nothing was sent");
    assert_eq!(harness.store.links().arriving().await.unwrap().len(), 1);
}

fn arrival_of(refresh: &str, name: &str) -> Arrival {
    Arrival {
        refresh_token: Secret::new(refresh.to_owned()),
        user: Some(user(name)),
        replace: false,
        expects: None,
    }
}

fn copy_folder(from: &std::path::Path, to: &std::path::Path) {
    fs::create_dir(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        if file.file_type().unwrap().is_file() {
            fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
    }
}
