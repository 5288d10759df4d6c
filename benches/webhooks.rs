//! The bench: durable accepts against a bare hyper server, against one fdatasync, and what a full store costs.
//!
//! `cargo bench --bench webhooks -- [http] [a] [b] [c] [d] [--rounds N] [--seconds S] [--accounts N] [--ids N] [--json]`;
//! without a part, all of them. The servers are child processes; what is printed first says on what it was measured.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "figures need no more than the 53 bits of a float"
)]

mod load;
mod parts;
mod report;
mod servers;

use std::error::Error;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use parts::{Bench, Effort, Wanted, store::Content};
use report::Report;
use servers::{Role, roles};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [argument, role, folder] = args.as_slice()
        && argument == roles::ARGUMENT
    {
        let role = Role::ALL.into_iter().find(|r| r.name() == role).ok_or("no such role")?;
        return roles::run(role, Path::new(folder));
    }
    // `cargo bench` says so; `cargo test --all-targets` starts this too and wants no bench.
    if args.iter().any(|arg| arg == "--bench") { measure(&args) } else { Ok(()) }
}

fn measure(args: &[String]) -> Result<(), Box<dyn Error>> {
    let parts: Vec<&str> = args.iter().map(String::as_str).filter(|arg| PARTS.contains(arg)).collect();
    let wanted = |part| parts.is_empty() || parts.contains(&part);
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let at = |name: &str| folder.path().join(name);
    let effort = Effort {
        rounds: number(args, "--rounds", 5)?,
        span: Duration::from_secs(number(args, "--seconds", 2)?),
    };
    let report = Report::start(args.iter().any(|arg| arg == "--json"), &machine(folder.path())?);
    let mut bench = Bench { report, effort, seed: 0 };
    if wanted("http") {
        parts::over_baseline(&mut bench, &at("http"), Role::Http)?;
    }
    if wanted("a") {
        parts::over_baseline(&mut bench, &at("a"), Role::Durable)?;
    }
    if wanted("b") {
        parts::latency(&mut bench, &at("b"))?;
    }
    if wanted("c") || wanted("d") {
        let content = Content {
            accounts: number(args, "--accounts", 1_000_000)?,
            ids: number(args, "--ids", 10_000_000)?,
        };
        parts::full(&mut bench, folder.path(), Wanted { rates: wanted("c"), sizes: wanted("d"), content })?;
    }
    bench.report.finish();
    Ok(())
}

const PARTS: [&str; 5] = ["http", "a", "b", "c", "d"];

/// The number behind `name`, or `default` without it.
fn number<N: std::str::FromStr>(args: &[String], name: &str, default: N) -> Result<N, String> {
    let Some(at) = args.iter().position(|arg| arg == name) else { return Ok(default) };
    args.get(at + 1).and_then(|text| text.parse().ok()).ok_or(format!("{name} wants a number"))
}

/// On what is measured.
fn machine(folder: &Path) -> Result<Vec<(&'static str, String)>, Box<dyn Error>> {
    let git = Command::new("git").args(["describe", "--always", "--dirty"]).output();
    let commit = git.ok().and_then(|out| String::from_utf8(out.stdout).ok()).unwrap_or_default();
    let load = std::fs::read_to_string("/proc/loadavg")?;
    Ok(vec![
        ("commit", commit.trim().to_owned()),
        ("cores", std::thread::available_parallelism()?.to_string()),
        ("load before", load.split(' ').next().unwrap_or_default().to_owned()),
        ("fdatasync", format!("{:.0} µs", parts::fdatasync(folder, 500)?)),
    ])
}
