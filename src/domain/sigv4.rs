//! AWS Signature Version 4: proves by HMAC-SHA256 who sends a request and that nobody has changed it.
//!
//! ```text
//! method, path, headers, hash of the body ─▶ canonical request ─▶ hash ┐
//! secret ─▶ key of the day ─▶ of the region ─▶ of the service ─────────┴▶ HMAC ─▶ Authorization
//! ```

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::secret::Secret;
use super::time::Millis;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
pub const DATE: &str = "x-amz-date";
pub const TOKEN: &str = "x-amz-security-token";

/// Who signs.
#[derive(Debug)]
pub struct Credentials {
    /// No secret: each request names it.
    pub access_key_id: String,
    pub secret_access_key: Secret<String>,
    /// Temporary credentials have one; it is sent and signed as [`TOKEN`].
    pub session_token: Option<Secret<String>>,
}

/// What a signature is good for, besides its day.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    pub region: &'a str,
    pub service: &'a str,
}

/// The parts of a request that are signed. It has no query.
#[derive(Debug)]
pub struct Request<'a> {
    pub method: &'a str,
    /// Of characters that need no encoding.
    pub path: &'a str,
    /// By names in small letters; with `host`, without [`DATE`] and [`TOKEN`].
    pub headers: &'a [(&'a str, &'a str)],
    pub body: &'a [u8],
}

/// The headers that a signature adds.
#[derive(Debug)]
pub struct Signed {
    /// The value of [`DATE`].
    pub date: String,
    /// The value of `authorization`.
    pub authorization: String,
}

/// Signs `request` as sent at `now`. The session token goes beside it as [`TOKEN`].
pub fn sign(request: &Request<'_>, credentials: &Credentials, scope: Scope<'_>, now: Millis) -> Signed {
    let date = timestamp(now);
    let day = &date[..8];
    let token = credentials.session_token.as_ref().map(|token| (TOKEN, token.expose().as_str()));
    let mut headers: Vec<(&str, &str)> = request.headers.to_vec();
    headers.push((DATE, &date));
    headers.extend(token);
    headers.sort_unstable();
    let names = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let canonical = canonical(request, &headers, &names);
    let Scope { region, service } = scope;
    let scope = format!("{day}/{region}/{service}/aws4_request");
    let to_sign = format!("{ALGORITHM}\n{date}\n{scope}\n{}", hash(canonical.as_bytes()));
    let secret = Zeroizing::new(format!("AWS4{}", credentials.secret_access_key.expose()));
    let key = Zeroizing::new(mac(secret.as_bytes(), day.as_bytes()));
    let key = Zeroizing::new(mac(&*key, region.as_bytes()));
    let key = Zeroizing::new(mac(&*key, service.as_bytes()));
    let key = Zeroizing::new(mac(&*key, b"aws4_request"));
    let signature = HEXLOWER.encode(&mac(&*key, to_sign.as_bytes()));
    let id = &credentials.access_key_id;
    let authorization =
        format!("{ALGORITHM} Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}");
    Signed { date, authorization }
}

/// With the session token in it, so it is overwritten.
fn canonical(request: &Request<'_>, headers: &[(&str, &str)], names: &str) -> Zeroizing<String> {
    let Request { method, path, body, .. } = request;
    let parts: Vec<[&str; 4]> =
        headers.iter().map(|(name, value)| [*name, ":", value.trim(), "\n"]).collect();
    let length = parts.iter().flatten().map(|part| part.len()).sum::<usize>();
    // Of its full size from the beginning: growing would leave copies behind.
    let mut text =
        Zeroizing::new(String::with_capacity(length + method.len() + path.len() + names.len() + 128));
    text.extend([*method, "\n", path, "\n\n"]);
    text.extend(parts.into_iter().flatten());
    text.extend(["\n", names, "\n", &hash(body)]);
    text
}

/// `20150830T123600Z`.
fn timestamp(now: Millis) -> String {
    let second = Millis(now.0 / 1000 * 1000).rfc3339();
    let mut digits: String = second.chars().filter(|c| !matches!(c, '-' | ':')).collect();
    digits.truncate(15);
    digits.push('Z');
    digits
}

fn hash(bytes: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(bytes))
}

fn mac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let keyed = <Hmac<Sha256> as KeyInit>::new_from_slice(key);
    keyed.expect("a key of any length is one").chain_update(text).finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2015-08-30T12:36:00Z, the moment of the published vectors.
    const THEN: Millis = Millis(1_440_938_160_000);
    const SESSION: &str = "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==";

    fn signed(method: &str, more: &[(&str, &str)], body: &str, token: Option<&str>) -> Signed {
        let credentials = Credentials {
            access_key_id: "AKIDEXAMPLE".into(),
            secret_access_key: Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into()),
            session_token: token.map(|token| Secret::new(token.into())),
        };
        let headers = [&[("host", "example.amazonaws.com")], more].concat();
        let request = Request { method, path: "/", headers: &headers, body: body.as_bytes() };
        sign(&request, &credentials, Scope { region: "us-east-1", service: "service" }, THEN)
    }

    /// The vectors of AWS's published suite (aws-sig-v4-test-suite), by their names in it.
    #[test]
    fn the_published_vectors() {
        let form = ("content-type", "application/x-www-form-urlencoded");
        for (vector, signed, names, signature) in [
            (
                "get-vanilla",
                signed("GET", &[], "", None),
                "host;x-amz-date",
                "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
            ),
            (
                "post-vanilla",
                signed("POST", &[], "", None),
                "host;x-amz-date",
                "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
            ),
            (
                "post-header-key-sort",
                signed("POST", &[("my-header1", " value1 ")], "", None),
                "host;my-header1;x-amz-date",
                "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c",
            ),
            (
                "post-x-www-form-urlencoded",
                signed("POST", &[form], "Param1=value1", None),
                "content-type;host;x-amz-date",
                "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
            ),
            (
                "post-sts-header-before",
                signed("POST", &[], "", Some(SESSION)),
                "host;x-amz-date;x-amz-security-token",
                "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead",
            ),
        ] {
            let expected = format!(
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders={names}, \
                 Signature={signature}"
            );
            assert_eq!(
                (signed.authorization, signed.date.as_str()),
                (expected, "20150830T123600Z"),
                "{vector}"
            );
        }
    }

    #[test]
    fn a_part_of_a_second_is_no_part_of_the_date() {
        assert_eq!(timestamp(Millis(THEN.0 + 999)), "20150830T123600Z");
    }

    #[test]
    fn credentials_are_never_printed() {
        let credentials = Credentials {
            access_key_id: "AKIDEXAMPLE".into(),
            secret_access_key: Secret::new("hush".into()),
            session_token: Some(Secret::new("hush".into())),
        };
        assert!(!format!("{credentials:?}").contains("hush"));
    }
}
