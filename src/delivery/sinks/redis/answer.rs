//! The meaning of the server's replies for an event, and the words that operators read of them.

use ::redis::{ErrorKind, RedisError};

use crate::config::Target;
use crate::delivery::sinks::lanes::{Answer, Obstacle};
use crate::delivery::sinks::words::Words;
use crate::domain::secret::Secret;

/// The words of a server that read a longer value than it takes, before it closes the connection.
const TOO_LONG: &str = "invalid bulk length";

/// Puts replies into words.
#[derive(Debug)]
pub(super) struct Answers(Words);

impl Answers {
    pub(super) fn new(target: &Target, password: Option<&Secret<String>>) -> Self {
        Self(Words::new(&target.url, password.map(|password| password.expose().clone())))
    }

    /// No event would fare better; `why` is ours.
    pub(super) fn hindered(&self, why: &str) -> Answer {
        Answer::Hindered(Obstacle::brief(self.of_server(why)))
    }

    pub(super) fn unanswered(&self) -> Answer {
        self.hindered("no answer in time")
    }

    /// Known before it is sent, because a server that is sent too much closes the connection of all.
    pub(super) fn too_large(&self, bytes: usize, most: Option<usize>) -> Option<Answer> {
        let most = most.filter(|most| bytes > *most)?;
        let why =
            format!("the event is {bytes} bytes long, and the server takes {most} (proto-max-bulk-len)");
        Some(Answer::Refused { why: self.of_server(&why) })
    }

    /// The server did not add the event to `stream`.
    pub(super) fn refused(&self, error: &RedisError, stream: &str) -> Answer {
        let (why, detail) = (self.why(error), error.detail().unwrap_or_default());
        match error.code() {
            // The key is of another type: other streams are not.
            Some("WRONGTYPE") => Answer::Failed { why: format!("{why} (the key {})", self.0.said(stream)) },
            Some("ERR") if detail.contains(TOO_LONG) => Answer::Refused { why },
            Some("ERR") if detail.starts_with("Protocol error") => Answer::Hindered(Obstacle::brief(why)),
            // A stream that is full, perhaps, or a server that does not know streams.
            Some("ERR") => Answer::Broken { why },
            Some("MOVED" | "ASK") => Answer::Hindered(Obstacle::brief(format!(
                "{why}. It is one of a cluster, which is not supported: the stream's key lies on another server"
            ))),
            // OOM, READONLY, LOADING, MISCONF, NOAUTH, NOPERM, CLUSTERDOWN, NOREPLICAS, … and a broken connection.
            _ => Answer::Hindered(Obstacle::brief(why)),
        }
    }

    /// With the server's own words.
    pub(super) fn why(&self, error: &RedisError) -> String {
        self.of_server(&self.said(error))
    }

    /// The same without its address.
    pub(super) fn said(&self, error: &RedisError) -> String {
        if let Some(code) = error.code() {
            return self.0.said(&format!("{code} {}", error.detail().unwrap_or_default()));
        }
        let why = if error.is_timeout() {
            "no answer in time"
        } else if error.kind() == ErrorKind::Io {
            "the connection ended before an answer"
        } else {
            "the answer is not Redis'"
        };
        why.to_owned()
    }

    pub(super) fn of_server(&self, why: &str) -> String {
        self.0.of_receiver(why)
    }
}

#[cfg(test)]
mod tests {
    use ::redis::parse_redis_value;

    use super::*;

    fn answers() -> Answers {
        let url = crate::domain::address::Receiver::parse("redis://db:6379/3", &["redis"]).unwrap();
        let target = Target { url, username: None, timeout: std::time::Duration::MAX, parallel: 1 };
        Answers::new(&target, Some(&Secret::new("hush-hush".to_owned())))
    }

    fn of(line: &str) -> Answer {
        let value = parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap();
        answers().refused(&value.extract_error().unwrap_err(), "ringhookd:ann")
    }

    #[test]
    fn a_server_that_takes_nothing_is_waited_for() {
        for line in [
            "OOM command not allowed when used memory > 'maxmemory'.",
            "READONLY You can't write against a read only replica.",
            "LOADING Redis is loading the dataset in memory",
            "MISCONF Redis is configured to save RDB snapshots",
            "NOAUTH Authentication required.",
            "NOPERM this user has no permissions to run the 'xadd' command",
            "CLUSTERDOWN Hash slot not served",
            "MOVED 3999 127.0.0.1:6381",
            "NOREPLICAS Not enough good replicas to write.",
            "MASTERDOWN Wire with MASTER is down",
            "BUSY Redis is busy running a script.",
            "ERR Protocol error: unauthenticated multibulk length",
        ] {
            let Answer::Hindered(obstacle) = of(line) else { panic!("{line}: {:?}", of(line)) };
            assert!(obstacle.why.starts_with(&format!("redis://db:6379: {line}")), "{}", obstacle.why);
        }
    }

    #[test]
    fn what_is_an_events_own_is_not_the_servers() {
        let wrong = of("WRONGTYPE Operation against a key holding the wrong kind of value");
        assert!(matches!(&wrong, Answer::Failed { why } if why.contains("ringhookd:ann")), "{wrong:?}");
        assert!(matches!(of("ERR Protocol error: invalid bulk length"), Answer::Refused { .. }));
        let full = of("ERR The stream has exhausted the last possible ID, unable to add more items");
        assert!(matches!(full, Answer::Broken { .. }), "{full:?}");
        assert!(answers().too_large(10, Some(9)).is_some() && answers().too_large(9, Some(9)).is_none());
    }

    #[test]
    fn no_words_hold_the_password() {
        let Answer::Hindered(obstacle) = of("WEIRD you said hush-hush") else { panic!() };
        assert_eq!(obstacle.why, "redis://db:6379: WEIRD you said [hidden]");
        let odd = RedisError::from((ErrorKind::Parse, "hush-hush"));
        assert_eq!(answers().why(&odd), "redis://db:6379: the answer is not Redis'");
    }
}
