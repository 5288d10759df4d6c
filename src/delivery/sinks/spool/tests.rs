//! The spool against its contract with readers: names, whole files only, bounds, and disks that fail.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use super::*;
use crate::domain::event::Event;
use crate::domain::ids::AccountId;
use crate::domain::time::Millis;

fn leased(seq: u64, body: &str) -> Leased {
    let event = Event {
        key: format!("key-{seq}"),
        kind: "motion_detected".into(),
        sub_kind: None,
        device: None,
        account: AccountId::new("a").ok(),
        user: None,
        received_at: Millis(0),
        time: None,
        marks: crate::domain::marks::Marks::default(),
        body: Bytes::copy_from_slice(body.as_bytes()),
    };
    Leased { seq, attempt: 1, event }
}

fn options(folder: &Path) -> config::Spool {
    config::Spool { folder: folder.to_owned(), max_files: 1_000_000, max_bytes: 1 << 30 }
}

/// Of raw bodies.
fn open(options: config::Spool) -> Spool {
    Spool::open(options, Format::Raw)
}

async fn deliver(spool: &Spool, seqs: impl IntoIterator<Item = u64>) -> Vec<Verdict> {
    spool.deliver(seqs.into_iter().map(|seq| leased(seq, "{}")).collect()).await
}

/// Everything in the folder, hidden or not, sorted.
fn names(folder: &Path) -> Vec<String> {
    let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(name).collect();
    names.sort();
    names
}

fn done(verdicts: &[Verdict]) -> usize {
    verdicts.iter().filter(|v| **v == Verdict::Done).count()
}

fn why_busy(verdict: &Verdict) -> &str {
    let Verdict::Busy { why, .. } = verdict else { panic!("busy is expected, not {verdict:?}") };
    why
}

#[test]
fn names_sort_as_events_do_and_are_safe_in_a_shell() {
    let all = [0, 9, 10, 999, u64::MAX].map(|seq| name(seq, "k"));
    assert!(all.is_sorted());
    assert_eq!(name(7, "a-B_9"), "00000000000000000007-a-B_9.json");
    assert_eq!(name(7, "../$(x) é~f\n.b"), "00000000000000000007-_____x____f__b.json");
    assert_eq!(name(7, &"é".repeat(500)).len(), 21 + KEY_BYTES + 5, "bounded in bytes");
}

#[tokio::test]
async fn files_hold_the_content_and_no_part_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("deep").join("spool");
    let spool = open(options(&folder));
    assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    let verdicts = spool.deliver([leased(1, "one"), leased(2, "two")].into()).await;
    assert_eq!(verdicts, [Verdict::Done, Verdict::Done]);
    assert_eq!(names(&folder), [name(1, "key-1"), name(2, "key-2")]);
    let file = folder.join(name(2, "key-2"));
    assert_eq!(fs::read_to_string(&file).unwrap(), "two");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn who_may_read_the_folder_may_read_its_files() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o2770)).unwrap();
    deliver(&open(options(dir.path())), [1]).await;
    let mode = fs::metadata(dir.path().join(name(1, "key-1"))).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
}

#[tokio::test]
async fn the_same_event_again_is_the_same_file() {
    let dir = tempfile::tempdir().unwrap();
    deliver(&open(options(dir.path())), [1]).await;
    let again = open(options(dir.path()));
    assert_eq!(again.deliver([leased(1, "again")].into()).await, [Verdict::Done]);
    assert_eq!(names(dir.path()), [name(1, "key-1")]);
    assert_eq!(fs::read_to_string(dir.path().join(name(1, "key-1"))).unwrap(), "again");
}

#[tokio::test]
async fn only_our_own_leftovers_are_cleared_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    for name in [".00000000000000000001-k.json.part", ".hidden", "note.json.part", ".json"] {
        fs::write(dir.path().join(name), "x").unwrap();
    }
    open(options(dir.path()));
    assert_eq!(names(dir.path()), [".hidden", ".json", "note.json.part"]);
}

