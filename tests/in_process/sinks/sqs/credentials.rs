//! Credentials from each source, renewed before they end and when SQS says that they have ended, and shown nowhere.

use std::collections::HashMap;

use ringhookd::clock;
use serde_json::json;

use super::answers::keys;
use super::service::{Key, Keys, refused, say, taken};
use super::*;
use crate::sinks::http::receiver::{Act, Post, Receiver as Endpoint};

/// A sink without credentials in its configuration, in this environment.
fn sink_in(service: &Service, environment: &[(&str, &str)]) -> Sqs {
    let environment: HashMap<String, String> =
        environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let options = config::Sqs { access_key_id: None, ..to(&service.url("q.fifo")) };
    let lookup = move |name: &str| environment.get(name).cloned();
    Sqs::new(options, Format::CloudEvents, ReceiverSecrets::default(), &lookup).unwrap()
}

/// The temporary key of this number.
fn temporary(n: usize) -> Key {
    Key { id: format!("ASIA{n}"), secret: format!("hush-secret-{n}"), token: Some(format!("hush-token-{n}")) }
}

/// Issues temporary keys, the next at each question, each good for so long. The service knows those that it is told.
fn document(n: usize, lasts: Duration) -> Act {
    let Key { id, secret, token } = temporary(n);
    let ends = clock::now().plus(lasts).rfc3339();
    say(
        "200 OK",
        &json!({"Code": "Success", "AccessKeyId": id, "SecretAccessKey": secret, "Token": token, "Expiration": ends}),
    )
}

fn known(numbers: impl IntoIterator<Item = usize>) -> Keys {
    Arc::new(Mutex::new(numbers.into_iter().map(temporary).collect()))
}

fn container(behave: impl Fn(usize, &Post) -> Act + Send + Sync + 'static) -> (Endpoint, String) {
    let endpoint = Endpoint::start(behave);
    let uri = format!("{}/creds", endpoint.base());
    (endpoint, uri)
}

const FULL_URI: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";

#[tokio::test]
async fn the_environment_gives_a_key_with_or_without_a_session_token() {
    let all = keys();
    all.lock().unwrap().push(temporary(1));
    let service = Service::start(&all, |_, entries| taken(entries));
    let own = [("AWS_ACCESS_KEY_ID", KEY_ID), ("AWS_SECRET_ACCESS_KEY", SECRET)];
    assert_eq!(sink_in(&service, &own).deliver(one()).await, [Verdict::Done]);
    let temporary = [
        ("AWS_ACCESS_KEY_ID", "ASIA1"),
        ("AWS_SECRET_ACCESS_KEY", "hush-secret-1"),
        ("AWS_SESSION_TOKEN", "hush-token-1"),
    ];
    assert_eq!(sink_in(&service, &temporary).deliver(one()).await, [Verdict::Done]);
    // Those of the configuration come first.
    let options = to(&service.url("q.fifo"));
    let lookup =
        |name: &str| temporary.iter().find(|(of, _)| *of == name).map(|(_, value)| (*value).to_owned());
    let configured = Sqs::new(options, Format::CloudEvents, secrets(), &lookup).unwrap();
    assert_eq!(configured.deliver(one()).await, [Verdict::Done]);
    let last = service.posts().pop().unwrap();
    assert!(last.header("authorization").unwrap().contains(KEY_ID));
}

#[tokio::test]
async fn a_session_token_of_the_configuration_is_sent_and_never_shown() {
    let service = Service::start(&known([1]), |_, entries| taken(entries));
    let secrets = |secret: &str| ReceiverSecrets {
        secret_access_key: Some(Secret::new(secret.into())),
        session_token: Some(Secret::new("hush-token-1".into())),
        ..ReceiverSecrets::default()
    };
    let options = config::Sqs { access_key_id: Some("ASIA1".into()), ..to(&service.url("q.fifo")) };
    let sink = sink_of(&options, Format::CloudEvents, secrets("hush-secret-1"));
    assert_eq!(sink.deliver(one()).await, [Verdict::Done]);
    assert!(!format!("{sink:?}").contains("hush"), "{sink:?}");
    // The service repeats the token.
    let why = busy(&sink_of(&options, Format::CloudEvents, secrets("hush-wrong")).deliver(one()).await);
    assert!(why.contains("InvalidSignatureException") && !why.contains("hush-token"), "{why}");
}

#[tokio::test]
async fn a_container_is_asked_with_its_token_and_once_for_many_events() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "of-the-file\n").unwrap();
    let service = Service::start(&known([0]), |_, entries| taken(entries));
    let (endpoint, uri) = container(|n, _| document(n, Duration::from_hours(1)));
    let variable = ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "of-the-environment");
    for (more, token) in [
        (vec![], None),
        (vec![variable], Some("of-the-environment")),
        (
            vec![variable, ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", file.to_str().unwrap())],
            Some("of-the-file"),
        ),
    ] {
        let (endpoint, uri) = container(|_, _| document(0, Duration::from_hours(1)));
        let sink = sink_in(&service, &[vec![(FULL_URI, uri.as_str())], more].concat());
        let events: Vec<_> = (0..100).map(|n| leased(n, &format!("account-{n}"))).collect();
        assert_eq!(sink.deliver(events.into()).await, vec![Verdict::Done; 100]);
        let [asked] = &endpoint.posts()[..] else { panic!("asked once: {:?}", endpoint.posts()) };
        assert!(asked.head.starts_with("GET /creds HTTP/1.1\r\n"), "{}", asked.head);
        assert_eq!(asked.header("authorization"), token);
    }
    drop((endpoint, uri));
}

