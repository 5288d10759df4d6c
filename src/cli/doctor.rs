//! `ringhookd doctor`: everything that keeps webhooks from coming or tokens from living, with or without a daemon that runs.
//!
//! Every check has its own time: a name server or a disk that hangs is told, and holds up no other check.

mod disk;
pub(super) mod handshake;
mod keys;
pub(super) mod public;
pub(super) mod reach;
mod units;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper::Uri;
use serde_json::json;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use self::public::Public;
use super::args::Common;
use super::check;
use super::client::Client;
use super::failure::Failure;
use super::output::Output;
use crate::clock;
use crate::config::{Config, MasterKey, SecretError, Secrets};
use crate::daemon;
use crate::domain::doctor::{Finding, Seen, State, calls, clock as judge_clock, worst};
use crate::domain::link::LinkState;
use crate::domain::status::{KeyProof, Problem, ProblemName, Report};

/// For one check; a store is read whole by the check of the configuration.
const PATIENCE: Duration = Duration::from_secs(75);
/// For one question to Ring.
const EACH: Duration = Duration::from_secs(10);

/// Exit 1 where anything fails.
pub(super) fn run(common: &Common, url: Option<Uri>) -> Result<(), Failure> {
    let file = common.configuration()?.to_owned();
    let mut out = Output::open(common.json)?;
    super::block_on(async move {
        let found = all(common, file, url.map(Public)).await;
        show(&found, &mut out)?;
        out.flush()?;
        if worst(&found) == State::Failed { Err(Failure::Said) } else { Ok(()) }
    })
}

fn show(found: &[Finding], out: &mut Output) -> Result<(), Failure> {
    if out.json {
        return out.item(&json!({"ok": worst(found) < State::Failed, "findings": found}));
    }
    tell(found, out)
}

/// The findings for people, and how it stands all in all.
pub(super) fn tell(found: &[Finding], out: &mut Output) -> Result<(), Failure> {
    for Finding { check, state, words, action } in found {
        out.line(&format!("{:7}  {check}: {words}", state.as_str()))?;
        if let Some(action) = action {
            out.line(&format!("         do: {action}"))?;
        }
    }
    let count = |state| found.iter().filter(|finding| finding.state == state).count();
    match (count(State::Failed), count(State::Warning)) {
        (0, 0) => out.line("all well"),
        (0, warnings) => out.line(&format!("nothing fails; warnings: {warnings}")),
        (failed, warnings) => out.line(&format!("failed: {failed}; warnings: {warnings}")),
    }
}

async fn all(common: &Common, file: PathBuf, public: Option<Public>) -> Vec<Finding> {
    let report = running(common).await;
    let (report, mut found) = match report {
        Ok(report) => (Some(report.clone()), of_the_daemon(&report)),
        Err(why) => {
            let note =
                Finding::note("daemon", format!("{why}; what only a running daemon knows is left out"));
            (None, vec![note])
        }
    };
    found.extend(
        in_background("configuration", PATIENCE, {
            let file = file.clone();
            move || configuration(&file)
        })
        .await,
    );
    found.extend(in_background("units", PATIENCE, units::units).await);
    // Without a sound configuration there is nothing more to look at but the clock.
    let loaded = spawn_blocking(move || loaded(&file));
    let loaded = timeout(PATIENCE, loaded).await.ok().and_then(Result::ok).flatten().map(Arc::new);
    let mut ahead = report.as_ref().and_then(|report| report.status.ring_clock).map(|clock| clock.ahead_ms);
    if let Some(config) = &loaded {
        let (folder, min_free) = (config.store.folder.clone(), config.store.min_free);
        found.extend(in_background("disk", PATIENCE, move || disk::disk(&folder, min_free)).await);
        let keys = report.as_ref().map(|report| report.status.webhook_keys.clone());
        let of = Arc::clone(config);
        found
            .extend(in_background("credentials", PATIENCE, move || with_secrets(&of, keys.as_deref())).await);
        let (reached, date) = within_both("reach", rings(config)).await;
        found.extend(reached);
        ahead = ahead.or(date);
        if let Some(public) = &public {
            let looking = async { public.look(&config.webhook, &config.linking).await.found };
            found.extend(within("front", PATIENCE, looking).await);
        }
    }
    found.push(judge_clock(clock::now(), ahead));
    found.extend(calls(report.as_ref().map(seen).as_ref(), clock::now()));
    found
}

/// What the running daemon says of itself.
async fn running(common: &Common) -> Result<Report, String> {
    let ask = async {
        let client = Client::find(common).await?;
        client.get("/v1/status").await
    };
    let answer = timeout(PATIENCE, ask).await.map_err(|_| too_long(PATIENCE))?;
    answer.map_err(|failure: Failure| failure.to_string())
}

/// What `status` says that an operator has to do. What is about to keep webhooks or tokens from us fails.
pub(super) fn of_the_daemon(report: &Report) -> Vec<Finding> {
    if report.problems.is_empty() {
        let words = format!("it runs, version {}, and says that all is well", report.status.version);
        return vec![Finding::well("daemon", words)];
    }
    let finding = |problem: &Problem| {
        let words = format!("{}: {}", problem.name.as_str(), problem.words);
        let make = if problem.name <= ProblemName::IntakeSilent { Finding::failed } else { Finding::warning };
        make("daemon", words).so(problem.action.clone())
    };
    report.problems.iter().map(finding).collect()
}

