//! A damaged file: refused, or the record is marked, or it does not matter. Never a silently wrong event.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::Ordering;

use redb::ReadableTable;
use ringhookd::domain::actor::{Actor, Caller};
use ringhookd::store::{ActFilter, Health, LOG_BYTES as LOG, Scope, Store, StoreError, Wanted};
use ringhookd::vault::Vault;

use crate::faults::harness::{StoreHarness, base, harness_options, verify_open};
use crate::faults::ledger::{Findings, Seen};
use crate::support::disk::{Disk, Image};
use crate::support::rng::{Rng, seed};
use crate::support::vault;
use crate::support::whole::share;

#[derive(Debug, Default)]
struct Tally {
    refused: usize,
    marked: usize,
    harmless: usize,
    missing: usize,
    again: usize,
    panicked: usize,
}

/// A file as a long run leaves it, closed, and the bytes that mean something.
fn damaged_base(folder: &Path) -> (StoreHarness, Image, Vec<u64>) {
    let base = base(folder);
    let mut harness = StoreHarness::new(folder, &base, seed());
    harness.steps(120);
    while harness.inline.tick(harness.now) {}
    harness.inline.store.close();
    let image = harness.disk.durable();
    let bytes = image.to_bytes();
    let used = bytes.chunks(4096).enumerate().filter(|(_, page)| page.iter().any(|b| *b != 0));
    let offsets = used.flat_map(|(n, _)| (n as u64 * 4096)..((n as u64 + 1) * 4096)).collect();
    (harness, image, offsets)
}

#[test]
fn a_flipped_bit_never_makes_a_wrong_event() {
    let seed = seed();
    println!("RINGHOOKD_SEED={seed}");
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("store");
    let (harness, image, offsets) = damaged_base(&folder);
    let routes = route_offsets(&image.to_bytes());
    let mut rng = Rng(seed);
    let mut tallies = [Tally::default(), Tally::default()];
    for number in 0..share("flipped bits") {
        // Every third where it would do most harm: in the clear, among the numbers of an event's queues.
        let offset = if number % 3 == 0 { *rng.pick(&routes) } else { *rng.pick(&offsets) };
        let bit = u8::try_from(rng.below(if number % 3 == 0 { 2 } else { 8 })).unwrap();
        let mut flipped = image.clone();
        flipped.flip(offset, bit);
        for (tally, whole) in tallies.iter_mut().zip([false, true]) {
            let what = format!("seed {seed}, flip {number} at {offset}.{bit}, checked whole: {whole}");
            one_flip(&harness, flipped.clone(), whole, tally, &what);
        }
    }
    let [plain, whole] = tallies;
    println!(
        "as a large file, read without a check of its pages: {plain:?}\nas a small one, checked: {whole:?}"
    );
    let unseen = whole.missing + whole.again + whole.marked + whole.panicked;
    assert_eq!(unseen, 0, "the check of small files sees all that matters");
}

/// The low bytes of queue numbers in heads of chunks: lists of queues 1 and 3, or 1, 2 and 3, behind their length.
fn route_offsets(bytes: &[u8]) -> Vec<u64> {
    let lists: [&[u8]; 2] = [&[2, 0, 1, 0, 3], &[3, 0, 1, 0, 2, 0, 3]];
    let starts = |list: &[u8]| {
        let found = bytes.windows(list.len()).enumerate().filter(|(_, window)| *window == list);
        found.map(|(at, _)| at).collect::<Vec<_>>()
    };
    let low = lists.iter().flat_map(|list| {
        starts(list).into_iter().flat_map(|at| (2..list.len()).step_by(2).map(move |i| (at + i) as u64))
    });
    let low: Vec<_> = low.collect();
    assert!(low.len() > 50, "the heads of chunks are not where they were: {}", low.len());
    low
}

fn one_flip(harness: &StoreHarness, image: Image, whole: bool, tally: &mut Tally, what: &str) {
    match read_all(harness, image, whole) {
        Err(None) => tally.panicked += 1,
        Err(Some(StoreError::Damaged(_))) => tally.refused += 1,
        Err(Some(error)) => {
            assert!(!matches!(error, StoreError::Unavailable(_)), "{what}: damage is called {error}");
            tally.refused += 1;
        }
        Ok((seen, _)) if seen.refused.is_some() => tally.refused += 1,
        Ok((seen, found)) => {
            assert!(found.wrong.is_empty(), "{what}: {:#?}", found.wrong);
            if seen.marked > 0 {
                tally.marked += 1;
            } else if !found.missing.is_empty() {
                tally.missing += 1;
            } else if !found.again.is_empty() {
                tally.again += 1;
            } else {
                tally.harmless += 1;
            }
        }
    }
}

