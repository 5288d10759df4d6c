//! A file as the rules see it: its lines, the same lines with comments and strings blanked, and which belong to tests.

use std::fmt;
use std::fs;
use std::path::Path;

/// Folders that are built or downloaded, not written.
const NOT_OURS: [&str; 3] = [".git", "target", "ringhookd-data"];

pub(crate) struct Source {
    /// From the root of the project, with `/`.
    pub(crate) path: String,
    pub(crate) lines: Vec<Line>,
}

pub(crate) struct Line {
    pub(crate) text: String,
    /// `text` with comments and the content of literals blanked, column by column.
    pub(crate) code: String,
    /// Whether it belongs to a `#[cfg(test)]` module.
    pub(crate) test: bool,
}

/// What is wrong, and where.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Complaint(pub(crate) String);

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let code = if is_rust(path) { blank(text) } else { text.to_owned() };
        let pairs = text.lines().zip(code.lines());
        let lines = pairs.map(|(text, code)| Line { text: text.into(), code: code.into(), test: false });
        let mut source = Self { path: path.to_owned(), lines: lines.collect() };
        source.mark_tests();
        source
    }

    /// Lines that are not tests, numbered from 1.
    pub(crate) fn production(&self) -> impl Iterator<Item = (usize, &Line)> {
        self.lines.iter().enumerate().filter(|(_, line)| !line.test).map(|(at, line)| (at + 1, line))
    }

    pub(crate) fn complain(&self, line: usize, what: impl fmt::Display) -> Complaint {
        Complaint(format!("{}:{line}: {what}", self.path))
    }

    fn mark_tests(&mut self) {
        let whole = self.path.ends_with("/tests.rs") || self.path.contains("/tests/");
        let mut at = 0;
        while at < self.lines.len() {
            let end = if whole { at } else { self.end_of_tests(at).unwrap_or(at) };
            let test = whole || end > at;
            self.lines[at..=end].iter_mut().for_each(|line| line.test = test);
            at = end + 1;
        }
    }

    /// The last line of the test module whose attribute is on line `at`.
    fn end_of_tests(&self, at: usize) -> Option<usize> {
        let attribute = &self.lines[at].code;
        let indent = attribute.len() - attribute.trim_start().len();
        let starts =
            ["#[cfg(test)]", "#[cfg(all(test,"].iter().any(|s| attribute.trim_start().starts_with(s));
        let rest = || self.lines.iter().enumerate().skip(at + 1);
        let (open, head) = rest().find(|(_, line)| !line.code.trim_start().starts_with("#["))?;
        let is_module = head.code.split_whitespace().take(2).any(|word| word == "mod");
        if !starts || !is_module {
            return None;
        }
        if head.code.trim_end().ends_with(';') {
            return Some(open);
        }
        let close = format!("{}}}", " ".repeat(indent));
        rest().find(|(_, line)| line.code.trim_end() == close).map(|(end, _)| end)
    }
}

pub(crate) fn is_rust(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|extension| extension == "rs")
}

/// Every text file of the project, in order of path.
pub(crate) fn read_tree(root: &Path) -> Vec<Source> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a readable folder") {
            let path = entry.expect("a readable entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if NOT_OURS.contains(&name.as_ref()) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = fs::read_to_string(&path) {
                let relative = path.strip_prefix(root).unwrap_or(&path).to_string_lossy();
                files.push(Source::new(&relative, &text));
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

/// Rust source with every character of comments and literals made a space, except line ends and quotes.
fn blank(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let (length, shown) = token(&chars[at..]);
        for (i, &c) in chars[at..at + length].iter().enumerate() {
            let keep = c == '\n' || i < shown || (shown > 0 && length > 1 && i + 1 == length);
            out.push(if keep { c } else { ' ' });
        }
        at += length;
    }
    out
}

