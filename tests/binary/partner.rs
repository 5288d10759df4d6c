//! The example partner app: what each browser gets to see, and that only a fresh sign-in ever claims.

pub(crate) mod app;
pub(crate) mod browser;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::thread;

use self::app::{Daemon, PASSWORD, Partner, Reply, command, python};
use self::browser::{Answer, Browser, form_of, raw};
use serde_json::{Value, json};

const LINK: &str = "/ring/link";
const VISIT: &str = "/ring/link?nonce=q1-_Zz09&time=1700000000000";
const COOKIE: &str = "ring_link";

/// Outcome, its status from the daemon, what the title says, whether one can look again.
const OUTCOMES: [(&str, u16, &str, bool); 7] = [
    ("linked", 200, "Your Ring account is linked", false),
    ("already_linked", 200, "Your Ring account is linked already", false),
    ("pending", 202, "Your Ring account is being linked", true),
    ("no_match", 404, "Ring has not told us of your account yet", true),
    ("linked_to_another_user", 409, "Somebody else has linked this Ring account", false),
    ("expired", 410, "This link is too old", false),
    ("refused", 422, "Ring has refused the link", false),
];
const OUT_OF_DATE: (u16, &str) = (403, "This page is out of date");
const WRONG: (u16, &str) = (403, "Wrong user name or password");
const TOO_OFTEN: (u16, &str) = (429, "Too many tries");
const BUSY: (u16, &str) = (503, "We can't tell yet whether your account is linked");
const FAULT: (u16, &str) = (500, "Something is wrong on our side");

fn start() -> (Daemon, Partner) {
    let daemon = Daemon::start();
    let partner = Partner::start(&daemon.socket);
    (daemon, partner)
}

fn seen(answer: &Answer) -> (u16, &str) {
    (answer.status, answer.title())
}

/// Comes from Ring and signs in.
fn link(partner: &Partner) -> (Browser, Answer) {
    let mut browser = Browser::new(partner.address);
    let form = browser.get(VISIT);
    let answer = browser.sign_in(&form, "user-1", PASSWORD);
    (browser, answer)
}

fn claim_of(user: &str) -> (String, Value) {
    let identifier = format!("u***{}@example.com", &user[user.len() - 1..]);
    let body =
        json!({"nonce": "q1-_Zz09", "time": "1700000000000", "user": user, "account_identifier": identifier});
    ("POST /v1/claims HTTP/1.1".into(), body)
}

#[test]
fn each_outcome_has_a_page() {
    let (daemon, partner) = start();
    for (outcome, status, title, again) in OUTCOMES {
        daemon.decides(status, outcome);
        let mut browser = Browser::new(partner.address);
        let form = browser.get(VISIT);
        assert_eq!(seen(&form), (200, "Link your Ring account"));
        assert!(form.asks_for_a_password() && form.body.contains("the account you sign in"));
        form.must_be_accessible();
        assert_eq!(daemon.heard(), []);

        let end = browser.sign_in(&form, "user-1", PASSWORD);
        assert_eq!(seen(&end), (status, title));
        assert_eq!(daemon.heard(), [claim_of("user-1")]);
        assert!(end.body.to_lowercase().contains("return to the ring app"), "{outcome}");
        assert_eq!((end.action().is_some(), end.asks_for_a_password()), (again, false), "{outcome}");
        for word in ["of-the-daemon", "ava1", "user-1", "u***1"] {
            assert!(!end.body.contains(word), "{outcome}: {word}");
        }
        end.must_be_accessible();
        // The form was good for once, whatever came of it.
        assert_eq!(seen(&browser.sign_in(&form, "user-1", PASSWORD)), OUT_OF_DATE, "{outcome}");
        assert_eq!(daemon.heard(), []);
    }
}

