//! The house rules as tests: what ARCHITECTURE.md promises of the source and the compiler does not check.

use std::fmt::Display;
use std::fs;
use std::path::Path;

mod rings;
mod rooms;
mod rules;
pub(crate) mod source;

use self::source::{Source, is_rust, read_tree};

/// The one line that README.md and `.ci/run` share.
const TEST_COMMAND: &str = "cargo test --locked";

#[test]
fn imports_go_down() {
    report(src().iter().flat_map(rooms::imports_go_down));
}

#[test]
fn no_files_of_a_room_import_each_other() {
    report(rings::rings(&src()));
}

#[test]
fn one_floor_knows_redb() {
    report(src().iter().flat_map(rooms::one_floor_knows_redb));
}

#[test]
fn first_line_says_the_purpose() {
    report(rust().iter().filter_map(rules::first_line_says_the_purpose));
}

#[test]
fn files_are_short() {
    report(rules::files_are_short(&src()));
}

#[test]
fn no_test_is_switched_off() {
    report(rust().iter().flat_map(rules::no_test_is_switched_off));
}

#[test]
fn no_paths_of_one_machine() {
    report(everything().iter().flat_map(rules::no_paths_of_one_machine));
}

#[test]
fn every_failpoint_is_fired() {
    let harness: Vec<Source> = rust().into_iter().filter(rules::is_crash_harness).collect();
    if !harness.is_empty() {
        report(src().iter().flat_map(|file| rules::every_failpoint_is_fired(file, &harness)));
    }
}

#[test]
fn the_readme_has_the_test_command() {
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md");
    report(rules::readme_has_the_test_command(&readme, TEST_COMMAND));
}

#[test]
fn the_fuzz_lock_is_up_to_date() {
    let read = |name: &str| fs::read_to_string(root().join(name)).expect(name);
    report(rules::fuzz_lock_is_up_to_date(&read("Cargo.toml"), &read("fuzz/Cargo.lock")));
}

fn report(complaints: impl IntoIterator<Item = impl Display>) {
    let lines: Vec<String> = complaints.into_iter().map(|c| c.to_string()).collect();
    assert!(lines.is_empty(), "\n{}\n", lines.join("\n"));
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn everything() -> Vec<Source> {
    read_tree(root())
}

fn rust() -> Vec<Source> {
    let mut files = everything();
    files.retain(|file| is_rust(&file.path));
    files
}

fn src() -> Vec<Source> {
    let mut files = rust();
    files.retain(|file| file.path.starts_with("src/"));
    assert!(!files.is_empty(), "no source was found");
    files
}
