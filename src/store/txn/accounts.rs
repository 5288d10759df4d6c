//! Accounts and their users: import, change of user with the release of held events, and forgetting.

use std::mem::{self, take};

use redb::ReadableTable;

use super::batch::{Batch, Left};
use crate::domain::ids::{AccountId, UserId};
use crate::domain::link::Event;
use crate::domain::refresh::Proof;
use crate::logging::audit::What;
use crate::store::command::{AccountRefusal, Bound, Import};
use crate::store::kv::error::Fault;
use crate::store::memory::index::hash;
use crate::store::rows::account::AccountRow;
use crate::store::rows::codec::{Damaged, stamp};
use crate::vault::Purpose;

impl Batch<'_> {
    /// Gives an account its user and tokens.
    pub(crate) fn import(&mut self, import: &Import) -> Result<Result<Bound, AccountRefusal>, Fault> {
        let known = self.core.accounts.find(&import.account);
        if let Some(user) = &import.user
            && let Some(other) = known.and_then(|number| self.other_user(number, user))
            && !import.replace
        {
            return Ok(Err(AccountRefusal::OtherUser(other)));
        }
        let number = match known {
            Some(number) => number,
            None => self.add_unclaimed(&import.account)?,
        };
        // The user first: what tokens begin is not to be told to whoever had the account before.
        let before = take(&mut self.released);
        if let Some(user) = &import.user {
            self.give(number, user)?;
        }
        if let Some(tokens) = &import.tokens
            && self.put_tokens(number, &import.account, &tokens.pair, tokens.span, Proof::Untried)?
        {
            self.on_link(number, Event::PutIn)?;
        }
        Ok(Ok(Bound { created: known.is_none(), released: mem::replace(&mut self.released, before) }))
    }

    /// Gives a known account another user.
    pub(crate) fn set_user(
        &mut self,
        account: &AccountId,
        user: &UserId,
        replace: bool,
    ) -> Result<Result<Bound, AccountRefusal>, Fault> {
        let Some(number) = self.core.accounts.find(account) else { return Ok(Err(AccountRefusal::Unknown)) };
        if let Some(other) = self.other_user(number, user).filter(|_| !replace) {
            return Ok(Err(AccountRefusal::OtherUser(other)));
        }
        let before = take(&mut self.released);
        self.give(number, user)?;
        Ok(Ok(Bound { created: false, released: mem::replace(&mut self.released, before) }))
    }

    /// Destroys an account with its tokens and keys, and with these its events wherever they lie: nobody reads one from
    /// this commit on. What is left of them goes by [`Batch::drop_events_of`]. Returns the account's number.
    pub(crate) fn forget(&mut self, account: &AccountId) -> Result<Result<u32, AccountRefusal>, Fault> {
        let Some(number) = self.core.accounts.find(account) else { return Ok(Err(AccountRefusal::Unknown)) };
        self.on_link(number, Event::Forget)?;
        self.tables.keys()?.remove((number, Purpose::Events as u8))?;
        self.core.drop_key(number);
        self.core.accounts.forget(number);
        self.tables.account_ids()?.remove(&hash(account)[..])?;
        if !account.as_str().starts_with(super::unidentified::OURS) {
            self.note(What::AccountForgotten, |_, entry| Ok(entry.of(account)))?;
        }
        self.core.forgotten.insert(number);
        Ok(Ok(number))
    }

    /// Takes up to `limit` waiting and as many held events of a forgotten account out. Returns whether there may be more.
    pub(crate) fn drop_events_of(&mut self, number: u32, limit: usize) -> Result<bool, Fault> {
        let waiting = self.drop_waiting(number, limit)?;
        let held = self.held_of(number, limit)?;
        for &seq in &held {
            self.take_held(number, seq)?;
            self.counts.dropped += 1;
        }
        if waiting == 0 && held.is_empty() {
            self.core.forgotten.remove(&number);
        }
        Ok(waiting == limit || held.len() == limit)
    }

    pub(crate) fn add_account(&mut self, row: &AccountRow) -> Result<u32, Fault> {
        let Some(id) = &row.id else { return Err(Damaged("accounts").into()) };
        let tenure = &row.tenure;
        let number = self.core.accounts.add(id, tenure.holder(), tenure.state);
        self.write_account(number, row)?;
        let key = hash(id);
        let mut value = number.to_be_bytes().to_vec();
        stamp("account_ids", &key, &mut value);
        self.tables.account_ids()?.insert(&key[..], value.as_slice())?;
        Ok(number)
    }

    fn other_user(&self, number: u32, user: &UserId) -> Option<UserId> {
        let slot = self.core.accounts.get(number)?;
        self.user_name(slot.user).filter(|present| present != user)
    }

    fn give(&mut self, number: u32, user: &UserId) -> Result<(), Fault> {
        let user = self.user_number(user)?;
        self.on_link(number, Event::Given { user }).map(drop)
    }

    /// Returns how many it has looked at.
    fn drop_waiting(&mut self, number: u32, limit: usize) -> Result<usize, Fault> {
        let waiting: Vec<(u16, u64, bool)> = {
            let queues = self.shared.queues();
            let lanes = queues.iter().flat_map(|(&queue, state)| {
                let failed = |seq| state.backlog.failures(seq) > 0;
                state.backlog.lane(number).map(move |e| (queue, e.seq, failed(e.seq)))
            });
            lanes.take(limit).collect()
        };
        for &(queue, seq, failed) in &waiting {
            // Memory shows it until the commit, though a command before this one has settled it.
            if self.leaves(queue, seq) {
                continue;
            }
            self.mark_done(queue, seq, failed)?;
            self.leave(queue, number, seq, Left::Dropped);
        }
        Ok(waiting.len())
    }

    /// The number of a user; added when new.
    pub(crate) fn user_number(&mut self, user: &UserId) -> Result<u32, Fault> {
        let known = {
            let users = self.shared.users();
            if let Some(number) = users.find(user.as_str()) {
                return Ok(number);
            }
            users.count()
        };
        if let Some(number) = self.users.find(user) {
            return Ok(number);
        }
        let number = self.users.add(user, known);
        let mut value = user.as_str().as_bytes().to_vec();
        stamp("users", &number.to_be_bytes(), &mut value);
        self.tables.users()?.insert(number, value.as_slice())?;
        Ok(number)
    }

    pub(crate) fn user_name(&self, number: u32) -> Option<UserId> {
        let users = self.shared.users();
        let behind = (number as usize).checked_sub(users.count() + 1);
        match behind {
            Some(behind) => self.users.name(behind).cloned(),
            None => users.name(number).and_then(|name| UserId::new(name).ok()),
        }
    }

    pub(crate) fn write_account(&mut self, number: u32, row: &AccountRow) -> Result<(), Fault> {
        let value = row.encode(number);
        self.tables.accounts()?.insert(number, value.as_slice())?;
        self.core.accounts.set_link(number, &row.tenure);
        Ok(())
    }

    pub(crate) fn read_account(&mut self, number: u32) -> Result<Option<AccountRow>, Fault> {
        let table = self.tables.accounts()?;
        let Some(value) = table.get(number)? else { return Ok(None) };
        Ok(Some(AccountRow::decode(number, value.value())?))
    }
}
