//! What can go wrong at Ring, by name: what is asked for, and what then happens instead.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde_json::Value;
use thiserror::Error;

/// The endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    OAuth,
    UsersMe,
    Devices,
    /// The POST of app-integrations.
    LinkPost,
    /// The PATCH of app-integrations.
    LinkPatch,
}

impl Place {
    pub const ALL: [Self; 5] = [Self::OAuth, Self::UsersMe, Self::Devices, Self::LinkPost, Self::LinkPatch];

    pub fn name(self) -> &'static str {
        match self {
            Self::OAuth => "oauth",
            Self::UsersMe => "users-me",
            Self::Devices => "devices",
            Self::LinkPost => "link-post",
            Self::LinkPatch => "link-patch",
        }
    }
}

/// What happens instead of the right answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// The connection is closed without an answer, and nothing was worked on.
    LostRequest,
    /// The connection is closed without an answer, after the work.
    LostAnswer,
    /// Wait, then work. The work is done even when the client has gone.
    SlowBefore(Duration),
    /// Work, then wait with the answer.
    SlowAfter(Duration),
    /// This status, and nothing was worked on.
    Status(u16),
    /// This status, after the work.
    StatusAfterWork(u16),
    /// 429, with a `Retry-After` that says so or none; nothing was worked on.
    Throttled(Option<String>),
    /// 200 and a page, as of a proxy in between; nothing was worked on.
    Html,
    /// The answer's first half.
    Truncated,
    /// The answer, its first key there twice.
    DuplicateKeys,
    /// The answer, with a comma behind its last field.
    StrayComma,
    /// The answer without its last brace.
    Unfinished,
    /// The answer behind a byte order mark.
    ByteOrderMark,
    /// A token answer without a new refresh token; the old one stays good.
    NoRefreshToken,
    NoExpiresIn,
    AbsurdExpiresIn(Value),
    /// The old refresh token comes back and stays good.
    SameRefreshToken,
    /// `invalid_grant`, whatever the token is worth; it is not touched.
    InvalidGrant,
    /// `invalid_client`, whatever the secret.
    InvalidClient,
}

/// A kind at a place. As text `PLACE-KIND[:ARGUMENT]`, e.g. `oauth-500`, `oauth-429:30`, `users-me-slow-after:2s`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub place: Place,
    pub kind: Kind,
}

/// Every kind's name, its argument if it takes one, and what it does: for help texts.
pub const KINDS: [(&str, &str); 19] = [
    ("lost-request", "the connection is closed without an answer; nothing was worked on"),
    ("lost-answer", "the connection is closed without an answer, after the work: tokens were replaced"),
    ("slow-before:TIME", "waits (default 10s), then works, even when the client has gone"),
    ("slow-after:TIME", "works, then waits (default 10s) with the answer"),
    ("500", "this status, any from 400 to 599; nothing was worked on"),
    ("500-after-work", "this status, any from 400 to 599, after the work: tokens were replaced"),
    ("429:TEXT", "too many requests, with this as Retry-After (default 1; none: without)"),
    ("html", "200 and a web page, as from a proxy in between; nothing was worked on"),
    ("truncated", "the first half of the JSON that answers, after the work"),
    ("duplicate-keys", "JSON in which a key is there twice, after the work"),
    ("stray-comma", "JSON with a comma behind its last field, after the work"),
    ("unfinished", "JSON without its last brace, after the work"),
    ("bom", "JSON behind a byte order mark, after the work"),
    ("no-refresh-token", "oauth only: an answer without a refresh token; the old one stays good"),
    ("no-expires-in", "oauth only: an answer without expires_in"),
    ("absurd-expires-in:JSON", "oauth only: this as expires_in (default 999999999999999)"),
    ("same-refresh-token", "oauth only: no rotation, the old refresh token comes back and stays good"),
    ("invalid-grant", "oauth only: refuses, whatever the token is worth, and leaves it as it is"),
    ("invalid-client", "oauth only: says that the client secret is wrong"),
];

/// Why a text names no fault.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NoFault {
    #[error("`{0}` is no fault: it begins with oauth-, users-me-, devices-, link-post- or link-patch-")]
    Place(String),
    #[error("`{0}` is no fault: there is no kind `{1}`; `ringhookd simulate --help` lists the kinds")]
    Kind(String, String),
    #[error("`{0}`: only oauth- can have that")]
    OAuthOnly(String),
    #[error("`{0}`: `{1}` is not {2}")]
    Argument(String, String, &'static str),
}

impl FromStr for Fault {
    type Err = NoFault;

    fn from_str(text: &str) -> Result<Self, NoFault> {
        let after = |place: &Place| text.strip_prefix(place.name())?.strip_prefix('-');
        let found = Place::ALL.iter().find_map(|place| Some((*place, after(place)?)));
        let (place, rest) = found.ok_or_else(|| NoFault::Place(text.into()))?;
        let (name, argument) = rest.split_once(':').map_or((rest, None), |(name, arg)| (name, Some(arg)));
        let kind = kind(text, name, argument)?;
        if place != Place::OAuth && kind.is_about_tokens() {
            return Err(NoFault::OAuthOnly(text.into()));
        }
        Ok(Self { place, kind })
    }
}

