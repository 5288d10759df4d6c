//! The promises, one case each, for any kind of queue.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ringhookd::domain::routing::{Filter, Selection};
use ringhookd::store::{Letter, LetterFilter, QueueSpec, Store};
use tempfile::TempDir;

use super::harness::{Arrival, Fault, Faults, Kind, no_faults};
use crate::support::proxy::{Answers, Proxy};
use crate::support::{create, drain, event, link, open, options, spec};

/// Waits for what must come some time, however slow the machine is.
macro_rules! eventually {
    ($what:literal, $is_so:expr) => {{
        let mut looks = 0;
        while !$is_so {
            looks += 1;
            assert!(looks < 12_000, "not within two minutes: {}", $what);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }};
}

/// A store, and a kind of queue beside it.
struct Scene<K> {
    dir: TempDir,
    queues: Vec<QueueSpec>,
    store: Store,
    kind: K,
}

impl<K: Kind> Scene<K> {
    /// In memory where the machine has such a folder: these tests are about order and loss, not about the disk.
    fn new(make: impl FnOnce(&Path) -> K, queues: Vec<QueueSpec>) -> Self {
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let folder = dir.path().join("store");
        create(&folder);
        let store = open(&folder, options(queues.clone())).unwrap();
        let kind = make(&dir.path().join("out"));
        Self { dir, queues, store, kind }
    }

    /// As after a restart: what was leased is free again.
    fn reopen(&mut self) {
        self.store.close();
        self.store = open(&self.dir.path().join("store"), options(self.queues.clone())).unwrap();
    }

    async fn letters(&self) -> Vec<Letter> {
        self.store.queues().letters(&LetterFilter::default(), None).await.unwrap().0
    }

    fn keys(&self, name: &str) -> Vec<String> {
        self.kind.arrived(name).into_iter().map(|arrival| arrival.key).collect()
    }

    /// Accepts `events` of each account, named `account/number`, in order; accounts side by side.
    async fn accept(&self, accounts: impl IntoIterator<Item = String>, events: usize) {
        self.accept_those(accounts, 0..events).await;
    }

    async fn accept_those(&self, accounts: impl IntoIterator<Item = String>, events: Range<usize>) {
        let mut tasks = tokio::task::JoinSet::new();
        for account in accounts {
            let (store, events) = (self.store.clone(), events.clone());
            tasks.spawn(async move {
                for n in events {
                    store.inbox().accept(event(&format!("{account}/{n}"), &account)).await.unwrap();
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
    }
}

/// The numbers of each account's events in the order of their first arrival, and the most arrivals of one event.
fn first_arrivals(arrivals: &[Arrival]) -> (BTreeMap<String, Vec<usize>>, usize) {
    let (mut firsts, mut counts) = (BTreeMap::<_, Vec<_>>::new(), BTreeMap::new());
    for Arrival { key, account, .. } in arrivals {
        let count = counts.entry(key).or_insert(0);
        *count += 1;
        if *count == 1 {
            let number = key.rsplit('/').next().unwrap().parse().unwrap();
            firsts.entry(account.clone()).or_default().push(number);
        }
    }
    (firsts, counts.into_values().max().unwrap_or(0))
}

fn only_user(name: &str, user: &str) -> QueueSpec {
    let users = Selection::Only([user.into()].into_iter().collect());
    QueueSpec { filter: Filter { users, ..Filter::default() }, ..spec(name) }
}

fn fault_at(key: &'static str, fault: impl Fn(u32) -> Fault + Send + Sync + 'static) -> Faults {
    Arc::new(move |leased| if leased.event.key == key { fault(leased.attempt) } else { Fault::None })
}

pub(crate) async fn ten_thousand_events_arrive_once_in_order_at_the_right_users_queue<K: Kind>(
    make: fn(&Path) -> K,
) {
    const EACH: usize = 100;
    let scene = Scene::new(make, vec![only_user("anns", "ann"), only_user("bobs", "bob")]);
    let accounts: Vec<(String, &str)> =
        (0..100).map(|n| (format!("account-{n}"), if n % 2 == 0 { "ann" } else { "bob" })).collect();
    for (account, user) in &accounts {
        link(&scene.store, account, user).await;
    }
    let start = |name| scene.kind.start(&scene.store, name, no_faults());
    let (anns, bobs) = (start("anns"), start("bobs"));
    let accept = scene.accept(accounts.iter().map(|(account, _)| account.clone()), EACH);
    // One is stopped in the middle and started again; what was in flight is settled then, so nothing comes twice.
    let restart = async {
        eventually!("some arrive", scene.keys("anns").len() > 500);
        anns.stop().await;
        start("anns")
    };
    let ((), anns) = tokio::join!(accept, restart);
    for (name, user) in [("anns", "ann"), ("bobs", "bob")] {
        eventually!("all arrive", scene.kind.arrived(name).len() >= 50 * EACH);
        let arrivals = scene.kind.arrived(name);
        assert!(arrivals.iter().all(|arrival| arrival.user == user), "the right user's only");
        let (firsts, most) = first_arrivals(&arrivals);
        assert_eq!(most, 1, "each once");
        let theirs: BTreeMap<String, Vec<usize>> = accounts
            .iter()
            .filter(|(_, of)| *of == user)
            .map(|(account, _)| (account.clone(), (0..EACH).collect()))
            .collect();
        assert_eq!(firsts, theirs, "all, in order per account");
    }
    anns.stop().await;
    bobs.stop().await;
    assert!(
        scene.store.queues().list().iter().all(|q| q.waiting == 0 && q.leased == 0 && q.totals.failed == 0)
    );
}

pub(crate) async fn a_failing_account_holds_up_no_other<K: Kind>(make: fn(&Path) -> K) {
    let scene = Scene::new(make, vec![QueueSpec { max_attempts: u32::MAX, ..spec("all") }]);
    for account in ["bad", "good"] {
        link(&scene.store, account, "ann").await;
    }
    let tries = Arc::new(AtomicUsize::new(0));
    let faults = fault_at("bad/0", {
        let tries = Arc::clone(&tries);
        move |_| {
            tries.fetch_add(1, Ordering::SeqCst);
            Fault::Fail
        }
    });
    let worker = scene.kind.start(&scene.store, "all", faults);
    scene.accept(["bad".to_owned()], 5).await;
    eventually!("it fails", tries.load(Ordering::SeqCst) >= 2);
    scene.accept(["good".to_owned()], 50).await;
    eventually!("the other account arrives", scene.keys("all").len() >= 50);
    worker.stop().await;
    let (firsts, most) = first_arrivals(&scene.kind.arrived("all"));
    assert_eq!((firsts.len(), most), (1, 1), "nothing of the bad one, not even what is behind: {firsts:?}");
    assert!(firsts["good"].iter().copied().eq(0..50));
    assert_eq!(scene.store.queues().list()[0].waiting, 5);
}

pub(crate) async fn failures_are_counted_and_end_among_the_dead_letters<K: Kind>(make: fn(&Path) -> K) {
    let scene = Scene::new(make, vec![QueueSpec { max_attempts: 3, ..spec("all") }]);
    link(&scene.store, "a", "ann").await;
    scene.accept(["a".to_owned()], 5).await;
    let attempts = Arc::new(Mutex::new(Vec::new()));
    let faults = fault_at("a/2", {
        let attempts = Arc::clone(&attempts);
        move |attempt| {
            attempts.lock().unwrap().push(attempt);
            Fault::Fail
        }
    });
    let worker = scene.kind.start(&scene.store, "all", faults);
    eventually!("the others arrive", scene.keys("all").len() >= 4);
    worker.stop().await;
    assert_eq!(scene.keys("all"), ["a/0", "a/1", "a/3", "a/4"]);
    assert_eq!(*attempts.lock().unwrap(), [1, 2, 3]);
    let letters = scene.letters().await;
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0].failures, letters[0].event.as_ref().unwrap().key.as_str()), (3, "a/2"));
    assert!(letters[0].why.contains("Fail"), "{}", letters[0].why);
}

pub(crate) async fn what_is_refused_is_a_dead_letter_at_once<K: Kind>(make: fn(&Path) -> K) {
    let scene = Scene::new(make, vec![spec("all")]);
    link(&scene.store, "a", "ann").await;
    scene.accept(["a".to_owned()], 3).await;
    let worker = scene.kind.start(&scene.store, "all", fault_at("a/1", |_| Fault::Refuse));
    eventually!("the others arrive", scene.keys("all").len() >= 2);
    worker.stop().await;
    assert_eq!(scene.keys("all"), ["a/0", "a/2"]);
    let letters = scene.letters().await;
    assert_eq!((letters.len(), letters[0].failures, letters[0].why.as_str()), (1, 0, "Refuse"));
}

pub(crate) async fn busy_counts_no_attempt<K: Kind>(make: fn(&Path) -> K) {
    let scene = Scene::new(make, vec![QueueSpec { max_attempts: 1, ..spec("all") }]);
    link(&scene.store, "a", "ann").await;
    scene.accept(["a".to_owned()], 5).await;
    let attempts = Arc::new(Mutex::new(Vec::new()));
    let faults = fault_at("a/2", {
        let attempts = Arc::clone(&attempts);
        move |attempt| {
            let mut attempts = attempts.lock().unwrap();
            attempts.push(attempt);
            if attempts.len() < 6 { Fault::Busy } else { Fault::None }
        }
    });
    let worker = scene.kind.start(&scene.store, "all", faults);
    eventually!("all arrive", scene.keys("all").len() >= 5);
    worker.stop().await;
    assert_eq!(scene.keys("all"), ["a/0", "a/1", "a/2", "a/3", "a/4"], "each once, in order");
    assert_eq!(*attempts.lock().unwrap(), [1; 6]);
    assert_eq!((scene.store.queues().list()[0].totals.failed, scene.letters().await.len()), (0, 0));
}

pub(crate) async fn nothing_is_lost_when_it_is_killed_before_it_settled<K: Kind>(make: fn(&Path) -> K) {
    let mut scene = Scene::new(make, vec![spec("all")]);
    let accounts: Vec<String> = (0..10).map(|n| format!("account-{n}")).collect();
    for account in &accounts {
        link(&scene.store, account, "ann").await;
    }
    scene.accept(accounts.clone(), 50).await;
    let lost = Arc::new(AtomicBool::new(false));
    let faults = fault_at("account-7/20", {
        let lost = Arc::clone(&lost);
        move |_| {
            lost.store(true, Ordering::SeqCst);
            Fault::LoseAnswer
        }
    });
    let worker = scene.kind.start(&scene.store, "all", faults);
    eventually!("it arrives and the answer is lost", {
        lost.load(Ordering::SeqCst) && scene.keys("all").iter().any(|key| key == "account-7/20")
    });
    worker.kill().await;
    scene.reopen();
    assert!(scene.store.queues().list()[0].waiting > 0, "not settled");
    let worker = scene.kind.start(&scene.store, "all", no_faults());
    let all: BTreeMap<_, _> = accounts.into_iter().map(|account| (account, (0..50).collect())).collect();
    eventually!("all arrive", first_arrivals(&scene.kind.arrived("all")).0 == all);
    let times = if scene.kind.drops_duplicates() { 1 } else { 2 };
    eventually!("the lost one comes again", {
        scene.keys("all").iter().filter(|key| *key == "account-7/20").count() == times
    });
    eventually!("all is settled", scene.store.queues().list()[0].waiting == 0);
    worker.stop().await;
    let (firsts, most) = first_arrivals(&scene.kind.arrived("all"));
    assert_eq!((firsts, most), (all, times), "under the same key, in order per account");
}

pub(crate) async fn what_a_stop_cuts_off_is_given_back<K: Kind>(make: fn(&Path) -> K) {
    let scene = Scene::new(make, vec![spec("all")]);
    link(&scene.store, "a", "ann").await;
    scene.accept(["a".to_owned()], 3).await;
    let worker = scene.kind.start(&scene.store, "all", fault_at("a/2", |_| Fault::LoseAnswer));
    eventually!("it arrives", scene.keys("all").len() >= 3);
    worker.stop_within(Duration::from_millis(1)).await;
    assert_eq!(scene.store.queues().list()[0].leased, 0);
    let again = drain(&scene.store, "all", 9).await;
    assert!(again.iter().all(|leased| leased.attempt == 1), "no attempt is counted");
    assert_eq!(again.last().map(|leased| leased.event.key.as_str()), Some("a/2"), "free at once");
}

/// `trouble` begins before half of the events are accepted, waits until deliveries were given up again and again, and is over when
/// it returns. No attempt may be used up.
pub(crate) async fn nothing_is_lost_through<K: Kind>(
    kind: K,
    trouble: impl AsyncFnOnce(&K, Pin<Box<dyn Future<Output = ()> + '_>>),
) {
    const EACH: usize = 50;
    let scene = Scene::new(|_| kind, vec![QueueSpec { max_attempts: 1, ..spec("all") }]);
    let accounts: Vec<String> = (0..10).map(|n| format!("account-{n}")).collect();
    for account in &accounts {
        link(&scene.store, account, "ann").await;
    }
    let tries = Arc::new(Mutex::new(HashMap::new()));
    let faults: Faults = Arc::new({
        let tries = Arc::clone(&tries);
        move |leased| {
            *tries.lock().unwrap().entry(leased.seq).or_insert(0) += 1;
            Fault::None
        }
    });
    let worker = scene.kind.start(&scene.store, "all", faults);
    scene.accept_those(accounts.clone(), 0..EACH / 2).await;
    eventually!("some arrive", scene.keys("all").len() >= 20);
    let given_up = async {
        eventually!("deliveries are given up", tries.lock().unwrap().values().any(|n| *n >= 3));
    };
    let rest = scene.accept_those(accounts.clone(), EACH / 2..EACH);
    tokio::join!(trouble(&scene.kind, Box::pin(given_up)), rest);
    let all: BTreeMap<_, _> = accounts.into_iter().map(|account| (account, (0..EACH).collect())).collect();
    eventually!("all is settled", scene.store.queues().list()[0].waiting == 0);
    worker.stop().await;
    // Before the arrivals, of which they would tell less.
    let letters: Vec<String> = scene.letters().await.into_iter().map(|letter| letter.why).collect();
    assert_eq!((scene.store.queues().list()[0].totals.failed, letters), (0, Vec::new()));
    assert_eq!(first_arrivals(&scene.kind.arrived("all")).0, all, "all, in order per account");
}

/// The receiver's answers fare so until deliveries were given up, then its connections are cut, and all passes again.
pub(crate) async fn nothing_is_lost_through_a_cut<K: Kind>(
    kind: K,
    proxy: impl Fn(&K) -> &Proxy,
    answers: Answers,
) {
    nothing_is_lost_through(kind, async |kind, given_up| {
        let proxy = proxy(kind);
        proxy.set(answers);
        given_up.await;
        proxy.cut();
        proxy.set(Answers::Pass);
    })
    .await;
}
