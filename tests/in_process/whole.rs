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
    lines.iter().for_each(|line| writeln!(text, "  {line}").unwrap());
    // Past the capture of a test that passes.
    std::io::stderr().write_all(text.as_bytes()).unwrap();
}

#[test]
fn each_suite_of_the_table_is_run() {
    let tests = read_tree(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests"));
    for suite in suites() {
        let calls = [format!("share(\"{suite}\")"), format!("stride(\"{suite}\")")];
        let runs = |line: &str| calls.iter().any(|call| line.contains(call));
        assert!(tests.iter().flat_map(|file| &file.lines).any(|line| runs(&line.text)), "{suite}");
    }
}
