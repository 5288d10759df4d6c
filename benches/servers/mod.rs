//! The servers under test, each in a process of its own: this program again, told its role.

pub(crate) mod roles;

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use ringhookd::clock;

/// What a child does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// hyper alone: reads the body and answers 200.
    Baseline,
    /// The same through our HTTP room.
    Http,
    /// The same over TLS, with a certificate that signs itself and lies in the folder.
    Secured,
    /// Verifies, parses, and answers once the event is durable.
    Durable,
    /// The baseline on a Unix socket, with an answer as long as a token's.
    Local,
    /// The simulated Ring; told in a line, it says how it was used.
    Ring,
}

impl Role {
    pub(crate) const ALL: [Self; 6] =
        [Self::Baseline, Self::Http, Self::Secured, Self::Durable, Self::Local, Self::Ring];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            Self::Http => "http",
            Self::Secured => "secured",
            Self::Durable => "durable",
            Self::Local => "local",
            Self::Ring => "ring",
        }
    }
}

/// A running server; killed when dropped.
pub(crate) struct Server {
    child: Child,
    lines: BufReader<ChildStdout>,
    /// An IP address with its port, or the path of a Unix socket.
    pub(crate) address: String,
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
        let mut address = String::new();
        let mut lines = BufReader::new(child.stdout.take().ok_or("the child has no output")?);
        lines.read_line(&mut address)?;
        let started_in = before.elapsed();
        address.truncate(address.trim_end().len());
        let server = Self { child, lines, address, started_in };
        if server.address.is_empty() {
            return Err(format!("the {} server did not start", role.name()).into());
        }
        Ok(server)
    }

    /// What it says of itself now; only the simulated Ring does.
    pub(crate) fn ask(&mut self) -> Result<String, Box<dyn Error>> {
        self.child.stdin.as_mut().ok_or("the child has no input")?.write_all(b"\n")?;
        let mut line = String::new();
        self.lines.read_line(&mut line)?;
        Ok(line)
    }

    /// Resident memory in bytes.
    pub(crate) fn resident(&self) -> Result<u64, Box<dyn Error>> {
        resident(&self.child.id().to_string())
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

/// Resident memory of a process by its id, or of this one by `self`, in bytes.
pub(crate) fn resident(process: &str) -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes * 1024)
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
