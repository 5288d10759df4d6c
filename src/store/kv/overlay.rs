//! A file under a layer in memory that takes all that is written: what would be done to a store is tried, and the file stays as it is.

use std::collections::HashMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::disk::{Disk, StorageBackend};

/// Bytes of the pieces that the layer keeps.
const BLOCK: usize = 4096;

#[derive(Debug)]
pub(crate) struct Overlay {
    file: Disk,
    layer: Mutex<Layer>,
}

#[derive(Debug)]
struct Layer {
    len: u64,
    /// Up to here the file's bytes count, where nothing was written over them.
    shown: u64,
    blocks: HashMap<u64, Box<[u8; BLOCK]>>,
}

impl Overlay {
    pub(crate) fn over(file: Disk) -> io::Result<Self> {
        let len = file.len()?;
        Ok(Self { file, layer: Mutex::new(Layer { len, shown: len, blocks: HashMap::new() }) })
    }

    fn layer(&self) -> MutexGuard<'_, Layer> {
        self.layer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bytes of the file that are shown from `offset` on, and zeros behind them.
    fn below(&self, shown: u64, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let there = usize::try_from(shown.saturating_sub(offset)).unwrap_or(usize::MAX).min(out.len());
        let (file, behind) = out.split_at_mut(there);
        behind.fill(0);
        if file.is_empty() { Ok(()) } else { self.file.read(offset, file) }
    }
}

/// The pieces of `len` bytes from `offset` on, by blocks: block, where in it, where in the bytes.
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == len {
            return None;
        }
        let at = offset + done as u64;
        let within = usize::try_from(at % BLOCK as u64).unwrap_or(0);
        let from = done;
        done = len.min(done + BLOCK - within);
        Some((at / BLOCK as u64, within, from..done))
    })
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.layer().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let layer = self.layer();
        if offset + out.len() as u64 > layer.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (block, within, piece) in pieces(offset, out.len()) {
            let at = offset + piece.start as u64;
            let out = &mut out[piece];
            match layer.blocks.get(&block) {
                Some(kept) => out.copy_from_slice(&kept[within..within + out.len()]),
                None => self.below(layer.shown, at, out)?,
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut layer = self.layer();
        if len < layer.len {
            // What is cut off must be zeros, should the file grow again.
            layer.shown = layer.shown.min(len);
            layer.blocks.retain(|&block, _| block * (BLOCK as u64) < len);
            let within = usize::try_from(len % BLOCK as u64).unwrap_or(0);
            if let Some(last) = layer.blocks.get_mut(&(len / BLOCK as u64)) {
                last[within..].fill(0);
            }
        }
        layer.len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut layer = self.layer();
        layer.len = layer.len.max(offset + data.len() as u64);
        for (block, within, piece) in pieces(offset, data.len()) {
            if !layer.blocks.contains_key(&block) {
                let mut bytes = Box::new([0; BLOCK]);
                self.below(layer.shown, block * BLOCK as u64, &mut bytes[..])?;
                layer.blocks.insert(block, bytes);
            }
            if let Some(bytes) = layer.blocks.get_mut(&block) {
                bytes[within..within + piece.len()].copy_from_slice(&data[piece]);
            }
        }
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.file.file()?.close()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::kv::disk::Device;

    fn all(of: &impl StorageBackend) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(of.len().unwrap()).unwrap()];
        of.read(0, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn it_reads_as_a_file_that_was_written_to_and_leaves_that_file_alone() {
        let below = redb::backends::InMemoryBackend::new();
        let expected = redb::backends::InMemoryBackend::new();
        let before: Vec<u8> = (0..251).cycle().take(3 * BLOCK + 7).collect();
        for file in [&below, &expected] {
            file.set_len(before.len() as u64).unwrap();
            file.write(0, &before).unwrap();
        }
        let file = Device::new(below);
        let overlay = Overlay::over(Disk::clone(&file)).unwrap();
        for (offset, len) in [(5, 3), (BLOCK - 2, 4), (BLOCK, 2 * BLOCK), (3 * BLOCK + 1, 6), (0, 0)] {
            overlay.write(offset as u64, &vec![0xAA; len]).unwrap();
            expected.write(offset as u64, &vec![0xAA; len]).unwrap();
            assert_eq!(all(&overlay), all(&expected), "{offset} {len}");
        }
        for len in [5 * BLOCK, 2 * BLOCK + 9, 7, 4 * BLOCK] {
            overlay.set_len(len as u64).unwrap();
            expected.set_len(len as u64).unwrap();
            assert_eq!(all(&overlay), all(&expected), "{len}");
        }
        assert!(overlay.read(4 * BLOCK as u64 - 1, &mut [0; 2]).is_err(), "behind its end");
        let mut left = vec![0; before.len()];
        file.read(0, &mut left).unwrap();
        assert_eq!(left, before);
    }
}
