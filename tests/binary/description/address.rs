//! The admin API on a loopback address: the same calls, for callers who bring the token, with the rights of the entry.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};

use super::parts_of;
use crate::support::process::{Running, run};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn configure(folder: &Path, token: &str) -> std::path::PathBuf {
    let file = folder.join("api.token");
    fs::write(&file, token).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    let folder = folder.display();
    let text = format!(
        r#"listen = "127.0.0.1:0"
hmac_keys = ["a-signing-key-for-the-api-on-an-address"]
[store]
folder = "{folder}/data"
create = true
[[queue]]
name = "all"
kind = "embedded"
unclaimed = "deliver"
[[socket]]
path = "{folder}/admin.sock"
[[socket]]
listen = "127.0.0.1:0"
token_file = "{folder}/api.token"
calls = ["queue.read"]
"#
    );
    let path = Path::new(&folder.to_string()).join("ringhookd.toml");
    fs::write(&path, text).unwrap();
    path
}

fn call(address: SocketAddr, method: &str, path: &str, headers: &str, body: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n"
    );
    stream.write_all((head + body).as_bytes()).unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    let (status, _, body) = parts_of(&said);
    assert_eq!(status == 401, said.to_lowercase().contains("www-authenticate: bearer"), "{said}");
    (status, serde_json::from_str(&body).unwrap())
}

/// The address that the daemon says it serves the API on.
fn address_in(log: &str) -> Option<SocketAddr> {
    let line = log
        .lines()
        .find(|line| line.contains("the admin API listens") && log.contains("ready for webhooks"))?;
    let end = &line[line.find("127.0.0.1:")?..];
    end.split(|c: char| c != '.' && c != ':' && !c.is_ascii_digit()).next()?.parse().ok()
}

#[test]
fn callers_with_the_token_have_the_rights_of_the_entry_and_all_others_none() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Running::start(&configure(dir.path(), TOKEN));
    let address = daemon.wait_for(address_in);
    let mine = format!("Authorization: Bearer {TOKEN}\r\n");
    let (status, root) = call(address, "GET", "/", &mine, "");
    assert_eq!((status, &root["name"]), (200, &json!("ringhookd")));
    for headers in [
        String::new(),
        "Authorization: Bearer \r\n".into(),
        format!("Authorization: Bearer {}\r\n", &TOKEN[1..]),
        format!("Authorization: Bearer {TOKEN}0\r\n"),
        format!("Authorization: Basic {TOKEN}\r\n"),
        format!("{mine}{mine}"),
    ] {
        for path in ["/", "/v1/queues", "/v1/nothing"] {
            let (status, refused) = call(address, "GET", path, &headers, "");
            assert_eq!(status, 401, "{headers} {path}");
            assert!(!refused.to_string().contains(&TOKEN[1..]), "{refused}");
        }
    }
    assert_eq!(call(address, "GET", "/v1/status", &mine, "").0, 403);
    let (status, leased) = call(address, "POST", "/v1/queues/all/lease", &mine, "{}");
    assert_eq!((status, &leased["lease"]), (200, &Value::Null));
    for foreign in ["Origin: http://localhost:3000\r\n", "Sec-Fetch-Site: cross-site\r\n"] {
        let (status, refused) = call(address, "GET", "/v1/queues", &format!("{mine}{foreign}"), "");
        assert_eq!(status, 403, "{foreign}: {refused}");
    }
    let (_, _, log) = daemon.stop();
    let log = String::from_utf8(log).unwrap();
    assert!(log.contains("without its token is refused") && !log.contains(TOKEN), "{log}");
}

#[test]
fn a_token_that_can_be_guessed_is_refused_with_the_way_out() {
    let dir = tempfile::tempdir().unwrap();
    for (token, words) in [
        ("short", "openssl rand -hex 32"),
        ("", "openssl rand -hex 32"),
        (" two words which are long enough ", "is no such token"),
    ] {
        let config = configure(dir.path(), token);
        let output = run(&["check", "--config", config.to_str().unwrap()], b"");
        let said = String::from_utf8(output.stderr).unwrap() + &String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("socket[1].token_file") && said.contains(words), "{said}");
    }
}
