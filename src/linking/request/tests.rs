//! Which spellings are read, what is refused, and that neither log lines nor errors hold a value.

use proptest::prelude::*;
use serde_json::json;

use super::*;

const JSON: Option<&str> = Some("application/json");
const FORM: Option<&str> = Some("application/x-www-form-urlencoded; charset=utf-8");
const PARTS: Option<&str> = Some("multipart/form-data; boundary=XX");
/// RFC 6749's own.
const A_CODE: &str = "SplxlOBeZQQYbYS6WxSbIA";

fn of_body(content_type: Option<&str>, body: &str) -> CodeRequest {
    read(None, content_type, body.as_bytes()).unwrap()
}

fn refusal(query: &str, content_type: Option<&str>, body: &str) -> Why {
    read(Some(query), content_type, body.as_bytes()).unwrap_err().why
}

fn parts(parts: &[(&str, &str)]) -> String {
    let part = |(name, value): &(&str, &str)| {
        format!("--XX\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    parts.iter().map(part).chain(["--XX--\r\n".to_owned()]).collect()
}

#[test]
fn every_spelling_is_read_in_every_form() {
    for name in CODE {
        let pair = format!("{name}={A_CODE}");
        let bodies = [
            json!({ name: A_CODE }).to_string(),
            json!({ "data": { "type": "x", "attributes": { name: A_CODE } } }).to_string(),
            pair.clone(),
            parts(&[(name, A_CODE)]),
        ];
        for body in bodies {
            for content_type in [JSON, FORM, PARTS, Some("text/plain"), Some("?"), None] {
                let read = of_body(content_type, &body);
                assert_eq!(read.code.expose(), A_CODE, "{content_type:?} {body}");
                assert!(read.verifier.is_none() && read.client_id.is_none());
            }
        }
        assert_eq!(read(Some(&pair), None, b"").unwrap().code.expose(), A_CODE);
        assert_eq!(read(Some(&pair), JSON, b"{\"x\":1}").unwrap().code.expose(), A_CODE);
        assert_eq!(
            read(Some(&pair), JSON, b"{\"code\":").unwrap().code.expose(),
            A_CODE,
            "whatever the body"
        );
    }
}

#[test]
fn space_around_a_code_is_no_part_of_it() {
    for around in ["{}\n", "{}\r\n", " {}", "\t{} \r\n"] {
        let spaced = around.replace("{}", A_CODE);
        let escaped =
            around.replace("{}", A_CODE).replace('\n', "%0A").replace('\r', "%0D").replace(['\t', ' '], "+");
        let bodies = [format!("code={spaced}"), format!("code={escaped}"), parts(&[("code", &spaced)])];
        for body in bodies.into_iter().chain([json!({ "code": spaced }).to_string()]) {
            assert_eq!(of_body(None, &body).code.expose(), A_CODE, "{body:?}");
        }
        let twice = format!("code={A_CODE}&authorization_code={escaped}");
        assert_eq!(of_body(FORM, &twice).code.expose(), A_CODE, "the same code");
    }
    assert_eq!(refusal("", FORM, "code=%0A"), Why::Unusable);
    assert_eq!(refusal("", FORM, "code=a%0Ab"), Why::Unusable);
}

#[test]
fn what_comes_with_a_code_is_read_too() {
    let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    let read_all = |query: Option<&str>, body: &str| {
        let read = read(query, None, body.as_bytes()).unwrap();
        let verifier = read.verifier.map(|verifier| verifier.expose().clone());
        (read.code.expose().clone(), verifier, read.client_id)
    };
    let all = || (A_CODE.to_owned(), Some(verifier.to_owned()), Some("app-1".to_owned()));
    let body = json!({ "code": A_CODE, "code_verifier": verifier, "client_id": "app-1" }).to_string();
    assert_eq!(read_all(None, &body), all());
    let body = json!({ "data": { "attributes": { "code": A_CODE, "codeVerifier": verifier } } }).to_string();
    assert_eq!(read_all(Some("clientId=app-1"), &body), all());
    let form = format!("code={A_CODE}&code_verifier={verifier}&client_id=app-1&client_id=");
    assert_eq!(read_all(None, &form), all());
    let differing = format!("code={A_CODE}&code_verifier={verifier}&code_verifier=x&client_id=%00");
    assert_eq!(read_all(None, &differing), (A_CODE.to_owned(), None, None));
}

#[test]
fn values_are_decoded() {
    assert_eq!(of_body(FORM, "code=a%2Bb+c%3d").code.expose(), "a+b c=");
    assert_eq!(of_body(JSON, r#" {"code":"a\u002bb\/"}"#).code.expose(), "a+b/");
    assert_eq!(
        of_body(JSON, "\u{feff}{\"code\":1234567890123456789012}").code.expose(),
        "1234567890123456789012"
    );
    assert_eq!(of_body(PARTS, &parts(&[("code", "a%2Bb")])).code.expose(), "a%2Bb");
}

#[test]
fn one_code_may_be_repeated_and_two_are_refused() {
    let twice = format!(r#"{{"code":"{A_CODE}","code":"{A_CODE}","authorization_code":"{A_CODE}"}}"#);
    assert_eq!(of_body(JSON, &twice).code.expose(), A_CODE);
    assert_eq!(read(Some("code=a"), FORM, b"code=a&authorizationCode=a&code=").unwrap().code.expose(), "a");
    for (query, body) in [
        ("code=a", r#"{"code":"b"}"#),
        ("code=a&code=b", ""),
        ("", r#"{"code":"a","code":"b"}"#),
        ("", r#"{"data":{"attributes":{"code":"a"}},"data":{"attributes":{"code":"b"}}}"#),
        ("", r#"{"code":"a","data":{"attributes":{"authorization_code":"b"}}}"#),
        ("", "code=a&authorization_code=b"),
        ("", &parts(&[("code", "a"), ("code", "b")])),
    ] {
        assert_eq!(refusal(query, None, body), Why::Different, "{query} {body}");
    }
}

#[test]
fn what_can_be_no_code_is_refused() {
    let longest = "x".repeat(MAX_CODE_BYTES);
    assert_eq!(of_body(FORM, &format!("code={longest}")).code.expose(), &longest);
    for value in ["", "%00", "%0a", "a%0d%0ab", "%ff", "\u{fc}", "%7f", &format!("{longest}x")] {
        assert_eq!(refusal("", FORM, &format!("code={value}")), Why::Unusable, "{value}");
    }
    for value in ["\"\"", "true", "{}", "[\"a\"]", r#""\ud800""#, r#""a\nb""#] {
        assert_eq!(refusal("", JSON, &format!(r#"{{"code":{value}}}"#)), Why::Unusable, "{value}");
    }
    let not_utf8 = parts(&[("code", "?")]).replace('?', "\u{1}").into_bytes();
    let not_utf8: Vec<u8> = not_utf8.into_iter().map(|byte| if byte == 1 { 0xff } else { byte }).collect();
    assert_eq!(read(None, PARTS, &not_utf8).unwrap_err().why, Why::Unusable);
}

#[test]
fn without_a_code_the_reason_is_named() {
    for body in [
        "",
        " ",
        "x",
        "{}",
        "a=b",
        "[\"code\"]",
        "\"code\"",
        "<code>",
        r#"{"code":null}"#,
        r#"{"data":{"code":"a"}}"#,
    ] {
        assert_eq!(refusal("state=a", JSON, body), Why::Missing, "{body}");
    }
    for body in ["{", "{}{}", r#"{"code":"a""#, "{\"code\":\"a\nb\"}", r#"{"data":{"\ud800":1}}"#] {
        assert_eq!(refusal("", FORM, body), Why::UnreadableJson, "{body}");
    }
}

#[test]
fn nesting_costs_nothing() {
    let deep = format!(r#"{{"code":"a","x":{}{}}}"#, "[".repeat(8000), "]".repeat(8000));
    assert_eq!(of_body(JSON, &deep).code.expose(), "a");
    assert_eq!(refusal("", JSON, &r#"{"data":"#.repeat(2000)), Why::UnreadableJson);
}

#[test]
fn multipart_is_read_as_clients_write_it() {
    let rich = "preamble\r\n--XX \t\r\ncontent-disposition: form-data; filename=\"a; name=\\\"x\"; Name=code\r\n\
        Content-Type: text/plain\r\n\r\nabc\r\n--XX\r\n\r\nno headers\r\n--XX--epilogue";
    assert_eq!(of_body(PARTS, rich).code.expose(), "abc");
    let quoted = Some("Multipart/Form-Data; charset=utf-8; boundary=\"XX\"");
    assert_eq!(of_body(quoted, rich).code.expose(), "abc");
    let body = parts(&[("co\\\\de", "x"), ("code", "abc")]);
    for hint in [Some("multipart/form-data"), Some("multipart/form-data; boundary=YY"), None] {
        assert_eq!(of_body(hint, &body).code.expose(), "abc", "{hint:?}");
    }
    assert_eq!(of_body(PARTS, "code=abc").code.expose(), "abc");
}

#[test]
fn multipart_that_is_cut_or_unlike_any_is_refused() {
    let whole = parts(&[("code", "abc")]);
    for end in 2..whole.len() - 3 {
        assert_eq!(refusal("", PARTS, &whole[..end]), Why::UnreadableMultipart, "{:?}", &whole[..end]);
    }
    for body in
        [whole.replace("\r\n\r\n", "\r\n"), whole.replace("--XX\r", "--XXX\r"), whole.replace(": ", "")]
    {
        assert_eq!(refusal("", PARTS, &body), Why::UnreadableMultipart, "{body}");
    }
    assert_eq!(read(Some("code=abc"), PARTS, b"--").unwrap().code.expose(), "abc");
}

#[test]
fn the_shape_tells_places_and_names() {
    let shape = |query, content_type, body: &str| match read(query, content_type, body.as_bytes()) {
        Ok(read) => read.shape.to_string(),
        Err(refused) => refused.to_string(),
    };
    let body = r#"{"code":"7","data":{"id":"x","attributes":{"authorizationCode":"7"}}}"#;
    assert_eq!(
        shape(Some("state=1"), JSON, body),
        "json body (application/json): code, data, data.id, data.attributes, data.attributes.authorizationCode; query: state"
    );
    assert_eq!(shape(None, FORM, ""), "no code: empty body (application/x-www-form-urlencoded)");
    assert_eq!(
        shape(None, Some("x/secret"), &parts(&[("grant", "x")])),
        "no code: multipart body (another content type): grant"
    );
    assert_eq!(shape(None, None, "code=7&%C3%BC%20=x"), "form body (no content type): code, ??");
    let many = "a=1&".repeat(20);
    assert_eq!(
        shape(None, None, &many),
        format!("no code: form body (no content type): {}; 4 fields more", ["a"; 16].join(", "))
    );
}

#[test]
fn a_value_in_a_names_place_is_not_shown() {
    for body in [
        A_CODE.to_owned(),
        format!("{A_CODE}=code"),
        json!({ A_CODE: "x" }).to_string(),
        json!({ "data": { "attributes": { A_CODE: "x" } } }).to_string(),
        parts(&[(A_CODE, "x")]),
        "abcdefghijklmnopqrstuvwxy".to_owned(),
        "code=secretly&secretly&x.secretly=1".to_owned(),
        "code=secretly&code=other&secretly".to_owned(),
        "code=a&code_verifier=secretly&secretly".to_owned(),
    ] {
        let shown = match read(None, None, body.as_bytes()) {
            Ok(read) => format!("{} {:?}", read.shape, read.shape),
            Err(refused) => format!("{refused} {refused:?}"),
        };
        for secret in [A_CODE, "abcdefgh", "secretly"] {
            assert!(!shown.contains(secret), "{shown}");
        }
        assert!(shown.contains('?'), "{shown}");
    }
    assert!(!format!("{:?}", of_body(FORM, "code=secretly&code_verifier=secretly")).contains("secretly"));
}

proptest! {
    #[test]
    fn a_code_comes_through_every_form(code in "[!-~]([ -~]{0,98}[!-~])?", name in prop::sample::select(&CODE[..])) {
        let query: String = form_urlencoded::Serializer::new(String::new()).append_pair(name, &code).finish();
        let json = json!({ name: code, "data": { "attributes": { name: code } } }).to_string();
        for body in [json, query.clone(), parts(&[(name, &code)])] {
            let read = read(Some(&query), PARTS, body.as_bytes()).unwrap();
            prop_assert_eq!(read.code.expose(), &code);
        }
    }

    #[test]
    fn nothing_panics(query: Option<String>, content_type: Option<String>, body: Vec<u8>) {
        let _ = read(query.as_deref(), content_type.as_deref(), &body);
        let body = [b"--XX\r\n", &body[..]].concat();
        let _ = read(query.as_deref(), PARTS, &body);
    }
}
