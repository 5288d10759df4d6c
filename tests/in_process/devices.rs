//! The map of devices is one map, wherever its rows lie: random moves and removals against a plain map, across crashes and faults of
//! the disk.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use ringhookd::domain::ids::DeviceId;
use ringhookd::domain::time::Millis;
use ringhookd::store::{Accepted, Import, Inline, QueueSpec, StoreError, Unclaimed};

use crate::support::disk::{Disk, Fault, Image, Kind};
use crate::support::{HOUR, account, create, event_of, options, spec, user, vault};

const START: Millis = Millis(1_800_000_000_000);
const ACCOUNTS: u8 = 3;
/// Between two steps. The map notes on disk what is a day newer than what is there.
const STEP: Duration = Duration::from_hours(25);

#[derive(Debug, Clone)]
enum Op {
    /// An event that names the account comes of these devices, as many steps late.
    Heard(Vec<u8>, u8, u64),
    Removed(u8, u8, u64),
    /// An event comes without an account.
    Unnamed(u8),
    Crash,
    /// A call of the disk fails, counted from here, while an event of these devices is taken; Ring sends it again.
    Fault(Vec<u8>, u8, usize),
}

fn op() -> impl Strategy<Value = Op> {
    let (device, account) = (0..24u8, 0..ACCOUNTS);
    let devices = prop::collection::vec(device.clone(), 1..5);
    prop_oneof![
        6 => (devices.clone(), account.clone(), 0..4u64).prop_map(|(d, a, l)| Op::Heard(d, a, l)),
        1 => (device.clone(), account, 0..4u64).prop_map(|(d, a, l)| Op::Removed(d, a, l)),
        3 => device.prop_map(Op::Unnamed),
        1 => Just(Op::Crash),
        1 => (devices, 0..ACCOUNTS, 0..8usize).prop_map(|(d, a, at)| Op::Fault(d, a, at)),
    ]
}

/// Of each device the account, unless it was removed, and the newest time that says so.
#[derive(Default)]
struct Map(BTreeMap<u8, (Option<u8>, Millis)>);

impl Map {
    fn heard(&mut self, devices: &[u8], of: u8, at: Millis) {
        for &device in devices {
            let known = self.0.entry(device).or_insert((Some(of), at));
            if at > known.1 {
                *known = (Some(of), at);
            }
        }
    }

    fn removed(&mut self, device: u8, of: u8, at: Millis) {
        let known = self.0.entry(device).or_insert((Some(of), at));
        if known.0 == Some(of) && at >= known.1 {
            *known = (None, at);
        }
    }

    fn account(&self, device: u8) -> Option<String> {
        self.0.get(&device).and_then(|known| known.0).map(name)
    }
}

fn name(of: u8) -> String {
    format!("account-{of}")
}

fn device(number: u8) -> DeviceId {
    DeviceId::new(&format!("device-{number}")).unwrap()
}

/// A store that may lose power.
struct Scene<'a> {
    folder: &'a Path,
    disk: Disk,
    inline: Inline,
    now: Millis,
    events: u32,
}

impl<'a> Scene<'a> {
    fn new(folder: &'a Path) -> Self {
        create(folder);
        let disk = Disk::holding(Image::from_bytes(&std::fs::read(folder.join("store.redb")).unwrap()));
        let inline = opened(folder, &disk);
        let mut scene = Self { folder, disk, inline, now: START, events: 0 };
        for of in 0..ACCOUNTS {
            scene.link(of);
        }
        scene.now = START.plus(STEP * 9);
        scene
    }

    fn link(&mut self, of: u8) {
        let store = self.inline.store.clone();
        let user = Some(user(&format!("user-{of}")));
        let import = Import { account: account(&name(of)), user, tokens: None, replace: false };
        let bound = self.inline.run(self.now, async move { store.links().import(import).await });
        bound.unwrap().unwrap();
    }

    /// A new event, whose first device is its own and the others are related.
    fn accept(&mut self, kind: &str, of: Option<u8>, devices: &[u8], at: Millis) -> Accepted {
        self.events += 1;
        self.send(kind, of, devices, at).unwrap()
    }