/// Nothing when a read of an open store panicked.
fn read_all(
    harness: &StoreHarness,
    image: Image,
    whole: bool,
) -> Result<(Seen, Findings), Option<StoreError>> {
    let disk = Disk::holding(image);
    let disk = move || disk.clone();
    let opened =
        ringhookd::store::Inline::open_with(&harness.folder, vault(), harness_options(), whole, disk);
    let mut inline = opened.map_err(Some)?;
    let read = AssertUnwindSafe(|| verify_open(&mut inline, &harness.ledger, harness.now));
    let read = catch_unwind(read).map_err(|_| None);
    let _ = catch_unwind(AssertUnwindSafe(|| inline.store.close()));
    read
}

/// Of a process that was killed, with a log that redb has nothing of yet.
#[test]
fn a_bad_record_in_the_log_is_refused_unless_it_may_have_been_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("store");
    let mut harness = StoreHarness::new(&folder, &base(&folder), seed());
    // redb has what the base left in the log: from here on it is written anew.
    harness.inline.tick(harness.now);
    assert!(harness.accept_some());
    let mut before_last = Vec::new();
    while harness.logged().len() < 3 {
        before_last = harness.ledger.events.keys().cloned().collect();
        assert!(harness.accept_some());
    }
    let (image, records) = (harness.disk.durable(), harness.logged());
    harness.inline.store.close();
    let (last, before) = records.split_last().unwrap();
    let flipped = |at: usize, byte: usize| {
        let mut image = image.clone();
        image.flip((at + byte) as u64, 3);
        read_all(&harness, image, false)
    };
    for &at in before {
        // The head's length, generation and checks, and the changes behind it.
        for byte in [4, 9, 30, 45, 60, 200] {
            let read = flipped(at, byte);
            assert!(matches!(read, Err(Some(StoreError::Damaged(_)))), "byte {byte} at {at}");
        }
    }
    for byte in [4, 9, 30, 45, 60, 200] {
        let Ok((seen, found)) = flipped(*last, byte) else { panic!("byte {byte} of the last") };
        assert_eq!((seen.refused, found.wrong), (None, Vec::<String>::new()), "byte {byte} of the last");
        let names = |finding: &String, key: &String| finding.split([' ', ':', ',']).any(|word| word == key);
        let is_older = |finding: &String| before_last.iter().any(|key| names(finding, key));
        assert!(!found.missing.iter().any(is_older), "byte {byte} of the last: {:#?}", found.missing);
        assert!(!found.missing.is_empty(), "byte {byte} of the last");
    }
}

#[test]
fn a_file_that_is_no_store_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("store");
    let (_world, image, _) = damaged_base(&folder);
    let good = image.to_bytes();
    let mut headless = good.clone();
    headless[LOG..LOG + 4096].fill(0);
    let other = dir.path().join("other");
    let foreign = {
        let identity = ringhookd::store::Identity {
            store: "another".into(),
            environment: "test".into(),
            created: "now".into(),
        };
        Store::create(&other, &identity, || Ok(vault())).unwrap();
        fs::read(other.join("store.redb")).unwrap()
    };
    let newer = {
        let path = dir.path().join("newer.redb");
        fs::write(&path, &good).unwrap();
        in_redb(&path, |txn| {
            let meta: redb::TableDefinition<&[u8], &[u8]> = redb::TableDefinition::new("meta");
            txn.open_table(meta).unwrap().insert(&b"schema"[..], &[0, 0, 0, 99][..]).unwrap();
        });
        fs::read(&path).unwrap()
    };
    let behind_log = LOG + (good.len() - LOG) / 2;
    let cases: [(&str, Vec<u8>); 10] = [
        ("empty", Vec::new()),
        ("one byte", vec![b'r']),
        ("cut in half", good[..good.len() / 2].to_vec()),
        ("cut to a page", good[..4096].to_vec()),
        ("cut behind the log", good[..behind_log].to_vec()),
        ("cut to its log", good[..LOG].to_vec()),
        ("without a header", headless),
        ("of another kind", b"SQLite format 3\0".repeat(4096)),
        ("of another store", foreign),
        ("of a newer schema", newer),
    ];
    for (name, bytes) in cases {
        fs::write(folder.join("store.redb"), &bytes).unwrap();
        let refused = crate::support::open(&folder, harness_options()).map(|store| store.close());
        println!("{name}: {refused:?}");
        let Err(error) = refused else { panic!("{name}: must be refused") };
        assert!(!matches!(error, StoreError::Unavailable(_)), "{name}: {error}");
        let after = fs::read(folder.join("store.redb")).unwrap();
        assert!(after == bytes, "{name}: refused, but changed ({} to {} bytes)", bytes.len(), after.len());
    }
    fs::write(folder.join("store.redb"), &good).unwrap();
    crate::support::open(&folder, harness_options()).expect("the good one opens").close();
}

