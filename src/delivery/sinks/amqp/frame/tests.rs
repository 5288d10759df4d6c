//! Frames as the specification has them, both ways, and bytes that are none.

use proptest::prelude::*;

use super::*;

fn framed(kind: u8, payload: &[u8]) -> Vec<u8> {
    let size = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&[kind, 0, 1][..], &size, payload, &[END]].concat()
}

fn method_of((class, number): id::Id, arguments: &[u8]) -> Vec<u8> {
    framed(kind::METHOD, &[&class.to_be_bytes()[..], &number.to_be_bytes(), arguments].concat())
}

/// A content header with every property that stands before the message id, and the id.
fn full_header() -> Vec<u8> {
    let mut payload = vec![0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5];
    payload.extend(0b1111_1111_1000_0000_u16.to_be_bytes());
    payload.extend(b"\x01a\x01b");
    payload.extend([0, 0, 0, 3, 9, 9, 9]);
    payload.extend([2, 0]);
    payload.extend(b"\x01c\x01d\x01e\x02id");
    framed(kind::HEADER, &payload)
}

fn said() -> Vec<(Vec<u8>, Said)> {
    let reason = |code, text: &str| Reason { code, text: text.into() };
    vec![
        (
            method_of(id::START, b"\x00\x09\x00\x00\x00\x02xx\x00\x00\x00\x0EPLAIN AMQPLAIN\x00\x00\x00\x00")
                .into_iter()
                .collect(),
            Said::Start { mechanisms: "PLAIN AMQPLAIN".into() },
        ),
        (
            method_of(id::TUNE, b"\x07\xFF\x00\x02\x00\x00\x00\x3C"),
            Said::Tune { channel_max: 2047, frame_max: 131_072, heartbeat: 60 },
        ),
        (method_of(id::OPEN_OK, b"\x00"), Said::OpenOk),
        (method_of(id::CHANNEL_OPEN_OK, b"\x00\x00\x00\x00"), Said::ChannelOpenOk),
        (method_of(id::SELECT_OK, b""), Said::SelectOk),
        (method_of(id::CLOSE, b"\x01\x40\x04gone\x00\x00\x00\x00"), Said::Close(reason(320, "gone"))),
        (
            method_of(id::CHANNEL_CLOSE, b"\x01\x94\x02no\x00\x3C\x00\x28"),
            Said::ChannelClose(reason(404, "no")),
        ),
        (method_of(id::BLOCKED, b"\x03low"), Said::Blocked("low".into())),
        (method_of(id::UNBLOCKED, b""), Said::Unblocked),
        (method_of(id::FLOW, b"\x00"), Said::Flow { active: false }),
        (method_of(id::RETURN, b"\x01\x38\x08NO_ROUTE\x01x\x01k"), Said::Return(reason(312, "NO_ROUTE"))),
        (method_of(id::ACK, b"\x00\x00\x00\x00\x00\x00\x01\x02\x01"), Said::Ack { tag: 258, multiple: true }),
        (
            method_of(id::NACK, b"\x00\x00\x00\x00\x00\x00\x00\x03\x02"),
            Said::Nack { tag: 3, multiple: false },
        ),
        (full_header(), Said::Header { message_id: "id".into() }),
        (
            framed(kind::HEADER, b"\x00\x3C\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"),
            Said::Header { message_id: String::new() },
        ),
        (framed(kind::BODY, b"hello"), Said::Nothing),
        (framed(kind::HEARTBEAT, b""), Said::Nothing),
    ]
}

#[test]
fn every_word_is_taken_however_the_bytes_come() {
    let (bytes, words): (Vec<_>, Vec<_>) = said().into_iter().unzip();
    let bytes = bytes.concat();
    let mut input = BytesMut::from(&bytes[..]);
    for word in &words {
        assert_eq!(take(&mut input).unwrap().as_ref(), Some(word));
    }
    assert!(input.is_empty());
    let mut one_by_one = Vec::new();
    for byte in bytes {
        input.put_u8(byte);
        one_by_one.extend(take(&mut input).unwrap());
    }
    assert_eq!(one_by_one, words);
}

