//! The Grafana dashboard asks for series that there are, and Prometheus understands each of its expressions.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use serde_json::{Value, json};

const DASHBOARD: &str = include_str!("../../examples/grafana/ringhookd.json");
const METRICS: &str = include_str!("../../docs/METRICS.md");

/// Each expression with its panel, and with what Grafana puts in for its variables.
fn expressions() -> Vec<(String, String)> {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let mut found = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let expression = target["expr"].as_str().unwrap();
            let filled = expression.replace("$__rate_interval", "5m").replace("$instance", ".*");
            assert!(!filled.contains('$'), "no such variable: {expression}");
            found.push((panel["title"].as_str().unwrap().to_owned(), filled));
        }
    }
    assert!(found.len() > 20, "they were found");
    found
}

/// The metrics in an expression, by the names that the documentation uses.
fn named(expression: &str) -> BTreeSet<&str> {
    let starts = expression.match_indices("ringhookd_").map(|(at, _)| &expression[at..]);
    let names =
        starts.map(|rest| rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap());
    let without_end =
        |name| ["_total", "_bucket"].into_iter().find_map(|end| str::strip_suffix(name, end)).unwrap_or(name);
    names.map(without_end).collect()
}

#[test]
fn the_dashboard_asks_for_metrics_that_are_documented() {
    let mut shown = BTreeSet::new();
    let expressions = expressions();
    for (panel, expression) in &expressions {
        let names = named(expression);
        assert!(!names.is_empty(), "{panel}");
        for name in names {
            assert!(METRICS.contains(&format!("| `{name}` |")), "{panel}: there is no {name}");
            shown.insert(name);
        }
    }
    for name in [
        "ringhookd_webhooks",
        "ringhookd_answer_duration_seconds",
        "ringhookd_queue_waiting_events",
        "ringhookd_queue_oldest_age_seconds",
        "ringhookd_off_queue_records",
        "ringhookd_refreshes",
        "ringhookd_accounts",
        "ringhookd_nearest_lapse_seconds",
        "ringhookd_log_lines_lost",
    ] {
        assert!(shown.contains(name), "{name} is not shown");
    }
}

#[test]
fn prometheus_understands_the_dashboard() {
    let rules: Vec<Value> = expressions()
        .iter()
        .enumerate()
        .map(|(number, (_, expression))| json!({"record": format!("dashboard:{number}"), "expr": expression}))
        .collect();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("rules.yml");
    // JSON is YAML, too.
    fs::write(&file, json!({"groups": [{"name": "dashboard", "rules": rules}]}).to_string()).unwrap();
    let Ok(checked) = Command::new("promtool").args(["check", "rules"]).arg(&file).output() else {
        let ci = std::env::var_os("CI").is_some_and(|ci| ci == "true");
        assert!(!ci, "in CI this test needs promtool (Debian: prometheus)");
        println!("not tried: that takes promtool");
        return;
    };
    assert!(checked.status.success(), "{checked:?}");
}
