//! Rows: the columns, bodies that `jsonb` can't hold, rows that the table does not take, and a server that takes none.

use ringhookd::domain::secret::Secret;

use super::*;

const SCRAM: &str = "host all all 127.0.0.1/32 scram-sha-256";

#[tokio::test]
async fn a_row_has_the_event_in_its_columns_and_its_body_to_the_byte() {
    let server = Server::trusting();
    let sink = sink(&to(server.port()));
    let body = b" {\"data\": {\"type\":\"button_press\"}}\n";
    let event = Event {
        sub_kind: Some("human".into()),
        received_at: Millis(1_700_000_000_123),
        time: Some(Millis(1_700_000_000_000)),
        ..event_of("r-1", "acc", body)
    };
    assert_eq!(sink.deliver([Leased { seq: 42, attempt: 3, event }].into()).await, [Verdict::Done]);
    let columns = "id, type, subtype, account_id, user_id, device_id, extract(epoch FROM time), \
                   extract(epoch FROM received), sequence, convert_from(body, 'UTF8') = E' {\"data\": {\"type\":\"button_press\"}}\\n', \
                   document #>> '{data,type}'";
    let expected = [
        "r-1",
        "button_press",
        "human",
        "acc",
        "ann",
        "",
        "1700000000.000000",
        "1700000000.123000",
        "42",
        "t",
        "button_press",
    ];
    assert_eq!(server.rows(columns), [expected.map(str::to_owned)]);
}

#[tokio::test]
async fn a_body_that_jsonb_can_not_hold_is_kept_as_bytes() {
    let server = Server::trusting();
    let sink = sink(&to(server.port()));
    let bodies: [&[u8]; 7] = [
        b"{\"a\":\"\\u0000\"}",
        b"{\"a\":\"\\ud800\"}",
        b"\xff\x00",
        b"not json",
        b"{\"a\":1e999999}",
        b"[1, 2]",
        b"{\"a\":1,\"a\":\"\\ud83d\\ude00\"}",
    ];
    let leased = |(seq, body): (u64, &[u8])| Leased {
        seq,
        attempt: 1,
        event: event_of(&format!("{seq}"), &format!("account-{seq}"), body),
    };
    let events: Arc<[Leased]> = (0..).zip(bodies).map(leased).collect();
    assert_eq!(sink.deliver(Arc::clone(&events)).await, vec![Verdict::Done; bodies.len()]);
    let mut rows = server.rows("encode(body, 'hex'), document IS NULL, id");
    rows.sort_by_key(|row| row[2].clone());
    let hex = |body: &[u8]| data_encoding::HEXLOWER.encode(body);
    assert_eq!(rows.iter().map(|row| row[0].clone()).collect::<Vec<_>>(), bodies.map(hex));
    let without: Vec<_> = rows.iter().map(|row| row[1] == "t").collect();
    assert_eq!(without, [true, true, true, true, true, false, false]);
}

#[tokio::test]
async fn a_row_that_the_table_does_not_take_holds_up_its_account_alone() {
    let server = Server::trusting();
    let sink = sink(&to(server.port()));
    assert_eq!(sink.deliver(one()).await, [Verdict::Done]);
    server.ask("ALTER TABLE ringhookd_events ADD CHECK (id <> 'bad/2')");
    let events = [leased(1, "bad"), leased(2, "bad"), leased(3, "bad"), leased(4, "good"), leased(5, "good")];
    let verdicts = sink.deliver(events.into()).await;
    let [Verdict::Done, Verdict::Failed { why }, Verdict::Untried, Verdict::Done, Verdict::Done] =
        &verdicts[..]
    else {
        panic!("{verdicts:?}")
    };
    assert!(why.contains("23514") && why.contains("violates check constraint"), "{why}");
    let ids: Vec<_> = server.rows("id").into_iter().flatten().collect();
    assert_eq!(ids.iter().filter(|id| id.starts_with("bad")).collect::<Vec<_>>(), ["bad/1"]);
}

