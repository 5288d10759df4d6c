//! Where a command finds its configuration and the daemon: arguments, then the environment, then the paths of an installed package.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::args::Common;
use super::failure::Failure;
use crate::access;

pub(super) const CONFIG: &str = "RINGHOOKD_CONFIG";
pub(super) const SOCKET: &str = "RINGHOOKD_SOCKET";
/// Of a package, and of `systemd/README.md`.
const DEFAULT_CONFIG: &str = "/etc/ringhookd/config.toml";
const DEFAULT_SOCKET: &str = "/run/ringhookd/admin.sock";

/// A place where the daemon's admin socket may be named.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    Socket(PathBuf),
    /// The sockets that this configuration names.
    In(PathBuf),
}

impl Common {
    /// Takes from the environment what the arguments do not name. A configuration among the arguments is of another daemon than
    /// a socket in the environment, so the argument is the daemon's.
    pub(super) fn fill(&mut self, variable: impl Fn(&str) -> Option<OsString>) {
        let path = |name| {
            variable(name).filter(|value| !value.is_empty()).map(|value| access::absolute(Path::new(&value)))
        };
        if self.config.is_none() && self.socket.is_none() {
            self.socket = path(SOCKET);
        }
        if self.config.is_none() {
            self.config = path(CONFIG);
        }
    }

    /// The configuration of a command that needs one.
    pub(super) fn configuration(&self) -> Result<&Path, Failure> {
        self.configuration_or(Path::new(DEFAULT_CONFIG))
    }

    fn configuration_or<'a>(&'a self, default: &'a Path) -> Result<&'a Path, Failure> {
        if let Some(file) = &self.config {
            return Ok(file);
        }
        if default.exists() {
            return Ok(default);
        }
        Err(Failure::Usage(format!(
            "no configuration: give --config FILE, set {CONFIG}, or make {}; config.example.toml is one to start from",
            default.display()
        )))
    }

    /// The places of the daemon's admin socket, the first that lets us in counts.
    pub(super) fn daemon(&self) -> Vec<Place> {
        match (&self.socket, &self.config) {
            (Some(socket), _) => vec![Place::Socket(socket.clone())],
            (None, Some(config)) => vec![Place::In(config.clone())],
            (None, None) => vec![Place::In(DEFAULT_CONFIG.into()), Place::Socket(DEFAULT_SOCKET.into())],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn common(config: Option<&str>, socket: Option<&str>, environment: &[(&str, &str)]) -> Common {
        let mut common =
            Common { config: config.map(PathBuf::from), socket: socket.map(PathBuf::from), json: false };
        common
            .fill(|name| environment.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into()));
        common
    }

    #[test]
    fn arguments_come_before_the_environment() {
        let environment = [(CONFIG, "/env.toml"), (SOCKET, "/env.sock")];
        let socket = |path: &str| vec![Place::Socket(path.into())];
        assert_eq!(common(None, None, &environment).daemon(), socket("/env.sock"));
        assert_eq!(common(None, Some("/arg.sock"), &environment).daemon(), socket("/arg.sock"));
        let argument = common(Some("/arg.toml"), None, &environment);
        assert_eq!(argument.daemon(), [Place::In("/arg.toml".into())], "another daemon's socket");
        assert_eq!(argument.configuration().unwrap(), Path::new("/arg.toml"));
        let environment = common(None, Some("/arg.sock"), &environment);
        assert_eq!(environment.configuration().unwrap(), Path::new("/env.toml"));
        assert_eq!(common(None, None, &[(CONFIG, "/env.toml")]).daemon(), [Place::In("/env.toml".into())]);
    }

    #[test]
    fn an_empty_variable_is_none() {
        let nothing = common(None, None, &[(CONFIG, ""), (SOCKET, "")]);
        assert_eq!((&nothing.config, &nothing.socket), (&None, &None));
        assert_eq!(
            nothing.daemon(),
            [Place::In(DEFAULT_CONFIG.into()), Place::Socket(DEFAULT_SOCKET.into())]
        );
    }

    #[test]
    fn the_default_configuration_counts_where_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let default = folder.path().join("config.toml");
        let nothing = common(None, None, &[]);
        let Err(Failure::Usage(words)) = nothing.configuration_or(&default) else { panic!("there is none") };
        assert!(words.contains(CONFIG) && words.contains(default.to_str().unwrap()), "{words}");
        std::fs::write(&default, "").unwrap();
        assert_eq!(nothing.configuration_or(&default).unwrap(), default);
    }
}
