//! Finds a secret, or a piece of one, in whatever encoding it was left behind.

use std::collections::HashMap;

use data_encoding::{BASE64, BASE64URL, HEXLOWER, HEXUPPER};
use sha2::{Digest, Sha256};

/// Of so many bytes are the pieces that are looked for; a leak twice as long holds a whole one.
const PIECE: usize = 12;
/// By so many of its first bytes a form is looked up.
const HEAD: usize = 8;

/// What must not be found.
#[derive(Clone)]
pub(crate) struct Secret {
    pub(crate) name: String,
    text: Vec<u8>,
}

impl Secret {
    pub(crate) fn new(name: &str, text: &[u8]) -> Self {
        Self { name: name.into(), text: text.to_vec() }
    }

    /// Made up from its name, and like no other.
    pub(crate) fn canary(name: &str) -> Self {
        Self::new(name, HEXLOWER.encode(&Sha256::digest(name)).as_bytes())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.text).unwrap()
    }
}

/// All forms of some secrets.
pub(crate) struct Scan {
    /// By the first bytes: whose form, and the whole of it.
    forms: HashMap<[u8; HEAD], Vec<(String, Vec<u8>)>>,
    /// Whether any begins with these two bytes, since most places are none.
    begins: Vec<bool>,
}

impl Scan {
    pub(crate) fn new<'s>(secrets: impl IntoIterator<Item = &'s Secret>) -> Self {
        let mut forms: HashMap<_, Vec<_>> = HashMap::new();
        for secret in secrets {
            let decoded = HEXLOWER.decode(&secret.text.to_ascii_lowercase()).unwrap_or_default();
            for bytes in [&secret.text, &decoded] {
                for (encoding, form) in bytes.chunks_exact(PIECE).flat_map(forms_of) {
                    let head = *form.first_chunk().unwrap();
                    forms.entry(head).or_default().push((format!("{} as {encoding}", secret.name), form));
                }
            }
        }
        let mut begins = vec![false; 1 << 16];
        for head in forms.keys() {
            begins[pair(head)] = true;
        }
        Self { forms, begins }
    }

    /// What is found in `bytes`: whose, and how it is written.
    pub(crate) fn find(&self, bytes: &[u8]) -> Vec<String> {
        let mut found = Vec::new();
        for (at, head) in bytes.windows(HEAD).enumerate().filter(|(_, head)| self.begins[pair(head)]) {
            for (label, form) in self.forms.get(head).into_iter().flatten() {
                if bytes[at..].starts_with(form) && !found.contains(label) {
                    found.push(label.clone());
                }
            }
        }
        found
    }
}

fn pair(head: &[u8]) -> usize {
    usize::from(u16::from_be_bytes([head[0], head[1]]))
}

fn forms_of(piece: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let list = format!("{piece:?}");
    let list = list.trim_matches(['[', ']']);
    let mut forms = vec![
        ("it is", piece.to_vec()),
        ("hex", HEXLOWER.encode(piece).into_bytes()),
        ("HEX", HEXUPPER.encode(piece).into_bytes()),
        ("a list of bytes", list.as_bytes().to_vec()),
    ];
    for before in 0..3 {
        // Only the letters that depend on the piece alone, wherever in the encoded text it begins.
        let shifted = [&vec![0; before], piece].concat();
        let whole = (before * 8).div_ceil(6)..shifted.len() * 8 / 6;
        forms.push(("base64", BASE64.encode(&shifted)[whole.clone()].as_bytes().to_vec()));
        forms.push(("base64url", BASE64URL.encode(&shifted)[whole].as_bytes().to_vec()));
    }
    forms
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(secret: &[u8], hay: &[u8]) -> bool {
        !Scan::new([&Secret::new("s", secret)]).find(hay).is_empty()
    }

    #[test]
    fn a_planted_secret_is_found_in_every_form_and_place() {
        let raw: Vec<u8> = Sha256::digest("planted").iter().copied().chain([0xfb, 0xff, 0xbf]).collect();
        let text = HEXLOWER.encode(&raw);
        for around in ["", "a", "ab", "abc", "abcd"] {
            let wrapped = [around.as_bytes(), &raw, around.as_bytes()].concat();
            for hay in [
                wrapped.clone(),
                HEXLOWER.encode(&wrapped).into_bytes(),
                HEXUPPER.encode(&wrapped).into_bytes(),
                BASE64.encode(&wrapped).into_bytes(),
                BASE64URL.encode(&wrapped).into_bytes(),
                format!("{wrapped:?}").into_bytes(),
                format!("{raw:?}").into_bytes(),
            ] {
                assert!(found(text.as_bytes(), &hay), "{}", String::from_utf8_lossy(&hay));
                assert!(found(&raw, &hay), "{}", String::from_utf8_lossy(&hay));
            }
        }
    }

    #[test]
    fn a_piece_of_a_secret_is_found_and_others_are_not() {
        let secret = Secret::canary("one");
        let scan = Scan::new([&secret]);
        for from in 0..40 {
            assert!(
                !scan.find(&secret.text.as_slice()[from..from + 2 * PIECE - 1]).is_empty(),
                "from {from}"
            );
        }
        assert!(scan.find(Secret::canary("another").text().as_bytes()).is_empty());
        assert!(scan.find(b"").is_empty());
    }
}
