//! The developer's endpoints under `/sim/`, on the simulation's own listener. docs/SIMULATE.md describes them.

use std::sync::Arc;

use hyper::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::action::{self, Action};
use super::call::{Call, Reply};
use super::fault::Place;
use super::shared::Shared;

/// Accounts that `/sim/state` shows.
const SHOWN: usize = 100;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    fault: Option<String>,
    times: Option<u64>,
    account: Option<String>,
    clear: Option<bool>,
    by: Option<String>,
    event: Option<String>,
    silent: Option<bool>,
}

/// Nothing when the path is not one of these.
pub(super) fn answer(shared: &Arc<Shared>, call: &Call) -> Option<Reply> {
    let name = call.path.strip_prefix("/sim/")?;
    let reply = match (&call.method, name) {
        (&Method::GET, "state") => Ok(state(shared)),
        (&Method::POST, _) => posted(shared, name, call),
        _ => Err("GET /sim/state, or POST to another".into()),
    };
    Some(match reply {
        Ok(body) => Reply::json(200, &body),
        Err(words) => Reply::json(400, &json!({ "error": words })),
    })
}

fn posted(shared: &Arc<Shared>, name: &str, call: &Call) -> Result<Value, String> {
    let body: Body = serde_json::from_slice(&call.body).map_err(|error| format!("the body: {error}"))?;
    let due = |field: Option<String>, name: &str| field.ok_or_else(|| format!("`{name}` is missing"));
    let now = shared.clock.now();
    match name {
        "fault" if body.clear == Some(true) => Action::ClearFaults.perform(shared)?,
        "fault" => {
            let plan = action::plan(&due(body.fault, "fault")?, body.times, body.account)?;
            Action::Fault(plan).perform(shared)?;
        }
        "advance" => {
            Action::Advance(action::duration(&due(body.by, "by")?)?).perform(shared)?;
            return Ok(json!({ "now": shared.clock.now().rfc3339() }));
        }
        "install" => Action::Install(due(body.account, "account")?).perform(shared)?,
        "revoke" if body.silent == Some(true) => {
            let account = due(body.account, "account")?;
            shared.revoke(&account, false).then_some(()).ok_or_else(|| action::no_account(&account))?;
        }
        "revoke" => Action::Revoke(due(body.account, "account")?).perform(shared)?,
        "send" => {
            let event = action::event(&due(body.event, "event")?)?;
            Action::Send { event, account: body.account }.perform(shared)?;
        }
        "code" => {
            let code = shared.world().new_code(&due(body.account, "account")?, now);
            return Ok(json!({ "code": code }));
        }
        "account" => {
            let pair = shared.world().link(&due(body.account, "account")?, now).pair;
            return Ok(json!({ "access_token": pair.access, "refresh_token": pair.refresh }));
        }
        "visit" => {
            let account = due(body.account, "account")?;
            let (visit, url) = shared.visit(&account).ok_or_else(|| action::not_added(&account))?;
            return Ok(json!({ "nonce": visit.nonce, "time": visit.time, "url": url }));
        }
        _ => {
            return Err(
                "there are state, fault, advance, install, visit, revoke, send, code and account".into()
            );
        }
    }
    Ok(json!({ "status": "ok" }))
}

fn state(shared: &Shared) -> Value {
    let now = shared.clock.now();
    let world = shared.world();
    let account = |id: &Arc<str>| {
        let counts = world.ledger.counts(id);
        json!({
            "account": **id,
            "refresh_token": world.oauth.live(id, now),
            "link": world.integrations.state(id).map(super::LinkState::name),
            "mails": world.integrations.mails(id),
            "exchanges": counts.granted,
            "in_flight": counts.in_flight,
            "most_in_flight": counts.most_in_flight,
        })
    };
    let plan = |plan: &super::Plan| json!({ "fault": plan.fault.to_string(), "times": plan.times, "account": plan.account });
    let requests = |place: &Place| (place.name().to_owned(), world.requests.get(place).copied().into());
    json!({
        "now": now.rfc3339(),
        "ahead_seconds": shared.clock.offset_ms() / 1000,
        "accounts": world.oauth.accounts().take(SHOWN).map(account).collect::<Vec<_>>(),
        "accounts_in_all": world.oauth.accounts().len(),
        "faults": world.faults.plans().iter().map(plan).collect::<Vec<_>>(),
        "fired": world.faults.fired(),
        "requests": Place::ALL.iter().map(requests).collect::<Map<String, Value>>(),
        "peak_per_second": world.rate.peak(),
    })
}
