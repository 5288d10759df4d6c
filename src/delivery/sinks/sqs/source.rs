//! Where credentials come from, in the order of AWS's own tools: the configuration, the environment, the container's endpoint, the
//! instance's metadata.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::HeaderName;
use hyper::{Method, Request, Uri};
use serde::Deserialize;
use thiserror::Error;
use tokio::time::{Instant, timeout_at};

use super::request::secret;
use crate::config::ReceiverSecrets;
use crate::delivery::sinks::web;
use crate::domain::secret::Secret;
use crate::domain::sigv4::Credentials;
use crate::domain::time::Millis;
use crate::http_client::{Client, Failure};
use crate::logging;

const CONTAINERS: &str = "http://169.254.170.2";
const METADATA: &str = "http://169.254.169.254";
/// Those of containers on EC2 and of EKS, and loopback addresses, may be asked over plain http.
const CONTAINER_ADDRESSES: [&str; 3] = ["169.254.170.2", "169.254.170.23", "fd00:ec2::23"];
const TOKEN_LIFE: &str = "x-aws-ec2-metadata-token-ttl-seconds";
const TOKEN: &str = "x-aws-ec2-metadata-token";
const ROLES: &str = "/latest/meta-data/iam/security-credentials/";
/// Bytes of an answer that are read.
const MAX_ANSWER: usize = 64 << 10;

/// Why there can be no credentials.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SourceError {
    #[error("{0} is set in the environment, and {1} is not")]
    Half(&'static str, &'static str),
    #[error(
        "{0}: the address can't be asked: write https://, or http:// and a container's or a loopback address"
    )]
    Endpoint(&'static str),
    #[error("{0}: it can't stand in a header")]
    Header(&'static str),
}

/// Credentials, and when they end.
#[derive(Debug)]
pub(super) struct Issued {
    pub(super) credentials: Credentials,
    pub(super) ends: Option<Millis>,
}

/// Where credentials come from.
pub(super) enum Source {
    /// Known from the start.
    Fixed {
        name: &'static str,
        id: String,
        secret: Secret<String>,
        token: Option<Secret<String>>,
    },
    Container {
        uri: Uri,
        authorization: Authorization,
    },
    Instance {
        base: Uri,
    },
    /// There is none, and the operator wants no metadata to be asked.
    Nowhere,
}

/// What a container's endpoint wants to see.
pub(super) enum Authorization {
    None,
    Token(Secret<String>),
    /// Read each time, because it is changed.
    File(PathBuf),
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// As the container's endpoint and the metadata write it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Document {
    access_key_id: String,
    secret_access_key: String,
    token: Option<String>,
    expiration: Option<String>,
}

impl Source {
    /// `id` is the configuration's; `environment` gives variables.
    pub(super) fn choose(
        id: Option<String>,
        secrets: ReceiverSecrets,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, SourceError> {
        let variable = |name: &str| environment(name).filter(|value| !value.is_empty());
        if let (Some(id), Some(secret)) = (id, secrets.secret_access_key) {
            return Self::fixed("the configuration", id, secret, secrets.session_token);
        }
        match (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY").map(Secret::new)) {
            (Some(id), Some(secret)) => {
                let token = variable("AWS_SESSION_TOKEN").map(Secret::new);
                return Self::fixed("the environment", id, secret, token);
            }
            (Some(_), None) => return Err(SourceError::Half("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")),
            (None, Some(_)) => return Err(SourceError::Half("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID")),
            (None, None) => {}
        }
        if let Some(uri) = container(&variable)? {
            let authorization = match variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") {
                Some(file) => Authorization::File(file.into()),
                None => variable("AWS_CONTAINER_AUTHORIZATION_TOKEN")
                    .map_or(Authorization::None, |token| Authorization::Token(Secret::new(token))),
            };
            return Ok(Self::Container { uri, authorization });
        }
        if variable("AWS_EC2_METADATA_DISABLED").is_some_and(|flag| flag.eq_ignore_ascii_case("true")) {
            return Ok(Self::Nowhere);
        }
        let name = "AWS_EC2_METADATA_SERVICE_ENDPOINT";
        let base = variable(name).unwrap_or_else(|| METADATA.to_owned());
        let base: Uri = base.parse().map_err(|_| SourceError::Endpoint(name))?;
        match base.scheme_str() {
            Some("http" | "https") if base.host().is_some() => Ok(Self::Instance { base }),
            _ => Err(SourceError::Endpoint(name)),
        }
    }

    fn fixed(
        name: &'static str,
        id: String,
        key: Secret<String>,
        token: Option<Secret<String>>,
    ) -> Result<Self, SourceError> {
        if secret(&id).is_none() {
            return Err(SourceError::Header("the id of the access key"));
        }
        if token.as_ref().is_some_and(|token| secret(token.expose()).is_none()) {
            return Err(SourceError::Header("the session token"));
        }
        Ok(Self::Fixed { name, id, secret: key, token })
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Fixed { name, .. } => name,
            Self::Container { .. } => "the container's endpoint",
            Self::Instance { .. } => "the instance's metadata",
            Self::Nowhere => "nowhere",
        }
    }

    /// Whether other credentials may come after those that have ended.
    pub(super) fn renews(&self) -> bool {
        matches!(self, Self::Container { .. } | Self::Instance { .. })
    }

    /// Whether a certificate authority is needed to ask it.
    pub(super) fn is_encrypted(&self) -> bool {
        match self {
            Self::Container { uri, .. } | Self::Instance { base: uri } => uri.scheme_str() == Some("https"),
            Self::Fixed { .. } | Self::Nowhere => false,
        }
    }

    /// Asks for credentials. Fails in words, which hold nothing of an answer but a code.
    pub(super) async fn fetch(&self, client: &Client, by: Instant) -> Result<Issued, String> {
        let copy = |text: &Secret<String>| Secret::new(text.expose().clone());
        let asked = match self {
            Self::Fixed { id, secret, token, .. } => {
                let credentials = Credentials {
                    access_key_id: id.clone(),
                    secret_access_key: copy(secret),
                    session_token: token.as_ref().map(copy),
                };
                return Ok(Issued { credentials, ends: None });
            }
            Self::Nowhere => Err("AWS_EC2_METADATA_DISABLED is set".to_owned()),
            Self::Container { uri, authorization } => of_container(client, uri, authorization, by).await,
            Self::Instance { base } => of_instance(client, base, by).await,
        };
        asked.map_err(|why| match self {
            Self::Container { .. } => format!("no credentials from {}: {why}", self.name()),
            _ => format!(
                "no credentials: write access_key_id and secret_key_file, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or \
                 give the machine a role ({}: {why})",
                self.name()
            ),
        })
    }
}

