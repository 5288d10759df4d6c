//! The report of one certification: what was tried, when, and what came out, for people and for programs.

use std::time::Duration;

use serde::Serialize;

use crate::domain::doctor::{Finding, State, worst};
use crate::domain::time::Millis;

/// An address that is registered at Ring.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Address {
    pub name: &'static str,
    pub url: String,
}

/// All that is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    pub ok: bool,
    pub url: String,
    pub at: Millis,
    pub version: String,
    pub addresses: Vec<Address>,
    /// Milliseconds that each answer to a test event took.
    pub took_ms: Vec<u64>,
    pub findings: Vec<Finding>,
}

impl Report {
    /// Nothing is found yet.
    pub fn new(url: String, at: Millis, addresses: Vec<Address>) -> Self {
        let version = env!("RINGHOOKD_VERSION").to_owned();
        Self { ok: true, url, at, version, addresses, took_ms: Vec::new(), findings: Vec::new() }
    }

    pub fn add(&mut self, found: impl IntoIterator<Item = Finding>) {
        self.findings.extend(found);
        self.ok = worst(&self.findings) < State::Failed;
    }

    /// How long each answer took.
    pub fn took(&mut self, took: &[Duration]) {
        self.took_ms.extend(took.iter().map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX)));
    }

    pub fn slowest(&self) -> Option<Duration> {
        self.took_ms.iter().max().map(|ms| Duration::from_millis(*ms))
    }

    /// Of its file, by the day and the second.
    pub fn file(&self) -> String {
        let at: String = self.at.rfc3339().chars().take(19).filter(|c| !"-:".contains(*c)).collect();
        format!("certify-{at}Z.md")
    }

    pub fn markdown(&self) -> String {
        let mut lines = vec![
            format!("# {}, as Ring's reviewers see it", self.url),
            String::new(),
            format!("Made by ringhookd {} at {}.", self.version, self.at.rfc3339()),
            if self.ok { "Nothing fails." } else { "**Something fails.**" }.to_owned(),
            String::new(),
            "## Addresses to register".to_owned(),
            String::new(),
        ];
        lines.extend(self.addresses.iter().map(|Address { name, url }| format!("- {name}: `{url}`")));
        lines.extend([String::new(), "## Findings".to_owned(), String::new()]);
        for Finding { check, state, words, action } in &self.findings {
            lines.push(format!("- **{}** {check}: {}", state.as_str(), plain(words)));
            lines.extend(action.iter().map(|action| format!("  Do: {}.", plain(action))));
        }
        let took: Vec<String> = self.took_ms.iter().map(|ms| format!("{ms} ms")).collect();
        lines.extend([String::new(), "## Times to answer".to_owned(), String::new()]);
        lines.push(if took.is_empty() { "None.".to_owned() } else { took.join(", ") });
        lines.push(String::new());
        lines.join("\n")
    }
}

/// Without line ends and what Markdown takes for its own.
fn plain(text: &str) -> String {
    let escaped = |c: char| if "*_<>`[]".contains(c) { format!("\\{c}") } else { c.to_string() };
    text.chars().filter(|c| !c.is_control()).map(escaped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_has_its_date_each_finding_and_each_time() {
        let findings = vec![
            Finding::well("time", "2 answers"),
            Finding::failed("webhook", "a *star*\nand a line").so("look at the front"),
        ];
        let addresses = vec![Address { name: "Webhook URL", url: "https://x/hook".into() }];
        let mut report = Report::new("https://x".into(), Millis(1_800_000_000_000), addresses);
        report.add(findings);
        report.took(&[4, 17].map(Duration::from_millis));
        assert_eq!(report.slowest(), Some(Duration::from_millis(17)));
        assert_eq!((report.ok, report.file().as_str()), (false, "certify-20270115T080000Z.md"));
        let text = report.markdown();
        for part in [
            "at 2027-01-15T08:00:00Z.",
            "**Something fails.**",
            "- Webhook URL: `https://x/hook`",
            "- **failed** webhook: a \\*star\\*and a line\n  Do: look at the front.\n",
            "4 ms, 17 ms",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
