//! The client of Ring that holds now: a reload replaces it, and what is under way ends with the one that it began with.

use std::sync::Arc;

use super::RingApi;
use crate::live::Live;

/// None where the configuration does not say who we are at Ring. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Current(Arc<Live<Option<RingApi>>>);

impl Current {
    pub fn get(&self) -> Option<RingApi> {
        Option::clone(&self.0.get())
    }

    pub fn is_there(&self) -> bool {
        self.0.get().is_some()
    }

    /// What is sent from now on is sent by this one.
    pub fn set(&self, api: Option<RingApi>) {
        self.0.set(Arc::new(api));
    }
}

impl From<Option<RingApi>> for Current {
    fn from(api: Option<RingApi>) -> Self {
        Self(Arc::new(Live::new(api)))
    }
}
