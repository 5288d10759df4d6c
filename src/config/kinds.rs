//! The kinds of queue as the configuration names them, and the addresses that each takes.

/// A kind of queue.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Embedded,
    Spool,
    Http,
    Redis,
    Nats,
    Mqtt,
    Postgres,
    Amqp,
    Sqs,
}

/// Every kind by its word.
pub(super) const KINDS: &[(&str, Kind)] = &[
    ("embedded", Kind::Embedded),
    ("spool", Kind::Spool),
    ("http", Kind::Http),
    ("redis", Kind::Redis),
    ("nats", Kind::Nats),
    ("mqtt", Kind::Mqtt),
    ("postgres", Kind::Postgres),
    ("amqp", Kind::Amqp),
    ("sqs", Kind::Sqs),
];

impl Kind {
    /// The schemes of the receiver's address; empty where a queue has no receiver.
    pub(super) const fn schemes(self) -> &'static [&'static str] {
        match self {
            Self::Embedded | Self::Spool => &[],
            Self::Http => &["http", "https"],
            Self::Redis => &["redis", "rediss"],
            Self::Nats => &["nats", "tls"],
            Self::Mqtt => &["mqtt", "mqtts"],
            Self::Postgres => &["postgres", "postgresql"],
            Self::Amqp => &["amqp", "amqps"],
            Self::Sqs => &["https", "http"],
        }
    }

    /// An address such as the kind takes.
    pub(super) const fn example(self) -> &'static str {
        match self {
            Self::Embedded | Self::Spool | Self::Http => "http://127.0.0.1:8080/ring",
            Self::Redis => "redis://127.0.0.1:6379/0",
            Self::Nats => "nats://127.0.0.1:4222",
            Self::Mqtt => "mqtt://127.0.0.1:1883",
            Self::Postgres => "postgres://127.0.0.1:5432/events",
            Self::Amqp => "amqp://127.0.0.1:5672",
            Self::Sqs => "https://sqs.eu-west-1.amazonaws.com/123456789012/ring",
        }
    }

    /// Whether a message has headers beside its content.
    pub(super) const fn has_headers(self) -> bool {
        match self {
            Self::Embedded | Self::Spool | Self::Redis | Self::Postgres | Self::Sqs => false,
            Self::Http | Self::Nats | Self::Mqtt | Self::Amqp => true,
        }
    }

    /// Whether its receiver may want to see a token.
    pub(super) const fn has_token(self) -> bool {
        match self {
            Self::Embedded
            | Self::Spool
            | Self::Redis
            | Self::Mqtt
            | Self::Postgres
            | Self::Amqp
            | Self::Sqs => false,
            Self::Http | Self::Nats => true,
        }
    }

    /// Whether its receiver asks for a user and a password.
    pub(super) const fn has_login(self) -> bool {
        match self {
            Self::Embedded | Self::Spool | Self::Http | Self::Sqs => false,
            Self::Redis | Self::Nats | Self::Mqtt | Self::Postgres | Self::Amqp => true,
        }
    }

    /// The cargo feature that brings its client library along, where this build is without it.
    pub(super) const fn missing_feature(self) -> Option<&'static str> {
        match self {
            Self::Redis if !cfg!(feature = "sink-redis") => Some("sink-redis"),
            Self::Postgres if !cfg!(feature = "sink-postgres") => Some("sink-postgres"),
            Self::Mqtt if !cfg!(feature = "sink-mqtt") => Some("sink-mqtt"),
            Self::Embedded
            | Self::Spool
            | Self::Http
            | Self::Redis
            | Self::Nats
            | Self::Mqtt
            | Self::Postgres
            | Self::Amqp
            | Self::Sqs => None,
        }
    }
}
