//! Keys that only queues of kind `postgres` have: the table, whether it is made, and TLS.

use super::kinds::Kind;
use super::model::{Postgres, QueueKind, Target};
use super::raw::{Echo, Section};
use super::value::{because, flag, text};
use crate::domain::table::Table;

/// The queue's own keys; none where the receiver or one of them is missing or wrong.
pub(super) fn postgres(
    s: &mut Section<'_>,
    kind: Option<Kind>,
    target: Option<&Target>,
) -> Option<QueueKind> {
    let is_postgres = kind.map(|kind| kind == Kind::Postgres);
    s.only_where(is_postgres, "kind = \"postgres\"");
    let table = s.get("table", "ringhookd_events", text(|text| Table::parse(text).map_err(because)));
    let create_table = s.get("create_table", false, flag);
    let tls = s.optional("tls", true, Echo::Shown, flag);
    let target = target.filter(|_| is_postgres == Some(true))?.clone();
    let Some(database) = database(&target) else {
        s.refuse_hidden(
            "url",
            "the path is the name of a database, such as /events; nothing follows it".into(),
        );
        return None;
    };
    if target.username.is_none() {
        s.missing("username", "is missing; write the server's name for us, such as username = \"ringhookd\"");
    }
    // What goes over the network is encrypted unless the operator says otherwise.
    let tls = tls.unwrap_or(!target.url.is_local());
    Some(QueueKind::Postgres(Postgres { target, database, table, create_table, tls }))
}

/// The path of the address.
fn database(target: &Target) -> Option<String> {
    let uri = target.url.uri();
    let name = uri.path().strip_prefix('/').filter(|name| !name.is_empty() && !name.contains('/'))?;
    let name = percent_encoding::percent_decode_str(name).decode_utf8().ok()?;
    (uri.query().is_none() && !name.contains('\0')).then(|| name.into_owned())
}
