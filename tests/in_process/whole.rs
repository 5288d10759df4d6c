//! The parts of long suites that a run leaves out are named, and each suite of the table is run by a test.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use crate::support::whole::{left_out, suites};
use crate::tidy::source::read_tree;

#[test]
fn what_this_run_leaves_out_is_named() {
    let lines = left_out();
    if lines.is_empty() {
        return;
    }
    let mut text = "\nThis run did a part of these suites; RINGHOOKD_WHOLE=1 does all of each:\n".to_owned();
    for line in lines {
        writeln!(text, "  {line}").unwrap();
    }
    // Past the capture of a test that passes.
    std::io::stderr().write_all(text.as_bytes()).unwrap();
}

/// Where the suites of the table are, as `.ci/run` names them to run all of each.
const WHOLE: [(&str, &[&str]); 2] = [
    (
        "--test in_process -- faults:: refresh:: full_house::",
        &["tests/in_process/faults", "tests/in_process/refresh", "tests/in_process/full_house"],
    ),
    ("--test binary -- crash:: restart::", &["tests/binary/crash", "tests/binary/restart"]),
];

#[test]
fn each_suite_of_the_table_is_run_whole_by_ci() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ci = std::fs::read_to_string(root.join(".ci/run")).unwrap();
    assert!(WHOLE.iter().all(|(filters, _)| ci.contains(filters)) && ci.contains("RINGHOOKD_WHOLE=1"));
    let mut tests = read_tree(&root.join("tests"));
    tests.retain(|file| !file.path.ends_with("whole.rs"));
    for suite in suites() {
        let calls = [format!("share(\"{suite}\")"), format!("stride(\"{suite}\")")];
        let asks = |line: &str| calls.iter().any(|call| line.contains(call));
        let files = tests.iter().filter(|file| file.lines.iter().any(|line| asks(&line.text)));
        let paths: Vec<String> = files.map(|file| format!("tests/{}", file.path)).collect();
        let is_run = |path: &String| WHOLE.iter().any(|(_, at)| at.iter().any(|at| path.starts_with(at)));
        assert!(!paths.is_empty() && paths.iter().all(is_run), "{suite}: {paths:?}");
    }
}
