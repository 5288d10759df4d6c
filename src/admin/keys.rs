//! Keys: which master key seals how much, what is known of the webhook keys, and rotation step by step.

use crate::domain::actor::Actor;
use crate::http::Body;
use crate::logging::audit::{self, Entry, What};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Admin;
use super::refusal::{Refusal, Reply};
use super::request::{self, ok};
use super::session::Session;
use crate::domain::rights::Call;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rotate {
    /// `next` of the step before; from the start without it.
    after: Option<String>,
}

impl Admin {
    pub(super) async fn list_keys(&self, session: &Session) -> Reply {
        session.may(Call::Keys, None)?;
        let counts = self.store.keys_by_master().await?;
        let current = self.store.master();
        let row = |(master, keys): &(String, u64)| json!({"master": master, "data_keys": keys, "current": *master == current});
        let proofs = self.facts().webhook_keys;
        ok(&json!({
            "master": current,
            "data_keys": counts.iter().map(row).collect::<Vec<Value>>(),
            "webhook_keys": proofs,
        }))
    }

    /// One step of re-wrapping data keys under the current master key: `next` says where to go on, null at the end. It
    /// can be left at any point and begun anew.
    pub(super) async fn rotate_keys(&self, session: &Session, by: &Actor, body: Body) -> Reply {
        session.may(Call::Keys, None)?;
        let Rotate { after } = request::json(body).await?;
        let after = after.as_deref().map(cursor).transpose()?;
        let done = self.store.rewrap_keys_by(by.clone(), after).await?;
        if done.changed > 0 || done.next.is_none() {
            let detail = format!("{} re-wrapped in this step", done.changed);
            audit::note(&Entry::new(What::KeysRotated, by.clone()).with(detail));
        }
        let next = done.next.map(|(owner, purpose)| format!("{owner}-{purpose}"));
        ok(&json!({"changed": done.changed, "next": next}))
    }
}

fn cursor(text: &str) -> Result<(u32, u8), Refusal> {
    let parts = || {
        let (owner, purpose) = text.split_once('-')?;
        Some((owner.parse().ok()?, purpose.parse().ok()?))
    };
    parts().ok_or_else(|| Refusal::bad("after wants the `next` of the step before"))
}
