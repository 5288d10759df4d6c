//! Refreshes that are cut off: the process dies at each step, at chance, or without a disk; Ring's ledger says what must live.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::thread::sleep;
use std::time::Duration;

use ringhookd::clock;
use ringhookd::domain::freshness::Expected;
use ringhookd::domain::ids::AccountId;
use ringhookd::sim::{Options as RingOptions, Policy, Ring};
use ringhookd::store::{Bounds, HeldBounds, Options, ReceiptBounds, Silence, Store, Which};
use ringhookd::vault::Vault;
use serde_json::{Value, json};

use super::daemon::Installed;
use super::points::{ARRIVING, REFRESHING};
use super::random::Random;
use crate::support::http::Client;

const GRACE: Policy = Policy::Grace(Duration::from_mins(10));
const PATIENCE: Duration = Duration::from_mins(1);

/// A daemon's site before a simulated Ring.
struct Scene {
    installed: Installed,
    ring: Ring,
}

impl Scene {
    fn new(policy: Policy, settings: &str) -> Self {
        let ring = Ring::start(RingOptions { policy, ..RingOptions::default() }).unwrap();
        let installed = Installed::before(&ring, settings);
        Self { installed, ring }
    }

    /// Puts accounts in with their refresh tokens alone, so that they are due at once.
    fn import(&self, ids: &[String]) -> std::io::Result<()> {
        for ids in ids.chunks(500) {
            let entry = |id: &String| {
                let refresh = self.ring.add_account(id).refresh;
                json!({"account_id": id, "user": "ann", "refresh_token": refresh}).to_string()
            };
            let body: Vec<String> = ids.iter().map(entry).collect();
            self.call("POST", "/v1/accounts", &body.join("\n"))?;
        }
        Ok(())
    }

    fn call(&self, method: &str, path: &str, body: &str) -> std::io::Result<(u16, Value)> {
        let mut client = Client::unix(&self.installed.socket())?;
        let headers = "Content-Type: application/json\r\n";
        let (status, text) = client.send(method, path, headers, body.as_bytes())?;
        Ok((status, serde_json::from_slice(&text).unwrap_or_default()))
    }

    /// Waits until the schedule has nothing to do any more.
    fn settle(&self) {
        let deadline = clock::instant() + PATIENCE;
        loop {
            let tokens = self.call("GET", "/v1/status", "").unwrap().1["tokens"].take();
            // A refused link is asked about again in an hour.
            if tokens["due"] == 0
                && tokens["under_way"] == 0
                && tokens["failing"] == tokens["accounts"]["refused"]
            {
                return;
            }
            assert!(clock::instant() < deadline, "{tokens}");
            sleep(Duration::from_millis(20));
        }
    }

