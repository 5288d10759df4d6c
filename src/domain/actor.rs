//! Who caused a change.

use std::fmt;
use std::sync::Arc;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Actor {
    /// The daemon by itself: something ran out, or went on after a restart.
    #[default]
    Daemon,
    /// Ring, by a webhook, a code or an answer.
    Ring,
    /// A process that called through an admin socket.
    Socket {
        path: Arc<str>,
        /// The user that it runs as, where the system tells.
        uid: Option<u32>,
    },
}

impl Actor {
    /// As receipts name it: nothing for the daemon, which is most of them.
    pub fn receipt(&self) -> String {
        match self {
            Self::Daemon => String::new(),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Daemon => f.write_str("the daemon"),
            Self::Ring => f.write_str("Ring"),
            Self::Socket { path, uid: Some(uid) } => write!(f, "uid {uid} on {path}"),
            Self::Socket { path, uid: None } => write!(f, "a process on {path}"),
        }
    }
}
