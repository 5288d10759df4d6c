//! The command line as users see it: the arguments with examples at the end of each command's help; its manual pages and completions.

use std::fs;
use std::path::Path;

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use serde_json::json;

use super::args::Args;
use super::failure::Failure;
use super::output::Output;

/// Each command with its examples.
const EXAMPLES: &[(&str, &[&str])] = &[
    ("init", &["ringhookd init", "ringhookd init --config /etc/ringhookd/config.toml"]),
    ("serve", &["ringhookd serve --config config.example.toml"]),
    (
        "check",
        &[
            "ringhookd check --config ringhookd.toml",
            "ringhookd check --connect",
            "ringhookd check --event body.json --user anna",
        ],
    ),
    ("demo", &["ringhookd demo", "ringhookd demo --keep-running"]),
    (
        "simulate",
        &[
            "ringhookd simulate",
            "ringhookd simulate --webhook-url http://127.0.0.1:8480/webhooks/ring --hmac-key-file hmac.key --every 10s",
        ],
    ),
    ("status", &["ringhookd status", "ringhookd status --watch", "ringhookd status --json"]),
    (
        "doctor",
        &["ringhookd doctor", "ringhookd doctor --url https://hooks.example.com", "ringhookd doctor --json"],
    ),
    (
        "certify",
        &[
            "ringhookd certify --url https://hooks.example.com",
            "ringhookd certify --url https://hooks.example.com --account-link-url https://www.example.com/ring/link",
            "ringhookd certify --url https://hooks.example.com --folder /var/lib/certify --json",
        ],
    ),
    ("privacy", &["ringhookd privacy", "ringhookd privacy > privacy.md", "ringhookd privacy --json"]),
    ("accounts list", &["ringhookd accounts list", "ringhookd accounts list --json"]),
    ("accounts show", &["ringhookd accounts show ava1.ring.account.A"]),
    (
        "accounts import",
        &["ringhookd accounts import accounts.jsonl", "ringhookd accounts import - < accounts.jsonl"],
    ),
    ("accounts set-user", &["ringhookd accounts set-user ava1.ring.account.A anna"]),
    (
        "accounts export",
        &[
            "ringhookd accounts export ava1.ring.account.A --output export.json",
            "ringhookd accounts export ava1.ring.account.A > export.json",
        ],
    ),
    (
        "accounts disconnect",
        &[
            "ringhookd accounts disconnect ava1.ring.account.A",
            "ringhookd accounts disconnect ava1.ring.account.A --anyway --yes",
        ],
    ),
    ("accounts forget", &["ringhookd accounts forget ava1.ring.account.A"]),
    (
        "token",
        &[
            "ringhookd token ava1.ring.account.A",
            "curl -H \"Authorization: Bearer $(ringhookd token ava1.ring.account.A)\" https://api.amazonvision.com/v1/devices",
        ],
    ),
    ("backup", &["ringhookd backup /var/backups/ringhookd/today.backup"]),
    ("inspect", &["ringhookd inspect 0b2d6c1e-5f0a-4d0b-9f37-6f1f3a0c8a51", "ringhookd inspect --recent 50"]),
    ("audit", &["ringhookd audit", "ringhookd audit --since 24h --account ava1.ring.account.A"]),
    ("compact", &["ringhookd compact"]),
    ("reload", &["ringhookd reload"]),
    (
        "metrics",
        &[
            "ringhookd metrics",
            "ringhookd metrics --textfile /var/lib/prometheus/node-exporter/ringhookd.prom",
        ],
    ),
    ("restore", &["ringhookd restore /var/backups/ringhookd/today.backup"]),
    ("accept-restored", &["ringhookd accept-restored"]),
    ("queue list", &["ringhookd queue list"]),
    (
        "queue read",
        &[
            "ringhookd queue read all --exec 'jq -r .type'",
            "ringhookd queue read all --follow --parallel 4 -- /usr/local/bin/handle-event",
            "ringhookd queue read all --max 1 --json",
        ],
    ),
    ("queue tail", &["ringhookd queue tail all", "ringhookd queue tail all --last 100 --json"]),
    ("queue pause", &["ringhookd queue pause home"]),
    ("queue resume", &["ringhookd queue resume home"]),
    ("queue remove", &["ringhookd queue remove home"]),
    (
        "dead-letters list",
        &["ringhookd dead-letters list", "ringhookd dead-letters list --class dead --queue home"],
    ),
    ("dead-letters show", &["ringhookd dead-letters show dead-7"]),
    (
        "dead-letters replay",
        &["ringhookd dead-letters replay dead-7", "ringhookd dead-letters replay --queue home"],
    ),
    (
        "dead-letters drop",
        &["ringhookd dead-letters drop dead-7", "ringhookd dead-letters drop --class quarantined"],
    ),
    ("keys show", &["ringhookd keys show"]),
    ("keys rotate", &["ringhookd keys rotate"]),
    ("completions", &["ringhookd completions bash > /etc/bash_completion.d/ringhookd"]),
    ("manual", &["ringhookd manual /usr/local/share/man/man1"]),
];

