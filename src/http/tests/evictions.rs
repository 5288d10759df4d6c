//! A full house: which connection has to go for another, and what it is told.

use super::*;
use crate::telemetry::Evicted;

/// Longer than anything in these tests takes.
const LONG: Duration = Duration::from_mins(1);
const SLOW_BODY: &str = "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 500\r\n\r\n";

/// Nothing ends by itself.
fn lasting(max_connections: usize) -> Limits {
    Limits { header_timeout: LONG, keep_alive_idle: LONG, request_budget: LONG, max_connections, ..limits() }
}

/// Until what was sent has been read.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

async fn served(dialer: &Dialer, raw: &str, end: &str) -> DuplexStream {
    let mut stream = dialer.dial().await;
    stream.write_all(raw.as_bytes()).await.unwrap();
    let got = until(&mut stream, end).await;
    assert!(got.starts_with("HTTP/1.1 200"), "{got:?}");
    stream
}

fn readable(got: &str) {
    let lower = got.to_lowercase();
    assert!(lower.starts_with("http/1.1 503") && lower.contains("retry-after: 1"), "{got:?}");
    assert!(lower.contains("connection: close") && lower.ends_with("send it again later.\n"), "{got:?}");
}

#[tokio::test(start_paused = true)]
async fn silent_and_slow_ones_go_first_the_oldest_before_the_others_and_are_told() {
    let (running, dialer) = piped(lasting(4));
    let genuine = "POST /genuine HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx";
    let mut proven = served(&dialer, genuine, "genuine").await;
    let mut crowd = Vec::new();
    for sent in ["", "GET /x HT", SLOW_BODY] {
        let mut stream = dialer.dial().await;
        stream.write_all(sent.as_bytes()).await.unwrap();
        settle().await;
        crowd.push(stream);
    }
    let mut kept = Vec::new();
    for (mut evicted, state) in crowd.into_iter().zip([Evicted::Silent, Evicted::SlowHead, Evicted::SlowBody])
    {
        kept.push(served(&dialer, GET, "got").await);
        readable(&until_closed(&mut evicted).await);
        assert_eq!(running.server.metrics.evictions(state), 1, "{state:?}");
        settle().await;
    }
    // What rests and was never proven goes before what was.
    kept.push(served(&dialer, GET, "got").await);
    assert_eq!(until_closed(&mut kept[0]).await, "", "a resting connection is closed as HTTP closes");
    assert_eq!(running.server.metrics.evictions(Evicted::Idle), 1);
    proven.write_all(genuine.as_bytes()).await.unwrap();
    until(&mut proven, "genuine").await;
    assert_eq!(running.server.metrics.refusals(HttpRefusal::Connections), 0);
}

#[tokio::test(start_paused = true)]
async fn newcomers_do_not_evict_each_other_where_resting_ones_fill_the_house() {
    let (running, dialer) = piped(lasting(4));
    let genuine = "POST /genuine HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx";
    let mut resting = Vec::new();
    for _ in 0..4 {
        resting.push(served(&dialer, genuine, "genuine").await);
        settle().await;
    }
    let mut first = dialer.dial().await;
    let mut second = dialer.dial().await;
    settle().await;
    assert_eq!(until_closed(&mut resting[0]).await, "");
    first.write_all(GET.as_bytes()).await.unwrap();
    second.write_all(GET.as_bytes()).await.unwrap();
    until(&mut second, "got").await;
    assert_eq!(running.server.metrics.evictions(Evicted::Idle), 1);
}

#[tokio::test(start_paused = true)]
async fn a_request_in_work_is_never_evicted_and_the_refusal_is_readable() {
    let (running, dialer) = piped(lasting(2));
    let mut busy = Vec::new();
    for _ in 0..2 {
        let mut stream = dialer.dial().await;
        stream.write_all(get("/late").as_bytes()).await.unwrap();
        busy.push(stream);
    }
    settle().await;
    for _ in 0..3 {
        let mut third = dialer.dial().await;
        readable(&until_closed(&mut third).await);
    }
    assert_eq!(running.server.metrics.refusals(HttpRefusal::Connections), 3);
    for mut stream in busy {
        until(&mut stream, "late").await;
    }
    served(&dialer, GET, "got").await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_body_takes_no_slot_for_work() {
    let (running, dialer) = piped(Limits { max_requests: 1, ..lasting(9) });
    let mut slow = Vec::new();
    for _ in 0..3 {
        let mut stream = dialer.dial().await;
        stream.write_all(SLOW_BODY.as_bytes()).await.unwrap();
        stream.write_all(b"abc").await.unwrap();
        settle().await;
        slow.push(stream);
    }
    served(&dialer, "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx", "x").await;
    assert_eq!(running.server.metrics.refusals(HttpRefusal::Requests), 0);
    slow[0].write_all(&[b'z'; 497]).await.unwrap();
    assert!(until(&mut slow[0], "zzz").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test(start_paused = true)]
async fn the_largest_unfinished_body_gives_its_memory_to_smaller_ones() {
    let (running, dialer) = piped(Limits { max_bytes_in_flight: 1000, ..lasting(9) });
    let mut large = Vec::new();
    for size in [499, 498] {
        let mut stream = dialer.dial().await;
        stream.write_all(SLOW_BODY.as_bytes()).await.unwrap();
        stream.write_all(&vec![b'a'; size]).await.unwrap();
        settle().await;
        large.push(stream);
    }
    assert_eq!(running.server.bytes.used(), 1000);
    served(&dialer, "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nsmall", "small").await;
    assert_eq!(running.server.metrics.evictions(Evicted::SlowBody), 1);
    assert_eq!(running.server.bytes.used(), 500);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_sends_on_after_its_answer_gives_way() {
    let (running, dialer) = piped(Limits { answer_timeout: LONG, ..lasting(1) });
    let mut sending = dialer.dial().await;
    sending.write_all(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 500000\r\n\r\n").await.unwrap();
    assert!(until(&mut sending, "\r\n\r\n").await.starts_with("HTTP/1.1 413"));
    settle().await;
    served(&dialer, GET, "got").await;
    assert_eq!(running.server.metrics.evictions(Evicted::Lingering), 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_not_taken_gives_way() {
    let (running, dialer) = piped(Limits { answer_timeout: LONG, ..lasting(1) });
    let mut unread = dialer.dial().await;
    unread.write_all(get("/large").as_bytes()).await.unwrap();
    settle().await;
    served(&dialer, GET, "got").await;
    assert_eq!(running.server.metrics.evictions(Evicted::Unread), 1);
}

#[tokio::test]
async fn refused_connections_are_told_however_many_they_are() {
    let (running, address) = tcp(Limits { answer_timeout: LONG, request_budget: LONG, ..lasting(1) }).await;
    let mut busy = TcpStream::connect(address).await.unwrap();
    busy.write_all(get("/never").as_bytes()).await.unwrap();
    while running.server.metrics.requests.get() == 0 {
        tokio::task::yield_now().await;
    }
    // More than may linger. Each keeps its side open, so that nothing ends by itself.
    let mut refused = Vec::new();
    for _ in 0..3 * MAX_LINGERING {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"HTTP/1.1 503");
        refused.push(stream);
    }
}
