//! The reference documents say what the code does: no metric and no attribute of an event is missing from them, and none is made up.

use std::collections::BTreeSet;

use ringhookd::domain::access_token::Reason;
use ringhookd::domain::cloudevent::Mark;
use ringhookd::domain::status::ProblemName;
use serde_json::Value;

const EVENTS: &str = include_str!("../../docs/EVENTS.md");
const README: &str = include_str!("../../README.md");
const OPERATE: &str = include_str!("../../docs/OPERATE.md");
const METRICS: &str = include_str!("../../docs/METRICS.md");
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
    calls
        .map(|call| {
            let name = call.split('"').nth(1).unwrap();
            let unit = call.split(&['(', ','][..]).nth(1).and_then(|first| first.strip_prefix("Unit::"));
            let suffix = unit.map(|unit| format!("_{}", unit.to_lowercase())).unwrap_or_default();
            format!("ringhookd_{name}{suffix}")
        })
        .collect()
}

#[test]
fn every_metric_is_documented() {
    let registered = registered();
    assert!(registered.len() > 20, "they were found");
    let documented: BTreeSet<String> = documented(METRICS).into_iter().map(str::to_owned).collect();
    assert_eq!(documented, registered);
}

#[test]
fn every_problem_has_its_entry_in_the_runbook_and_its_name_in_the_description() {
    let names: Vec<&str> = ProblemName::ALL.iter().map(|name| name.as_str()).collect();
    let entries: Vec<&str> = OPERATE.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    assert_eq!(entries, names, "in the order of names");
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
    let tokens = documented(README.split_once("\n## Tokens\n").unwrap().1);
    // These are why Ring has not been told of a link, or has not told of an account.
    let elsewhere = [Reason::ApiDown, Reason::UsersMe];
    for reason in Reason::ALL {
        assert!(tokens.contains(reason.as_str()) != elsewhere.contains(&reason), "{}", reason.as_str());
    }
}
