//! The rules on one file each: purpose, lengths, clocks, leftovers, paths, failpoints, test command.

use super::source::{Complaint, Line, Source};

const FILE_LINES: usize = 600;
const MOST_FILE_LINES: usize = 450;
const FUNCTION_LINES: usize = 70;

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

/// From the line with `fn` to its closing brace, as rustfmt indents it.
pub(crate) fn functions_are_short(file: &Source) -> Vec<Complaint> {
    let lines: Vec<(usize, &Line)> = file.production().collect();
    let functions = lines.iter().enumerate().filter(|(_, (_, line))| begins_function(&line.code));
    let long = functions.filter_map(|(at, (number, head))| {
        let length = length_of(&lines[at..])?;
        let name = head.code.trim().trim_end_matches('{').trim_end();
        (length > FUNCTION_LINES)
            .then(|| file.complain(*number, format!("{length} lines, more than {FUNCTION_LINES}: `{name}`")))
    });
    long.collect()
}

pub(crate) fn clocks_are_read_in_one_place(file: &Source) -> Vec<Complaint> {
    if file.path == "src/clock.rs" {
        return Vec::new();
    }
    let reads = file.production().filter(|(_, line)| has_any(line, &["SystemTime::now", "Instant::now"]));
    reads
        .map(|(at, _)| file.complain(at, "only clock.rs reads a clock; take the time as an argument"))
        .collect()
}

pub(crate) fn nothing_is_left_to_do(file: &Source) -> Vec<Complaint> {
    banned(file, &["todo!", "unimplemented!", "dbg!"], "finish it")
}

pub(crate) fn no_test_is_switched_off(file: &Source) -> Vec<Complaint> {
    banned(file, &["#[ignore"], "mend the test or delete it")
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

fn banned(file: &Source, words: &[&str], instead: &str) -> Vec<Complaint> {
    let found = file.lines.iter().enumerate().filter(|(_, line)| has_any(line, words));
    found.map(|(at, line)| file.complain(at + 1, format!("`{}`: {instead}", line.code.trim()))).collect()
}

fn has_any(line: &Line, words: &[&str]) -> bool {
    words.iter().any(|word| line.code.contains(word))
}

fn begins_function(code: &str) -> bool {
    let before = code.split("fn ").next().unwrap_or_default();
    let qualifier = |word: &str| {
        matches!(word, "const" | "async" | "unsafe" | "extern")
            || word.starts_with("pub")
            || word.starts_with(['"', '('])
            || word.ends_with(')')
    };
    code.contains("fn ") && before.split_whitespace().all(qualifier) && !before.ends_with('(')
}

/// Lines of the function that begins on the first of these; none for a declaration without a body.
fn length_of(lines: &[(usize, &Line)]) -> Option<usize> {
    let ends = |code: &str| code.trim_end().ends_with(['{', '}', ';']);
    let open = lines.iter().position(|(_, line)| ends(&line.code))?;
    if !lines[open].1.code.trim_end().ends_with('{') {
        return None;
    }
    let head = &lines[0].1.code;
    let close = format!("{}}}", &head[..head.len() - head.trim_start().len()]);
    let length = lines[open + 1..].iter().position(|(_, line)| line.code.starts_with(&close))?;
    Some(open + 1 + length + 1)
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
    fn function_length() {
        let body = |lines: usize| "        a();\n".repeat(lines);
        for head in [
            "    fn a() {",
            "    pub(crate) const fn a() {",
            "    pub async fn a(\n        b: u8,\n    ) -> u8 {",
            "    fn a<T>()\n    where\n        T: B,\n    {",
            "    pub(in crate::a) fn a() {",
            "    extern \"C\" fn a() {",
        ] {
            let lines = head.lines().count();
            let text = |extra: usize| {
                format!(
                    "impl A {{\n{head}\n{}    }}\n    fn b();\n}}\n",
                    body(FUNCTION_LINES - lines - 1 + extra)
                )
            };
            assert!(functions_are_short(&file(&text(0))).is_empty(), "{head}");
            let complaints = functions_are_short(&file(&text(1)));
            assert!(
                complaints.len() == 1 && complaints[0].0.starts_with("src/a.rs:2: 71 lines"),
                "{head}: {complaints:?}"
            );
        }
        let strings = format!("fn a() {{\n    b(\"\n}}\n\");\n{}}}\n", body(FUNCTION_LINES));
        assert_eq!(functions_are_short(&file(&strings)).len(), 1);
    }

    #[test]
    fn clocks() {
        let bad =
            file("fn a() {\n    Instant::now();\n    std::time::SystemTime::now();\n}\n// Instant::now\n");
        assert_eq!(clocks_are_read_in_one_place(&bad).len(), 2);
        assert!(clocks_are_read_in_one_place(&Source::new("src/clock.rs", "Instant::now()")).is_empty());
    }

    #[test]
    fn leftovers() {
        for bad in ["todo!()", "unimplemented!(\"x\")", "#[cfg(test)]\nmod tests {\n    dbg!(1);\n}"] {
            assert_eq!(nothing_is_left_to_do(&file(bad)).len(), 1, "{bad}");
        }
        assert!(nothing_is_left_to_do(&file("// todo!()\nlet a = \"dbg!\";")).is_empty());
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
    fn test_command() {
        assert_eq!(readme_has_the_test_command("# a\ncargo test --locked\n", "cargo test --locked"), None);
        for bad in
            ["", "cargo test\n", "run cargo test --locked\n", "cargo test --locked\ncargo test --locked\n"]
        {
            assert!(readme_has_the_test_command(bad, "cargo test --locked").is_some(), "{bad}");
        }
    }
}
