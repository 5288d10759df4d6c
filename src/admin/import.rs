//! Accounts put in by hand: one JSON object, or one behind the other, each with an account, its user and its tokens. Many share a
//! commit.
//!
//! Nothing of what is wrong with an entry is quoted: it may be a token.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::act::Act;
use crate::domain::actor::Actor;
use crate::http::Body;
use crate::logging::audit::{self, What};
use serde::{Deserialize, Deserializer};
use serde_json::json;
use tokio::task::{JoinError, JoinSet};
use zeroize::Zeroizing;

use super::Admin;
use super::refusal::{Refusal, Reply};
use super::request::{self, Query, account_id, ok, user_id};
use super::session::Session;
use crate::domain::access_token::Reason;
use crate::domain::arrival::{Arrival, Unwelcome, Welcome};
use crate::domain::ids::AccountId;
use crate::domain::json_stream::{Value, values};
use crate::domain::released::Released;
use crate::domain::rights::Call;
use crate::domain::secret::Secret;
use crate::domain::time::Millis;
use crate::domain::tokens::{Pair, Span};
use crate::store::{Bound, Import, NewTokens};

const SHAPE: &str = "it takes account_id, user, access_token, refresh_token, scope and token_type as texts, expires_in \
                     in seconds, expires_at as RFC 3339 or in seconds since 1970, each at most once and nothing else";

/// Accounts that share a commit: few enough that a webhook that comes meanwhile need not wait long.
const AT_ONCE: usize = 250;

/// How far the clock that `expires_at` was written by may be ahead of ours.
const CLOCKS_DIFFER: Duration = Duration::from_mins(5);

/// An entry as it is written: the answer of Ring's token endpoint fits, with the account added.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// Without it Ring is asked whose the refresh token is.
    account_id: Option<String>,
    user: Option<String>,
    #[serde(default, deserialize_with = "secret")]
    access_token: Option<Zeroizing<String>>,
    #[serde(default, deserialize_with = "secret")]
    refresh_token: Option<Zeroizing<String>>,
    expires_in: Option<u64>,
    expires_at: Option<Time>,
    scope: Option<String>,
    #[serde(rename = "token_type")]
    _token_type: Option<String>,
}

/// Far beyond any token that was ever seen, and what a header holds.
const LONGEST_TOKEN: usize = 8192;

#[derive(Deserialize)]
#[serde(untagged)]
enum Time {
    Seconds(u64),
    Text(String),
}

fn secret<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Zeroizing<String>>, D::Error> {
    Option::<String>::deserialize(from).map(|text| text.map(Zeroizing::new))
}

impl Admin {
    /// Imports entry by entry; one that is refused does not hold up the others and is told with its line.
    /// `?replace=true` takes accounts over from other users.
    pub(super) async fn import_accounts(
        &self,
        session: &Session,
        by: &Actor,
        query: &Query,
        body: Body,
    ) -> Reply {
        session.may(Call::AccountsWrite, None)?;
        let replace = query.get("replace", "true or false", |v| v.parse().ok())?.unwrap_or(false);
        let body = request::body(body).await?;
        // Their expiry is Ring's, whatever our clock says.
        let now = self.store.ring_clock().awake();
        let (mut done, mut arriving) = (Done::default(), JoinSet::new());
        let mut group = Vec::new();
        for Value { line, text, .. } in values(&body) {
            let entry = text.map_err(|not_json| not_json.to_string());
            let entry = entry.and_then(|text| read(text, replace, now));
            let put = match entry {
                Ok(put) => self.prove(session, put).await,
                Err(words) => Err(Refusal::bad(words)),
            };
            match put {
                Ok(Put::Import(import)) => {
                    group.push((line, *import));
                    if group.len() == AT_ONCE {
                        self.import(by, std::mem::take(&mut group), &mut done).await?;
                    }
                }
                Ok(Put::Arrival(arrival)) => {
                    let (tokens, sees_all) = (Arc::clone(&self.tokens), session.sees_all());
                    arriving.spawn(async move {
                        let outcome = tokens.welcome(arrival).await;
                        (line, outcome.map_err(|why| told(why, sees_all)))
                    });
                }
                Err(refusal) => done.note(line, Err(refusal))?,
            }
        }
        self.import(by, group, &mut done).await?;
        let by_tokens = arriving.len();
        while !arriving.is_empty() {
            done.arrived(arriving.join_next().await);
        }
        if by_tokens > 0 {
            let detail = format!("{by_tokens} refresh tokens without an account");
            self.store.audit().note(by, Act::ImportAccount, None, Some(detail)).await?;
        }
        if done.imported > 0 || !done.pending.is_empty() {
            let (imported, pending) = (done.imported, done.pending.len());
            let detail = format!("{imported} in this call, {} of them new, {pending} pending", done.created);
            audit::note(&audit::Entry::new(What::AccountsImported, by.clone()).with(detail));
        }
        ok(&done.document())
    }

