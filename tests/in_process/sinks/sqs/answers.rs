//! What each answer comes to, from a service that checks signatures: which events are done, failed, given back; and in which order.

use std::collections::HashSet;

use serde_json::Value;

use super::service::{Key, Keys, refused, taken, taken_but};
use super::*;
use crate::sinks::http::receiver::Act;

pub(super) fn keys() -> Keys {
    let key = Key { id: KEY_ID.into(), secret: SECRET.into(), token: None };
    Arc::new(Mutex::new(vec![key]))
}

fn service(behave: impl Fn(usize, &[Value]) -> Act + Send + Sync + 'static) -> Service {
    Service::start(&keys(), behave)
}

fn fifo(service: &Service) -> Sqs {
    sink(&to(&service.url("q.fifo")))
}

#[tokio::test]
async fn events_of_different_accounts_share_requests_of_ten_and_each_is_signed() {
    let service = service(|_, entries| {
        let accounts: HashSet<&str> =
            entries.iter().map(|entry| entry["MessageGroupId"].as_str().unwrap()).collect();
        assert_eq!(accounts.len(), entries.len(), "one of each account");
        taken(entries)
    });
    let mut options = to(&service.url("q.fifo"));
    options.target.parallel = 1;
    let events: Vec<_> = (0..75).map(|n| leased(n, &format!("account-{}", n % 25))).collect();
    assert_eq!(sink(&options).deliver(events.into()).await, vec![Verdict::Done; 75]);
    let requests = service.requests();
    assert_eq!(requests.iter().map(Vec::len).sum::<usize>(), 75);
    assert_eq!(requests.len(), 8, "as many as fit: {requests:?}");
    for account in 0..25 {
        let of = format!("account-{account}/");
        let keys: Vec<&String> = requests.iter().flatten().filter(|key| key.starts_with(&of)).collect();
        let numbers: Vec<u64> = keys.iter().map(|key| key[of.len()..].parse().unwrap()).collect();
        assert!(numbers.len() == 3 && numbers.is_sorted(), "{numbers:?}");
    }
}

#[tokio::test]
async fn a_request_is_never_larger_than_sqs_takes() {
    let service = service(|_, entries| {
        let bytes: usize = entries.iter().map(|entry| entry["MessageBody"].as_str().unwrap().len()).sum();
        assert!(bytes <= 1 << 20, "{bytes}");
        taken(entries)
    });
    let body = format!("\"{}\"", "x".repeat(400_000));
    let large = |n: u64| {
        let account = format!("account-{n}");
        Leased {
            event: event_of(&format!("{account}/{n}"), &account, body.as_bytes()),
            ..leased(n, &account)
        }
    };
    let events: Vec<_> = (0..5).map(large).collect();
    assert_eq!(fifo(&service).deliver(events.into()).await, vec![Verdict::Done; 5]);
    let sizes: Vec<usize> = service.requests().iter().map(Vec::len).collect();
    assert_eq!(sizes, [2, 2, 1]);
}

#[tokio::test]
async fn an_entry_that_fails_holds_up_its_account_and_no_other() {
    let service = service(|_, entries| {
        taken_but(entries, |key| match key {
            "b/3" => Some(("InvalidMessageContents", true)),
            "c/5" => Some(("InternalError", false)),
            _ => None,
        })
    });
    let events =
        [leased(1, "a"), leased(2, "a"), leased(3, "b"), leased(4, "b"), leased(5, "c"), leased(6, "c")];
    let verdicts = fifo(&service).deliver(events.into()).await;
    let [
        Verdict::Done,
        Verdict::Done,
        Verdict::Failed { why },
        Verdict::Untried,
        Verdict::Failed { .. },
        Verdict::Untried,
    ] = &verdicts[..]
    else {
        panic!("{verdicts:?}")
    };
    assert!(why.ends_with(": InvalidMessageContents: so it is"), "{why}");
    assert_eq!(service.requests(), [vec!["a/1", "b/3", "c/5"], vec!["a/2"]], "nothing behind what failed");
}

