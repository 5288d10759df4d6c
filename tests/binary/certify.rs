//! `certify`, and the test events that the daemon makes for it: they leave nothing, and no sender can make one.

use std::fs;
use std::process::Command;

use ringhookd::domain::signature::sign;
use ringhookd::sim::{Options, Ring};
use serde_json::{Value, json};

use crate::support::broker::{Broker, program};
use crate::support::certificates::{Authority, Pair, VALID};
use crate::support::configuration::{KEY, signature};
use crate::support::front::{Does, Front};
use crate::support::http::{exchange, request};
use crate::support::installation::{Installation, Ran};
use crate::support::process::{Running, ringhookd};

const NARROW: &str = "[[socket]]\npath = \"FOLDER/narrow.sock\"\ncalls = [\"status\", \"inspect\"]\n";

fn announced(installation: &Installation) -> Value {
    let (status, said) = installation.call("admin.sock", "POST", "/v1/test-events", "");
    assert_eq!(status, 200, "{said}");
    serde_json::from_str(&said).unwrap()
}

/// All that the daemon knows of.
fn accounts(status: &Value) -> u64 {
    status["accounts"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum()
}

fn letters(installation: &Installation) -> usize {
    let listed = installation.run(&["--json", "dead-letters", "list"]);
    assert_eq!(listed.code, 0, "{listed:?}");
    listed.out.lines().count()
}

#[test]
fn a_test_event_leaves_nothing() {
    let installation = Installation::new(Ring::start(Options::default()).unwrap(), NARROW);
    let daemon = installation.serve();
    assert_eq!(installation.call("narrow.sock", "POST", "/v1/test-events", "").0, 403);
    let event = announced(&installation);
    let body = event["body"].as_str().unwrap().as_bytes();
    // Nothing has proven the key yet, so any other forgery would be 503.
    let forged = format!("X-Signature: {}\r\n", sign(b"another key", body));
    assert_eq!(daemon.post(&forged, body), 401);
    for _ in 0..2 {
        assert_eq!(daemon.post(&signature(body), body), 200);
    }
    let code = format!("code={}", event["code"].as_str().unwrap());
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let token = |code: &str| exchange(daemon.address(), &request("POST", "/ring/token", form, code));
    assert_eq!(token(&code).status(), 200);
    let status = installation.report();
    assert_eq!(status["webhooks"]["outcomes"], json!({"test_event": 2, "test_forged": 1}));
    assert_eq!(status["webhooks"]["refusals"], json!({}), "{status}");
    assert_eq!(
        status["webhook_keys"][0]["verified_at"],
        Value::Null,
        "only Ring proves that a key is Ring's"
    );
    assert_eq!((&status["queues"][0]["waiting"], accounts(&status)), (&json!(0), 0), "{status}");
    assert_eq!(status["intake"]["last_webhook"], Value::Null, "{status}");
    assert_eq!(letters(&installation), 0);
    assert!(installation.ring().exchanges().is_empty(), "the code went nowhere");
    let known = installation.json(&["inspect", event["id"].as_str().unwrap()]);
    assert_eq!(known["event"], Value::Null);
    let mut requests: Vec<(&str, u64)> = known["requests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|request| (request["outcome"].as_str().unwrap(), request["count"].as_u64().unwrap()))
        .collect();
    requests.sort_unstable();
    assert_eq!(requests, [("test_event", 2), ("test_forged", 1)]);
}

#[test]
fn what_a_sender_makes_is_kept_whatever_it_says_of_itself() {
    let installation = Installation::new(Ring::start(Options::default()).unwrap(), "");
    let daemon = installation.serve();
    let event = announced(&installation);
    let (id, body) = (event["id"].as_str().unwrap(), event["body"].as_str().unwrap());
    let send = |body: &str| {
        let headers = format!("{}X-Ringhookd-Test: {id}\r\n", signature(body.as_bytes()));
        assert_eq!(daemon.post(&headers, body.as_bytes()), 200, "{body}");
    };
    // A genuine event with the mark, and with the id of the test event in all its places.
    send(&format!(
        r#"{{"meta":{{"request_id":"{id}","account_id":"a"}},"data":{{"type":"button_press","id":"{id}"}}}}"#
    ));
    assert_eq!(installation.report()["webhooks"]["outcomes"], json!({"accepted": 1}));
    assert_eq!(accounts(&installation.report()), 1);
    // The test event, but for one byte.
    send(&format!("{body} "));
    assert_eq!(
        (installation.report()["webhooks"]["outcomes"]["quarantined"].clone(), letters(&installation)),
        (json!(1), 1)
    );
    daemon.stop();
    // A daemon that did not make it keeps it, too, where it reaches no queue.
    let daemon = installation.serve();
    assert_eq!(daemon.post(&signature(body.as_bytes()), body.as_bytes()), 200);
    assert_eq!(letters(&installation), 2);
    let status = installation.report();
    assert_eq!((&status["queues"][0]["waiting"], accounts(&status)), (&json!(0), 1));
    let forged = format!("X-Signature: {}\r\n", sign(format!("{KEY}x").as_bytes(), body.as_bytes()));
    assert!([401, 503].contains(&daemon.post(&forged, body.as_bytes())));
}

/// A daemon, and commands that trust the authority of its front's certificate beside no other.
struct Behind {
    installation: Installation,
    daemon: Running,
    authority: Authority,
}

impl Behind {
    fn new() -> Self {
        Self::with("")
    }

    /// With more of the configuration, which may name a certificate of the authority.
    fn with(settings: &str) -> Self {
        let installation = Installation::new(Ring::start(Options::default()).unwrap(), settings);
        let authority = Authority::new("an authority");
        fs::write(installation.path("ca.pem"), &authority.ca).unwrap();
        authority.sign("a daemon", &["localhost"], VALID).write(installation.path("").as_path());
        Self { daemon: installation.serve(), installation, authority }
    }

    fn pair(&self, years: (i32, i32)) -> Pair {
        self.authority.sign("a front", &["localhost"], years)
    }

    fn front(&self, does: Does) -> Front {
        Front::start(self.daemon.address(), &self.pair(VALID), does)
    }

    fn run(&self, args: &[&str]) -> Ran {
        let config = self.installation.path("config.toml");
        let mut command = ringhookd(&[&["--config", config.to_str().unwrap()], args].concat());
        command.env("SSL_CERT_FILE", self.installation.path("ca.pem")).env_remove("SSL_CERT_DIR");
        Ran::of(command.output().unwrap())
    }

    /// The report; the exit code says the same.
    fn certify(&self, url: &str, more: &[&str]) -> Value {
        let folder = self.installation.path("reports");
        let args = ["--json", "certify", "--url", url, "--folder", folder.to_str().unwrap()];
        let ran = self.run(&[&args, more].concat());
        let report: Value = serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("{ran:?}"));
        assert_eq!(ran.code, i32::from(report["ok"] == false), "{ran:?}");
        report
    }

    /// What is there of an event: nothing, whatever was tried.
    fn nothing_is_kept(&self) {
        let status = self.installation.report();
        assert_eq!((&status["queues"][0]["waiting"], accounts(&status)), (&json!(0), 0), "{status}");
        assert_eq!(letters(&self.installation), 0);
        assert!(self.installation.ring().exchanges().is_empty());
    }
}

/// The words of the findings in this state, but for the address: a name of this machine is refused by Ring. And for the times, which are
/// this machine's own matter.
fn in_state<'r>(report: &'r Value, state: &str) -> Vec<(&'r str, &'r str)> {
    let all = report["findings"].as_array().unwrap().iter();
    let all = all.map(|finding| (finding["check"].as_str().unwrap(), finding));
    let wanted =
        all.filter(|(check, finding)| !["address", "time"].contains(check) && finding["state"] == state);
    wanted.map(|(check, finding)| (check, finding["words"].as_str().unwrap())).collect()
}

