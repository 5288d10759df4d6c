//! The status page in a browser: the token, what is wrong, an event's life, a dead letter replayed and dropped, words of others, and what a
//! restricted socket shows.

use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::browser::Browser;
use crate::support::configuration::{Configuration, SOCKET, signature};
use crate::support::http::Client;
use crate::support::process::Running;

/// The first failed attempt of an event is its last.
const QUEUE: &str =
    "[[queue]]\nname = \"all\"\nkind = \"embedded\"\nunclaimed = \"deliver\"\nmax_attempts = 1\n";
const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const MARKUP: &str = "<img src=x onerror=document.title='run'>";

/// A daemon whose admin API is on an address, with all rights or with these.
struct House {
    dir: tempfile::TempDir,
    daemon: Running,
}

impl House {
    fn open(rights: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let token = dir.path().join("api.token");
        fs::write(&token, TOKEN).unwrap();
        fs::set_permissions(&token, Permissions::from_mode(0o600)).unwrap();
        let address =
            format!("[[socket]]\nlisten = \"127.0.0.1:0\"\ntoken_file = \"FOLDER/api.token\"\n{rights}");
        let config = Configuration::of(QUEUE).with(SOCKET).with(&address).write(dir.path());
        let daemon = Running::start(&config);
        Self { dir, daemon }
    }

    fn page(&self) -> String {
        format!("http://{}/", self.address())
    }

    fn address(&self) -> SocketAddr {
        self.daemon.address_of("the admin API listens")
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let mut client = Client::unix(&self.dir.path().join("admin.sock")).unwrap();
        let (status, answer) = client.send(method, path, "", body.as_bytes()).unwrap();
        let document: Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(status, 200, "{path}: {document}");
        document
    }

    /// An event of Ring's that its queue could not deliver.
    fn bury(&self, id: &str, account: &str, device: &str) {
        let body = json!({
            "meta": {"request_id": id, "account_id": account},
            "data": {
                "type": "motion_detected",
                "attributes": {"source": device, "source_type": "devices", "sub_type": MARKUP},
            },
        });
        let body = body.to_string();
        assert_eq!(self.daemon.post(&signature(body.as_bytes()), body.as_bytes()), 200);
        let leased = self.call("POST", "/v1/queues/all/lease", &json!({}));
        let nack: Vec<Value> = leased["events"]
            .as_array()
            .unwrap()
            .iter()
            .map(|event| json!({"seq": event["seq"], "why": MARKUP}))
            .collect();
        assert_eq!(nack.len(), 1);
        self.call("POST", "/v1/queues/all/settle", &json!({"lease": leased["lease"], "nack": nack}));
    }

    /// How many dead letters there are, and events that wait.
    fn dead_and_waiting(&self) -> (u64, u64) {
        let status = self.call("GET", "/v1/status", &Value::Null);
        (status["kept"]["dead"].as_u64().unwrap(), status["queues"][0]["waiting"].as_u64().unwrap())
    }
}

/// Keeps a picture where somebody wants to look at it.
fn keep(name: &str, picture: &[u8]) {
    assert!(picture.starts_with(b"\x89PNG") && picture.len() > 10_000, "{} bytes", picture.len());
    if let Some(folder) = std::env::var_os("RINGHOOKD_SCREENSHOTS") {
        fs::write(PathBuf::from(folder).join(format!("{name}.png")), picture).unwrap();
    }
}

fn log_in(browser: &Browser, house: &House) {
    browser.open(&house.page());
    browser.until("it asks for the token", "return !document.getElementById('login').hidden");
    assert_eq!(browser.ask("return document.activeElement.id"), "token");
    browser.type_into("#token", TOKEN);
    browser.click("#login button");
    browser.until("it is let in", "return !document.getElementById('queues').hidden");
}

#[test]
fn an_operator_sees_what_is_wrong_and_mends_it() {
    let Some(browser) = Browser::start() else { return };
    let house = House::open("");
    house.bury("1", "ava1.ring.account.ONE", MARKUP);
    a_wrong_token_lets_nobody_in(&browser, &house);
    log_in(&browser, &house);
    assert_eq!(browser.ask("return location.href"), house.page());
    what_is_wrong_is_shown_as_text(&browser, &house);
    a_replay_and_a_pause(&browser, &house);
    a_drop_wants_two_clicks(&browser, &house);
    it_fits_a_phone(&browser);

    assert_eq!(browser.console(), [""; 0], "no error and no violation of the policy");
    let requested = browser.requested();
    let is_own = |address: &String| address.starts_with(&house.page()) || address.starts_with("data:");
    assert!(requested.len() > 3 && requested.iter().all(is_own), "{requested:?}");
    assert!(requested.iter().all(|address| !address.contains(TOKEN)), "{requested:?}");
}

fn a_wrong_token_lets_nobody_in(browser: &Browser, house: &House) {
    browser.open(&house.page());
    browser.until("it asks for the token", "return !document.getElementById('login').hidden");
    assert_eq!(browser.console(), [""; 0], "nothing is asked without a token");
    browser.type_into("#token", "wrong");
    browser.click("#login button");
    browser.until("it says no", "return document.getElementById('login-wrong').textContent !== ''");
    assert_eq!(browser.ask("return sessionStorage.length"), 0);
    let refused = browser.console();
    assert!(refused.len() == 1 && refused[0].contains("401"), "{refused:?}");
}

