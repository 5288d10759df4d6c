//! Keys that only queues of kind `amqp` have: the exchange and the routing key; and the virtual host in the address.

use super::kinds::Kind;
use super::model::{Amqp, QueueKind, Target};
use super::raw::Section;
use super::value::{Wrong, because, text};
use crate::domain::template::Template;

/// Bytes of the name of an exchange, and of a routing key.
const LONGEST: (usize, usize) = (127, 255);
/// The virtual host of an address without a path, which every broker has.
const DEFAULT_VHOST: &str = "/";

/// The queue's own keys; none where the receiver or one of them is missing or wrong.
pub(super) fn amqp(s: &mut Section<'_>, kind: Option<Kind>, target: Option<&Target>) -> Option<QueueKind> {
    let is_amqp = kind.map(|kind| kind == Kind::Amqp);
    s.only_where(is_amqp, "kind = \"amqp\"");
    let exchange = s.get("exchange", "amq.topic", text(exchange));
    let routing_key = s.get("routing_key", "ringhookd.{user}.{device}.{type}", text(routing_key));
    if exchange.is_none() && !routing_key.begins_with_text() {
        let hint = "names a queue, because of exchange = \"\"; begin it with a text of your own, so that no id names a queue of others";
        s.refuse("routing_key", hint.into());
    }
    let target = target.filter(|_| is_amqp == Some(true))?.clone();
    let Some(vhost) = vhost(&target) else {
        s.refuse_hidden(
            "url",
            "the path is the name of a virtual host, such as /events, with %2F for each / in the name".into(),
        );
        return None;
    };
    Some(QueueKind::Amqp(Amqp { target, vhost, exchange, routing_key }))
}

/// The template of an exchange's name; none for the default exchange, which has none.
fn exchange(value: &str) -> Result<Option<Template>, Wrong> {
    if value.is_empty() {
        return Ok(None);
    }
    let template = name(value, LONGEST.0)?;
    if template.begins_with_text() {
        return Ok(Some(template));
    }
    Err(Wrong::Value(
        "must begin with a text of your own, such as ring-{user}, so that no id names an exchange of others"
            .into(),
    ))
}

fn routing_key(value: &str) -> Result<Template, Wrong> {
    let template = name(value, LONGEST.1)?;
    if template.literals().any(|text| text.contains(['*', '#'])) {
        return Err(Wrong::Value("can't hold * or #: they are for bindings".into()));
    }
    Ok(template)
}

fn name(value: &str, longest: usize) -> Result<Template, Wrong> {
    let template = Template::parse(value).map_err(because)?;
    if template.literals().any(|text| text.contains(char::is_control)) {
        return Err(Wrong::Value("holds a control character".into()));
    }
    if template.literals().map(str::len).sum::<usize>() > longest {
        return Err(Wrong::Value(format!("is longer than {longest} bytes")));
    }
    Ok(template)
}

/// The path of the address.
fn vhost(target: &Target) -> Option<String> {
    let uri = target.url.uri();
    let name = uri.path().strip_prefix('/').unwrap_or_default();
    if uri.query().is_some() || name.contains('/') {
        return None;
    }
    let name = percent_encoding::percent_decode_str(name).decode_utf8().ok()?;
    let fits = name.len() <= LONGEST.1 && !name.contains(char::is_control);
    fits.then(|| if name.is_empty() { DEFAULT_VHOST.to_owned() } else { name.into_owned() })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::address::Receiver;

    #[test]
    fn the_path_names_the_virtual_host() {
        for (path, expected) in [
            ("", Some("/")),
            ("/", Some("/")),
            ("/%2F", Some("/")),
            ("/events", Some("events")),
            ("/of%20ours%2Feast", Some("of ours/east")),
            ("/a/b", None),
            ("/a?b=c", None),
            ("/%00", None),
            ("/%FF", None),
        ] {
            let url = Receiver::parse(&format!("amqp://broker:5672{path}"), &["amqp"]).unwrap();
            let target = Target { url, username: None, timeout: Duration::from_secs(1), parallel: 1 };
            assert_eq!(vhost(&target).as_deref(), expected, "{path}");
        }
    }
}