#[test]
fn a_good_front_is_told_so_with_the_times_and_the_notes() {
    let behind = Behind::new();
    let front = behind.front(Does::Pass);
    let link = front.url("/ring/link");
    let report = behind.certify(&front.url(""), &["--account-link-url", &link]);
    assert_eq!(in_state(&report, "failed"), [], "{report}");
    let well = in_state(&report, "well");
    for (check, words) in [
        ("certificate", "TLS 1.3, the chain leads to a CA that is trusted here, and it ends in "),
        ("tls", "TLS 1.2 is taken"),
        ("tls", "TLS 1.3 is taken"),
        ("tls", "TLS 1.0 is refused"),
        ("tls", "TLS 1.1 is refused"),
        ("front", "Webhook URL, /webhooks/ring: the daemon answers"),
        ("webhook", "a signed event is answered 200"),
        ("webhook", "its duplicate is answered 200"),
        ("webhook", "a forged event is answered 401"),
        ("code", "a code that nobody gave is answered 200"),
        ("link", &front.url("/sign-in")),
    ] {
        assert!(well.iter().any(|(at, said)| *at == check && said.contains(words)), "{words}: {report}");
    }
    let time =
        report["findings"].as_array().unwrap().iter().find(|finding| finding["check"] == "time").unwrap();
    assert!(time["words"].as_str().unwrap().contains("6 answers, the slowest after "), "{time}");
    assert_eq!(report["took_ms"].as_array().unwrap().len(), 6);
    assert_eq!(report["addresses"][0]["url"], front.url("/webhooks/ring"));
    let text = fs::read_to_string(report["report"].as_str().unwrap()).unwrap();
    assert!(text.contains("## Times to answer") && text.contains("a forged event is answered 401"), "{text}");
    let notes = report["notes"].as_array().unwrap();
    assert_eq!(notes.len(), 3);
    for note in notes {
        let text = fs::read_to_string(note["file"].as_str().unwrap()).unwrap();
        assert_eq!(text, note["text"]);
        assert!((20..=4_000).contains(&text.chars().count()), "{text}");
    }
    assert!(notes[1]["text"].as_str().unwrap().contains(&front.url("/ring/token")), "{report}");
    behind.nothing_is_kept();
    assert_eq!(
        behind.installation.report()["webhooks"]["outcomes"],
        json!({"test_event": 5, "test_forged": 1})
    );

    let page = behind.run(&["doctor", "--url", &front.url("")]);
    assert!(page.code == 1 && page.has_line("failed address: Ring refuses localhost"), "{page:?}");
    assert!(page.has_line("well certificate: localhost: TLS 1.3, the chain leads to a CA"), "{page:?}");
    assert!(page.has_line("well front: Webhook URL, /webhooks/ring: the daemon answers"), "{page:?}");
    assert_eq!(page.out.lines().filter(|line| line.starts_with("failed ")).count(), 1, "{page:?}");
}

