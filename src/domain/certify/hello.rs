//! A TLS handshake's first message by versions that our own TLS does not speak any more, and what a server says to it.
//!
//! RFC 2246 and RFC 4346 (7.4.1.2, 7.4.1.3), with the extensions of RFC 6066 (the name) and RFC 8422 (the curves). A server that takes the
//! version answers with its own hello, and nothing more is sent.

/// A version that is out of use since RFC 8996.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Old {
    Tls10,
    Tls11,
}

impl Old {
    pub const ALL: [Self; 2] = [Self::Tls10, Self::Tls11];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tls10 => "TLS 1.0",
            Self::Tls11 => "TLS 1.1",
        }
    }

    const fn number(self) -> [u8; 2] {
        match self {
            Self::Tls10 => [3, 1],
            Self::Tls11 => [3, 2],
        }
    }
}

/// What came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// The server goes on with this version.
    Taken,
    /// An alert, or the end of the connection.
    Refused,
    /// Too little to tell.
    More,
    /// It is no TLS.
    Other,
}

const HANDSHAKE: u8 = 22;
const ALERT: u8 = 21;
const WARNING: u8 = 1;
const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
/// Those that servers of that time have: ECDHE with ECDSA and RSA, then DHE and plain RSA, with AES and 3DES.
const CIPHERS: [u16; 12] = [
    0xc009, 0xc00a, 0xc013, 0xc014, 0xc008, 0xc012, 0x0033, 0x0039, 0x002f, 0x0035, 0x000a,
    // No renegotiation.
    0x00ff,
];

/// The record with the client's hello. `host` is none where the name is a number, which SNI has no place for.
pub fn client_hello(version: Old, host: Option<&str>, random: [u8; 32]) -> Vec<u8> {
    let mut hello = version.number().to_vec();
    hello.extend(random);
    // No session.
    hello.push(0);
    let ciphers: Vec<u8> = CIPHERS.iter().flat_map(|cipher| cipher.to_be_bytes()).collect();
    hello.extend(with_length(&ciphers));
    // No compression.
    hello.extend([1, 0]);
    let mut extensions = Vec::new();
    if let Some(host) = host {
        let name = [&[0][..], &with_length(host.as_bytes())].concat();
        extensions.extend(extension(0, &with_length(&name)));
    }
    // P-256, P-384, P-521, uncompressed.
    extensions.extend(extension(10, &with_length(&[0, 23, 0, 24, 0, 25])));
    extensions.extend(extension(11, &[1, 0]));
    hello.extend(with_length(&extensions));
    let [_, high, middle, low] = length(hello.len()).to_be_bytes();
    let message = [&[CLIENT_HELLO, high, middle, low][..], &hello].concat();
    [&[HANDSHAKE][..], &version.number(), &with_length(&message)].concat()
}

/// What the first bytes of the answer say; `ended` is whether none follow.
pub fn heard(bytes: &[u8], ended: bool) -> Heard {
    match bytes {
        // A warning, such as of a name that it does not know, and what follows it.
        [ALERT, 3, _, 0, 2, WARNING, _, rest @ ..] => heard(rest, ended),
        // The version of the hello, not that of the record: some servers write another there.
        [HANDSHAKE, 3, _, _, _, SERVER_HELLO, _, _, _, 3, 0..=2, ..] => Heard::Taken,
        [ALERT, 3, _, _, _, _, ..] | [HANDSHAKE, 3, _, _, _, SERVER_HELLO, _, _, _, 3, _, ..] => {
            Heard::Refused
        }
        [first, ..] if ![ALERT, HANDSHAKE].contains(first) => Heard::Other,
        _ if ended => Heard::Refused,
        _ => Heard::More,
    }
}

fn extension(number: u16, inside: &[u8]) -> Vec<u8> {
    [&number.to_be_bytes()[..], &with_length(inside)].concat()
}

fn with_length(bytes: &[u8]) -> Vec<u8> {
    let [_, _, high, low] = length(bytes.len()).to_be_bytes();
    [&[high, low][..], bytes].concat()
}

/// Nothing here is near its end: a host's name has 253 bytes at most.
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lengths_inside_agree_with_what_follows_them() {
        let hello = client_hello(Old::Tls11, Some("hooks.example.com"), [5; 32]);
        assert_eq!(&hello[..3], [22, 3, 2]);
        let two = |at: usize| usize::from(hello[at]) << 8 | usize::from(hello[at + 1]);
        assert_eq!(two(3), hello.len() - 5, "the record");
        assert_eq!(two(7), hello.len() - 9, "the message");
        assert_eq!(&hello[9..11], [3, 2]);
        let ciphers = 9 + 2 + 32 + 1;
        let extensions = ciphers + 2 + two(ciphers) + 2;
        assert_eq!(two(extensions), hello.len() - extensions - 2, "the extensions");
        assert!(hello.windows(17).any(|at| at == b"hooks.example.com"));
        let nameless = client_hello(Old::Tls10, None, [5; 32]);
        assert_eq!((&nameless[9..11], hello.len() - nameless.len()), (&[3, 1][..], 17 + 9));
    }

    #[test]
    fn a_servers_hello_takes_it_and_all_else_does_not() {
        let hello = [22, 3, 1, 0, 80, 2, 0, 0, 76, 3, 1, 9];
        for (bytes, ended, expected) in [
            (&hello[..], false, Heard::Taken),
            (&hello[..10], false, Heard::More),
            (&hello[..10], true, Heard::Refused),
            (&[22, 3, 3, 0, 80, 2, 0, 0, 76, 3, 3], false, Heard::Refused),
            (&[21, 3, 1, 0, 2, 2, 70], false, Heard::Refused),
            (&[&[21, 3, 1, 0, 2, 1, 112][..], &hello].concat(), false, Heard::Taken),
            (&[21, 3, 1, 0, 2, 1, 112], true, Heard::Refused),
            (b"", true, Heard::Refused),
            (b"", false, Heard::More),
            (b"HTTP/1.1 400", false, Heard::Other),
        ] {
            assert_eq!(heard(bytes, ended), expected, "{bytes:?}");
        }
    }
}
