//! Figures: a line each for people, or all of them as JSON.

use serde::Serialize;

/// One measured figure.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    /// The part it belongs to and what it is of.
    pub(crate) name: String,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    /// What the figure is made of, in absolute numbers.
    pub(crate) from: String,
    pub(crate) goal: Option<&'static str>,
}

/// Prints figures as they come, or all at the end.
#[derive(Debug)]
pub(crate) struct Report {
    json: bool,
    machine: serde_json::Map<String, serde_json::Value>,
    figures: Vec<Figure>,
}

impl Report {
    pub(crate) fn start(json: bool, machine: &[(&str, String)]) -> Self {
        if !json {
            let parts: Vec<_> = machine.iter().map(|(name, value)| format!("{name} {value}")).collect();
            println!("{}", parts.join(", "));
        }
        let machine = machine.iter().map(|(name, value)| ((*name).to_owned(), value.clone().into()));
        Self { json, machine: machine.collect(), figures: Vec::new() }
    }

    pub(crate) fn add(&mut self, figure: Figure) {
        if !self.json {
            let goal = figure.goal.map(|goal| format!("   goal {goal}")).unwrap_or_default();
            println!("{:<52} {:>8.2} {:<4}{goal}", figure.name, figure.value, figure.unit);
            if !figure.from.is_empty() {
                println!("    {}", figure.from);
            }
        }
        self.figures.push(figure);
    }

    pub(crate) fn finish(&self) {
        if self.json {
            println!("{:#}", serde_json::json!({ "machine": self.machine, "figures": self.figures }));
        }
    }
}

/// The middle of `values`; of an even number the upper of the two.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
