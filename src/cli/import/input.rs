//! Cuts an import's input into batches of whole JSON values, with one buffer for an input of any size.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;
use zeroize::Zeroizing;

use crate::admin::MAX_BODY;
use crate::domain::json_stream::{NotJson, Value, values};

/// Size of the buffer. A single account may be as large as a call to the daemon.
const BUFFER: usize = MAX_BODY;
/// Largest batch, unless a single account is larger.
const BATCH: usize = 512 << 10;
const BATCH_ACCOUNTS: usize = 2000;
/// And how many accounts that Ring has to be asked for, because Ring answers only so many calls a second.
const BATCH_UNKNOWN: usize = 200;

/// Why there is no next batch.
#[derive(Debug, thiserror::Error)]
pub(super) enum InputError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("line {0}: this is no JSON (one object, or one a line)")]
    NotJson(usize),
    #[error("line {0}: the account is longer than 1 MiB")]
    TooLong(usize),
}

/// Values that go to the daemon in one call.
#[derive(Debug)]
pub(super) struct Batch<'a> {
    pub(super) text: &'a [u8],
    /// The line that it begins on.
    pub(super) line: usize,
    pub(super) accounts: usize,
}

/// The input's batches. The buffer is overwritten when it is dropped, because it holds tokens.
pub(super) struct Batches<R> {
    from: R,
    buffer: Zeroizing<Vec<u8>>,
    /// Of the buffer: what was read and is in no batch yet.
    left: Range<usize>,
    /// The line that `left` begins on.
    line: usize,
    ended: bool,
}

/// Opens a file, or standard input for `-`. A file is read once before, so that nothing is imported where its JSON is broken.
pub(super) fn open(path: &Path) -> Result<Batches<File>, InputError> {
    let mut file = if path.as_os_str() == "-" {
        use std::os::fd::AsFd;
        File::from(io::stdin().as_fd().try_clone_to_owned()?)
    } else {
        File::open(path)?
    };
    if let Ok(start) = file.stream_position() {
        let mut whole = Batches::new(&file);
        while whole.next()?.is_some() {}
        file.seek(SeekFrom::Start(start))?;
    }
    Ok(Batches::new(file))
}

impl<R: Read> Batches<R> {
    pub(super) fn new(from: R) -> Self {
        Self { from, buffer: Zeroizing::new(vec![0; BUFFER]), left: 0..0, line: 1, ended: false }
    }

    /// Reads until the buffer is full or the input ends. Where all of it is there after the first time, it is checked whole.
    pub(super) fn begin(&mut self) -> Result<(), InputError> {
        self.fill()?;
        for value in values(&self.buffer[self.left.clone()]) {
            self.check(&value)?;
        }
        Ok(())
    }

    /// The next batch; nothing at the end.
    pub(super) fn next(&mut self) -> Result<Option<Batch<'_>>, InputError> {
        self.fill()?;
        let (mut end, mut line, mut accounts, mut unknown) = (0, self.line, 0, 0);
        for value in values(&self.buffer[self.left.clone()]) {
            match self.check(&value) {
                // The accounts before it are a batch; the next call tells.
                Err(_) if accounts > 0 => break,
                checked => checked?,
            }
            let Ok(text) = value.text else { break };
            // A value that touches the end of the buffer may go on behind it.
            let is_cut = value.bytes.end == self.left.len() && !self.ended;
            let is_unknown = usize::from(!has_account(text));
            let is_full = value.bytes.end > BATCH || accounts == BATCH_ACCOUNTS;
            if is_cut || accounts > 0 && (is_full || unknown + is_unknown > BATCH_UNKNOWN) {
                break;
            }
            if accounts == 0 {
                line += value.line - 1;
            }
            (end, accounts, unknown) = (value.bytes.end, accounts + 1, unknown + is_unknown);
        }
        if accounts == 0 {
            let rest = self.buffer[self.left.clone()].trim_ascii_start();
            return if rest.is_empty() { Ok(None) } else { Err(InputError::TooLong(self.line)) };
        }
        let text = self.left.start..self.left.start + end;
        self.left.start = text.end;
        self.line += lines(&self.buffer[text.clone()]);
        // A batch begins with its first value, so that the daemon's lines count from there.
        let text = self.buffer[text].trim_ascii_start();
        Ok(Some(Batch { text, line, accounts }))
    }

    /// The line that the next batch begins on, at the earliest.
    pub(super) fn line(&self) -> usize {
        let rest = &self.buffer[self.left.clone()];
        let blank = rest.len() - rest.trim_ascii_start().len();
        self.line + lines(&rest[..blank])
    }

    fn check(&self, value: &Value<'_>) -> Result<(), InputError> {
        match value.text {
            Err(NotJson { is_cut }) if !is_cut || self.ended => {
                Err(InputError::NotJson(self.line + value.line - 1))
            }
            _ => Ok(()),
        }
    }

    /// Moves what is left to the front and fills the buffer up; white space in front is left out.
    fn fill(&mut self) -> Result<(), InputError> {
        loop {
            let rest = &self.buffer[self.left.clone()];
            let blank = rest.len() - rest.trim_ascii_start().len();
            self.line += lines(&rest[..blank]);
            self.left.start += blank;
            self.buffer.copy_within(self.left.clone(), 0);
            self.left = 0..self.left.len();
            while self.left.end < BUFFER && !self.ended {
                match self.from.read(&mut self.buffer[self.left.end..]) {
                    Ok(0) => self.ended = true,
                    Ok(n) => self.left.end += n,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error.into()),
                }
            }
            let is_blank = self.buffer[self.left.clone()].trim_ascii_start().is_empty();
            if self.ended || !is_blank {
                return Ok(());
            }
        }
    }
}

