//! Calls that the web page of another origin may have sent are refused on a Unix socket too, whatever the call.

use ringhookd::domain::rights::Call;
use serde_json::{Value, json};

use super::{bury, two_users};
use crate::support::api::{Api, rights};
use crate::support::http::{Answer, exchange_beside};

const OPENAPI: &str = include_str!("../../../docs/openapi.json");

async fn call(socket: &std::path::Path, line: &str, headers: &str) -> Answer {
    let body = r#"{"all":true}"#;
    let length = body.len();
    let request =
        format!("{line} HTTP/1.1\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}");
    exchange_beside(&socket, request.into_bytes()).await
}

#[tokio::test]
async fn a_browser_gets_the_page_where_status_may_be_asked_and_programs_are_told_where_to_look() {
    let api = Api::start().await;
    let door = api.open_door();
    let html = "Host: localhost\r\nAccept: text/html,*/*\r\n";
    let page = call(&door.path, "GET /", html).await;
    let (head, body) = page.0.split_once("\r\n\r\n").unwrap();
    for part in ["default-src 'none'", "script-src 'sha256-", "frame-ancestors 'none'", "connect-src 'self'"]
    {
        assert!(head.contains(part), "{part} in {head}");
    }
    assert!(body.starts_with("<!doctype html>") && !head.contains("unsafe"), "{head}");
    let told = call(&door.path, "GET /", "Host: localhost\r\nAccept: */*\r\n").await.json();
    assert_eq!((&told["sees_all"], told["calls"].as_array().unwrap().len()), (&true.into(), Call::ALL.len()));
    let blind = api.door("blind", rights(&["queue.read:all"], &["*"], &["ann"]));
    let told = call(&blind.path, "GET /", html).await.json();
    assert_eq!((&told["calls"], &told["sees_all"]), (&json!(["queue.read:all"]), &false.into()));
}

#[tokio::test]
async fn no_call_of_another_page_is_done() {
    let api = Api::start().await;
    let door = api.open_door();
    two_users(&api).await;
    bury(&api, "dead", "a").await;
    let description: Value = serde_json::from_str(OPENAPI).unwrap();
    let mut calls = 0;
    for (path, methods) in description["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let line = format!("{} {}", method.to_uppercase(), path.replace(['{', '}'], ""));
            for headers in [
                "Host: localhost\r\nOrigin: http://localhost:3000\r\n",
                "Host: localhost\r\nSec-Fetch-Site: same-site\r\n",
                "Host: rebound.example:8080\r\nOrigin: http://rebound.example:8080\r\n",
                "Host: rebound.example\r\n",
            ] {
                let answer = call(&door.path, &line, headers).await;
                assert_eq!(answer.status(), 403, "{line} {headers}: {answer:?}");
                assert!(!answer.0.to_lowercase().contains("access-control"), "{answer:?}");
            }
            calls += 1;
        }
    }
    assert!(calls > 20, "they were found");
    let letters = door.ok("GET", "/v1/dead-letters", Value::Null).await["letters"].as_array().unwrap().len();
    assert!(letters > 0);
    let own = "Host: localhost:8080\r\nOrigin: http://localhost:8080\r\nSec-Fetch-Site: same-origin\r\n";
    assert_eq!(call(&door.path, "POST /v1/dead-letters/drop", own).await.json()["done"], letters);
}
