//! Sockets and spool folders for others than the daemon's user: `check` finds the folder that keeps them out, and the kernel agrees.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Group};

use crate::support::configuration::Configuration;
use crate::support::process::{Running, Stranger, open_to_all, run};

fn folder(path: &Path, mode: u32, gid: u32) {
    fs::create_dir_all(path).unwrap();
    chown(path, None, Some(gid)).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// A group of this machine that no test is in.
fn group() -> (u32, String) {
    let groups = fs::read_to_string("/etc/group").unwrap();
    let names = groups.lines().filter_map(|line| line.split(':').next());
    let found = names.filter_map(|name| Group::from_name(name).unwrap()).find(|group| group.gid.as_raw() > 0);
    let found = found.expect("a group besides that of root");
    (found.gid.as_raw(), found.name)
}

fn configuration(dir: &Path, lines: &str) -> PathBuf {
    Configuration::of("[[socket]]\npath = \"FOLDER/data/admin.sock\"").with(lines).write(dir)
}

fn check(config: &Path) -> (bool, String) {
    let output = run(&["check", "--config", config.to_str().unwrap()], b"");
    (output.status.success(), String::from_utf8(output.stdout).unwrap())
}

/// Mode of a folder on the way, whether it is the group's, and whether a member of the group gets through.
const WAYS: [(u32, bool, bool); 6] = [
    (0o700, true, false),
    (0o750, true, true),
    (0o710, true, true),
    (0o750, false, false),
    (0o755, false, true),
    // The group's own bits hold for its members, not those of all others.
    (0o705, true, false),
];

#[test]
fn check_finds_the_folder_that_keeps_the_group_of_a_socket_out_as_the_kernel_does() {
    let Some(stranger) = Stranger::new() else { return };
    let (gid, name) = group();
    for (mode, is_the_groups, gets_through) in WAYS {
        let dir = tempfile::tempdir().unwrap();
        open_to_all(dir.path());
        let way = dir.path().join("way");
        folder(&way.join("run"), 0o755, 0);
        folder(&way, mode, if is_the_groups { gid } else { 0 });
        let socket = way.join("run/workers.sock");
        let config = configuration(
            dir.path(),
            &format!("[[socket]]\npath = \"{}\"\ngroup = \"{name}\"\nmode = \"0660\"\n", socket.display()),
        );
        let (fine, text) = check(&config);
        assert_eq!(fine, gets_through, "{mode:o}: {text}");
        let mend = format!("chmod g+x {}", way.display());
        assert!(
            fine || text.contains(&format!("{} (mode 0{mode:o}", way.display())) && text.contains(&mend),
            "{text}"
        );

        let daemon = Running::start(&config);
        let status = stranger.run(gid, &["status", "--socket", socket.to_str().unwrap()]);
        let said = String::from_utf8_lossy(&status.stderr);
        // 3, because this daemon has no queue; 1 where it can't be asked.
        assert_eq!(status.status.code(), Some(if gets_through { 3 } else { 1 }), "{mode:o}: {said}");
        assert!(daemon.stop().0.success());
    }
}

#[test]
fn check_finds_the_folder_that_keeps_the_reader_of_a_spool_out_as_the_kernel_does() {
    let Some(_stranger) = Stranger::new() else { return };
    let (gid, _) = group();
    for (mode, is_the_groups, gets_through) in WAYS {
        let dir = tempfile::tempdir().unwrap();
        open_to_all(dir.path());
        let way = dir.path().join("way");
        let spool = way.join("spool");
        folder(&spool, 0o2770, gid);
        folder(&way, mode, if is_the_groups { gid } else { 0 });
        let config = configuration(
            dir.path(),
            &format!("[[queue]]\nname = \"files\"\nkind = \"spool\"\nfolder = \"{}\"\n", spool.display()),
        );
        let (fine, text) = check(&config);
        assert_eq!(fine, gets_through, "{mode:o}: {text}");
        let named = format!("{} (mode 0{mode:o}", way.display());
        assert!(fine || text.contains("queue files") && text.contains(&named), "{text}");
        let listed = Stranger::run_program(gid, "ls", &[spool.to_str().unwrap()]);
        assert_eq!(listed.status.success(), gets_through, "{mode:o}");
    }
    assert!(Group::from_gid(Gid::from_raw(gid)).unwrap().is_some());
}

#[test]
fn what_is_for_others_may_not_lie_in_the_stores_folder() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().display();
    for (lines, key) in [
        (format!("[[socket]]\npath = \"{at}/data/all.sock\"\nmode = \"0666\"\n"), "socket[1].path"),
        (format!("[[queue]]\nname = \"q\"\nkind = \"spool\"\nfolder = \"{at}/data/q\"\n"), "queue[0].folder"),
    ] {
        let (fine, text) = check(&configuration(dir.path(), &lines));
        assert!(!fine && text.contains(key) && text.contains("lies in store.folder"), "{text}");
    }
    let (fine, text) = check(&configuration(dir.path(), ""));
    assert!(fine, "the daemon's own socket may: {text}");
}