#[test]
fn a_daemon_that_speaks_https_itself_needs_no_front() {
    let behind =
        Behind::with("[tls]\ncertificate_file = \"FOLDER/tls.pem\"\nkey_file = \"FOLDER/tls.key\"\n");
    let report = behind.certify(&format!("https://localhost:{}", behind.daemon.address().port()), &[]);
    assert_eq!(in_state(&report, "failed"), [], "{report}");
    assert_eq!(report["took_ms"].as_array().unwrap().len(), 6, "{report}");
    behind.nothing_is_kept();
}

#[test]
fn what_is_wrong_with_a_front_is_told_with_what_to_do() {
    let behind = Behind::new();
    for (does, words, action) in [
        (Does::Forbid, "the front lets it not through (403)", "the bot check"),
        (Does::ChangeBody, "with a signature that does not hold (503)", "byte for byte"),
        (Does::Redirect, "it leads elsewhere (308)", "register the address"),
        (Does::Welcome, "is answered 200, and the daemon did not get it", "answers by itself"),
    ] {
        let report = behind.certify(&behind.front(does).url(""), &[]);
        assert_eq!(report["ok"], false);
        let findings = report["findings"].as_array().unwrap();
        let said = |finding: &&Value, field: &str, words: &str| {
            finding[field].as_str().is_some_and(|text| text.contains(words))
        };
        let found =
            findings.iter().find(|finding| finding["check"] == "webhook" && finding["state"] == "failed");
        let found = found.unwrap_or_else(|| panic!("{does:?}: {report}"));
        assert!(said(&found, "words", words) && said(&found, "action", action), "{does:?}: {found}");
    }
    behind.nothing_is_kept();
}

