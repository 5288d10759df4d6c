//! Configurations that are wrong, each with the lines an operator gets to read.

use proptest::prelude::*;

use super::*;

mod table;

/// Four lines that are right, ending inside `[store]`.
const BASE: &str = "listen = \"127.0.0.1:0\"\nhmac_keys = [\"0123456789abcdef\"]\n[store]\nfolder = \"d\"\n";

const HTTP: &str = "[[queue]]\nname = \"q\"\nkind = \"http\"\n";

fn parsed(text: &str) -> Result<Config, Vec<Problem>> {
    parse(text, Path::new("/srv/ring"))
}

fn lines(text: &str) -> Vec<String> {
    match parsed(text) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn relative_paths_start_at_the_folder_of_the_file() {
    let queue = "kind = \"http\"\nurl = \"https://host/\"\nca_file = \"ca.pem\"\nbearer_file = \"./bearer\"";
    let text = format!(
        "{}[keys]\nmaster = \"../master\"\nprevious = \"credential:old\"\n[tokens]\nguard_folder = \"/guard\"\n[[socket]]\npath = \"./a.sock\"\n\
         [[queue]]\nname = \"s\"\nkind = \"spool\"\nfolder = \"s/\"\n[[queue]]\nname = \"q\"\n{queue}\n",
        BASE.replace("[store]", "hmac_key_files = [\"./h\"]\n[store]")
    );
    let config = parsed(&text).unwrap();
    let QueueKind::Spool(spool) = &config.queues[0].kind else { panic!("{:?}", config.queues) };
    let files = &config.sources;
    let receiver = &files.receivers[0];
    let sources = [
        &files.hmac_key_files[0].source,
        &files.master.source,
        &files.previous.as_ref().unwrap().source,
        &receiver.ca.as_ref().unwrap().source,
        &receiver.bearer.as_ref().unwrap().source,
    ];
    assert_eq!(
        sources.map(ToString::to_string),
        ["/srv/ring/h", "/srv/ring/../master", "credential:old", "/srv/ring/ca.pem", "/srv/ring/bearer"]
    );
    let folders = [&config.store.folder, &config.tokens.guard_folder, &config.sockets[0].path, &spool.folder];
    let folders = folders.map(|path| path.to_str().unwrap());
    assert_eq!(folders, ["/srv/ring/d", "/guard", "/srv/ring/a.sock", "/srv/ring/s/"]);
    // Without a socket there is one in the store's folder; without a guard folder one beside it.
    let config = parsed(BASE).unwrap();
    assert_eq!(config.sockets[0].path, Path::new("/srv/ring/d/admin.sock"));
    assert_eq!(config.tokens.guard_folder, Path::new("/srv/ring/d-guard"));
}

#[test]
fn every_default_is_valid() {
    assert_eq!(lines(BASE), [""; 0]);
    for key in keys() {
        let Some(default) = key.default else { continue };
        let (section, name) = key.path.rsplit_once('.').unwrap_or(("", &key.path));
        // Written out, a default means what it means unwritten; only an empty list of keys is not enough.
        let text = match section {
            // The list of a queue's body has to hold something.
            "" | "queue.body" => continue,
            "store" => format!("{BASE}{name} = {default}"),
            "queue" => {
                let kind = match name {
                    "visibility" => "kind = \"embedded\"",
                    "table" | "create_table" => {
                        "kind = \"postgres\"\nurl = \"postgres://r/db\"\nusername = \"u\""
                    }
                    "stream" | "wait_replicas" | "wait_aof" => "kind = \"redis\"\nurl = \"redis://receiver\"",
                    "secret_files" | "timeout" | "parallel" => "kind = \"http\"\nurl = \"http://receiver/\"",
                    "topic" | "home_assistant" => "kind = \"mqtt\"\nurl = \"mqtt://receiver\"",
                    "discovery_prefix" => "kind = \"mqtt\"\nurl = \"mqtt://receiver\"\nhome_assistant = true",
                    "exchange" | "routing_key" => "kind = \"amqp\"\nurl = \"amqp://receiver\"",
                    "subject" => "kind = \"nats\"\nurl = \"nats://receiver\"",
                    _ => "kind = \"spool\"\nfolder = \"s\"",
                };
                format!("{BASE}[[queue]]\nname = \"q\"\n{kind}\n{name} = {default}")
            }
            "socket" => format!("{BASE}[[socket]]\npath = \"s\"\n{name} = {default}"),
            _ => format!("{BASE}[{section}]\n{name} = {default}"),
        };
        assert_eq!(lines(&text), [""; 0], "{}", key.path);
    }
}

#[test]
fn one_thing_wrong_is_one_line() {
    for (text, expected) in table::AFTER_BASE {
        assert_eq!(lines(&format!("{BASE}{text}")), [*expected], "{text}");
    }
}

#[test]
fn everything_wrong_is_told_at_once_in_the_order_of_lines() {
    assert_eq!(
        lines(""),
        [
            r#"1: listen: is missing; write one such as listen = "127.0.0.1:8480""#,
            "1: hmac_keys: at least one key is needed: here for trying, its file in hmac_key_files otherwise",
            r#"1: store.folder: is missing; write one such as folder = "ringhookd-data""#,
        ]
    );
    let text = r#"
        listen = "localhost:8480"
        hmac_keys = ["short"]
        hmac_kys = ["never-to-be-shown-0001"]
        [webhook]
        max_body = "1 EiB"
        [store]
        folder = ""
        [[queue]]
        name = "a"
        kind = "spool"
        visibility = "1s"
        [[queue]]
        name = "b"
        kind = "embedded"
        max_age = "7 dayz""#;
    assert_eq!(
        lines(text),
        [
            r#"2: listen = "localhost:8480": not an IP address with a port; write one such as "127.0.0.1:8480""#,
            "3: hmac_keys[0]: is 5 bytes long; a key has at least 16",
            "4: hmac_kys: unknown key; did you mean hmac_keys?",
            r#"6: webhook.max_body = "1 EiB": must be 64 KiB to 64 MiB"#,
            r#"8: store.folder = "": not a path; write one such as "ringhookd-data""#,
            r#"9: queue[0].folder: is missing; write one such as folder = "/var/spool/ringhookd/alerts""#,
            r#"12: queue[0].visibility = "1s": only for kind = "embedded""#,
            r#"16: queue[1].max_age = "7 dayz": not a duration; write one such as "7d""#,
        ]
    );
}

#[test]
fn what_is_not_toml_is_told_with_its_line_beside_wrong_values() {
    let text = format!("{BASE}create = yes please\n[webhook]\nmax_body = \"9 EiB\"\npath == \"/x\"\n[http\n");
    let problems = parsed(&text).unwrap_err();
    let found: Vec<_> = problems.iter().map(|p| (p.line, p.key.as_str())).collect();
    let told = |line: usize| found.iter().find(|(at, _)| *at == line);
    assert_eq!(told(7), Some(&(7, "webhook.max_body")), "{found:?}");
    for line in [5, 8, 9] {
        assert_eq!(told(line), Some(&(line, "")), "{found:?}");
    }
    // What is missing or unknown can't be told of a file that was not understood.
    assert!(problems.iter().all(|p| p.key.is_empty() || p.line == 7), "{problems:?}");
}

#[test]
fn a_key_written_twice_is_told() {
    assert_eq!(lines(&format!("{BASE}create = true\ncreate = false")), ["6: not TOML: duplicate key"]);
    assert_eq!(lines(&format!("{BASE}[log]\n[log]\n")), ["6: not TOML: duplicate key"]);
}

#[test]
fn queues_are_bounded() {
    let queues: Vec<_> = (0..66)
        .map(|n| format!("[[queue]]\nname = \"q{n}\"\nkind = \"embedded\"\nmax_bytes = \"1 MiB\"\n"))
        .collect();
    assert_eq!(
        lines(&format!("{BASE}{}", queues.concat())),
        ["261: queue[64]: is one too many: 64 queues at most"]
    );
}

#[test]
fn a_secret_is_in_no_problem_and_in_no_debug_output() {
    let secret = "hush-hush-00001";
    let places = [
        format!("hmac_keys = [\"{secret}\"]"),
        format!("hmac_keys = [\"{secret}-long\", \"{secret}-long\"]"),
        format!("hmac_keys = \"{secret}-long\""),
        format!("hmac_keys = [[\"{secret}-long\"]]"),
        format!("hmac_keys = [\"{secret}-long\", 1]"),
        format!("hmac_keys = [\"{secret}-long]"),
        format!("hmac_keys = {secret}"),
        format!("listen = \"\"\"\nhmac_keys = [\"{secret}-long\"]\n[store]\nfolder = \"d\"\n"),
        format!("hmac_key = [\"{secret}-long\"]"),
        format!("hmac_key_files = [\"{secret}/long\"]"),
        format!("hmac_key_files = \"{secret}/long\""),
        format!("[keys]\nmaster = \"{secret}\""),
        format!("[keys]\nmaster = [\"{secret}\"]"),
        format!("[keys]\nprevious = \"{secret}\""),
        format!("[keys]\nmastr = \"{secret}\""),
        format!("keys = \"{secret}\""),
        format!("[ring]\nclient_secret = [\"{secret}\"]"),
        format!("[ring]\nclient_secret = \"{secret}\""),
        format!("[ring]\nclient_secret_file = \"{secret}\""),
        format!("{HTTP}url = \"http://ann:{secret}@host/\""),
        format!("{HTTP}url = \"http://host/{secret}#\""),
        format!("{HTTP}url = [\"http://host/{secret}\"]"),
        format!("{HTTP}url = \"http://host/\"\nsecret_files = [\"{secret}\"]"),
        format!("{HTTP}url = \"http://host/\"\nbearer_file = \"{secret}\""),
        format!("[[queue]]\nname = \"q\"\nkind = \"embedded\"\nurl = \"http://host/{secret}\""),
        format!("[[queue]]\nname = \"q\"\nkind = \"embedded\"\nbearer_file = \"{secret}\""),
    ];
    for text in places {
        let problems = parsed(&text).unwrap_err();
        let shown = format!("{problems:?} {}", lines(&text).join("\n"));
        assert!(!problems.is_empty() && !shown.contains("hush"), "{text}: {shown}");
    }
    let good = BASE.replace("0123456789abcdef", &format!("{secret}-long"));
    let config = parsed(&good).unwrap();
    assert_eq!(config.sources.hmac_keys[0].expose(), format!("{secret}-long").as_bytes());
    assert!(!format!("{config:?} {config:#?}").contains("hush"));
    let path = format!("{BASE}{HTTP}url = \"http://host/{secret}\"");
    assert!(!format!("{:?}", parsed(&path).unwrap()).contains("hush"));
    // Nor as the list of numbers that a derived Debug would print.
    assert!(!format!("{config:?}").contains("104, 117, 115, 104"));
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(cut in 0usize..10_000, length in 0usize..40, put in "[a-z0-9=\\[\\]\"'{}., #\n-]{0,20}|\\PC{0,10}") {
        let example: Vec<char> = include_str!("../../config.example.toml").chars().collect();
        let cut = cut.min(example.len());
        let rest = example.len().min(cut + length);
        let text: String = example[..cut].iter().chain(&put.chars().collect::<Vec<_>>()).chain(&example[rest..]).collect();
        // Refused or taken; refused never without a reason.
        prop_assert!(parsed(&text).err().is_none_or(|problems| !problems.is_empty()));
    }
}

#[test]
fn the_example_marks_the_keys_that_take_a_restart_and_no_other() {
    let example = include_str!("../../config.example.toml");
    let (mut section, mut is_marked, mut after_key, mut marked) = (String::new(), false, false, 0);
    for line in example.lines() {
        let bare = line.strip_prefix("# ").unwrap_or(line);
        let is_key = |key: &str| key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        if bare.starts_with('[') && bare.ends_with(']') {
            let name = bare.trim_matches(['[', ']']).replacen("queue.", "queue \"x\".", 1);
            section = if bare.starts_with("[[") { format!("{name} \"x\".") } else { format!("{name}.") };
            is_marked = false;
        } else if let Some((key, _)) = bare.split_once(" = ").filter(|(key, _)| is_key(key)) {
            let change = Change { key: format!("{section}{key}"), how: How::Changed };
            assert_eq!(change.waits_because().is_some(), is_marked, "{}", change.key);
            (after_key, marked) = (true, marked + usize::from(is_marked));
        } else if line.is_empty() {
            is_marked = false;
        } else {
            // Keys that follow one another share the words above them.
            let is_first = std::mem::take(&mut after_key);
            is_marked = (is_marked && !is_first) || line.contains("(restart)");
        }
    }
    assert!(marked > 9, "{marked}");
}