    /// Accounts whose refresh token in the store Ring does not honour.
    fn lost(&self, ids: &[String]) -> BTreeSet<String> {
        let key = fs::read(self.installed.store().join("master.key")).unwrap();
        let vault = Vault::from_hex(&key, None).unwrap();
        let store = Store::open(&self.installed.store(), "test", vault, options()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let lost = runtime.block_on(async {
            let mut lost = BTreeSet::new();
            for id in ids {
                let Some(access) = store.links().access(AccountId::new(id).unwrap()).await.unwrap() else {
                    lost.insert(id.clone());
                    continue;
                };
                let turn =
                    store.outbox().begin_refresh(access.number, Which::Current, PATIENCE).await.unwrap();
                if !self.ring.honours(turn.unwrap().token.expose()) {
                    lost.insert(id.clone());
                }
            }
            lost
        });
        store.close();
        lost
    }
}

/// Dies at each step, at the first refresh of an account and at a later one; the next start makes it good.
#[test]
fn a_refresh_that_was_cut_off_at_any_step_loses_nothing_that_ring_would_honour() {
    for policy in [Policy::DeadAtOnce, GRACE] {
        for point in REFRESHING {
            for pass in [1, 3] {
                let ids: Vec<String> = (0..4).map(|n| format!("account-{n}")).collect();
                let scene = Scene::new(policy, "[tokens]\nparallel = 1\n");
                let failpoint = format!("{point}={pass}:kill");
                let mut daemon = scene.installed.spawn(Some(&failpoint));
                assert!(scene.installed.ready(&mut daemon).is_some(), "{}", daemon.log());
                // The daemon may die before it has answered.
                let _ = scene.import(&ids);
                let status = daemon.wait(PATIENCE).unwrap_or_else(|| panic!("{failpoint}: {}", daemon.log()));
                assert_eq!(status.signal(), Some(9), "{failpoint}: {}", daemon.log());
                let (mut daemon, _) = scene.installed.start();
                // It may have died before it had all of them.
                let is_missing =
                    |id: &&String| scene.call("GET", &format!("/v1/accounts/{id}"), "").unwrap().0 == 404;
                let missing: Vec<String> = ids.iter().filter(is_missing).cloned().collect();
                scene.import(&missing).unwrap();
                scene.settle();
                daemon.kill();
                // Ring's answer was in the process's memory alone, and Ring honours what it replaced no more.
                let died_with_it = *point == "refresh.answered" && policy == Policy::DeadAtOnce;
                let lost = scene.lost(&ids);
                assert_eq!(lost.len(), usize::from(died_with_it), "{failpoint} {policy:?}: {lost:?}");
                assert!(scene.ring.most_in_flight() <= 1, "{failpoint}: two refreshes of an account at once");
            }
        }
    }
}

#[test]
fn kills_at_chance_while_everybody_is_refreshed_lose_only_what_was_on_the_wire() {
    for policy in [Policy::DeadAtOnce, GRACE] {
        let mut random = Random::new(clock::now().0);
        let ids: Vec<String> = (0..600).map(|n| format!("account-{n}")).collect();
        let scene = Scene::new(policy, "requests_per_second = 90\n[linking]\ncodes_per_second = 5\n");
        let (mut daemon, _) = scene.installed.start();
        scene.import(&ids).unwrap();
        let mut kills = 0;
        while kills < 12 {
            sleep(Duration::from_millis(100) + random.ms(400));
            daemon.kill();
            kills += 1;
            (daemon, _) = scene.installed.start();
        }
        scene.settle();
        daemon.kill();
        let lost = scene.lost(&ids);
        println!("{policy:?}: {} of {} lost on the wire in {kills} kills", lost.len(), ids.len());
        match policy {
            Policy::Grace(_) => assert_eq!(lost, BTreeSet::new()),
            // Sixteen may be under way at each kill.
            Policy::DeadAtOnce => assert!(lost.len() <= 16 * kills, "{}", lost.len()),
        }
        for id in &lost {
            assert_eq!(scene.ring.counts(id).granted, 1, "{id}: lost though its answer was recorded");
        }
        assert!(scene.ring.most_in_flight() <= 1, "{} at a time", scene.ring.most_in_flight());
        // Each start may begin with a burst.
        assert!(scene.ring.peak_per_second() <= 100, "{} a second", scene.ring.peak_per_second());
    }
}

#[test]
fn a_token_without_its_account_that_was_cut_off_arrives_all_the_same() {
    for point in ARRIVING.iter().chain(REFRESHING) {
        let scene = Scene::new(GRACE, "");
        let refresh = scene.ring.add_account("X").refresh;
        let mut daemon = scene.installed.spawn(Some(&format!("{point}:kill")));
        assert!(scene.installed.ready(&mut daemon).is_some(), "{}", daemon.log());
        let entry = json!({"user": "ann", "refresh_token": refresh}).to_string();
        assert!(scene.call("POST", "/v1/accounts", &entry).is_err(), "{point}");
        assert_eq!(daemon.wait(PATIENCE).and_then(|status| status.signal()), Some(9), "{point}");
        let (mut daemon, _) = scene.installed.start();
        let deadline = clock::instant() + PATIENCE;
        while scene.call("GET", "/v1/accounts/X", "").unwrap().0 != 200 {
            assert!(clock::instant() < deadline, "{point}: {}", daemon.log());
            sleep(Duration::from_millis(20));
        }
        let shown = scene.call("GET", "/v1/accounts/X", "").unwrap().1;
        assert_eq!(shown["user"], "ann", "{point}");
        daemon.kill();
        assert_eq!(scene.lost(&["X".to_owned()]), BTreeSet::new(), "{point}");
    }
}

fn options() -> Options {
    let bounds = Bounds { max_age: PATIENCE, max_events: 1000, max_bytes: 1 << 20 };
    Options {
        max_bytes: 1 << 30,
        cache_bytes: 1 << 20,
        reserve_bytes: 1 << 20,
        min_free_bytes: 0,
        seen_for: PATIENCE,
        max_ids: 1000,
        held: HeldBounds { max_age: PATIENCE, max_events: 9, max_bytes: 1 << 20, total_bytes: 1 << 20 },
        dead: bounds,
        unrouted: bounds,
        quarantined: bounds,
        silence: Silence::new(Expected::Never, Expected::Never),
        forget_removed_after: None,
        receipts: ReceiptBounds { max_age: PATIENCE, max_bytes: 1 << 20 },
        audit: ReceiptBounds { max_age: PATIENCE, max_bytes: 1 << 20 },
        devices_waiting: 4,
        queues: Vec::new(),
    }
}
