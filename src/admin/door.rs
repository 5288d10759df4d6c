//! One socket of the admin API, whose rights can change while connections to it stay open.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Admin;
use super::bearer::Bearer;
use super::session::Session;
use crate::domain::rights::Rights;
use crate::domain::routing::Selection;
use crate::domain::secret::Secret;
use crate::live::Live;

/// A token that callers bring, with its name for the audit: where it is kept.
pub type Token<'a> = (&'a str, &'a Secret<String>);

/// Each call asks it anew.
#[derive(Debug)]
pub struct Door {
    /// As the log names it.
    path: String,
    pub(super) session: Live<Session>,
    /// Of an address, where callers bring a token.
    pub(super) bearer: Live<Option<Bearer>>,
}

impl Door {
    /// The rights of its callers now.
    pub fn rights(&self) -> Rights {
        self.session.get().rights().clone()
    }
}

impl Admin {
    /// A socket, or an address with the token that callers bring. A lease that was taken through one can't be settled through another.
    pub fn door(&self, path: &str, rights: Rights, token: Option<Token<'_>>) -> Arc<Door> {
        let session = Session::new(path, rights, self.next_session(), Arc::default());
        let bearer = token.map(|token| Bearer::new(path, token.0, token.1));
        Arc::new(Door { path: path.to_owned(), session: Live::new(session), bearer: Live::new(bearer) })
    }

    /// Calls that begin later have these rights and need this token, on open connections too. Where one of the two is another, calls that
    /// wait for events end, as of an empty queue. Leases stay where no account and no user is taken away; else they can't be settled, and
    /// their events go back at once, without an attempt.
    pub fn change(&self, door: &Door, rights: Rights, token: Option<Token<'_>>) {
        let bearer = token.map(|token| Bearer::new(&door.path, token.0, token.1));
        let (before, is_same_token) = (door.session.get(), *door.bearer.get() == bearer);
        door.bearer.set(Arc::new(bearer));
        if *before.rights() == rights && is_same_token {
            return;
        }
        let stays = rights.sees_all_of(before.rights());
        let (number, leases) = if stays {
            (before.number(), Arc::clone(before.leases()))
        } else {
            (self.next_session(), Arc::default())
        };
        door.session.set(Arc::new(Session::new(&door.path, rights, number, leases)));
        before.end();
        if !stays {
            before.leases().give_back(self.store.queues());
        }
    }

    /// Nothing may be called any more, on open connections neither. Calls that wait for events end, and leases go back.
    pub fn close(&self, door: &Door) {
        let before = door.session.get();
        let nothing = Rights::new(Vec::new(), Selection::All, Selection::All);
        door.session.set(Arc::new(Session::new(&door.path, nothing, self.next_session(), Arc::default())));
        before.end();
        before.leases().give_back(self.store.queues());
    }

    fn next_session(&self) -> u64 {
        self.sessions.fetch_add(1, Ordering::Relaxed)
    }
}
