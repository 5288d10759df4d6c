//! The command line of the benches, and the way into the processes that they start.

use std::error::Error;
use std::path::Path;
use std::process::Command as Process;
use std::time::Duration;

use crate::parts::disk::fdatasync;
use crate::parts::rates::Effort;
use crate::report::Report;
use crate::servers::{Role, roles};

/// What was asked for.
#[derive(Debug)]
pub(crate) struct Command(Vec<String>);

/// Runs `measure`, or what a child process is started for.
pub(crate) fn run(measure: fn(&Command) -> Result<(), Box<dyn Error>>) -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [argument, role, folder] = args.as_slice()
        && argument == roles::ARGUMENT
    {
        let role = Role::ALL.into_iter().find(|r| r.name() == role).ok_or("no such role")?;
        return roles::run(role, Path::new(folder));
    }
    // `cargo bench` says so; `cargo test --all-targets` starts this too and wants no bench.
    if args.iter().any(|arg| arg == "--bench") { measure(&Command(args)) } else { Ok(()) }
}

impl Command {
    /// Whether `part` is asked for; without any of `parts`, all of them are.
    pub(crate) fn wants(&self, part: &str, parts: &[&str]) -> bool {
        let mut named = self.0.iter().filter(|arg| parts.contains(&arg.as_str())).peekable();
        named.peek().is_none() || named.any(|arg| arg == part)
    }

    /// The number behind `name`, or `default` without it.
    pub(crate) fn number<N: std::str::FromStr>(&self, name: &str, default: N) -> Result<N, String> {
        let Some(at) = self.0.iter().position(|arg| arg == name) else { return Ok(default) };
        self.0.get(at + 1).and_then(|text| text.parse().ok()).ok_or(format!("{name} wants a number"))
    }

    pub(crate) fn effort(&self) -> Result<Effort, Box<dyn Error>> {
        Ok(Effort {
            rounds: self.number("--rounds", 5)?,
            span: Duration::from_secs(self.number("--seconds", 2)?),
        })
    }

    pub(crate) fn report(&self, folder: &Path) -> Result<Report, Box<dyn Error>> {
        Ok(Report::start(self.0.iter().any(|arg| arg == "--json"), &machine(folder)?))
    }
}

/// On what is measured.
fn machine(folder: &Path) -> Result<Vec<(&'static str, String)>, Box<dyn Error>> {
    let git = Process::new("git").args(["describe", "--always", "--dirty"]).output();
    let commit = git.ok().and_then(|out| String::from_utf8(out.stdout).ok()).unwrap_or_default();
    let load = std::fs::read_to_string("/proc/loadavg")?;
    Ok(vec![
        ("commit", commit.trim().to_owned()),
        ("cores", std::thread::available_parallelism()?.to_string()),
        ("load before", load.split(' ').next().unwrap_or_default().to_owned()),
        ("fdatasync", format!("{:.0} µs", fdatasync(folder, 500)?)),
    ])
}