#[test]
fn what_is_pending_is_asked_for_again_without_another_sign_in() {
    let (daemon, partner) = start();
    daemon.decides(202, "pending");
    let (mut browser, mut page) = link(&partner);
    for _ in 0..3 {
        let before = (browser.cookies.clone(), page.hidden());
        page = browser.submit(&page, &[("user", "user-2"), ("nonce", "other"), ("time", "1")]);
        assert_eq!(page.status, 202);
        assert!(before.0 != browser.cookies && before.1 != page.hidden(), "both change each time");
    }
    daemon.decides(200, "linked");
    let mut thief = Browser::new(partner.address);
    assert_eq!(seen(&thief.submit(&page, &[])), OUT_OF_DATE);
    assert_eq!(seen(&browser.submit(&page, &[])), (200, "Your Ring account is linked"));
    assert_eq!(daemon.heard(), vec![claim_of("user-1"); 5]);
    assert_eq!(seen(&browser.submit(&page, &[])), OUT_OF_DATE);
    assert_eq!(daemon.heard(), []);
}

#[test]
fn asking_again_is_bounded() {
    let (daemon, partner) = start();
    daemon.decides(404, "no_match");
    let (mut browser, mut page) = link(&partner);
    let mut asked = 0;
    while page.action().is_some() {
        page = browser.submit(&page, &[]);
        asked += 1;
        assert!(asked <= 30);
    }
    assert_eq!((seen(&page), asked), (TOO_OFTEN, 30));
    assert_eq!(daemon.heard().len(), 30);
}

