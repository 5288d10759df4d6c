//! `ringhookd simulate`: the simulated Ring alone, for developers to test their apps against.

mod banner;
mod wishes;

use std::io::Write;

use tokio::time::sleep;

use self::banner::Linked;
pub(super) use self::wishes::Wishes;
use super::failure::Failure;
use super::stop::Stop;
use crate::sim::{Action, KINDS, Options, Ring, Step, scenario};

/// Runs until SIGINT or SIGTERM.
pub(super) fn run(wishes: &Wishes, json: bool) -> Result<(), Failure> {
    super::block_on(simulate(wishes, json))
}

async fn simulate(wishes: &Wishes, json: bool) -> Result<(), Failure> {
    let mut stop = Stop::listen().map_err(|error| Failure::no(error.to_string()))?;
    let options = Options { narrate: Some(narrate), ..wishes.options()? };
    let made_up_key = wishes.hmac_key_file.is_none().then(|| options.hmac_key.clone());
    let ring = Ring::start(options).map_err(|error| Failure::no(format!("{}: {error}", wishes.listen)))?;
    let linked: Vec<Linked> = (1..=wishes.accounts).map(|number| link(&ring, number)).collect();
    let steps = steps(wishes, &ring)?;
    for plan in &wishes.faults {
        ring.inject(plan.clone());
    }
    banner::print(&ring, &linked, made_up_key.as_deref(), wishes, json)?;
    tokio::select! {
        () = stop.told() => {}
        () = play(&ring, steps) => {}
        () = send_now_and_then(&ring, wishes, &linked) => {}
    }
    Ok(())
}

fn link(ring: &Ring, number: u32) -> Linked {
    let account = format!("ava1.ring.account.SIM{number}");
    let pair = ring.add_account(&account);
    Linked { account, pair }
}

fn steps(wishes: &Wishes, ring: &Ring) -> Result<Vec<Step>, Failure> {
    let Some(path) = &wishes.scenario else { return Ok(Vec::new()) };
    let named = |words: String| Failure::no(format!("{}: {words}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| named(error.to_string()))?;
    let steps = scenario(&text, &ring.accounts()).map_err(|problems| named(problems.join("\n  ")))?;
    let sends = |step: &Step| matches!(step.action, Action::Send { .. });
    if wishes.webhook_url.is_none() && steps.iter().any(sends) {
        return Err(named("a step sends an event, but there is no --webhook-url".into()));
    }
    let installs = |step: &Step| matches!(step.action, Action::Install(_));
    if wishes.token_exchange_url.is_none() && steps.iter().any(installs) {
        return Err(named("a step adds the app, but there is no --token-exchange-url".into()));
    }
    Ok(steps)
}

/// Goes through the scenario, and then rests for good.
async fn play(ring: &Ring, steps: Vec<Step>) {
    for (number, Step { after, action }) in (1..).zip(steps) {
        sleep(after).await;
        let what = action.to_string();
        match ring.perform(action) {
            Ok(()) => narrate(&format!("step {number}: {what}")),
            Err(words) => narrate(&format!("step {number}: {words}")),
        }
    }
    std::future::pending::<()>().await;
}

/// Every kind of event in turn, of each account in turn, but for those that end a link.
async fn send_now_and_then(ring: &Ring, wishes: &Wishes, linked: &[Linked]) {
    if wishes.webhook_url.is_some() && !wishes.every.is_zero() && !linked.is_empty() {
        let kinds = KINDS.iter().filter(|kind| !kind.ends_with("_removed")).cycle();
        for (kind, Linked { account, .. }) in kinds.zip(linked.iter().cycle()) {
            sleep(wishes.every).await;
            let action = Action::Send { event: (*kind).to_owned(), account: Some(account.clone()) };
            if let Err(words) = ring.perform(action) {
                narrate(&words);
            }
        }
    }
    std::future::pending::<()>().await;
}

fn narrate(line: &str) {
    // Whoever closed our standard error does not want to know.
    let _ = writeln!(std::io::stderr(), "{line}");
}
