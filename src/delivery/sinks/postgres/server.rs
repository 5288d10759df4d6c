//! The server and the connection to it: TLS where it is wanted, the login, and what the server says of its durability.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Config, Error, NoTls};
use tokio_rustls::client;
use tracing::warn;

use super::answer::{Answers, advice};
use super::row;
use crate::clock;
use crate::config;
use crate::delivery::sinks::dial;
use crate::delivery::sinks::probed::Probed;
use crate::delivery::sinks::shared::{self, Shared};
use crate::domain::ids::QueueName;
use crate::domain::secret::Secret;

const PORT: u16 = 5432;

/// Where the queue's server is, and the connection to it.
#[derive(Debug)]
pub(super) struct Server {
    /// For log lines.
    queue: QueueName,
    options: config::Postgres,
    tls: Arc<ClientConfig>,
    password: Option<Secret<String>>,
    shared: Shared<Connection>,
    /// The log was told once how the server may lose events.
    doubted: AtomicBool,
}

/// A connection after the login. Its last user ends it.
#[derive(Debug)]
pub(super) struct Connection {
    client: Client,
    driver: AbortHandle,
}

impl Connection {
    pub(super) fn client(&self) -> &Client {
        &self.client
    }
}

impl shared::Connection for Connection {
    fn is_over(&self) -> bool {
        self.client.is_closed() || self.driver.is_finished()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Server {
    pub(super) fn new(
        queue: QueueName,
        options: config::Postgres,
        tls: ClientConfig,
        password: Option<Secret<String>>,
    ) -> Self {
        let (shared, doubted) = (Shared::default(), AtomicBool::new(false));
        Self { queue, options, tls: Arc::new(tls), password, shared, doubted }
    }

    pub(super) fn timeout(&self) -> Duration {
        self.options.target.timeout
    }

    /// The connection, made first where there is none. Fails in words.
    pub(super) async fn connection(
        &self,
        answers: &Answers,
        deadline: Instant,
    ) -> Result<Arc<Connection>, String> {
        self.shared.get_by(deadline, self.open(answers)).await
    }

    /// Begins nothing more over this connection.
    pub(super) fn forget(&self, connection: &Arc<Connection>) {
        self.shared.forget(connection);
    }

    /// Asks the server whether rows could be inserted. Nothing is changed, and no table is made.
    pub(super) async fn look(&self, insert: &str, answers: &Answers) -> Probed {
        let connection = self.log_in(answers).await?;
        let said = |error: Error| answers.said(&error);
        let (client, table) = (&connection.client, &self.options.table);
        let (name, schema) = (table.to_string(), table.schema());
        let question = "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on', to_regclass($1) IS NULL, \
                        coalesce(has_schema_privilege(to_regnamespace(quote_ident(coalesce($2, current_schema()::text)))::oid, 'CREATE'), false)";
        let params: [(&(dyn ToSql + Sync), Type); 2] = [(&name, Type::TEXT), (&schema, Type::TEXT)];
        let row = client.query_typed(question, &params).await.map_err(said)?;
        let [read_only, missing, may_create] = [0, 1, 2].map(|n| row.first().is_some_and(|row| row.get(n)));
        if read_only {
            return Err(
                "the server takes no rows: it is a standby, or its transactions are read-only".to_owned()
            );
        }
        if missing && self.options.create_table {
            return if may_create {
                Ok(Some(format!("there is no table {name} yet; the first event makes it")))
            } else {
                Err(format!("there is no table {name}, and the user may not create it"))
            };
        }
        let plan = format!("EXPLAIN {insert}");
        let planned = client.query_typed(&plan, &row::Rows::of(&[]).params()).await;
        planned.map_err(|error| answers.said(&error) + advice(&error))?;
        Ok(None)
    }

    async fn open(&self, answers: &Answers) -> Result<Connection, String> {
        let connection = self.log_in(answers).await?;
        self.greet(&connection.client).await.map_err(|error| answers.said(&error))?;
        Ok(connection)
    }

    async fn log_in(&self, answers: &Answers) -> Result<Connection, String> {
        let url = &self.options.target.url;
        let until = clock::ticks() + dial::CONNECT;
        let tcp = dial::tcp(url.host(), url.uri().port_u16().unwrap_or(PORT), until).await?;
        let made = if self.options.tls {
            let tls = Encryption { host: url.host().to_owned(), tls: Arc::clone(&self.tls), until };
            self.log_in_over(tcp, SslMode::Require, tls).await
        } else {
            self.log_in_over(tcp, SslMode::Disable, NoTls).await
        };
        made.map_err(|error| tls_words(&error).unwrap_or_else(|| answers.said(&error)))
    }

    async fn log_in_over<T>(&self, tcp: TcpStream, mode: SslMode, tls: T) -> Result<Connection, Error>
    where
        T: TlsConnect<TcpStream>,
        T::Stream: Send + 'static,
    {
        let mut login = Config::new();
        login.ssl_mode(mode).application_name("ringhookd").dbname(&self.options.database);
        login.user(self.options.target.username.as_deref().unwrap_or("ringhookd"));
        if let Some(password) = &self.password {
            login.password(password.expose());
        }
        let (client, connection) = login.connect_raw(tcp, tls).await?;
        let drive = async {
            // Its failure is told to all that wait for an answer.
            let _ = connection.await;
        };
        Ok(Connection { client, driver: tokio::spawn(drive).abort_handle() })
    }

    /// Has a commit wait for the disk, and makes the table where that is wanted.
    async fn greet(&self, client: &Client) -> Result<(), Error> {
        let table = &self.options.table;
        let question = "SELECT current_setting('synchronous_commit') = 'off', current_setting('fsync') = 'off', \
                        to_regclass($1) IS NULL";
        let name = table.to_string();
        let said = client.query_typed(question, &[(&name, Type::TEXT)]).await?;
        let [lazy, unsafe_, missing] = [0, 1, 2].map(|n| said.first().is_some_and(|row| row.get(n)));
        if lazy {
            client.batch_execute("SET synchronous_commit = on").await?;
        }
        if unsafe_ && !self.doubted.swap(true, Ordering::Relaxed) {
            let receiver = &self.options.target.url;
            warn!(queue = %self.queue, %receiver, "the server does not wait for its disk (fsync off): a power cut loses events");
        }
        if missing && self.options.create_table {
            client.batch_execute(&row::create(table)).await?;
        }
        Ok(())
    }
}

/// TLS as [`dial`] speaks it, in the form that the driver asks for.
struct Encryption {
    host: String,
    tls: Arc<ClientConfig>,
    until: Instant,
}

impl TlsConnect<TcpStream> for Encryption {
    type Stream = Encrypted;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Encrypted>> + Send>>;

    fn connect(self, tcp: TcpStream) -> Self::Future {
        Box::pin(async move {
            let made = dial::encrypt(&self.host, tcp, &self.tls, self.until).await;
            made.map(Encrypted).map_err(io::Error::other)
        })
    }
}

/// The words of a handshake that failed.
fn tls_words(error: &Error) -> Option<String> {
    let cause = std::error::Error::source(error)?;
    let words = cause.downcast_ref::<io::Error>().filter(|error| error.kind() == io::ErrorKind::Other);
    words.map(|error| error.get_ref().map(ToString::to_string)).or_else(|| {
        (error.to_string().contains("TLS")).then(|| Some("the server does not speak TLS".to_owned()))
    })?
}

struct Encrypted(client::TlsStream<TcpStream>);

impl TlsStream for Encrypted {
    /// None: the certificate's host and issuer are checked.
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for Encrypted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Encrypted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