#[tokio::test]
async fn throttling_uses_up_no_attempt_whatever_was_taken_beside_it() {
    let service = service(|n, entries| match n {
        0 => refused("400 Bad Request", "RequestThrottled"),
        1 => taken_but(entries, |key| (key == "b/2").then_some(("ThrottlingException", true))),
        2 => refused("503 Service Unavailable", "ServiceUnavailable"),
        3 => taken_but(entries, |_| Some(("InternalError", false))),
        _ => taken(entries),
    });
    let sink = fifo(&service);
    let why = busy(&sink.deliver(one()).await);
    assert!(why.ends_with(": RequestThrottled: so it is"), "{why}");
    let events = || Arc::from([leased(1, "a"), leased(2, "b"), leased(3, "b")]);
    let verdicts = sink.deliver(events()).await;
    assert!(
        matches!(&verdicts[..], [Verdict::Done, Verdict::Busy { .. }, Verdict::Busy { .. }]),
        "{verdicts:?}"
    );
    for code in ["ServiceUnavailable", "InternalError"] {
        let verdicts = sink.deliver(events()).await;
        assert!(
            verdicts.iter().all(|v| matches!(v, Verdict::Busy { why, .. } if why.contains(code))),
            "{verdicts:?}"
        );
    }
    assert_eq!(sink.deliver(events()).await, vec![Verdict::Done; 3]);
}

#[tokio::test]
async fn a_wait_that_is_asked_for_is_kept() {
    let service = service(|_, _| {
        Act::Say("HTTP/1.1 503 Service Unavailable\r\nretry-after: 17\r\ncontent-length: 0\r\n\r\n".into())
    });
    let verdicts = fifo(&service).deliver(one()).await;
    let [Verdict::Busy { retry_after, why }] = &verdicts[..] else { panic!("{verdicts:?}") };
    assert_eq!(*retry_after, Some(Duration::from_secs(17)));
    assert!(why.ends_with(": 503 Service Unavailable"), "{why}");
}

#[tokio::test]
async fn a_missing_right_is_told_and_uses_up_no_attempt() {
    let service = service(|_, _| refused("403 Forbidden", "AccessDeniedException"));
    let why = busy(&fifo(&service).deliver(one()).await);
    assert!(why.ends_with(": AccessDeniedException: so it is (credentials from the configuration)"), "{why}");
}

#[tokio::test]
async fn wrong_credentials_are_told_and_not_shown() {
    let service = service(|_, entries| taken(entries));
    let wrong = ReceiverSecrets {
        secret_access_key: Some(Secret::new("hush-wrong".into())),
        ..ReceiverSecrets::default()
    };
    let options = to(&service.url("q.fifo"));
    let why = busy(&sink_of(&options, Format::CloudEvents, wrong).deliver(one()).await);
    assert!(why.contains("InvalidSignatureException: should have been"), "{why}");
    assert!(!why.contains("hush-wrong"), "{why}");
    let unknown = config::Sqs { access_key_id: Some("AKIDOFNOBODY".into()), ..options };
    let why = busy(&sink(&unknown).deliver(one()).await);
    assert!(why.contains("InvalidClientTokenId: "), "{why}");
    assert_eq!(service.posts().len(), 2, "fixed credentials are not tried again");
}

#[tokio::test]
async fn an_answer_that_is_cut_off_confirms_nothing() {
    let service = service(|n, entries| match (n, taken(entries)) {
        (0, Act::Say(whole)) => Act::SayAndClose(whole[..whole.len() - 5].to_owned()),
        (1, Act::Say(_)) => Act::SayAndClose("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}".into()),
        (2, _) => Act::SayAndClose("HTTP/1.1 200 OK\r\ncontent-length: 300\r\n\r\n".into()),
        (3, _) => Act::SayAndClose(String::new()),
        (_, act) => act,
    });
    let sink = fifo(&service);
    for _ in 0..4 {
        let why = busy(&sink.deliver(one()).await);
        assert!(why.starts_with("http://127.0.0.1:"), "{why}");
    }
    assert_eq!(sink.deliver(one()).await, [Verdict::Done]);
}

#[tokio::test]
async fn a_service_that_never_answers_is_given_up() {
    let service = service(|_, _| Act::Silence);
    let why = busy(&sink(&hasty(&service.url("q"))).deliver(one()).await);
    assert!(why.ends_with(": no answer in time"), "{why}");
}

#[tokio::test]
async fn a_queue_that_takes_no_message_at_all_blames_none() {
    let service = service(|_, _| refused("400 Bad Request", "InvalidParameterValue"));
    let verdicts = fifo(&service).deliver([leased(1, "a"), leased(2, "b")].into()).await;
    assert!(verdicts.iter().all(|verdict| matches!(verdict, Verdict::Busy { .. })), "{verdicts:?}");
    assert_eq!(service.requests(), [vec!["a/1", "b/2"], vec!["a/1"], vec!["b/2"]]);
    let verdicts = fifo(&service).deliver(one()).await;
    assert!(matches!(&verdicts[..], [Verdict::Failed { .. }]), "{verdicts:?}");
}
