//! `ringhookd compact`: makes the store's file small, and shows how far it is.

use serde_json::Value;

use super::client::Client;
use super::failure::Failure;
use super::output::Output;
use super::progress::Progress;
use super::stop::Stop;

pub(super) async fn run(daemon: &Client, out: &mut Output) -> Result<(), Failure> {
    let (mut progress, mut stop) = (Progress::new(out.json), Stop::listen()?);
    let mut steps = daemon.post_lines("/v1/compact").await?;
    let mut last = Value::Null;
    loop {
        let line = tokio::select! {
            line = steps.next() => line?,
            () = stop.told() => return Err(Failure::no("stopped waiting; the daemon goes on, and its log says how it ends")),
        };
        let Some(line) = line else { break };
        last = serde_json::from_slice(&line).map_err(|error| Failure::no(error.to_string()))?;
        if let (Some(rows), Some(of)) = (last["rows"].as_u64(), last["of"].as_u64()) {
            progress.of_all(rows, of, "rows");
        }
    }
    drop(progress);
    match (last["before"].as_u64(), last["after"].as_u64(), last["error"].as_str()) {
        (Some(before), Some(after), _) => {
            out.done(&last, &format!("the store's file had {before} bytes, and has {after}"))
        }
        (_, _, Some(error)) => Err(Failure::no(format!("the file stays as it was: {error}"))),
        _ => Err(Failure::no("the daemon broke off; `ringhookd status` says how large the file is")),
    }
}
