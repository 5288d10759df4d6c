//! Against raw sockets on loopback addresses: every class of answer, and every way to get none.

mod faults;
mod pairs;
mod pipe;
mod server;
mod tls;

use std::time::Duration;

use super::*;
use crate::domain::address::AddressError;
use crate::domain::heard::{Doubt, Hindrance};
use server::{Server, Then, http};

const CLIENT_SECRET: &str = "client-secret-never-shown";
const TOKEN: &str = "refresh-token-never-shown";
const PAIR: &str = r#"{"access_token":"access-never-shown","refresh_token":"next-never-shown","expires_in":14400,"scope":"a b","token_type":"Bearer"}"#;

fn secret(text: &str) -> Secret<String> {
    Secret::new(text.to_owned())
}

/// Long limits, so that only the tests of a limit meet it.
fn settings(base: &str) -> Settings {
    Settings {
        oauth_url: format!("{base}/oauth/token"),
        api_url: base.to_owned(),
        client_id: "client & id".to_owned(),
        client_secret: secret(CLIENT_SECRET),
        ca_pem: None,
        connect_timeout: Duration::from_secs(20),
        call_timeout: Duration::from_secs(30),
        answer_timeout: Duration::from_secs(30),
        max_answer: 4096,
        ring_clock: RingClock::default(),
    }
}

fn api(server: &Server) -> RingApi {
    RingApi::new(settings(&server.base())).unwrap()
}

/// An outcome in one line; what it keeps secret stays so.
fn told(said: &Said<Granted>) -> String {
    let shown = format!("{said:?}");
    assert!(!shown.contains("never-shown"), "{shown}");
    let why = &said.why;
    match &said.heard {
        Heard::Answer(Granted::Pair(_)) => "renewed".to_owned(),
        Heard::Answer(Granted::Unreadable(raw)) => {
            format!("unreadable: {}", String::from_utf8_lossy(raw.expose()))
        }
        Heard::NotSent(Hindrance::Throttled { retry_after }) => format!("throttled: {retry_after:?}"),
        Heard::NotSent(_) => format!("not sent: {why}"),
        Heard::Unknown(Doubt::Silent) => format!("unknown: {why}"),
        Heard::Unknown(Doubt::Failed { retry_after: None }) => format!("failed: {why}"),
        Heard::Unknown(Doubt::Failed { retry_after: Some(wait) }) => {
            format!("failed: {why}, again after {wait:?}")
        }
        Heard::Refused(Objection::Client) => {
            format!("client refused: {}", why.split(':').next().unwrap_or_default())
        }
        Heard::Refused(objection) => {
            assert_eq!(*objection, Objection::Grant);
            "refused".to_owned()
        }
    }
}

