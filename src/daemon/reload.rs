//! Reads the configuration anew while the daemon runs: a file with problems changes nothing, and what can't change needs a restart, by name.

use std::sync::{Arc, Mutex, PoisonError};

use super::setup;
use crate::config::{Config, LogLevel};
use crate::logging;

/// What became of a configuration that was read anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reloaded {
    /// The keys whose new values hold now.
    pub applied: Vec<String>,
    /// The keys and sections that are written otherwise than at the start, and hold from the next one on.
    pub needs_restart: Vec<String>,
}

#[derive(Debug)]
pub(super) struct Reload {
    /// As at the start.
    config: Arc<Config>,
    level: Mutex<LogLevel>,
}

impl Reload {
    pub(super) fn new(config: Arc<Config>) -> Self {
        let level = Mutex::new(config.log.level);
        Self { config, level }
    }

    /// Reads the file at `by`'s word. Blocks.
    ///
    /// # Errors
    /// Every problem of the file and of those that it names. The old configuration stays.
    pub(super) fn run(&self, by: &str) -> Result<Reloaded, String> {
        let done = self.apply();
        match &done {
            Ok(Reloaded { applied, needs_restart }) if needs_restart.is_empty() => {
                tracing::info!(by, ?applied, "the configuration was read anew");
            }
            Ok(Reloaded { applied, needs_restart }) => {
                tracing::warn!(
                    by,
                    ?applied,
                    ?needs_restart,
                    "the configuration was read anew; some of it needs a restart"
                );
            }
            Err(problems) => {
                tracing::error!(by, problems, "the new configuration is refused, and the old one stays");
            }
        }
        done
    }

    fn apply(&self) -> Result<Reloaded, String> {
        let file = &self.config.file;
        if file.as_os_str().is_empty() {
            return Err("the daemon runs without a configuration file".into());
        }
        let new = setup::load(file).map_err(|error| error.to_string())?;
        let mut applied = Vec::new();
        let mut level = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        if *level != new.log.level {
            logging::set_filter(new.log.level.as_str()).map_err(|error| error.to_string())?;
            *level = new.log.level;
            applied.push("log.level".to_owned());
        }
        Ok(Reloaded { applied, needs_restart: self.config.written.needs_restart(&new.written) })
    }
}
