//! Queues that come, change and go by a reload, as they would by a restart.

use super::installed::{Installed, webhook};
use crate::support::configuration::OPEN_QUEUE;

fn queue(name: &str, lines: &str) -> String {
    format!("[[queue]]\nname = \"{name}\"\nkind = \"embedded\"\nunclaimed = \"deliver\"\n{lines}\n")
}

#[test]
fn a_queue_gets_what_comes_after_it_and_keeps_what_waits_when_it_is_taken_out() {
    let installed = Installed::new(OPEN_QUEUE);
    let daemon = installed.start();
    webhook(&daemon, "1", "motion_detected");
    let more = format!("{OPEN_QUEUE}{}", queue("more", ""));
    installed.configure(&more);
    assert_eq!(installed.reload(), "queue \"more\" is new\n");
    webhook(&daemon, "2", "motion_detected");
    webhook(&daemon, "3", "motion_detected");
    assert_eq!(installed.queue("more")["waiting"], 2);
    // Without it: what waits stays, nothing comes, and nobody reads.
    installed.configure(OPEN_QUEUE);
    assert_eq!(installed.reload(), "queue \"more\" is taken out\n");
    webhook(&daemon, "4", "motion_detected");
    let left = installed.queue("more");
    assert_eq!((&left["waiting"], &left["configured"]), (&2.into(), &false.into()), "{left}");
    assert_eq!(installed.problems(), ["queue_left_over"]);
    let (status, read) = installed.call("POST", "/v1/queues/more/lease", "{}");
    assert!(status == 409 && read["error"].as_str().unwrap().contains("does not name"), "{read}");
    assert_eq!(installed.drain("all"), ["1", "2", "3", "4"]);
    // It comes back by its name, with what waits.
    installed.configure(&more);
    installed.reload();
    webhook(&daemon, "5", "motion_detected");
    assert_eq!(installed.drain("more"), ["2", "3", "5"]);
    assert!(daemon.stop().0.success());
    // A restart finds the same.
    let daemon = installed.start();
    webhook(&daemon, "6", "motion_detected");
    assert_eq!(
        (installed.drain("more"), installed.drain("all")),
        (vec!["6".into()], vec!["5".into(), "6".into()])
    );
    assert!(daemon.stop().0.success());
}

#[test]
fn a_filter_holds_for_what_comes_after_and_a_removed_queue_comes_back_empty() {
    let installed = Installed::new(&format!("{OPEN_QUEUE}{}", queue("some", "types = [\"button_press\"]")));
    let daemon = installed.start();
    webhook(&daemon, "1", "button_press");
    webhook(&daemon, "2", "motion_detected");
    installed.configure(&format!("{OPEN_QUEUE}{}", queue("some", "types = [\"motion_detected\"]")));
    assert_eq!(installed.reload(), "queue \"some\".types has changed\n");
    webhook(&daemon, "3", "button_press");
    webhook(&daemon, "4", "motion_detected");
    assert_eq!(installed.queue("some")["waiting"], 2);
    installed.configure(OPEN_QUEUE);
    installed.reload();
    assert!(installed.run(&["queue", "remove", "some", "--yes"]).code == 0);
    installed.configure(&format!("{OPEN_QUEUE}{}", queue("some", "")));
    installed.reload();
    let refused = installed.run(&["queue", "remove", "some", "--yes"]);
    assert!(refused.code == 1 && refused.err.contains("the configuration names this queue"), "{refused:?}");
    webhook(&daemon, "5", "button_press");
    assert_eq!(installed.drain("some"), ["5"]);
    assert_eq!(installed.drain("all"), ["1", "2", "3", "4", "5"]);
    assert!(daemon.stop().0.success());
}

/// A reader that waits for a queue that is taken out is told so, and does not wait its time.
#[test]
fn who_waits_for_a_queue_that_is_taken_out_is_told() {
    let installed = Installed::new(&format!("{OPEN_QUEUE}{}", queue("more", "")));
    let daemon = installed.start();
    std::thread::scope(|threads| {
        let waiting =
            threads.spawn(|| installed.call("POST", "/v1/queues/more/lease", r#"{"wait_ms": 60000}"#));
        installed.configure(OPEN_QUEUE);
        installed.reload();
        let (status, told) = waiting.join().unwrap();
        assert_eq!(status, 409, "{told}");
    });
    assert!(daemon.stop().0.success());
}
