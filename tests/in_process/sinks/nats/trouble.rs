//! What befalls servers and connections, and what single events meet.

use ringhookd::delivery::{Sink, Verdict};
use ringhookd::domain::ids::DeviceId;
use ringhookd::domain::secret::Secret;
use ringhookd::store::Leased;

use super::super::cases::{nothing_is_lost_through, nothing_is_lost_through_a_cut};
use super::super::certificates::{Certificates, both_sides_show_a_certificate};
use super::super::http::{busy, leased, one};
use super::*;
use crate::support::proxy::{Answers, Proxy};
use crate::support::user;

/// A server whose stream is read, so what it stored twice would show.
struct Stored {
    streams: Streams,
    /// In front of the server.
    proxy: Option<Proxy>,
    taken: Mutex<Vec<Arrival>>,
}

impl Stored {
    fn new() -> Self {
        let streams = Streams { broker: Mutex::new(server("")), seen: Arc::default() };
        streams.create(&json!({}));
        Self { streams, proxy: None, taken: Mutex::default() }
    }

    async fn behind_a_proxy() -> Self {
        let stored = Self::new();
        let proxy = Proxy::before(stored.streams.port()).await;
        Self { proxy: Some(proxy), ..stored }
    }
}

impl Kind for Stored {
    fn start(&self, store: &Store, name: &str, faults: Faults) -> Worker {
        let port = self.proxy.as_ref().map_or_else(|| self.streams.port(), Proxy::port);
        let target = Target { timeout: Duration::from_secs(2), ..to(port) };
        dispatch(store, name, sink(target, name, ReceiverSecrets::default()), faults)
    }

