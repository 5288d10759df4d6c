//! What the disk itself takes.

use std::error::Error;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use ringhookd::clock;

use crate::report::median;

/// As much as an event takes in the store.
const BYTES: usize = 1024;
const FILE_BYTES: usize = 1 << 20;

/// Median time in microseconds to write an event's bytes over others in a file that is there, and to `fdatasync` them.
pub(crate) fn fdatasync(folder: &Path, times: usize) -> Result<f64, Box<dyn Error>> {
    let path = folder.join("fdatasync");
    let file = File::create(&path)?;
    file.write_all_at(&vec![1; FILE_BYTES], 0)?;
    file.sync_all()?;
    let mut took = Vec::with_capacity(times);
    for time in 0..times {
        let before = clock::instant();
        file.write_all_at(&[2; BYTES], (time * BYTES % FILE_BYTES) as u64)?;
        file.sync_data()?;
        took.push(before.elapsed().as_secs_f64() * 1e6);
    }
    std::fs::remove_file(path)?;
    Ok(median(&mut took))
}
