//! A TLS front before the daemon that does one thing wrong, if told so. It has a sign-in page of its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::certificates::Pair;
use super::http::{exchange, request};

/// What becomes of a webhook there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Does {
    Pass,
    /// 403, as a bot check or a sign-in of its own answers.
    Forbid,
    /// A space is added to the body.
    ChangeBody,
    /// It answers after more than Ring waits.
    Late,
    /// 308, to another path.
    Redirect,
    /// 200 by itself, to everything.
    Welcome,
}

/// Longer than Ring waits.
const LATE: Duration = Duration::from_millis(5_100);

/// One that listens until this process ends.
pub(crate) struct Front {
    port: u16,
}

impl Front {
    pub(crate) fn start(daemon: SocketAddr, pair: &Pair, does: Does) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let config = Arc::new(config(pair));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let config = Arc::clone(&config);
                // A client that goes on with nothing is its own matter.
                thread::spawn(move || serve(stream, config, daemon, does));
            }
        });
        Self { port }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.port)
    }
}

fn config(pair: &Pair) -> ServerConfig {
    let chain = CertificateDer::pem_slice_iter(pair.chain.as_bytes()).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    config.with_no_client_auth().with_single_cert(chain, key).unwrap()
}

/// One request, and the end of the connection.
fn serve(stream: TcpStream, config: Arc<ServerConfig>, daemon: SocketAddr, does: Does) -> Option<()> {
    let session = ServerConnection::new(config).ok()?;
    let mut stream = BufReader::new(StreamOwned::new(session, stream));
    let mut line = String::new();
    stream.read_line(&mut line).ok()?;
    let mut words = line.split(' ').map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let (mut headers, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        } else if !lower.starts_with("host:") && line != "\r\n" {
            headers.push_str(&line);
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    let is_webhook = method == "POST" && path == "/webhooks/ring";
    let answer = |status: &str, more: &str, body: &str| {
        let length = body.len();
        format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{more}\r\n{body}")
    };
    let answer = match (does, path.split('?').next()?) {
        (_, "/ring/link") => answer("303 See Other", "Location: /sign-in\r\n", ""),
        (_, "/sign-in") => answer("200 OK", "Content-Type: text/html\r\n", "<p>Sign in"),
        (Does::Forbid, _) if is_webhook => answer("403 Forbidden", "", ""),
        (Does::Redirect, _) if is_webhook => answer("308 Permanent Redirect", "Location: /elsewhere\r\n", ""),
        (Does::Welcome, _) => answer("200 OK", "", "welcome"),
        _ => {
            if does == Does::ChangeBody && is_webhook {
                body.push(b' ');
            }
            if does == Does::Late && is_webhook {
                thread::sleep(LATE);
            }
            exchange(daemon, &request(&method, &path, &headers, &body)).0
        }
    };
    let stream = stream.get_mut();
    stream.write_all(answer.as_bytes()).ok()?;
    stream.conn.send_close_notify();
    stream.flush().ok()
}
