//! A browser as far as linking needs one: cookies, forms, and what every page must have, over a plain socket.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// Far more than anything takes; only a hang meets it.
const PATIENCE: Duration = Duration::from_mins(1);

/// Where a person is: one browser's cookies.
#[derive(Debug)]
pub(crate) struct Browser {
    address: SocketAddr,
    pub(crate) cookies: BTreeMap<String, String>,
}

#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Browser {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, cookies: BTreeMap::new() }
    }

    pub(crate) fn get(&mut self, target: &str) -> Answer {
        self.ask(&format!("GET {target} HTTP/1.1\r\nHost: partner.example\r\n{}\r\n", self.cookie_header()))
    }

    pub(crate) fn post(&mut self, target: &str, fields: &[(&str, &str)]) -> Answer {
        let body = form_of(fields);
        self.ask(&format!(
            "POST {target} HTTP/1.1\r\nHost: partner.example\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {}\r\n{}\r\n{body}",
            body.len(),
            self.cookie_header()
        ))
    }

    /// Fills in the form of a page, with its hidden fields, and sends it.
    pub(crate) fn submit(&mut self, page: &Answer, fields: &[(&str, &str)]) -> Answer {
        let hidden = page.hidden();
        let hidden = hidden.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let all: Vec<_> = hidden.chain(fields.iter().copied()).collect();
        self.post(&page.action().expect("a page with a form"), &all)
    }

    pub(crate) fn sign_in(&mut self, page: &Answer, user: &str, password: &str) -> Answer {
        self.submit(page, &[("user", user), ("password", password)])
    }

    fn ask(&mut self, request: &str) -> Answer {
        let answer = Answer::read(&raw(self.address, request.as_bytes()));
        answer.must_be_safe();
        for line in answer.headers("set-cookie") {
            let (name, rest) = line.split_once('=').expect("a cookie");
            let value = rest.split(';').next().expect("a value");
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        answer
    }

    fn cookie_header(&self) -> String {
        if self.cookies.is_empty() {
            return String::new();
        }
        let pairs: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        format!("Cookie: {}\r\n", pairs.join("; "))
    }
}

impl Answer {
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let text = String::from_utf8(bytes.to_vec()).expect("UTF-8");
        let (head, body) =
            text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("an answer with a head: {text:?}"));
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
        Self { status, head: head.to_owned(), body: body.to_owned() }
    }

    pub(crate) fn headers(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }

    pub(crate) fn title(&self) -> &str {
        between(&self.body, "<h1>", "</h1>").unwrap_or_default()
    }

    /// Where the form of the page goes, if it has one.
    pub(crate) fn action(&self) -> Option<String> {
        between(&self.body, "<form method=\"post\" action=\"", "\"").map(str::to_owned)
    }

    pub(crate) fn asks_for_a_password(&self) -> bool {
        self.body.contains("type=\"password\"")
    }

    pub(crate) fn hidden(&self) -> Vec<(String, String)> {
        let inputs = self.body.split("<input type=\"hidden\" name=\"").skip(1);
        let pairs = inputs.map(|input| {
            let (name, rest) = input.split_once("\" value=\"").expect("a value");
            (name.to_owned(), rest.split('"').next().expect("its end").to_owned())
        });
        pairs.collect()
    }

    /// What holds of every page of the partner, whatever was asked.
    pub(crate) fn must_be_safe(&self) {
        let policy = self.headers("content-security-policy");
        let [policy] = policy[..] else { panic!("one policy: {}", self.head) };
        for part in ["default-src 'none'", "form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'"]
        {
            assert!(policy.contains(part), "{part}: {policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains("script"), "{policy}");
        for (name, value) in [
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("content-type", "text/html; charset=utf-8"),
        ] {
            assert_eq!(self.headers(name), [value], "{name}");
        }
        for never in ["location", "refresh", "access-control-allow-origin"] {
            assert!(self.headers(never).is_empty(), "{never}: {}", self.head);
        }
        assert!(!self.body.contains("http-equiv") && !self.body.contains("<script"), "{}", self.body);
        assert!(!self.body.contains("href=") && !self.body.contains("src="), "{}", self.body);
    }

    /// What a page for people has: a language, a title, one heading, and a label for each field that is seen.
    pub(crate) fn must_be_accessible(&self) {
        for part in ["<!doctype html>", "<html lang=\"en\">", "<title>", "name=\"viewport\"", "<main>"] {
            assert!(self.body.contains(part), "{part}: {}", self.body);
        }
        assert_eq!(self.body.matches("<h1>").count(), 1);
        let seen = self.body.matches("<input").count() - self.hidden().len();
        assert_eq!(self.body.matches("<label for=").count(), seen);
        assert_eq!(self.body.matches("autocomplete=").count(), seen);
    }
}

/// Whatever comes back for these bytes until the other side closes.
pub(crate) fn raw(address: SocketAddr, request: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // What is refused unread may end in a reset, which is no more than that.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let end = stream.read_to_end(&mut answer);
    let hung = |e: &std::io::Error| {
        matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
    };
    assert!(!end.as_ref().is_err_and(hung), "neither an answer nor an end");
    answer
}

pub(crate) fn form_of(fields: &[(&str, &str)]) -> String {
    fields.iter().fold(String::new(), |mut form, (name, value)| {
        let encoded = utf8_percent_encode(value, NON_ALPHANUMERIC);
        let joint = if form.is_empty() { "" } else { "&" };
        let _ = write!(form, "{joint}{name}={encoded}");
        form
    })
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(start)?;
    rest.split(end).next()
}
