//! An authorization code as it lies on disk: sealed until it is at its end, and what became of it.

use bytes::{Buf, BufMut};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::fields::read_fields;
use super::row::{Key, KeyBytes, Row, Table, rest, version};
use super::text::millis;
use crate::domain::code::{CodeEnd, Grant};
use crate::domain::secret::Secret;
use crate::domain::time::Millis;
use crate::vault::DataKey;

const VERSION: u8 = 1;

/// Names a code without telling it: the start of its SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CodeId([u8; 16]);

impl CodeId {
    pub(crate) fn of(code: &Secret<String>) -> Self {
        let digest = Sha256::digest(code.expose().as_bytes());
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        Self(id)
    }
}

impl Key for CodeId {
    fn write(self, out: &mut KeyBytes) {
        self.0.write(out);
    }

    fn read(from: &mut &[u8]) -> Option<Self> {
        Key::read(from).map(Self)
    }
}

/// A row of `codes`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CodeRow {
    pub received_at: Millis,
    pub tries: u8,
    /// Nothing while it is on its way.
    pub end: Option<CodeEnd>,
    /// Empty at its end.
    pub sealed: Vec<u8>,
}

impl Row for CodeRow {
    const TABLE: Table = Table::Codes;
    type Key = CodeId;

    fn write(&self, out: &mut Vec<u8>) {
        out.put_u8(VERSION);
        out.put_u64(self.received_at.0);
        out.put_u8(self.tries);
        out.put_u8(self.end.map_or(0, |end| end as u8));
        out.extend_from_slice(&self.sealed);
    }

    fn read(from: &mut &[u8]) -> Option<Self> {
        version(from, VERSION)?;
        let received_at = millis(from)?;
        let tries = from.try_get_u8().ok()?;
        let end = match from.try_get_u8().ok()? {
            0 => None,
            byte => Some(CodeEnd::from_u8(byte)?),
        };
        Some(Self { received_at, tries, end, sealed: rest(from) })
    }
}

pub(crate) fn open_code(key: &DataKey, id: CodeId, sealed: &[u8]) -> Option<Grant> {
    let plain = Zeroizing::new(key.open(&code_aad(id), sealed).ok()?);
    let [code, verifier] = read_fields(&plain)?;
    Some(Grant { code: Secret::new(code?), verifier: verifier.map(Secret::new) })
}

/// What a code is sealed together with: its own name.
pub(crate) fn code_aad(id: CodeId) -> Vec<u8> {
    [b"ringhookd/code/v1\0", &id.0[..]].concat()
}

#[cfg(test)]
mod tests {
    use super::super::fields::fields;
    use super::super::row::tests::is_checked;
    use super::*;
    use crate::vault::{Purpose, Vault};

    #[test]
    fn rows_come_back_and_a_code_opens_only_under_its_name() {
        let (id, other) = (CodeId([7; 16]), CodeId([8; 16]));
        for end in CodeEnd::ALL.map(Some).into_iter().chain([None]) {
            let row = CodeRow { received_at: Millis(5), tries: 1, end, sealed: vec![1, 2] };
            is_checked(&row, id, other);
        }
        let vault = Vault::from_hex("a1".repeat(32).as_bytes(), None).unwrap();
        let (key, _) = vault.fresh_key(0, Purpose::Tokens).unwrap();
        let mut sealed = Vec::new();
        key.seal(&code_aad(id), &fields(&[Some("code"), None]), &mut sealed).unwrap();
        let grant = open_code(&key, id, &sealed).unwrap();
        assert!(grant.code.expose() == "code" && grant.verifier.is_none());
        assert!(open_code(&key, other, &sealed).is_none());
    }
}
