//! Disks that are really full or read-only: the store refuses, delivers, and goes on when there is room again.
//!
//! Apart from the other faults, and one after the other: the lock of a store that another test has just closed lives
//! on for a moment in each child process that is being started here.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ringhookd::store::{Accepted, Health, Options, Store, StoreError};

use crate::support::configuration::{Configuration, OPEN_QUEUE, SOCKET, signature};
use crate::support::installation::Ran;
use crate::support::process::{self, Running};
use crate::support::{create, drain_keys, event, link, open, options, spec};

/// The least that a configuration may have.
const RESERVE: u64 = 8 << 20;
static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// A mounted file system that is gone with this.
struct Mount(PathBuf);

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Only root may mount. In CI we are root, and there a test must not pass for want of a disk.
fn may_mount() -> bool {
    let root = Command::new("id").arg("-u").output().is_ok_and(|out| out.stdout == b"0\n");
    assert!(root || std::env::var_os("CI").is_none(), "in CI this runs as root");
    if !root {
        println!("not root: nothing is mounted, nothing is tested");
    }
    root
}

fn run(program: &str, args: &[&str]) {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let out = Command::new(program).args(args).env("PATH", path).output().unwrap();
    assert!(out.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&out.stderr));
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn with_reserve() -> Options {
    Options { reserve_bytes: RESERVE, min_free_bytes: 64 << 10, ..options(vec![spec("all")]) }
}

/// Accepts events of 20 kB until one is refused. Returns the keys of those that were not, and why.
async fn fill(store: &Store, from: &mut usize) -> (Vec<String>, StoreError) {
    let mut kept = Vec::new();
    loop {
        let key = format!("e{from}");
        *from += 1;
        let mut big = event(&key, "a");
        big.event.body = vec![b'x'; 20_000].into();
        match store.inbox().accept(big).await {
            Ok(_) => kept.push(key),
            Err(error) => return (kept, error),
        }
        assert!(kept.len() < 5000, "it never gets full");
    }
}

