//! Figures of a queue: what went through it lately, the last failure for those who may see it, and its state as a metric.

use super::*;

async fn metrics(door: &Door_) -> String {
    door.text("GET", "/v1/metrics", "").await.1
}

#[tokio::test]
async fn a_queue_tells_its_rate_its_failures_and_its_state() {
    let api = Api::start().await;
    let door = api.open_door();
    two_users(&api).await;
    let leased = door.ok("POST", LEASE, json!({"max": 9})).await;
    let seqs: Vec<&Value> = leased["events"].as_array().unwrap().iter().map(|event| &event["seq"]).collect();
    let nack = json!({"seq": seqs[1], "delay_ms": 3_600_000, "why": "no room for bob's door"});
    let settled = json!({"lease": leased["lease"], "ack": [seqs[0], seqs[2]], "nack": [nack]});
    door.ok("POST", SETTLE, settled).await;
    let of_all = |queues: &Value| {
        let all = queues.as_array().unwrap().iter().find(|queue| queue["name"] == "all").unwrap();
        all["lately"].clone()
    };
    let queues = door.ok("GET", "/v1/queues", Value::Null).await;
    let lately = of_all(&queues["queues"]);
    assert_eq!((&lately["delivered"], &lately["failed"]), (&json!(2), &json!(1)), "{lately}");
    assert_eq!(lately["last_failure"]["why"], "no room for bob's door");
    let status = door.ok("GET", "/v1/status", Value::Null).await;
    assert_eq!(of_all(&status["queues"]), lately);
    // Somebody who sees ann alone learns nothing of bob's events.
    let ann = api.door("ann", rights(&["queue.read", "status"], &["*"], &["ann"]));
    for (path, name) in [("/v1/queues", "queues"), ("/v1/status", "queues")] {
        let answer = ann.ok("GET", path, Value::Null).await;
        assert!(of_all(&answer[name])["last_failure"].is_null(), "{path}: {answer}");
        assert!(!answer.to_string().contains("bob"), "{path}: {answer}");
    }
    let before = metrics(&door).await;
    door.ok("POST", "/v1/queues/all/pause", Value::Null).await;
    let paused = metrics(&door).await;
    for (text, reads, is_paused) in [(&before, 1, 0), (&paused, 0, 1)] {
        for line in [
            format!("ringhookd_queue_state{{queue=\"all\",state=\"for_readers\"}} {reads}\n"),
            format!("ringhookd_queue_state{{queue=\"all\",state=\"paused\"}} {is_paused}\n"),
            "ringhookd_queue_delayed_accounts{queue=\"all\"} 1\n".to_owned(),
        ] {
            assert!(text.contains(&line), "{line} not in\n{text}");
        }
    }
}
