//! The kind `spool`: a reader that keeps to the contract, as a shell script would.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use ringhookd::config;
use ringhookd::delivery::sinks::spool::Spool;
use ringhookd::domain::format::Format;
use ringhookd::store::Store;
use serde_json::Value;

use super::harness::{Arrival, Faults, Kind, Worker, dispatch};

/// Folders, one a queue, and what was taken from them.
pub(crate) struct Files {
    folder: PathBuf,
    taken: Mutex<HashMap<String, Vec<Arrival>>>,
}

impl Files {
    pub(crate) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), taken: Mutex::default() }
    }
}

impl Kind for Files {
    fn start(&self, store: &Store, name: &str, faults: Faults) -> Worker {
        // Few enough that the folder is full now and then.
        let options = config::Spool { folder: self.folder.join(name), max_files: 1000, max_bytes: 1 << 20 };
        dispatch(store, name, Spool::open(options, Format::CloudEvents), faults)
    }

    fn arrived(&self, name: &str) -> Vec<Arrival> {
        let mut taken = self.taken.lock().unwrap();
        let arrivals = taken.entry(name.to_owned()).or_default();
        let entries = fs::read_dir(self.folder.join(name)).unwrap();
        let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        files.retain(|file| !file.file_name().unwrap().to_str().unwrap().starts_with('.'));
        files.sort();
        for file in files {
            let text = fs::read(&file).unwrap();
            let event: Value = serde_json::from_slice(&text).unwrap();
            let [key, account, user] = ["id", "ringaccount", "ringuser"]
                .map(|name| event[name].as_str().unwrap_or_default().to_owned());
            arrivals.push(Arrival { key, account, user });
            fs::remove_file(file).unwrap();
        }
        arrivals.clone()
    }
}
