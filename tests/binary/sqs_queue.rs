//! A queue of kind `sqs` through the real daemon: a webhook goes out signed, and no secret is in the log, in `status` or in a dead letter.

use std::fs::{self, Permissions};
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::http_queue::{Receiver, header};
use crate::support::configuration::{Configuration, SOCKET, signature};
use crate::support::process::{Running, run};

const SECRET: &str = "hush/secret+key";
const TOKEN: &str = "hush-session-token";
const BODY: &[u8] =
    br#"{"meta":{"request_id":"r-1","account_id":"ava1.ring.account.X"},"data":{"type":"button_press"}}"#;

fn answer(status: &str, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())
        .into_bytes()
}

#[test]
fn a_webhook_goes_out_signed_and_no_answer_shows_a_secret() {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in [("aws.key", SECRET), ("aws.token", TOKEN)] {
        fs::write(folder.path().join(name), content).unwrap();
        fs::set_permissions(folder.path().join(name), Permissions::from_mode(0o600)).unwrap();
    }
    let receiver = Receiver(TcpListener::bind("127.0.0.1:0").unwrap());
    let address = receiver.0.local_addr().unwrap();
    let queue = format!(
        "[[queue]]\nname = \"out\"\nkind = \"sqs\"\nurl = \"http://{address}/123456789012/ring.fifo\"\nunclaimed = \"deliver\"\n\
         region = \"eu-west-1\"\naccess_key_id = \"AKIDOFTESTS\"\nsecret_key_file = \"FOLDER/aws.key\"\n\
         session_token_file = \"FOLDER/aws.token\"\nmax_attempts = 1\n"
    );
    let config = Configuration::of(&queue).with(SOCKET).write(folder.path());
    let said = |words: &[&str]| {
        let done = run(&[words, &["--json", "--config", config.to_str().unwrap()]].concat(), b"");
        String::from_utf8(done.stdout).unwrap()
    };
    let daemon = Running::start(&config);
    assert_eq!(daemon.post(&signature(BODY), BODY), 200);
    let (mut stream, head, _) = receiver.next();
    assert!(header(&head, "authorization").contains("Credential=AKIDOFTESTS/"), "{head}");
    assert_eq!(header(&head, "x-amz-security-token"), TOKEN);
    let echo = format!("x-amz-security-token:{TOKEN} {SECRET}");
    let wrong = json!({"__type": "InvalidSignatureException", "message": echo});
    stream.write_all(&answer("403 Forbidden", &wrong)).unwrap();
    // Comes again, without an attempt used up.
    let (mut stream, _, body) = receiver.next();
    let status = said(&["status"]);
    assert!(status.contains("sink_busy") && status.contains("InvalidSignatureException"), "{status}");
    let request: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(request["QueueUrl"], format!("http://{address}/123456789012/ring.fifo"));
    let entry = &request["Entries"][0];
    assert_eq!(entry["MessageGroupId"], "ava1.ring.account.X");
    assert_eq!(entry["MessageDeduplicationId"], "r-1");
    let refused =
        json!({"Id": entry["Id"], "Code": "InvalidMessageContents", "Message": echo, "SenderFault": true});
    stream.write_all(&answer("200 OK", &json!({"Failed": [refused]}))).unwrap();
    daemon.wait_for(|log| log.contains("delivering again").then_some(()));
    let letters = said(&["dead-letters", "list"]);
    assert!(letters.contains("InvalidMessageContents: x-amz-security-token:[hidden] [hidden]"), "{letters}");
    let (ended, _, log) = daemon.stop();
    assert!(ended.success());
    let shown = format!("{status}{letters}{}", String::from_utf8_lossy(&log));
    for secret in [TOKEN, SECRET] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}
