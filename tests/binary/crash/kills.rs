//! Kills under load: at every fail point, at its first passes, and at random.

use std::os::unix::process::ExitStatusExt;
use std::thread::sleep;
use std::time::Duration;

use super::load::Supervisor;
use super::points::UNDER_LOAD;
use super::random::Random;
use crate::support::whole::share;

/// Under load each point is passed within this time, or the kill is made from outside.
const FIRES_WITHIN: Duration = Duration::from_secs(20);
const LATEST_KILL_MS: u64 = 300;
const EARLIEST_KILLS_MS: u64 = 60;

#[derive(Debug, Clone, Copy)]
enum Kill {
    At {
        point: &'static str,
        pass: u32,
    },
    /// After READY.
    Later,
    /// Perhaps before READY.
    AtStart,
}

/// Kills the daemon `count` times, or up to the first broken promise.
pub(crate) fn storm(supervisor: &mut Supervisor<'_>, random: &mut Random, count: usize) {
    let mut silent: Vec<&str> = UNDER_LOAD.to_vec();
    for kill in plan(random, count) {
        if supervisor.workload.ledger().broken() {
            return;
        }
        let point = match kill {
            Kill::At { point, pass } => Some(format!("{point}={pass}:kill")),
            Kill::Later | Kill::AtStart => None,
        };
        let mut daemon = supervisor.spawn(point.as_deref());
        if matches!(kill, Kill::AtStart) {
            sleep(random.ms(EARLIEST_KILLS_MS));
            supervisor.numbers.before_ready += 1;
        } else if supervisor.ready(&mut daemon) {
            match kill {
                Kill::At { .. } => drop(daemon.wait(FIRES_WITHIN)),
                Kill::Later | Kill::AtStart => sleep(random.ms(LATEST_KILL_MS)),
            }
        }
        supervisor.numbers.kills += 1;
        match (daemon.ended(), kill) {
            (None, _) => daemon.kill(),
            (Some(status), Kill::At { point, .. }) if status.signal() == Some(9) => {
                silent.retain(|silent| *silent != point);
            }
            (Some(status), _) => panic!("{kill:?}: it ended by itself with {status}:\n{}", daemon.log()),
        }
        assert_eq!(daemon.errors(), [""; 0], "{kill:?}");
    }
    assert_eq!(silent, [""; 0], "fail points that no kill happened at");
}

/// Every point at its first passes, the rest at random, in random order.
fn plan(random: &mut Random, count: usize) -> Vec<Kill> {
    // Each fail point kills at its first passes at least.
    let passes = u32::try_from(share("kills at each fail point")).unwrap();
    let each = UNDER_LOAD.iter().flat_map(|&point| (1..=passes).map(move |pass| Kill::At { point, pass }));
    let mut kills: Vec<Kill> = each.collect();
    while kills.len() < count {
        kills.push(match random.below(10) {
            0..3 => Kill::At {
                point: random.pick::<&str>(UNDER_LOAD),
                pass: 1 + u32::try_from(random.below(50)).unwrap(),
            },
            3..5 => Kill::AtStart,
            _ => Kill::Later,
        });
    }
    for at in (1..kills.len()).rev() {
        kills.swap(at, usize::try_from(random.below(at as u64 + 1)).unwrap());
    }
    kills
}
