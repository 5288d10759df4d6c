//! Whether Ring takes an address, and whether it can reach it: by the name and by what the name leads to.

use std::net::{IpAddr, Ipv6Addr};

use hyper::Uri;

use super::Finding;

const CHECK: &str = "address";

/// Why Ring refuses an address that is to be registered; none where it takes it.
pub fn refused(url: &Uri) -> Option<Finding> {
    let host = url.host().unwrap_or_default();
    let name = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.').to_ascii_lowercase();
    let tunnel = "register a public name with a certificate; without one, a tunnel such as Tailscale Funnel or cloudflared gives one";
    let failed = |words: String| Some(Finding::failed(CHECK, words).so(tunnel));
    if url.scheme_str() != Some("https") {
        return failed("Ring refuses addresses that do not begin with https://".into());
    }
    let is_at_home = name == "localhost"
        || [".localhost", ".local", ".lan", ".home.arpa", ".internal"].iter().any(|end| name.ends_with(end));
    if is_at_home || name.parse::<IpAddr>().is_ok_and(|ip| !public(ip)) {
        return failed(format!(
            "Ring refuses {host}, and can't reach it: it is a name of this machine or network alone"
        ));
    }
    None
}

/// Whether the Internet leads to the address.
pub fn public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            let is_shared = a == 100 && (64..128).contains(&b);
            !(ip.is_loopback() || ip.is_private() || ip.is_link_local() || ip.is_unspecified() || is_shared)
        }
        IpAddr::V6(ip) => {
            let is_inner = ip.to_ipv4_mapped().is_some_and(|ip| !public(ip.into()));
            !(ip == Ipv6Addr::UNSPECIFIED
                || ip.is_loopback()
                || ip.is_unique_local()
                || ip.is_unicast_link_local()
                || is_inner)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_that_ring_refuses() {
        for url in [
            "http://hooks.example.com",
            "https://localhost",
            "https://LOCALHOST:8443",
            "https://x.localhost",
            "https://nas.local",
            "https://127.0.0.1",
            "https://192.168.1.20",
            "https://[::1]",
            "https://[fd00::1]",
        ] {
            let found = refused(&url.parse().unwrap()).unwrap_or_else(|| panic!("{url}"));
            assert!(found.action.is_some());
        }
        for url in ["https://hooks.example.com", "https://8.8.8.8/x", "https://[2606:4700::1]:443"] {
            assert_eq!(refused(&url.parse().unwrap()), None, "{url}");
        }
    }

    #[test]
    fn addresses_that_the_internet_does_not_lead_to() {
        for inner in ["10.1.2.3", "100.64.0.1", "169.254.1.1", "0.0.0.0", "fe80::1", "::", "::ffff:10.0.0.1"]
        {
            assert!(!public(inner.parse().unwrap()), "{inner}");
        }
        for outer in ["1.1.1.1", "100.128.0.1", "2606:4700::1", "::ffff:1.1.1.1"] {
            assert!(public(outer.parse().unwrap()), "{outer}");
        }
    }
}
