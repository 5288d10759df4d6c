//! Log lines: set-up, and the escapes of foreign text for lines, tables and terminals.
//!
//! A line goes into a bounded buffer and is written by a thread of its own. When standard error is blocked or closed, lines
//! are lost and counted; nothing else happens.

pub mod audit;

use std::borrow::Cow;
use std::fmt::{self, Display, Write as _};
use std::io::{self, IsTerminal, Write};
use std::panic;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use thiserror::Error;
use tracing::dispatcher::{Dispatch, SetGlobalDefaultError, set_global_default};
use tracing::{Level, Metadata, error};
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::reload::Handle;

/// Lines waiting to be written; at a usual 300 bytes about a megabyte.
const BUFFERED_LINES: usize = 4096;
/// What a [`text`] shows at most, in bytes.
const MAX_TEXT: usize = 256;

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// For people when standard error is a terminal, else JSON.
    #[default]
    Auto,
    Human,
    Json,
}

/// Why logging could not be set up.
#[derive(Debug, Error)]
pub enum LogError {
    #[error("the log filter is not valid: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    #[error("the log is gone: {0}")]
    Gone(#[from] tracing_subscriber::reload::Error),
    #[error("logging was set up already")]
    Twice(#[from] SetGlobalDefaultError),
}

/// Flushes when dropped, so keep it until the end of `main`.
#[derive(Debug)]
pub struct Log {
    lost: Lost,
    _worker: WorkerGuard,
}

/// What is counted of lines that were not written.
#[derive(Debug, Clone)]
struct Lost {
    dropped: ErrorCounter,
    failed: Arc<AtomicU64>,
}

impl Lost {
    fn lines(&self) -> u64 {
        self.dropped.dropped_lines() as u64 + self.failed.load(Ordering::Relaxed)
    }
}

/// Of the log that this process has, if any: it can be set up only once.
static LOST: OnceLock<Lost> = OnceLock::new();

/// Puts another filter in the place of the one that this process has.
type SetFilter = Box<dyn Fn(EnvFilter) -> Result<(), tracing_subscriber::reload::Error> + Send + Sync>;

static SET_FILTER: OnceLock<SetFilter> = OnceLock::new();

/// From now on `filter` says which lines are written. A process without a log goes on without one.
///
/// # Errors
/// [`LogError`] when `filter` is not valid.
pub fn set_filter(filter: &str) -> Result<(), LogError> {
    let filter = EnvFilter::try_new(filter)?;
    Ok(SET_FILTER.get().map_or(Ok(()), |set| set(filter))?)
}

/// Lines of this process that were not written.
pub fn lines_lost() -> u64 {
    LOST.get().map_or(0, Lost::lines)
}

/// Sends this process's tracing, and its panics, to standard error. `filter` is a level, or directives such as `info,ringhookd::http=debug`.
///
/// # Errors
/// [`LogError`] when `filter` is not valid or the process has a subscriber.
pub fn start(format: Format, filter: &str) -> Result<Log, LogError> {
    let terminal = io::stderr().is_terminal();
    let human = match format {
        Format::Auto => terminal,
        Format::Human => true,
        Format::Json => false,
    };
    let filter = EnvFilter::try_new(filter)?;
    let ansi = terminal && colours_are_wanted();
    let (writer, log) = writer(io::stderr(), human, ansi);
    let (dispatch, set_filter) = dispatch(human, ansi, filter, Ranked { to: writer, ranks: is_journal() });
    set_global_default(dispatch)?;
    SET_FILTER.get_or_init(|| set_filter);
    LOST.get_or_init(|| log.lost.clone());
    // The usual hook writes to standard error itself, and would wait for it.
    panic::set_hook(Box::new(|info| {
        let at = info.location().map(ToString::to_string).unwrap_or_default();
        error!(at, message = %text(info.payload_as_str().unwrap_or("panic")));
    }));
    Ok(log)
}

/// Whether a terminal gets colours: not where `NO_COLOR` says something (no-color.org).
pub fn colours_are_wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// What the environment wants written in place of the configured level: `RUST_LOG`, a level or directives.
pub fn wanted_by_environment() -> Option<String> {
    std::env::var("RUST_LOG").ok().filter(|filter| !filter.is_empty())
}

/// Whether standard error is the journal of systemd, which then takes the rank of a line from its beginning (sd-daemon(3)).
pub fn is_journal() -> bool {
    let named = std::env::var("JOURNAL_STREAM").ok();
    let named = named.as_deref().and_then(|named| named.split_once(':'));
    let Some((device, inode)) = named.and_then(|(d, i)| Some((d.parse().ok()?, i.parse().ok()?))) else {
        return false;
    };
    rustix::fs::fstat(io::stderr()).is_ok_and(|stat| (stat.st_dev, stat.st_ino) == (device, inode))
}

/// What a fatal error has before it in the journal.
pub const FATAL: &str = "<3>";

/// Lines with their rank before them, where the journal reads it.
#[derive(Debug, Clone)]
struct Ranked<W> {
    to: W,
    ranks: bool,
}

/// The writer of one line.
struct RankedLine<W> {
    to: W,
    rank: &'static str,
}

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for Ranked<W> {
    type Writer = RankedLine<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        RankedLine { to: self.to.make_writer(), rank: "" }
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Self::Writer {
        let rank = match *meta.level() {
            _ if !self.ranks => "",
            Level::ERROR => FATAL,
            Level::WARN => "<4>",
            Level::INFO => "<6>",
            _ => "<7>",
        };
        RankedLine { to: self.to.make_writer_for(meta), rank }
    }
}

impl<W: Write> Write for RankedLine<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.rank.is_empty() {
            return self.to.write(line);
        }
        // In one piece, because the appender takes each for a line.
        self.to.write_all(&[self.rank.as_bytes(), line].concat())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

fn dispatch<W>(human: bool, ansi: bool, filter: EnvFilter, writer: W) -> (Dispatch, SetFilter)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    if human {
        let lines = lines.with_ansi(ansi).with_target(false).with_filter_reloading();
        let set = setting(lines.reload_handle());
        (lines.finish().into(), set)
    } else {
        let lines = lines.json().flatten_event(true).with_span_list(false).with_filter_reloading();
        let set = setting(lines.reload_handle());
        (lines.finish().into(), set)
    }
}

fn setting<S: 'static>(handle: Handle<EnvFilter, S>) -> SetFilter {
    Box::new(move |filter| handle.reload(filter))
}

