//! The daemon is killed in the middle of a reload that adds a queue and a socket: nothing that was acknowledged is lost, and the next start has both.

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use super::daemon::Installed;
use super::event::Event;
use super::points::RELOADING;
use super::scenes::{call, post};
use crate::support::configuration::OPEN_QUEUE;
use crate::support::http::Client;

/// Far more than anything takes; only a hang meets it.
const PATIENCE: Duration = Duration::from_mins(1);
const SOCKET: &str = "[[socket]]\npath = \"FOLDER/more.sock\"\n";
const MORE: &str = "[[queue]]\nname = \"more\"\nkind = \"embedded\"\nunclaimed = \"deliver\"\n";

#[test]
fn a_reload_that_adds_a_queue_and_a_socket_breaks_no_promise_wherever_it_is_killed() {
    for point in RELOADING {
        let installed = Installed::new(OPEN_QUEUE);
        let mut daemon = installed.spawn(Some(&format!("{point}:kill")));
        let address = installed.ready(&mut daemon).unwrap();
        post(address, Event { account: 0, n: 0 });
        installed.configure(&format!("{OPEN_QUEUE}{MORE}{SOCKET}"));
        // It breaks off.
        let _ = Client::unix(&installed.socket()).unwrap().send("POST", "/v1/reload", "", b"");
        let ended = daemon.wait(PATIENCE);
        assert_eq!(ended.and_then(|status| status.signal()), Some(9), "{point}:\n{}", daemon.log());
        let (_daemon, address) = installed.start();
        post(address, Event { account: 0, n: 1 });
        let waiting = |queue: &str| {
            let leased = call(&installed, "POST", &format!("/v1/queues/{queue}/lease"), r#"{"max":9}"#);
            leased["events"].as_array().unwrap().len()
        };
        assert_eq!((waiting("all"), waiting("more")), (2, 1), "{point}");
        let more = installed.socket().with_file_name("more.sock");
        let status = Client::unix(&more).unwrap().send("GET", "/v1/status", "", b"").unwrap().0;
        assert_eq!(status, 200, "{point}");
    }
}
