//! `ringhookd metrics`: the metrics in Prometheus's text format, on standard output or in a file for the textfile collector of `node_exporter`.

use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::json;

use super::client::Client;
use super::failure::Failure;
use super::output::Output;

/// Silent where it writes a file, because a timer runs it each minute.
pub(super) async fn run(textfile: Option<&Path>, daemon: &Client, out: &mut Output) -> Result<(), Failure> {
    let mut lines = daemon.lines("/v1/metrics").await?;
    let mut said = String::new();
    while let Some(line) = lines.next().await? {
        said.push_str(&String::from_utf8_lossy(&line));
        said.push('\n');
    }
    let text = plain(&said);
    match textfile {
        None if out.json => out.item(&json!({"metrics": text})),
        None => Ok(out.show(format_args!("{text}"))?),
        Some(file) => {
            replace(file, &text).map_err(|error| Failure::no(format!("{}: {error}", file.display())))?;
            if out.json { out.item(&json!({"file": file.display().to_string()})) } else { Ok(()) }
        }
    }
}

/// A reader sees the old file or the new one, never a part. The new one has another end, so that `node_exporter` leaves it alone.
fn replace(file: &Path, text: &str) -> io::Result<()> {
    let mut name = file.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let new = file.with_file_name(name);
    // `node_exporter` is another user, whatever the umask is here; nothing in it is secret.
    let written = fs::write(&new, text)
        .and_then(|()| fs::set_permissions(&new, Permissions::from_mode(0o644)))
        .and_then(|()| fs::rename(&new, file));
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written
}

/// `OpenMetrics` as the older format, which is all that `node_exporter` reads: a counter has its `_total` in the head, too.
fn plain(open_metrics: &str) -> String {
    let mut text = String::new();
    let mut help = None;
    for line in open_metrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            let end = if kind == "counter" { "_total" } else { "" };
            if let Some((_, words)) = help.take().filter(|(of, _)| *of == name) {
                let _ = writeln!(text, "# HELP {name}{end} {words}");
            }
            let _ = writeln!(text, "# TYPE {name}{end} {kind}");
        } else if !line.starts_with('#') {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_format_has_the_same_series() {
        let open = "# HELP a_events Events.\n# TYPE a_events counter\na_events_total{q=\"x\"} 3\n# HELP a_seconds Time.\n\
                    # TYPE a_seconds gauge\n# UNIT a_seconds seconds\na_seconds 1.5\n# EOF\n";
        let plain_text = "# HELP a_events_total Events.\n# TYPE a_events_total counter\na_events_total{q=\"x\"} 3\n\
                          # HELP a_seconds Time.\n# TYPE a_seconds gauge\na_seconds 1.5\n";
        assert_eq!(plain(open), plain_text);
    }

    #[test]
    fn a_file_is_replaced_as_a_whole_and_for_every_reader() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ringhookd.prom");
        for text in ["one\n", "two\n"] {
            replace(&file, text).unwrap();
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
        }
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(replace(&dir.path().join("none/ringhookd.prom"), "x").is_err());
        assert!(replace(Path::new("/"), "x").is_err());
    }
}