/// Until the connection of the call before is free again, which takes a few tasks their turn but no I/O.
async fn returned() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn every_answer_of_oauth() {
    let mut cases = vec![
        (http("200 OK", PAIR), "renewed".to_owned()),
        (http("201 Created", PAIR), "renewed".to_owned()),
        (http("204 No Content", ""), "unreadable: ".to_owned()),
        (http("302 Found\r\nLocation: /elsewhere", PAIR), "unknown: HTTP 302".to_owned()),
        (http("429 Too Many Requests", "never-shown"), "throttled: None".to_owned()),
        (http("429 Too Many Requests\r\nRetry-After: 7", ""), "throttled: Some(7s)".to_owned()),
        (http("429 No\r\nRetry-After: 1.5", ""), "throttled: Some(1.5s)".to_owned()),
        (http("429 No\r\nRetry-After: -7", ""), "throttled: None".to_owned()),
        (http("429 No\r\nRetry-After: NaN", ""), "throttled: None".to_owned()),
        (http("429 No\r\nRetry-After: soon", ""), "throttled: None".to_owned()),
        (http("503 Busy\r\nRetry-After: 30", ""), "failed: HTTP 503, again after 30s".to_owned()),
        ("never-shown is no HTTP\r\n\r\n".to_owned(), "unknown: the answer is not HTTP".to_owned()),
    ];
    for body in ["<html>never-shown</html>", "", "null", "[]", r#"{"access_token":"a""#] {
        cases.push((http("200 OK", body), format!("unreadable: {body}")));
    }
    for status in ["403 Forbidden", "404 Not Found", "408 Timeout", "500 Internal Server Error", "503 Busy"] {
        let told = if status.starts_with('5') { "failed" } else { "unknown" };
        let told = format!("{told}: HTTP {}", &status[..3]);
        cases.push((http(status, r#"{"error":"invalid_grant"}"#), told));
    }
    for (code, expected) in [
        ("invalid_grant", "refused"),
        ("invalid_client", "client refused: invalid_client"),
        ("unauthorized_client", "client refused: unauthorized_client"),
        ("invalid_request", "unknown: invalid_request: OAuth does not understand how we ask"),
        ("invalid_scope", "unknown: invalid_scope: OAuth does not grant what we ask for"),
        ("unsupported_grant_type", "unknown: unsupported_grant_type: OAuth does not know this kind of grant"),
    ] {
        let body = format!(r#"{{"error_description":"never-shown","error":"{code}"}}"#);
        cases.extend(["400 Bad Request", "401 No"].map(|status| (http(status, &body), expected.to_owned())));
    }
    for body in [
        "<html>invalid_grant never-shown</html>",
        "",
        r#"{"error":"never-shown"}"#,
        r#"{"error":{"code":"invalid_grant"}}"#,
        r#"{"error":"invalid_grant","error":"x"}"#,
        r#"["invalid_grant"]"#,
    ] {
        let told = "unknown: HTTP 400 without an error code of OAuth".to_owned();
        cases.push((http("400 Bad Request", body), told));
    }
    for (answer, expected) in cases {
        let server = Server::start(&answer, Then::Close).await;
        let exchange = api(&server).refresh(&secret(TOKEN)).await;
        assert_eq!(told(&exchange), expected, "{answer}");
        assert_eq!(server.received(TOKEN), 1, "{answer}");
    }
}

/// RFC 9110 has three forms of dates; they count from the answer's own, or where it has none from our clock.
#[test]
fn a_retry_after_may_be_a_date() {
    let now = crate::domain::time::Millis(1_792_567_680_000);
    let after = |retry_after: &str, date: Option<&str>| {
        let mut headers = hyper::HeaderMap::new();
        headers.insert("retry-after", retry_after.parse().unwrap());
        if let Some(date) = date {
            headers.insert("date", date.parse().unwrap());
        }
        http_client::retry_after(&headers, now).map(|wait| wait.as_secs())
    };
    for date in
        ["Wed, 21 Oct 2026 07:28:40 GMT", "Wednesday, 21-Oct-26 07:28:40 GMT", "Wed Oct 21 07:28:40 2026"]
    {
        assert_eq!(after(date, None), Some(40), "{date}");
        assert_eq!(after(date, Some("Wed, 21 Oct 2026 07:28:33 GMT")), Some(7), "{date}");
        assert_eq!(after(date, Some("Wed, 21 Oct 2026 09:00:00 GMT")), Some(0), "{date}: it is over");
    }
    assert_eq!(after(" 7 ", None), Some(7));
    assert_eq!(after("99999999999999999999999999", None), Some(Duration::MAX.as_secs()));
}

#[tokio::test]
async fn what_goes_over_the_wire() {
    let server = Server::start(&http("200 OK", PAIR), Then::Next).await;
    let api = api(&server);
    assert_eq!(told(&api.refresh(&secret("a+b/c=&ü \0")).await), "renewed");
    returned().await;
    assert_eq!(told(&api.exchange_code(&secret("c-1"), None).await), "renewed");
    returned().await;
    assert_eq!(told(&api.exchange_code(&secret("c-2"), Some(&secret("v~"))).await), "renewed");
    let requests = server.requests();
    let ours = format!("client_id=client%20%26%20id&client_secret={CLIENT_SECRET}");
    for (request, form) in requests.iter().zip([
        format!("grant_type=refresh_token&{ours}&refresh_token=a%2Bb%2Fc%3D%26%C3%BC%20%00"),
        format!("grant_type=authorization_code&{ours}&code=c-1"),
        format!("grant_type=authorization_code&{ours}&code=c-2&code_verifier=v%7E"),
    ]) {
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        assert_eq!(body, form);
        let head = head.to_lowercase();
        assert!(head.starts_with("post /oauth/token http/1.1\r\n"), "{head}");
        assert!(head.contains("content-type: application/x-www-form-urlencoded\r\n"), "{head}");
        assert!(head.contains(&format!("user-agent: ringhookd/{}\r\n", env!("CARGO_PKG_VERSION"))), "{head}");
        assert!(head.contains(&format!("host: {}", server.base().trim_start_matches("http://"))), "{head}");
        assert!(head.contains("accept-encoding: identity\r\n"), "{head}");
        assert!(!head.contains("secret") && !head.contains("authorization"), "{head}");
    }
    assert_eq!((requests.len(), server.connections()), (3, 1));
}

#[tokio::test]
async fn me() {
    let account = Heard::Answer(AccountId::new("ava1.ring.account.X").unwrap());
    for (status, body, expected) in [
        ("200 OK", r#"{"data":{"id":"ava1.ring.account.X","type":"users"},"x":[]}"#, account),
        ("200 OK", r#"{"data":{"id":""}}"#, Heard::SILENT),
        ("200 OK", r#"{"data":{"id":"a","id":"b"}}"#, Heard::SILENT),
        ("200 OK", r#"{"data":["a"]}"#, Heard::SILENT),
        ("200 OK", r#"{"id":"a"}"#, Heard::SILENT),
        ("200 OK", "never-shown", Heard::SILENT),
        ("302 Found\r\nLocation: /", "", Heard::SILENT),
        ("400 Bad", "never-shown", Heard::Refused(Objection::Request)),
        ("401 No", "", Heard::Refused(Objection::AccessToken)),
        ("403 No", "", Heard::Refused(Objection::AccessToken)),
        ("404 No", "", Heard::Refused(Objection::Missing)),
        ("409 No", "", Heard::Refused(Objection::Other)),
        ("429 No\r\nRetry-After: 2", "", Heard::throttled(Some(Duration::from_secs(2)))),
        ("500 No", "never-shown", Heard::failed(None)),
        ("503 No\r\nRetry-After: 2", "", Heard::failed(Some(Duration::from_secs(2)))),
    ] {
        let server = Server::start(&http(status, body), Then::Close).await;
        let said = api(&server).me(&secret("access-1")).await;
        assert!(said.heard == expected && !said.why.contains("never-shown"), "{status} {body}: {said:?}");
        let request = server.requests().concat().to_lowercase();
        assert!(request.starts_with("get /v1/users/me http/1.1\r\n"), "{request}");
        assert!(request.contains("authorization: bearer access-1\r\n"), "{request}");
    }
    let server = Server::start("", Then::Close).await;
    let said = api(&server).me(&secret("a")).await;
    assert_eq!((said.heard, &*said.why), (Heard::SILENT, "the connection ended before an answer"));
    let said = api(&server).me(&secret("no\nheader")).await;
    assert_eq!(said.heard, Heard::Refused(Objection::AccessToken));
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn an_api_may_have_a_path_and_a_name() {
    let server = Server::start(&http("200 OK", r#"{"data":{"id":"a"}}"#), Then::Close).await;
    let base = server.base().replace("127.0.0.1", "localhost");
    let named = Settings { api_url: format!("{base}/ring/"), ..settings(&base) };
    assert!(matches!(RingApi::new(named).unwrap().me(&secret("a")).await.heard, Heard::Answer(_)));
    assert!(server.requests()[0].starts_with("GET /ring/v1/users/me HTTP/1.1\r\n"));
}

#[test]
fn settings_that_are_refused() {
    use AddressError::{Fragment, NotHttps, NotWhole, Query, UserInfo};
    use SettingsError::Timeouts;
    const CA: SettingsError = SettingsError::Tls(crate::tls::TlsError::Ca);
    let wrong = |at, error| SettingsError::Address { at, error };
    let check = |url: &str| RingApi::new(settings(url)).map(|_| ()).unwrap_err();
    let at = "oauth_url";
    for (url, expected) in [
        ("http://oauth.ring.com", wrong(at, NotHttps)),
        ("http://10.0.0.1", wrong(at, NotHttps)),
        ("http://[::2]:80", wrong(at, NotHttps)),
        ("http://localhost.example.com", wrong(at, NotHttps)),
        ("http://127.0.0.1.example.com", wrong(at, NotHttps)),
        ("https://user:never-shown@oauth.ring.com", wrong(at, UserInfo)),
        ("http://user@localhost", wrong(at, UserInfo)),
        ("https://oauth.ring.com/#", wrong(at, Fragment)),
        ("ftp://oauth.ring.com", wrong(at, NotWhole)),
        ("oauth.ring.com", wrong(at, NotWhole)),
        ("", wrong(at, NotWhole)),
        ("https://", wrong(at, NotWhole)),
        ("https://a b", wrong(at, NotWhole)),
    ] {
        assert_eq!(check(url), expected, "{url}");
        assert!(!expected.to_string().contains("never-shown"));
    }
    let fine = || settings("http://127.0.0.1");
    for (other, expected) in [
        (Settings { api_url: "http://a.example".into(), ..fine() }, wrong("api_url", NotHttps)),
        (Settings { api_url: "http://localhost/?a".into(), ..fine() }, wrong("api_url", Query)),
        (Settings { connect_timeout: fine().call_timeout, ..fine() }, Timeouts),
        (Settings { ca_pem: Some(b"no PEM".to_vec()), ..fine() }, CA),
        (Settings { ca_pem: Some(Vec::new()), ..fine() }, CA),
    ] {
        assert_eq!(RingApi::new(other).map(|_| ()), Err(expected));
    }
    for url in ["http://127.9.9.9:1", "http://[::1]:1", "http://LOCALHOST", "http://localhost:8080/a?b=c"] {
        let good = Settings { oauth_url: url.to_owned(), ..fine() };
        assert!(RingApi::new(good).is_ok(), "{url}");
    }
}

#[test]
fn secrets_are_never_shown() {
    let shown = format!("{:?} {:?}", settings("http://[::1]"), RingApi::new(settings("http://[::1]")));
    assert!(shown.contains("client & id") && !shown.contains("never-shown"), "{shown}");
    let request = request::get(&Uri::from_static("http://[::1]/"), &secret("never-shown")).unwrap();
    let shown = format!("{request:?}");
    assert!(!shown.contains("never-shown"), "{shown}");
}
