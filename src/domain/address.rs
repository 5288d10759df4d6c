//! Which addresses may be called: with Ring's secrets https, and plain http on this machine only; a receiver of events anywhere.

use std::fmt;
use std::net::IpAddr;

use hyper::Uri;
use thiserror::Error;

/// What is wrong with an address. Never tells the address: it may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum AddressError {
    #[error("write a whole address, such as https://host/path")]
    NotWhole,
    #[error(
        "write https://; plain http:// is for loopback addresses only, since secrets would be read on the way"
    )]
    NotHttps,
    #[error("take the user and password out of the address")]
    UserInfo,
    #[error("take the `#` and what follows out of the address")]
    Fragment,
    #[error("take the `?` and what follows out of the address")]
    Query,
    #[error("begin the address with {}", one_of(.0))]
    Scheme(&'static [&'static str]),
}

fn one_of(schemes: &[&str]) -> String {
    schemes.iter().map(|scheme| format!("{scheme}://")).collect::<Vec<_>>().join(" or ")
}

/// The address, if it may be called.
///
/// # Errors
/// [`AddressError`] says what to change.
pub fn callable(text: &str) -> Result<Uri, AddressError> {
    let uri = whole(text)?;
    match uri.scheme_str() {
        Some("http" | "https") => {}
        _ => return Err(AddressError::NotWhole),
    }
    let is_https = uri.scheme_str() == Some("https");
    if is_https || uri.host().is_some_and(is_loopback) { Ok(uri) } else { Err(AddressError::NotHttps) }
}

/// With a host, without a user and a fragment.
fn whole(text: &str) -> Result<Uri, AddressError> {
    // Uri would drop it silently.
    if text.contains('#') {
        return Err(AddressError::Fragment);
    }
    let uri: Uri = text.parse().map_err(|_| AddressError::NotWhole)?;
    uri.host().filter(|host| !host.is_empty()).ok_or(AddressError::NotWhole)?;
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(AddressError::UserInfo);
    }
    if uri.scheme().is_some() { Ok(uri) } else { Err(AddressError::NotWhole) }
}

/// The address, if paths may be appended to it and called.
///
/// # Errors
/// [`AddressError`] says what to change.
pub fn callable_base(text: &str) -> Result<Uri, AddressError> {
    let uri = callable(text)?;
    if uri.query().is_some() { Err(AddressError::Query) } else { Ok(uri) }
}

/// Where the events of a queue are sent. Its path may be known to the receiver alone, so it is shown without.
#[derive(Clone, PartialEq, Eq)]
pub struct Receiver(Uri);

impl Receiver {
    /// The address with one of `schemes`, on whatever machine.
    ///
    /// # Errors
    /// [`AddressError`] says what to change.
    pub fn parse(text: &str, schemes: &'static [&'static str]) -> Result<Self, AddressError> {
        let uri = whole(text)?;
        let known = uri.scheme_str().is_some_and(|scheme| schemes.contains(&scheme));
        if known { Ok(Self(uri)) } else { Err(AddressError::Scheme(schemes)) }
    }

    /// Whether its scheme asks for TLS: `https`, `mqtts`, `rediss`, `amqps`, and `tls` of NATS.
    pub fn is_encrypted(&self) -> bool {
        matches!(self.0.scheme_str(), Some("https" | "mqtts" | "rediss" | "amqps" | "tls"))
    }

    /// The host; of an IPv6 address without its brackets.
    pub fn host(&self) -> &str {
        self.0.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']')
    }

    /// Whether it is on this machine.
    pub fn is_local(&self) -> bool {
        self.0.host().is_some_and(is_loopback)
    }

    /// The whole address. Each call is a place to look at in a review.
    pub fn uri(&self) -> &Uri {
        &self.0
    }
}

/// `scheme://host:port`.
impl fmt::Display for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let authority = self.0.authority().map_or("", |authority| authority.as_str());
        write!(f, "{}://{authority}", self.0.scheme_str().unwrap_or_default())
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn is_loopback(host: &str) -> bool {
    let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    ip.map_or_else(|_| host.eq_ignore_ascii_case("localhost"), |ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_may_be_anywhere_and_shows_no_path() {
        for (text, shown) in [
            ("http://192.168.1.20:8123/api/webhook/hush?k=hush", "http://192.168.1.20:8123"),
            ("https://hooks.example", "https://hooks.example"),
            ("http://[::1]:80/hush", "http://[::1]:80"),
        ] {
            let receiver = Receiver::parse(text, &["http", "https"]).unwrap();
            assert_eq!((receiver.to_string(), format!("{receiver:?}")), (shown.to_owned(), shown.to_owned()));
        }
        for (text, error) in [
            ("hooks.example/a", AddressError::NotWhole),
            ("/a", AddressError::NotWhole),
            ("http://", AddressError::NotWhole),
            ("ftp://hooks.example", AddressError::Scheme(&["http", "https"])),
            ("http://a b/", AddressError::NotWhole),
            ("http://ann:hush@hooks.example/", AddressError::UserInfo),
            ("http://hooks.example/#a", AddressError::Fragment),
        ] {
            assert_eq!(Receiver::parse(text, &["http", "https"]), Err(error), "{text}");
        }
    }
}