/// The commands with their examples.
pub(super) fn command() -> Command {
    EXAMPLES.iter().fold(Args::command(), |command, (path, examples)| {
        let words: Vec<&str> = path.split(' ').collect();
        with_examples(command, &words, examples)
    })
}

fn with_examples(command: Command, path: &[&str], examples: &[&str]) -> Command {
    match path {
        [] => command.after_help(format!("Examples:\n  {}", examples.join("\n  "))),
        // clap panics for a command that is not there, as the tests would show.
        [first, rest @ ..] => command.mut_subcommand(*first, |inner| with_examples(inner, rest, examples)),
    }
}

/// Prints what a shell needs to complete commands and options.
pub(super) fn completions(shell: Shell, json: bool) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(), "ringhookd", &mut script);
    let mut out = Output::open(json)?;
    out.show(format_args!("{}", String::from_utf8_lossy(&script)))?;
    out.flush()
}

/// Writes a manual page for each command into a folder.
pub(super) fn manual(folder: &Path, json: bool) -> Result<(), Failure> {
    let mut out = Output::open(json)?;
    let failed = |error: std::io::Error| Failure::no(format!("{}: {error}", folder.display()));
    fs::create_dir_all(folder).map_err(failed)?;
    clap_mangen::generate_to(command(), folder).map_err(failed)?;
    let folder = folder.display();
    out.done(&json!({"folder": folder.to_string()}), &format!("wrote the manual pages into {folder}"))?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches;

    use super::*;

    /// Every command that does something, by its words.
    fn leaves(command: &Command, before: &str) -> Vec<(String, Command)> {
        let inner = command.get_subcommands().filter(|inner| inner.get_name() != "help");
        let below: Vec<_> = inner
            .flat_map(|inner| {
                let name = format!("{before} {}", inner.get_name());
                leaves(inner, name.trim())
            })
            .collect();
        if below.is_empty() { vec![(before.to_owned(), command.clone())] } else { below }
    }

    #[test]
    fn every_command_ends_its_help_with_an_example() {
        let all = leaves(&command(), "");
        assert!(all.len() > 20, "{}", all.len());
        for (name, command) in all {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.starts_with("Examples:"), "{name}");
        }
    }

    #[test]
    fn every_argument_has_help() {
        for (name, command) in leaves(&command(), "") {
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{name}: {}", argument.get_id());
            }
        }
    }

    #[test]
    fn every_example_is_what_its_command_takes() {
        for (name, examples) in EXAMPLES {
            for example in *examples {
                let Some(start) = example.find("ringhookd ") else { panic!("{example}") };
                assert!(example[start..].starts_with(&format!("ringhookd {name}")), "{example}");
                let words = words(&example[start..]);
                let read = command().try_get_matches_from(words).map(|found| Args::from_arg_matches(&found));
                assert!(matches!(read, Ok(Ok(_))), "{example}: {read:?}");
            }
        }
    }

    /// The words of a line up to a redirection or a parenthesis, as a shell has them.
    fn words(line: &str) -> Vec<String> {
        let (mut words, mut word, mut quoted) = (Vec::new(), None::<String>, false);
        for character in line.chars() {
            match character {
                '\'' => {
                    quoted = !quoted;
                    word.get_or_insert_default();
                }
                '>' | '<' | ')' if !quoted => break,
                ' ' if !quoted => words.extend(word.take()),
                other => word.get_or_insert_default().push(other),
            }
        }
        words.extend(word);
        words
    }

    #[test]
    fn every_command_has_a_page_and_a_completion() {
        let folder = tempfile::tempdir().unwrap();
        manual(folder.path(), false).unwrap();
        let page =
            |name: &str| fs::read_to_string(folder.path().join(format!("{name}.1"))).unwrap_or_default();
        for (name, _) in leaves(&command(), "") {
            let name = name.replace(' ', "-");
            assert!(page(&format!("ringhookd-{name}")).contains("Examples:"), "{name}");
        }
        assert!(page("ringhookd").contains("ringhookd\\-queue(1)"), "it leads to the others");
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command(), "ringhookd", &mut script);
            assert!(String::from_utf8(script).unwrap().contains("dead-letters"), "{shell}");
        }
    }
}
