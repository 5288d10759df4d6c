//! Bytes that are not one clean request, over real sockets.

use super::*;

/// Sends `raw` on a fresh connection and returns what came until the close.
async fn exchange(address: std::net::SocketAddr, raw: &[u8]) -> String {
    exchange_over(TcpStream::connect(address).await.unwrap(), raw).await
}

pub(super) async fn exchange_over<S>(mut stream: S, raw: &[u8]) -> String
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    // The server may have had enough before all is written.
    let _ = stream.write_all(raw).await;
    until_closed(&mut stream).await
}

pub(super) fn post(headers: &str, body: &str) -> String {
    format!("POST /x HTTP/1.1\r\nHost: a\r\n{headers}\r\n{body}")
}

/// What a peer sends, and how its answer has to begin; none for a close without a word.
pub(super) fn cases() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let smuggled = "0\r\n\r\nGET /second HTTP/1.1\r\nHost: a\r\n\r\n";
    let cl_te = post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", smuggled);
    let te_cl = post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", smuggled);
    let chunk = format!("{CAP:x}\r\n{}\r\n", "x".repeat(CAP));
    let growing = chunk.repeat(3) + "0\r\n\r\n";
    let expecting = "Content-Length: 10000000000\r\nExpect: 100-continue\r\n";
    let texts = [
        ("te and cl", te_cl, "400"),
        ("cl and te", cl_te, "400"),
        ("two lengths", post("Content-Length: 3\r\nContent-Length: 4\r\n", "abcd"), "400"),
        ("a length twice", post("Content-Length: 3\r\nContent-Length: 3\r\n", "abc"), "400"),
        ("a list of lengths", post("Content-Length: 3, 3\r\n", "abc"), "400"),
        ("a signed length", post("Content-Length: +3\r\n", "abc"), "400"),
        ("a space before the colon", post("Content-Length : 3\r\n", "abc"), "400"),
        ("a folded line", post("Content-Length: 3\r\n Transfer-Encoding: chunked\r\n", ""), "400"),
        ("not chunked last", post("Transfer-Encoding: chunked, identity\r\n", smuggled), "400"),
        ("a NUL", post("X: a\0b\r\n", ""), "400"),
        ("no host", "GET /x HTTP/1.1\r\n\r\n".to_owned(), "400"),
        ("two hosts", post("Host: b\r\n", ""), "400"),
        ("garbage", "\u{1}\u{2}\u{3}hello\r\n\r\n".to_owned(), "400"),
        ("h2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), "400"),
        ("a head too large", post(&format!("X: {}\r\n", "y".repeat(20_000)), ""), "431"),
        ("too many headers", post(&"X: y\r\n".repeat(120), ""), "431"),
        ("10 GB, expecting", post(expecting, ""), "413"),
        ("10 GB", post("Content-Length: 10000000000\r\n", ""), "413"),
        ("growing in chunks", post("Transfer-Encoding: chunked\r\n", &growing), "413"),
        ("a chunk size gone wrong", post("Transfer-Encoding: chunked\r\n", "zz\r\nabc"), "503"),
        ("a head that stops", "GET /x HTTP/1.1\r\nHos".to_owned(), ""),
        ("nothing", String::new(), ""),
        ("a body that stops", post("Content-Length: 10\r\n", "abc"), "503"),
        ("a chunked body that stops", post("Transfer-Encoding: chunked\r\n", "3\r\nab"), "503"),
    ];
    let tls_hello = b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03".to_vec();
    let raw = texts.into_iter().map(|(name, text, status)| (name, text.into_bytes(), status));
    raw.chain([("a TLS hello", tls_hello, "400")]).collect()
}

#[tokio::test]
async fn what_is_not_one_clean_request_never_gets_a_2xx_or_a_second_answer() {
    let (running, address) = tcp(patient()).await;
    let mut exchanges = JoinSet::new();
    for (name, raw, status) in cases() {
        exchanges.spawn(async move { (name, status, exchange(address, &raw).await) });
    }
    while let Some(exchanged) = exchanges.join_next().await {
        let (name, status, got) = exchanged.unwrap();
        if status.is_empty() {
            assert_eq!(got, "", "{name}");
        } else {
            assert!(got.starts_with(&format!("HTTP/1.1 {status}")), "{name}: {got:?}");
        }
        assert_eq!(answers(&got, '1') + answers(&got, '2'), 0, "{name}: {got:?}");
        assert!(got.matches("HTTP/1.1").count() <= 1, "{name}: {got:?}");
    }
    assert!(exchange(address, get("/panic").as_bytes()).await.starts_with("HTTP/1.1 503"));
    assert_eq!(running.stop(Duration::from_secs(5)).await, 0);
}

#[tokio::test]
async fn a_refused_body_is_read_on_so_that_the_answer_arrives() {
    let (_running, address) = tcp(patient()).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(post("Content-Length: 500000\r\n", "").as_bytes()).await.unwrap();
    let mut got = String::new();
    stream.read_to_string(&mut got).await.expect("a close, no reset");
    assert!(got.starts_with("HTTP/1.1 413"), "{got:?}");
    for _ in 0..500 {
        stream.write_all(&[b'x'; 1000]).await.expect("no reset");
    }
}

#[tokio::test]
async fn a_head_limit_below_hypers_smallest_buffer_holds() {
    let (_running, address) = tcp(Limits { max_header_bytes: 1000, ..patient() }).await;
    let got = exchange(address, post(&format!("X: {}\r\n", "y".repeat(1000)), "").as_bytes()).await;
    assert!(got.starts_with("HTTP/1.1 431"), "{got:?}");
}

#[tokio::test]
async fn bytes_after_a_chunked_body_are_no_request() {
    let (_running, address) = tcp(patient()).await;
    let raw = post("Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\n\r\n") + GET;
    let got = exchange(address, raw.as_bytes()).await;
    assert_eq!(answers(&got, '2'), 1, "{got:?}");
    assert!(got.contains("connection: close") && got.ends_with("abc"), "{got:?}");
}

#[tokio::test]
async fn pipelined_requests_are_answered_one_by_one_in_order() {
    let (_running, address) = tcp(patient()).await;
    let bodies = ["one", "two", "three", "four"];
    let raw: String = bodies.map(|body| post(&format!("Content-Length: {}\r\n", body.len()), body)).concat();
    for step in [1, 7, raw.len()] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        for piece in raw.as_bytes().chunks(step) {
            stream.write_all(piece).await.unwrap();
        }
        let got = until(&mut stream, "four").await;
        let at: Vec<_> = bodies.iter().map(|body| got.find(body).unwrap()).collect();
        assert!(at.is_sorted() && answers(&got, '2') == 4, "{got:?}");
    }
}

#[tokio::test]
async fn a_large_head_and_body_under_the_limits_are_served() {
    let (_running, address) = tcp(patient()).await;
    let head = format!("X: {}\r\nConnection: close\r\nContent-Length: {CAP}\r\n", "y".repeat(15_000));
    let got = exchange(address, post(&head, &"b".repeat(CAP)).as_bytes()).await;
    assert!(got.starts_with("HTTP/1.1 200") && got.ends_with(&"b".repeat(CAP)), "{got:?}");
}

#[tokio::test]
async fn an_expected_body_within_the_cap_is_asked_for() {
    let (_running, address) = tcp(patient()).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = post("Content-Length: 3\r\nExpect: 100-continue\r\n", "");
    stream.write_all(head.as_bytes()).await.unwrap();
    until(&mut stream, "100 Continue\r\n\r\n").await;
    stream.write_all(b"abc").await.unwrap();
    until(&mut stream, "abc").await;
}
