//! `ringhookd serve`, `init` and `demo`: the commands that are the daemon, instead of speaking to it.

use std::path::Path;

use serde_json::json;
use tokio::runtime::{Builder, Runtime};

use super::args::Common;
use super::demo;
use super::failure::Failure;
use super::output::Output;
use crate::config::{self, ConfigError, LogFormat};
use crate::daemon::{self, Inherited};
use crate::logging;

pub(super) fn serve(common: &Common) -> Result<(), Failure> {
    // Before there are threads.
    let inherited = Inherited::of_this_process()?;
    let file = common.configuration()?;
    let config = match daemon::load(file) {
        Ok(config) => config,
        Err(error) => return Err(refused_start(file, error)),
    };
    let log = start_log(&config.log)?;
    let served = runtime()?.block_on(daemon::serve(config, inherited));
    served.map_err(|error| fatal(&log, error))
}

/// The log as it is configured, but for what the environment wants written.
fn start_log(log: &config::Log) -> Result<Started, Failure> {
    let format = match log.format {
        LogFormat::Auto => logging::Format::Auto,
        LogFormat::Human => logging::Format::Human,
        LogFormat::Json => logging::Format::Json,
    };
    let filter = logging::wanted_by_environment().unwrap_or_else(|| log.level.as_str().to_owned());
    let kept = logging::start(format, &filter).map_err(|error| Failure::no(error.to_string()))?;
    Ok(Started { is_json: log.format == LogFormat::Json, _kept: kept })
}

/// A log that runs, until this is dropped.
struct Started {
    /// It was asked for JSON: whatever reads it can't read anything else.
    is_json: bool,
    _kept: logging::Log,
}

/// Why the daemon ends, as a line of the log where that was asked to be JSON.
fn fatal(log: &Started, error: daemon::Error) -> Failure {
    if !log.is_json {
        return error.into();
    }
    let code = error.exit_code();
    tracing::error!(exit_code = code, "{error}");
    Failure::Logged { code }
}

/// The same of a configuration that is refused, as far as it says how to log.
fn refused_start(file: &Path, error: ConfigError) -> Failure {
    match config::log_of(file).map(|log| start_log(&log)) {
        Some(Ok(log)) if log.is_json => fatal(&log, error.into()),
        _ => refused(error),
    }
}

pub(super) fn demo(keep_running: bool) -> Result<(), Failure> {
    runtime()?.block_on(demo::run(keep_running)).map_err(|error| Failure::no(error.to_string()))
}

pub(super) fn init(common: &Common) -> Result<(), Failure> {
    let config = daemon::load_text(common.configuration()?).map_err(refused)?;
    let mut out = Output::open(common.json)?;
    let name = daemon::create_store(&config)?.store;
    let folder = config.store.folder.display();
    let words = format!(
        "made store {name} in {folder}. Its master key is {}: keep a copy elsewhere",
        config.sources.master.source
    );
    out.done(&json!({"store": name, "folder": folder.to_string()}), &words)?;
    out.flush()
}

fn refused(error: ConfigError) -> Failure {
    daemon::Error::from(error).into()
}

fn runtime() -> Result<Runtime, Failure> {
    Builder::new_multi_thread().enable_all().build().map_err(|error| Failure::no(error.to_string()))
}
