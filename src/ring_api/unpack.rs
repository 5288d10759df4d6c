//! A body as it was meant: it is asked for as it is, but something on the way may compress it all the same.

use std::io::Read;

use flate2::read::GzDecoder;
use zeroize::Zeroizing;

/// How every gzip member begins, and no JSON text.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Whether these bytes are compressed, whatever their head says.
pub(super) fn is_packed(body: &[u8]) -> bool {
    body.starts_with(&GZIP)
}

/// What of a body can be unpacked, at most `cap` bytes; the body itself where that is nothing. What is damaged further on may still
/// have the tokens in front. The window of the decompressor is out of reach of overwriting.
pub(super) fn unpacked(body: Zeroizing<Vec<u8>>, cap: usize) -> Zeroizing<Vec<u8>> {
    if !is_packed(&body) {
        return body;
    }
    let mut plain = Zeroizing::new(vec![0; cap]);
    let mut decoder = GzDecoder::new(&body[..]);
    let mut length = 0;
    while length < cap
        && let Ok(more @ 1..) = decoder.read(&mut plain[length..])
    {
        length += more;
    }
    if length == 0 {
        return body;
    }
    plain.truncate(length);
    plain
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn packed(text: &str) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    fn plain(body: &[u8], cap: usize) -> Vec<u8> {
        unpacked(Zeroizing::new(body.to_vec()), cap).to_vec()
    }

    #[test]
    fn what_is_packed_comes_out_as_far_as_it_goes_and_never_over_the_cap() {
        let text = r#"{"access_token":"a","refresh_token":"b"}"#;
        assert_eq!(plain(&packed(text), 4096), text.as_bytes());
        let bomb = packed(&" ".repeat(1 << 20));
        assert_eq!(plain(&bomb, 4096).len(), 4096);
        // Without its check sum, and with a wrong one.
        let mut cut = packed(text);
        cut.truncate(cut.len() - 8);
        assert_eq!(plain(&cut, 4096), text.as_bytes());
        let mut wrong = packed(text);
        let last = wrong.len() - 6;
        wrong[last] ^= 1;
        assert_eq!(plain(&wrong, 4096), text.as_bytes());
    }

    #[test]
    fn what_is_not_packed_or_can_not_be_unpacked_stays_as_it_is() {
        for body in [&b""[..], b"{}", b"\x1f", b"\x1f\x8b", b"\x1f\x8bnothing of the kind"] {
            assert_eq!(plain(body, 4096), body);
        }
    }
}