#[tokio::test]
async fn a_table_that_takes_no_event_is_no_events_fault() {
    let server = Server::trusting();
    let sink = sink(&to(server.port()));
    assert_eq!(sink.deliver(one()).await, [Verdict::Done]);
    server.ask("ALTER TABLE ringhookd_events ADD CHECK (id = 'a/7')");
    let verdicts = sink.deliver([leased(1, "a"), leased(2, "b")].into()).await;
    assert!(verdicts.iter().all(|verdict| matches!(verdict, Verdict::Busy { .. })), "{verdicts:?}");
    server.ask("DROP TABLE ringhookd_events");
    let why = busy(&sink.deliver(one()).await);
    assert!(why.contains("42P01") && why.contains("create_table = true"), "{why}");
    assert_eq!(sink.deliver(one()).await, [Verdict::Done], "the next connection makes it");
}

#[tokio::test]
async fn rights_and_logins_are_told_and_the_password_is_not() {
    let server = Server::start(SCRAM, &[]);
    let with = |password: &str| ReceiverSecrets {
        password: Some(Secret::new(password.to_owned())),
        ..ReceiverSecrets::default()
    };
    let options = to(server.port());
    let why = busy(&sink_of(&options, with("wrong-password")).deliver(one()).await);
    assert!(why.contains("28P01") && !why.contains("wrong-password"), "{why}");
    let why = busy(&sink(&options).deliver(one()).await);
    assert!(why.ends_with("the server asks for a password: write password_file"), "{why}");
    let sink = sink_of(&options, with("right-password"));
    assert_eq!(sink.deliver(one()).await, [Verdict::Done]);
    server.ask("ALTER TABLE ringhookd_events OWNER TO admin");
    let why = busy(&sink.deliver(one()).await);
    assert!(why.contains("42501") && why.contains("permission denied"), "{why}");
    server.ask("GRANT INSERT, SELECT (id) ON ringhookd_events TO ringhookd");
    assert_eq!(sink.deliver(one()).await, [Verdict::Done], "it needs no more");
    let nowhere = config::Postgres { database: "nowhere".into(), ..options };
    let why = busy(&sink_of(&nowhere, with("right-password")).deliver(one()).await);
    assert!(why.contains("3D000"), "{why}");
}

#[tokio::test]
async fn a_server_that_only_reads_is_waited_for() {
    let server = Server::trusting();
    let sink = sink(&to(server.port()));
    assert_eq!(sink.deliver(one()).await, [Verdict::Done]);
    server.ask("ALTER SYSTEM SET default_transaction_read_only = on; SELECT pg_reload_conf() AS SYSTEM");
    let mut why = String::new();
    // The server's processes read it one after the other.
    while why.is_empty() {
        match &sink.deliver(one()).await[..] {
            [Verdict::Busy { why: said, .. }] => why.clone_from(said),
            other => assert_eq!(other, [Verdict::Done]),
        }
    }
    assert!(why.contains("25006"), "{why}");
}

#[tokio::test]
async fn no_text_ends_the_statement() {
    let server = Server::trusting();
    let table = Table::parse("Select_1").unwrap();
    let sink = sink(&config::Postgres { table, ..to(server.port()) });
    let hostile = "'); DROP TABLE \"Select_1\"; --\u{e9}\\";
    let events = [Leased { event: event_of(hostile, "a", b"\\x00'"), ..leased(1, "a") }];
    assert_eq!(sink.deliver(events.into()).await, [Verdict::Done]);
    let found = server.ask("SELECT id FROM \"Select_1\"");
    assert_eq!(found.trim_end(), hostile);
}

#[tokio::test]
async fn the_statement_and_the_rights_of_the_document_are_enough() {
    let document = include_str!("../../../../docs/POSTGRES.md");
    let statement = document.split("```sql\n").nth(1).unwrap().split("```").next().unwrap();
    let server = Server::trusting();
    server.ask(statement);
    assert!(document.contains("`GRANT INSERT, SELECT (id)`"));
    server.ask("GRANT INSERT, SELECT (id) ON ringhookd_events TO ringhookd");
    let sink = sink(&config::Postgres { create_table: false, ..to(server.port()) });
    assert_eq!(sink.deliver(one()).await, [Verdict::Done]);
    assert_eq!(server.rows("id, document #>> '{data}'"), [["a/7", "{}"].map(str::to_owned)]);
}
