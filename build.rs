//! Gives a release build the version that `ringhookd --version` prints: with the commit, from `RINGHOOKD_COMMIT` or git.
//!
//! A debug build has none, because each commit would have it compiled anew.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=RINGHOOKD_COMMIT");
    let version = std::env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let given = std::env::var("RINGHOOKD_COMMIT").ok().filter(|commit| !commit.is_empty());
    let is_release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let commit = given.or_else(|| is_release.then(head).flatten());
    let whole = commit.map_or_else(|| version.clone(), |commit| format!("{version} ({commit})"));
    println!("cargo:rustc-env=RINGHOOKD_VERSION={whole}");
}

/// The commit of the clone that is built; none in a folder that is no clone.
fn head() -> Option<String> {
    // A path that is not there would run this at each build.
    for path in [".git/HEAD", ".git/logs/HEAD"] {
        if Path::new(path).exists() {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    if !Path::new(".git").exists() {
        return None;
    }
    let told = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output().ok()?;
    let commit = String::from_utf8(told.stdout).ok()?;
    let commit = commit.trim();
    (told.status.success() && !commit.is_empty()).then(|| commit.to_owned())
}
