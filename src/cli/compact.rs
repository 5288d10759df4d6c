//! `ringhookd compact`: makes the store's file small, and shows how far it is.

use serde_json::Value;

use super::client::Client;
use super::failure::Failure;
use super::output::Output;
use super::progress::Progress;
use super::stop::Stop;

pub(super) async fn run(daemon: &Client, out: &mut Output) -> Result<(), Failure> {
    let (mut progress, mut stop) = (Progress::new(out.json), Stop::listen()?);
    let mut last = Value::Null;
    let all = async {
        let mut steps = daemon.post_lines("/v1/compact").await?;
        while let Some(line) = steps.next().await? {
            last = serde_json::from_slice(&line).map_err(|error| Failure::no(error.to_string()))?;
            if let Some((rows, of)) = rows(&last) {
                progress.of_all(rows, of, "rows");
            }
        }
        Ok::<_, Failure>(())
    };
    let ended = tokio::select! {
        ended = all => Some(ended),
        () = stop.told() => None,
    };
    drop(progress);
    let Some(ended) = ended else {
        let far = rows(&last).map(|(rows, of)| format!(" after {rows} of {of} rows")).unwrap_or_default();
        let words = format!("stopped waiting{far}; the daemon goes on, and its log says how it ends");
        return Err(Failure::no(words));
    };
    ended?;
    match (last["before"].as_u64(), last["after"].as_u64(), last["error"].as_str()) {
        (Some(before), Some(after), _) => {
            out.done(&last, &format!("the store's file had {before} bytes, and has {after}"))
        }
        (_, _, Some(error)) => Err(Failure::no(format!("the file stays as it was: {error}"))),
        _ => Err(Failure::no("the daemon broke off; `ringhookd status` says how large the file is")),
    }
}

/// How many rows are copied, and of how many.
fn rows(step: &Value) -> Option<(u64, u64)> {
    step["rows"].as_u64().zip(step["of"].as_u64())
}
