//! TLS: what the two sides agree on, peers that never come to an end of their handshake, and the same hostile bytes inside it.

use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::hostile::{cases, exchange_over, post};
use super::*;
use crate::telemetry::{Evicted, Handshake};
use crate::tls::server::{Answers, Challenges, Pair, Shown};

/// Longer than anything in these tests takes.
const LONG: Duration = Duration::from_mins(1);
const HTTP: &[&[u8]] = &[b"http/1.1"];

/// What a server shows, and whom its clients trust.
struct Certificate {
    pair: Pair,
    roots: RootCertStore,
}

fn certificate() -> Certificate {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, "a server");
    let own = params.self_signed(&key).unwrap();
    let (chain, of_it) = (own.pem(), key.serialize_pem());
    let pair = Pair::read(chain.as_bytes(), of_it.as_bytes()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(own.der().clone()).unwrap();
    Certificate { pair, roots }
}

/// A server with TLS over pipes, and how its clients connect.
struct Secured {
    running: Running,
    dialer: Dialer,
    shown: Arc<Shown>,
    challenges: Arc<Challenges>,
    certificate: Certificate,
    metrics: Metrics,
}

fn secured(limits: Limits) -> Secured {
    let (certificate, metrics) = (certificate(), Metrics::default());
    let (shown, challenges) = (Shown::new(Some(&certificate.pair)), Arc::default());
    let (sender, receiver) = mpsc::channel(16);
    let answers = Answers::new(Arc::clone(&shown), Some(Arc::clone(&challenges))).unwrap();
    let running = start(limits, TlsListener::new(Pipes(receiver), answers, metrics.clone()));
    Secured { running, dialer: Dialer(sender), shown, challenges, certificate, metrics }
}

fn client(roots: &RootCertStore, version: &'static SupportedProtocolVersion, alpn: &[&[u8]]) -> TlsConnector {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
    let mut config = config.with_root_certificates(roots.clone()).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}

async fn connect<S>(connector: &TlsConnector, stream: S) -> io::Result<TlsStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    connector.connect(ServerName::try_from("localhost").unwrap(), stream).await
}

impl Secured {
    async fn dial_with(&self, connector: &TlsConnector) -> io::Result<TlsStream<DuplexStream>> {
        connect(connector, self.dialer.dial().await).await
    }

    async fn dial(&self) -> TlsStream<DuplexStream> {
        self.dial_with(&client(&self.certificate.roots, &TLS13, HTTP)).await.unwrap()
    }

    /// Until so many handshakes came out so.
    async fn counted(&self, outcome: Handshake, count: usize) {
        let line = format!("ringhookd_tls_handshakes_total{{outcome=\"{}\"}} {count}\n", outcome.as_str());
        for _ in 0..1000 {
            if self.metrics.render().contains(&line) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("no {line} in {}", self.metrics.render());
    }
}

async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    stream.write_all(GET.as_bytes()).await.unwrap();
    let got = until(stream, "got").await;
    assert!(got.starts_with("HTTP/1.1 200"), "{got:?}");
}

/// The first flight of a handshake.
async fn hello() -> Vec<u8> {
    let (ours, mut theirs) = duplex(16 * 1024);
    let connecting =
        tokio::spawn(async move { connect(&client(&certificate().roots, &TLS13, HTTP), ours).await });
    let mut hello = vec![0; 5];
    theirs.read_exact(&mut hello).await.unwrap();
    let mut rest = vec![0; usize::from(u16::from_be_bytes([hello[3], hello[4]]))];
    theirs.read_exact(&mut rest).await.unwrap();
    connecting.abort();
    [hello, rest].concat()
}

