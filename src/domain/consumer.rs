//! A command that works on one event: what it is told of the event, and what its end says of the event.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use data_encoding::BASE64;
use serde_json::Value;
use serde_json::value::RawValue;

/// The exit code that says "later": `EX_TEMPFAIL` of sysexits.h.
pub const LATER: i32 = 75;
/// With these a shell says that it could not run the command: not executable, and not found.
const NOT_RUN: [i32; 2] = [126, 127];
/// Longest value in the environment, in bytes: Linux takes 128 KiB for one, and all share a stack.
const MAX_VALUE: usize = 4096;
/// Longest name of an attribute that is passed on; the specification advises 20.
const MAX_NAME: usize = 64;
/// Most attributes of one event that are passed on.
const MAX_VALUES: usize = 64;
/// What is kept of a line of standard error, in bytes.
const MAX_LINE: usize = 1024;
/// Linux's signals from 1 on.
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// How the run of a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Exited(i32),
    /// By a signal that was not ours.
    Killed(i32),
    /// We killed it, because it ran longer than this.
    TimedOut(Duration),
    /// We killed it, because the reader stops.
    Stopped,
    /// We killed it, because the event's lease is another's.
    Lost,
}

/// What becomes of the event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Acknowledged,
    /// Given back for later; no attempt is counted.
    Later,
    /// An attempt is counted, with this reason.
    Failed {
        why: String,
    },
    /// Given back at once; no attempt is counted.
    Returned,
    /// Given back, and no other event is tried: each would fare the same.
    NotRunnable {
        why: String,
    },
    /// Nothing can be said of it any more; it comes again.
    Lost,
}

/// Decides by the end of a run. `last_line` is the last line that the command wrote to standard error, fit to be shown; it
/// may be empty. A shell, unlike a program that we start ourselves, tells only by its exit code that the command was not run.
pub fn outcome(end: End, by_shell: bool, last_line: &str) -> Outcome {
    let with_line = |what: String| if last_line.is_empty() { what } else { format!("{what}: {last_line}") };
    match end {
        End::Exited(0) => Outcome::Acknowledged,
        End::Exited(LATER) => Outcome::Later,
        End::Exited(code) if by_shell && NOT_RUN.contains(&code) => {
            Outcome::NotRunnable { why: with_line(format!("exit code {code}")) }
        }
        End::Exited(code) => Outcome::Failed { why: with_line(format!("exit code {code}")) },
        End::Killed(signal) => {
            Outcome::Failed { why: with_line(format!("killed by {}", signal_name(signal))) }
        }
        End::TimedOut(after) => {
            let after = humantime::format_duration(after);
            Outcome::Failed { why: with_line(format!("took longer than {after}")) }
        }
        End::Stopped => Outcome::Returned,
        End::Lost => Outcome::Lost,
    }
}

fn signal_name(signal: i32) -> Cow<'static, str> {
    let at = usize::try_from(signal).ok().and_then(|signal| signal.checked_sub(1));
    match at.and_then(|at| SIGNALS.get(at)) {
        Some(name) => format!("SIG{name}").into(),
        None => format!("signal {signal}").into(),
    }
}