/// The length of the next token, and how many of its first characters stay visible (none of a comment).
fn token(rest: &[char]) -> (usize, usize) {
    let starts = |text: &str| text.chars().enumerate().all(|(i, c)| rest.get(i) == Some(&c));
    if starts("//") {
        return (rest.iter().position(|&c| c == '\n').unwrap_or(rest.len()), 0);
    }
    if starts("/*") {
        return (block_comment(rest), 0);
    }
    match rest[0] {
        '"' => (quoted(rest, 1), 1),
        // A lifetime has no closing quote two characters on.
        '\'' if rest.get(1) == Some(&'\\') => (1 + quote_after(&rest[1..]), 1),
        '\'' if rest.get(2) == Some(&'\'') => (3, 1),
        'r' if starts("r\"") || starts("r#") => raw(rest).map_or((word(rest), word(rest)), |end| (end, 1)),
        c if c.is_alphanumeric() || c == '_' => (word(rest), word(rest)),
        _ => (1, 1),
    }
}

/// A whole word; `b` and `c` prefixes of literals are words of their own, `br` is left to the raw string after `b`.
fn word(rest: &[char]) -> usize {
    if rest.len() > 2 && rest[0] == 'b' && rest[1] == 'r' && (rest[2] == '"' || rest[2] == '#') {
        return 1;
    }
    rest.iter().position(|&c| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len()).max(1)
}

fn block_comment(rest: &[char]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        match (rest[at], rest.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn quoted(rest: &[char], from: usize) -> usize {
    let mut at = from;
    while at < rest.len() && rest[at] != '"' {
        at += if rest[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// After the backslash of an escaped character: up to and with its closing quote.
fn quote_after(rest: &[char]) -> usize {
    rest.iter().skip(2).position(|&c| c == '\'').map_or(rest.len(), |i| i + 3)
}

/// The length of a raw string, unless this is a raw identifier.
fn raw(rest: &[char]) -> Option<usize> {
    let hashes = rest[1..].iter().take_while(|&&c| c == '#').count();
    let body = 1 + hashes;
    (rest.get(body) == Some(&'"')).then_some(())?;
    let closes = |at: usize| {
        rest[at] == '"' && rest[at + 1..].iter().take(hashes).filter(|&&c| c == '#').count() == hashes
    };
    let end = (body + 1..rest.len()).find(|&at| closes(at))?;
    Some(end + 1 + hashes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_comments_and_literals_only() {
        for (text, code) in [
            ("a // b\nc", "a     \nc"),
            ("a /* b /* c */ d */ e", "a                   e"),
            (r#"f("x\"y", z)"#, r#"f("    ", z)"#),
            ("g(r#\"a\"b\"#, c)", "g(r      #, c)"),
            ("h(b\"ab\", br\"cd\", 'x', '\\'', '\\u{1}')", "h(b\"  \", br   \", ' ', '  ', '     ')"),
            ("fn i<'a>(j: &'a str) {}", "fn i<'a>(j: &'a str) {}"),
            ("r#type = for_r", "r#type = for_r"),
            ("\"a\nb\" c", "\" \n \" c"),
        ] {
            assert_eq!(blank(text), code, "{text}");
        }
    }

    #[test]
    fn knows_what_is_a_test() {
        let text = "fn a() {}\n#[cfg(test)]\nmod b;\nfn c() {}\n#[cfg(test)]\n#[allow(x)]\nmod tests {\n    fn d() {}\n}\nfn e() {}\n#[cfg(test)]\nfn f() {}";
        let source = Source::new("src/a.rs", text);
        let production: Vec<usize> = source.production().map(|(at, _)| at).collect();
        assert_eq!(production, [1, 4, 10, 11, 12]);
        assert_eq!(Source::new("src/a/tests.rs", text).production().count(), 0);
    }

    #[test]
    fn the_tree_is_ours_and_whole() {
        let folder = tempfile::tempdir().unwrap();
        for path in ["src/a.rs", "target/b.rs", ".ci/run"] {
            fs::create_dir_all(folder.path().join(path).parent().unwrap()).unwrap();
            fs::write(folder.path().join(path), "x").unwrap();
        }
        let paths: Vec<String> = read_tree(folder.path()).into_iter().map(|file| file.path).collect();
        assert_eq!(paths, [".ci/run", "src/a.rs"]);
    }
}
