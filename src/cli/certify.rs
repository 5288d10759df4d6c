//! `ringhookd certify`: the public name tried as Ring's reviewers try it, with test events that the daemon made, and a report of it.

mod files;
mod link;
mod versions;
mod webhooks;

use std::path::PathBuf;

use hyper::Uri;
use serde_json::json;
use tokio::task::spawn_blocking;

use self::files::Written;
use self::webhooks::{EACH, TestEvent, Webhooks};
use super::args::{Certify, Common};
use super::client::Client;
use super::doctor::public::{Looked, Public};
use super::doctor::reach::connector;
use super::doctor::{loaded, of_the_daemon, tell};
use super::failure::Failure;
use super::output::Output;
use crate::clock;
use crate::config::{Config, MasterKey, Secrets};
use crate::domain::certify::{Address, Report, notes, other_forgeries, time};
use crate::domain::status;

/// Exit 1 where anything fails.
pub(super) fn run(common: &Common, wishes: Certify) -> Result<(), Failure> {
    let file = common.configuration()?.to_owned();
    let mut out = Output::open(common.json)?;
    super::block_on(async move {
        let (config, secrets) = configured(file).await?;
        let daemon = Client::find(common).await?;
        let folder = wishes.folder.clone();
        let report = tried(&config, &secrets, &daemon, wishes).await?;
        let drafts = notes(&report.addresses, report.slowest());
        let written = spawn_blocking(move || files::write(&folder, report, &drafts)).await;
        let written = written.map_err(|error| Failure::no(error.to_string()))??;
        show(&written, &mut out)?;
        out.flush()?;
        if written.report.ok { Ok(()) } else { Err(Failure::Said) }
    })
}

fn show(Written { report, file, notes }: &Written, out: &mut Output) -> Result<(), Failure> {
    if out.json {
        let mut document = serde_json::to_value(report).map_err(|error| Failure::no(error.to_string()))?;
        document["report"] = json!(file);
        let note =
            |(name, file, text): &(&str, PathBuf, String)| json!({"name": name, "file": file, "text": text});
        document["notes"] = notes.iter().map(note).collect();
        return out.item(&document);
    }
    tell(&report.findings, out)?;
    out.line(&format!("report: {}", file.display()))?;
    notes.iter().try_for_each(|(name, file, _)| out.line(&format!("note on {name}: {}", file.display())))
}

/// The configuration and its secrets, both sound.
async fn configured(file: PathBuf) -> Result<(Config, Secrets), Failure> {
    let read = spawn_blocking(move || {
        let config = loaded(&file).ok_or_else(|| {
            Failure::no(format!("{} is not sound: ringhookd check says why", file.display()))
        })?;
        let secrets = config.secrets(MasterKey::MadeLater).map_err(|problems| {
            Failure::no(format!("the HMAC key can't be read, and without it nothing is signed:\n{problems}"))
        })?;
        Ok((config, secrets))
    });
    read.await.map_err(|error| Failure::no(error.to_string()))?
}

/// Everything that is tried, in the order in which it is told.
async fn tried(
    config: &Config,
    secrets: &Secrets,
    daemon: &Client,
    wishes: Certify,
) -> Result<Report, Failure> {
    let event: TestEvent = daemon.post("/v1/test-events", &json!({})).await?;
    let before: status::Report = daemon.get("/v1/status").await?;
    let (public, at) = (Public(wishes.url), clock::now());
    let own = config.linking.sign_in_url.as_ref().and_then(|_| public.at(&config.linking.link_path));
    let link = wishes.account_link_url.or(own);
    let mut report = Report::new(public.0.to_string(), at, registered(config, &public, link.as_ref()));
    report.add(of_the_daemon(&before));
    let Looked { found, addresses } = public.look(&config.webhook, &config.linking).await;
    report.add(found);
    if public.is_tls() && !addresses.is_empty() {
        report.add(versions::tried(&public.host(), &addresses).await);
    }
    let client = connector(None, true, EACH).map_err(Failure::no)?;
    let webhooks = Webhooks { client: &client, daemon, public: &public, event: &event };
    let key = secrets.hmac_keys.first().map(|key| key.expose().as_slice()).unwrap_or_default();
    let (found, took) = webhooks.tried(&config.webhook.path, key, &before).await?;
    report.add(found);
    report.took(&took);
    let ever = before.status.webhook_keys.iter().any(|key| key.verified_at.is_some());
    report.add([
        other_forgeries(ever),
        time(&took),
        webhooks.code(&config.linking.code_path, config.ring.is_some()).await,
        link::tried(&client, link.as_ref(), &event.id, at).await,
    ]);
    Ok(report)
}

/// The addresses, as they are registered at Ring. The page that is the App Homepage URL is the partner's own.
fn registered(config: &Config, public: &Public, link: Option<&Uri>) -> Vec<Address> {
    let own = [("Webhook URL", &config.webhook.path), ("Token Exchange URL", &config.linking.code_path)];
    let own = own.into_iter().filter_map(|(name, path)| Some((name, public.at(path)?.to_string())));
    let link = link.map_or_else(|| "[FILL IN: a page of your web app]".to_owned(), Uri::to_string);
    let others = [("Account Link URL", link), ("App Homepage URL", "[FILL IN: your home page]".to_owned())];
    own.chain(others).map(|(name, url)| Address { name, url }).collect()
}