#[test]
fn an_answer_that_comes_too_late_is_told() {
    let behind = Behind::new();
    let report = behind.certify(&behind.front(Does::Late).url(""), &[]);
    let late =
        report["findings"].as_array().unwrap().iter().find(|finding| finding["check"] == "time").unwrap();
    assert_eq!(late["state"], "failed", "{report}");
    assert!(report["took_ms"][0].as_u64().unwrap() >= 5_000, "{report}");
}

#[test]
fn a_certificate_that_has_expired_is_told_with_its_date() {
    let behind = Behind::new();
    let front = Front::start(behind.daemon.address(), &behind.pair((2020, 2021)), Does::Pass);
    let report = behind.certify(&front.url(""), &[]);
    let failed = in_state(&report, "failed");
    let expired = "localhost: TLS: the certificate has expired, at 2021-01-01T00:00:00Z";
    assert!(failed.contains(&("certificate", expired)), "{report}");
    assert!(
        failed.iter().any(|(check, words)| *check == "webhook" && words.contains("has expired")),
        "{report}"
    );
    assert!(failed.iter().all(|(check, _)| *check != "tls"), "its versions are not at fault: {report}");
    let page = behind.run(&["doctor", "--url", &front.url("")]);
    assert!(page.code == 1 && page.out.contains(expired), "{page:?}");
}

/// As `examples/front` has it, but for versions of TLS that are out of use.
#[test]
fn nginx_with_old_versions_of_tls_is_found_out() {
    const NGINX: &str = include_str!("../../examples/front/nginx.conf");
    let behind = Behind::new();
    let (pair, daemon) = (behind.pair(VALID), behind.daemon.address().to_string());
    let front = Broker::start(move |folder, port| {
        pair.write(folder);
        let mut site = NGINX.to_owned();
        for (from, to) in [
            ("127.0.0.1:8480", daemon.as_str()),
            ("listen 443 ssl", &format!("listen 127.0.0.1:{port} ssl")),
            ("/etc/ssl/hooks.example.com/fullchain.pem", "FOLDER/tls.pem"),
            ("/etc/ssl/hooks.example.com/privkey.pem", "FOLDER/tls.key"),
            ("TLSv1.2 TLSv1.3;", "TLSv1 TLSv1.1 TLSv1.2 TLSv1.3; ssl_ciphers ALL:@SECLEVEL=0;"),
        ] {
            assert_eq!(site.matches(from).count(), 1, "{from}");
            site = site.replace(from, to);
        }
        let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path FOLDER/{name};\n"));
        let around = format!(
            "daemon off; master_process off; error_log stderr; pid FOLDER/pid;\nevents {{}}\nhttp {{\n{}{site}\n}}\n",
            paths.concat()
        );
        fs::write(folder.join("front.conf"), around.replace("FOLDER", folder.to_str().unwrap())).unwrap();
        let mut command = Command::new(program("nginx", "nginx-light"));
        command.args(["-e", "stderr", "-c"]).arg(folder.join("front.conf"));
        command
    });
    let report = behind.certify(&format!("https://localhost:{}", front.port()), &[]);
    let failed = in_state(&report, "failed");
    assert_eq!(
        failed,
        [
            ("tls", "TLS 1.0 is taken, though it is out of use"),
            ("tls", "TLS 1.1 is taken, though it is out of use")
        ],
        "{report}"
    );
    behind.nothing_is_kept();
}

#[test]
fn it_takes_the_running_daemon_and_the_rights() {
    let installation = Installation::new(Ring::start(Options::default()).unwrap(), NARROW);
    let url = ["certify", "--url", "https://localhost:1"];
    installation.run(&url).is_refused("is the daemon running?");
    let _daemon = installation.serve();
    let narrow = installation.path("narrow.sock");
    installation.run(&[&url[..], &["--socket", narrow.to_str().unwrap()]].concat()).is_refused("certify");
    assert_eq!(installation.run(&["certify"]).code, 2);
}
