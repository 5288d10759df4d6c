//! The reference documents say what the code does: no metric and no attribute of an event is missing from them, and none is made up.

use std::collections::BTreeSet;

use ringhookd::domain::access_token::Reason;
use ringhookd::domain::marks::Mark;
use ringhookd::domain::status::ProblemName;
use ringhookd::telemetry::{ListenerName, Metrics};
use serde_json::Value;

const EVENTS: &str = include_str!("../../docs/EVENTS.md");
const TOKENS: &str = include_str!("../../docs/TOKENS.md");
const RULES: &str = include_str!("../../examples/prometheus/ringhookd.rules.yml");
const OPERATE: &str = include_str!("../../docs/OPERATE.md");
const METRICS: &str = include_str!("../../docs/METRICS.md");
const PAGE: &str = include_str!("../../src/admin/page.html");
const OPENAPI: &str = include_str!("../../docs/openapi.json");
const TELEMETRY: &str = include_str!("../../src/telemetry.rs");

/// The names in the first columns of a document's tables.
fn documented(text: &str) -> BTreeSet<&str> {
    let rows = text.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" |"));
    rows.flat_map(|(names, _)| names.split('`').skip(1).step_by(2)).collect()
}

/// The metrics that are registered, with the suffix of their unit.
fn registered() -> BTreeSet<String> {
    let calls = TELEMETRY.split("names.add").skip(1);
    let mut names = BTreeSet::new();
    for name in calls.map(metric) {
        assert!(names.insert(name.clone()), "{name} is registered twice");
    }
    names
}

/// The metric of a registering call.
fn metric(call: &str) -> String {
    let name = call.split('"').nth(1).unwrap();
    let unit = call.split(&['(', ','][..]).nth(1).and_then(|first| first.strip_prefix("Unit::"));
    let suffix = unit.map(|unit| format!("_{}", unit.to_lowercase())).unwrap_or_default();
    format!("ringhookd_{name}{suffix}")
}

#[test]
fn every_metric_is_documented() {
    let registered = registered();
    assert!(registered.len() > 20, "they were found");
    let (metrics, _alerts) = METRICS.split_once("\n## Alerts to set\n").unwrap();
    let documented: BTreeSet<String> = documented(metrics).into_iter().map(str::to_owned).collect();
    assert_eq!(documented, registered);
}

/// The headings of a runbook's entries.
fn entries(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.strip_prefix("### ")).collect()
}

/// The metrics of an expression, each with its labels' values: `("name", [("label", "value")])`.
fn selected(expression: &str) -> Vec<(&str, Vec<(&str, &str)>)> {
    let starts = expression.match_indices("ringhookd_").map(|(at, _)| &expression[at..]);
    starts
        .map(|rest| {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            let (name, rest) = rest.split_at(end);
            let braces = rest.strip_prefix('{').map_or("", |rest| rest.split_once('}').unwrap().0);
            let pairs = braces.split(", ").filter(|pair| !pair.is_empty());
            let values = pairs.flat_map(|pair| {
                let (label, values) = pair.split_once('=').unwrap();
                values.trim_start_matches('~').trim_matches('"').split('|').map(move |value| (label, value))
            });
            (name, values.collect())
        })
        .collect()
}

#[test]
fn every_alert_reads_series_that_there_are_and_leads_to_an_entry() {
    let metrics = Metrics::default();
    metrics.http(ListenerName::Public);
    // As one with TLS.
    metrics.certificate_end();
    let rendered = metrics.render();
    let rules: Vec<&str> = RULES.split("- alert: ").skip(1).collect();
    assert!(rules.len() > 10, "they were found");
    let (mut alerting, entries) = (Vec::new(), entries(OPERATE));
    for rule in rules {
        let part = |key: &str| rule.lines().find_map(|line| line.trim().strip_prefix(key)).unwrap().trim();
        let series = selected(part("expr:"));
        assert!(!series.is_empty() || part("expr:").starts_with("up{"), "{rule}");
        for (name, labels) in series {
            let lines = || rendered.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
            assert!(lines().next().is_some(), "there is no {name}");
            for (label, value) in labels {
                let pair = format!("{label}=\"{value}\"");
                assert!(lines().any(|line| line.contains(&pair)), "{name} has no {pair}");
                if name == "ringhookd_problems" {
                    alerting.push(value);
                }
            }
        }
        let leads_to = part("runbook:").trim_matches('"').strip_prefix("docs/OPERATE.md#").unwrap();
        let of_label = leads_to == "{{ $labels.name }}" && part("expr:").starts_with("ringhookd_problems{");
        assert!(of_label || entries.contains(&leads_to), "there is no entry {leads_to}");
    }
    let mut problems: Vec<&str> = ProblemName::ALL.iter().map(|name| name.as_str()).collect();
    problems.sort_unstable();
    alerting.sort_unstable();
    assert_eq!(alerting, problems, "each problem alerts once");
}

/// The page marks a problem as urgent where an alert is critical.
#[test]
fn the_status_page_has_the_urgent_problems_of_the_alerts() {
    let names = |text: &'static str, start: &str, end: &str| {
        text.split_once(start).unwrap().1.split_once(end).unwrap().0
    };
    let of_page: BTreeSet<&str> =
        names(PAGE, "URGENT = new Set([", "])").split('"').skip(1).step_by(2).collect();
    let of_rules = names(RULES, "RinghookdProblemUrgent\n        expr: ringhookd_problems{name=~\"", "\"");
    assert_eq!(of_page, of_rules.split('|').collect());
}

#[test]
fn every_problem_has_its_entry_in_the_runbook_and_its_name_in_the_description() {
    let names: Vec<&str> = ProblemName::ALL.iter().map(|name| name.as_str()).collect();
    let (problems, _) = OPERATE.split_once("\n## Alerts\n").unwrap();
    assert_eq!(entries(problems), names, "in the order of names");
    let openapi: Value = serde_json::from_str(OPENAPI).unwrap();
    let described = &openapi["components"]["schemas"]["Problem"]["properties"]["name"]["enum"];
    assert_eq!(*described, serde_json::json!(names));
}

#[test]
fn every_attribute_and_mark_of_an_event_is_documented() {
    let openapi: Value = serde_json::from_str(OPENAPI).unwrap();
    let attributes = openapi["components"]["schemas"]["CloudEvent"]["properties"].as_object().unwrap();
    let marks = Mark::ALL.iter().map(|mark| mark.name());
    let known: BTreeSet<&str> = attributes.keys().map(String::as_str).chain(marks).collect();
    assert_eq!(documented(EVENTS), known);
}

#[test]
fn every_reason_why_there_is_no_access_token_is_documented() {
    let tokens = documented(TOKENS);
    // These are why Ring has not been told of a link, or has not told of an account.
    let elsewhere = [Reason::ApiDown, Reason::UsersMe];
    for reason in Reason::ALL {
        assert!(tokens.contains(reason.as_str()) != elsewhere.contains(&reason), "{}", reason.as_str());
    }
}
