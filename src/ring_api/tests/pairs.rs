//! The pure reader of a pair.

use super::*;

fn seconds(expires_in: &str) -> u64 {
    let raw = format!(r#"{{"access_token":"a","expires_in":{expires_in}}}"#);
    read_pair(raw.as_bytes()).unwrap_or_else(|| panic!("{expires_in}")).expires_in.as_secs()
}

#[test]
fn whole_and_sparse() {
    let pair = read_pair(PAIR.as_bytes()).unwrap();
    assert_eq!(pair.access_token.expose(), "access-never-shown");
    assert_eq!(pair.refresh_token.as_ref().unwrap().expose(), "next-never-shown");
    assert_eq!((pair.expires_in.as_secs(), pair.scope.as_deref()), (14400, Some("a b")));
    assert!(!format!("{pair:?}").contains("never-shown"));
    for sparse in [
        r#" {"access_token":"a"} "#,
        r#"{"access_token":"a","refresh_token":null,"expires_in":null,"scope":null}"#,
        r#"{"access_token":"a","refresh_token":"","scope":["x"],"token_type":1,"token_type":2}"#,
    ] {
        let pair = read_pair(sparse.as_bytes()).unwrap_or_else(|| panic!("{sparse}"));
        assert_eq!(pair.access_token.expose(), "a");
        assert!(pair.refresh_token.is_none() && pair.scope.is_none(), "{sparse}");
        assert_eq!(pair.expires_in, Duration::from_hours(4));
    }
    let escaped = read_pair(br#"{"access_token":"a\/\u0062"}"#).unwrap();
    assert_eq!(escaped.access_token.expose(), "a/b");
}

#[test]
fn any_lifetime() {
    for (expires_in, expected) in [
        ("3600", 3600),
        ("3600.9", 3600),
        ("36e2", 3600),
        (r#""3600""#, 3600),
        ("60", 60),
        ("59", 60),
        ("0", 60),
        ("-1", 60),
        ("86400", 86400),
        ("86401", 86400),
        ("99999999999999999999999999", 86400),
        ("1e999", 86400),
        ("-1e999", 60),
        (r#""NaN""#, 14400),
        (r#""soon""#, 14400),
        (r#""""#, 14400),
        ("true", 14400),
        ("{}", 14400),
        ("[3600]", 14400),
    ] {
        assert_eq!(seconds(expires_in), expected, "{expires_in}");
    }
}

#[test]
fn a_damaged_answer_whose_tokens_have_one_reading() {
    for (damaged, life) in [
        ("\u{feff}{\"access_token\":\"a\",\"refresh_token\":\"b\",\"expires_in\":60,}", 60),
        (r#"{"access_token":"a","refresh_token":"b","expires_in":999999999,"#, 86400),
        (r#"{"access_token":"a","refresh_token":"b""#, 14400),
        (r#"{"access_token":"a","refresh_token":"b"} x"#, 14400),
    ] {
        let pair = read_pair(damaged.as_bytes()).unwrap_or_else(|| panic!("{damaged}"));
        assert_eq!(
            (pair.access_token.expose().as_str(), pair.refresh_token.unwrap().expose().as_str()),
            ("a", "b")
        );
        assert_eq!((pair.expires_in.as_secs(), pair.damaged), (life, true), "{damaged}");
    }
    let marked = read_pair(format!("\u{feff}{PAIR}").as_bytes()).unwrap();
    assert!(!marked.damaged, "a byte order mark is no damage");
}

#[test]
fn what_is_no_pair() {
    for raw in [
        "",
        "null",
        r#""a""#,
        "{}",
        r#"["a","b",1,"c"]"#,
        r#"{"access_token":""}"#,
        r#"{"access_token":null}"#,
        r#"{"access_token":1}"#,
        r#"{"access_token":"a\nb"}"#,
        r#"{"access_token":"ü"}"#,
        r#"{"access_token":"a","access_token":"b"}"#,
        r#"{"access_token":"a","refresh_token":"b","refresh_token":"c"}"#,
        r#"{"access_token":"a","refresh_token":1}"#,
        r#"{"access_token":"a","expires_in":1,"expires_in":2}"#,
        r#"{"access_token":"a","refresh_token":"b"#,
        r#"{"data":{"access_token":"a"}}"#,
    ] {
        assert!(read_pair(raw.as_bytes()).is_none(), "{raw}");
    }
    assert!(read_pair(b"{\"access_token\":\"\xff\"}").is_none());
    let deep = "[".repeat(100_000);
    assert!(read_pair(format!(r#"{{"x":{deep}"#).as_bytes()).is_none());
}
