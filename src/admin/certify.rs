//! Announces a test event for `ringhookd certify`: the daemon makes it, so that its caller has no say in which body leaves nothing.

use serde_json::json;

use super::Admin;
use super::refusal::{Refusal, Reply};
use super::request::ok;
use super::session::Session;
use crate::domain::act::Act;
use crate::domain::actor::Actor;
use crate::domain::rights::Call;

impl Admin {
    pub(super) async fn announce_test_event(&self, session: &Session, by: &Actor) -> Reply {
        session.may(Call::Certify, None)?;
        session.must_see_all("a test event is of none of them")?;
        let made = self.test_events.announce();
        let event = made.ok_or_else(|| Refusal::internal("the system gives no random numbers".to_owned()))?;
        self.store.audit().note(by, Act::AnnounceTestEvent, None, Some(event.id.clone())).await?;
        ok(&json!({"id": event.id, "body": event.body, "code": event.code, "until": event.until}))
    }
}