fn what_is_wrong_is_shown_as_text(browser: &Browser, house: &House) {
    browser.until(
        "the problem is first",
        "return document.querySelector('#problems li').innerText.includes('became dead letters')",
    );
    let status = house.call("GET", "/v1/status", &Value::Null);
    let problems =
        browser.ask("return [...document.querySelectorAll('#problems .name')].map((p) => p.textContent)");
    let words: Vec<&Value> =
        status["problems"].as_array().unwrap().iter().map(|problem| &problem["words"]).collect();
    assert_eq!(problems, json!(words), "the words of `ringhookd status`");
    browser
        .until("the letter is listed", "return document.querySelectorAll('#letters tbody tr').length === 1");
    let row = browser.ask("return document.querySelector('#letters tbody tr').innerText");
    assert!(row.as_str().unwrap().matches("onerror").count() >= 2, "markup is text: {row}");
    let markup = "return document.images.length + document.querySelectorAll('[onerror]').length";
    assert_eq!(browser.ask(markup), 0);
    keep("light", &browser.screenshot());

    browser.click("#letters tbody tr button[data-life]");
    browser.until("its life is shown", "return document.getElementById('life').open");
    let life = browser.ask("return document.getElementById('life').innerText").to_string();
    for words in ["received from 127.0.0.1", "queue all: dead by uid ", "onerror", "now dead letter"] {
        assert!(life.contains(words), "{words} in {life}");
    }
    browser.click("#life-close");
    browser.until(
        "the event is among the latest",
        "return document.querySelectorAll('#events tbody [data-life]').length === 1",
    );
}

fn a_replay_and_a_pause(browser: &Browser, house: &House) {
    browser.click("#letters td.acts button");
    browser.until("the letter is gone", "return document.querySelectorAll('#letters tbody tr').length === 0");
    browser.until("all is well", "return document.getElementById('state').textContent === 'All well'");
    assert_eq!(house.dead_and_waiting(), (0, 1));
    browser.until(
        "the event waits in its queue",
        "return document.querySelector('#queues td[data-label=Waiting]').textContent.startsWith('1 ')",
    );

    let acts = "#queues td.acts button";
    browser.click(acts);
    browser.until(
        "the queue is paused",
        "return document.querySelector('#queues tbody').innerText.includes('paused for')",
    );
    assert_eq!(house.call("GET", "/v1/status", &Value::Null)["problems"][0]["name"], "queue_paused");
    browser.until(
        "it can go on",
        "return document.querySelector('#queues td.acts button').textContent === 'Resume'",
    );
    browser.click(acts);
    browser.until(
        "the queue goes on",
        "return document.querySelector('#queues tbody').innerText.includes('for readers')",
    );
}

fn a_drop_wants_two_clicks(browser: &Browser, house: &House) {
    house.bury_the_waiting();
    browser.until("it is dead again", "return document.querySelectorAll('#letters tbody tr').length === 1");
    let drop = "#letters td.acts button + button";
    let once =
        format!("const button = document.querySelector('{drop}'); button.click(); return button.textContent");
    assert_eq!(browser.ask(&once), "Really drop?");
    assert_eq!(house.dead_and_waiting(), (1, 0), "one click drops nothing");
    // On a busy machine the second click may come too late, and is a first one then.
    let again = format!(
        "const button = document.querySelector('{drop}'); if (button && !button.disabled) button.click(); return !button"
    );
    browser.until("it is dropped", &again);
    assert_eq!(house.dead_and_waiting(), (0, 0));
}

fn it_fits_a_phone(browser: &Browser) {
    let dark = json!({"features": [{"name": "prefers-color-scheme", "value": "dark"}]});
    browser.command("Emulation.setEmulatedMedia", &dark);
    let phone = json!({"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": true});
    browser.command("Emulation.setDeviceMetricsOverride", &phone);
    browser.until("a phone need not scroll aside", "return document.documentElement.scrollWidth <= 390");
    keep("dark-phone", &browser.screenshot());
}

impl House {
    fn bury_the_waiting(&self) {
        let leased = self.call("POST", "/v1/queues/all/lease", &json!({}));
        let seq = &leased["events"][0]["seq"];
        let nack = json!({"lease": leased["lease"], "nack": [{"seq": seq, "why": "again"}]});
        self.call("POST", "/v1/queues/all/settle", &nack);
    }
}

#[test]
fn a_restricted_socket_shows_its_users_things_and_no_buttons() {
    let Some(browser) = Browser::start() else { return };
    let house =
        House::open("calls = [\"status\", \"accounts.read\", \"dead-letters.read\"]\nusers = [\"ann\"]\n");
    for user in ["ann", "bob"] {
        let account = format!("ava1.ring.account.OF-{user}");
        let entry =
            json!({"account_id": account, "user": user, "refresh_token": format!("made-up-token-of-{user}")});
        house.call("POST", "/v1/accounts", &entry);
        house.bury(user, &account, &format!("door-of-{user}"));
    }
    log_in(&browser, &house);
    browser.until(
        "Ann's letter is listed",
        "return document.querySelectorAll('#letters tbody tr').length === 1",
    );
    browser.until("Ann's link is listed", "return document.querySelectorAll('#links tbody tr').length === 1");
    let text = browser.text();
    for own in ["ava1.ring.account.OF-ann", "door-of-ann", "This socket sees only some"] {
        assert!(text.contains(own), "{own} in {text}");
    }
    assert!(!text.contains("bob"), "{text}");
    let buttons = "return [...document.querySelectorAll('main button')].filter((button) => button.checkVisibility()).map((b) => b.textContent)";
    assert_eq!(browser.ask(buttons), json!([]));
    assert_eq!(browser.console(), [""; 0], "it asks nothing that it may not");
}
