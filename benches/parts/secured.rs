//! TLS of our own over plain HTTP, through our HTTP room: requests on kept connections, and connections with one request each.

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use ringhookd::clock;
use rustls::client::Resumption;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::Bench;
use crate::report::{Figure, median};
use crate::servers::{Role, Server};

/// Threads, each with one connection at a time.
const CLIENTS: usize = 16;
const REQUEST: &[u8] = b"POST /webhooks/ring HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900\r\n\r\n";
const BODY: usize = 900;

/// A way to reach a server.
enum Way {
    Plain,
    /// Each handshake is a whole one, or resumes a session where the configuration keeps them.
    Tls(Arc<ClientConfig>),
}

trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

impl Way {
    fn connect(&self, address: &str) -> io::Result<Box<dyn Stream>> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let Self::Tls(config) = self else { return Ok(Box::new(stream)) };
        let name = "localhost".try_into().map_err(io::Error::other)?;
        let session = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        Ok(Box::new(StreamOwned::new(session, stream)))
    }
}

fn ask(stream: &mut dyn Stream, request: &[u8]) -> io::Result<()> {
    stream.write_all(request)?;
    stream.flush()?;
    let (mut answer, mut length) = ([0; 1024], 0);
    while !answer[..length].ends_with(b"\r\n\r\n") {
        let n = stream.read(&mut answer[length..])?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        length += n;
    }
    if answer.starts_with(b"HTTP/1.1 200") { Ok(()) } else { Err(io::Error::other("no 200")) }
}

/// Answers a second, and the server's processor time of each in microseconds, over one round.
fn round(bench: &Bench, server: &Server, way: &Way, keeps: bool) -> Result<(f64, f64), Box<dyn Error>> {
    let request = [REQUEST, &[b'x'; BODY]].concat();
    let (began, busy) = (clock::instant(), server.busy()?);
    let span = bench.effort.span;
    let client = || -> io::Result<u64> {
        let mut stream = way.connect(&server.address)?;
        let mut answers = 0;
        while began.elapsed() < span {
            if !keeps {
                stream = way.connect(&server.address)?;
            }
            ask(&mut *stream, &request)?;
            answers += 1;
        }
        Ok(answers)
    };
    let answers: io::Result<u64> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        clients
            .into_iter()
            .map(|client| client.join().unwrap_or_else(|_| Err(io::Error::other("panicked"))))
            .sum()
    });
    let answers = answers?;
    let (seconds, busy) = (began.elapsed().as_secs_f64(), server.busy()? - busy);
    Ok((answers as f64 / seconds, busy * 1e6 / answers as f64))
}

fn trusting(pem: &[u8], resumes: bool) -> Result<Way, Box<dyn Error>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pem)?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    if !resumes {
        config.resumption = Resumption::disabled();
    }
    Ok(Way::Tls(Arc::new(config)))
}

/// Of kept connections, of new ones with a whole handshake, and of new ones that resume a session.
pub(crate) fn over_plain(bench: &mut Bench, folder: &Path) -> Result<(), Box<dyn Error>> {
    std::fs::create_dir_all(folder)?;
    let (secured, plain) = (Server::start(Role::Secured, folder)?, Server::start(Role::Http, folder)?);
    let pem = std::fs::read(folder.join("tls.pem"))?;
    for (name, keeps, resumes) in [
        ("tls: requests on kept connections / plain", true, false),
        ("tls: connections with a request each, whole handshake / plain", false, false),
        ("tls: the same, sessions resumed / plain", false, true),
    ] {
        let tls = trusting(&pem, resumes)?;
        let (mut ratios, mut rates, mut costs) =
            (Vec::new(), [Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
        for n in 0..=bench.effort.rounds {
            let both = [round(bench, &secured, &tls, keeps)?, round(bench, &plain, &Way::Plain, keeps)?];
            // The first warms up.
            if n > 0 {
                ratios.push(both[0].0 / both[1].0);
                for (at, (rate, cost)) in both.into_iter().enumerate() {
                    rates[at].push(rate);
                    costs[at].push(cost);
                }
            }
        }
        let [[ours, theirs], [cost, plain_cost]] =
            [rates, costs].map(|both| both.map(|mut one| median(&mut one)));
        let from = format!(
            "{ours:.0}/s over {theirs:.0}/s; the server's processor {cost:.1} and {plain_cost:.1} µs each"
        );
        bench.report.add(Figure {
            name: name.into(),
            value: median(&mut ratios),
            unit: "",
            from,
            goal: None,
        });
    }
    secured.stop()?;
    plain.stop()
}
