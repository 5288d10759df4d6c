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
    Socket(Caller),
}

/// A process that calls the admin API, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The path of the socket, or the address.
    pub socket: Arc<str>,
    /// The name of the token that it brought to an address: where that is kept.
    pub token: Option<Arc<str>>,
    /// The user and group that it runs as, and its process, where the system tells.
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub pid: Option<i32>,
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
            Self::Socket(Caller { socket, uid: Some(uid), .. }) => write!(f, "uid {uid} on {socket}"),
            Self::Socket(Caller { socket, token: Some(token), .. }) => {
                write!(f, "a process with the token {token} on {socket}")
            }
            Self::Socket(Caller { socket, .. }) => write!(f, "a process on {socket}"),
        }
    }
}