/// The address of a container's endpoint, if there is one.
fn container(variable: &dyn Fn(&str) -> Option<String>) -> Result<Option<Uri>, SourceError> {
    let relative = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
    if let Some(path) = variable(relative) {
        let uri = path.starts_with('/').then(|| format!("{CONTAINERS}{path}").parse().ok()).flatten();
        return uri.map(Some).ok_or(SourceError::Endpoint(relative));
    }
    let full = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
    let Some(text) = variable(full) else { return Ok(None) };
    let uri: Uri = text.parse().map_err(|_| SourceError::Endpoint(full))?;
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let near = CONTAINER_ADDRESSES.contains(&host)
        || host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    match uri.scheme_str() {
        Some("https") if !host.is_empty() => Ok(Some(uri)),
        Some("http") if near => Ok(Some(uri)),
        _ => Err(SourceError::Endpoint(full)),
    }
}

async fn of_container(
    client: &Client,
    uri: &Uri,
    authorization: &Authorization,
    by: Instant,
) -> Result<Issued, String> {
    let token = match authorization {
        Authorization::None => None,
        Authorization::Token(token) => Some(Secret::new(token.expose().clone())),
        Authorization::File(path) => {
            let path = path.clone();
            // A thread of its own, because a disk may hang.
            let read = tokio::task::spawn_blocking(move || std::fs::read_to_string(path)).await;
            let text = read.ok().and_then(Result::ok).map(Secret::new);
            let text = text.ok_or("the file of AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE can't be read")?;
            Some(Secret::new(text.expose().trim().to_owned()))
        }
    };
    let headers: Vec<_> = token.iter().map(|token| ("authorization", token.expose().as_str())).collect();
    issued(&ask(client, Method::GET, uri.clone(), &headers, by).await?)
}

