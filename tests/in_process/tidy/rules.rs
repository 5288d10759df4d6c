//! The rules on one file each: purpose, lengths, switched-off tests, paths, failpoints, test command.

use std::collections::BTreeSet;

use super::source::{Complaint, Line, Source};

const FILE_LINES: usize = 600;
const MOST_FILE_LINES: usize = 450;

/// A `//!` paragraph of a few words that ends as a sentence does.
pub(crate) fn first_line_says_the_purpose(file: &Source) -> Option<Complaint> {
    let lines = file.lines.iter().map_while(|line| line.text.strip_prefix("//! "));
    let paragraph: Vec<&str> = lines.collect();
    let is_sentence = paragraph.last().is_some_and(|line| line.ends_with(['.', ':']));
    let has_words = paragraph.iter().flat_map(|line| line.split_whitespace()).count() >= 3;
    (!is_sentence || !has_words)
        .then(|| file.complain(1, "begin with a `//!` sentence that says what the file is for"))
}

/// Without tests: none over 600 lines, nine of ten at most 450.
pub(crate) fn files_are_short(files: &[Source]) -> Vec<Complaint> {
    let over = |limit| files.iter().filter(move |file| file.production().count() > limit);
    let say = |file: &Source, limit| {
        let lines = file.production().count();
        file.complain(lines, format!("{lines} lines without tests, more than {limit}"))
    };
    let mut complaints: Vec<Complaint> = over(FILE_LINES).map(|file| say(file, FILE_LINES)).collect();
    if over(MOST_FILE_LINES).count() * 10 > files.len() {
        complaints.extend(over(MOST_FILE_LINES).map(|file| say(file, MOST_FILE_LINES)));
    }
    complaints
}

pub(crate) fn no_test_is_switched_off(file: &Source) -> Vec<Complaint> {
    let found = file.lines.iter().enumerate().filter(|(_, line)| line.code.contains("#[ignore"));
    found.map(|(at, _)| file.complain(at + 1, "mend the test or delete it")).collect()
}

/// In every text file, comments and strings included.
pub(crate) fn no_paths_of_one_machine(file: &Source) -> Vec<Complaint> {
    // In two parts, so that this file passes.
    let roots = [concat!("/wo", "rk/"), concat!("/ro", "ot/")];
    let lines =
        file.lines.iter().enumerate().filter(|(_, line)| roots.iter().any(|root| line.text.contains(root)));
    lines.map(|(at, _)| file.complain(at + 1, "a path that exists on one machine only")).collect()
}

pub(crate) fn is_crash_harness(file: &Source) -> bool {
    file.path.starts_with("tests/binary/crash")
}

pub(crate) fn every_failpoint_is_fired(file: &Source, harness: &[Source]) -> Vec<Complaint> {
    let fired = |name: &str| {
        harness.iter().flat_map(|file| &file.lines).any(|line| line.text.contains(&format!("\"{name}\"")))
    };
    let points = file.production().filter_map(|(at, line)| Some((at, failpoint_in(line)?)));
    let silent = points.filter(|(_, name)| !fired(name));
    silent
        .map(|(at, name)| file.complain(at, format!("failpoint \"{name}\" is not in tests/binary/crash*")))
        .collect()
}

/// Exactly one line of README.md is a test command, and it is the one CI runs.
pub(crate) fn readme_has_the_test_command(readme: &str, command: &str) -> Option<Complaint> {
    let lines: Vec<&str> = readme.lines().filter(|line| line.starts_with("cargo test")).collect();
    (lines != [command]).then(|| {
        Complaint(format!(
            "README.md: exactly one line shall be the test command `{command}`, found {lines:?}"
        ))
    })
}

/// The dependencies that the lock file of the fuzz targets has of this crate are those of its manifest.
pub(crate) fn fuzz_lock_is_up_to_date(manifest: &str, lock: &str) -> Option<Complaint> {
    let section = manifest
        .split("\n[")
        .find_map(|section| section.trim_start_matches('[').strip_prefix("dependencies]"));
    // The targets do without the features, and so without what those bring along.
    let needed = section.expect("[dependencies]").lines().filter(|line| !line.contains("optional = true"));
    let wanted = needed.filter_map(|line| Some(line.split_once(" = ")?.0));
    let wanted: BTreeSet<&str> = wanted.collect();
    let ours = lock.split("[[package]]").find(|package| package.contains("name = \"ringhookd\"\n"));
    let (_, ours) = ours.expect("this crate").split_once("dependencies = [").expect("its dependencies");
    let names = ours.split(']').next().unwrap_or_default().split('"').skip(1).step_by(2);
    let locked: BTreeSet<&str> = names.filter_map(|name| name.split(' ').next()).collect();
    let differ: Vec<_> = wanted.symmetric_difference(&locked).collect();
    (!differ.is_empty()).then(|| {
        Complaint(format!(
            "fuzz/Cargo.lock: behind Cargo.toml in {differ:?}; `cargo metadata --manifest-path fuzz/Cargo.toml` writes it"
        ))
    })
}