fn lines(text: &[u8]) -> usize {
    text.split(|&byte| byte == b'\n').count() - 1
}

fn has_account(text: &str) -> bool {
    #[derive(Deserialize)]
    struct Named {
        account_id: Option<IgnoredAny>,
    }
    serde_json::from_str(text).is_ok_and(|named: Named| named.account_id.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a few bytes at a time.
    struct Slow<'a>(&'a [u8]);

    impl Read for Slow<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let most = into.len().min(7001);
            self.0.read(&mut into[..most])
        }
    }

    /// Lines and numbers of accounts of all batches, whose texts are exactly the input's.
    fn cut(input: &[u8]) -> Result<Vec<(usize, usize)>, InputError> {
        let mut batches = Batches::new(Slow(input));
        let mut cut = Vec::new();
        let mut all: Vec<u8> = Vec::new();
        while let Some(batch) = batches.next()? {
            assert!(batch.accounts == 1 || batch.text.len() <= BATCH);
            assert!(input.split(|b| *b == b'\n').nth(batch.line - 1).unwrap().starts_with(&batch.text[..2]));
            assert_eq!(values(batch.text).filter(|value| value.text.is_ok()).count(), batch.accounts);
            all.extend(batch.text.iter().filter(|b| !b.is_ascii_whitespace()));
            cut.push((batch.line, batch.accounts));
        }
        let input: Vec<_> = input.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect();
        assert_eq!(all, input);
        Ok(cut)
    }

    #[test]
    fn batches_are_cut_between_values_and_know_their_line() {
        assert_eq!(cut(b"\n{}\n{}\n").unwrap(), [(2, 2)]);
        assert_eq!(cut(b"").unwrap(), []);
        assert_eq!(cut(&b" \n".repeat(BUFFER)).unwrap(), []);
        let large = format!("{{\"account_id\":\"{}\"}}\n\n", "x".repeat(BATCH / 2));
        assert_eq!(cut(large.repeat(4).as_bytes()).unwrap(), [(1, 1), (3, 1), (5, 1), (7, 1)]);
        let after_much_space = [&b"\n".repeat(2 * BUFFER)[..], b"{}"].concat();
        assert_eq!(cut(&after_much_space).unwrap(), [(2 * BUFFER + 1, 1)]);
    }

    #[test]
    fn an_input_larger_than_the_buffer_is_cut_like_a_small_one() {
        let line = "{\"account_id\":\"a\",\n\"refresh_token\":\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"}\n";
        let batches = cut(line.repeat(40_000).as_bytes()).unwrap();
        assert_eq!(batches.iter().map(|(_, accounts)| accounts).sum::<usize>(), 40_000);
        assert_eq!(batches[1].0, 2 * batches[0].1 + 1);
    }

    #[test]
    fn accounts_that_ring_has_to_be_asked_for_come_in_small_batches() {
        let (known, unknown) = ("{\"account_id\":\"a\"}\n", "{\"refresh_token\":\"r\"}\n");
        let counts = |text: String| cut(text.as_bytes()).unwrap().iter().map(|b| b.1).collect::<Vec<_>>();
        assert_eq!(counts(known.repeat(BATCH_ACCOUNTS + 1)), [BATCH_ACCOUNTS, 1]);
        assert_eq!(counts(unknown.repeat(BATCH_UNKNOWN + 1)), [BATCH_UNKNOWN, 1]);
        assert_eq!(counts(format!("{}{}", known.repeat(300), unknown.repeat(10))), [310]);
    }

    #[test]
    fn what_is_no_json_or_too_long_is_told_with_its_line() {
        for (text, words) in [
            ("{}\nno".to_owned(), "line 2: this is no JSON"),
            ("{}\n{\"a\":".to_owned(), "line 2: this is no JSON"),
            (format!("{{}}\n\n{{\"a\":\"{}\"}}", "x".repeat(BUFFER)), "line 3: the account is longer"),
        ] {
            let error = cut(text.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with(words), "{error}");
        }
        let mut batches = Batches::new(&b"{}\n{}\nno"[..]);
        assert_eq!(
            batches.next().unwrap().map(|batch| (batch.line, batch.accounts)),
            Some((1, 2)),
            "what is before it comes"
        );
        assert_eq!(
            batches.next().unwrap_err().to_string(),
            "line 3: this is no JSON (one object, or one a line)"
        );
        let mut batches = Batches::new(&b"{}\nno"[..]);
        assert!(batches.begin().is_err(), "a small input is checked before its first batch");
    }
}
