//! The message for an event: its subject, its headers and its content.

use bytes::Bytes;

use crate::domain::cloudevent::header_text;
use crate::domain::format::Format;
use crate::domain::template::Template;
use crate::store::Leased;

/// Bytes of a subject: a server takes a line of 4096 with the subject, our inbox and two numbers in it.
const MAX_SUBJECT: usize = 1024;
const STRUCTURED: &str = "application/cloudevents+json; charset=UTF-8";

/// Where the event goes.
pub(super) fn subject(template: &Template, leased: &Leased) -> String {
    // Neither a dot, which divides a subject, nor a wildcard, nor space.
    template.render(&leased.event, |c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'), MAX_SUBJECT)
}

/// The headers, with `NATS/1.0` before them and an empty line behind, and the content.
pub(super) fn content(format: Format, leased: &Leased) -> (String, Bytes) {
    let Leased { seq, attempt, event } = leased;
    let mut headers = vec![("Nats-Msg-Id".to_owned(), header_text(&event.key))];
    let payload = match format {
        Format::CloudEvents => {
            headers.extend(
                event
                    .cloudevent_headers(*seq, *attempt)
                    .into_iter()
                    .filter(|(name, _)| name != "content-type"),
            );
            headers.push(("content-type".to_owned(), STRUCTURED.to_owned()));
            event.cloudevent(*seq, *attempt).into()
        }
        Format::CloudEventsBinary => {
            headers.extend(event.cloudevent_headers(*seq, *attempt));
            event.body.clone()
        }
        Format::Raw => event.body.clone(),
    };
    let mut head = "NATS/1.0\r\n".to_owned();
    for (name, value) in headers {
        head.extend([&name, ": ", &value, "\r\n"]);
    }
    head.push_str("\r\n");
    (head, payload)
}
