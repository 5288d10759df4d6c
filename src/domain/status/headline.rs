//! The status in a line, for a supervisor's list of services.

use super::{ProblemName, Report};
use crate::domain::link::LinkState;
use crate::domain::units::count;

/// Characters that such a list has room for.
const LONGEST: usize = 200;

impl Report {
    /// That all is well, or what is wrong most of all. Without line breaks, which would end it.
    pub fn headline(&self) -> String {
        let line = match self.problems.as_slice() {
            [] => self.well(),
            [worst] => format!("{}: {}", worst.name.as_str(), worst.words),
            [worst, others @ ..] => {
                // The line is what a reload that is refused is told by.
                let refused = ProblemName::ConfigurationRefused;
                let is_refused = others.iter().any(|problem| problem.name == refused);
                let among = if is_refused { format!(", {}", refused.as_str()) } else { String::new() };
                let others = count(others.len() as u64, "other problem");
                format!("{} ({others}{among}): {}", worst.name.as_str(), worst.words)
            }
        };
        line.chars().take(LONGEST).map(|c| if c.is_control() { ' ' } else { c }).collect()
    }

    fn well(&self) -> String {
        let links = self.status.accounts.get(&LinkState::Linked).copied().unwrap_or(0);
        let waiting = self.status.queues.iter().map(|queue| queue.waiting).sum();
        format!("all well: {}, {} waiting", count(links, "link"), count(waiting, "event"))
    }
}