#[test]
fn without_an_outcome_nothing_is_claimed_to_be_linked() {
    let (daemon, partner) = start();
    let error = || r#"{"error":"words-of-the-daemon"}"#.to_owned();
    let outcome = |name: &str| json!({"outcome": name}).to_string();
    for (reply, shown) in [
        (Reply::Json(400, error()), FAULT),
        (Reply::Json(403, error()), FAULT),
        (Reply::Json(404, error()), FAULT),
        (Reply::Json(503, error()), BUSY),
        (Reply::Json(200, outcome("novel")), FAULT),
        (Reply::Json(200, outcome("sign_in")), FAULT),
        (Reply::Json(200, r#"{"outcome":["linked"]}"#.into()), FAULT),
        (Reply::Json(200, "{}".into()), FAULT),
        (Reply::Json(200, "[]".into()), BUSY),
        (Reply::Json(200, "<html>".into()), BUSY),
        (Reply::Bytes(b""), BUSY),
        (Reply::Bytes(b"\x00\xff\r\n\r\n"), BUSY),
        (Reply::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{\"outcome\":\"linked\"}"), BUSY),
    ] {
        daemon.says(reply.clone());
        let (mut browser, page) = link(&partner);
        assert_eq!(seen(&page), shown, "{reply:?}");
        assert!(!page.body.contains("of-the-daemon"));
        assert_eq!(page.headers("retry-after").len(), usize::from(shown == BUSY));
        page.must_be_accessible();
        if shown == BUSY {
            daemon.decides(200, "already_linked");
            assert_eq!(browser.submit(&page, &[]).status, 200, "it is not lost");
        }
    }
    assert!(partner.log().contains("500 fault") && !partner.log().contains("daemon"), "{}", partner.log());
}

#[test]
fn a_daemon_that_is_not_there_or_says_nothing_can_be_asked_again() {
    let (daemon, partner) = start();
    let missing = Partner::start(Path::new("/nonexistent/admin.sock"));
    assert_eq!(seen(&link(&missing).1), BUSY);
    daemon.says(Reply::Silence);
    let (mut browser, page) = link(&partner);
    assert_eq!(seen(&page), BUSY);
    daemon.decides(200, "linked");
    assert_eq!(browser.submit(&page, &[]).status, 200);
}

#[test]
fn nothing_of_a_request_is_shown_or_logged() {
    const MARK: &str = "zqMARKqz";
    let (daemon, partner) = start();
    daemon.decides(202, "pending");
    let ask = |request: &str| {
        let bytes = raw(partner.address, request.as_bytes());
        let text = String::from_utf8(bytes.clone()).unwrap();
        assert!(!text.contains(MARK), "{request}: {text}");
        Answer::read(&bytes).must_be_safe();
    };
    let form = form_of(&[("token", MARK), ("user", MARK), ("password", MARK), (MARK, MARK)]);
    for request in [
        format!("GET /ring/link?nonce={MARK}&time=1700000000000 HTTP/1.1\r\n\r\n"),
        format!("GET /ring/link?nonce=a&time={MARK} HTTP/1.1\r\n\r\n"),
        format!("GET /ring/link?nonce=%3Cb%3E{MARK}&time=1 HTTP/1.1\r\n\r\n"),
        format!(
            "GET /ring/link?nonce=a&time=1&next=https://{MARK}.example/ HTTP/1.1\r\nHost: {MARK}\r\n\r\n"
        ),
        format!("GET /{MARK}<script> HTTP/1.1\r\nCookie: {COOKIE}={MARK}\r\nX-{MARK}: {MARK}\r\n\r\n"),
        format!("GET //{MARK}.example/ring/link HTTP/1.1\r\nReferer: {MARK}\r\nUser-Agent: {MARK}\r\n\r\n"),
        format!("GET http://{MARK}/ring/link?nonce=a&time=1 HTTP/1.1\r\n\r\n"),
        format!("HEAD /ring/link?nonce={MARK}&time=1 HTTP/1.1\r\n\r\n"),
        format!(
            "POST /ring/link HTTP/1.1\r\nContent-Length: {}\r\nCookie: {COOKIE}={MARK}\r\n\r\n{form}",
            form.len()
        ),
        format!("POST /ring/link HTTP/1.1\r\nContent-Length: {MARK}\r\n\r\n"),
        format!("POST /{MARK} HTTP/1.1\r\nContent-Length: 0\r\n\r\n"),
        format!("{MARK} /ring/link HTTP/1.1\r\n\r\n"),
        format!("{MARK}\r\n\r\n"),
        format!("GET /{MARK}\r\n\r\n"),
        format!("POST /{MARK}\r\n\r\n"),
        format!("GET / HTTP/{MARK}\r\n\r\n"),
        format!("GET / {MARK} HTTP/1.1\r\n\r\n"),
    ] {
        ask(&request);
    }
    // Within a real attempt, and on to the claim.
    let mut browser = Browser::new(partner.address);
    let page = browser.get(&format!("/ring/link?nonce={MARK}&time=1700000000000"));
    let wrong = browser.sign_in(&page, MARK, MARK);
    assert_eq!(seen(&wrong), WRONG);
    let pending = browser.sign_in(&wrong, "user-1", PASSWORD);
    assert_eq!(pending.status, 202);
    for page in [page, wrong, pending] {
        assert!(!page.head.contains(MARK) && !page.body.contains(MARK), "{page:?}");
    }
    assert_eq!(daemon.heard()[0].1["nonce"], MARK, "the mark came that far");
    let log = partner.log();
    assert!(log.contains("202 pending") && !log.contains(MARK) && !log.contains("q1-_"), "{log}");
}

#[test]
fn no_get_or_head_ever_claims() {
    let (daemon, partner) = start();
    daemon.decides(202, "pending");
    let (mut browser, page) = link(&partner);
    assert_eq!(daemon.heard().len(), 1);
    let token = page.hidden().remove(0).1;
    let with_token = format!("{VISIT}&token={token}&user=user-1&password={PASSWORD}");
    let cookie = browser.cookies.clone();
    for target in
        [VISIT, LINK, &with_token, &format!("{LINK}?token={token}"), "/ring/link/", "/", "/ring/claims"]
    {
        browser.cookies.clone_from(&cookie);
        let answer = browser.get(target);
        assert!(matches!(answer.status, 200 | 400 | 404), "{target}");
        assert_eq!(answer.asks_for_a_password(), answer.status == 200, "an earlier sign-in is not enough");
    }
    let before = partner.log().lines().count();
    let head = raw(partner.address, format!("HEAD {VISIT} HTTP/1.1\r\n\r\n").as_bytes());
    let head = Answer::read(&head);
    head.must_be_safe();
    assert_eq!((head.status, head.body.as_str(), head.headers("set-cookie").len()), (200, "", 0));
    assert_eq!(partner.log().lines().count(), before + 1);
    for method in ["PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "get"] {
        let answer =
            Answer::read(&raw(partner.address, format!("{method} {VISIT} HTTP/1.1\r\n\r\n").as_bytes()));
        answer.must_be_safe();
        assert_eq!((answer.status, answer.headers("allow")), (405, vec!["GET, HEAD, POST"]), "{method}");
    }
    assert_eq!(daemon.heard(), []);
}

#[test]
fn a_link_must_be_whole() {
    let (_daemon, partner) = start();
    let mut browser = Browser::new(partner.address);
    let (long, digits) = ("a".repeat(129), "1".repeat(17));
    for query in [
        String::new(),
        "?".into(),
        "?nonce=a".into(),
        "?time=1".into(),
        "?nonce=&time=1".into(),
        "?nonce=a&time=".into(),
        "?nonce=a&nonce=b&time=1".into(),
        "?nonce=a&time=1&time=2".into(),
        "?nonce=a&time=-1".into(),
        "?nonce=a&time=1.5".into(),
        "?nonce=a&time=%D9%A1".into(),
        "?nonce=a%0Ab&time=1".into(),
        format!("?nonce={long}&time=1"),
        format!("?nonce=a&time={digits}"),
        format!("?nonce=a&time=1{}", "&x=y".repeat(30)),
    ] {
        let answer = browser.get(&format!("{LINK}{query}"));
        assert_eq!(seen(&answer), (400, "This link is not complete"), "{query}");
        assert!(answer.headers("set-cookie").is_empty());
    }
    assert_eq!(
        browser.get(&format!("{VISIT}&utm_source=ring")).status,
        200,
        "what else comes is not looked at"
    );
}

#[test]
fn only_the_browser_with_the_form_can_send_it() {
    let (daemon, partner) = start();
    daemon.decides(200, "linked");
    let fields = [("user", "user-1"), ("password", PASSWORD)];
    let mut own = Browser::new(partner.address);
    let form = own.get(VISIT);
    let cookie = own.cookies[COOKIE].clone();
    let mut other = Browser::new(partner.address);
    let foreign = other.get(VISIT);

    // Somebody else's page makes this browser post: no token, a guess, the attacker's own, one with more to it.
    let foreign_token = foreign.hidden().remove(0).1;
    let token = form.hidden().remove(0).1;
    for wrong in ["", &"A".repeat(43), &foreign_token, &format!("{token}A"), &token.to_lowercase(), "é"] {
        let answer = own.post(LINK, &[&[("token", wrong)], &fields[..]].concat());
        assert_eq!(seen(&answer), OUT_OF_DATE, "{wrong}");
    }
    assert_eq!(seen(&own.post(LINK, &fields)), OUT_OF_DATE);
    assert_eq!(seen(&own.post(LINK, &[&[("token", token.as_str()); 2], &fields[..]].concat())), OUT_OF_DATE);
    // The form without the cookie, with another's, with one more that was planted beside it.
    let wrong_jars = [
        vec![],
        vec![(COOKIE, "x".to_owned())],
        vec![(COOKIE, other.cookies[COOKIE].clone())],
        vec![(COOKIE, format!("{cookie}; {COOKIE}={}", other.cookies[COOKIE]))],
        vec![("Ring_link", cookie.clone())],
    ];
    for jar in wrong_jars {
        let mut thief = Browser::new(partner.address);
        thief.cookies = jar.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        assert_eq!(seen(&thief.submit(&form, &fields)), OUT_OF_DATE, "{jar:?}");
    }
    assert_eq!(daemon.heard(), []);

    // None of it has spoilt the attempt. Other cookies do no harm.
    own.cookies.insert("session".into(), "of-the-partner".into());
    assert_eq!(own.submit(&form, &fields).status, 200);
    assert_eq!(daemon.heard(), [claim_of("user-1")]);
}

#[test]
fn wrong_passwords_are_few() {
    let (daemon, partner) = start();
    daemon.decides(200, "linked");
    let mut browser = Browser::new(partner.address);
    let mut page = browser.get(VISIT);
    let guesses: [&[(&str, &str)]; 5] = [
        &[("user", "user-1"), ("password", "guess")],
        &[("user", "nobody"), ("password", PASSWORD)],
        &[("user", "user-1")],
        &[("user", "user-1"), ("password", ""), ("password", PASSWORD)],
        &[],
    ];
    for (n, guess) in guesses.into_iter().enumerate() {
        let cookies = browser.cookies.clone();
        page = browser.submit(&page, guess);
        assert_eq!(seen(&page), if n < 4 { WRONG } else { TOO_OFTEN }, "{guess:?}");
        assert_eq!(page.asks_for_a_password(), n < 4);
        assert_eq!(browser.cookies != cookies, n < 4);
        page.must_be_accessible();
    }
    assert_eq!(daemon.heard(), []);

    let form = browser.get(VISIT);
    let wrong = browser.sign_in(&form, "user-2", "guess");
    assert!(wrong.body.contains("role=\"alert\""));
    assert_eq!(browser.sign_in(&wrong, "user-2", PASSWORD).status, 200);
    assert_eq!(daemon.heard(), [claim_of("user-2")]);
}

#[test]
fn two_browsers_with_one_link_have_an_attempt_each() {
    let (daemon, partner) = start();
    let (mut one, mut two) = (Browser::new(partner.address), Browser::new(partner.address));
    let (first, second) = (one.get(VISIT), two.get(VISIT));
    assert_ne!(one.cookies, two.cookies);
    assert_ne!(first.hidden(), second.hidden());
    daemon.decides(200, "linked");
    assert_eq!(two.sign_in(&second, "user-2", PASSWORD).status, 200);
    daemon.decides(409, "linked_to_another_user");
    assert_eq!(one.sign_in(&first, "user-1", PASSWORD).status, 409);
    assert_eq!(daemon.heard(), [claim_of("user-2"), claim_of("user-1")]);
}

#[test]
fn a_form_that_is_sent_twice_at_once_claims_once() {
    let (daemon, partner) = start();
    daemon.decides(200, "linked");
    let mut browser = Browser::new(partner.address);
    let form = browser.get(VISIT);
    let send = || {
        let mut browser = Browser::new(partner.address);
        browser.cookies.clone_from(&browser_cookies(&form));
        browser.sign_in(&form, "user-1", PASSWORD).status
    };
    let mut statuses: Vec<u16> = thread::scope(|scope| {
        let senders: Vec<_> = (0..8).map(|_| scope.spawn(send)).collect();
        senders.into_iter().map(|sender| sender.join().unwrap()).collect()
    });
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 403, 403, 403, 403, 403, 403, 403]);
    assert_eq!(daemon.heard(), [claim_of("user-1")]);
}

