//! From the file as written to a [`Config`]: every key with its default and its bounds.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeTable;

use super::common::{AGES, SIZES, url_path};
use super::compare::Written;
use super::doc::{Doc, Key};
use super::files::{Sources, add_hmac_key};
use super::model::{
    ApiListener, Config, DeadLetters, Expected, Held, Http, Log, LogFormat, LogLevel, Quarantine, Queue,
    Receipts, Seen, Silence, Store, Unrouted, Webhook,
};
use super::problem::Problem;
use super::raw::{At, Echo, Section};
use super::secrets::{NamedFile, SecretSource};
use super::value::{Raw, Wrong, bytes, choice, count, days, duration, flag, show_bytes, show_duration, text};
use super::{linking, queues, ring, sockets, tls};
use crate::domain::secret::Secret;

/// Ring repeats a request for up to 76 h, so what is forgotten earlier comes twice.
const MIN_RETENTION: Duration = Duration::from_hours(76);

/// Of waits for a webhook.
const SILENCES: RangeInclusive<Duration> = Duration::from_secs(1)..=days(90);

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
const GIB: usize = 1 << 30;
/// They are gone through whole for one event.
const MOST_RECEIPTS: u64 = 4 << 30;
const MS: Duration = Duration::from_millis(1);

/// What reading the text alone gives; the files of secrets are still to be read.
pub(super) struct Draft {
    /// It holds when there are no problems.
    pub(super) config: Config,
    pub(super) problems: Vec<Problem>,
    pub(super) keys: Vec<Key>,
}

/// Relative paths start at `folder`.
pub(super) fn build(text: &str, folder: &Path) -> Draft {
    let (table, errors) = DeTable::parse_recoverable(text);
    let doc = Doc::new(text, folder, &errors);
    let config = config(Section::root(&doc, table.get_ref()));
    let (problems, keys) = doc.into_parts();
    Draft { config, problems, keys }
}

fn config(mut root: Section<'_>) -> Config {
    let listen = root.required("listen", "127.0.0.1:8480", text(address));
    let (hmac_keys, hmac_key_files) = hmac_keys(&mut root);
    let webhook = webhook(root.section("webhook"));
    let http = http(root.section("http"), webhook.max_body);
    let mut store_section = root.section("store");
    let store = store(&mut store_section);
    let tls::Read { tls, files: tls_files, acme_ca_file } = tls::tls(&mut root, &store.folder);
    let (master, previous) = master_keys(root.section("keys"), &store_section, &store.folder);
    let ring::Read { ring, client, ca_file } = ring::ring(root.section("ring"));
    let tokens = ring::tokens(root.section("tokens"), &store_section, &store.folder);
    // Without [ring] nothing goes out.
    let per_second = ring.as_ref().map_or(0, |ring| ring.per_second);
    let linking = linking::linking(root.section("linking"), &webhook, per_second);
    let silence = silence(root.section("silence"));
    let (seen, held) = (seen(root.section("seen")), held(root.section("held")));
    let dead_letters = dead_letters(root.section("dead_letters"));
    let quarantine = quarantine(root.section("quarantine"));
    let unrouted = unrouted(root.section("unrouted"));
    let audit = receipts(root.section("audit"), "365d", "16 MiB");
    let receipts = receipts(root.section("receipts"), "7d", "32 MiB");
    let (queues, receivers) = queues::queues(&mut root, &store.folder);
    let api = sockets::sockets(&mut root, &store_section, &store.folder);
    let metrics_listen = metrics(root.section("metrics"), listen, &api.listeners);
    let log = log(root.section("log"));

    let mut kept = vec![
        ("held.total_bytes".into(), held.total_bytes),
        ("dead_letters.max_bytes".into(), dead_letters.max_bytes),
        ("quarantine.max_bytes".into(), quarantine.max_bytes),
        ("unrouted.max_bytes".into(), unrouted.max_bytes),
    ];
    kept.extend(queues.iter().map(|(path, queue)| (format!("{path}.max_bytes"), queue.max_bytes)));
    check_sum(&root, &store_section, &kept, store.max_bytes);
    store_section.finish();
    root.finish();

    Config {
        file: PathBuf::new(),
        written: Written::default(),
        // Not written is a problem, so this address is never used.
        listen: listen.unwrap_or_else(|| (Ipv4Addr::LOCALHOST, 0).into()),
        sources: Sources {
            hmac_keys,
            hmac_key_files,
            master,
            previous,
            client,
            ca_file,
            tls: tls_files,
            acme_ca_file,
            api_tokens: api.tokens,
            receivers,
        },
        webhook,
        http,
        tls,
        store,
        ring,
        tokens,
        linking,
        silence,
        seen,
        held,
        dead_letters,
        quarantine,
        unrouted,
        receipts,
        audit,
        queues: queues.into_iter().map(|(_, queue): (String, Queue)| queue).collect(),
        sockets: api.sockets,
        api_listeners: api.listeners,
        metrics_listen,
        log,
    }
}

