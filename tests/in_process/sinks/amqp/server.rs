//! `RabbitMQ`: one broker for all tests of this process, and others for tests that harm theirs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::json;

use super::super::certificates::Certificates;
use super::client::{Client, Field};
use crate::support::broker::{Broker, free_port, program, until_we_end};

/// What is needed of Debian's package, whose own script becomes another user.
const SCRIPTS: &str = "/usr/lib/rabbitmq/bin";
const COOKIE: &str = "made-up-cookie-for-tests";
/// Larger bodies are refused.
pub(super) const MOST_BODY: usize = 400_000;

/// A broker with everybody of [`definitions`].
pub(super) struct Rabbit {
    pub(super) broker: Broker,
    pub(super) tls_port: u16,
    pub(super) certificates: Certificates,
    node: String,
}

/// The broker that every test may use which does it no harm. Starting one takes seconds.
pub(super) fn peaceful() -> &'static Rabbit {
    static BROKER: OnceLock<Rabbit> = OnceLock::new();
    BROKER.get_or_init(|| {
        let rabbit = Rabbit::start();
        until_we_end(rabbit.broker.id(), Some(rabbit.broker.folder()));
        rabbit
    })
}

/// A name that no other test has.
pub(super) fn unique(what: &str) -> String {
    static LAST: AtomicU32 = AtomicU32::new(0);
    format!("{what}-{}", LAST.fetch_add(1, Ordering::Relaxed))
}

impl Rabbit {
    pub(super) fn start() -> Self {
        let (dist_port, tls_port, epmd_port) = (free_port(), free_port(), epmd());
        let node = format!("ringhookd-{dist_port}@localhost");
        let (name, certificates) = (node.clone(), Certificates::new("daemon"));
        let files = certificates.clone();
        let broker = Broker::start(move |folder, port| {
            write_configuration(folder, port, tls_port, &files);
            let mut command = Command::new(script("rabbitmq-server"));
            own(&mut command, folder, epmd_port);
            let path = |name: &str| folder.join(name);
            command
                .env("RABBITMQ_NODENAME", &name)
                .env("RABBITMQ_DIST_PORT", dist_port.to_string())
                .env("RABBITMQ_MNESIA_BASE", path("mnesia"))
                .env("RABBITMQ_LOG_BASE", path("log"))
                .env("RABBITMQ_LOGS", "-")
                .env("ERL_CRASH_DUMP", path("crash.dump"))
                .env("RABBITMQ_CONFIG_FILE", path("rabbitmq.conf"))
                .env("RABBITMQ_ENABLED_PLUGINS_FILE", path("enabled_plugins"))
                // The script becomes the server, which signals then reach.
                .env("RUNNING_UNDER_SYSTEMD", "true");
            command
        });
        Self { broker, tls_port, certificates, node }
    }

    pub(super) fn port(&self) -> u16 {
        self.broker.port()
    }

    pub(super) fn client(&self) -> Client {
        Client::connect(self.port()).unwrap_or_else(|| panic!("no client: {}", self.broker.said()))
    }

    /// A durable queue that is bound to the exchange amq.topic for every key that begins with its name.
    pub(super) fn queue(&self, what: &str, arguments: &[(&str, Field<'_>)]) -> String {
        let name = unique(what);
        self.make(&name, arguments);
        name
    }

    /// The same by its name; one that is there stays.
    pub(super) fn make(&self, name: &str, arguments: &[(&str, Field<'_>)]) {
        let mut client = self.client();
        client.queue(name, true, arguments);
        client.bind(name, "amq.topic", &format!("{name}.#"));
    }

    /// Calls the broker's own tool.
    pub(super) fn control(&self, arguments: &[&str]) {
        let mut command = Command::new(script("rabbitmqctl"));
        own(&mut command, self.broker.folder(), epmd());
        let output = command.args(["-n", &self.node]).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Nothing of this machine's own installation counts.
fn own(command: &mut Command, folder: &Path, epmd_port: u16) {
    command
        .env("HOME", folder.join("home"))
        .env("ERL_EPMD_PORT", epmd_port.to_string())
        .env("ERL_EPMD_ADDRESS", "127.0.0.1")
        .env("RABBITMQ_CONF_ENV_FILE", folder.join("environment"))
        .env("RABBITMQ_ADVANCED_CONFIG_FILE", folder.join("advanced.config"))
        .env("LC_ALL", "C.UTF-8");
}

fn script(name: &str) -> std::path::PathBuf {
    // Tells where it is missing.
    program(name, "rabbitmq-server");
    Path::new(SCRIPTS).join(name)
}

fn write_configuration(folder: &Path, port: u16, tls_port: u16, certificates: &Certificates) {
    let home = folder.join("home");
    fs::create_dir_all(&home).unwrap();
    let cookie = home.join(".erlang.cookie");
    if !cookie.exists() {
        fs::write(&cookie, COOKIE).unwrap();
        fs::set_permissions(&cookie, fs::Permissions::from_mode(0o400)).unwrap();
    }
    let write = |name: &str, text: &str| {
        fs::write(folder.join(name), text).unwrap();
        folder.join(name).display().to_string()
    };
    write("environment", "");
    write("advanced.config", "[].");
    write("enabled_plugins", "[rabbitmq_auth_mechanism_ssl].");
    let definitions = write("definitions.json", &definitions());
    let ca = write("ca.pem", &certificates.ca);
    let certificate = write("server.pem", &certificates.server.0);
    let key = write("server.key", &certificates.server.1);
    let configuration = format!(
        "listeners.tcp.1 = 127.0.0.1:{port}\nlisteners.ssl.1 = 127.0.0.1:{tls_port}\nload_definitions = {definitions}\n\
         max_message_size = {MOST_BODY}\nframe_max = 8192\nvm_memory_high_watermark.absolute = 1GB\ndisk_free_limit.absolute = 1MB\n\
         auth_mechanisms.1 = PLAIN\nauth_mechanisms.2 = EXTERNAL\nssl_cert_login_from = common_name\n\
         ssl_options.cacertfile = {ca}\nssl_options.certfile = {certificate}\nssl_options.keyfile = {key}\n\
         ssl_options.verify = verify_peer\nssl_options.fail_if_no_peer_cert = true\n"
    );
    write("rabbitmq.conf", &configuration);
}

/// guest may do everything. ann may write to amq.topic, and there to no key of eve's. daemon, who has no password, may do everything.
fn definitions() -> String {
    let user = |name: &str, password: &str| json!({"name": name, "password": password, "tags": []});
    let permission = |name: &str, write: &str| json!({"user": name, "vhost": "/", "configure": ".*", "write": write, "read": ".*"});
    let definitions = json!({
        "users": [user("guest", "guest"), user("ann", "right-password"), user("daemon", "")],
        "vhosts": [{"name": "/"}, {"name": "of others"}],
        "permissions": [permission("guest", ".*"), permission("ann", "^amq\\.topic$"), permission("daemon", ".*")],
        "topic_permissions": [{"user": "ann", "vhost": "/", "exchange": "amq.topic", "write": "^(?!.*\\.eve\\.)", "read": ".*"}],
    });
    definitions.to_string()
}

/// The port of this process's own directory of Erlang's nodes.
fn epmd() -> u16 {
    static EPMD: OnceLock<(u16, Child)> = OnceLock::new();
    let (port, _) = EPMD.get_or_init(|| {
        let port = free_port();
        let mut command = Command::new(program("epmd", "erlang-base"));
        command.args(["-port", &port.to_string(), "-address", "127.0.0.1"]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        until_we_end(child.id(), None);
        (port, child)
    });
    *port
}
