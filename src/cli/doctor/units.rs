//! Whether the installed units of systemd are those that this program was shipped with.

use std::fs;
use std::path::{Path, PathBuf};

use crate::domain::doctor::Finding;

const CHECK: &str = "units";
const UNITS: [(&str, &str); 8] = [
    ("ringhookd.service", include_str!("../../../systemd/ringhookd.service")),
    ("ringhookd.socket", include_str!("../../../systemd/ringhookd.socket")),
    ("ringhookd-admin.socket", include_str!("../../../systemd/ringhookd-admin.socket")),
    ("ringhookd-read.socket", include_str!("../../../systemd/ringhookd-read.socket")),
    ("ringhookd-init.service", include_str!("../../../systemd/ringhookd-init.service")),
    ("ringhookd-backup.service", include_str!("../../../systemd/ringhookd-backup.service")),
    ("ringhookd-backup.timer", include_str!("../../../systemd/ringhookd-backup.timer")),
    ("ringhookd-restore@.service", include_str!("../../../systemd/ringhookd-restore@.service")),
];
/// As systemd looks for units: the first folder that has one counts.
const FOLDERS: [&str; 5] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

pub(super) fn units() -> Vec<Finding> {
    units_in(&FOLDERS.map(Path::new))
}

fn units_in(folders: &[&Path]) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut installed = 0;
    for (name, shipped) in UNITS {
        let Some(path) =
            folders.iter().map(|folder| folder.join(name)).find(|path| path.symlink_metadata().is_ok())
        else {
            continue;
        };
        installed += 1;
        found.extend(unit(&path, shipped));
        found.extend(folders.iter().flat_map(|folder| overrides(folder, name)));
    }
    if installed == 0 {
        return vec![Finding::note(
            CHECK,
            "it is not installed by systemd, so there are no units to compare",
        )];
    }
    if found.is_empty() {
        found.push(Finding::well(CHECK, format!("{installed} installed, as they are shipped")));
    }
    found
}

fn unit(path: &Path, shipped: &str) -> Option<Finding> {
    let shown = path.display();
    if fs::canonicalize(path).is_ok_and(|target| target == Path::new("/dev/null")) {
        return Some(
            Finding::note(CHECK, format!("{shown}: it is masked")).so("systemctl unmask it, if it shall run"),
        );
    }
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => return Some(Finding::warning(CHECK, format!("{shown}: it can't be read: {error}"))),
    };
    let (ours, theirs) = (settings(shipped), settings(&text));
    if ours == theirs {
        return None;
    }
    let only = |of: &[String], other: &[String]| {
        of.iter().filter(|line| !other.contains(line)).cloned().collect::<Vec<_>>().join(", ")
    };
    let (missing, added) = (only(&ours, &theirs), only(&theirs, &ours));
    let or_none = |list: String| if list.is_empty() { "nothing".to_owned() } else { list };
    let words = format!(
        "{shown}: it is not the unit of this version: missing {}; added {}",
        or_none(missing),
        or_none(added)
    );
    Some(Finding::warning(CHECK, words).so(
        "install the unit of this version, and put changes of your own into an override (systemctl edit), then systemctl daemon-reload",
    ))
}

/// The lines that say something. The place of the program is the installer's.
fn settings(text: &str) -> Vec<String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', ';']));
    lines.map(|line| line.replace("/usr/local/bin/ringhookd", "/usr/bin/ringhookd")).collect()
}

/// What changes a unit beside its file.
fn overrides(folder: &Path, unit: &str) -> Vec<Finding> {
    let entries = fs::read_dir(folder.join(format!("{unit}.d"))).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "conf"));
    files.sort();
    let note = |path: PathBuf| Finding::note(CHECK, format!("{}: an override of {unit}", path.display()));
    files.into_iter().map(note).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::doctor::{State, worst};

    #[test]
    fn what_is_shipped_is_well_wherever_its_program_lies() {
        let dir = tempfile::tempdir().unwrap();
        let none = units_in(&[dir.path(), Path::new("/nowhere")]);
        assert_eq!(worst(&none), State::Note);
        assert!(none[0].words.contains("not installed by systemd"), "{none:?}");
        for (name, text) in UNITS {
            let packaged = text.replace("/usr/local/bin/ringhookd", "/usr/bin/ringhookd");
            fs::write(dir.path().join(name), format!("# a note\n{packaged}")).unwrap();
        }
        let found = units_in(&[dir.path()]);
        assert_eq!((worst(&found), found.len()), (State::Well, 1), "{found:?}");
        assert!(found[0].words.starts_with("8 installed"), "{found:?}");
    }

    #[test]
    fn drift_is_a_warning_that_names_the_lines_and_an_override_a_note() {
        let (own, package) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (name, text) = UNITS[0];
        fs::write(package.path().join(name), text).unwrap();
        let folders = [own.path(), package.path()];
        assert_eq!(worst(&units_in(&folders)), State::Well);
        fs::create_dir(own.path().join(format!("{name}.d"))).unwrap();
        fs::write(own.path().join(format!("{name}.d/cpu.conf")), "[Service]\n").unwrap();
        let found = units_in(&folders);
        assert_eq!((worst(&found), found.len()), (State::Note, 1), "{found:?}");
        assert!(found[0].words.contains("cpu.conf"), "{found:?}");
        fs::write(own.path().join(name), text.replace("LimitCORE=0", "LimitCORE=infinity")).unwrap();
        let found = units_in(&folders);
        assert_eq!(worst(&found), State::Warning, "the first folder counts");
        let words = &found[0].words;
        assert!(words.contains("missing LimitCORE=0; added LimitCORE=infinity"), "{words}");
        fs::remove_file(own.path().join(name)).unwrap();
        std::os::unix::fs::symlink("/dev/null", own.path().join(name)).unwrap();
        assert!(units_in(&folders)[0].words.contains("masked"));
    }
}