/// Waits until the store is usable again by itself.
async fn until_ready(store: &Store) {
    for _ in 0..200 {
        if store.health() == Health::Ready {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("it does not recover: {:?}", store.health());
}

#[tokio::test]
async fn a_full_disk_refuses_and_goes_on_when_there_is_room() {
    let _turn = ONE_AT_A_TIME.lock().await;
    if !may_mount() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    run("mount", &["-t", "tmpfs", "-o", "size=22m", "tmpfs", text(dir.path())]);
    let mount = Mount(dir.path().to_owned());
    let folder = mount.0.join("store");
    create(&folder);
    let store = open(&folder, with_reserve()).unwrap();
    link(&store, "a", "ann").await;
    assert_eq!(fs::metadata(folder.join("reserve")).unwrap().len(), RESERVE);

    // Another program takes most of the disk, unseen by the watch over free space.
    fs::write(mount.0.join("other"), vec![1; 8 << 20]).unwrap();
    let mut next = 0;
    let (kept, refused) = fill(&store, &mut next).await;
    println!("{} events, then: {refused}; {:?}", kept.len(), store.health());
    assert!(matches!(refused, StoreError::Unavailable(_) | StoreError::LowDisk), "{refused}");
    assert!(kept.len() > 20, "{}", kept.len());

    // The reserve is room enough to deliver everything, with the disk as full as before.
    until_usable(&store).await;
    let delivered = drain_keys(&store, "all").await;
    assert_eq!(delivered.iter().filter(|key| kept.contains(key)).count(), kept.len());
    assert!(delivered.len() <= kept.len() + 1, "at most the one that was refused is there too");

    fs::remove_file(mount.0.join("other")).unwrap();
    until_ready(&store).await;
    let accepted = store.inbox().accept(event("after", "a")).await;
    assert!(matches!(accepted, Ok(Accepted::Queued { .. })), "{accepted:?}");
    store.close();
    let store = open(&folder, with_reserve()).unwrap();
    assert_eq!(drain_keys(&store, "all").await, ["after"]);
    assert_eq!(fs::metadata(folder.join("reserve")).unwrap().len(), RESERVE, "it is there again");
    store.close();
}

/// Waits until deliveries can be settled, though accepts may still be refused.
async fn until_usable(store: &Store) {
    for _ in 0..200 {
        if matches!(store.health(), Health::Ready | Health::LowDisk { .. }) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("it does not recover: {:?}", store.health());
}

#[tokio::test]
async fn a_disk_that_turns_read_only_is_said_and_survived() {
    let _turn = ONE_AT_A_TIME.lock().await;
    if !may_mount() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (image, point) = (dir.path().join("disk"), dir.path().join("mnt"));
    fs::create_dir(&point).unwrap();
    fs::File::create(&image).unwrap().set_len(16 << 20).unwrap();
    run("mkfs.ext4", &["-q", "-O", "^has_journal", text(&image)]);
    run("mount", &["-o", "loop,errors=remount-ro", text(&image), text(&point)]);
    let mount = Mount(point.clone());
    let folder = mount.0.join("store");
    create(&folder);
    let store = open(&folder, options(vec![spec("all")])).unwrap();
    link(&store, "a", "ann").await;
    store.inbox().accept(event("before", "a")).await.unwrap();

    // What ext4 does to itself after an error of the device below.
    let device = Command::new("findmnt").args(["-no", "MAJ:MIN", text(&point)]).output().unwrap();
    let device = String::from_utf8(device.stdout).unwrap();
    let name = fs::canonicalize(format!("/sys/dev/block/{}", device.trim())).unwrap();
    let name = name.file_name().unwrap().to_str().unwrap();
    fs::write(format!("/sys/fs/ext4/{name}/trigger_fs_error"), "1").unwrap();

    let refused = store.inbox().accept(event("meanwhile", "a")).await.unwrap_err();
    assert!(matches!(refused, StoreError::Unavailable(_)), "{refused}");
    let Health::Failing { why, .. } = store.health() else { panic!("{:?}", store.health()) };
    assert!(!why.is_empty());

    // The operator puts a mended copy in its place: the kernel never writes to this file system again.
    drop(mount);
    let copy = dir.path().join("copy");
    fs::copy(&image, &copy).unwrap();
    let mended = Command::new("e2fsck").args(["-fy", text(&copy)]).env("PATH", "/usr/sbin:/sbin").output();
    assert!(mended.unwrap().status.code().is_some_and(|code| code <= 1));
    run("mount", &["-o", "loop", text(&copy), text(&point)]);
    let _mount = Mount(point);
    until_ready(&store).await;
    let _ = store.inbox().accept(event("meanwhile", "a")).await.unwrap();
    assert_eq!(drain_keys(&store, "all").await, ["before", "meanwhile"]);
    store.close();
}

/// The daemon's store lies on one disk, and the backup would on another.
#[tokio::test]
async fn a_backup_for_which_there_is_no_room_leaves_nothing_and_holds_up_no_webhook() {
    let _turn = ONE_AT_A_TIME.lock().await;
    if !may_mount() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mounted = |name: &str, size: &str| {
        let point = dir.path().join(name);
        fs::create_dir(&point).unwrap();
        run("mount", &["-t", "tmpfs", "-o", size, "tmpfs", text(&point)]);
        Mount(point)
    };
    let (data, small) = (mounted("data", "size=24m"), mounted("small", "size=1m"));
    let config = Configuration::of(OPEN_QUEUE).with(SOCKET).write(dir.path());
    let low = Configuration::of(OPEN_QUEUE).with(SOCKET).store("min_free = \"64 MiB\"\n");
    let low = low.write_as(dir.path(), "low.toml");
    let checked = Ran::of(process::run(&["check", "--config", text(&low)], b""));
    assert!(checked.code == 1 && checked.out.contains("store.folder: its disk has 2"), "{checked:?}");
    let daemon = Running::start(&config);
    let big = "x".repeat(100_000);
    let body = |n: usize| {
        format!(r#"{{"meta":{{"request_id":"{n}","account_id":"a"}},"data":{{"type":"x","big":"{big}"}}}}"#)
    };
    let post = |n: usize| daemon.post(&signature(body(n).as_bytes()), body(n).as_bytes());
    let back_up =
        |path: &Path| Ran::of(process::run(&["--config", text(&config), "backup", text(path)], b""));
    for n in 0..20 {
        assert_eq!(post(n), 200);
    }

    // Of 24 MiB less than 32 are free, whatever is done.
    back_up(&small.0.join("one")).is_refused("the disk of the store has");
    assert_eq!((post(21), fs::read_dir(&small.0).unwrap().count()), (200, 0));
    run("mount", &["-o", "remount,size=400m", text(&data.0)]);
    back_up(&small.0.join("one")).is_refused("no room is left on its disk");
    assert_eq!((post(22), fs::read_dir(&small.0).unwrap().count()), (200, 0));
    run("mount", &["-o", "remount,size=400m", text(&small.0)]);
    let made = back_up(&small.0.join("one"));
    assert_eq!(made.code, 0, "{made:?}");
    assert!(daemon.stop().0.success());
}