/// The inline keys, and the files of the others.
fn hmac_keys(root: &mut Section<'_>) -> (Vec<Secret<Vec<u8>>>, Vec<NamedFile>) {
    let bytes = |key: &str| Ok(Secret::new(key.as_bytes().to_vec()));
    let source = root.source();
    let inline = root.list("hmac_keys", &[], Echo::Hidden, bytes);
    let files = root.list("hmac_key_files", &[], Echo::Hidden, source);
    if inline.is_empty() && files.is_empty() && root.sound(&["hmac_keys", "hmac_key_files"]) {
        let hint = "at least one key is needed: here for trying, its file in hmac_key_files otherwise";
        root.missing("hmac_keys", hint);
    }
    let mut keys = Vec::new();
    for At { line, key, value } in inline {
        if let Err(hint) = add_hmac_key(value, &mut keys) {
            root.refuse_at(line, key, hint);
        }
    }
    let files = files.into_iter().map(|At { line, key, value }| NamedFile { line, key, source: value });
    (keys, files.collect())
}

fn webhook(mut s: Section<'_>) -> Webhook {
    let webhook = Webhook {
        path: s.get("path", "/webhooks/ring", text(url_path)),
        max_body: s.get("max_body", "1 MiB", bytes(64 * KIB..=64 * MIB)),
        body_timeout: s.get("body_timeout", "3s", duration(50 * MS..=4500 * MS)),
        // Ring gives up after 5 s, and the answer has to travel.
        answer_within: s.get("answer_within", "4s", duration(100 * MS..=4500 * MS)),
        late_after: s.get("late_after", "2h", duration(AGES)),
        early_after: s.get("early_after", "5m", duration(AGES)),
    };
    if s.sound(&["body_timeout", "answer_within"]) && webhook.body_timeout >= webhook.answer_within {
        let budget = show_duration(webhook.answer_within);
        s.refuse("body_timeout", format!("must be shorter than answer_within, which is {budget}"));
    }
    s.finish();
    webhook
}

fn http(mut s: Section<'_>, max_body: usize) -> Http {
    let http = Http {
        header_timeout: s.get("header_timeout", "5s", duration(50 * MS..=60_000 * MS)),
        max_header_bytes: s.get("max_header_bytes", "16 KiB", bytes(8 * KIB..=MIB)),
        max_headers: s.get("max_headers", 100_u64, count(16..=1000)),
        keep_alive_idle: s.get("keep_alive_idle", "75s", duration(50 * MS..=3_600_000 * MS)),
        max_connections: s.get("max_connections", 1024_u64, count(1..=1_000_000)),
        max_requests: s.get("max_requests", 512_u64, count(1..=1_000_000)),
        max_bytes_in_flight: s.get("max_bytes_in_flight", "64 MiB", bytes(MIB..=2 * GIB)),
    };
    if http.max_bytes_in_flight < max_body {
        let body = show_bytes(max_body as u64);
        s.refuse("max_bytes_in_flight", format!("must be at least webhook.max_body, which is {body}"));
    }
    s.finish();
    http
}