fn seen(report: &Report) -> Seen {
    let status = &report.status;
    Seen {
        last_webhook: status.intake.last_webhook,
        linked_accounts: status.accounts.get(&LinkState::Linked).copied().unwrap_or_default(),
        unmatched: status.unmatched_posts.as_ref().map(|posts| (posts.count, posts.last_path.clone())),
    }
}

/// What `check` finds.
fn configuration(file: &Path) -> Vec<Finding> {
    let (problems, notes) = match check::findings(file) {
        Ok(found) => found,
        Err(error) => (vec![format!("{}: {error}", file.display())], Vec::new()),
    };
    // A credential is there only for the daemon's own unit.
    let only_there = SecretError::NoCredentials.to_string();
    let problem = |words: String| {
        if words.contains(&only_there) {
            Finding::note("configuration", words)
                .so("to have it checked too, run it in the unit, as systemd/README.md shows for check")
        } else {
            Finding::failed("configuration", words)
        }
    };
    let mut found: Vec<Finding> = problems.into_iter().map(problem).collect();
    if found.is_empty() {
        found.push(Finding::well("configuration", format!("{} has no problem", file.display())));
    }
    found.extend(notes.into_iter().map(|words| Finding::note("configuration", words)));
    found
}

/// The configuration, where its text is sound.
pub(super) fn loaded(file: &Path) -> Option<Config> {
    daemon::examine(file).ok().and_then(|examined| examined.config)
}

fn with_secrets(config: &Config, running: Option<&[KeyProof]>) -> Vec<Finding> {
    let Ok(secrets) = config.secrets(MasterKey::MadeLater) else {
        return vec![Finding::note(
            "credentials",
            "they can't be read from here, as told above, so neither they nor signatures are tried",
        )];
    };
    let secrets: &Secrets = &secrets;
    [keys::credentials(config, secrets), keys::signature(secrets, running)].concat()
}

/// OAuth and API, and how far Ring's clock is ahead by their answers.
async fn rings(config: &Config) -> (Vec<Finding>, Option<i64>) {
    let Some(ring) = &config.ring else {
        return (vec![Finding::note("reach", "[ring] is not set, so OAuth and API are not tried")], None);
    };
    let ca_pem = config.sources.ca_file.as_ref().and_then(|file| file.source.read().ok());
    let any_https = [&ring.oauth_url, &ring.api_url].iter().any(|url| url.starts_with("https"));
    let client = match reach::connector(ca_pem.as_ref().map(|pem| pem.expose().as_slice()), any_https, EACH) {
        Ok(client) => client,
        Err(error) => return (vec![Finding::failed("reach", error)], None),
    };
    let (oauth, of_oauth) = reach::reach(&client, "OAuth", &ring.oauth_url, EACH).await;
    let users_me = format!("{}/v1/users/me", ring.api_url.trim_end_matches('/'));
    let (api, of_api) = reach::reach(&client, "API", &users_me, EACH).await;
    (vec![oauth, api], of_oauth.or(of_api))
}

fn too_long(patience: Duration) -> String {
    format!("it did not end within {} s", patience.as_secs())
}

fn hangs(check: &'static str, patience: Duration) -> Vec<Finding> {
    let action =
        "a disk, a name server or a network does not answer: look at dmesg, /etc/resolv.conf and the mounts";
    vec![Finding::failed(check, too_long(patience)).so(action)]
}

async fn within(
    check: &'static str,
    patience: Duration,
    work: impl Future<Output = Vec<Finding>>,
) -> Vec<Finding> {
    timeout(patience, work).await.unwrap_or_else(|_| hangs(check, patience))
}

async fn within_both(
    check: &'static str,
    work: impl Future<Output = (Vec<Finding>, Option<i64>)>,
) -> (Vec<Finding>, Option<i64>) {
    timeout(PATIENCE, work).await.unwrap_or_else(|_| (hangs(check, PATIENCE), None))
}

/// The same for work that waits for a disk. A thread that hangs is left behind.
async fn in_background(
    check: &'static str,
    patience: Duration,
    work: impl FnOnce() -> Vec<Finding> + Send + 'static,
) -> Vec<Finding> {
    let done = async move {
        let ended = spawn_blocking(work).await;
        ended.unwrap_or_else(|error| vec![Finding::failed(check, format!("the check itself broke: {error}"))])
    };
    within(check, patience, done).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_check_that_hangs_is_told_and_ends() {
        let short = Duration::from_millis(10);
        let found = within("front", short, std::future::pending()).await;
        assert!(found[0].state == State::Failed && found[0].words.contains("did not end"), "{found:?}");
        let (end, ended) = std::sync::mpsc::sync_channel::<()>(1);
        let found = in_background("disk", short, move || {
            let _ = ended.recv();
            vec![]
        })
        .await;
        assert_eq!((found.len(), found[0].check), (1, "disk"), "{found:?}");
        drop(end);
        let found = within("front", PATIENCE, async { vec![Finding::well("front", "x")] }).await;
        assert_eq!(worst(&found), State::Well);
    }
}
