//! Keys that only queues of kind `sqs` have: the region, and credentials that are written here.

use super::files::ReceiverFiles;
use super::kinds::Kind;
use super::model::{QueueKind, Sqs, Target};
use super::raw::{Echo, Section};
use super::value::{Wrong, text};

/// The queue's own keys, and its secrets in `files`; none where the receiver or one of them is missing or wrong.
pub(super) fn sqs(
    s: &mut Section<'_>,
    kind: Option<Kind>,
    target: Option<&Target>,
    files: &mut ReceiverFiles,
) -> Option<QueueKind> {
    let is_sqs = kind.map(|kind| kind == Kind::Sqs);
    let source = s.source();
    s.only_where(is_sqs, "kind = \"sqs\"");
    let region = s.optional("region", "eu-west-1", Echo::Shown, text(region));
    let access_key_id = s.optional("access_key_id", "AKIAIOSFODNN7EXAMPLE", Echo::Hidden, text(key_id));
    let secret = s.optional("secret_key_file", "credential:aws.secret-key", Echo::Hidden, text(&source));
    let token = s.optional("session_token_file", "credential:aws.token", Echo::Hidden, text(&source));
    if is_sqs != Some(true) {
        return None;
    }
    for (there, is_there, missing, is_missing) in [
        ("access_key_id", access_key_id.is_some(), "secret_key_file", secret.is_none()),
        ("secret_key_file", secret.is_some(), "access_key_id", access_key_id.is_none()),
        ("session_token_file", token.is_some(), "secret_key_file", secret.is_none()),
    ] {
        if is_there && is_missing && s.sound(&[missing]) {
            s.refuse_hidden(there, format!("goes with {missing}, which is missing"));
        }
    }
    files.secret_access_key = secret.map(|source| s.named("secret_key_file", source));
    files.session_token = token.map(|source| s.named("session_token_file", source));
    let target = target?.clone();
    if !target.url.is_encrypted() && !target.url.is_local() {
        let why = "write https://; plain http:// is for loopback addresses only, since the session token would be read on the way";
        s.refuse_hidden("url", why.into());
        return None;
    }
    if !names_a_queue(&target) {
        let why =
            "ends with the account and the name of the queue, such as /123456789012/ring; nothing follows it";
        s.refuse_hidden("url", why.into());
        return None;
    }
    let region = region.or_else(|| region_of(target.url.host()));
    if region.is_none() && s.sound(&["region"]) {
        s.missing(
            "region",
            "is missing, and the host of url does not tell it; write one such as region = \"eu-west-1\"",
        );
    }
    Some(QueueKind::Sqs(Sqs { target, region: region?, access_key_id }))
}

fn names_a_queue(target: &Target) -> bool {
    let uri = target.url.uri();
    let name = uri.path().rsplit('/').next().unwrap_or_default();
    !name.is_empty() && uri.query().is_none()
}

fn region(text: &str) -> Result<String, Wrong> {
    let fits = (1..=64).contains(&text.len())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if fits { Ok(text.into()) } else { Err(Wrong::Form("a region")) }
}

fn key_id(text: &str) -> Result<String, Wrong> {
    let fits = (1..=128).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if fits { Ok(text.into()) } else { Err(Wrong::Form("the id of an access key")) }
}

/// The region in the name of one of AWS's hosts, such as `sqs.eu-west-1.amazonaws.com`, `eu-west-1.queue.amazonaws.com`, and
/// `vpce-1.sqs.eu-west-1.vpce.amazonaws.com`.
fn region_of(host: &str) -> Option<String> {
    let of_aws = [".amazonaws.com", ".amazonaws.com.cn", ".api.aws"];
    of_aws.iter().find(|domain| host.ends_with(**domain))?;
    let labels: Vec<&str> = host.split('.').collect();
    let beside = labels.windows(2).find_map(|pair| match pair {
        ["sqs" | "sqs-fips", region] | [region, "queue"] => Some(*region),
        _ => None,
    });
    beside.and_then(|text| region(text).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_region_is_read_from_the_hosts_of_aws_alone() {
        for (host, expected) in [
            ("sqs.eu-west-1.amazonaws.com", Some("eu-west-1")),
            ("sqs-fips.us-gov-west-1.amazonaws.com", Some("us-gov-west-1")),
            ("sqs.cn-north-1.amazonaws.com.cn", Some("cn-north-1")),
            ("sqs.eu-central-1.api.aws", Some("eu-central-1")),
            ("ap-south-1.queue.amazonaws.com", Some("ap-south-1")),
            ("vpce-1-abc.sqs.eu-west-1.vpce.amazonaws.com", Some("eu-west-1")),
            ("queue.amazonaws.com", None),
            ("sqs.eu-west-1.example.com", None),
            ("127.0.0.1", None),
        ] {
            assert_eq!(region_of(host).as_deref(), expected, "{host}");
        }
    }
}
