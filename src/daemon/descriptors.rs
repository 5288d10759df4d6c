//! The limit of open files: raised as far as it goes, and divided among the listeners.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;
use crate::{admin, http};

/// For the store, the log, sinks, and calls of Ring's API.
const OWN_FILES: u64 = 128;
/// Fewer connections than this are of no use.
const MIN_CONNECTIONS: u64 = 16;

/// How many connections the public listener may have: as configured, or what the limit of open files leaves.
pub(super) fn connections(config: &Config) -> usize {
    let leaving = http::MAX_LEAVING as u64;
    let sockets = (config.sockets.len()
        + config.api_listeners.len()
        + usize::from(config.metrics_listen.is_some())) as u64
        * (admin::limits().max_connections as u64 + leaving);
    let files = open_files();
    let room = files.saturating_sub(OWN_FILES + leaving + sockets).max(MIN_CONNECTIONS);
    let configured = config.http.max_connections;
    let connections = usize::try_from(room).unwrap_or(usize::MAX).min(configured);
    if connections < configured {
        tracing::warn!(
            files,
            connections,
            "the limit of open files leaves room for fewer connections than [http] max_connections: raise it (LimitNOFILE=)"
        );
    }
    connections
}

/// The limit of this process, after it was raised to the one that no process may pass.
fn open_files() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum && setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_ok() {
        return maximum.unwrap_or(u64::MAX);
    }
    // A filter of system calls may forbid it; the limit is as it was then.
    current.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn config(max_connections: usize) -> Config {
        let text = format!(
            "listen = \"127.0.0.1:0\"\nhmac_keys = [\"a-made-up-key-for-tests\"]\n[store]\nfolder = \"made-up\"\n\
             [http]\nmax_connections = {max_connections}\n"
        );
        config::parse(&text, std::path::Path::new("/")).unwrap()
    }

    #[test]
    fn connections_leave_files_for_all_else() {
        let files = open_files();
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert_eq!(current, maximum, "raised");
        assert_eq!(connections(&config(20)), 20);
        let most = connections(&config(1_000_000)) as u64;
        assert!(most < files.max(1_000_001) && most >= MIN_CONNECTIONS, "{most} of {files}");
    }
}
