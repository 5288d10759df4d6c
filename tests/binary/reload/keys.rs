//! HMAC keys that come and go by a reload: what is signed by a key of both files is never refused.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use super::installed::{Installed, body, post};
use crate::support::configuration::{KEY, OPEN_QUEUE};

const OTHER: &str = "another-made-up-signing-key";
const THIRD: &str = "a-third-made-up-signing-key";

fn key_file(installed: &Installed, key: &str) -> String {
    let file = installed.path("hmac.key");
    fs::write(&file, key).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    format!("hmac_key_files = [\"{}\"]\n", file.display())
}

#[test]
fn a_key_counts_from_the_reload_that_adds_it_to_the_one_that_takes_it_out() {
    let installed = Installed::new(OPEN_QUEUE);
    let daemon = installed.start();
    let status = |key, id: &str| post(&daemon, key, &body(id, "a", "motion_detected"));
    assert_eq!((status(KEY, "1"), status(OTHER, "2")), (200, 401));
    installed.configure_keys(OPEN_QUEUE, &[KEY, OTHER]);
    assert_eq!(installed.reload(), "hmac_keys has changed\n");
    assert_eq!((status(KEY, "3"), status(OTHER, "2")), (200, 200));
    let keys = installed.report()["webhook_keys"].as_array().unwrap().clone();
    assert!(keys.len() == 2 && keys.iter().all(|key| key["verified_at"].is_string()), "{keys:?}");
    installed.configure_keys(OPEN_QUEUE, &[OTHER]);
    installed.reload();
    assert_eq!((status(KEY, "4"), status(OTHER, "5")), (401, 200), "what is known of the other key stayed");
    let (_, _, log) = daemon.stop();
    let log = String::from_utf8(log).unwrap();
    assert!(!log.contains(KEY) && !log.contains(OTHER), "no key is shown: {log}");
}

#[test]
fn a_key_in_a_file_is_read_anew_though_the_configuration_is_as_it_was() {
    let installed = Installed::new("");
    let from_file = |key| {
        let text = installed
            .text(OPEN_QUEUE)
            .replace(&format!("hmac_keys = [\"{KEY}\"]\n"), &key_file(&installed, key));
        fs::write(installed.config(), text).unwrap();
    };
    from_file(OTHER);
    let daemon = installed.start();
    let status = |key, id: &str| post(&daemon, key, &body(id, "a", "motion_detected"));
    assert_eq!(status(OTHER, "1"), 200);
    from_file(THIRD);
    assert_eq!(status(OTHER, "2"), 200, "before the reload");
    assert_eq!(installed.reload(), "hmac_key_files has changed in its file\n");
    assert_eq!(status(THIRD, "3"), 200);
    assert_eq!(status(OTHER, "4"), 401);
    assert!(installed.reload().contains("nothing has changed"));
    key_file(&installed, "short");
    let ran = installed.run(&["reload"]);
    assert!(ran.code == 1 && ran.err.contains("hmac_key_files") && !ran.err.contains("\"short\""), "{ran:?}");
    assert_eq!(status(THIRD, "5"), 200, "the old ones stay");
    assert_eq!(installed.drain("all"), ["1", "2", "3", "5"]);
    assert!(daemon.stop().0.success());
}