/// The name lies in the text at the column where the code says that a failpoint is.
fn failpoint_in(line: &Line) -> Option<String> {
    let marker = "failpoint!(\"";
    let at = line.code.find(marker)? + marker.len();
    let column = line.code[..at].chars().count();
    Some(line.text.chars().skip(column).take_while(|c| *c != '"').collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Source {
        Source::new("src/a.rs", text)
    }

    #[test]
    fn purpose() {
        for good in [
            "//! Says what it does.\n",
            "//! Says what\n//! it does.\n//!\n//! - more\n",
            "//! Two things here:\n//!\n",
        ] {
            assert_eq!(first_line_says_the_purpose(&file(good)), None, "{good}");
        }
        for bad in [
            "",
            "use std::fs;\n",
            "// Says what it does.\n",
            "//! Store.\n",
            "//! Says what it does\n",
            "\n//! Says what it does.\n",
        ] {
            assert!(first_line_says_the_purpose(&file(bad)).is_some(), "{bad}");
        }
    }

    #[test]
    fn file_length() {
        let of = |lines: usize| file(&"a\n".repeat(lines));
        let with_tests =
            file(&format!("{}#[cfg(test)]\nmod tests {{\n{}}}\n", "a\n".repeat(450), "    b\n".repeat(500)));
        assert!(files_are_short(&[with_tests]).is_empty());
        assert_eq!(files_are_short(&[of(601)]).len(), 2);
        assert_eq!(files_are_short(&[of(451)]).len(), 1);
        let mut ten: Vec<Source> = (0..9).map(|_| of(450)).collect();
        ten.push(of(600));
        assert!(files_are_short(&ten).is_empty());
        ten.push(of(451));
        assert_eq!(files_are_short(&ten).len(), 2);
    }

    #[test]
    fn switched_off_tests() {
        for bad in ["#[ignore]", "#[ignore = \"slow\"]"] {
            assert_eq!(no_test_is_switched_off(&file(bad)).len(), 1, "{bad}");
        }
    }

    #[test]
    fn machine_paths() {
        let bad = Source::new("README.md", concat!("a\nsee /wo", "rk/main and /ro", "ot/.cargo\n"));
        assert_eq!(
            no_paths_of_one_machine(&bad),
            [bad.complain(2, "a path that exists on one machine only")]
        );
        assert!(no_paths_of_one_machine(&Source::new("README.md", "/network/rooted")).is_empty());
    }

    #[test]
    fn failpoints() {
        let code = file(
            "fn a() {\n    crate::failpoint!(\"store.before_commit\");\n    failpoint!(\"ü.b\");\n}\n// failpoint!(\"c\")\n",
        );
        let harness = |text| [Source::new("tests/binary/crash.rs", text)];
        assert!(is_crash_harness(&harness("")[0]) && !is_crash_harness(&code));
        assert!(every_failpoint_is_fired(&code, &harness("[\"store.before_commit\", \"ü.b\"]")).is_empty());
        let silent = every_failpoint_is_fired(&code, &harness("[\"store.before_commit2\", \"ü.b\"]"));
        assert_eq!(
            silent,
            [code.complain(2, "failpoint \"store.before_commit\" is not in tests/binary/crash*")]
        );
    }

    #[test]
    fn fuzz_lock() {
        let lock = "[[package]]\nname = \"ringhookd\"\ndependencies = [\"a\", \"b 1.0\"]\n";
        let check = |manifest: &str| fuzz_lock_is_up_to_date(manifest, lock);
        assert_eq!(
            check("[dependencies]\na = \"1\"\nb = { version = \"1\" }\nc = { optional = true }\n"),
            None
        );
        for bad in [
            "[dependencies]\na = \"1\"\n[b]\nb = \"1\"\n",
            "[dependencies]\na = \"1\"\nb = \"1\"\nc = \"1\"\n",
        ] {
            assert!(check(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn test_command() {
        assert_eq!(readme_has_the_test_command("# a\ncargo test --locked\n", "cargo test --locked"), None);
        for bad in
            ["", "cargo test\n", "run cargo test --locked\n", "cargo test --locked\ncargo test --locked\n"]
        {
            assert!(readme_has_the_test_command(bad, "cargo test --locked").is_some(), "{bad}");
        }
    }
}
