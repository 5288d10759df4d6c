//! How long connections and requests live, and how many there may be: mostly under virtual time.

use super::*;
use crate::telemetry::HttpRefusal;

/// A time that no limit of the tests allows.
const LONG: Duration = Duration::from_secs(30);

#[tokio::test(start_paused = true)]
async fn a_connection_rests_longer_than_a_head_may_take() {
    let limits = Limits { keep_alive_idle: Duration::from_secs(20), ..limits() };
    let (_running, dialer) = piped(limits);
    let mut stream = dialer.dial().await;
    for _ in 0..3 {
        stream.write_all(GET.as_bytes()).await.unwrap();
        until(&mut stream, "got").await;
        tokio::time::sleep(Duration::from_secs(15)).await;
    }
    let began = clock::ticks();
    assert_eq!(until_closed(&mut stream).await, "");
    assert_eq!(began.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn other_limits_hold_for_new_connections_and_for_all_together() {
    let idle = |seconds| Duration::from_secs(seconds);
    let (running, dialer) = piped(Limits { keep_alive_idle: idle(20), ..limits() });
    let mut streams = Vec::new();
    for _ in 0..6 {
        let mut stream = dialer.dial().await;
        stream.write_all(GET.as_bytes()).await.unwrap();
        until(&mut stream, "got").await;
        streams.push(stream);
    }
    let connections = &running.server.metrics.connections;
    assert_eq!(connections.get(), 6);
    // Those that rest and are too many are closed; the others have the time that they began with.
    let other = Limits { keep_alive_idle: idle(5), max_connections: 4, max_requests: 0, ..limits() };
    running.server.set(other.clone());
    tokio::time::sleep(idle(1)).await;
    assert_eq!(connections.get(), 4);
    let mut kept = streams.pop().unwrap();
    tokio::time::sleep(idle(10)).await;
    kept.write_all(GET.as_bytes()).await.unwrap();
    let refused = until(&mut kept, answer::NOT_NOW).await;
    assert!(refused.starts_with("HTTP/1.1 503"), "no request may be in work: {refused}");
    running.server.set(Limits { max_requests: 1, ..other });
    let mut new = dialer.dial().await;
    new.write_all(GET.as_bytes()).await.unwrap();
    until(&mut new, "got").await;
    let began = clock::ticks();
    assert_eq!(until_closed(&mut new).await, "");
    assert_eq!(began.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_head_byte_by_byte_is_cut_off_though_bytes_keep_coming() {
    let (_running, dialer) = piped(Limits { keep_alive_idle: LONG, ..limits() });
    for served_before in [false, true] {
        let mut stream = dialer.dial().await;
        if served_before {
            stream.write_all(GET.as_bytes()).await.unwrap();
            until(&mut stream, "got").await;
            tokio::time::sleep(LONG / 2).await;
        }
        let mut sent = 0;
        for byte in GET.as_bytes() {
            tokio::time::sleep(Duration::from_millis(50)).await;
            if stream.write_all(&[*byte]).await.is_err() {
                break;
            }
            sent += 1;
        }
        assert!((4..=8).contains(&sent), "{sent}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_over_the_budget_is_answered_for_and_the_connection_goes_on() {
    let (running, dialer) = piped(limits());
    let mut stream = dialer.dial().await;
    stream.write_all(get("/never").as_bytes()).await.unwrap();
    let got = until(&mut stream, answer::NOT_NOW).await;
    assert!(got.starts_with("HTTP/1.1 503") && got.contains("retry-after: 1"), "{got:?}");
    assert_eq!(running.server.metrics.refusals(HttpRefusal::Overdue), 1);
    stream.write_all(GET.as_bytes()).await.unwrap();
    until(&mut stream, "got").await;
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_takes_nothing_is_cut_off() {
    for path in ["/large", "/flood"] {
        let (running, dialer) = piped(limits());
        let mut stream = dialer.dial().await;
        stream.write_all(get(path).as_bytes()).await.unwrap();
        tokio::time::sleep(LONG).await;
        assert_eq!(running.server.metrics.connections.get(), 0, "{path}");
        assert!(until_closed(&mut stream).await.len() <= 16 * 1024, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_with_nothing_to_say_is_left_alone() {
    let (_running, dialer) = piped(limits());
    let mut stream = dialer.dial().await;
    stream.write_all(GET.as_bytes()).await.unwrap();
    until(&mut stream, "got").await;
    stream.write_all(get("/stream").as_bytes()).await.unwrap();
    let got = until(&mut stream, "0\r\n\r\n").await;
    assert_eq!(got.matches("piece\n").count(), 5);
    stream.write_all(GET.as_bytes()).await.unwrap();
    until(&mut stream, "got").await;
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_is_slow_but_reads_keeps_its_stream() {
    let (_running, dialer) = piped(limits());
    let mut stream = dialer.dial().await;
    stream.write_all(get("/flood").as_bytes()).await.unwrap();
    let mut piece = [0; 4096];
    for _ in 0..100 {
        tokio::time::sleep(limits().answer_timeout / 2).await;
        stream.read_exact(&mut piece).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_leaves_ends_its_stream_at_once() {
    let (running, dialer) = piped(limits());
    let mut stream = dialer.dial().await;
    stream.write_all(get("/stream").as_bytes()).await.unwrap();
    until(&mut stream, "\r\n\r\n").await;
    drop(stream);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(running.server.metrics.connections.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_panic_costs_its_own_request_only() {
    let (running, dialer) = piped(limits());
    let mut stream = dialer.dial().await;
    for panics in 1..=2 {
        stream.write_all(get("/panic").as_bytes()).await.unwrap();
        assert!(until(&mut stream, answer::NOT_NOW).await.starts_with("HTTP/1.1 503"));
        assert_eq!(running.server.metrics.refusals(HttpRefusal::Panic), panics);
    }
    stream.write_all(GET.as_bytes()).await.unwrap();
    until(&mut stream, "got").await;
    assert_eq!(running.server.metrics.requests.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn requests_over_their_number_are_told_to_come_again() {
    let (running, dialer) = piped(Limits { max_requests: 1, ..limits() });
    let mut first = dialer.dial().await;
    first.write_all(get("/late").as_bytes()).await.unwrap();
    let mut second = dialer.dial().await;
    while running.server.metrics.requests.get() == 0 {
        tokio::task::yield_now().await;
    }
    second.write_all(GET.as_bytes()).await.unwrap();
    let got = until(&mut second, answer::NOT_NOW).await;
    assert!(got.starts_with("HTTP/1.1 503") && got.contains("retry-after: 1"), "{got:?}");
    until(&mut first, "late").await;
    second.write_all(GET.as_bytes()).await.unwrap();
    until(&mut second, "got").await;
}

#[tokio::test(start_paused = true)]
async fn body_bytes_are_bounded_over_all_requests() {
    let (running, dialer) = piped(Limits { max_bytes_in_flight: 600, ..limits() });
    let head = "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 500\r\n\r\n";
    let mut first = dialer.dial().await;
    first.write_all(head.as_bytes()).await.unwrap();
    first.write_all(&[b'a'; 499]).await.unwrap();
    while running.server.bytes.used() == 0 {
        tokio::task::yield_now().await;
    }
    let mut second = dialer.dial().await;
    second.write_all(head.as_bytes()).await.unwrap();
    second.write_all(&[b'b'; 500]).await.unwrap();
    assert!(until(&mut second, answer::NOT_NOW).await.starts_with("HTTP/1.1 503"));
    first.write_all(b"a").await.unwrap();
    assert!(until(&mut first, "aaa").await.starts_with("HTTP/1.1 200"));
    assert_eq!(running.server.bytes.used(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_body_is_paid_for_by_the_server_that_it_came_by() {
    let limits = Limits { max_bytes_in_flight: 600, ..limits() };
    let (full, to_full) = piped(limits.clone());
    let (other, to_other) = piped(limits);
    let head = "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 500\r\n\r\n";
    let mut slow = to_full.dial().await;
    slow.write_all(head.as_bytes()).await.unwrap();
    slow.write_all(&[b'a'; 499]).await.unwrap();
    while full.server.bytes.used() == 0 {
        tokio::task::yield_now().await;
    }
    let mut stream = to_other.dial().await;
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&[b'b'; 500]).await.unwrap();
    assert!(until(&mut stream, "bbb").await.starts_with("HTTP/1.1 200"));
    assert_eq!((full.server.bytes.used(), other.server.bytes.used()), (500, 0));
}

#[tokio::test(start_paused = true)]
async fn a_stop_lets_requests_finish_and_closes_what_rests() {
    let (running, dialer) = piped(Limits { keep_alive_idle: LONG, ..limits() });
    let mut resting = dialer.dial().await;
    resting.write_all(GET.as_bytes()).await.unwrap();
    until(&mut resting, "got").await;
    let mut busy = dialer.dial().await;
    busy.write_all(get("/late").as_bytes()).await.unwrap();
    while running.server.metrics.requests.get() == 0 {
        tokio::task::yield_now().await;
    }
    let began = clock::ticks();
    let stopped = tokio::spawn(running.stop(LONG));
    assert_eq!(until_closed(&mut resting).await, "");
    assert!(began.elapsed() < Duration::from_millis(50));
    let got = until_closed(&mut busy).await;
    assert!(got.starts_with("HTTP/1.1 200") && got.ends_with("late"), "{got:?}");
    assert_eq!(stopped.await.unwrap(), 0);
    assert!(began.elapsed() < Duration::from_secs(1));
    assert!(dialer.0.is_closed(), "the listener is gone");
}

#[tokio::test(start_paused = true)]
async fn a_stop_answers_the_first_request_of_a_new_connection_if_it_comes_at_once() {
    let (running, dialer) = piped(Limits { header_timeout: LONG, keep_alive_idle: LONG, ..limits() });
    let mut asking = dialer.dial().await;
    let mut silent = dialer.dial().await;
    while running.server.metrics.connections.get() < 2 {
        tokio::task::yield_now().await;
    }
    let began = clock::ticks();
    let stopped = tokio::spawn(running.stop(LONG));
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(dialer.0.is_closed(), "nothing new is accepted");
    asking.write_all(GET.as_bytes()).await.unwrap();
    let got = until_closed(&mut asking).await;
    assert!(got.starts_with("HTTP/1.1 200") && got.contains("connection: close"), "{got:?}");
    assert!(began.elapsed() < Duration::from_secs(1));
    assert_eq!(until_closed(&mut silent).await, "");
    assert_eq!(
        (stopped.await.unwrap(), began.elapsed().as_secs()),
        (0, 1),
        "it waits for the silent one no longer"
    );
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_at_its_deadline_whatever_is_open() {
    let (running, dialer) = piped(limits());
    let mut stream = dialer.dial().await;
    stream.write_all(get("/stream").as_bytes()).await.unwrap();
    until(&mut stream, "\r\n\r\n").await;
    let began = clock::ticks();
    assert_eq!(running.stop(Duration::from_secs(2)).await, 1);
    assert_eq!(began.elapsed().as_secs(), 2);
    until_closed(&mut stream).await;
}

/// Fails as a process does that has no descriptors left, then works.
struct Exhausted {
    failures: u32,
    asked: Arc<std::sync::atomic::AtomicU32>,
    then: Pipes,
}

impl Listener for Exhausted {
    type Accepted = DuplexStream;

    async fn accept(&mut self) -> io::Result<DuplexStream> {
        self.asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        if self.failures > 0 {
            self.failures -= 1;
            return Err(io::Error::from_raw_os_error(24));
        }
        self.then.accept().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_failing_accept_is_tried_again_without_spinning() {
    let (sender, receiver) = mpsc::channel(1);
    let asked = Arc::default();
    let listener = Exhausted { failures: 5, asked: Arc::clone(&asked), then: Pipes(receiver) };
    let began = clock::ticks();
    let _running = start(limits(), listener);
    let mut stream = Dialer(sender).dial().await;
    stream.write_all(GET.as_bytes()).await.unwrap();
    until(&mut stream, "got").await;
    assert!(began.elapsed() >= 5 * ACCEPT_PAUSE);
    assert!(asked.load(std::sync::atomic::Ordering::Relaxed) <= 10);
}

/// Connections that are set up once the peer has said hello, as by a handshake.
struct Shaking(Pipes);
struct Unready(DuplexStream);

impl Listener for Shaking {
    type Accepted = Unready;

    async fn accept(&mut self) -> io::Result<Unready> {
        self.0.accept().await.map(Unready)
    }
}

impl Setup for Unready {
    type Stream = DuplexStream;

    async fn set_up(mut self) -> io::Result<(DuplexStream, Peer)> {
        self.0.read_exact(&mut [0; 5]).await?;
        Ok((self.0, Peer::default()))
    }
}

fn shaking(limits: Limits) -> (Running, Dialer) {
    let (sender, receiver) = mpsc::channel(16);
    (start(limits, Shaking(Pipes(receiver))), Dialer(sender))
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_not_set_up_holds_up_no_other_and_has_its_own_time() {
    let (running, dialer) = shaking(limits());
    let began = clock::ticks();
    let mut silent = dialer.dial().await;
    let mut other = dialer.dial().await;
    other.write_all(format!("hello{GET}").as_bytes()).await.unwrap();
    until(&mut other, "got").await;
    assert!(began.elapsed() < limits().setup_timeout);
    assert_eq!(until_closed(&mut silent).await, "");
    assert!((limits().setup_timeout..2 * limits().setup_timeout).contains(&began.elapsed()));
    let _silent = dialer.dial().await;
    assert_eq!(running.stop(Duration::from_secs(2)).await, 0, "a stop does not wait for it");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_not_set_up_gives_way_to_another() {
    let (_running, dialer) = shaking(Limits { max_connections: 1, ..limits() });
    let began = clock::ticks();
    let mut silent = dialer.dial().await;
    tokio::task::yield_now().await;
    let mut other = dialer.dial().await;
    other.write_all(format!("hello{GET}").as_bytes()).await.unwrap();
    until(&mut other, "got").await;
    assert_eq!(until_closed(&mut silent).await, "");
    assert!(began.elapsed() < limits().setup_timeout);
}