fn writer(to: impl Write + Send + 'static, human: bool, ansi: bool) -> (NonBlocking, Log) {
    let failed = Arc::new(AtomicU64::new(0));
    let forgiving = Forgiving { to, failed: Arc::clone(&failed), human, ansi };
    let (writer, worker) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(BUFFERED_LINES)
        .thread_name("log")
        .finish(forgiving);
    let log = Log { lost: Lost { dropped: writer.error_counter(), failed }, _worker: worker };
    (writer, log)
}

/// Never fails, because the appender's thread would report a failure on standard error, and panic. It gets a line at a time and
/// escapes it, so that no caller can forget to.
struct Forgiving<W> {
    to: W,
    failed: Arc<AtomicU64>,
    human: bool,
    /// Lines are coloured, so escape sequences of colours stay.
    ansi: bool,
}

impl<W> Forgiving<W> {
    fn escaped<'a>(&self, line: &'a [u8]) -> Cow<'a, [u8]> {
        let Ok(text) = std::str::from_utf8(line) else { return line.into() };
        let text = text.strip_suffix('\n').unwrap_or(text);
        if !text.contains(misleads) {
            return line.into();
        }
        let mut out = String::with_capacity(line.len() + 16);
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let kept = if self.ansi { colour(rest) } else { 0 };
            let (here, later) = rest.split_at(kept.max(c.len_utf8()));
            rest = later;
            if kept > 0 || !misleads(c) {
                out.push_str(here);
            } else if self.human {
                out.extend(c.escape_unicode());
            } else {
                // As JSON writes it; none of these characters needs more digits.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
        }
        out.push('\n');
        out.into_bytes().into()
    }
}