    /// A restricted session binds an account that is not its own yet only with tokens that Ring says are the account's: naming an id
    /// proves nothing.
    async fn prove(&self, session: &Session, put: Put) -> Result<Put, Refusal> {
        if session.sees_all() {
            return Ok(put);
        }
        let Put::Import(import) = put else {
            return Err(Refusal::forbidden(
                "this socket sees only some accounts, so it has to say account_id",
            ));
        };
        session.may_give(&import.account, import.user.as_ref())?;
        let view = self.store.links().account(import.account.clone()).await?;
        let holder = view.as_ref().filter(|view| view.user.is_some());
        if let Some(view) = holder {
            session.may_give(&view.account, view.user.as_ref())?;
        }
        let is_its_own = holder.is_some();
        let Import { account, user, tokens, replace } = *import;
        match tokens {
            Some(NewTokens { pair, .. }) => {
                let (refresh_token, replace) = (pair.refresh_token, replace && is_its_own);
                Ok(Put::Arrival(Arrival { refresh_token, user, replace, expects: Some(account) }))
            }
            None if is_its_own => Ok(Put::Import(Box::new(Import { account, user, tokens: None, replace }))),
            None => Err(Refusal::unproven()),
        }
    }

    /// Imports a group in one commit.
    async fn import(&self, by: &Actor, group: Vec<(usize, Import)>, done: &mut Done) -> Result<(), Refusal> {
        if group.is_empty() {
            return Ok(());
        }
        let (lines, imports): (Vec<_>, Vec<_>) = group.into_iter().unzip();
        let bounds = self.store.links().by(by.clone()).import_all(imports).await?;
        for (line, bound) in lines.into_iter().zip(bounds) {
            done.note(line, bound.map_err(Refusal::from))?;
        }
        Ok(())
    }
}

/// A restricted session is not told whose an account is.
fn told(why: Unwelcome, sees_all: bool) -> String {
    match why {
        Unwelcome::OtherUser { .. } if !sees_all => {
            "the account belongs to a user whom this socket does not see".to_owned()
        }
        why => why.to_string(),
    }
}

/// An entry's line, and what became of it.
type Arrived = (usize, Result<Welcome, String>);

/// What was done with the entries so far.
#[derive(Default)]
struct Done {
    imported: u64,
    created: u64,
    released: Released,
    /// Whose the refresh tokens without an account are, by their lines.
    found: Vec<(usize, AccountId)>,
    pending: Vec<(usize, Reason)>,
    refused: Vec<(usize, String)>,
}

impl Done {
    fn note(&mut self, line: usize, bound: Result<Bound, Refusal>) -> Result<(), Refusal> {
        match bound {
            Ok(bound) => self.linked(bound.created, bound.released),
            Err(refusal) if refusal.status.is_server_error() => return Err(refusal),
            Err(refusal) => self.refused(line, &refusal.words),
        }
        Ok(())
    }

    fn arrived(&mut self, arrived: Option<Result<Arrived, JoinError>>) {
        match arrived {
            Some(Ok((line, Ok(Welcome::Linked { account, created, released })))) => {
                self.linked(created, released);
                self.found.push((line, account));
            }
            Some(Ok((line, Ok(Welcome::Pending(why))))) => self.pending.push((line, why)),
            Some(Ok((line, Err(why)))) => self.refused(line, &why),
            Some(Err(_)) | None => {}
        }
    }

    fn linked(&mut self, created: bool, released: Released) {
        self.imported += 1;
        self.created += u64::from(created);
        self.released.add(released);
    }

    fn refused(&mut self, line: usize, words: &str) {
        self.refused.push((line, words.to_owned()));
    }

    fn document(mut self) -> serde_json::Value {
        self.refused.sort();
        self.pending.sort_by_key(|(line, _)| *line);
        self.found.sort_by_key(|(line, _)| *line);
        let found = self.found.iter().map(|(line, id)| json!({"line": line, "account_id": id.as_str()}));
        let found: Vec<_> = found.collect();
        let refused = self.refused.iter().map(|(line, error)| json!({"line": line, "error": error}));
        let refused: Vec<_> = refused.collect();
        let pending = self.pending.iter().map(|(line, why)| json!({"line": line, "why": why.words()}));
        let pending: Vec<_> = pending.collect();
        let Self { imported, created, released, .. } = self;
        json!({
            "imported": imported,
            "created": created,
            "released": released,
            "found": found,
            "pending": pending,
            "refused": refused,
        })
    }
}

