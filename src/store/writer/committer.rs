//! Group commit: while one transaction reaches the disk, the next group gathers.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::group::{Command, JobOf, Writer};
use crate::clock;
use crate::domain::actor::Actor;
use crate::domain::clock_trust::{ClockTrust, Watch};
use crate::domain::time::Millis;
use crate::store::txn::retention;

/// Commands that may wait for the writer. Beyond that the store says `Busy`.
pub(crate) const QUEUE: usize = 4096;
const GROUP_COMMANDS: usize = 512;
const GROUP_BYTES: usize = 8 << 20;
const TICK: Duration = Duration::from_millis(250);
/// How long a failing store is left alone before it is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// Runs until every handle of the store is gone; what was sent before is still done.
pub(crate) fn run(mut writer: Writer, commands: &Receiver<Command>, healthy: impl Fn() -> bool) {
    let mut next_tick = clock::now().plus(TICK);
    let mut more = false;
    let (started, mut trust) = (clock::instant(), ClockTrust::starting(writer.newest(), clock::now()));
    let mut watch = Watch::from(clock::now(), started.elapsed());
    loop {
        let wait = if more { Duration::ZERO } else { next_tick.since(clock::now()).min(TICK) };
        let received = commands.recv_timeout(wait);
        writer.pulse().beat();
        look(&writer, &mut watch, clock::now(), started.elapsed());
        match received {
            Ok(first) => writer.commit(clock::now(), group(first, commands)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                writer.end(clock::now());
                writer.pulse().rest();
                return;
            }
        }
        writer.take_compacted(clock::now());
        if !healthy() {
            next_tick = retry(&mut writer, next_tick);
            more = false;
        } else if more || clock::now() >= next_tick || next_tick.since(clock::now()) > TICK {
            let now = clock::now();
            let may_expire = trust.may_expire(now, started.elapsed());
            more = tick(&mut writer, now, may_expire);
            next_tick = clock::now().plus(TICK);
        }
    }
}

fn group(first: Command, commands: &Receiver<Command>) -> Vec<Command> {
    let size = |command: &Command| match command {
        Command::Accept(incoming, _) => incoming.event.body.len(),
        Command::Job(_) => 0,
    };
    let mut bytes = size(&first);
    let mut group = vec![first];
    while group.len() < GROUP_COMMANDS && bytes < GROUP_BYTES {
        let Ok(next) = commands.try_recv() else { break };
        bytes += size(&next);
        group.push(next);
    }
    group
}

/// Before anything is done by a clock that was set since the last look.
pub(crate) fn look(writer: &Writer, watch: &mut Watch, wall: Millis, monotonic: Duration) {
    if let Some(jump) = watch.look(wall, monotonic) {
        writer.carry(jump, wall);
    }
}

/// Lets what is due happen; what is due by age only while the clock is believed. Returns whether more is due at once.
pub(crate) fn tick(writer: &mut Writer, now: Millis, may_expire: bool) -> bool {
    writer.watch_file(now);
    writer.watch_disk();
    writer.checkpoint(now);
    writer.watch_intake(now, may_expire);
    if !writer.is_due(now) {
        return false;
    }
    let (reply, done) = oneshot::channel();
    let run = move |txn: &mut crate::store::txn::transaction::Txn<'_>| retention::maintain(txn, may_expire);
    let job = JobOf { run, by: Actor::Daemon, value: None, reply };
    writer.commit(now, vec![Command::Job(Box::new(job))]);
    done.blocking_recv().is_ok_and(|more| more.unwrap_or(false))
}

fn retry(writer: &mut Writer, at: Millis) -> Millis {
    let now = clock::now();
    if now < at && at.since(now) <= RETRY {
        return at;
    }
    if writer.recover(now) {
        tracing::info!("the store is usable again");
    }
    clock::now().plus(RETRY)
}