/// By version 2: a token, the name of the role, its credentials.
async fn of_instance(client: &Client, base: &Uri, by: Instant) -> Result<Issued, String> {
    let at = |path: &str| {
        let base = base.to_string();
        let uri = format!("{}{path}", base.trim_end_matches('/')).parse::<Uri>();
        uri.map_err(|_| "the name of the role can't stand in an address".to_owned())
    };
    let life = [(TOKEN_LIFE, "21600")];
    let token = ask(client, Method::PUT, at("/latest/api/token")?, &life, by).await?;
    let token = [(TOKEN, token.expose().as_str())];
    let roles = match ask(client, Method::GET, at(ROLES)?, &token, by).await {
        Err(why) if why.starts_with("404") => return Err("the instance has no role".to_owned()),
        roles => roles?,
    };
    let role = roles.expose().lines().next().unwrap_or_default().trim();
    if role.is_empty() {
        return Err("the instance has no role".to_owned());
    }
    issued(&ask(client, Method::GET, at(&format!("{ROLES}{role}"))?, &token, by).await?)
}

/// The body of a good answer.
async fn ask(
    client: &Client,
    method: Method,
    uri: Uri,
    headers: &[(&'static str, &str)],
    by: Instant,
) -> Result<Secret<String>, String> {
    let mut request = Request::new(Full::new(Bytes::new()));
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    for (name, value) in headers {
        let value = secret(value).ok_or("a token can't stand in a header")?;
        request.headers_mut().insert(HeaderName::from_static(name), value);
    }
    let failed = |failure| {
        let (Failure::NotSent(why) | Failure::Unknown(why)) = failure;
        why
    };
    let answer = match timeout_at(by, client.request(request)).await {
        Ok(answer) => answer.map_err(|error| failed(Failure::of(&error)))?,
        Err(_) => return Err(failed(Failure::no_answer_in_time())),
    };
    if !answer.status().is_success() {
        return Err(answer.status().to_string());
    }
    let body = web::read(&mut answer.into_body(), MAX_ANSWER, by).await;
    let text = String::from_utf8(body).map_err(|_| "the answer is no text")?;
    Ok(Secret::new(text))
}

/// Reads the document of credentials. What is wrong with it is not quoted: it may hold a secret.
fn issued(text: &Secret<String>) -> Result<Issued, String> {
    let Ok(Document { access_key_id, secret_access_key, token, expiration }) =
        serde_json::from_str(text.expose())
    else {
        let code = serde_json::from_str::<serde_json::Value>(text.expose()).ok();
        let code =
            code.and_then(|said| Some(said.get("Code").or_else(|| said.get("code"))?.as_str()?.to_owned()));
        return Err(match code {
            Some(code) if code != "Success" && code.len() <= 64 => logging::text(&code).to_string(),
            _ => "the answer holds no credentials".to_owned(),
        });
    };
    let secret_access_key = Secret::new(secret_access_key);
    let session_token = token.filter(|token| !token.is_empty()).map(Secret::new);
    let in_header = |text: &str| secret(text).is_some();
    let fit = in_header(&access_key_id)
        && !access_key_id.is_empty()
        && !secret_access_key.expose().is_empty()
        && session_token.as_ref().is_none_or(|token| in_header(token.expose()));
    if !fit {
        return Err("the answer holds no credentials".to_owned());
    }
    let ends = expiration.as_deref().and_then(Millis::of_rfc3339);
    Ok(Issued { credentials: Credentials { access_key_id, secret_access_key, session_token }, ends })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(id: Option<&str>, variables: &[(&str, &str)]) -> Result<String, String> {
        let environment =
            |name: &str| variables.iter().find(|(of, _)| *of == name).map(|(_, value)| (*value).to_owned());
        let secrets = ReceiverSecrets {
            secret_access_key: id.map(|_| Secret::new("hush".into())),
            ..ReceiverSecrets::default()
        };
        let source =
            Source::choose(id.map(str::to_owned), secrets, &environment).map_err(|e| e.to_string())?;
        Ok(match source {
            Source::Fixed { name, id, token, .. } => format!("{name}: {id} {}", token.is_some()),
            Source::Container { uri, authorization } => {
                let how = match authorization {
                    Authorization::None => "open".to_owned(),
                    Authorization::Token(_) => "token".to_owned(),
                    Authorization::File(path) => path.display().to_string(),
                };
                format!("{uri} {how}")
            }
            Source::Instance { base } => base.to_string(),
            Source::Nowhere => "nowhere".to_owned(),
        })
    }

    #[test]
    fn sources_are_looked_for_in_their_order() {
        let key = ("AWS_ACCESS_KEY_ID", "AKID");
        let secret = ("AWS_SECRET_ACCESS_KEY", "hush");
        let token = ("AWS_SESSION_TOKEN", "hush");
        let relative = ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/id");
        let full = ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:9/x");
        let file = ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "/token");
        let word = ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "hush");
        let all = [key, secret, token, relative, full, file, word];
        let ok = |text: &str| Ok(text.to_owned());
        assert_eq!(chosen(Some("OURS"), &all), ok("the configuration: OURS false"));
        assert_eq!(chosen(None, &all), ok("the environment: AKID true"));
        assert_eq!(chosen(None, &[key, secret]), ok("the environment: AKID false"));
        assert_eq!(chosen(None, &all[3..]), ok("http://169.254.170.2/v2/id /token"));
        assert_eq!(chosen(None, &[full, word]), ok("http://127.0.0.1:9/x token"));
        assert_eq!(chosen(None, &[full]), ok("http://127.0.0.1:9/x open"));
        assert_eq!(chosen(None, &[("AWS_ACCESS_KEY_ID", "")]), ok("http://169.254.169.254/"));
        assert_eq!(chosen(None, &[("AWS_EC2_METADATA_DISABLED", "True")]), ok("nowhere"));
        let endpoint = ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:7");
        assert_eq!(chosen(None, &[endpoint]), ok("http://127.0.0.1:7/"));
    }

    #[test]
    fn half_of_a_pair_and_foreign_endpoints_are_refused() {
        let wrong = |variables: &[(&str, &str)]| chosen(None, variables).unwrap_err();
        let half = "AWS_ACCESS_KEY_ID is set in the environment, and AWS_SECRET_ACCESS_KEY is not";
        assert_eq!(wrong(&[("AWS_ACCESS_KEY_ID", "AKID")]), half);
        for (name, value) in [
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://evil.example/"),
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "ftp://127.0.0.1/"),
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "/x"),
            ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "@evil.example/"),
            ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "nonsense"),
        ] {
            assert!(wrong(&[(name, value)]).starts_with(name), "{name}={value}");
        }
    }

    #[test]
    fn a_document_that_holds_no_credentials_is_not_quoted() {
        for (text, why) in [
            (r#"{"Code":"AssumeRoleUnauthorizedAccess","Message":"hush"}"#, "AssumeRoleUnauthorizedAccess"),
            (r#"{"SecretAccessKey":"hush"}"#, "the answer holds no credentials"),
            (r#"{"AccessKeyId":"","SecretAccessKey":"hush"}"#, "the answer holds no credentials"),
            ("hush", "the answer holds no credentials"),
        ] {
            assert_eq!(issued(&Secret::new(text.into())).unwrap_err(), why);
        }
        let whole = r#"{"Code":"Success","AccessKeyId":"A","SecretAccessKey":"hush","Token":"hush","Expiration":"2030-01-01T00:00:00Z"}"#;
        let issued = issued(&Secret::new(whole.into())).unwrap();
        assert_eq!(issued.ends, Millis::of_rfc3339("2030-01-01T00:00:00Z"));
        assert!(!format!("{issued:?}").contains("hush"));
    }
}
