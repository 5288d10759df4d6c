//! Where one request ends and the next begins: hyper is never handed bytes of two requests at once.
//!
//! hyper resolves a head that has both `Transfer-Encoding` and `Content-Length` silently, and hides it from the handler. A
//! proxy in front may resolve it the other way, so such a head has to be refused, and for that somebody has to read it raw.

/// How the body of a request is delimited, from its parsed head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    Known(u64),
    /// Ends where hyper's decoder says; the connection is not used again.
    Chunked,
}

/// Position in the stream of requests of one connection.
#[derive(Debug)]
pub(super) enum Framing {
    Head(Head),
    /// A whole head is with hyper, which has not called the handler yet.
    HeadEnd {
        lengths: usize,
    },
    /// So many bytes of the body are still to come.
    Body(u64),
    Unbounded,
}

impl Framing {
    pub(super) fn new() -> Self {
        Self::Head(Head::default())
    }

    /// How many of the `bytes` just read belong to the part that hyper is at; `None` when it should not be reading at all.
    pub(super) fn admit(&mut self, bytes: &[u8]) -> Option<usize> {
        match self {
            Self::Head(head) => {
                let Some(end) = head.scan(bytes) else { return Some(bytes.len()) };
                *self = Self::HeadEnd { lengths: head.lengths };
                Some(end)
            }
            Self::HeadEnd { .. } => None,
            Self::Body(left) => {
                let here = usize::try_from(*left).map_or(bytes.len(), |n| n.min(bytes.len()));
                *left -= here as u64;
                if *left == 0 {
                    *self = Self::new();
                }
                Some(here)
            }
            Self::Unbounded => Some(bytes.len()),
        }
    }

    /// The handler is called: the body follows. False when the head leaves more than one reading of where the body ends.
    pub(super) fn begin(&mut self, length: Length) -> bool {
        let lengths = if let Self::HeadEnd { lengths } = self { *lengths } else { usize::MAX };
        *self = match length {
            Length::Known(0) => Self::new(),
            Length::Known(n) => Self::Body(n),
            Length::Chunked => Self::Unbounded,
        };
        lengths <= usize::from(length != Length::Chunked)
    }

    /// Nothing of a request has been read that was not answered.
    pub(super) fn between_requests(&self) -> bool {
        matches!(self, Self::Head(head) if !head.any)
    }
}

const LENGTH: &[u8] = b"content-length:";

/// A head as far as it has come.
#[derive(Debug, Default)]
pub(super) struct Head {
    any: bool,
    /// A line that was not empty has been seen; empty ones before the request line do not count.
    started: bool,
    lengths: usize,
    /// The start of the current line, since a line may come in several reads.
    line: [u8; LENGTH.len()],
    len: usize,
}

impl Head {
    /// The index after the empty line that ends the head, if that is in `bytes`.
    fn scan(&mut self, bytes: &[u8]) -> Option<usize> {
        self.any |= !bytes.is_empty();
        let mut at = 0;
        while let Some(n) = bytes[at..].iter().position(|&b| b == b'\n') {
            self.extend(&bytes[at..at + n]);
            at += n + 1;
            if self.end_line() {
                return Some(at);
            }
        }
        self.extend(&bytes[at..]);
        None
    }

    fn extend(&mut self, part: &[u8]) {
        let n = part.len().min(self.line.len() - self.len);
        self.line[self.len..self.len + n].copy_from_slice(&part[..n]);
        self.len += n;
    }

    fn end_line(&mut self) -> bool {
        let line = &self.line[..self.len];
        let blank = line.is_empty() || line == b"\r";
        let ended = blank && self.started;
        self.started |= !blank;
        self.lengths += usize::from(line.eq_ignore_ascii_case(LENGTH));
        self.len = 0;
        ended
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Feeds `bytes` in pieces of `step` and returns how many the first head has, and its lengths.
    fn head_of(bytes: &[u8], step: usize) -> Option<(usize, usize)> {
        let mut framing = Framing::new();
        let mut taken = 0;
        for piece in bytes.chunks(step) {
            taken += framing.admit(piece)?;
            if let Framing::HeadEnd { lengths } = framing {
                return Some((taken, lengths));
            }
        }
        None
    }

    #[test]
    fn a_head_ends_at_its_empty_line_however_it_is_cut() {
        let cases: [(&[u8], usize); 5] = [
            (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 0),
            (b"\r\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 0),
            (b"GET / HTTP/1.1\nContent-Length: 3\n\n", 1),
            (b"GET / HTTP/1.1\r\ncontent-LENGTH:3\r\nContent-Length: 3\r\n\r\n", 2),
            (b"GET / HTTP/1.1\r\nX: content-length: 3\r\nX-Content-Length: 3\r\n\r\n", 0),
        ];
        for (head, lengths) in cases {
            let more = [head, b"content-length: 1\r\n\r\n"].concat();
            for step in 1..=more.len() {
                assert_eq!(head_of(&more, step), Some((head.len(), lengths)), "{head:?} by {step}");
            }
        }
    }

    #[test]
    fn a_body_ends_after_its_length_and_only_one_length_is_taken() {
        let mut framing = Framing::HeadEnd { lengths: 1 };
        assert!(framing.begin(Length::Known(3)));
        assert_eq!(framing.admit(b"ab"), Some(2));
        assert!(!framing.between_requests());
        assert_eq!(framing.admit(b"cGET"), Some(1));
        assert!(framing.between_requests());
        for (lengths, length, fine) in [
            (0, Length::Known(0), true),
            (0, Length::Chunked, true),
            (1, Length::Chunked, false),
            (2, Length::Known(3), false),
        ] {
            assert_eq!(Framing::HeadEnd { lengths }.begin(length), fine, "{lengths} {length:?}");
        }
        assert!(!Framing::new().begin(Length::Known(0)), "a handler without a head");
    }

    proptest! {
        #[test]
        fn never_takes_more_than_it_was_given(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut framing = Framing::new();
            prop_assert!(framing.admit(&bytes).is_some_and(|n| n <= bytes.len()));
        }
    }
}
