//! The servers under test, each in a process of its own: this program again, told its role.

pub(crate) mod roles;

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ringhookd::clock;

/// What a child does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// hyper alone: reads the body and answers 200.
    Baseline,
    /// The same through our HTTP room.
    Http,
    /// Verifies, parses, and answers once the event is durable.
    Durable,
}

impl Role {
    pub(crate) const ALL: [Self; 3] = [Self::Baseline, Self::Http, Self::Durable];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            Self::Http => "http",
            Self::Durable => "durable",
        }
    }
}

/// A running server; killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    /// From the start of the process until it accepts.
    pub(crate) started_in: Duration,
}

impl Server {
    /// Starts a server and waits until it accepts. `folder` holds the store of the durable one.
    pub(crate) fn start(role: Role, folder: &Path) -> Result<Self, Box<dyn Error>> {
        let before = clock::instant();
        let mut child = Command::new(std::env::current_exe()?)
            .args([roles::ARGUMENT, role.name()])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let stdout = child.stdout.take().ok_or("the child has no output")?;
        BufReader::new(stdout).read_line(&mut line)?;
        let started_in = before.elapsed();
        if let Ok(address) = line.trim().parse() {
            return Ok(Self { child, address, started_in });
        }
        child.kill()?;
        Err(format!("the {} server did not start", role.name()).into())
    }

    /// Resident memory in bytes.
    pub(crate) fn resident(&self) -> Result<u64, Box<dyn Error>> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kilobytes * 1024)
    }

    /// Processor time used so far, in seconds.
    pub(crate) fn busy(&self) -> Result<f64, Box<dyn Error>> {
        busy(&self.child.id().to_string())
    }

    /// Lets it finish and close its store.
    pub(crate) fn stop(mut self) -> Result<(), Box<dyn Error>> {
        drop(self.child.stdin.take());
        self.child.wait()?;
        Ok(())
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(mut self) -> Result<(), Box<dyn Error>> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

/// Processor time of a process by its id, or of this one by `self`, in seconds.
pub(crate) fn busy(process: &str) -> Result<f64, Box<dyn Error>> {
    // The scheduler's own count, in nanoseconds, of every thread; /proc/PID/stat counts in hundredths of a second.
    let mut sum = 0.0;
    for thread in std::fs::read_dir(format!("/proc/{process}/task"))? {
        let text = std::fs::read_to_string(thread?.path().join("schedstat"))?;
        sum += text.split(' ').next().ok_or("no schedstat")?.parse::<f64>()? / 1e9;
    }
    Ok(sum)
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
