//! The sections `[ring]` and `[tokens]`: who we are at Ring, and how often tokens are refreshed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::common::{lies_in, word};
use super::files::ClientSecret;
use super::model::{Pace, Ring, Tokens};
use super::raw::{Echo, Section};
use super::secrets::{NamedFile, SecretSource};
use super::value::{Raw, Wrong, count, days, duration, text};
use crate::domain::address;
use crate::domain::secret::Secret;

const HOURS: fn(u64) -> Duration = Duration::from_hours;

/// `[ring]` as it was read.
pub(super) struct Read {
    /// Nothing when no client id is written: then nothing is refreshed.
    pub(super) ring: Option<Ring>,
    pub(super) client: Option<ClientSecret>,
    pub(super) ca_file: Option<NamedFile>,
}

pub(super) fn ring(mut s: Section<'_>) -> Read {
    let client_id = s.optional("client_id", "the-client-id-that-ring-shows", Echo::Shown, text(word));
    let inline = s.optional("client_secret", "…", Echo::Hidden, text(|text| word(text).map(Secret::new)));
    let source = text(s.source());
    let file = s.optional("client_secret_file", "credential:ring.client-secret", Echo::Hidden, source);
    let oauth_url = s.get("oauth_url", "https://oauth.ring.com/oauth/token", text(url));
    let api_url = s.get("api_url", "https://api.amazonvision.com", text(url));
    // An address may hold a password.
    for (key, checked) in
        [("oauth_url", address::callable(&oauth_url)), ("api_url", address::callable_base(&api_url))]
    {
        if let Err(error) = checked {
            s.refuse_hidden(key, error.to_string());
        }
    }
    let ca_file = s.optional("ca_file", "/etc/ringhookd/ca.pem", Echo::Shown, s.path());
    let connect_timeout = s.get("connect_timeout", "3s", duration(millis(100)..=millis(15_000)));
    let call_timeout = s.get("call_timeout", "8s", duration(millis(200)..=millis(20_000)));
    let answer_timeout = s.get("answer_timeout", "3m", duration(millis(1_000)..=millis(900_000)));
    // Ring allows 100 a second for all of an app's installations together.
    let per_second = s.get("requests_per_second", 50_u64, count(1_u32..=95));
    let keys = ["client_id", "client_secret", "client_secret_file"];
    let written = client_id.is_some() || inline.is_some() || file.is_some();
    let secret = match (inline, file) {
        (Some(_), Some(_)) => {
            s.refuse("client_secret_file", "is there beside client_secret; write one of them".into());
            None
        }
        (Some(secret), None) => Some(ClientSecret::Inline(secret)),
        (None, Some(source)) => Some(ClientSecret::File(s.named("client_secret_file", source))),
        (None, None) => None,
    };
    if written && s.sound(&keys) {
        if client_id.is_none() {
            s.missing("client_id", "is missing; Ring shows it with the client secret");
        } else if secret.is_none() {
            s.missing("client_secret_file", "is missing: the file with the secret that belongs to client_id");
        }
    }
    if s.sound(&["connect_timeout", "call_timeout"]) && connect_timeout >= call_timeout {
        s.refuse("connect_timeout", "must be shorter than call_timeout".into());
    }
    if s.sound(&["call_timeout", "answer_timeout"]) && answer_timeout < call_timeout {
        s.refuse("answer_timeout", "must not be shorter than call_timeout".into());
    }
    let ca_file = ca_file.map(|path| s.named("ca_file", SecretSource::File(path)));
    s.finish();
    let ring = client_id.filter(|_| secret.is_some()).map(|client_id| Ring {
        client_id,
        oauth_url,
        api_url,
        connect_timeout,
        call_timeout,
        answer_timeout,
        per_second,
    });
    Read { ring, client: secret, ca_file }
}

pub(super) fn tokens(mut s: Section<'_>, store: &Section<'_>, folder: &Path) -> Tokens {
    let refresh = s.get("refresh", "24h", pace);
    let parallel = s.get("parallel", 16_u64, count(1_usize..=256));
    let first = s.get("repeat_after", "1s", duration(millis(1_000)..=HOURS(24)));
    let longest = s.get("repeat_at_most", "15m", duration(millis(1_000)..=HOURS(24)));
    if s.sound(&["repeat_after", "repeat_at_most"]) && longest < first {
        s.refuse("repeat_at_most", "must not be shorter than repeat_after".into());
    }
    let repeats = s.get("repeats", "unlimited", repeats);
    let repeat_unreadable = s.get("repeat_unreadable", "7d", duration(millis(0)..=days(29)));
    let days = |text: &str| duration(HOURS(1)..=days(29))(Raw::Text(text));
    let warnings = s.list("warn_before", &["10d", "5d", "2d"], Echo::Shown, days);
    let warnings: Vec<_> = warnings.into_iter().map(|item| item.value).collect();
    let descending = warnings.is_sorted_by(|a, b| a > b);
    let warn_before = match <[Duration; 3]>::try_from(warnings) {
        Ok(three) if descending => three,
        _ => {
            s.refuse("warn_before", "takes three times, the longest first: [\"10d\", \"5d\", \"2d\"]".into());
            [HOURS(240), HOURS(120), HOURS(48)]
        }
    };
    let beside = || {
        let mut name = folder.file_name().unwrap_or_default().to_owned();
        name.push("-guard");
        folder.with_file_name(name)
    };
    let guard = s.optional("guard_folder", "/var/lib/ringhookd-guard", Echo::Shown, s.path());
    let guard_folder: PathBuf = guard.unwrap_or_else(beside);
    if store.sound(&["folder"]) && lies_in(&guard_folder, folder) {
        s.refuse(
            "guard_folder",
            "lies in store.folder; what is restored with the store guards nothing".into(),
        );
    }
    s.finish();
    let repeat = (first, longest);
    Tokens { refresh, parallel, repeat, repeats, repeat_unreadable, warn_before, guard_folder }
}

fn repeats(raw: Raw<'_>) -> Result<u16, Wrong> {
    if raw == Raw::Text("unlimited") {
        return Ok(u16::MAX);
    }
    match count(0_u16..=1000)(raw) {
        Err(Wrong::Form(_)) => Err(Wrong::Form("a number or \"unlimited\"")),
        read => read,
    }
}

fn pace(raw: Raw<'_>) -> Result<Pace, Wrong> {
    if raw == Raw::Text("always-fresh") {
        return Ok(Pace::AlwaysFresh);
    }
    match duration(HOURS(1)..=days(20))(raw) {
        Ok(interval) => Ok(Pace::Every(interval)),
        Err(Wrong::Form(_)) => Err(Wrong::Form("a duration or \"always-fresh\"")),
        Err(wrong) => Err(wrong),
    }
}

fn url(text: &str) -> Result<String, Wrong> {
    let fits = text.starts_with("https://") || text.starts_with("http://");
    if fits { Ok(text.into()) } else { Err(Wrong::Form("an https address")) }
}

const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}
