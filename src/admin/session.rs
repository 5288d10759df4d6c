//! The session of one admin socket: the calls that it allows, the accounts that it shows, and the names of its leases.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use data_encoding::HEXLOWER;
use ring::hmac::{HMAC_SHA256, Key, sign, verify};
use ring::rand::SystemRandom;
use tokio::sync::watch;

use super::refusal::Refusal;
use crate::domain::actor::{Actor, Caller};
use crate::domain::event::Event;
use crate::domain::ids::{AccountId, QueueName, UserId};
use crate::domain::rights::{Call, Rights};
use crate::domain::routing::Selection;
use crate::http::Peer;
use crate::store::{AccountView, LinkState, Queues, Scope, Store, StoreError};
use crate::vault::VaultError;

/// With so many leases, those that are over are looked for first.
const FIRST_LOOK: usize = 64;

/// What a caller may do. It depends on the socket, because peer credentials do not survive systemd's `PrivateUsers=yes`.
#[derive(Debug)]
pub(super) struct Session {
    path: Arc<str>,
    rights: Rights,
    number: u64,
    /// None is any.
    users: Option<Vec<UserId>>,
    accounts: Option<Vec<AccountId>>,
    /// Whether another has taken its place.
    ended: watch::Sender<bool>,
    /// Sessions of the same number share them.
    leases: Arc<Leases>,
}

impl Session {
    pub(super) fn new(path: &str, rights: Rights, number: u64, leases: Arc<Leases>) -> Self {
        let users = listed(rights.users(), |id| UserId::new(id).ok());
        let accounts = listed(rights.accounts(), |id| AccountId::new(id).ok());
        let (path, ended) = (path.into(), watch::Sender::new(false));
        Self { path, rights, number, users, accounts, ended, leases }
    }

    pub(super) fn leases(&self) -> &Arc<Leases> {
        &self.leases
    }

    pub(super) fn rights(&self) -> &Rights {
        &self.rights
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Another has taken its place.
    pub(super) fn end(&self) {
        self.ended.send_replace(true);
    }

    pub(super) fn has_ended(&self) -> bool {
        *self.ended.borrow()
    }

    /// Waits until another takes its place.
    pub(super) async fn ended(&self) {
        // This holds the sender, so there is no other end.
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }

    /// The caller, for the audit log.
    /// `token` names the one that it brought.
    pub(super) fn caller(&self, Peer { uid, gid, pid, .. }: Peer, token: Option<Arc<str>>) -> Actor {
        Actor::Socket(Caller { socket: Arc::clone(&self.path), token, uid, gid, pid })
    }

    /// Refused unless the session allows `call`, on `queue` where it is about one.
    pub(super) fn may(&self, call: Call, queue: Option<&QueueName>) -> Result<(), Refusal> {
        if self.allows(call, queue) { Ok(()) } else { Err(Refusal::no_right(call)) }
    }

    pub(super) fn allows(&self, call: Call, queue: Option<&QueueName>) -> bool {
        self.rights.allows(call, queue)
    }

    /// Whether an account is shown. Only an unrestricted session shows an unidentified one, because its user is not known.
    pub(super) fn shows(&self, view: &AccountView) -> bool {
        let is_known = view.state != LinkState::Arriving || self.sees_all();
        is_known && self.sees(Some(&view.account), view.user.as_ref())
    }

    /// The calls that it allows, as a configuration names them.
    pub(super) fn calls(&self) -> BTreeSet<String> {
        self.rights.named()
    }

    pub(super) fn sees(&self, account: Option<&AccountId>, user: Option<&UserId>) -> bool {
        self.rights.sees(account.map(AccountId::as_str), user.map(UserId::as_str))
    }

    /// Whether events of `user` are seen, of some account at least.
    pub(super) fn sees_user(&self, user: &UserId) -> bool {
        self.users.as_ref().is_none_or(|users| users.contains(user))
    }

    pub(super) fn sees_event(&self, event: &Event) -> bool {
        self.sees(event.account.as_ref(), event.user.as_ref())
    }

    pub(super) fn selected_accounts(&self) -> &Selection {
        self.rights.accounts()
    }

    /// Whether neither accounts nor users are restricted.
    pub(super) fn sees_all(&self) -> bool {
        self.users.is_none() && self.accounts.is_none()
    }

    /// Refused unless the session sees everything: `what` would reach further than it does.
    pub(super) fn must_see_all(&self, what: &str) -> Result<(), Refusal> {
        if self.sees_all() {
            return Ok(());
        }
        Err(Refusal::forbidden(format!("this socket sees only some accounts or users, and {what}")))
    }

    /// Refused unless the session would still see the account with this user.
    pub(super) fn may_give(&self, account: &AccountId, user: Option<&UserId>) -> Result<(), Refusal> {
        if self.sees(Some(account), user) {
            return Ok(());
        }
        Err(Refusal::forbidden(
            "this socket sees only some accounts or users, and not this account with this user",
        ))
    }

    /// The events that a reader may have and wants: those of one user, or all that the session sees.
    pub(super) async fn scope(&self, store: &Store, user: Option<&UserId>) -> Result<Scope, StoreError> {
        if user.is_none() && self.sees_all() {
            return Ok(Scope::default());
        }
        let users = user.map(std::slice::from_ref).or(self.users.as_deref());
        store.queues().scope(users, self.accounts.as_deref()).await
    }
}

/// Leases that were given to the callers of a session.
#[derive(Debug, Default)]
pub(super) struct Leases(Mutex<Given>);

#[derive(Debug, Default)]
struct Given {
    leases: BTreeSet<(QueueName, u64)>,
    /// With so many, those that are over are taken out.
    look_at: usize,
}

impl Leases {
    pub(super) fn add(&self, queues: &Queues, queue: &QueueName, lease: u64) {
        let mut given = self.given();
        given.leases.insert((queue.clone(), lease));
        if given.leases.len() >= given.look_at.max(FIRST_LOOK) {
            given.leases.retain(|(queue, lease)| queues.holds(queue, *lease));
            given.look_at = 2 * given.leases.len();
        }
    }