/// The cookies that came with a page.
fn browser_cookies(page: &Answer) -> std::collections::BTreeMap<String, String> {
    let pairs =
        page.headers("set-cookie").into_iter().filter_map(|line| line.split(';').next()?.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// What only time, or other users, would show.
#[test]
fn attempts_age_and_identifiers_are_masked() {
    const CODE: &str = "
import partner
for partner.LIFE in 600, -1:
    shown = partner.visit('nonce=a&time=1')
    form = f'token={shown.token}&user=user-1&password={partner.PASSWORD}'
    print(partner.submit(shown.cookie.split(';')[0], form, '/nonexistent/admin.sock').page)
for email in 'someone@example.com', 'abc@example.com', 'a@example.com':
    print(partner.masked(email))
";
    let done = python(&["-c", CODE]).current_dir("examples/partner").output().unwrap();
    let said = String::from_utf8(done.stdout).unwrap();
    let expected = "busy\nout_of_date\ns***e@example.com\na***@example.com\na***@example.com\n";
    assert_eq!(said, expected, "{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn the_cookie_stays_with_the_link_pages() {
    let daemon = Daemon::start();
    for (flags, more) in [(&["--plain-http"][..], ""), (&[], "; Secure")] {
        let partner = Partner::start_with(&daemon.socket, flags);
        let mut browser = Browser::new(partner.address);
        let page = browser.get(VISIT);
        let [cookie] = page.headers("set-cookie")[..] else { panic!("one cookie: {}", page.head) };
        let value = &browser.cookies[COOKIE];
        assert!(value.len() == 43 && page.hidden()[0].1.len() == 43 && *value != page.hidden()[0].1);
        let expected = format!("{COOKIE}={value}; Path=/ring; Max-Age=600; HttpOnly; SameSite=Lax{more}");
        assert_eq!(cookie, expected);
    }
    let socket = daemon.socket.to_str().unwrap();
    let refused = command(&["--listen", "0.0.0.0:0", "--socket", socket, "--plain-http"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(2), "cookies without Secure are for this machine alone");
}

#[test]
fn many_visits_are_kept_in_bounds() {
    let (daemon, partner) = start();
    daemon.decides(200, "linked");
    let mut first = Browser::new(partner.address);
    let form = first.get(VISIT);
    let long = format!("{LINK}?nonce={}&time=1700000000000", "n".repeat(128));
    let visit = |times: usize| {
        for _ in 0..times {
            assert_eq!(Browser::new(partner.address).get(&long).status, 200);
        }
    };
    visit(500);
    let before = partner.memory();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| visit(1125));
        }
    });
    let grown = partner.memory().saturating_sub(before);
    assert!(grown < 16 * 1024, "{grown} KiB more");
    assert_eq!(seen(&first.sign_in(&form, "user-1", PASSWORD)), OUT_OF_DATE, "the oldest made room");
    assert_eq!(daemon.heard(), []);
    assert_eq!(link(&partner).1.status, 200);
}