/// The length of the escape sequence of a colour that `text` begins with.
fn colour(text: &str) -> usize {
    let Some(digits) = text.strip_prefix("\x1b[") else { return 0 };
    let end = digits.find(|c: char| !c.is_ascii_digit() && c != ';').unwrap_or(0);
    if digits[end..].starts_with('m') { 2 + end + 1 } else { 0 }
}

impl<W: Write> Write for Forgiving<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.to.write_all(&self.escaped(line)).is_err() {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let _ = self.to.flush();
        Ok(())
    }
}

/// Text from outside, fit for a line: escaped, and cut to 256 bytes as shown.
pub fn text(text: &str) -> impl Display + '_ {
    Text(text)
}

struct Text<'a>(&'a str);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut room = MAX_TEXT;
        for c in self.0.chars() {
            let escaped = if misleads(c) { c.escape_unicode().len() } else { c.len_utf8() };
            let Some(left) = room.checked_sub(escaped) else { return f.write_char('…') };
            room = left;
            if misleads(c) {
                write!(f, "{}", c.escape_unicode())?;
            } else {
                f.write_char(c)?;
            }
        }
        Ok(())
    }
}

/// Lines for a terminal, with all that could reorder, hide or forge them escaped; tabs and the ends of lines stay.
pub fn lines(text: &str) -> Cow<'_, str> {
    let escape = |c: char| misleads(c) && !matches!(c, '\n' | '\t');
    if !text.contains(escape) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if escape(c) { out.extend(c.escape_unicode()) } else { out.push(c) }
    }
    out.into()
}

