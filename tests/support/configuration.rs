//! The configuration of a daemon under test: a store in a folder of its own, Ring's key, and what a test adds.

use std::fs;
use std::path::{Path, PathBuf};

use ringhookd::config::{self, Config};
use ringhookd::domain::signature::sign;
use ringhookd::sim::Ring;

/// What Ring signs with.
pub(crate) const KEY: &str = "a-made-up-signing-key-for-tests";
/// A queue that takes every event.
pub(crate) const OPEN_QUEUE: &str =
    "[[queue]]\nname = \"all\"\nkind = \"embedded\"\nunclaimed = \"deliver\"\n";
/// The admin socket beside the store.
pub(crate) const SOCKET: &str = "[[socket]]\npath = \"FOLDER/admin.sock\"\n";

/// Text in which FOLDER stands for the folder of the test.
#[derive(Debug, Clone)]
pub(crate) struct Configuration {
    listen: String,
    store: String,
    sections: String,
}

impl Configuration {
    /// The store is FOLDER/data, and is made at the first start.
    pub(crate) fn new() -> Self {
        Self { listen: "127.0.0.1:0".into(), store: "min_free = \"1 MiB\"\n".into(), sections: String::new() }
    }

    /// With more sections, in which `[store]` is none.
    pub(crate) fn of(sections: &str) -> Self {
        Self::new().with(sections)
    }

    pub(crate) fn listen(mut self, address: &str) -> Self {
        address.clone_into(&mut self.listen);
        self
    }

    /// With these lines in `[store]` in place of `min_free`.
    pub(crate) fn store(mut self, lines: &str) -> Self {
        lines.clone_into(&mut self.store);
        self
    }

    pub(crate) fn with(mut self, sections: &str) -> Self {
        self.sections.push_str(sections);
        self.sections.push('\n');
        self
    }

    /// Before a simulated Ring, with more lines in `[ring]`.
    pub(crate) fn ring(self, ring: &Ring, lines: &str) -> Self {
        self.ring_with(ring, &ring.client().secret, lines)
    }

    pub(crate) fn ring_with(self, ring: &Ring, secret: &str, lines: &str) -> Self {
        let (id, oauth, api) = (&ring.client().id, ring.oauth_url(), ring.url());
        self.with(&format!(
            "[ring]\nclient_id = \"{id}\"\nclient_secret = \"{secret}\"\noauth_url = \"{oauth}\"\napi_url = \"{api}\"\n{lines}"
        ))
    }

    pub(crate) fn text(&self, folder: &Path) -> String {
        let Self { listen, store, sections } = self;
        let text = format!(
            "listen = \"{listen}\"\nhmac_keys = [\"{KEY}\"]\n[store]\nfolder = \"FOLDER/data\"\ncreate = true\nenvironment = \"test\"\n\
             reserve = \"8 MiB\"\n{store}\n{sections}"
        );
        text.replace("FOLDER", folder.to_str().unwrap())
    }

    pub(crate) fn parse(&self, folder: &Path) -> Config {
        config::parse(&self.text(folder), folder).unwrap()
    }

    /// Writes it to `config.toml` in that folder.
    pub(crate) fn write(&self, folder: &Path) -> PathBuf {
        self.write_as(folder, "config.toml")
    }

    pub(crate) fn write_as(&self, folder: &Path, name: &str) -> PathBuf {
        let file = folder.join(name);
        fs::write(&file, self.text(folder)).unwrap();
        file
    }
}

/// The header line with which Ring signs a body.
pub(crate) fn signature(body: &[u8]) -> String {
    format!("X-Signature: {}\r\n", sign(KEY.as_bytes(), body))
}
