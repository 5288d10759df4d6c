//! The first page of a backup: what it is a backup of, and the checksum of all that follows.
//!
//! A backup is a store's file. Its pages lie where a store has them, and its head in the room of the log, which it does not need.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::disk::START;
use super::frames::Snapshot;

const MAGIC: &[u8] = b"ringhookd backup\n";
const PAGE: usize = 4096;
const CHECK: usize = 8;
const BUFFER: usize = 1 << 20;

/// What a backup says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupHead {
    #[serde(flatten)]
    pub snapshot: Snapshot,
    /// Of the whole file.
    pub bytes: u64,
    /// XXH3 of everything behind the first page, in hex.
    check: String,
}

/// Seals a file of rows whose first page is empty.
pub(crate) fn seal(file: &File, snapshot: &Snapshot) -> io::Result<BackupHead> {
    let bytes = file.metadata()?.len();
    let head = BackupHead { snapshot: snapshot.clone(), bytes, check: checksum(file, bytes)? };
    let mut page = [MAGIC, &serde_json::to_vec(&head)?].concat();
    if page.len() > PAGE - CHECK {
        return Err(io::Error::other("the store's identity is too long"));
    }
    page.resize(PAGE - CHECK, 0);
    page.extend(xxh3_64(&page).to_be_bytes());
    file.write_all_at(&page, 0)?;
    Ok(head)
}

/// The head of a backup that is whole, to the last byte; the error says what is wrong with it.
pub(crate) fn read(file: &File) -> io::Result<Result<BackupHead, String>> {
    let said = |why: &str| Ok(Err(why.to_owned()));
    let bytes = file.metadata()?.len();
    let mut page = [0; PAGE];
    if bytes < PAGE as u64 {
        return said("it is no backup that `ringhookd backup` made");
    }
    file.read_exact_at(&mut page, 0)?;
    let Some(rest) = page.strip_prefix(MAGIC) else {
        return said("it is no backup that `ringhookd backup` made");
    };
    let (body, check) = page.split_at(PAGE - CHECK);
    let json = rest.split(|byte| *byte == 0).next().unwrap_or_default();
    let head: Option<BackupHead> = serde_json::from_slice(json).ok();
    let Some(head) = head.filter(|_| xxh3_64(body).to_be_bytes() == check) else {
        return said("its first page is damaged, or another version of ringhookd made it");
    };
    if bytes != head.bytes {
        return Ok(Err(format!("it has {bytes} bytes, and had {} when it was made", head.bytes)));
    }
    if checksum(file, bytes)? != head.check {
        return said("it is damaged: its checksum is another one");
    }
    Ok(Ok(head))
}

/// Copies the pages, which lie at the same place in a store's file.
pub(crate) fn copy_pages(from: &File, to: &File) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    let mut at = START;
    loop {
        let read = from.read_at(&mut buffer, at)?;
        if read == 0 {
            return Ok(());
        }
        to.write_all_at(&buffer[..read], at)?;
        at += read as u64;
    }
}

fn checksum(file: &File, bytes: u64) -> io::Result<String> {
    let (mut hash, mut buffer) = (Xxh3::new(), vec![0; BUFFER]);
    let mut at = PAGE as u64;
    while at < bytes {
        let wanted = usize::try_from(bytes - at).map_or(BUFFER, |left| left.min(BUFFER));
        file.read_exact_at(&mut buffer[..wanted], at)?;
        hash.update(&buffer[..wanted]);
        at += wanted as u64;
    }
    Ok(data_encoding::HEXLOWER.encode(&hash.digest128().to_be_bytes()))
}

#[cfg(test)]
mod tests {
    use super::super::folder::Identity;
    use super::super::frames::VERSION;
    use super::*;

    #[test]
    fn a_flipped_bit_and_a_cut_anywhere_are_told() {
        let file = tempfile::tempfile().unwrap();
        let bytes = START + 9000;
        file.set_len(bytes).unwrap();
        file.write_all_at(b"pages", START).unwrap();
        let identity = Identity { store: "s".into(), environment: "e".into(), created: "c".into() };
        let snapshot =
            Snapshot { version: VERSION, identity, master: "m".into(), taken_at: "t".into(), rows: 1 };
        let sealed = seal(&file, &snapshot).unwrap();
        assert_eq!(read(&file).unwrap(), Ok(sealed));
        for at in [0, MAGIC.len() as u64 + 3, 4000, 4095, 4096, START - 1, START + 2, bytes - 1] {
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_all_at(&[byte[0] ^ 4], at).unwrap();
            assert!(read(&file).unwrap().is_err(), "byte {at}");
            file.write_all_at(&byte, at).unwrap();
        }
        assert!(read(&file).unwrap().is_ok());
        for length in [0, 100, 4096, START, bytes - 1, bytes + 1] {
            file.set_len(length).unwrap();
            assert!(read(&file).unwrap().is_err(), "{length} bytes");
        }
    }
}
