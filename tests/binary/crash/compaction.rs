//! The file is compacted under load, and the daemon killed in the middle of it: no promise is broken.

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use super::load::{Supervisor, under_load};
use super::points::COMPACTING;
use super::seeded;
use crate::support::http::Client;

/// Far more than anything takes; only a hang meets it.
const PATIENCE: Duration = Duration::from_mins(1);
const WHOLE: usize = 5;

#[test]
fn a_compaction_under_load_breaks_no_promise_whenever_it_is_killed() {
    under_load(seeded(), |supervisor, _| {
        for point in COMPACTING {
            let mut daemon = supervisor.spawn(Some(&format!("{point}:kill")));
            assert!(supervisor.ready(&mut daemon), "{}", daemon.log());
            // It breaks off.
            let _ = compact(supervisor);
            let ended = daemon.wait(PATIENCE);
            assert_eq!(ended.and_then(|status| status.signal()), Some(9), "{point}:\n{}", daemon.log());
        }
        let daemon = supervisor.start();
        for _ in 0..WHOLE {
            let said = compact(supervisor).unwrap();
            assert!(said.lines().last().unwrap().contains("\"after\""), "{said}\n{}", daemon.log());
        }
        Supervisor::stop(daemon);
    });
}

fn compact(supervisor: &Supervisor<'_>) -> std::io::Result<String> {
    let (status, said) = Client::unix(&supervisor.workload.socket)?.send("POST", "/v1/compact", "", b"")?;
    let said = String::from_utf8(said).unwrap();
    assert_eq!(status, 200, "{said}");
    Ok(said)
}