#[test]
fn what_is_no_amqp_is_told() {
    let mut endless = framed(kind::HEARTBEAT, b"");
    *endless.last_mut().unwrap() = 0;
    for bytes in [
        &b"HTTP/1.1 400 Bad Request\r\n"[..],
        b"A?",
        b"\x01\x00\x01\xFF\xFF\xFF\xFF",
        &endless,
        &method_of((10, 99), b""),
        &method_of(id::TUNE, b"\x07"),
        &framed(kind::HEADER, b"\x00"),
        &framed(kind::METHOD, b""),
    ] {
        let why = take(&mut BytesMut::from(bytes)).unwrap_err();
        assert!(why.starts_with("this is no broker of AMQP 0-9-1"), "{why}");
    }
    for version in [&b"AMQP\x00\x01\x00\x00"[..], b"AMQP\x01\x01\x00\x09"] {
        assert!(take(&mut BytesMut::from(version)).unwrap_err().contains("another version"));
    }
    assert_eq!(take(&mut BytesMut::from("AMQ")), Ok(None), "it may become a version");
}

#[test]
fn a_message_is_divided_into_frames_that_the_broker_takes() {
    let properties = properties(Some("text/x"), &[("cloudEvents:id", Value::Text("é"))], "key");
    assert_eq!(header_frame(&properties), AROUND + 12 + properties.len());
    for bytes in [0, 1, 4087, 4088, 4089, 10_000] {
        let body = vec![7; bytes];
        let mut output = BytesMut::new();
        publish(("ex", "a.b"), &properties, &body, LEAST_FRAME, &mut output);
        let mut written = output.freeze();
        let mut frames = Vec::new();
        while !written.is_empty() {
            let size = u32::from_be_bytes(written[3..7].try_into().unwrap()) as usize;
            assert!(size + AROUND <= LEAST_FRAME && written[HEAD + size] == END && written[1..3] == [0, 1]);
            frames.push((written[0], written.slice(HEAD..HEAD + size)));
            written.advance(size + AROUND);
        }
        assert_eq!(
            frames[0],
            (kind::METHOD, Bytes::from_static(b"\x00\x3C\x00\x28\x00\x00\x02ex\x03a.b\x01"))
        );
        let head = [&[0, 60, 0, 0][..], &(bytes as u64).to_be_bytes(), &properties].concat();
        assert_eq!(frames[1], (kind::HEADER, head.into()));
        let pieces: Vec<u8> = frames[2..].iter().flat_map(|(_, piece)| piece.to_vec()).collect();
        assert_eq!(pieces, body);
        assert!(frames[2..].iter().all(|(kind, piece)| *kind == kind::BODY && !piece.is_empty()));
    }
    let expected =
        b"\xB0\x80\x06text/x\x00\x00\x00\x16\x0EcloudEvents:idS\x00\x00\x00\x02\xC3\xA9\x02\x03key";
    assert_eq!(properties, expected[..]);
}

#[test]
fn arguments_are_written_as_the_specification_says() {
    let mut output = Vec::new();
    let fields = [("a", Value::Flag(true)), ("b", Value::Table(&[("c", Value::Text("d"))]))];
    Arguments::default().table(&fields).short("x").long(b"yz").write(0, id::START_OK, &mut output);
    let table = b"\x00\x00\x00\x13\x01at\x01\x01bF\x00\x00\x00\x08\x01cS\x00\x00\x00\x01d";
    let arguments = [&table[..], b"\x01x\x00\x00\x00\x02yz"].concat();
    let size = u32::try_from(arguments.len() + 4).unwrap().to_be_bytes();
    assert_eq!(output, [&[1, 0, 0][..], &size, &[0, 10, 0, 11], &arguments, &[END]].concat());
    let long = "é".repeat(200);
    let mut output = Vec::new();
    Arguments::default().short(&long).write(0, id::OPEN, &mut output);
    assert_eq!(usize::from(output[HEAD + 4]), 254, "cut between two characters");
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(kind in prop::sample::select(vec![0_u8, 1, 2, 3, 8, b'A']), payload in prop::collection::vec(any::<u8>(), 0..64), rest: Vec<u8>) {
        let mut input = BytesMut::from(&framed(kind, &payload)[..]);
        input.extend_from_slice(&rest);
        while let Ok(Some(_)) = take(&mut input) {}
    }

    #[test]
    fn no_arguments_of_a_method_make_it_panic(which in 0..12_usize, arguments in prop::collection::vec(any::<u8>(), 0..40)) {
        let ids = [id::START, id::TUNE, id::OPEN_OK, id::CLOSE, id::CHANNEL_CLOSE, id::BLOCKED, id::FLOW, id::RETURN, id::ACK, id::NACK, id::SECURE, id::SELECT_OK];
        let _ = take(&mut BytesMut::from(&method_of(ids[which], &arguments)[..]));
    }
}
