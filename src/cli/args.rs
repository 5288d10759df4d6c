//! The arguments, as clap reads them and shows them in help texts.
#![expect(clippy::doc_markdown, reason = "help texts are read on a terminal")]

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PathBufValueParser, TypedValueParser};
use clap::{Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use hyper::Uri;

use super::exec::work::Work;
use super::simulate::Wishes;
use crate::access;
use crate::clock;
use crate::domain::ids::{IdError, UserId};
use crate::domain::time::Millis;

/// Receives Ring Appstore webhooks durably and routes each event to the user whose account it is.
#[derive(Debug, Parser)]
#[command(name = "ringhookd", version = env!("RINGHOOKD_VERSION"), arg_required_else_help = true)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) common: Common,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// A file, from the root on, because so it is shown; `-` stays what it is.
fn place() -> impl TypedValueParser<Value = PathBuf> {
    let absolute = |path: PathBuf| if path.as_os_str() == "-" { path } else { access::absolute(&path) };
    PathBufValueParser::new().map(absolute)
}

#[derive(Debug, clap::Args)]
pub(super) struct Common {
    /// The daemon's configuration; other commands find its admin socket there [env: RINGHOOKD_CONFIG] [default:
    /// /etc/ringhookd/config.toml, if it is there].
    #[arg(long, global = true, value_name = "FILE", value_parser = place())]
    pub(super) config: Option<PathBuf>,
    /// The admin socket of the running daemon [env: RINGHOOKD_SOCKET] [default: those in the configuration, else
    /// /run/ringhookd/admin.sock].
    #[arg(long, global = true, value_name = "PATH")]
    pub(super) socket: Option<PathBuf>,
    /// Print JSON: an object a line, an event as one CloudEvent.
    #[arg(long, global = true)]
    pub(super) json: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make identity, store and master key, once; then `serve`.
    Init,
    /// Run the daemon until SIGTERM.
    Serve,
    /// Look at configuration, secrets, store and folders without starting; exit 1 with every problem listed.
    Check {
        /// Tell instead which queues this event would reach, why not the others, and the content that they would get: a body as
        /// Ring sends it.
        #[arg(long, value_name = "FILE", value_parser = place())]
        event: Option<PathBuf>,
        /// Try the receiver of each queue besides: its name, connection, TLS and login, and a stream, table or right that is missing.
        ///
        /// Nothing is sent that a receiver would keep, and nothing is written. A receiver of kind http is connected to and asked nothing. A
        /// session of MQTT has the client_id with -check behind it.
        #[arg(long, conflicts_with = "event")]
        connect: bool,
        /// The user whose account the event is of; without it, of an account that nobody has claimed.
        #[arg(long, value_name = "USER", requires = "event", value_parser = user_id)]
        user: Option<UserId>,
    },
    /// Show it all at once: a simulated Ring, the daemon and a reader, in a temporary folder.
    Demo {
        /// Go on when the show is over, to play with it.
        #[arg(long)]
        keep_running: bool,
    },
    /// Run a simulated Ring to test your app against, without Ring: OAuth, API, webhooks, and faults on demand.
    ///
    /// It prints its addresses, made-up credentials and ready curl lines, tells on standard error what is asked and
    /// answered, and runs until Ctrl-C. docs/SIMULATE.md describes scenarios and the endpoints under /sim/.
    Simulate(Box<Wishes>),
    /// How the running daemon stands: first what needs an operator, the worst first, or "all well".
    ///
    /// Each problem is a line: its name, what is wrong, and what to do. docs/OPERATE.md has an entry for each name. Fit for a health
    /// check. Exit code: 0 all is well; 3 something needs an operator; 1 the daemon can't be asked.
    Status {
        /// Draw it anew every 2 seconds, until Ctrl-C.
        #[arg(long)]
        watch: bool,
    },
    /// Find what keeps webhooks from coming or tokens from living, and what to do about it; with or without a running daemon.
    ///
    /// Looks at the configuration (as `check` does), the running daemon, the clock, the disk, the credentials and signatures, installed units,
    /// Ring's OAuth and API, and with --url at the public name. Nothing is changed, and no token and no code is sent. Each finding is a line:
    /// well, note, warning or failed, with what to do. Exit code: 0 nothing fails (warnings may be there); 1 something fails.
    Doctor {
        /// The public name under which the addresses are registered at Ring, such as https://hooks.example.com.
        #[arg(long, value_name = "URL", value_parser = whole_url)]
        url: Option<Uri>,
    },
    /// Try the public name as Ring's reviewers do: with signed and forged test events, which reach no queue; and write a report.
    ///
    /// Looks at the address, TLS versions, the certificate, the front, how a signed event, its duplicate and a forged one are answered and how
    /// fast, the Token Exchange URL with a code that nobody gave, and the Account Link URL. Needs the running daemon, which makes the test events
    /// (the right `certify`), and its HMAC key, from the configuration. Writes a dated report and drafts of the three notes for Ring's
    /// reviewers; a note that is there already stays as it is. Exit code: 0 nothing fails (warnings may be there); 1 something fails.
    Certify(Certify),
    /// Tell what the running daemon keeps of a user, why, sealed how, how long, who can read it, and how it is deleted.
    ///
    /// A sheet in Markdown, made from the configuration that the daemon runs with, to answer a questionnaire on data protection
    /// (docs/CERTIFY.md). No secret and no id of a user stands in it. The call needs a socket with the right `status` that sees all accounts.
    Privacy,
    /// Accounts and whose they are.
    #[command(subcommand)]
    Accounts(AccountsCommand),
    /// Print an access token of an account that is good for a while; it is refreshed first if it must be.
    ///
    /// Prints the token and nothing else, to stand in a command line; with --json also expires_at, expires_in (seconds) and
    /// generation. Where there is none, standard error says why and when to ask again, and the exit code is 1. The answer comes
    /// within 10 seconds. The refresh token never leaves the daemon.
    Token {
        /// The account's id, as `accounts list` shows it.
        account: String,
        /// How long it must be good for at least; Ring's live 4 hours.
        #[arg(long, value_name = "TIME", default_value = "1m", value_parser = humantime::parse_duration)]
        min_life: Duration,
        /// Ring's API refused the token of this generation (--json shows it): get a newer one.
        #[arg(long, value_name = "GENERATION")]
        refused: Option<u64>,
    },
    /// Write a backup of the running daemon's store to a file. Nothing else is one: a copy of a running store is damaged.
    ///
    /// It holds everything that was acknowledged before it began, sealed as it lies in the store: keep it together with the master key.
    /// FILE must not exist. It comes into being, for its owner alone, once it was read back whole. The daemon goes on meanwhile. The call
    /// needs a socket with the right `backup` that sees all accounts.
    Backup {
        /// The file to make.
        #[arg(value_parser = place())]
        file: PathBuf,
    },
    /// Give the disk back what the store's file does not use any more, while the daemon runs.
    ///
    /// Living rows are copied into a new file, which takes the place of the old one between two commits; the disk needs room for both. `status`
    /// says how much of the file is free.
    Compact,
    /// Tell what became of an event: when it came and from where, which key verified it, its queues, attempts, and who has it now.
    ///
    /// ID is the event's id (Ring's meta.request_id), its sequence, or the id of a dead letter. Without one, the latest requests of the
    /// public listener, the newest first, refused ones too: those are in memory and gone with the daemon, of accepted ones a receipt is
    /// kept for [receipts] max_age. Nothing of a body is shown. Exit code: 1 when nothing is known of the event.
    Inspect {
        /// The event's id, its sequence, or the id of a dead letter.
        id: Option<String>,
        /// So many of the latest requests.
        #[arg(long, value_name = "N", default_value_t = 20, conflicts_with = "id", value_parser = clap::value_parser!(u16).range(1..=500))]
        recent: u16,
    },
    /// List what callers of the admin API did to whom: each change, each access token, and what was refused for want of a right.
    ///
    /// The newest first, with the socket, the process and the user that it runs as. Accounts that were forgotten since are not named.
    Audit {
        /// Only what happened since: a time as RFC 3339 has it, or how long ago, such as 24h.
        #[arg(long, value_name = "TIME", value_parser = since)]
        since: Option<Millis>,
        /// Only acts on this account.
        #[arg(long)]
        account: Option<String>,
        /// So many at most.
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
        max: u32,
    },
    /// Have the running daemon read its configuration anew.
    ///
    /// A file with problems is refused, and the old configuration stays. The file and those that it names take effect at once; each key that
    /// needs a restart is named with the reason. Exits with 1 if the file is refused or a restart is needed.
    Reload,
    /// Print the daemon's metrics in Prometheus's text format, or write them into a file for node_exporter.
    ///
    /// For where Prometheus can't reach `[metrics] listen`. A timer runs it with --textfile each minute; docs/METRICS.md has one.
    Metrics {
        /// Write into this file, as a whole and silently; its name must end in .prom for node_exporter to read it.
        #[arg(long, value_name = "FILE")]
        textfile: Option<PathBuf>,
    },
    /// Make the store of a backup in the configured folder, where none may be, while no daemon runs.
    ///
    /// The master key must be the backup's. After the start, `status` says whether tokens were in use since the backup was made: then nothing
    /// is refreshed before `ringhookd accept-restored`.
    Restore {
        /// A file that `ringhookd backup` wrote; - is standard input, which must be a file.
        #[arg(value_parser = place())]
        file: PathBuf,
    },
    /// Go on with a restored store, though it is an older copy than the tokens that were in use.
    ///
    /// Until then nothing is refreshed: `status` says "restore_guard", and access tokens that are still good are handed out. First make
    /// sure that no newer copy of the store can be had, and that no other daemon runs on one. Links whose tokens were replaced after
    /// the copy was made are lost where Ring no longer honours the old ones; `accounts list` shows them as revoked some time later.
    AcceptRestored {
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Queues: look, read, watch, pause.
    #[command(subcommand)]
    Queue(QueueCommand),
    /// What could not be delivered, matched no queue, or was not understood.
    #[command(subcommand)]
    DeadLetters(LettersCommand),
    /// Master key and webhook keys.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Print the completions of a shell: commands and options at the tab key.
    Completions {
        /// The shell that reads them.
        shell: Shell,
    },
    /// Write the manual pages, one for each command, into a folder; `man` finds them in share/man/man1.
    Manual {
        /// The folder; it is made where there is none.
        folder: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct Certify {
    /// The public name under which the addresses are registered at Ring, such as https://hooks.example.com.
    #[arg(long, value_name = "URL", value_parser = whole_url)]
    pub(super) url: Uri,
    /// The Account Link URL, where it is a page of your own web app.
    #[arg(long, value_name = "URL", value_parser = whole_url)]
    pub(super) account_link_url: Option<Uri>,
    /// The folder for the report and the notes; it is made where there is none.
    #[arg(long, value_name = "FOLDER", default_value = "ringhookd-certify", value_parser = place())]
    pub(super) folder: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(super) enum AccountsCommand {
    /// All accounts.
    List,
    /// One account.
    Show {
        /// The account's id, as `accounts list` shows it.
        account: String,
    },
    /// Put accounts in, with their users and tokens.
    ///
    /// Takes one JSON object, or one a line: {"account_id", "user", "access_token", "refresh_token", "expires_in" (seconds)
    /// or "expires_at" (RFC 3339), "scope"}; the answer of Ring's token endpoint fits as it is. All of it may be left out, but either
    /// account_id or refresh_token: a refresh token without account_id is exchanged at once, and Ring tells the account. An access
    /// token alone, as of Ring's Playground, is refused: it can't be refreshed.
    ///
    /// A refresh token can be exchanged once: whoever else uses this one ends the link.
    Import {
        /// Where to read; - is standard input. Tokens are never taken from an argument.
        #[arg(value_name = "FILE", default_value = "-", value_parser = place())]
        file: PathBuf,
        /// Also take over accounts that another user has.
        #[arg(long)]
        replace: bool,
    },
    /// Give an account to a user; events held for it go to the user's queues.
    SetUser {
        /// The account's id, as `accounts list` shows it.
        account: String,
        /// The user's id, as your app names the user.
        user: String,
        /// Also when another user has it.
        #[arg(long)]
        replace: bool,
    },
    /// Print all that is kept of an account's user as one JSON document: for a request of access to one's data.
    ///
    /// Link, events with their bodies, receipts, and acts about the account; no tokens. Of an account that moved, only what is of the
    /// user who has it now, or with --user of a former one. The socket needs the right `accounts.export`.
    Export {
        /// The account's id, as `accounts list` shows it.
        account: String,
        /// A user who had the account before.
        #[arg(long)]
        user: Option<String>,
        /// Write into this file, which must not exist, for its owner alone; without it, to standard output.
        #[arg(long, short, value_name = "FILE", value_parser = place())]
        output: Option<PathBuf>,
    },
    /// Have Ring pause the app on an account, then destroy all that is kept of it, as `forget` does.
    ///
    /// Nothing is destroyed before Ring has paused the app: where Ring can't be asked, refuses or gives no answer, that is said, and the
    /// command can be repeated. --anyway decides beforehand that the account is forgotten all the same. A partner can't remove
    /// the app from an account: its user does, in the Ring app.
    Disconnect {
        /// The account's id, as `accounts list` shows it.
        account: String,
        /// Forget the account also where Ring is not known to have paused the app.
        #[arg(long)]
        anyway: bool,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Destroy all that is kept of an account: keys, tokens, events.
    Forget {
        /// The account's id, as `accounts list` shows it.
        account: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum QueueCommand {
    /// All queues.
    List,
    /// Take events: run a command for each, or print them.
    ///
    /// With --exec or a program behind `--`, an event is acknowledged when its command has ended with exit code 0. Its
    /// attributes stand in the environment as CE_ID, CE_TYPE, CE_SUBJECT and so on; docs/API.md has the list. The
    /// reader ends when the queue is empty, or goes on with --follow. Exit code: 0 all is done; 1 a command has failed, could
    /// not be run, or the daemon says no; with --follow 0 when told to stop.
    ///
    /// Without a command, events are printed, and acknowledged when the output is flushed: whatever reads the output may lose
    /// them. So let a program that works on events be the command, or lease them by itself.
    Read {
        /// The queue's name in the configuration.
        name: String,
        /// Take at most so many [default: 10, with a command all].
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        max: Option<u64>,
        /// Wait for the first event when none is there.
        #[arg(long)]
        wait: bool,
        /// Only this user's events.
        #[arg(long)]
        user: Option<String>,
        /// When events that are printed are acknowledged [default: after-print].
        #[arg(long, value_enum, value_name = "WHEN", conflicts_with = "work")]
        ack: Option<Ack>,
        #[command(flatten)]
        work: Work,
    },
    /// Watch events arrive; nothing is taken.
    Tail {
        /// The queue's name in the configuration.
        name: String,
        /// Begin with so many of the newest that wait, 200 at most.
        #[arg(long, value_name = "N", default_value_t = 10)]
        last: u32,
    },
    /// Have a queue deliver nothing, until `queue resume`: no sink and no consumer gets an event of it.
    ///
    /// Events go on coming into it, and its max_age and max_bytes hold. What is being delivered is finished. The pause outlives the
    /// daemon, and `status` tells of it.
    Pause {
        /// The queue's name in the configuration.
        name: String,
    },
    /// End the pause of a queue.
    Resume {
        /// The queue's name in the configuration.
        name: String,
    },
    /// Drop the backlog of a queue that the configuration no longer names.
    Remove {
        /// The queue's name, as `queue list` shows it.
        name: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Ack {
    /// When they are printed and the output is flushed; what reads the output may still lose them.
    AfterPrint,
}

#[derive(Debug, Subcommand)]
pub(super) enum LettersCommand {
    /// What there is, oldest first within a class.
    List {
        #[command(flatten)]
        which: Which,
    },
    /// One of them, with its event.
    Show {
        /// Its id, as `dead-letters list` shows it.
        id: String,
    },
    /// Put them back into the queue they left, or route them anew.
    Replay {
        #[command(flatten)]
        which: WhichOrIds,
    },
    /// Drop them for good.
    Drop {
        #[command(flatten)]
        which: WhichOrIds,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct Which {
    /// Only these.
    #[arg(long, value_enum)]
    pub(super) class: Option<ClassName>,
    /// Only those that left this queue.
    #[arg(long)]
    pub(super) queue: Option<String>,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
pub(super) struct WhichOrIds {
    /// Exactly these, by the ids that `list` shows.
    #[arg(value_name = "ID", conflicts_with_all = ["class", "queue", "all"])]
    pub(super) ids: Vec<String>,
    /// All of this class.
    #[arg(long, value_enum)]
    pub(super) class: Option<ClassName>,
    /// All that left this queue.
    #[arg(long)]
    pub(super) queue: Option<String>,
    /// All there are.
    #[arg(long, conflicts_with_all = ["class", "queue"])]
    pub(super) all: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum ClassName {
    /// Left a queue without being delivered.
    Dead,
    /// No queue wanted it.
    Unrouted,
    /// Signed but not understood.
    Quarantined,
}

impl ClassName {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Dead => "dead",
            Self::Unrouted => "unrouted",
            Self::Quarantined => "quarantined",
        }
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum KeysCommand {
    /// Which master key seals how much, and when each webhook key last verified something.
    Show,
    /// Put everything under the current master key; can be interrupted and begun anew.
    Rotate,
}

fn whole_url(text: &str) -> Result<Uri, String> {
    let url = text.parse::<Uri>().ok().filter(|url| {
        matches!(url.scheme_str(), Some("https" | "http")) && url.host().is_some_and(|host| !host.is_empty())
    });
    url.ok_or_else(|| "write a whole address, such as https://hooks.example.com".to_owned())
}

fn since(text: &str) -> Result<Millis, &'static str> {
    let ago = humantime::parse_duration(text).ok().map(|ago| clock::now().minus(ago));
    ago.or_else(|| Millis::of_rfc3339(text)).ok_or("it is neither a time as RFC 3339 has it nor how long ago")
}

fn user_id(text: &str) -> Result<UserId, IdError> {
    UserId::new(text)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        super::Args::command().debug_assert();
    }
}
