//! `check --connect` tries every receiver, also when one fails, in the order of the configuration, and sends none an event.

use std::fs;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::broker::{Broker, program};
use crate::support::configuration::Configuration;
use crate::support::process::run;

/// Exit code, what it printed, and what it printed as JSON.
fn checked(config: &Path) -> (Option<i32>, String, Value) {
    let args = ["check", "--connect", "--config", config.to_str().unwrap()];
    let output = run(&args, b"");
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let json = run(&[&args[..], &["--json"]].concat(), b"");
    assert_eq!(json.status.code(), output.status.code());
    let said = String::from_utf8(output.stdout).unwrap();
    (output.status.code(), said, serde_json::from_slice(&json.stdout).unwrap())
}

fn redis() -> Broker {
    Broker::start(|folder, port| {
        let mut command = Command::new(program("redis-server", "redis-server"));
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--requirepass", "right-password"]);
        command.args(["--appendonly", "yes", "--save", "", "--dir", folder.to_str().unwrap()]);
        command
    })
}

#[test]
fn every_receiver_is_tried_and_told_in_the_order_of_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let redis = redis();
    let web = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (name, content) in [("right", "right-password"), ("wrong", "wrong-password")] {
        fs::write(folder.path().join(name), content).unwrap();
        let own = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(folder.path().join(name), own).unwrap();
    }
    let (web_at, port) = (web.local_addr().unwrap(), redis.port());
    let queues = |password: &str, down: &str| {
        format!(
            "[[queue]]\nname = \"read\"\nkind = \"embedded\"\n\
             [[queue]]\nname = \"down\"\nkind = \"http\"\nurl = \"http://{down}/hush-path\"\n\
             [[queue]]\nname = \"files\"\nkind = \"spool\"\nfolder = \"FOLDER/spool\"\n\
             [[queue]]\nname = \"cache\"\nkind = \"redis\"\nurl = \"redis://127.0.0.1:{port}\"\npassword_file = \"FOLDER/{password}\"\n\
             [[queue]]\nname = \"web\"\nkind = \"http\"\nurl = \"http://{web_at}/hush-path\"\n"
        )
    };
    let config = Configuration::of(&queues("wrong", &nobody.to_string())).write(folder.path());
    let (code, said, json) = checked(&config);
    assert_eq!(code, Some(1), "{said}");
    let lines: Vec<&str> = said.lines().filter(|line| line.starts_with("queue ")).collect();
    let [down, cache, reached] = lines[..] else { panic!("{said}") };
    assert_eq!(down, format!("queue down (http): http://{nobody}: no connection: connection refused"));
    assert!(
        cache.starts_with(&format!("queue cache (redis): redis://127.0.0.1:{port}: WRONGPASS")),
        "{said}"
    );
    assert!(reached.starts_with("queue web (http): its receiver is there; no request was made"), "{said}");
    assert!(
        !said.contains("no problem found") && !said.contains("wrong-password") && !said.contains("hush"),
        "{said}"
    );
    assert_eq!(json["ok"], false);
    let of = |key: &str| -> Vec<Value> {
        json["receivers"].as_array().unwrap().iter().map(|tried| tried[key].clone()).collect()
    };
    assert_eq!(of("queue"), ["down", "cache", "web"]);
    assert_eq!(of("ok"), [false, false, true]);

    let config = Configuration::of(&queues("right", &web_at.to_string())).write(folder.path());
    let (code, said, json) = checked(&config);
    assert_eq!((code, &json["ok"]), (Some(0), &Value::Bool(true)), "{said}");
    assert!(
        said.contains("queue cache (redis): its receiver is there\n") && said.contains("no problem found"),
        "{said}"
    );
    // Each look at it was a connection without a byte.
    web.set_nonblocking(true).unwrap();
    let looks: Vec<TcpStream> = web.incoming().map_while(Result::ok).collect();
    assert_eq!(looks.len(), 6, "two of the first run's calls, and four of the second's");
    for mut look in looks {
        let mut bytes = Vec::new();
        look.set_nonblocking(false).unwrap();
        assert_eq!(look.read_to_end(&mut bytes).unwrap(), 0);
    }
    assert!(!folder.path().join("spool").exists() && !folder.path().join("data").exists(), "nothing is made");
    let without = run(&["check", "--config", config.to_str().unwrap()], b"");
    assert!(
        without.status.success() && !String::from_utf8(without.stdout).unwrap().contains("receiver is there")
    );
}