/// What an entry asks for.
enum Put {
    Import(Box<Import>),
    Arrival(Arrival),
}

/// What an entry asks for; errors do not quote it.
fn read(text: &str, replace: bool, now: Millis) -> Result<Put, String> {
    let entry: Entry = serde_json::from_str(text).map_err(|_| SHAPE.to_owned())?;
    let user = entry.user.as_deref().map(user_id).transpose().map_err(|refusal| refusal.words)?;
    let tokens = tokens(&entry, now)?;
    let Some(id) = &entry.account_id else {
        let Some(NewTokens { pair, .. }) = tokens else {
            return Err("there is neither account_id nor refresh_token: whose shall it be?".into());
        };
        let refresh_token = pair.refresh_token;
        return Ok(Put::Arrival(Arrival { refresh_token, user, replace, expects: None }));
    };
    let account = account_id(id).map_err(|refusal| refusal.words)?;
    Ok(Put::Import(Box::new(Import { account, user, tokens, replace })))
}

/// A token as it is meant: what a shell or an editor leaves around it is cut off. What can be none is told by its field alone.
fn token(field: &str, text: Option<&Zeroizing<String>>) -> Result<Option<Secret<String>>, String> {
    let Some(text) = text.map(|text| text.trim()) else { return Ok(None) };
    if text.is_empty() {
        return Err(format!("{field} is empty"));
    }
    // RFC 6749, A.12 and A.17: visible characters and spaces.
    if let Some(other) = text.chars().find(|c| !matches!(c, ' '..='~')) {
        let which = if other == '…' {
            "the … of an example".to_owned()
        } else {
            format!("U+{:04X}", other as u32)
        };
        return Err(format!("{field} holds {which}: no token of Ring's does; copy it whole and alone"));
    }
    if text.bytes().all(|byte| byte == b'.') {
        return Err(format!("{field} is the dots of an example"));
    }
    if text.len() > LONGEST_TOKEN {
        return Err(format!("{field} is longer than {LONGEST_TOKEN} bytes"));
    }
    Ok(Some(Secret::new(text.to_owned())))
}

fn tokens(entry: &Entry, now: Millis) -> Result<Option<NewTokens>, String> {
    let written = |token: &Option<Zeroizing<String>>| token.as_ref().is_some_and(|t| !t.trim().is_empty());
    // Also where the refresh token is there and empty.
    let playground = written(&entry.access_token) && !written(&entry.refresh_token);
    let access_token = match &entry.access_token {
        // Some tools write an empty one beside a refresh token that is good.
        Some(text) if text.trim().is_empty() => None,
        text => token("access_token", text.as_ref())?,
    };
    let refresh_token = if playground { None } else { token("refresh_token", entry.refresh_token.as_ref())? };
    let Some(refresh_token) = refresh_token else {
        return if playground {
            Err("there is an access token and no refresh token: the link would end with the access token, within \
                 hours. Tokens from Ring's Playground have none and can't be imported; let the user link the account"
                .into())
        } else {
            Ok(None)
        };
    };
    let pair = Pair { access_token, refresh_token, scope: entry.scope.clone() };
    let expires_at = expiry(entry, now)?.filter(|_| pair.access_token.is_some());
    Ok(Some(NewTokens { pair, span: Span::of_import(expires_at, now) }))
}

