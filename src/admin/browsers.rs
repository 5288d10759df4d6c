//! Keeps web pages of others from the admin API: a browser on the operator's machine may reach it, by a loopback address or through
//! `ssh -L`, and would carry the calls of any page that it shows.
//!
//! A page of another origin is known by `Origin` and `Sec-Fetch-Site`. One whose name was made to lead to this machine (DNS rebinding)
//! is of the same origin, so it is known by its `Host` alone.

use std::net::{Ipv4Addr, Ipv6Addr};

use hyper::header::{ACCEPT_LANGUAGE, HOST, HeaderName, HeaderValue, ORIGIN, REFERER};
use hyper::http::request::Parts;

use super::refusal::Refusal;

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
/// Every browser sends one of these with each request; programs mostly send none.
const OF_BROWSERS: [HeaderName; 5] = [ORIGIN, FETCH_SITE, FETCH_MODE, REFERER, ACCEPT_LANGUAGE];
/// The name that our commands and documents use.
const OURS: &str = "ringhookd";

/// Refused where a web page of others may have sent it.
pub(super) fn check(head: &Parts) -> Result<(), Refusal> {
    let header = |name: &HeaderName| head.headers.get(name).map(HeaderValue::as_bytes);
    let authority = head.uri.authority().map(|authority| authority.as_str().as_bytes());
    if let Some(host) = authority.or_else(|| header(&HOST)) {
        let in_browser = OF_BROWSERS.iter().any(|name| head.headers.contains_key(name));
        if !std::str::from_utf8(host).is_ok_and(|host| is_here(host, in_browser)) {
            return Err(Refusal::forbidden(
                "the Host of this call is no name of this machine; call it by localhost or 127.0.0.1, so that no web page can send \
                 calls under a name of its own",
            ));
        }
        let is_foreign = |origin: &[u8]| !origin.eq_ignore_ascii_case(&[b"http://", host].concat());
        if header(&ORIGIN).is_some_and(is_foreign) {
            return Err(of_another_page());
        }
    } else if header(&ORIGIN).is_some() {
        return Err(of_another_page());
    }
    // `same-site` is any port of this machine, where others may serve pages.
    let is_ours = header(&FETCH_SITE).is_none_or(|site| [&b"same-origin"[..], b"none"].contains(&site));
    if is_ours || opens_the_page(head) { Ok(()) } else { Err(of_another_page()) }
}

/// Whether somebody follows a link to the status page. The page that leads there can't read it, and it holds nothing secret.
fn opens_the_page(head: &Parts) -> bool {
    let navigates = head.headers.get(FETCH_MODE).is_some_and(|mode| mode == "navigate");
    head.method == hyper::Method::GET && head.uri.path() == "/" && navigates
}

fn of_another_page() -> Refusal {
    Refusal::forbidden("a web page of another origin may not call the admin API")
}

/// Whether a name with an optional port leads to this machine wherever it is asked. A program may use any name without a dot, because a
/// Unix socket has none; a browser may not, because such a name can be somebody's on its network.
fn is_here(host: &str, in_browser: bool) -> bool {
    let name = name_of(host).to_ascii_lowercase();
    let is_local = name == "localhost" || name.ends_with(".localhost") || name == OURS;
    let is_loopback = name.parse().is_ok_and(|ip: Ipv4Addr| ip.is_loopback())
        || name.parse().is_ok_and(|ip: Ipv6Addr| ip.is_loopback());
    is_local || is_loopback || (!in_browser && !name.contains(['.', ':']))
}

/// Without the port, and an IPv6 address without its brackets.
fn name_of(host: &str) -> &str {
    if let Some((address, _)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return address;
    }
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    fn allowed(method: &str, path: &str, headers: &[(&str, &str)]) -> bool {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        check(&request.body(()).unwrap().into_parts().0).is_ok()
    }

    #[test]
    fn programs_may_name_a_socket_as_they_like_but_not_by_a_name_of_the_internet() {
        for host in
            ["ringhookd", "x", "localhost", "localhost:8080", "127.0.0.1:8481", "127.9.9.9", "[::1]:8481", ""]
        {
            assert!(allowed("POST", "/v1/claims", &[("host", host)]), "{host}");
        }
        assert!(allowed("GET", "/v1/status", &[]), "HTTP/1.0 needs no Host");
        for host in [
            "evil.example",
            "evil.example:8080",
            "127.0.0.1.evil.example",
            "192.0.2.1",
            "[2001:db8::1]:80",
            "localhost.",
        ] {
            assert!(!allowed("GET", "/v1/status", &[("host", host)]), "{host}");
        }
        assert!(
            !allowed("GET", "http://evil.example/v1/status", &[("host", "localhost")]),
            "the target goes first"
        );
    }

    #[test]
    fn a_browser_has_to_be_on_a_page_of_this_machine() {
        let mine = [("host", "localhost:8080"), ("accept-language", "en")];
        assert!(allowed("GET", "/v1/status", &mine));
        for host in ["x:8080", "evil:8080", "unix"] {
            for mark in [("accept-language", "en"), ("referer", "http://a/"), ("sec-fetch-mode", "cors")] {
                assert!(!allowed("GET", "/v1/status", &[("host", host), mark]), "{host}");
            }
        }
        let own = [("origin", "http://localhost:8080"), ("sec-fetch-site", "same-origin")];
        assert!(allowed("POST", "/v1/dead-letters/drop", &[mine[0], own[0], own[1]]));
        for origin in [
            "http://localhost:3000",
            "http://evil.example",
            "null",
            "https://localhost:8080",
            "http://localhost",
        ] {
            assert!(!allowed("POST", "/v1/dead-letters/drop", &[mine[0], ("origin", origin)]), "{origin}");
        }
        assert!(!allowed("OPTIONS", "/v1/claims", &[("origin", "http://localhost")]), "without a Host");
    }

    #[test]
    fn a_link_leads_to_the_page_and_to_nothing_else() {
        let followed =
            |site, mode| [("host", "localhost"), ("sec-fetch-site", site), ("sec-fetch-mode", mode)];
        for site in ["cross-site", "same-site"] {
            assert!(allowed("GET", "/", &followed(site, "navigate")));
            assert!(!allowed("GET", "/", &followed(site, "no-cors")));
            assert!(!allowed("POST", "/", &followed(site, "navigate")));
            assert!(!allowed("GET", "/v1/status", &followed(site, "navigate")));
        }
        for site in ["none", "same-origin"] {
            assert!(allowed("GET", "/v1/status", &followed(site, "navigate")));
        }
        let rebound = [("host", "evil.example"), ("sec-fetch-site", "none"), ("sec-fetch-mode", "navigate")];
        assert!(!allowed("GET", "/", &rebound));
    }
}