fn store(s: &mut Section<'_>) -> Store {
    Store {
        // Not written is a problem, so the empty path is never used.
        folder: s.required("folder", "ringhookd-data", s.path()).unwrap_or_default(),
        create: s.get("create", false, flag),
        environment: s.get("environment", "production", text(environment)),
        max_bytes: s.get("max_bytes", "8 GiB", bytes(SIZES)),
        cache: s.get("cache", "32 MiB", bytes(MIB..=2 * GIB)),
        // The log that has to find room then is of 2 MiB, and may take several times that as rows.
        reserve: s.get("reserve", "16 MiB", bytes(8 << 20..=1 << 30)),
        min_free: s.get("min_free", "64 MiB", bytes(0..=1 << 40)),
        compact_above: s.get("compact_above", "64 MiB", compact_above),
    }
}

/// The master key, which lies in the store's folder where nothing is written, and the one before.
fn master_keys(mut s: Section<'_>, store: &Section<'_>, folder: &Path) -> (NamedFile, Option<NamedFile>) {
    let source = text(s.source());
    let example = "/etc/ringhookd/master.key";
    let master = s.optional("master", example, Echo::Hidden, &source);
    let previous = s.optional("previous", example, Echo::Hidden, &source);
    let line = if master.is_some() { s.line_of("master") } else { store.line_of("folder") };
    let source = master.unwrap_or_else(|| SecretSource::File(folder.join("master.key")));
    let master = NamedFile { line, ..s.named("master", source) };
    let previous = previous.map(|source| s.named("previous", source));
    if previous.as_ref().is_some_and(|previous| previous.source == master.source) {
        s.refuse("previous", "is the master key itself; name the one before, or nothing".into());
    }
    s.finish();
    (master, previous)
}

fn compact_above(raw: Raw<'_>) -> Result<Option<u64>, Wrong> {
    choice(&[("never", None)])(raw).or_else(|_| match bytes(SIZES)(raw) {
        Err(Wrong::Form(_)) => Err(Wrong::Value("must be \"never\" or a size such as \"64 MiB\"".into())),
        read => read.map(Some),
    })
}

fn silence(mut s: Section<'_>) -> Silence {
    let silence = Silence {
        after: s.get("after", "learned", expected),
        account_after: s.get("account_after", "learned", expected),
    };
    s.finish();
    silence
}

fn expected(raw: Raw<'_>) -> Result<Expected, Wrong> {
    const WORDS: &[(&str, Expected)] = &[("learned", Expected::Learned), ("never", Expected::Never)];
    choice(WORDS)(raw).or_else(|_| match duration(SILENCES)(raw) {
        Err(Wrong::Form(_)) => {
            Err(Wrong::Value("must be \"learned\", \"never\" or a duration such as \"12h\"".into()))
        }
        read => read.map(Expected::Within),
    })
}

fn seen(mut s: Section<'_>) -> Seen {
    let seen = Seen {
        retention: s.get("retention", "30d", duration(MIN_RETENTION..=days(365))),
        max_ids: s.get("max_ids", 2_000_000_u64, count(1000..=1_000_000_000)),
    };
    s.finish();
    seen
}

fn held(mut s: Section<'_>) -> Held {
    let held = Held {
        max_age: s.get("max_age", "30d", duration(AGES)),
        max_events: s.get("max_events", 1000_u64, count(1..=1_000_000)),
        max_bytes: s.get("max_bytes", "8 MiB", bytes(SIZES)),
        total_bytes: s.get("total_bytes", "512 MiB", bytes(SIZES)),
    };
    if s.sound(&["max_bytes", "total_bytes"]) && held.max_bytes > held.total_bytes {
        let total = show_bytes(held.total_bytes);
        s.refuse("max_bytes", format!("is for one account; total_bytes, for all, is only {total}"));
    }
    s.finish();
    held
}

