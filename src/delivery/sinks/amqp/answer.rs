//! The meaning of a reply, in words that operators read.

use std::sync::Arc;

use super::frame::Reason;
use super::message::Message;
use super::session::{Blame, Reply};
use crate::delivery::sinks::lanes::{Answer, Obstacle};
use crate::delivery::sinks::words::Words;
use crate::logging;

/// Puts replies into words.
#[derive(Debug)]
pub(super) struct Answers {
    pub(super) words: Arc<Words>,
    /// Every event goes to this exchange.
    pub(super) one_exchange: bool,
    /// Every event has this routing key.
    pub(super) one_key: bool,
}

/// Where a message goes, as a line may hold it.
pub(super) struct Way(String);

impl Way {
    pub(super) fn of(message: &Message) -> Self {
        let exchange = match message.exchange.as_str() {
            "" => "the default exchange".to_owned(),
            name => format!("exchange {}", logging::text(name)),
        };
        Self(format!("{exchange}, routing key {}", logging::text(&message.key)))
    }
}

impl Answers {
    pub(super) fn of(&self, reply: Reply, way: &Way) -> Answer {
        let way = &way.0;
        match reply {
            Reply::Confirmed => Answer::Taken,
            Reply::Returned(reason) => {
                Answer::Failed { why: self.why(&format!("{} ({way})", self.returned(&reason))) }
            }
            // Whether it is the event's queue or the broker is told by how others fare.
            Reply::Rejected => Answer::Broken {
                why: self.why(&format!(
                    "the broker rejects it (basic.nack), because a queue is full or out of service ({way})"
                )),
            },
            Reply::Blocked(why) => self.hindered(&format!("the broker blocks publishers: {why}")),
            Reply::Blamed(blame, reason) => self.blamed(blame, &reason, way),
            Reply::HeaderTooLarge { bytes, most } => Answer::Refused {
                why: self.why(&format!(
                    "the message's header has {bytes} bytes, and the broker's frame_max is {most}"
                )),
            },
        }
    }

    fn returned(&self, reason: &Reason) -> String {
        format!("the broker returned it: {}", reason.words(&self.words))
    }

    /// Of an exchange or a key that all events have no other would fare better.
    fn blamed(&self, blame: Blame, reason: &Reason, way: &str) -> Answer {
        let why = format!("the broker closed the channel: {} ({way})", reason.words(&self.words));
        match blame {
            Blame::Size => Answer::Refused { why: self.why(&why) },
            Blame::Exchange if self.one_exchange => self.hindered(&why),
            Blame::RoutingKey if self.one_exchange && self.one_key => self.hindered(&why),
            Blame::Exchange | Blame::RoutingKey => Answer::Failed { why: self.why(&why) },
        }
    }

    /// No event would fare better.
    pub(super) fn hindered(&self, why: &str) -> Answer {
        Answer::Hindered(Obstacle::brief(self.why(why)))
    }

    fn why(&self, why: &str) -> String {
        self.words.of_receiver(why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::address::Receiver;

    fn answers(one: bool) -> Answers {
        let url = Receiver::parse("amqp://10.0.0.7/hush-vhost", &["amqp"]).unwrap();
        let words = Arc::new(Words::new(&url, ["hush-hush".to_owned()]));
        Answers { words, one_exchange: one, one_key: one }
    }

    fn reason(code: u16, text: &str) -> Reason {
        Reason { code, text: text.to_owned() }
    }

    fn way() -> Way {
        Way("exchange ring, routing key a.b".to_owned())
    }

    #[test]
    fn the_brokers_words_are_told_without_a_secret() {
        let reply = Reply::Returned(reason(312, "NO_ROUTE of hush-hush\n"));
        let why = "amqp://10.0.0.7: the broker returned it: 312 NO_ROUTE of [hidden] (exchange ring, routing key a.b)";
        assert_eq!(answers(true).of(reply, &way()), Answer::Failed { why: why.to_owned() });
        let Answer::Hindered(obstacle) = answers(true).of(Reply::Blocked("low on memory".into()), &way())
        else {
            panic!()
        };
        assert_eq!(obstacle.why, "amqp://10.0.0.7: the broker blocks publishers: low on memory");
    }

    #[test]
    fn an_exchange_that_all_share_is_no_events_fault() {
        for (blame, one, hindered) in [
            (Blame::Exchange, true, true),
            (Blame::RoutingKey, true, true),
            (Blame::Exchange, false, false),
            (Blame::RoutingKey, false, false),
        ] {
            let reply = Reply::Blamed(blame, reason(404, "NOT_FOUND - no exchange 'ring' in vhost '/'"));
            match answers(one).of(reply, &way()) {
                Answer::Hindered(_) => assert!(hindered),
                Answer::Failed { why } => assert!(!hindered && why.contains("404 NOT_FOUND"), "{why}"),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn what_is_too_large_is_refused_for_good() {
        let reply = Reply::Blamed(Blame::Size, reason(406, "PRECONDITION_FAILED - message size 9 is larger"));
        assert!(matches!(answers(true).of(reply, &way()), Answer::Refused { .. }));
        let reply = Reply::HeaderTooLarge { bytes: 5000, most: 4096 };
        let Answer::Refused { why } = answers(true).of(reply, &way()) else { panic!() };
        assert!(why.contains("5000 bytes") && why.contains("4096"), "{why}");
    }
}