    /// Sends the newest event, again or for the first time.
    fn send(
        &mut self,
        kind: &str,
        of: Option<u8>,
        devices: &[u8],
        at: Millis,
    ) -> Result<Accepted, StoreError> {
        let id = of.map(name);
        let mut incoming = event_of(&self.events.to_string(), id.as_deref(), kind, None);
        incoming.event.time = Some(at);
        incoming.event.device = devices.first().copied().map(device);
        incoming.related = devices.iter().copied().skip(1).map(device).collect();
        let store = self.inline.store.clone();
        self.inline.run(self.now, async move { store.inbox().accept(incoming).await })
    }

    /// An event comes while a call of the disk fails. Where it was refused, it comes again.
    fn accept_with_fault(&mut self, of: u8, devices: &[u8], call: usize) {
        const KINDS: &[Kind] = &[Kind::Read, Kind::Write, Kind::Sync, Kind::SetLen];
        self.events += 1;
        self.disk.fail(Fault { at: call, kinds: KINDS, times: 1, full: false, lost: Some(0.5) });
        let first = self.send("motion_detected", Some(of), devices, self.now);
        self.disk.heal();
        if first.is_err() {
            assert!(self.inline.recover(self.now));
            self.send("motion_detected", Some(of), devices, self.now).unwrap();
        }
    }

    /// The account that an event of the device without one is of.
    fn account_of(&mut self, device: u8) -> Option<String> {
        match self.accept("motion_detected", None, &[device], self.now) {
            Accepted::Queued { account, .. } => account.map(|id| id.to_string()),
            other => panic!("{other:?}"),
        }
    }

    /// What was not durable is lost.
    fn crash(&mut self) {
        let durable = self.disk.durable();
        self.inline.store.close();
        self.disk = Disk::holding(durable);
        self.inline = opened(self.folder, &self.disk);
    }
}

fn opened(folder: &Path, disk: &Disk) -> Inline {
    let all = QueueSpec { unclaimed: Unclaimed::Deliver, max_age: 10_000 * HOUR, ..spec("all") };
    let disk = disk.clone();
    Inline::open_with(folder, vault(), options(vec![all]), false, move || disk.clone()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn the_map_is_as_the_newest_events_say_wherever_its_rows_lie(ops in prop::collection::vec(op(), 1..80)) {
        let dir = tempfile::tempdir().unwrap();
        let mut scene = Scene::new(dir.path());
        let mut map = Map::default();
        for op in ops {
            scene.now = scene.now.plus(STEP);
            let before = |scene: &Scene<'_>, late: u64| scene.now.minus(STEP * u32::try_from(late).unwrap());
            match op {
                Op::Heard(devices, of, late) => {
                    let at = before(&scene, late);
                    scene.accept("motion_detected", Some(of), &devices, at);
                    map.heard(&devices, of, at);
                }
                Op::Removed(device, of, late) => {
                    let at = before(&scene, late);
                    scene.accept("device_removed", Some(of), &[device], at);
                    map.removed(device, of, at);
                }
                Op::Unnamed(device) => prop_assert_eq!(scene.account_of(device), map.account(device)),
                Op::Crash => scene.crash(),
                Op::Fault(devices, of, call) => {
                    scene.accept_with_fault(of, &devices, call);
                    map.heard(&devices, of, scene.now);
                }
            }
        }
        for device in 0..24 {
            prop_assert_eq!(scene.account_of(device), map.account(device), "device {} at the end", device);
        }
    }
}

#[test]
fn a_device_of_a_forgotten_account_is_nobodys_wherever_its_row_lies() {
    let dir = tempfile::tempdir().unwrap();
    let mut scene = Scene::new(dir.path());
    // More than may wait: some are in the table, some wait, some are being merged.
    for device in 0..24 {
        scene.accept("motion_detected", Some(device % 2), &[device], scene.now);
    }
    let (store, id) = (scene.inline.store.clone(), account(&name(0)));
    scene.inline.run(scene.now, async move { store.links().forget(id).await }).unwrap().unwrap();
    for crashed in [false, true] {
        for device in 0..24 {
            let expected = (device % 2 == 1).then(|| name(1));
            assert_eq!(scene.account_of(device), expected, "device {device}, crashed: {crashed}");
        }
        scene.crash();
    }
}