#[tokio::test(start_paused = true)]
async fn both_versions_are_spoken_and_a_stop_ends_each_connection_as_tls_does() {
    let server = secured(Limits { keep_alive_idle: LONG, ..limits() });
    let mut open = Vec::new();
    for (version, alpn) in [(&TLS12, HTTP), (&TLS13, HTTP), (&TLS13, &[])] {
        let connector = client(&server.certificate.roots, version, alpn);
        let mut stream = server.dial_with(&connector).await.unwrap();
        ask(&mut stream).await;
        assert_eq!(stream.get_ref().1.alpn_protocol(), alpn.first().copied());
        open.push(stream);
    }
    let refused = server.dial_with(&client(&server.certificate.roots, &TLS13, &[b"h2"])).await;
    assert!(refused.is_err_and(|error| error.to_string().contains("NoApplicationProtocol")));
    server.counted(Handshake::Complete, 3).await;
    server.counted(Handshake::Failed, 1).await;
    // A request is under way on the first.
    open[0].write_all(get("/late").as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    let stopped = tokio::spawn(server.running.stop(LONG));
    let got = until(&mut open[0], "late").await;
    assert!(got.contains("connection: close"), "{got:?}");
    for mut stream in open {
        // An end without a word would be an error.
        assert_eq!(stream.read(&mut [0; 9]).await.unwrap(), 0);
    }
    assert_eq!(stopped.await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_handshake_or_never_ends_is_closed_and_plain_http_is_told() {
    let server = secured(Limits { setup_timeout: LONG / 2, ..limits() });
    let hello = hello().await;
    let half = &hello[..hello.len() / 2];
    // A handshake message that never ends, in records of the largest size.
    let record = [&[0x16, 3, 1, 0x40, 0][..], &[1, 0xff, 0xff, 0xff], &[0; 0x4000 - 4]].concat();
    let endless =
        [record.as_slice(), &[&[0x16, 3, 1, 0x40, 0][..], &[0; 0x4000]].concat().repeat(64)].concat();
    let alert = |got: &str| got.is_empty() || got.starts_with('\u{15}');
    for (sent, outcome) in [
        (&b"\x16garbage"[..], Handshake::Failed),
        (b"\x80\x2e\x01\x03\x01", Handshake::Failed),
        (b"\0\0\0\0", Handshake::Failed),
        (&endless, Handshake::Failed),
        (half, Handshake::Unfinished),
        (&hello, Handshake::Unfinished),
        (b"", Handshake::Unfinished),
    ] {
        let mut stream = server.dialer.dial().await;
        let before = clock::ticks();
        let _ = stream.write_all(sent).await;
        let got = until_closed(&mut stream).await;
        let in_time = if outcome == Handshake::Unfinished { LONG / 2 } else { Duration::ZERO };
        assert_eq!(before.elapsed().as_secs(), in_time.as_secs(), "{:?}", sent.get(..9));
        assert!(sent == hello || alert(&got), "{:?}: {got:?}", sent.get(..9));
    }
    server.counted(Handshake::Failed, 4).await;
    server.counted(Handshake::Unfinished, 3).await;
    let mut plain = server.dialer.dial().await;
    plain.write_all(GET.as_bytes()).await.unwrap();
    plain.shutdown().await.unwrap();
    let got = until_closed(&mut plain).await;
    assert!(got.starts_with("HTTP/1.1 400") && got.contains("https://"), "{got:?}");
    server.counted(Handshake::PlainHttp, 1).await;
    ask(&mut server.dial().await).await;
}

#[tokio::test(start_paused = true)]
async fn a_handshake_and_the_first_head_each_have_their_own_time() {
    let (setup, head) = (Duration::from_secs(7), Duration::from_secs(3));
    let server = secured(Limits { setup_timeout: setup, header_timeout: head, ..limits() });
    let (mut ours, theirs) = duplex(16 * 1024);
    let mut wire = server.dialer.dial().await;
    let slow = tokio::spawn(async move {
        tokio::time::sleep(setup.saturating_sub(Duration::from_secs(1))).await;
        let _ = tokio::io::copy_bidirectional(&mut wire, &mut ours).await;
    });
    let mut stream = connect(&client(&server.certificate.roots, &TLS13, HTTP), theirs).await.unwrap();
    tokio::time::sleep(head.saturating_sub(Duration::from_secs(1))).await;
    ask(&mut stream).await;
    drop(stream);
    slow.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn handshakes_that_do_not_go_on_give_their_places_to_webhooks() {
    let limits = Limits { max_connections: 4, setup_timeout: LONG, keep_alive_idle: LONG, ..limits() };
    let server = secured(limits);
    let mut genuine = server.dial().await;
    genuine
        .write_all((post("Content-Length: 1\r\n", "x").replace("/x", "/genuine")).as_bytes())
        .await
        .unwrap();
    until(&mut genuine, "genuine").await;
    let hello = hello().await;
    let mut crowd = Vec::new();
    for n in 0..40 {
        let mut stream = server.dialer.dial().await;
        stream.write_all(&hello[..hello.len() / (1 + n % 3)]).await.unwrap();
        crowd.push(stream);
        tokio::time::sleep(Duration::from_millis(1)).await;
        if n % 10 == 0 {
            ask(&mut server.dial().await).await;
        }
    }
    ask(&mut genuine).await;
    assert!(server.running.server.metrics.evictions(Evicted::Silent) >= 36);
    assert_eq!(server.running.server.metrics.refusals(HttpRefusal::Connections), 0);
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_is_under_way_at_a_stop_is_served() {
    let server = secured(Limits { setup_timeout: LONG, ..limits() });
    let (mut ours, theirs) = duplex(16 * 1024);
    let mut wire = server.dialer.dial().await;
    let hello = hello().await;
    let mut silent = server.dialer.dial().await;
    silent.write_all(&hello[..9]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    let stopped = tokio::spawn(server.running.stop(LONG));
    tokio::time::sleep(Duration::from_millis(500)).await;
    let slow = tokio::spawn(async move {
        let _ = tokio::io::copy_bidirectional(&mut wire, &mut ours).await;
    });
    let mut stream = connect(&client(&server.certificate.roots, &TLS13, HTTP), theirs).await.unwrap();
    stream.write_all(GET.as_bytes()).await.unwrap();
    let got = until_closed(&mut stream).await;
    assert!(got.starts_with("HTTP/1.1 200") && got.contains("connection: close"), "{got:?}");
    assert_eq!(until_closed(&mut silent).await, "");
    assert_eq!(stopped.await.unwrap(), 0);
    drop(stream);
    slow.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn another_certificate_is_for_new_connections_and_open_ones_go_on() {
    let server = secured(Limits { keep_alive_idle: LONG, ..limits() });
    let mut old = server.dial().await;
    ask(&mut old).await;
    let new = certificate();
    let of_new = client(&new.roots, &TLS13, HTTP);
    assert!(server.dial_with(&of_new).await.is_err());
    server.shown.show(&new.pair);
    ask(&mut server.dial_with(&of_new).await.unwrap()).await;
    ask(&mut old).await;
    assert!(server.dial_with(&client(&server.certificate.roots, &TLS12, HTTP)).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_proof_is_shown_to_an_authority_alone_and_while_an_order_is_under_way() {
    const ACME: &[&[u8]] = &[b"acme-tls/1"];
    let server = secured(limits());
    let key = KeyPair::generate().unwrap();
    let proof = CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(proof.der().clone()).unwrap();
    let looks = |alpn: &'static [&'static [u8]]| client(&roots, &TLS13, alpn);
    assert!(server.dial_with(&looks(ACME)).await.is_err(), "no order is under way");
    let shown = server.challenges.show(
        "localhost".into(),
        proof.der().clone(),
        key.serialize_der().try_into().unwrap(),
    );
    let mut stream = server.dial_with(&looks(ACME)).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"acme-tls/1".as_slice()));
    // Nothing is spoken inside, and the end is TLS's own.
    assert_eq!(stream.read(&mut [0; 9]).await.unwrap(), 0);
    server.counted(Handshake::Proof, 1).await;
    // One that offers HTTP too gets the server's own certificate, which it does not trust here.
    assert!(server.dial_with(&looks(&[b"acme-tls/1", b"http/1.1"])).await.is_err());
    ask(&mut server.dial().await).await;
    drop(shown);
    assert!(server.dial_with(&looks(ACME)).await.is_err());
    server.counted(Handshake::Proof, 1).await;
}

#[tokio::test]
async fn inside_tls_hostile_bytes_get_the_answers_that_they_get_outside() {
    let certificate = certificate();
    let answers = Answers::new(Shown::new(Some(&certificate.pair)), None).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let running = start(patient(), TlsListener::new(listener, answers, Metrics::default()));
    let connector = client(&certificate.roots, &TLS13, HTTP);
    let mut exchanges = JoinSet::new();
    for (name, raw, status) in cases() {
        let connector = connector.clone();
        exchanges.spawn(async move {
            let stream = connect(&connector, TcpStream::connect(address).await.unwrap()).await.unwrap();
            (name, status, exchange_over(stream, &raw).await)
        });
    }
    while let Some(exchanged) = exchanges.join_next().await {
        let (name, status, got) = exchanged.unwrap();
        let begins = if status.is_empty() { String::new() } else { format!("HTTP/1.1 {status}") };
        assert!(got.starts_with(&begins) && got.is_empty() == status.is_empty(), "{name}: {got:?}");
    }
    assert_eq!(running.stop(Duration::from_secs(5)).await, 0);
}