#[tokio::test]
async fn an_instance_is_asked_by_version_two_of_its_metadata() {
    let service = Service::start(&known([7]), |_, entries| taken(entries));
    let endpoint = Endpoint::start(|_, post| {
        let line = post.head.lines().next().unwrap();
        let authorized = post.header("x-aws-ec2-metadata-token") == Some("session");
        let text =
            |text: &str| Act::Say(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}", text.len()));
        match line {
            "PUT /latest/api/token HTTP/1.1" => {
                assert_eq!(post.header("x-aws-ec2-metadata-token-ttl-seconds"), Some("21600"));
                text("session")
            }
            "GET /latest/meta-data/iam/security-credentials/ HTTP/1.1" if authorized => text("my-role\n"),
            "GET /latest/meta-data/iam/security-credentials/my-role HTTP/1.1" if authorized => {
                document(7, Duration::from_hours(6))
            }
            _ => say("401 Unauthorized", &json!({})),
        }
    });
    let sink = sink_in(&service, &[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &endpoint.base())]);
    assert_eq!(sink.deliver(one()).await, [Verdict::Done]);
    assert_eq!(endpoint.posts().len(), 3);
}

#[tokio::test]
async fn temporary_credentials_are_renewed_before_they_end() {
    let service = Service::start(&known(0..100), |_, entries| taken(entries));
    // Half of their time is soon over, and the service takes them still: they are renewed although they are good.
    let (endpoint, uri) = container(|n, _| match n {
        0 => document(0, Duration::from_secs(2)),
        n => document(n, Duration::from_hours(1)),
    });
    let sink = sink_in(&service, &[(FULL_URI, &uri)]);
    while endpoint.posts().len() < 2 {
        assert_eq!(sink.deliver(one()).await, [Verdict::Done]);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(sink.deliver(one()).await, [Verdict::Done]);
    let last = service.posts().pop().unwrap();
    assert!(last.header("authorization").unwrap().contains("Credential=ASIA1/"), "{}", last.head);
    assert_eq!(endpoint.posts().len(), 2, "the new ones last");
}

#[tokio::test]
async fn credentials_that_can_not_be_renewed_are_used_as_long_as_sqs_takes_them() {
    let service = Service::start(&known([0]), |_, entries| taken(entries));
    let (endpoint, uri) = container(|n, _| match n {
        0 => document(0, Duration::ZERO),
        _ => say("500 Internal Server Error", &json!({})),
    });
    let sink = sink_in(&service, &[(FULL_URI, &uri)]);
    while endpoint.posts().len() < 2 {
        assert_eq!(sink.deliver(one()).await, [Verdict::Done]);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(sink.deliver(one()).await, [Verdict::Done]);
}

#[tokio::test]
async fn credentials_that_sqs_calls_expired_are_renewed_once_and_nothing_waits() {
    let service = Service::start(&known(0..100), |n, entries| match n {
        1 => refused("403 Forbidden", "ExpiredTokenException"),
        _ => taken(entries),
    });
    let (endpoint, uri) = container(|n, _| document(n, Duration::from_hours(1)));
    let sink = sink_in(&service, &[(FULL_URI, &uri)]);
    for _ in 0..3 {
        assert_eq!(sink.deliver(one()).await, [Verdict::Done]);
    }
    let ids: Vec<String> = service
        .posts()
        .iter()
        .map(|post| post.header("authorization").unwrap().split(['=', '/']).nth(1).unwrap().to_owned())
        .collect();
    assert_eq!(
        (ids, endpoint.posts().len()),
        (["ASIA0", "ASIA0", "ASIA1", "ASIA1"].map(str::to_owned).into(), 2)
    );
    // Those that are always expired are not asked for without end.
    let never = Service::start(&known(0..100), |_, _| refused("403 Forbidden", "ExpiredToken"));
    let why = busy(&sink_in(&never, &[(FULL_URI, &uri)]).deliver(one()).await);
    assert!(why.ends_with(": ExpiredToken: so it is (credentials from the container's endpoint)"), "{why}");
    assert_eq!(never.posts().len(), 2);
}

#[tokio::test]
async fn a_source_that_gives_none_is_told_and_uses_up_no_attempt() {
    let service = Service::start(&known([]), |_, entries| taken(entries));
    let refusing = |status: &'static str, body: serde_json::Value| container(move |_, _| say(status, &body));
    for ((endpoint, uri), why) in [
        (refusing("403 Forbidden", json!({"SecretAccessKey": "hush"})), "403 Forbidden"),
        (refusing("200 OK", json!({"SecretAccessKey": "hush"})), "the answer holds no credentials"),
        (refusing("200 OK", json!({"Code": "Failed", "Message": "hush"})), "Failed"),
    ] {
        let said = busy(&sink_in(&service, &[(FULL_URI, &uri)]).deliver(one()).await);
        assert!(said.ends_with(&format!(": no credentials from the container's endpoint: {why}")), "{said}");
        drop(endpoint);
    }
    let nowhere = format!("http://127.0.0.1:{}", crate::support::broker::free_port());
    let said =
        busy(&sink_in(&service, &[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &nowhere)]).deliver(one()).await);
    assert!(said.contains("write access_key_id and secret_key_file, or set AWS_ACCESS_KEY_ID"), "{said}");
    assert!(said.ends_with("(the instance's metadata: no connection: connection refused)"), "{said}");
    let said = busy(&sink_in(&service, &[("AWS_EC2_METADATA_DISABLED", "true")]).deliver(one()).await);
    assert!(said.ends_with("(nowhere: AWS_EC2_METADATA_DISABLED is set)"), "{said}");
}