#[tokio::test]
async fn no_reader_ever_sees_a_part_of_a_file() {
    const FILES: u64 = 2000;
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().to_owned();
    let over = Arc::new(AtomicBool::new(false));
    let reader = std::thread::spawn({
        let (folder, over) = (folder.clone(), Arc::clone(&over));
        move || {
            let mut seen = BTreeSet::new();
            let mut rounds = 0;
            loop {
                let last = over.load(Ordering::SeqCst);
                for name in names(&folder).into_iter().filter(|name| !name.starts_with('.')) {
                    let text = fs::read_to_string(folder.join(&name)).unwrap();
                    let value: serde_json::Value = serde_json::from_str(&text).expect("a whole file");
                    fs::remove_file(folder.join(&name)).unwrap();
                    assert!(seen.insert(value["seq"].as_u64().unwrap()), "{name} came twice");
                }
                rounds += 1;
                if last {
                    return (seen, rounds);
                }
            }
        }
    });
    let spool = open(options(&folder));
    // Longer than a page, so that a write has parts.
    let padding = "p".repeat(6000);
    for batch in (0..FILES).collect::<Vec<_>>().chunks(50) {
        let event = |&seq: &u64| leased(seq, &format!(r#"{{"seq":{seq},"padding":"{padding}"}}"#));
        let verdicts = spool.deliver(batch.iter().map(event).collect()).await;
        assert_eq!(done(&verdicts), batch.len());
    }
    over.store(true, Ordering::SeqCst);
    let (seen, rounds) = reader.join().unwrap();
    assert!(seen.into_iter().eq(0..FILES));
    assert!(rounds > 2, "it read while files were written");
    assert!(names(&folder).is_empty());
}

#[tokio::test]
async fn a_full_folder_waits_for_its_reader() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(config::Spool { max_files: 3, ..options(dir.path()) });
    let verdicts = deliver(&spool, 1..=5).await;
    assert_eq!(done(&verdicts), 3);
    let Verdict::Busy { retry_after: Some(_), why } = &verdicts[3] else { panic!("{verdicts:?}") };
    assert!(why.starts_with("3 files of 6 bytes wait in"), "{why}");
    assert_eq!(done(&deliver(&spool, 4..=5).await), 0, "nothing was taken");
    fs::remove_file(dir.path().join(name(1, "key-1"))).unwrap();
    assert_eq!(done(&deliver(&spool, 4..=5).await), 1);
    let restarted = open(config::Spool { max_files: 3, ..options(dir.path()) });
    assert_eq!(done(&deliver(&restarted, [5]).await), 0, "what waits is counted at the start");
}

#[tokio::test]
async fn bytes_are_bounded_but_a_large_file_gets_through_alone() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(config::Spool { max_bytes: 100, ..options(dir.path()) });
    let large = |seq| leased(seq, &"x".repeat(150));
    let small = |seq| leased(seq, &"x".repeat(50));
    assert_eq!(done(&spool.deliver([small(1), small(2), small(3)].into()).await), 2);
    assert_eq!(done(&spool.deliver([large(3)].into()).await), 0);
    for file in names(dir.path()) {
        fs::remove_file(dir.path().join(file)).unwrap();
    }
    assert_eq!(done(&spool.deliver([large(3), small(4)].into()).await), 1);
}

#[tokio::test]
async fn overwritten_and_taken_files_do_not_fill_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(config::Spool { max_files: 3, ..options(dir.path()) });
    for _ in 0..10 {
        assert_eq!(done(&deliver(&spool, [1, 2]).await), 2, "two files in all");
    }
}

#[tokio::test]
async fn a_folder_that_goes_missing_is_waited_for_not_made() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, away) = (dir.path().join("spool"), dir.path().join("away"));
    let spool = open(options(&folder));
    assert_eq!(done(&deliver(&spool, [1]).await), 1);
    fs::rename(&folder, &away).unwrap();
    let verdicts = deliver(&spool, [2]).await;
    let why = why_busy(&verdicts[0]);
    assert!(why.contains("spool") && why.contains("No such file"), "{why}");
    assert!(!folder.exists());
    fs::rename(&away, &folder).unwrap();
    assert_eq!(done(&deliver(&spool, [2]).await), 1);
    assert_eq!(names(&folder).len(), 2);
}

#[tokio::test]
async fn a_folder_that_can_not_be_made_yet_is_made_later() {
    let dir = tempfile::tempdir().unwrap();
    let blocker = dir.path().join("blocker");
    fs::write(&blocker, "a file").unwrap();
    let folder = blocker.join("spool");
    let spool = open(options(&folder));
    why_busy(&deliver(&spool, [1]).await[0]);
    fs::remove_file(&blocker).unwrap();
    assert_eq!(done(&deliver(&spool, [1]).await), 1);
}

#[tokio::test]
async fn a_link_in_the_place_of_a_part_is_not_written_through() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, victim) = (dir.path().join("spool"), dir.path().join("victim"));
    fs::write(&victim, "precious").unwrap();
    let spool = open(options(&folder));
    let part = folder.join(".00000000000000000001-key-1.json.part");
    std::os::unix::fs::symlink(&victim, &part).unwrap();
    why_busy(&deliver(&spool, [1]).await[0]);
    assert_eq!(done(&deliver(&spool, [1]).await), 1, "the link is cleared away like a leftover");
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
}

/// A mounted file system of a few pages.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Nothing where mounting is not allowed; in CI that is a failure.
    fn mount(at: &Path) -> Option<Self> {
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", "size=64k,mode=0700", "ringhookd-test"]).arg(at);
        if command.status().is_ok_and(|status| status.success()) {
            return Some(Self(at.to_owned()));
        }
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "CI must be able to mount a tmpfs");
        eprintln!("not tried: mounting a tmpfs is not allowed here");
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test]
async fn a_full_disk_is_waited_for_and_nothing_half_written_stays() {
    let dir = tempfile::tempdir().unwrap();
    let Some(_disk) = SmallDisk::mount(dir.path()) else { return };
    let spool = open(options(dir.path()));
    let event = |seq| leased(seq, &"x".repeat(10_000));
    let verdicts = spool.deliver((1..=20).map(event).collect()).await;
    let fitted = done(&verdicts);
    assert!((1..20).contains(&fitted), "{fitted}");
    let why = why_busy(&verdicts[fitted]);
    assert!(why.contains("No space left"), "{why}");
    assert_eq!(names(dir.path()).len(), fitted, "no part is left");
    fs::remove_file(dir.path().join(name(1, "key-1"))).unwrap();
    let next = u64::try_from(fitted).unwrap() + 1;
    assert_eq!(spool.deliver([event(next)].into()).await, [Verdict::Done], "it goes on by itself");
}