/// The environment for an event as it came from the queue: each attribute as `CE_` and its name in capitals. Left out is what an
/// environment can't hold or a script is better off without: values with control characters, and those of more than 4,096 bytes.
pub fn environment(event: &RawValue) -> Vec<(String, String)> {
    let attributes: BTreeMap<String, &RawValue> = serde_json::from_str(event.get()).unwrap_or_default();
    let variable = |(name, value): (&String, &&RawValue)| {
        let is_name = (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(|c| c.is_ascii_alphanumeric());
        let value = scalar(value)?;
        let is_value = value.len() <= MAX_VALUE && !value.chars().any(char::is_control);
        (is_name && is_value).then(|| (format!("CE_{}", name.to_ascii_uppercase()), value))
    };
    let attributes = attributes.iter().filter(|(name, _)| !["data", "body"].contains(&name.as_str()));
    attributes.filter_map(variable).take(MAX_VALUES).collect()
}

fn scalar(value: &RawValue) -> Option<String> {
    match serde_json::from_str(value.get()).ok()? {
        Value::String(text) => Some(text),
        value @ (Value::Number(_) | Value::Bool(_)) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// What stands on standard input: the event as one line.
pub fn line(event: &RawValue) -> Vec<u8> {
    format!("{}\n", event.get()).into_bytes()
}

/// What stands on standard input where the body is asked for: as it stands in the event, in either format. Nothing where
/// the event has no body that can be read.
pub fn body(event: &RawValue) -> Option<Vec<u8>> {
    let fields: BTreeMap<String, &RawValue> = serde_json::from_str(event.get()).ok()?;
    let text = |name| fields.get(name).and_then(|value| serde_json::from_str::<String>(value.get()).ok());
    if let Some(data) = fields.get("data") {
        return Some(data.get().as_bytes().to_vec());
    }
    let encoded = text("data_base64").or_else(|| text("body_base64"));
    encoded.map_or_else(|| text("body").map(String::into_bytes), |text| BASE64.decode(text.as_bytes()).ok())
}

/// Keeps the last line of what it is fed that holds anything, in bounded memory.
#[derive(Debug, Default)]
pub struct LastLine {
    last: Vec<u8>,
    current: Vec<u8>,
}

impl LastLine {
    pub fn feed(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if byte == b'\n' || byte == b'\r' {
                self.end_line();
            } else if self.current.len() < MAX_LINE {
                self.current.push(byte);
            }
        }
    }

    fn end_line(&mut self) {
        if !self.current.trim_ascii().is_empty() {
            std::mem::swap(&mut self.last, &mut self.current);
        }
        self.current.clear();
    }

    /// The line without the space around it; one that has not ended counts.
    pub fn text(&self) -> String {
        let current = self.current.trim_ascii();
        let line = if current.is_empty() { self.last.trim_ascii() } else { current };
        String::from_utf8_lossy(line).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).unwrap()
    }

    fn failed(why: &str) -> Outcome {
        Outcome::Failed { why: why.to_owned() }
    }

    #[test]
    fn the_end_of_a_run_decides() {
        for (end, line, said) in [
            (End::Exited(0), "warned", Outcome::Acknowledged),
            (End::Exited(75), "later", Outcome::Later),
            (End::Exited(1), "no route", failed("exit code 1: no route")),
            (End::Exited(255), "", failed("exit code 255")),
            (End::Killed(9), "", failed("killed by SIGKILL")),
            (End::Killed(11), "at 7", failed("killed by SIGSEGV: at 7")),
            (End::Killed(34), "", failed("killed by signal 34")),
            (End::Killed(0), "", failed("killed by signal 0")),
            (End::TimedOut(Duration::from_secs(90)), "", failed("took longer than 1m 30s")),
            (End::Stopped, "interrupted", Outcome::Returned),
            (End::Lost, "", Outcome::Lost),
        ] {
            assert_eq!(outcome(end, false, line), said, "{end:?}");
            assert_eq!(outcome(end, true, line), said, "{end:?} by a shell");
        }
    }

    #[test]
    fn a_shell_that_could_not_run_the_command_is_not_the_events_fault() {
        for code in NOT_RUN {
            let why = format!("exit code {code}: sh: x: not found");
            assert_eq!(
                outcome(End::Exited(code), true, "sh: x: not found"),
                Outcome::NotRunnable { why: why.clone() }
            );
            assert_eq!(outcome(End::Exited(code), false, "sh: x: not found"), failed(&why));
        }
    }

    #[test]
    fn attributes_stand_in_the_environment_and_the_body_does_not() {
        let event = raw(
            r#"{"specversion":"1.0","id":"i","type":"com.ring.button_press","subject":"d\u00fc","ringattempt":2,
                "flag":true,"none":null,"data":{"x":1},"data_base64":"eA==","body":"secret","body_base64":"eA=="}"#,
        );
        let expected = [
            ("CE_FLAG", "true"),
            ("CE_ID", "i"),
            ("CE_RINGATTEMPT", "2"),
            ("CE_SPECVERSION", "1.0"),
            ("CE_SUBJECT", "dü"),
            ("CE_TYPE", "com.ring.button_press"),
        ];
        assert_eq!(environment(&event), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn what_an_environment_can_not_hold_is_left_out_and_all_of_it_is_bounded() {
        let long = "x".repeat(MAX_VALUE + 1);
        let event = raw(&format!(
            r#"{{"nul":"a\u0000b","line":"a\nb","escape":"\u001b[2J","long":"{long}","a=b":"x","":"x","list":[1],"ok":"{}"}}"#,
            &long[1..],
        ));
        assert_eq!(environment(&event), [("CE_OK".to_owned(), long[1..].to_owned())]);
        let many = (0..1000).map(|n| format!(r#""n{n}":{n}"#)).collect::<Vec<_>>().join(",");
        assert_eq!(environment(&raw(&format!("{{{many}}}"))).len(), MAX_VALUES);
        assert_eq!(environment(&raw("[1]")), []);
    }

    #[test]
    fn a_body_comes_out_to_the_byte_in_every_format() {
        for (event, bytes) in [
            (r#"{"id":"i","data":{"n": 1.0e2 }}"#, Some(&br#"{"n": 1.0e2 }"#[..])),
            (r#"{"id":"i","data_base64":"eyB9Cg=="}"#, Some(b"{ }\n")),
            (r#"{"id":"i","body":"{ }\n"}"#, Some(b"{ }\n")),
            (r#"{"id":"i","body_base64":"/w=="}"#, Some(b"\xff")),
            (r#"{"id":"i"}"#, None),
            (r#"{"id":"i","data_base64":"?"}"#, None),
        ] {
            assert_eq!(body(&raw(event)).as_deref(), bytes, "{event}");
        }
        assert_eq!(line(&raw(r#"{"id":"i"}"#)), b"{\"id\":\"i\"}\n");
    }

    #[test]
    fn the_last_line_that_holds_anything_is_kept_in_pieces_and_bounds() {
        let last = |pieces: &[&[u8]]| {
            let mut line = LastLine::default();
            for piece in pieces {
                line.feed(piece);
            }
            (line.text(), line.last.capacity().max(line.current.capacity()))
        };
        assert_eq!(last(&[]).0, "");
        assert_eq!(last(&[b"one\ntw", b"o\n", b"\n  \n"]).0, "two");
        assert_eq!(last(&[b"one\nunfinished"]).0, "unfinished");
        assert_eq!(last(&[b" 10 %\r 20 %\r\n"]).0, "20 %");
        assert_eq!(last(&[b"\xff!\n"]).0, "\u{fffd}!");
        let (text, room) = last(&[&vec![b'x'; 10 << 20]]);
        assert!(text.len() == MAX_LINE && room <= 2 * MAX_LINE);
    }
}