#[test]
fn garbage_and_too_much_are_refused() {
    let (daemon, partner) = start();
    let post = |length: &str, body: &str| {
        format!("POST {LINK} HTTP/1.1\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
    };
    for (request, status) in [
        (post("4096", &"x".repeat(4096)), 403),
        (post("4097", &"x".repeat(4097)), 413),
        (post("999999999999", ""), 411),
        (post("-1", ""), 411),
        (post("", ""), 411),
        (format!("POST {LINK} HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n").into_bytes(), 411),
        (post("30", &"&".repeat(30)), 403),
        (post("6", "\u{e9}\u{0}=\u{e9}"), 403),
        (format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(70_000)).into_bytes(), 414),
        (format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(70_000)).into_bytes(), 431),
        (format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(200)).into_bytes(), 431),
        (b"GET / HTTP/2.0\r\n\r\n".to_vec(), 505),
        (b"GET /\r\n\r\n".to_vec(), 404),
        (b"GET http://[ HTTP/1.1\r\n\r\n".to_vec(), 404),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n".to_vec(), 400),
        (b"\xff\xfe\xfd one two three\r\n\r\n".to_vec(), 400),
    ] {
        let shown = String::from_utf8_lossy(&request[..request.len().min(60)]).into_owned();
        let answer = Answer::read(&raw(partner.address, &request));
        assert_eq!(answer.status, status, "{shown}");
        answer.must_be_safe();
    }
    assert_eq!(raw(partner.address, b"\r\n"), b"", "nothing was asked");
    assert_eq!(daemon.heard(), []);
    assert!(!partner.log().contains("Traceback"), "{}", partner.log());
}

#[test]
fn whoever_is_slow_is_let_go_and_holds_up_nobody() {
    let (daemon, partner) = start();
    daemon.decides(200, "linked");
    let starts: [&[u8]; 3] =
        [b"", b"GET /ri", b"POST /ring/link HTTP/1.1\r\nContent-Length: 50\r\n\r\ntoken="];
    let slow = starts.map(|start| {
        let mut stream = TcpStream::connect(partner.address).unwrap();
        stream.write_all(start).unwrap();
        stream
    });
    let gone = TcpStream::connect(partner.address).unwrap();
    drop(gone);
    assert_eq!(link(&partner).1.status, 200);
    for mut stream in slow {
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert_eq!(answer, b"");
    }
    assert_eq!(link(&partner).1.status, 200);
    assert!(!partner.log().contains("Traceback"), "{}", partner.log());
}
