//! A browser without a screen: Chromium, driven by `chromedriver` over `WebDriver`'s HTTP and JSON.

use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use data_encoding::BASE64;
use ringhookd::clock;
use serde_json::{Value, json};

use super::http::Client;

/// Far more than anything takes; only a hang meets it.
const PATIENCE: Duration = Duration::from_mins(1);

/// How an element is named in an answer.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// One window, which is closed when it is dropped.
pub(crate) struct Browser {
    driver: Child,
    address: SocketAddr,
    session: String,
    profile: tempfile::TempDir,
}

impl Browser {
    /// None where there is no Chromium, which is a failure in CI.
    pub(crate) fn start() -> Option<Self> {
        let driver =
            Command::new("chromedriver").arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let Ok(mut driver) = driver else {
            let ci = std::env::var_os("CI").is_some_and(|ci| ci == "true");
            assert!(
                !ci,
                "in CI this test needs chromedriver and chromium (Debian: chromium-driver, chromium)"
            );
            println!("not tried in a browser: that takes chromedriver and chromium");
            return None;
        };
        let mut said = BufReader::new(driver.stdout.take().unwrap());
        let mut line = String::new();
        let port = loop {
            line.clear();
            assert!(said.read_line(&mut line).unwrap() > 0, "chromedriver ended before it was ready");
            if let Some((_, port)) = line.split_once("started successfully on port ") {
                break port.trim_end().trim_end_matches('.').parse().unwrap();
            }
        };
        // What it says later must go somewhere.
        std::thread::spawn(move || io::copy(&mut said, &mut io::sink()));
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let profile = tempfile::tempdir().unwrap();
        let mut browser = Self { driver, address, session: String::new(), profile };
        browser.open_session();
        Some(browser)
    }

    fn open_session(&mut self) {
        let profile = format!("--user-data-dir={}", self.profile.path().display());
        let arguments = [
            "--headless=new",
            // CI is root, whom Chromium's sandbox refuses.
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--window-size=1280,900",
            &profile,
        ];
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": {"args": arguments},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }}});
        let made = self.send("POST", "/session", &wanted);
        made["sessionId"].as_str().unwrap().clone_into(&mut self.session);
    }

    fn send(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = if method == "POST" { body.to_string() } else { String::new() };
        let (status, answer) = self.try_send(method, path, &body).unwrap();
        let mut document: Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(status, 200, "{method} {path}: {document}");
        document["value"].take()
    }

    fn try_send(&self, method: &str, path: &str, body: &str) -> io::Result<(u16, Vec<u8>)> {
        let kind = "Content-Type: application/json\r\n";
        Client::patient(self.address)?.send_to("localhost", method, path, kind, body.as_bytes())
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        self.send("POST", &format!("/session/{}{path}", self.session), body)
    }

    pub(crate) fn open(&self, address: &str) {
        self.post("/url", &json!({"url": address}));
    }

    /// What a function's body returns in the page.
    pub(crate) fn ask(&self, script: &str) -> Value {
        self.post("/execute/sync", &json!({"script": script, "args": []}))
    }

    /// Waits until a script says true.
    pub(crate) fn until(&self, what: &str, script: &str) {
        let deadline = clock::ticks() + PATIENCE;
        while self.ask(script) != true {
            assert!(clock::ticks() < deadline, "not so: {what}. The page says:\n{}", self.text());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// All that a person can read.
    pub(crate) fn text(&self) -> String {
        self.ask("return document.body.innerText").as_str().unwrap().to_owned()
    }

    fn element(&self, selector: &str) -> String {
        let found = self.post("/element", &json!({"using": "css selector", "value": selector}));
        found[ELEMENT].as_str().unwrap().to_owned()
    }

    /// Clicks as a person does: on what is visible and not covered.
    pub(crate) fn click(&self, selector: &str) {
        let element = self.element(selector);
        self.post(&format!("/element/{element}/click"), &json!({}));
    }

    pub(crate) fn type_into(&self, selector: &str, text: &str) {
        let element = self.element(selector);
        self.post(&format!("/element/{element}/value"), &json!({"text": text}));
    }

    /// A command of Chromium's own protocol.
    pub(crate) fn command(&self, name: &str, parameters: &Value) -> Value {
        self.post("/goog/cdp/execute", &json!({"cmd": name, "params": parameters}))
    }

    /// A picture of the window, as PNG.
    pub(crate) fn screenshot(&self) -> Vec<u8> {
        let picture = self.send("GET", &format!("/session/{}/screenshot", self.session), &Value::Null);
        BASE64.decode(picture.as_str().unwrap().as_bytes()).unwrap()
    }

    /// What the console has said since it was asked last.
    pub(crate) fn console(&self) -> Vec<String> {
        let lines = self.post("/se/log", &json!({"type": "browser"}));
        lines.as_array().unwrap().iter().map(|line| line["message"].as_str().unwrap().to_owned()).collect()
    }

    /// The addresses that were asked for since this was asked last, but for those of the browser's own first page.
    pub(crate) fn requested(&self) -> Vec<String> {
        let lines = self.post("/se/log", &json!({"type": "performance"}));
        let sent = lines.as_array().unwrap().iter().filter_map(|line| {
            let event: Value = serde_json::from_str(line["message"].as_str().unwrap()).unwrap();
            let event = &event["message"];
            (event["method"] == "Network.requestWillBeSent")
                .then(|| event["params"]["request"]["url"].clone())
        });
        let addresses = sent.map(|address| address.as_str().unwrap().to_owned());
        addresses.filter(|address| !address.starts_with("chrome:")).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Without this Chromium would outlive its driver. A test that fails has said enough already.
        let _ = self.try_send("DELETE", &format!("/session/{}", self.session), "");
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
