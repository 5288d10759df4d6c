//! What `simulate` prints when it is ready: where it is, its credentials, and lines to try.

use serde_json::{Value, json};

use super::wishes::Wishes;
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::sim::{Pair, Ring};

/// Accounts that the banner for people names.
const NAMED: usize = 5;

/// Who adds the app in the lines to try.
const NEWCOMER: &str = "ava1.ring.account.NEW";

/// An account that is there from the start.
#[derive(Debug)]
pub(super) struct Linked {
    pub(super) account: String,
    pub(super) pair: Pair,
}

/// The key only where it is made up: one from a file may be real.
pub(super) fn print(
    ring: &Ring,
    linked: &[Linked],
    hmac_key: Option<&str>,
    wishes: &Wishes,
    json: bool,
) -> Result<(), Failure> {
    let mut out = Output::open(json)?;
    if json {
        out.json_line(document(ring, linked, hmac_key).to_string())?;
    } else {
        words(ring, linked, hmac_key, wishes).iter().try_for_each(|line| out.line(line))?;
    }
    out.flush()
}

fn document(ring: &Ring, linked: &[Linked], hmac_key: Option<&str>) -> Value {
    let account = |Linked { account, pair }: &Linked| json!({ "account_id": account, "access_token": pair.access, "refresh_token": pair.refresh });
    json!({
        "oauth_url": ring.oauth_url(),
        "api_url": ring.url(),
        "client_id": ring.client().id,
        "client_secret": ring.client().secret,
        "hmac_key": hmac_key,
        "accounts": linked.iter().map(account).collect::<Vec<_>>(),
    })
}

fn words(ring: &Ring, linked: &[Linked], hmac_key: Option<&str>, wishes: &Wishes) -> Vec<String> {
    let (url, client) = (ring.url(), ring.client());
    let mut lines = vec![
        "A simulated Ring, until Ctrl-C. All of it is made up and stays on this machine.".into(),
        String::new(),
        format!("  OAuth URL      {}", ring.oauth_url()),
        format!("  API URL        {url}"),
        format!("  client_id      {}", client.id),
        format!("  client_secret  {}", client.secret),
        format!("  HMAC key       {}", hmac_key.unwrap_or("as in --hmac-key-file")),
        String::new(),
        format!("  {:<30} refresh token", "account"),
    ];
    lines.extend(linked.iter().take(NAMED).map(|of| format!("  {:<30} {}", of.account, of.pair.refresh)));
    if let more @ 1.. = linked.len().saturating_sub(NAMED) {
        lines.push(format!("  and {more} more: GET {url}/sim/state"));
    }
    lines.extend(link(&url, wishes));
    let Some(Linked { account, pair }) = linked.first() else { return lines };
    lines.extend([
        String::new(),
        "Try it:".into(),
        String::new(),
        format!(
            "  curl {} -d grant_type=refresh_token -d client_id={} -d client_secret={} -d refresh_token={}",
            ring.oauth_url(),
            client.id,
            client.secret,
            pair.refresh
        ),
        format!("  curl {url}/v1/users/me -H 'Authorization: Bearer {}'", pair.access),
        format!("  curl {url}/sim/fault -d '{{\"fault\":\"oauth-500\",\"times\":3}}'"),
        format!("  curl {url}/sim/advance -d '{{\"by\":\"25d\"}}'"),
        format!("  curl {url}/sim/revoke -d '{{\"account\":\"{account}\"}}'"),
        format!("  curl {url}/sim/state"),
        String::new(),
    ]);
    lines
}

/// A whole link in its order, as far as the partner's addresses are known.
fn link(url: &str, wishes: &Wishes) -> Vec<String> {
    let step = |name, says| format!("  curl {url}/sim/{name} -d '{{\"account\":\"{NEWCOMER}\"}}'   # {says}");
    let install = wishes.token_exchange_url.as_ref().map(|_| step("install", "the user adds the app"));
    let visit =
        wishes.account_link_url.as_ref().map(|_| step("visit", "and goes on to sign in: open its url"));
    if install.is_none() && visit.is_none() {
        return Vec::new();
    }
    let mut lines = vec![String::new(), "Play a link:".into(), String::new()];
    lines.extend(install.into_iter().chain(visit));
    lines.push(step("revoke", "the user removes the app"));
    lines
}