fn dead_letters(mut s: Section<'_>) -> DeadLetters {
    let dead_letters = DeadLetters {
        max_age: s.get("max_age", "30d", duration(AGES)),
        max_bytes: s.get("max_bytes", "512 MiB", bytes(SIZES)),
    };
    s.finish();
    dead_letters
}

fn quarantine(mut s: Section<'_>) -> Quarantine {
    let quarantine = Quarantine {
        max_events: s.get("max_events", 10_000_u64, count(1..=10_000_000)),
        max_bytes: s.get("max_bytes", "64 MiB", bytes(SIZES)),
        max_age: s.get("max_age", "30d", duration(AGES)),
    };
    s.finish();
    quarantine
}

fn unrouted(mut s: Section<'_>) -> Unrouted {
    let unrouted = Unrouted {
        max_age: s.get("max_age", "7d", duration(AGES)),
        max_bytes: s.get("max_bytes", "256 MiB", bytes(SIZES)),
    };
    s.finish();
    unrouted
}

/// With no bytes nothing is noted.
fn receipts(mut s: Section<'_>, max_age: &'static str, max_bytes: &'static str) -> Receipts {
    let receipts = Receipts {
        max_age: s.get("max_age", max_age, duration(AGES)),
        max_bytes: s.get("max_bytes", max_bytes, bytes(0..=MOST_RECEIPTS)),
    };
    s.finish();
    receipts
}

/// Any address, because nothing that is served there is secret.
fn metrics(mut s: Section<'_>, public: Option<SocketAddr>, api: &[ApiListener]) -> Option<SocketAddr> {
    let listen = s.optional("listen", "127.0.0.1:9464", Echo::Shown, text(address));
    let others = public.into_iter().chain(api.iter().map(|listener| listener.address));
    if listen.is_some_and(|ours| ours.port() != 0 && others.into_iter().any(|other| other == ours)) {
        s.refuse("listen", "is the address of another listener already".into());
    }
    s.finish();
    listen
}

fn log(mut s: Section<'_>) -> Log {
    let formats = &[("auto", LogFormat::Auto), ("human", LogFormat::Human), ("json", LogFormat::Json)];
    let levels = &[
        ("error", LogLevel::Error),
        ("warn", LogLevel::Warn),
        ("info", LogLevel::Info),
        ("debug", LogLevel::Debug),
        ("trace", LogLevel::Trace),
    ];
    let log = Log {
        format: s.get("format", "auto", choice(formats)),
        level: s.get("level", "info", choice(levels)),
    };
    s.finish();
    log
}

/// What is kept aside and in queues must fit into the store, or its bound would strike first.
fn check_sum(root: &Section<'_>, store: &Section<'_>, kept: &[(String, u64)], max_bytes: u64) {
    let paths: Vec<&str> = kept.iter().map(|(path, _)| path.as_str()).collect();
    let sum = kept.iter().fold(0_u64, |sum, (_, size)| sum.saturating_add(*size));
    if root.sound(&paths) && sum > max_bytes {
        let parts: Vec<_> = kept.iter().map(|(path, size)| format!("{path} {}", show_bytes(*size))).collect();
        let (sum, bound, parts) = (show_bytes(sum), show_bytes(max_bytes), parts.join(", "));
        store.refuse(
            "max_bytes",
            format!("must be at least {sum} (it is {bound}), the sum of {parts}; raise it or lower those"),
        );
    }
}

fn address(text: &str) -> Result<SocketAddr, Wrong> {
    text.parse().map_err(|_| Wrong::Form("an IP address with a port"))
}

fn environment(text: &str) -> Result<String, Wrong> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if (1..=64).contains(&text.len()) && text.chars().all(allowed) {
        Ok(text.into())
    } else {
        Err(Wrong::Form("a name of at most 64 letters, digits, - and _"))
    }
}