fn kind(text: &str, name: &str, argument: Option<&str>) -> Result<Kind, NoFault> {
    let wrong = |what| NoFault::Argument(text.into(), argument.unwrap_or_default().into(), what);
    let time = || match argument {
        None => Ok(Duration::from_secs(10)),
        Some(time) => humantime::parse_duration(time).map_err(|_| wrong("a time such as 500ms or 2s")),
    };
    let kind = match name {
        "slow-before" => return Ok(Kind::SlowBefore(time()?)),
        "slow-after" => return Ok(Kind::SlowAfter(time()?)),
        "429" => {
            let text = argument.unwrap_or("1");
            let fits = !text.is_empty() && text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
            let text = fits.then_some(text).ok_or_else(|| wrong("what a header can hold"))?;
            return Ok(Kind::Throttled(Some(text.to_owned()).filter(|text| text != "none")));
        }
        "absurd-expires-in" => {
            let json = argument.unwrap_or("999999999999999");
            let value = serde_json::from_str(json).map_err(|_| wrong("a JSON value"))?;
            return Ok(Kind::AbsurdExpiresIn(value));
        }
        "lost-request" => Kind::LostRequest,
        "lost-answer" => Kind::LostAnswer,
        "html" => Kind::Html,
        "truncated" => Kind::Truncated,
        "duplicate-keys" => Kind::DuplicateKeys,
        "stray-comma" => Kind::StrayComma,
        "unfinished" => Kind::Unfinished,
        "bom" => Kind::ByteOrderMark,
        "no-refresh-token" => Kind::NoRefreshToken,
        "no-expires-in" => Kind::NoExpiresIn,
        "same-refresh-token" => Kind::SameRefreshToken,
        "invalid-grant" => Kind::InvalidGrant,
        "invalid-client" => Kind::InvalidClient,
        other => status(other).ok_or_else(|| NoFault::Kind(text.into(), other.into()))?,
    };
    if argument.is_some() { Err(wrong("expected: this kind takes no argument")) } else { Ok(kind) }
}

fn status(name: &str) -> Option<Kind> {
    let (code, after_work) = name.strip_suffix("-after-work").map_or((name, false), |code| (code, true));
    let code = code.parse().ok().filter(|code| (400..600).contains(code))?;
    Some(if after_work { Kind::StatusAfterWork(code) } else { Kind::Status(code) })
}

impl Kind {
    fn is_about_tokens(&self) -> bool {
        matches!(
            self,
            Self::NoRefreshToken
                | Self::NoExpiresIn
                | Self::AbsurdExpiresIn(_)
                | Self::SameRefreshToken
                | Self::InvalidGrant
                | Self::InvalidClient
        )
    }

    fn name(&self) -> String {
        let name = match self {
            Self::LostRequest => "lost-request",
            Self::LostAnswer => "lost-answer",
            Self::SlowBefore(_) => "slow-before",
            Self::SlowAfter(_) => "slow-after",
            Self::Status(code) => return code.to_string(),
            Self::StatusAfterWork(code) => return format!("{code}-after-work"),
            Self::Throttled(_) => "429",
            Self::Html => "html",
            Self::Truncated => "truncated",
            Self::DuplicateKeys => "duplicate-keys",
            Self::StrayComma => "stray-comma",
            Self::Unfinished => "unfinished",
            Self::ByteOrderMark => "bom",
            Self::NoRefreshToken => "no-refresh-token",
            Self::NoExpiresIn => "no-expires-in",
            Self::AbsurdExpiresIn(_) => "absurd-expires-in",
            Self::SameRefreshToken => "same-refresh-token",
            Self::InvalidGrant => "invalid-grant",
            Self::InvalidClient => "invalid-client",
        };
        name.to_owned()
    }
}

/// The name without the argument, by which faults are counted.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.place.name(), self.kind.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_in_the_help_is_one() {
        for (name, _) in KINDS {
            let name = name.split(':').next().unwrap();
            let text = format!("oauth-{name}");
            assert_eq!(text.parse::<Fault>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn arguments_are_read() {
        let kind = |text: &str| text.parse::<Fault>().unwrap().kind;
        assert_eq!(kind("oauth-429:30"), Kind::Throttled(Some("30".into())));
        assert_eq!(kind("oauth-429:none"), Kind::Throttled(None));
        assert_eq!(kind("users-me-slow-after:20ms"), Kind::SlowAfter(Duration::from_millis(20)));
        assert_eq!(kind("oauth-absurd-expires-in:-1"), Kind::AbsurdExpiresIn((-1).into()));
        assert_eq!(kind("link-patch-503-after-work"), Kind::StatusAfterWork(503));
    }

    #[test]
    fn words_say_what_is_wrong() {
        for (text, says) in [
            ("500", "begins with oauth-"),
            ("oauth-", "there is no kind ``"),
            ("oauth-200", "there is no kind `200`"),
            ("users-me-invalid-grant", "only oauth-"),
            ("oauth-slow-before:soon", "`soon` is not a time"),
            ("oauth-429:ü", "`ü` is not what a header can hold"),
            ("oauth-html:3", "takes no argument"),
        ] {
            let error = text.parse::<Fault>().unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