/// Control characters, and the invisible ones that reorder or hide what stands around them.
fn misleads(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use std::sync::{Condvar, Mutex};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_from_outside_cannot_forge_lines_or_hide() {
        for (raw, shown) in [
            ("plain ü 日本", "plain ü 日本"),
            ("a\nERROR b", "a\\u{a}ERROR b"),
            ("\x1b[2J", "\\u{1b}[2J"),
            ("a\u{202e}b", "a\\u{202e}b"),
        ] {
            assert_eq!(text(raw).to_string(), shown);
        }
    }

    proptest! {
        #[test]
        fn any_text_stays_short_and_on_its_line(raw in "(?s).{0,400}") {
            let shown = text(&raw).to_string();
            prop_assert!(shown.trim_end_matches('…').len() <= MAX_TEXT);
            prop_assert!(!shown.chars().any(char::is_control));
        }
    }

    /// Keeps what is written.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(line);
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_journal_reads_a_rank_before_each_line() {
        let kept = Kept::default();
        let (writer, log) = writer(kept.clone(), true, false);
        let (dispatch, _) =
            dispatch(true, false, EnvFilter::new("debug"), Ranked { to: writer, ranks: true });
        tracing::dispatcher::with_default(&dispatch, || {
            error!("one");
            tracing::warn!("two");
            tracing::info!("three");
            tracing::debug!("four");
        });
        drop(log);
        let lines = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        let ranks: Vec<&str> = lines.lines().map(|line| &line[..3]).collect();
        assert_eq!(ranks, ["<3>", "<4>", "<6>", "<7>"]);
    }

    fn logged(human: bool) -> String {
        let kept = Kept::default();
        let (writer, log) = writer(kept.clone(), human, false);
        let (dispatch, _) = dispatch(human, false, EnvFilter::new("info"), writer);
        tracing::dispatcher::with_default(&dispatch, || {
            let _span = tracing::info_span!("request", id = 7).entered();
            tracing::info!(why = %text("a\nb\x1b[2J"), "refused");
            tracing::debug!("not shown");
        });
        drop(log);
        String::from_utf8(kept.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn a_line_carries_its_span_and_stays_one_line() {
        let human = logged(true);
        assert!(human.contains("request{id=7}: refused why=a\\u{a}b\\u{1b}[2J\n"), "{human:?}");
        let json = logged(false);
        let line: serde_json::Value = serde_json::from_str(json.trim_end()).unwrap();
        assert_eq!((&line["message"], &line["span"]["id"]), (&"refused".into(), &7.into()));
        assert_eq!(line["why"], "a\\u{a}b\\u{1b}[2J");
        for lines in [human, json] {
            assert_eq!(lines.matches('\n').count(), 1, "{lines:?}");
        }
    }

    /// Account ids are foreign text, and any line may show one.
    #[test]
    fn no_line_shows_foreign_text_raw_whoever_wrote_it() {
        for human in [true, false] {
            let kept = Kept::default();
            let (writer, log) = writer(kept.clone(), human, false);
            let (dispatch, _) = dispatch(human, false, EnvFilter::new("info"), writer);
            tracing::dispatcher::with_default(&dispatch, || {
                let account = "a\u{202e}b\nINFO c\u{61c}\u{1b}[2J\u{9b}d";
                tracing::info!(%account, "a line");
                tracing::info!(account, "another about {account}");
            });
            drop(log);
            let lines = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
            assert_eq!(lines.matches('\n').count(), 2, "{lines:?}");
            assert!(!lines.chars().any(|c| c != '\n' && misleads(c)), "{lines:?}");
            for line in lines.lines().filter(|_| !human) {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                assert!(line["account"].as_str().unwrap().starts_with("a\u{202e}b"), "{line}");
            }
        }
    }

    #[test]
    fn colours_stay_where_lines_have_them_and_other_sequences_do_not() {
        let lost = Arc::default();
        let forgiving = Forgiving { to: io::sink(), failed: lost, human: true, ansi: true };
        let line = forgiving.escaped(b"\x1b[2m\x1b[1;31mred\x1b[0m \x1b[2J\x1b]0;x\n").into_owned();
        assert_eq!(String::from_utf8(line).unwrap(), "\x1b[2m\x1b[1;31mred\x1b[0m \\u{1b}[2J\\u{1b}]0;x\n");
    }

    #[test]
    fn lines_for_a_terminal_keep_their_ends_and_nothing_that_misleads() {
        assert_eq!(lines("plain ü\n\tmore"), "plain ü\n\tmore");
        assert_eq!(lines("a\u{202e}b\rc\n"), "a\\u{202e}b\\u{d}c\n");
    }

    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }

    #[test]
    fn a_closed_output_costs_the_lines_and_nothing_else() {
        let (mut writer, log) = writer(Closed, true, false);
        let lost = log.lost.clone();
        for _ in 0..10 {
            writer.write_all(b"line\n").unwrap();
        }
        drop(log);
        assert_eq!(lost.lines(), 10);
    }

    /// Blocks every write until it is opened.
    #[derive(Clone, Default)]
    struct Gate(Arc<(Mutex<bool>, Condvar)>);

    impl Gate {
        fn open(&self) {
            *self.0.0.lock().unwrap() = true;
            self.0.1.notify_all();
        }
    }

    impl Write for Gate {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            drop(self.0.1.wait_while(self.0.0.lock().unwrap(), |open| !*open).unwrap());
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_blocked_output_blocks_nobody() {
        let gate = Gate::default();
        let (mut writer, log) = writer(gate.clone(), true, false);
        let surplus = 10;
        // One line may be with the thread already.
        for _ in 0..=BUFFERED_LINES + surplus {
            writer.write_all(b"line\n").unwrap();
        }
        assert!((10..=11).contains(&log.lost.lines()), "{}", log.lost.lines());
        gate.open();
    }
}