#[test]
fn a_flip_in_a_real_file_is_refused_at_start() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("store");
    let (_world, image, _) = damaged_base(&folder);
    let good = image.to_bytes();
    // In the clear, and in no table read at start. Some lie in pages that nothing leads to any more.
    let reasons: Vec<_> = (LOG..good.len()).filter(|&i| good[i..].starts_with(b"no luck")).collect();
    let refused = reasons.iter().filter(|&&at| {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(folder.join("store.redb"), &bad).unwrap();
        match crate::support::open(&folder, harness_options()).map(|store| store.close()) {
            Err(StoreError::Damaged(_)) => true,
            opened => opened.map(|()| false).unwrap(),
        }
    });
    let refused = refused.count();
    assert!(refused > 0, "of {} reasons", reasons.len());
}

#[test]
fn one_bad_data_key_stops_its_own_account_only() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("store");
    let store = crate::support::store(&folder, vec![crate::support::spec("all")]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for (id, of) in [("a", "ann"), ("b", "bob")] {
            crate::support::link(&store, id, of).await;
            store.inbox().accept(crate::support::event(&format!("1{id}"), id)).await.unwrap();
        }
    });
    store.close();
    drop(store);
    change_keys(&folder, |keys| {
        let mut value = key_of(keys, 1);
        *value.last_mut().unwrap() ^= 1;
        put_key(keys, (1, EVENTS), &value);
    });
    let store =
        crate::support::open(&folder, crate::support::options(vec![crate::support::spec("all")])).unwrap();
    runtime.block_on(async {
        let refused = store.inbox().accept(crate::support::event("2a", "a")).await;
        assert!(matches!(refused, Err(StoreError::Damaged(_))), "{refused:?}");
        store.inbox().accept(crate::support::event("2b", "b")).await.unwrap();
        assert_eq!(crate::support::drain_keys(&store, "all").await, ["1b", "2b"]);
    });
    assert_eq!(store.health(), Health::Ready);
}

#[test]
fn a_damaged_data_key_is_passed_over_when_keys_are_rotated() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("store");
    let store = crate::support::store(&folder, vec![crate::support::spec("all")]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for id in ["a", "b", "c", "d", "e"] {
            crate::support::link(&store, id, "ann").await;
            store.inbox().accept(crate::support::event(&format!("1{id}"), id)).await.unwrap();
        }
    });
    store.close();
    drop(store);
    change_keys(&folder, |keys| {
        let [mut seal, mut master, cut, moved] = [1, 2, 3, 5].map(|account| key_of(keys, account));
        *seal.last_mut().unwrap() ^= 1;
        master[0] ^= 1;
        put_key(keys, (1, EVENTS), &seal);
        put_key(keys, (2, EVENTS), &master);
        put_key(keys, (3, EVENTS), &cut[..4]);
        put_key(keys, (4, 0), &moved);
    });
    let (old, new) = ("ab".repeat(32), "cd".repeat(32));
    let open = |previous: Option<&str>| {
        let vault = Vault::from_hex(new.as_bytes(), previous.map(str::as_bytes)).unwrap();
        let options = crate::support::options(vec![crate::support::spec("all")]);
        Store::open(&folder, "test", vault, options).unwrap()
    };

    let store = open(Some(&old));
    let done = runtime.block_on(store.rewrap_keys(None)).unwrap();
    assert_eq!((done.changed, done.next), (3, None), "the fourth's, the fifth's and that of receipts");
    assert_eq!(store.stats().damaged.load(Ordering::Relaxed), 4);
    let by_master = runtime.block_on(store.keys_by_master()).unwrap();
    assert!(by_master.contains(&(store.master(), 3)) && by_master.contains(&("damaged".into(), 1)));
    assert_eq!(store.health(), Health::Ready);
    store.close();
    drop(store);

    let store = open(None);
    assert_eq!(runtime.block_on(crate::support::drain_keys(&store, "all")), ["1d", "1e"]);
    let again = runtime.block_on(store.rewrap_keys(None)).unwrap();
    assert_eq!((again.changed, again.next), (0, None), "as often as anybody likes");
}