fn expiry(entry: &Entry, now: Millis) -> Result<Option<Millis>, String> {
    let within = entry.expires_in.map(|seconds| now.plus(Duration::from_secs(seconds)));
    let at = match &entry.expires_at {
        None => None,
        Some(Time::Seconds(seconds)) => Some(Millis(seconds.saturating_mul(1000))),
        Some(Time::Text(text)) => {
            let at: Result<jiff::Timestamp, _> = text.parse();
            let at = at.ok().and_then(|at| u64::try_from(at.as_millisecond()).ok());
            Some(Millis(at.ok_or("expires_at is no time in RFC 3339, such as 2030-01-31T12:00:00Z")?))
        }
    };
    // The seconds counted from OAuth's answer, which was before now, so they agree with any earlier time.
    if let (Some(at), Some(within)) = (at, within)
        && at > within.plus(CLOCKS_DIFFER)
    {
        return Err("expires_at is later than expires_in allows: which is right?".into());
    }
    Ok(at.or(within))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn import_of(text: &str) -> Import {
        match read(text, true, Millis(1000)) {
            Ok(Put::Import(import)) => *import,
            Ok(Put::Arrival(_)) => panic!("{text} has no account"),
            Err(error) => panic!("{text}: {error}"),
        }
    }

    fn tokens_of(text: &str) -> NewTokens {
        import_of(text).tokens.unwrap()
    }

    #[test]
    fn the_answer_of_a_token_endpoint_fits() {
        let text = r#"{"account_id":"a","user":"ann","access_token":"at","refresh_token":"rt\"","token_type":"Bearer",
                       "expires_in":3600,"scope":"s"}"#;
        let import = import_of(text);
        assert_eq!(
            (import.account.as_str(), import.user.unwrap().as_str(), import.replace),
            ("a", "ann", true)
        );
        let NewTokens { pair, span } = tokens_of(text);
        assert_eq!(pair.access_token.unwrap().expose(), "at");
        assert_eq!((pair.refresh_token.expose().as_str(), pair.scope.as_deref()), ("rt\"", Some("s")));
        assert_eq!(span.expires_at, Millis(3_601_000));
        assert!(import_of(r#"{"account_id":"a"}"#).tokens.is_none());
    }

    #[test]
    fn what_surrounds_a_token_is_cut_off_and_what_can_be_none_is_told_by_its_field() {
        let text = r#"{"account_id":"a","access_token":"at\r\n","refresh_token":" RT1\n"}"#;
        let pair = tokens_of(text).pair;
        assert_eq!(
            (pair.refresh_token.expose().as_str(), pair.access_token.unwrap().expose().as_str()),
            ("RT1", "at")
        );
        let long = "x".repeat(LONGEST_TOKEN + 1);
        for bad in ["", " \\n", "…", "abc…", "...", "a\\nb", "tök", "a\\u0000b", long.as_str()] {
            for (field, id) in [("refresh_token", r#""account_id":"a","#), ("refresh_token", "")] {
                let text = format!(r#"{{{id}"{field}":"{bad}"}}"#);
                let Err(error) = read(&text, true, Millis(0)) else { panic!("{text} was taken") };
                assert!(error.starts_with(field), "{text}: {error}");
            }
        }
        let text = r#"{"account_id":"a","access_token":"…","refresh_token":"RT1"}"#;
        let Err(error) = read(text, true, Millis(0)) else { panic!("it was taken") };
        assert!(error.starts_with("access_token"), "{error}");
    }

    #[test]
    fn without_an_account_ring_is_asked() {
        let text = r#"{"refresh_token":"rt","user":"ann"}"#;
        let Ok(Put::Arrival(arrival)) = read(text, true, Millis(0)) else { panic!("it has an account") };
        assert_eq!((arrival.refresh_token.expose().as_str(), arrival.replace), ("rt", true));
        assert_eq!(arrival.user.unwrap().as_str(), "ann");
    }

    #[test]
    fn an_expiry_is_a_time_or_seconds() {
        for (field, ms) in [
            (r#""expires_at":5"#, 5000),
            (r#""expires_at":"1970-01-01T00:00:05Z""#, 5000),
            (r#""scope":null"#, 0),
            // Written down together some time ago, by a clock that may be a little ahead.
            (r#""expires_at":5,"expires_in":14400"#, 5000),
            (r#""expires_at":"1970-01-01T00:04:00Z","expires_in":3"#, 240_000),
        ] {
            let text = format!(r#"{{"account_id":"a","access_token":"at","refresh_token":"rt",{field}}}"#);
            assert_eq!(tokens_of(&text).span.expires_at, Millis(ms), "{field}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_quoting_it() {
        for (text, words) in [
            (r#"{"account_id":"a","access_token":"hunter2"}"#, "Playground"),
            (r#"{"account_id":"a","access_token":"hunter2","refresh_token":""}"#, "Playground"),
            (r#"{"account_id":"a","refresh_token":["hunter2"]}"#, "refresh_token"),
            (r#"{"account_id":"a","hunter2":1}"#, "nothing else"),
            (r#"{"account_id":"a","expires_in":"hunter2"}"#, "in seconds"),
            (r#"{"account_id":"a","refresh_token":"hunter2","expires_at":"hunter2"}"#, "RFC 3339"),
            (r#"{"account_id":"a","refresh_token":"r","expires_at":400,"expires_in":1}"#, "later than"),
            (r#"{"user":"ann"}"#, "neither account_id nor"),
            (r#"{"access_token":"hunter2"}"#, "Playground"),
            (r#"{"account_id":""}"#, "empty"),
            ("[]", "account_id"),
        ] {
            let Err(error) = read(text, false, Millis(0)) else { panic!("{text} was taken") };
            assert!(error.contains(words) && !error.contains("hunter2"), "{text}: {error}");
        }
    }
}
