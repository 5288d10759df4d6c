//! The report's file, and those of the notes, which stay as they are once they are there.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::cli::failure::Failure;
use crate::domain::certify::{Note, Report, sized};

/// What was written, or was there.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) report: Report,
    pub(super) file: PathBuf,
    /// The name, the file and the text of each note.
    pub(super) notes: Vec<(&'static str, PathBuf, String)>,
}

/// Writes the notes that are not there yet, judges all of them, and then writes the report.
pub(super) fn write(folder: &Path, mut report: Report, drafts: &[Note]) -> Result<Written, Failure> {
    let failed = |path: &Path| {
        let shown = path.display().to_string();
        move |error: io::Error| Failure::no(format!("{shown}: {error}"))
    };
    fs::create_dir_all(folder).map_err(failed(folder))?;
    let mut notes = Vec::new();
    for Note { name, file, text } in drafts {
        let path = folder.join(file);
        let text = kept_or_new(&path, text).map_err(failed(&path))?;
        report.add([sized(name, file, &text)]);
        notes.push((*name, path, text));
    }
    let file = folder.join(report.file());
    fs::write(&file, report.markdown()).map_err(failed(&file))?;
    Ok(Written { report, file, notes })
}

/// The text of a note that is there, because somebody may have worked on it; else the draft, which is written.
fn kept_or_new(path: &Path, draft: &str) -> io::Result<String> {
    match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(mut file) => file.write_all(draft.as_bytes()).map(|()| draft.to_owned()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => fs::read_to_string(path),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::certify::notes;
    use crate::domain::doctor::Finding;
    use crate::domain::time::Millis;

    #[test]
    fn a_note_that_was_worked_on_stays_and_is_judged_anew() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("reports");
        let once = || {
            let mut report = Report::new("https://x".into(), Millis(1), Vec::new());
            report.add([Finding::well("tls", "x")]);
            write(&folder, report, &notes(&[], None)).unwrap()
        };
        let first = once();
        assert!(first.report.ok && first.report.findings.len() == 4, "{first:?}");
        fs::write(&first.notes[0].1, "too short").unwrap();
        let second = once();
        assert_eq!((second.notes[0].2.as_str(), second.report.ok), ("too short", false));
        let text = fs::read_to_string(&second.file).unwrap();
        assert!(text.contains("**failed** notes: account creation: it has 9 characters"), "{text}");
    }
}
