//! A session together with what Home Assistant was told over it: another session tells it anew.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::connection::Connection;
use crate::delivery::sinks::shared;
use crate::domain::home_assistant::Announced;

#[derive(Debug)]
pub(super) struct Session {
    pub(super) connection: Connection,
    announced: Mutex<Announced>,
}

impl Session {
    pub(super) fn over(connection: Connection) -> Self {
        Self { connection, announced: Mutex::default() }
    }

    pub(super) fn announced(&self) -> MutexGuard<'_, Announced> {
        self.announced.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl shared::Connection for Session {
    fn is_over(&self) -> bool {
        self.connection.is_over()
    }
}
