//! Named points at which the crash harness kills, stalls or panics the daemon; only builds with debug assertions have them.
//!
//! Not a cargo feature: packages are built with `--all-features`, and no packaged daemon may carry a way to kill it by name.

/// Marks a point, such as `failpoint!("store.before_commit")`. Without debug assertions it is nothing.
#[macro_export]
macro_rules! failpoint {
    ($name:literal) => {{
        #[cfg(debug_assertions)]
        $crate::failpoint::armed::pass($name);
    }};
}

/// What the environment armed: the only state, read once.
#[cfg(debug_assertions)]
#[doc(hidden)]
pub mod armed {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    /// `NAME:ACTION` or `NAME=N:ACTION`; the action, `kill`, `panic` or `sleep:MS`, happens at the Nth pass (the first) and only then.
    pub const VARIABLE: &str = "RINGHOOKD_FAILPOINT";

    static ARMED: LazyLock<Option<Armed>> = LazyLock::new(|| {
        let text = std::env::var(VARIABLE).ok()?;
        // A harness with a typing error must not pass for want of a crash.
        Some(parse(&text).unwrap_or_else(|| {
            eprintln!("{VARIABLE}={text:?}: write NAME[=N]:kill, NAME[=N]:panic or NAME[=N]:sleep:MS");
            std::process::exit(2)
        }))
    });

    #[derive(Debug)]
    struct Armed {
        name: String,
        at: u32,
        action: Action,
        passes: AtomicU32,
    }

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Action {
        Kill,
        Panic,
        Sleep(Duration),
    }

    /// Blocks, kills or panics when `name` is armed and this is its pass.
    pub fn pass(name: &str) {
        let Some(action) = ARMED.as_ref().and_then(|armed| armed.due(name)) else { return };
        match action {
            Action::Kill => kill(),
            Action::Panic => panic!("failpoint {name}"),
            Action::Sleep(duration) => std::thread::sleep(duration),
        }
    }

    impl Armed {
        fn due(&self, name: &str) -> Option<Action> {
            let due = self.name == name && self.passes.fetch_add(1, Ordering::Relaxed) + 1 == self.at;
            due.then_some(self.action)
        }
    }

    fn kill() -> ! {
        let sent = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        // Unreachable on Linux; the caller must not pass this point in any case.
        panic!("failpoint: SIGKILL to ourselves: {sent:?}")
    }

    fn parse(text: &str) -> Option<Armed> {
        let (point, action) = text.split_once(':')?;
        let (name, at) = match point.split_once('=') {
            Some((name, at)) => (name, at.parse().ok().filter(|&at| at > 0)?),
            None => (point, 1),
        };
        let action = match (action, action.strip_prefix("sleep:")) {
            ("kill", _) => Action::Kill,
            ("panic", _) => Action::Panic,
            (_, Some(ms)) => Action::Sleep(Duration::from_millis(ms.parse().ok()?)),
            _ => return None,
        };
        let name = (!name.is_empty()).then(|| name.to_owned())?;
        Some(Armed { name, at, action, passes: AtomicU32::new(0) })
    }

    #[cfg(test)]
    mod tests {
        use std::os::unix::process::ExitStatusExt as _;
        use std::process::{Command, Output};

        use super::*;

        #[test]
        fn reads_what_a_harness_writes() {
            let read = |text| parse(text).map(|armed| (armed.name, armed.at, armed.action));
            assert_eq!(read("a.b:kill"), Some(("a.b".into(), 1, Action::Kill)));
            assert_eq!(read("a.b=3:panic"), Some(("a.b".into(), 3, Action::Panic)));
            assert_eq!(read("a:sleep:20"), Some(("a".into(), 1, Action::Sleep(Duration::from_millis(20)))));
            for bad in ["", "a", ":kill", "a:", "a:stop", "a=0:kill", "a=x:kill", "a:sleep", "a:sleep:x"] {
                assert_eq!(read(bad), None, "{bad}");
            }
        }

        #[test]
        fn acts_at_its_own_pass_only() {
            let armed = parse("a=2:panic").unwrap();
            let due = ["a", "b", "a", "a"].map(|name| armed.due(name).is_some());
            assert_eq!(due, [false, false, true, false]);
        }

        /// Passes a point twice; what happens there is the environment's choice.
        #[test]
        fn passes_twice() {
            failpoint!("test.point");
            println!("passed once");
            failpoint!("test.point");
            println!("passed twice");
        }

        #[test]
        fn the_process_dies_at_the_pass_that_was_asked_for() {
            let first = run("test.point:kill");
            assert_eq!((first.status.signal(), said(&first, "passed once")), (Some(9), false));
            let second = run("test.point=2:kill");
            assert_eq!((second.status.signal(), said(&second, "passed once")), (Some(9), true));
            assert!(!said(&second, "passed twice"));
        }

        #[test]
        fn other_points_and_bad_settings() {
            let other = run("test.other:kill");
            assert!(other.status.success() && said(&other, "passed twice"));
            assert_eq!(run("test.point:boom").status.code(), Some(2));
            assert_eq!(run("test.point:panic").status.code(), Some(101));
        }

        /// This test program once more, with only `passes_twice` in it.
        fn run(setting: &str) -> Output {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.args(["--exact", "--nocapture", "failpoint::armed::tests::passes_twice"]);
            command.env(VARIABLE, setting).output().unwrap()
        }

        fn said(output: &Output, text: &str) -> bool {
            String::from_utf8_lossy(&output.stdout).contains(text)
        }
    }
}
