//! Which addresses may be called with our secrets: https, and plain http on this machine only.

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
}

/// The address, if it may be called.
///
/// # Errors
/// [`AddressError`] says what to change.
pub fn callable(text: &str) -> Result<Uri, AddressError> {
    // Uri would drop it silently.
    if text.contains('#') {
        return Err(AddressError::Fragment);
    }
    let uri: Uri = text.parse().map_err(|_| AddressError::NotWhole)?;
    let host = uri.host().filter(|host| !host.is_empty()).ok_or(AddressError::NotWhole)?;
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(AddressError::UserInfo);
    }
    match uri.scheme_str() {
        Some("https") => Ok(uri),
        Some("http") if is_loopback(host) => Ok(uri),
        Some("http") => Err(AddressError::NotHttps),
        _ => Err(AddressError::NotWhole),
    }
}

/// The address, if paths may be appended to it and called.
///
/// # Errors
/// [`AddressError`] says what to change.
pub fn callable_base(text: &str) -> Result<Uri, AddressError> {
    let uri = callable(text)?;
    if uri.query().is_some() { Err(AddressError::Query) } else { Ok(uri) }
}

fn is_loopback(host: &str) -> bool {
    let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    ip.map_or_else(|_| host.eq_ignore_ascii_case("localhost"), |ip| ip.is_loopback())
}