/// The purpose of the keys that kept events are sealed under.
const EVENTS: u8 = 2;

type Keys<'t> = redb::Table<'t, &'static [u8], &'static [u8]>;

/// Accounts are numbered from 1.
fn place((account, purpose): (u32, u8)) -> Vec<u8> {
    [&account.to_be_bytes()[..], &[purpose]].concat()
}

fn key_of(keys: &Keys<'_>, account: u32) -> Vec<u8> {
    let place = place((account, EVENTS));
    keys.get(place.as_slice()).unwrap().unwrap().value().to_vec()
}

fn put_key(keys: &mut Keys<'_>, at: (u32, u8), key: &[u8]) {
    keys.insert(place(at).as_slice(), key).unwrap();
}

/// They are no promise: what is damaged of them is passed over, and events go on.
#[test]
fn damaged_receipts_and_acts_hold_up_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("store");
    let store = crate::support::store(&folder, vec![crate::support::spec("all")]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let by =
        Actor::Socket(Caller { socket: "a.sock".into(), token: None, uid: Some(1), gid: None, pid: None });
    let account = crate::support::account("a");
    runtime.block_on(async {
        crate::support::link(&store, "a", "ann").await;
        for user in ["bob", "ann"] {
            let user = crate::support::user(user);
            store.links().by(by.clone()).set_user(account.clone(), user, true).await.unwrap().unwrap();
        }
        for id in ["1", "2"] {
            store.inbox().accept(crate::support::event(id, "a")).await.unwrap();
        }
    });
    store.close();
    drop(store);
    in_redb(&folder.join("store.redb"), |txn| {
        for name in ["receipts", "audit"] {
            let mut table = txn.open_table(redb::TableDefinition::<&[u8], &[u8]>::new(name)).unwrap();
            let first =
                table.first().unwrap().map(|(key, value)| (key.value().to_vec(), value.value().to_vec()));
            let (key, mut value) = first.unwrap();
            *value.last_mut().unwrap() ^= 1;
            table.insert(key.as_slice(), value.as_slice()).unwrap();
        }
    });
    let options = crate::support::options(vec![crate::support::spec("all")]);
    let store = crate::support::open(&folder, options).unwrap();
    runtime.block_on(async {
        store.inbox().accept(crate::support::event("3", "a")).await.unwrap();
        let life = async |id: &str| {
            store.receipts().life(Wanted::Key(id.into()), Scope::default()).await.unwrap().is_some()
        };
        assert_eq!((life("1").await, life("2").await, life("3").await), (false, true, true));
        let (acts, _) = store.audit().newest(ActFilter::default(), None, 10).await.unwrap();
        assert_eq!(acts.len(), 1);
        assert!(store.stats().damaged.load(Ordering::Relaxed) >= 4);
        assert_eq!(crate::support::drain(&store, "all", 10).await.len(), 3, "events go on");
        store.links().forget(account).await.unwrap().unwrap();
        assert!(!life("2").await);
    });
    assert_eq!(
        store.stats().receipt_bytes.load(Ordering::Relaxed),
        0,
        "the damaged one goes with the others"
    );
}

/// In the file of a store that is closed.
fn change_keys(folder: &Path, change: impl FnOnce(&mut Keys<'_>)) {
    let keys = redb::TableDefinition::new("keys");
    in_redb(&folder.join("store.redb"), |txn| change(&mut txn.open_table(keys).unwrap()));
}

/// Changes redb's part of a file.
fn in_redb(path: &Path, change: impl FnOnce(&redb::WriteTransaction)) {
    let mut file = fs::read(path).unwrap();
    let pages = tempfile::NamedTempFile::new().unwrap();
    fs::write(&pages, &file[LOG..]).unwrap();
    let db = redb::Database::open(&pages).unwrap();
    let txn = db.begin_write().unwrap();
    change(&txn);
    txn.commit().unwrap();
    drop(db);
    file.truncate(LOG);
    file.extend(fs::read(&pages).unwrap());
    fs::write(path, file).unwrap();
}
