//! The command line: one file a command, each speaking to the running daemon through its admin socket.
//!
//! Exit codes: 0 fine, 1 the answer is no or it failed, 2 wrong usage, 3 `status` found something for an operator; `serve` and
//! `init` have the daemon's own.

mod accounts;
mod args;
mod audit;
mod backup;
mod certify;
mod check;
mod client;
mod compact;
mod confirm;
mod definition;
mod demo;
mod doctor;
mod exec;
mod export;
mod failure;
mod import;
mod inspect;
mod keys;
mod letters;
mod metrics;
mod output;
mod places;
mod privacy;
mod progress;
mod queue;
mod reload;
mod restore;
mod serve;
mod simulate;
mod status;
mod stop;
mod token;

use std::future::Future;
use std::io::{self, IsTerminal};
use std::process::ExitCode;

use clap::FromArgMatches;

use self::args::{Args, Command, Common};
use self::client::Client;
use self::failure::Failure;
use self::output::Output;
use crate::{daemon, logging};

/// Runs what the process's arguments say.
pub fn main() -> ExitCode {
    let args = match definition::command().try_get_matches().and_then(|found| Args::from_arg_matches(&found))
    {
        Ok(mut args) => {
            args.common.fill(|name| std::env::var_os(name));
            args
        }
        Err(error) => {
            // Help goes to standard output, usage errors to standard error.
            if !error.use_stderr() {
                return help(&error).map_or_else(|failure| failure.report(), |()| ExitCode::SUCCESS);
            }
            // A closed standard error is nobody's loss.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    // Keys, tokens and events pass through most commands, not through the daemon alone.
    if let Err(error) = daemon::forbid_dumps() {
        eprintln!("ringhookd: core dumps can't be switched off: {error}");
    }
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn help(text: &clap::Error) -> Result<(), Failure> {
    let mut out = Output::open(false)?;
    let text = text.render();
    let shown = if io::stdout().is_terminal() && logging::colours_are_wanted() {
        text.ansi().to_string()
    } else {
        text.to_string()
    };
    Ok(out.show(format_args!("{shown}"))?)
}

fn run(args: Args) -> Result<(), Failure> {
    let Args { common, command } = args;
    match command {
        Command::Completions { shell } => definition::completions(shell, common.json),
        Command::Manual { folder } => definition::manual(&folder, common.json),
        Command::Init => serve::init(&common),
        Command::Serve => serve::serve(&common),
        Command::Demo { keep_running } => serve::demo(keep_running),
        Command::Simulate(wishes) => simulate::run(&wishes, common.json),
        Command::Check { event, user, connect } => {
            check::run(&common, event.map(|file| check::Wishes { file, user }).as_ref(), connect)
        }
        Command::Status { watch } => {
            with_daemon(&common, async |daemon, out| status::run(watch, daemon, out).await)
        }
        Command::Doctor { url } => doctor::run(&common, url),
        Command::Certify(wishes) => certify::run(&common, wishes),
        Command::Privacy => with_daemon(&common, privacy::run),
        Command::Accounts(command) => {
            with_daemon(&common, async |daemon, out| accounts::run(command, daemon, out).await)
        }
        Command::Token { account, min_life, refused } => with_daemon(&common, async |daemon, out| {
            token::token(&account, min_life, refused, daemon, out).await
        }),
        Command::Backup { file } => {
            with_daemon(&common, async |daemon, out| backup::run(&file, daemon, out).await)
        }
        Command::Inspect { id, recent } => {
            with_daemon(&common, async |daemon, out| inspect::run(id.as_deref(), recent, daemon, out).await)
        }
        Command::Audit { since, account, max } => with_daemon(&common, async |daemon, out| {
            audit::run(since, account.as_deref(), max, daemon, out).await
        }),
        Command::Compact => with_daemon(&common, compact::run),
        Command::Reload => with_daemon(&common, reload::run),
        Command::Metrics { textfile } => {
            with_daemon(&common, async |daemon, out| metrics::run(textfile.as_deref(), daemon, out).await)
        }
        Command::Restore { file } => restore::run(&common, &file),
        Command::AcceptRestored { yes } => {
            with_daemon(&common, async |daemon, out| restore::accept(yes, daemon, out).await)
        }
        Command::Queue(command) => {
            with_daemon(&common, async |daemon, out| queue::run(command, daemon, out).await)
        }
        Command::DeadLetters(command) => {
            with_daemon(&common, async |daemon, out| letters::run(command, daemon, out).await)
        }
        Command::Keys(command) => {
            with_daemon(&common, async |daemon, out| keys::run(command, daemon, out).await)
        }
    }
}

fn with_daemon(
    common: &Common,
    run: impl AsyncFnOnce(&Client, &mut Output) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let work = async {
        let mut out = Output::open(common.json)?;
        let client = Client::find(common).await?;
        run(&client, &mut out).await?;
        out.flush()
    };
    block_on(work)
}

fn block_on(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::no(error.to_string()))?;
    let done = runtime.block_on(work);
    // A thread that still reads standard input holds nobody up.
    runtime.shutdown_background();
    done
}