    /// Gives back all that they hold, without an attempt.
    pub(super) fn give_back(&self, queues: &Queues) {
        for (queue, lease) in std::mem::take(&mut self.given().leases) {
            queues.release(&queue, lease);
        }
    }

    fn given(&self) -> MutexGuard<'_, Given> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn listed<T>(selection: &Selection, id: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
    match selection {
        Selection::All => None,
        Selection::Only(ids) => Some(ids.iter().filter_map(|text| id(text)).collect()),
    }
}

/// Makes and reads the names of leases. A store's lease ids count up, so a bare one could be guessed, and the events
/// of others acknowledged.
#[derive(Debug)]
pub(super) struct LeaseSeal(Key);

impl LeaseSeal {
    pub(super) fn new() -> Result<Self, VaultError> {
        Key::generate(HMAC_SHA256, &SystemRandom::new()).map(Self).map_err(|_| VaultError::NoRandom)
    }

    pub(super) fn name(&self, session: &Session, queue: &QueueName, lease: u64) -> String {
        let tag = sign(&self.0, &sealed(session, queue, lease));
        format!("{lease}-{}", HEXLOWER.encode(tag.as_ref()))
    }

    /// The lease that [`LeaseSeal::name`] named for the same session and queue.
    pub(super) fn open(&self, session: &Session, queue: &QueueName, name: &str) -> Result<u64, Refusal> {
        let lease = || {
            let (lease, tag) = name.split_once('-')?;
            let lease: u64 = lease.parse().ok()?;
            let tag = HEXLOWER.decode(tag.as_bytes()).ok()?;
            verify(&self.0, &sealed(session, queue, lease), &tag).ok().map(|()| lease)
        };
        lease().ok_or_else(|| {
            Refusal::conflict(
                "this is no lease of this queue, taken through this socket, since the daemon started",
            )
        })
    }
}

fn sealed(session: &Session, queue: &QueueName, lease: u64) -> Vec<u8> {
    format!("{}/{lease}/{queue}", session.number).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_good_for_its_session_and_queue_only() {
        let session = |path, number| Session::new(path, Rights::all(), number, Arc::default());
        let (one, two) = (session("a", 1), session("b", 2));
        let queue = |name| QueueName::new(name).unwrap();
        let seal = LeaseSeal::new().unwrap();
        let name = seal.name(&one, &queue("a"), 7);
        assert_eq!(seal.open(&one, &queue("a"), &name), Ok(7));
        assert!(seal.open(&two, &queue("a"), &name).is_err());
        assert!(seal.open(&one, &queue("b"), &name).is_err());
        assert!(LeaseSeal::new().unwrap().open(&one, &queue("a"), &name).is_err(), "another run");
        for bad in ["", "7", "7-", "7-00", &name.replacen('7', "8", 1)] {
            assert!(seal.open(&one, &queue("a"), bad).is_err(), "{bad}");
        }
    }
}
