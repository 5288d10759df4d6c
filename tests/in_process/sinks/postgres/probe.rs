//! A look at a server: it plans an insert, and nothing is inserted or made.

use std::net::TcpListener;

use ringhookd::domain::secret::Secret;

use super::*;

fn with_password(password: &str) -> ReceiverSecrets {
    ReceiverSecrets { password: Some(Secret::new(password.to_owned())), ..ReceiverSecrets::default() }
}

async fn why(sink: &Postgres) -> String {
    sink.probe().await.expect_err("something is wrong")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_takes_events_is_well_and_gets_nothing() {
    let server = Server::trusting();
    let options = to(server.port());
    let note = sink(&options).probe().await.unwrap().unwrap();
    assert!(note.contains("there is no table \"ringhookd_events\" yet"), "{note}");
    let made = config::Postgres { create_table: false, ..options.clone() };
    let missing = why(&sink(&made)).await;
    assert!(missing.contains("42P01") && missing.contains("docs/POSTGRES.md"), "{missing}");
    assert_eq!(sink(&options).deliver(one()).await, [Verdict::Done]);
    assert_eq!(sink(&made).probe().await, Ok(None));
    assert_eq!(server.rows("id").len(), 1, "the look added none");
    server.ask("ALTER TABLE ringhookd_events OWNER TO admin");
    let right = why(&sink(&made)).await;
    assert!(right.contains("42501") && right.contains("permission denied"), "{right}");
    server.ask("GRANT INSERT, SELECT ON ringhookd_events TO ringhookd");
    assert_eq!(sink(&made).probe().await, Ok(None));
    server.ask("ALTER TABLE ringhookd_events DROP CONSTRAINT ringhookd_events_pkey");
    let unique = why(&sink(&made)).await;
    assert!(unique.contains("42P10"), "{unique}");
    server.ask("ALTER TABLE ringhookd_events DROP COLUMN marks");
    let column = why(&sink(&made)).await;
    assert!(column.contains("42703") && column.contains("marks"), "{column}");
    server.ask("ALTER ROLE ringhookd SET default_transaction_read_only = on");
    let read_only = why(&sink(&made)).await;
    assert!(read_only.contains("takes no rows"), "{read_only}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_down_or_takes_another_password_is_told_without_it() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let down = why(&sink(&to(nobody.port()))).await;
    assert_eq!(down, format!("postgres://{nobody}: no connection: connection refused"));
    let server = Server::start("host all all 127.0.0.1/32 scram-sha-256", &[]);
    let options = to(server.port());
    let wrong = why(&sink_of(&options, with_password("wrong-password"))).await;
    assert!(wrong.contains("28P01") && !wrong.contains("wrong-password"), "{wrong}");
    let without = why(&sink(&options)).await;
    assert!(without.contains("asks for a password: write password_file"), "{without}");
    assert!(sink_of(&options, with_password("right-password")).probe().await.is_ok());
    let mut nowhere = options;
    nowhere.database = "nowhere".into();
    let database = why(&sink_of(&nowhere, with_password("right-password"))).await;
    assert!(database.contains("3D000"), "{database}");
}
