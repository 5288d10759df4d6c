//! The conformance suite: every kind of queue keeps the promises of delivery. docs/SINKS.md tells how to plug in the next.

mod amqp;
mod cases;
mod certificates;
mod deliveries;
mod embedded;
mod harness;
mod http;
#[cfg(feature = "sink-mqtt")]
mod mqtt;
mod nats;
#[cfg(feature = "sink-postgres")]
mod postgres;
#[cfg(feature = "sink-redis")]
mod redis;
mod spool;
mod sqs;

#[cfg(feature = "sink-postgres")]
use self::postgres::Databases;
#[cfg(feature = "sink-redis")]
use self::redis::Servers;
use self::{embedded::Embedded, http::Receivers, nats::Streams, spool::Files};

/// One test for each case; `$kind` makes a fresh one in a folder of its own.
macro_rules! conformance {
    ($name:ident, $kind:expr, [$($case:ident),+ $(,)?]) => {
        mod $name {
            use super::*;

            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                cases::$case($kind).await;
            })+
        }
    };
    ($name:ident, $kind:expr) => {
        conformance!($name, $kind, [
            ten_thousand_events_arrive_once_in_order_at_the_right_users_queue,
            a_failing_account_holds_up_no_other,
            failures_are_counted_and_end_among_the_dead_letters,
            what_is_refused_is_a_dead_letter_at_once,
            busy_counts_no_attempt,
            nothing_is_lost_when_it_is_killed_before_it_settled,
            what_a_stop_cuts_off_is_given_back,
        ]);
    };
}

conformance!(spool_kind, Files::new);
conformance!(embedded_kind, Embedded::new);
conformance!(http_kind, Receivers::new);
#[cfg(feature = "sink-redis")]
conformance!(redis_kind, Servers::new);
conformance!(nats_kind, Streams::new);
conformance!(amqp_kind, amqp::Exchanges::new);
conformance!(sqs_kind, sqs::Services::new);
// moto takes many minutes for ten thousand events.
conformance!(
    sqs_of_moto_kind,
    sqs::Queues::new,
    [
        a_failing_account_holds_up_no_other,
        failures_are_counted_and_end_among_the_dead_letters,
        what_is_refused_is_a_dead_letter_at_once,
        busy_counts_no_attempt,
        nothing_is_lost_when_it_is_killed_before_it_settled,
        what_a_stop_cuts_off_is_given_back,
    ]
);
#[cfg(feature = "sink-mqtt")]
conformance!(mqtt_kind, mqtt::Brokers::new);
#[cfg(feature = "sink-mqtt")]
conformance!(
    mqtt_with_home_assistant,
    mqtt::Brokers::with_home,
    [
        a_failing_account_holds_up_no_other,
        nothing_is_lost_when_it_is_killed_before_it_settled,
        what_a_stop_cuts_off_is_given_back,
    ]
);
#[cfg(feature = "sink-postgres")]
conformance!(postgres_kind, Databases::new);
