//! Blocking HTTP/1.1 over TCP or a Unix socket: a request on a connection of its own, and a client that keeps its connection.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, ClientConnection, StreamOwned};
use serde_json::Value;

/// Ring gives up after 5 s; the daemon answers within 4.
const RING_WAITS: Duration = Duration::from_secs(5);
const ADMIN_WAITS: Duration = Duration::from_secs(20);

/// Far more than anything takes; only a hang meets it.
const PATIENCE: Duration = Duration::from_mins(1);

/// Where requests go.
#[derive(Debug, Clone)]
pub(crate) enum To {
    Address(SocketAddr),
    Socket(PathBuf),
}

impl From<SocketAddr> for To {
    fn from(address: SocketAddr) -> Self {
        Self::Address(address)
    }
}

impl<P: AsRef<Path>> From<&P> for To {
    fn from(path: &P) -> Self {
        Self::Socket(path.as_ref().to_owned())
    }
}

/// An answer as it came, head and all.
#[derive(Debug)]
pub(crate) struct Answer(pub(crate) String);

impl Answer {
    /// 0 where none came.
    pub(crate) fn status(&self) -> u16 {
        self.0.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
    }

    pub(crate) fn body(&self) -> &str {
        self.0.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }

    /// The body, which is nothing where it is no JSON.
    pub(crate) fn json(&self) -> Value {
        let head = self.0.split("\r\n\r\n").next().unwrap_or_default().to_lowercase();
        if head.contains("transfer-encoding: chunked") {
            return serde_json::from_str(&unchunked(self.body())).unwrap_or_default();
        }
        serde_json::from_str(self.body()).unwrap_or_default()
    }
}

/// The content of a chunked body, as far as it came.
pub(crate) fn unchunked(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        let Some(piece) = rest.get(..size) else { break };
        whole.push_str(piece);
        body = rest.get(size + 2..).unwrap_or_default();
    }
    whole
}

/// A request after whose answer the connection is closed; `headers` are whole lines.
pub(crate) fn request(method: &str, path: &str, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"
    );
    [head.as_bytes(), body].concat()
}

/// Sends bytes on a connection of their own, and reads until it is closed.
pub(crate) fn exchange(to: impl Into<To>, request: &[u8]) -> Answer {
    match to.into() {
        To::Address(address) => {
            let stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            answer_to(stream, request)
        }
        To::Socket(path) => {
            let stream = UnixStream::connect(path).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            answer_to(stream, request)
        }
    }
}

fn answer_to(mut stream: impl Read + Write, request: &[u8]) -> Answer {
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    Answer(String::from_utf8(answer).unwrap())
}

/// The same beside a runtime, which may be the daemon's own.
pub(crate) async fn exchange_beside(to: impl Into<To>, request: Vec<u8>) -> Answer {
    let to = to.into();
    tokio::task::spawn_blocking(move || exchange(to, &request)).await.unwrap()
}

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// One connection; broken after the first error.
pub(crate) struct Client {
    stream: BufReader<Box<dyn Stream>>,
    host: String,
}

impl Client {
    fn over(stream: impl Stream + 'static, host: &str) -> Self {
        Self { stream: BufReader::new(Box::new(stream)), host: host.to_owned() }
    }

    pub(crate) fn tcp(address: SocketAddr) -> io::Result<Self> {
        Self::waiting(address, RING_WAITS)
    }

    /// For a server that may take its time.
    pub(crate) fn patient(address: SocketAddr) -> io::Result<Self> {
        Self::waiting(address, PATIENCE)
    }

    fn waiting(address: SocketAddr, wait: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, wait)?;
        stream.set_read_timeout(Some(wait))?;
        stream.set_write_timeout(Some(wait))?;
        stream.set_nodelay(true)?;
        Ok(Self::over(stream, "ringhookd"))
    }

    /// Over TLS, once its handshake is done.
    pub(crate) fn tls(address: SocketAddr, trusted: &Arc<ClientConfig>, host: &str) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, RING_WAITS)?;
        stream.set_read_timeout(Some(RING_WAITS))?;
        stream.set_write_timeout(Some(RING_WAITS))?;
        stream.set_nodelay(true)?;
        let name = host.to_owned().try_into().unwrap();
        let session = ClientConnection::new(Arc::clone(trusted), name).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(session, stream);
        stream.flush()?;
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Self::over(stream, host))
    }

    pub(crate) fn unix(path: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(ADMIN_WAITS))?;
        stream.set_write_timeout(Some(ADMIN_WAITS))?;
        Ok(Self::over(stream, "ringhookd"))
    }

    /// Sends a request and returns status and body. `headers` are whole lines.
    pub(crate) fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &str,
        body: &[u8],
    ) -> io::Result<(u16, Vec<u8>)> {
        let host = self.host.clone();
        self.send_to(&host, method, path, headers, body)
    }

    /// The same to a server that minds its name.
    pub(crate) fn send_to(
        &mut self,
        host: &str,
        method: &str,
        path: &str,
        headers: &str,
        body: &[u8],
    ) -> io::Result<(u16, Vec<u8>)> {
        let length = body.len();
        let head =
            format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n{headers}\r\n");
        self.stream.get_mut().write_all(&[head.as_bytes(), body].concat())?;
        self.stream.get_mut().flush()?;
        self.answer()
    }

    fn answer(&mut self) -> io::Result<(u16, Vec<u8>)> {
        let status = self.line()?;
        let status = status.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(malformed)?;
        let (mut length, mut chunked) = (0, false);
        loop {
            let line = self.line()?.to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().map_err(|_| malformed())?;
            }
            chunked |= line.starts_with("transfer-encoding:") && line.ends_with("chunked");
        }
        let body = if chunked { self.chunks()? } else { self.exactly(length)? };
        Ok((status, body))
    }

    fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let size = usize::from_str_radix(&self.line()?, 16).map_err(|_| malformed())?;
            body.extend(self.exactly(size)?);
            self.line()?;
            if size == 0 {
                return Ok(body);
            }
        }
    }

    fn exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok(body)
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 || !line.ends_with('\n') {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "not an HTTP answer")
}