    fn arrived(&self, _: &str) -> Vec<Arrival> {
        let mut taken = self.taken.lock().unwrap();
        if let Some(mut client) = Client::connect(self.streams.port()) {
            while let Some(message) = client.stored(taken.len() + 1) {
                taken.push(arrival(&message));
            }
        }
        taken.clone()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_and_comes_back_loses_nothing() {
    nothing_is_lost_through(Stored::new(), async |stored, given_up| {
        stored.streams.broker.lock().unwrap().kill();
        given_up.await;
        stored.streams.broker.lock().unwrap().again();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_frozen_and_thaws_loses_nothing() {
    nothing_is_lost_through(Stored::new(), async |stored, given_up| {
        stored.streams.broker.lock().unwrap().freeze();
        given_up.await;
        stored.streams.broker.lock().unwrap().thaw();
    })
    .await;
}

async fn cut_while(answers: Answers) {
    let stored = Stored::behind_a_proxy().await;
    nothing_is_lost_through_a_cut(stored, |stored| stored.proxy.as_ref().unwrap(), answers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn confirmations_that_are_lost_before_the_connection_is_cut_lose_nothing() {
    cut_while(Answers::Lost).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_half_open_loses_nothing() {
    cut_while(Answers::Dead).await;
}

#[tokio::test]
async fn a_wrong_password_or_token_is_told_without_it() {
    let users = server("authorization { users: [{ user: ann, password: right }] }");
    let secret = |text: &str| Some(Secret::new(text.to_owned()));
    let with = |text: &str| ReceiverSecrets { password: secret(text), ..ReceiverSecrets::default() };
    let ann = || Target { username: Some("ann".into()), ..to(users.port()) };
    let (_, why) = busy(&sink(ann(), "out", with("hush-wrong")).deliver(one()).await);
    let begin = format!("nats://127.0.0.1:{}: the server takes no such user", users.port());
    assert!(why.starts_with(&begin) && !why.contains("hush"), "{why}");
    // The right one comes as far as the stream, which is missing.
    let (_, why) = busy(&sink(ann(), "out", with("right")).deliver(one()).await);
    assert!(why.contains("no stream takes q.out.>"), "{why}");

    let tokens = server("authorization { token: right }");
    let with = |text: &str| ReceiverSecrets { bearer: secret(text), ..ReceiverSecrets::default() };
    let (_, why) = busy(&sink(to(tokens.port()), "out", with("hush-wrong")).deliver(one()).await);
    assert!(why.contains("takes no such user") && !why.contains("hush"), "{why}");
    let (_, why) = busy(&sink(to(tokens.port()), "out", with("right")).deliver(one()).await);
    assert!(why.contains("nats stream add"), "{why}");
}

#[tokio::test]
async fn a_subject_that_is_not_allowed_fails_alone() {
    let denied = "authorization { users: [{ user: ann, password: p, permissions: { publish: { deny: \"q.out.eve.>\" }, subscribe: \"_INBOX.>\" } }] }";
    let streams = Streams { broker: Mutex::new(server(denied)), seen: Arc::default() };
    let secrets =
        || ReceiverSecrets { password: Some(Secret::new("p".into())), ..ReceiverSecrets::default() };
    let ann = Target { username: Some("ann".into()), ..to(streams.port()) };
    let nats = sink(ann, "out", secrets());
    let mut eves = leased(1, "a");
    eves.event.user = Some(user("eve"));
    let verdicts = nats.deliver([eves].into()).await;
    let [Verdict::Failed { why }] = &verdicts[..] else { panic!("{verdicts:?}") };
    assert!(why.contains("Permissions Violation for Publish"), "{why}");
    // The connection stays, and others go over it.
    let (_, why) = busy(&nats.deliver(one()).await);
    assert!(why.contains("no stream takes"), "{why}");
}

fn of(account: &str, body: usize) -> Leased {
    let mut leased = leased(1, account);
    leased.event.body = vec![b'x'; body].into();
    leased
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused_with_both_sizes() {
    let streams = Streams { broker: Mutex::new(server("max_payload: 20000")), seen: Arc::default() };
    streams.create(&json!({"max_msg_size": 10000}));
    let nats = sink(to(streams.port()), "out", ReceiverSecrets::default());
    let verdicts = nats.deliver([of("a", 20_000), of("b", 8_000), of("c", 10)].into()).await;
    let [Verdict::Refused { why: server }, Verdict::Refused { why: stream }, Verdict::Done] = &verdicts[..]
    else {
        panic!("{verdicts:?}")
    };
    assert!(server.contains("max_payload is 20000"), "{server}");
    assert!(stream.contains("message size exceeds maximum allowed"), "{stream}");
}

#[tokio::test]
async fn a_stream_that_is_full_uses_up_no_attempt_and_one_that_has_room_again_takes_all() {
    let streams = Streams { broker: Mutex::new(server("")), seen: Arc::default() };
    streams.create(&json!({"max_msgs": 1}));
    let nats = sink(to(streams.port()), "out", ReceiverSecrets::default());
    assert_eq!(nats.deliver(one()).await, [Verdict::Done]);
    let next: Arc<[Leased]> = [leased(8, "a")].into();
    let (_, why) = busy(&nats.deliver(Arc::clone(&next)).await);
    assert!(why.contains("maximum messages exceeded"), "{why}");
    // The same event again is known, and confirmed although there is no room.
    assert_eq!(nats.deliver(one()).await, [Verdict::Done]);
    streams.client().ask("STREAM.PURGE.all", &json!({})).unwrap();
    assert_eq!(nats.deliver(next).await, [Verdict::Done]);
}

#[tokio::test]
async fn hostile_ids_stay_in_their_own_token() {
    let streams = Streams::new(Path::new(""));
    let nats = sink(to(streams.port()), "out", ReceiverSecrets::default());
    let mut events = Vec::new();
    for (n, id) in ["a.b", "*", ">", "$JS.API", "-", "\u{e9} \u{1f514}", &"x".repeat(200)].iter().enumerate()
    {
        let mut leased = leased(n as u64, &format!("account-{n}"));
        leased.event.user = Some(user(id));
        leased.event.device = Some(DeviceId::new(id).unwrap());
        leased.event.kind = "a b\r\nPUB x 0\t".into();
        leased.event.key = format!("{n} \r\nce-id: x");
        events.push(leased);
    }
    let count = events.len();
    assert_eq!(nats.deliver(events.into()).await, vec![Verdict::Done; count]);
    let mut client = streams.client();
    for n in 0..count {
        let message = client.stored(n + 1).unwrap();
        let tokens: Vec<_> = message.subject.split('.').collect();
        assert_eq!((tokens.len(), tokens[0], tokens[1]), (5, "q", "out"), "{}", message.subject);
        assert!(!message.subject.contains(['*', '>', ' ', '$']), "{}", message.subject);
        // No header of another's making, not even of an id with a line end in it.
        assert_eq!(message.header("Nats-Msg-Id"), Some(&*format!("{n}%20%0D%0Ace-id:%20x")));
        assert!(message.header("ce-id").unwrap().ends_with("ce-id:%20x"), "{}", message.headers);
        assert_eq!(message.header("ce-specversion"), Some("1.0"));
        assert_eq!(message.header("content-type"), Some("application/cloudevents+json; charset=UTF-8"));
    }
}

#[tokio::test]
async fn the_content_is_as_the_format_says() {
    let streams = Streams::new(Path::new(""));
    let subject = || Template::parse("q.out.{type}").unwrap();
    for (n, format) in [(1, Format::CloudEventsBinary), (2, Format::Raw)] {
        let options = config::Nats { target: to(streams.port()), subject: subject() };
        let nats = Nats::new(options, format, ReceiverSecrets::default()).unwrap();
        let event = leased(n, "a");
        assert_eq!(nats.deliver([event.clone()].into()).await, [Verdict::Done]);
        let message = streams.client().stored(usize::try_from(n).unwrap()).unwrap();
        assert_eq!(message.payload, event.event.body);
        assert_eq!(message.subject, "q.out.button_press");
        let is_raw = format == Format::Raw;
        assert_eq!(message.header("ce-ringaccount"), (!is_raw).then_some("a"));
        assert_eq!(message.header("content-type"), (!is_raw).then_some("application/json"));
    }
}

#[tokio::test]
async fn what_is_no_nats_server_is_told() {
    let other = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = other.local_addr().unwrap().port();
    let answering = tokio::spawn(async move {
        while let Ok((stream, _)) = other.accept().await {
            let _ = stream.writable().await;
            let _ = stream.try_write(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let (_, why) = busy(&sink(to(port), "out", ReceiverSecrets::default()).deliver(one()).await);
    assert!(why.contains("this is no NATS server"), "{why}");
    answering.abort();
    let nobody = crate::support::broker::free_port();
    let (_, why) = busy(&sink(to(nobody), "out", ReceiverSecrets::default()).deliver(one()).await);
    assert_eq!(why, format!("nats://127.0.0.1:{nobody}: no connection: connection refused"));
}

/// Its stream is made before it speaks TLS, by a client of the tests that does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_shown_and_asked_for() {
    let certificates = Certificates::new("daemon");
    let streams = Streams { broker: Mutex::new(server("include secured.conf")), seen: Arc::default() };
    streams.create(&json!({}));
    let port = streams.port();
    {
        let mut broker = streams.broker.lock().unwrap();
        broker.kill();
        let folder = broker.folder().to_owned();
        certificates.write(&folder);
        let file = |name: &str| folder.join(name).display().to_string();
        let [ca, certificate, key] = ["ca.pem", "server.pem", "server.key"].map(file);
        let tls = format!(
            "tls {{ ca_file: \"{ca}\", cert_file: \"{certificate}\", key_file: \"{key}\", verify: true }}\n"
        );
        std::fs::write(folder.join("secured.conf"), tls).unwrap();
        broker.again();
    }
    let url = Receiver::parse(&format!("tls://127.0.0.1:{port}"), &["nats", "tls"]).unwrap();
    let target = Target { url, ..to(port) };
    both_sides_show_a_certificate(&certificates, |secrets| sink(target.clone(), "out", secrets)).await;
}
