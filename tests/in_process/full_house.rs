//! Genuine webhooks beside crowds of silent and slow connections, with the limits as shipped.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::support::configuration::{Configuration, KEY, OPEN_QUEUE, SOCKET};
use crate::support::whole::share;
use ringhookd::daemon::Daemon;
use ringhookd::domain::signature::sign;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Barrier, Semaphore, watch};
use tokio::task::JoinSet;

const GENUINE: usize = 200;

/// Slow connections that may come back during two genuine events: fewer than `max_connections`, because a connection is the
/// least useful one once so many newer ones are there. Without the bound a busy machine would decide the test.
const RETURNS: usize = 512;

/// Who fills the house.
struct Crowd {
    silent: usize,
    /// With bodies that never end.
    slow: usize,
}

/// Silent connections and slow bodies: more than [http] `max_connections`, which is 1024 when left out, and more than its
/// `max_requests`. `RINGHOOKD_WHOLE=1` brings many more of both.
fn crowd() -> Crowd {
    Crowd { silent: share("silent connections"), slow: share("slow bodies") }
}

fn event(n: usize) -> Vec<u8> {
    let body = format!(
        r#"{{"meta":{{"request_id":"{n}","account_id":"acc"}},"data":{{"type":"button_press","attributes":{{"source":"dev"}}}}}}"#
    );
    let signature = sign(KEY.as_bytes(), body.as_bytes());
    let length = body.len();
    format!(
        "POST /webhooks/ring HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\nX-Signature: {signature}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Lets slow connections come back, [`RETURNS`] at a time.
struct Turnstile {
    permits: Semaphore,
    back: AtomicUsize,
}

impl Turnstile {
    /// For as many as have come back since.
    fn open(&self, granted: &mut usize) {
        let open = RETURNS - (*granted - self.back.load(Relaxed));
        self.permits.add_permits(open);
        *granted += open;
    }
}

/// The status of one event.
async fn sent(stream: &mut TcpStream, n: usize) -> String {
    stream.write_all(&event(n)).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head[..12].to_vec()).unwrap()
}

/// Sends a request that never comes whole, and does so again when it was refused and the turnstile lets it.
async fn slow(
    address: SocketAddr,
    begun: Arc<Barrier>,
    turnstile: Arc<Turnstile>,
    mut done: watch::Receiver<bool>,
) {
    let head =
        "POST /webhooks/ring HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\nX-Signature: sha256=00\r\n\r\n{";
    let head = head.replace("sha256=00", &sign(KEY.as_bytes(), b""));
    let again = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let _ = stream.write_all(head.as_bytes()).await;
        begun.wait().await;
        loop {
            let _ = stream.read_to_end(&mut Vec::new()).await;
            turnstile.permits.acquire().await.unwrap().forget();
            if let Ok(next) = TcpStream::connect(address).await {
                stream = next;
                let _ = stream.write_all(head.as_bytes()).await;
            }
            turnstile.back.fetch_add(1, Relaxed);
        }
    };
    tokio::select! {
        _ = done.wait_for(|done| *done) => {}
        () = again => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_genuine_event_is_acknowledged_at_its_first_try_beside_silent_and_slow_connections() {
    let dir = tempfile::tempdir().unwrap();
    // Silent connections end by eviction alone.
    let config =
        Configuration::of(OPEN_QUEUE).with(SOCKET).with("[http]\nheader_timeout = \"1m\"").parse(dir.path());
    let daemon = Arc::new(Daemon::start(config).await.unwrap());
    let address = daemon.address();
    let there = crowd();
    let mut silent = Vec::new();
    for _ in 0..there.silent {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    let (done, stopped) = watch::channel(false);
    let begun = Arc::new(Barrier::new(there.slow + 1));
    let turnstile = Arc::new(Turnstile { permits: Semaphore::new(0), back: AtomicUsize::new(0) });
    let mut granted = 0;
    let mut crowd = JoinSet::new();
    for _ in 0..there.slow {
        crowd.spawn(slow(address, Arc::clone(&begun), Arc::clone(&turnstile), stopped.clone()));
    }
    begun.wait().await;
    // One that is used again and again, as a proxy does, and new ones as Ring does.
    let mut kept = TcpStream::connect(address).await.unwrap();
    for n in 0..GENUINE {
        turnstile.open(&mut granted);
        let mut fresh = TcpStream::connect(address).await.unwrap();
        assert_eq!(sent(&mut fresh, 2 * n).await, "HTTP/1.1 200", "event {n} on a connection of its own");
        assert_eq!(sent(&mut kept, 2 * n + 1).await, "HTTP/1.1 200", "event {n} on the kept connection");
    }
    done.send_replace(true);
    while crowd.join_next().await.is_some() {}
    let metrics = daemon.metrics().render();
    let evicted = |state: &str| {
        let name = format!("ringhookd_http_evictions_total{{listener=\"public\",state=\"{state}\"}} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&name)).unwrap();
        line.parse::<usize>().unwrap()
    };
    // The places that the silent ones could not all have, and that of the kept connection at least.
    assert!(evicted("silent") > there.silent - 1024, "{metrics}");
    let accepted = format!("ringhookd_webhooks_total{{verdict=\"accepted\"}} {}\n", 2 * GENUINE);
    assert!(metrics.contains(&accepted), "{metrics}");
    drop(silent);
    Arc::into_inner(daemon).unwrap().stop().await;
}
