//! The alert rules on series of a real run: a daemon is brought into trouble and scraped on the way, and promtool says which alerts fire.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::configuration::{Configuration, SOCKET, signature};
use crate::support::http::{Client, exchange, request};
use crate::support::installation::soon;
use crate::support::process::{Running, run};

const RULES: &str = include_str!("../../examples/prometheus/ringhookd.rules.yml");
/// So many minutes the last scrape stays as it is: longer than an alert of the problems waits.
const LASTS: usize = 30;

/// The series of scrapes, one a minute: what each said of a series, where it was there.
#[derive(Default)]
struct Series {
    values: BTreeMap<String, Vec<Option<String>>>,
    scrapes: usize,
}

impl Series {
    fn add(&mut self, text: &str) {
        for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let values = self.values.entry(name.to_owned()).or_default();
            values.resize(self.scrapes, None);
            values.push(Some(value.to_owned()));
        }
        self.scrapes += 1;
    }

    /// As promtool reads them, with the labels that Prometheus adds.
    fn input(&self) -> Vec<Value> {
        let found = self.values.iter().map(|(name, values)| {
            let target = "job=\"ringhookd\", instance=\"here\"";
            let name = match name.split_once('{') {
                Some((name, labels)) => format!("{name}{{{target}, {labels}"),
                None => format!("{name}{{{target}}}"),
            };
            let mut points: Vec<String> =
                values.iter().map(|value| value.clone().unwrap_or_else(|| "_".into())).collect();
            if let (true, Some(Some(last))) = (values.len() == self.scrapes, values.last()) {
                points.push(format!("{last}x{LASTS}"));
            }
            json!({"series": name, "values": points.join(" ")})
        });
        let up = json!({"series": "up{job=\"ringhookd\", instance=\"here\"}", "values": format!("1x{}", self.scrapes + LASTS)});
        found.chain([up]).collect()
    }
}

fn promtool(args: &[&str], input: &Path) -> Option<std::process::Output> {
    let ran = Command::new("promtool").args(args).arg(input).output();
    if ran.is_err() {
        let ci = std::env::var_os("CI").is_some_and(|ci| ci == "true");
        assert!(!ci, "in CI this test needs promtool (Debian: prometheus)");
        println!("not tried: that takes promtool");
    }
    ran.ok()
}

/// An alert of the problems, as it fires.
fn problem(name: &str) -> Value {
    json!({
        "exp_labels": {"severity": "warning", "job": "ringhookd", "instance": "here", "name": name},
        "exp_annotations": {
            "summary": format!("ringhookd: {name}. `ringhookd status` says more."),
            "runbook": format!("docs/OPERATE.md#{name}"),
        },
    })
}

fn event(id: &str) -> String {
    json!({"meta": {"request_id": id, "account_id": "A"}, "data": {"type": "button_press"}}).to_string()
}

/// A queue whose receiver is down, a dead letter, a forgery, and a POST to a path where nothing is.
fn trouble(folder: &Path) -> Series {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let queues = format!(
        "[[queue]]\nname = \"out\"\nkind = \"http\"\nurl = \"http://{nobody}/\"\nunclaimed = \"deliver\"\n\
         [[queue]]\nname = \"once\"\nkind = \"embedded\"\nunclaimed = \"deliver\"\nmax_attempts = 1\n"
    );
    let configuration = Configuration::of(&queues).with(SOCKET).with("[metrics]\nlisten = \"127.0.0.1:0\"\n");
    let daemon = Running::start(&configuration.write(folder));
    let metrics = daemon.address_of("metrics and probes listen");
    let socket = folder.join("admin.sock");
    let scrape = || exchange(metrics, &request("GET", "/metrics", "", "")).body().to_owned();
    let mut series = Series::default();
    series.add(&scrape());

    // One event, which no queue delivers: a receiver is down, and a reader fails.
    let body = event("1");
    assert_eq!(daemon.post(&signature(body.as_bytes()), body.as_bytes()), 200);
    series.add(&scrape());
    let call = |path: &str, body: &Value| -> Value {
        let answer =
            Client::unix(&socket).unwrap().send("POST", path, "", body.to_string().as_bytes()).unwrap();
        assert_eq!(answer.0, 200, "{path}");
        serde_json::from_slice(&answer.1).unwrap()
    };
    let leased = call("/v1/queues/once/lease", &json!({}));
    let nack = json!({"lease": leased["lease"], "nack": [{"seq": leased["events"][0]["seq"], "why": "no"}]});
    call("/v1/queues/once/settle", &nack);
    // A forgery, which is nobody's trouble, and a POST to a path where nothing is.
    assert_eq!(daemon.post(&format!("X-Signature: sha256={}\r\n", "0".repeat(64)), b"{}"), 401);
    assert_eq!(daemon.send(&request("POST", "/elsewhere", "", "{}")), 404);
    soon("the receiver is seen to be down", || {
        scrape().contains("ringhookd_problems{name=\"queue_stalled\"} 1\n")
    });
    series.add(&scrape());
    series.add(&scrape());
    // What the textfile collector gets is the same, in the older format.
    let file = folder.join("ringhookd.prom");
    let written =
        run(&["metrics", "--socket", socket.to_str().unwrap(), "--textfile", file.to_str().unwrap()], b"");
    assert!(written.status.success() && written.stdout.is_empty(), "{written:?}");
    let text = fs::read_to_string(&file).unwrap();
    for line in
        ["# TYPE ringhookd_webhooks_total counter\n", "ringhookd_webhooks_total{verdict=\"forged\"} 1\n"]
    {
        assert!(text.contains(line), "{line} in {text}");
    }
    assert!(daemon.stop().0.success());
    series
}

#[test]
fn the_alerts_fire_on_what_a_daemon_in_trouble_says_and_no_others_do() {
    let dir = tempfile::tempdir().unwrap();
    let series = trouble(dir.path());
    let fires = BTreeMap::from([
        ("RinghookdProblem", json!([problem("dead_letters"), problem("queue_stalled")])),
        (
            "RinghookdUnmatchedPosts",
            json!([{
                "exp_labels": {"severity": "info", "job": "ringhookd", "instance": "here"},
                "exp_annotations": {
                    "summary": "Something was POSTed to a path where nothing is.",
                    "runbook": "docs/OPERATE.md#unmatched_posts",
                },
            }]),
        ),
    ]);
    let alerts: Vec<&str> = RULES.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 10 && fires.keys().all(|name| alerts.contains(name)), "{alerts:?}");
    let expected = |name: &&str| {
        let alerts = fires.get(name).cloned().unwrap_or_else(|| json!([]));
        json!({"alertname": name, "eval_time": format!("{}m", series.scrapes + LASTS - 5), "exp_alerts": alerts})
    };
    let document = json!({
        "rule_files": ["rules.yml"],
        "evaluation_interval": "1m",
        "tests": [{
            "interval": "1m",
            "input_series": series.input(),
            "alert_rule_test": alerts.iter().map(expected).collect::<Vec<_>>(),
        }],
    });
    fs::write(dir.path().join("rules.yml"), RULES).unwrap();
    // JSON is YAML, too.
    let file = dir.path().join("test.yml");
    fs::write(&file, document.to_string()).unwrap();
    if let Some(tested) = promtool(&["test", "rules"], &file) {
        let said = String::from_utf8_lossy(&tested.stdout) + String::from_utf8_lossy(&tested.stderr);
        assert!(tested.status.success(), "{said}");
    }
}
