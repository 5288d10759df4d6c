//! The load generator: one thread, keep-alive connections, one request at a time on each, nothing parsed that need not be.
//!
//! It shares the cores with the server, so whatever it costs hides a difference between two servers: two system calls a
//! request and no runtime.

pub(crate) mod events;

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use ringhookd::clock;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;

use self::events::Requests;

/// For the answers still out when a round ends; far above the server's own budget.
const LAST_ANSWERS: Duration = Duration::from_secs(10);

/// What one round brought.
#[derive(Debug, Default)]
pub(crate) struct Round {
    /// 200s inside the round.
    pub(crate) answers: u64,
    pub(crate) seconds: f64,
    /// Answers other than 200; a round with any is void.
    pub(crate) refused: u64,
    /// Request written to answer read, in nanoseconds, unordered.
    pub(crate) latencies: Vec<u64>,
}

impl Round {
    pub(crate) fn per_second(&self) -> f64 {
        self.answers as f64 / self.seconds
    }

    /// The latency that a share of the answers stays below, in microseconds.
    pub(crate) fn percentile(&mut self, share: f64) -> f64 {
        self.latencies.sort_unstable();
        let at = (self.latencies.len() as f64 * share) as usize;
        self.latencies.get(at).map_or(f64::NAN, |&ns| ns as f64 / 1000.0)
    }
}

struct Line {
    /// A socket; reading and writing is all that is done with it.
    stream: File,
    sent: Option<Instant>,
    /// An answer that came in part.
    part: Vec<u8>,
}

/// Connections to one server.
pub(crate) struct Client {
    epoll: OwnedFd,
    lines: Vec<Line>,
}

impl Client {
    /// To an IP address with its port, or to the path of a Unix socket.
    pub(crate) fn connect(address: &str, connections: usize) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut lines = Vec::with_capacity(connections);
        for number in 0..connections {
            let stream = connected(address)?;
            epoll::add(&epoll, &stream, epoll::EventData::new_u64(number as u64), epoll::EventFlags::IN)?;
            lines.push(Line { stream, sent: None, part: Vec::new() });
        }
        Ok(Self { epoll, lines })
    }

    /// Keeps every connection busy for `span`, or until the requests run out.
    pub(crate) fn run(&mut self, requests: &mut Requests, span: Duration) -> io::Result<Round> {
        let mut round = Round { latencies: Vec::with_capacity(requests.left()), ..Round::default() };
        let start = clock::instant();
        let end = start + span;
        let mut out = 0;
        for line in &mut self.lines {
            out += usize::from(line.send(requests, start)?);
        }
        let mut ready = Vec::with_capacity(self.lines.len());
        let wait = Timespec { tv_sec: 1, tv_nsec: 0 };
        while out > 0 {
            ready.clear();
            epoll::wait(&self.epoll, spare_capacity(&mut ready), Some(&wait))?;
            let now = clock::instant();
            if now > end + LAST_ANSWERS {
                return Err(io::Error::new(ErrorKind::TimedOut, "answers are missing"));
            }
            for event in &ready {
                let line = &mut self.lines[usize::try_from(event.data.u64()).unwrap_or(0)];
                let Some(status) = line.receive()? else { continue };
                // Taken anew: serving the events before this one took its time.
                let now = clock::instant();
                out -= 1;
                round.refused += u64::from(status != *b"200");
                if now < end {
                    round.answers += 1;
                    round.seconds = now.duration_since(start).as_secs_f64();
                    round.latencies.extend(line.sent.map(|sent| now.duration_since(sent).as_nanos() as u64));
                    out += usize::from(line.send(requests, now)?);
                }
            }
        }
        Ok(round)
    }
}

fn connected(address: &str) -> io::Result<File> {
    if address.starts_with('/') {
        let stream = UnixStream::connect(address)?;
        stream.set_nonblocking(true)?;
        return Ok(OwnedFd::from(stream).into());
    }
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    Ok(OwnedFd::from(stream).into())
}

impl Line {
    fn send(&mut self, requests: &mut Requests, now: Instant) -> io::Result<bool> {
        let Some(request) = requests.next() else { return Ok(false) };
        self.sent = Some(now);
        // A request of a kilobyte fits the socket's empty buffer, so that this never blocks.
        self.stream.write_all(request)?;
        Ok(true)
    }

    /// The status of the answer, when all of it is there.
    fn receive(&mut self) -> io::Result<Option<[u8; 3]>> {
        let mut buffer = [0; 1024];
        let n = match self.stream.read(&mut buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(n) => n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        };
        if self.part.is_empty()
            && let Some(status) = whole(&buffer[..n])
        {
            return Ok(Some(status));
        }
        self.part.extend_from_slice(&buffer[..n]);
        let status = whole(&self.part);
        if status.is_some() {
            self.part.clear();
        }
        Ok(status)
    }
}

/// The status of an answer whose head and body are complete.
fn whole(answer: &[u8]) -> Option<[u8; 3]> {
    let head = answer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let name = b"content-length: ";
    let length = answer[..head].windows(name.len()).position(|text| text.eq_ignore_ascii_case(name));
    let digits = length.map_or(&b"0"[..], |at| &answer[at + name.len()..head]);
    let body = digits.iter().take_while(|b| b.is_ascii_digit());
    let body = body.fold(0, |n, digit| n * 10 + usize::from(digit - b'0'));
    if answer.len() < head + body { None } else { answer.get(9..12)?.try_into().ok() }
}
