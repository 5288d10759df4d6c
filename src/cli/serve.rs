//! `ringhookd serve`, `init` and `demo`: the commands that are the daemon, instead of speaking to it.

use serde_json::json;
use tokio::runtime::{Builder, Runtime};

use super::args::Common;
use super::demo;
use super::failure::Failure;
use super::output::Output;
use crate::config::{ConfigError, LogFormat};
use crate::daemon::{self, Inherited};
use crate::logging;

pub(super) fn serve(common: &Common) -> Result<(), Failure> {
    // Before there are threads.
    let inherited = Inherited::of_this_process()?;
    let config = daemon::load(common.configuration()?).map_err(refused)?;
    let format = match config.log.format {
        LogFormat::Auto => logging::Format::Auto,
        LogFormat::Human => logging::Format::Human,
        LogFormat::Json => logging::Format::Json,
    };
    let _log =
        logging::start(format, config.log.level.as_str()).map_err(|error| Failure::no(error.to_string()))?;
    Ok(runtime()?.block_on(daemon::serve(config, inherited))?)
}

pub(super) fn demo(keep_running: bool) -> Result<(), Failure> {
    runtime()?.block_on(demo::run(keep_running)).map_err(|error| Failure::no(error.to_string()))
}

pub(super) fn init(common: &Common) -> Result<(), Failure> {
    let config = daemon::load_to_create(common.configuration()?).map_err(refused)?;
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
