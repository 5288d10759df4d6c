//! Accounts and their users: import, change of user with the release of held events, and forgetting.

use bytes::{Buf, BufMut};
use redb::ReadableTable;

use super::batch::{Batch, HELD, Left};
use super::codec::{Aside, Damaged, get_text, put_text, stamp, stamped};
use super::command::{AccountRefusal, Bound, Class, Import};
use super::error::Fault;
use super::index::NO_USER;
use super::shared::bump;
use super::tokens::Origin;
use crate::domain::cloudevent::Mark;
use crate::domain::ids::{AccountId, UserId};
use crate::domain::link::{Change, LinkState};
use crate::domain::released::Released;
use crate::domain::time::Millis;
use crate::failpoint;
use crate::vault::Purpose;

const ACCOUNT_VERSION: u8 = 2;
/// The same without the last removal.
const BEFORE_REMOVALS: u8 = 1;

impl Batch<'_> {
    /// Gives an account its user and tokens.
    pub(super) fn import(&mut self, import: &Import) -> Result<Result<Bound, AccountRefusal>, Fault> {
        let known = self.core.accounts.find(&import.account);
        if let Some(user) = &import.user
            && let Some(other) = known.and_then(|number| self.other_user(number, user))
            && !import.replace
        {
            return Ok(Err(AccountRefusal::OtherUser(other)));
        }
        let number = match known {
            Some(number) => number,
            None => self.add_account(&import.account, NO_USER, LinkState::Unclaimed)?,
        };
        // The user first: what tokens begin is not to be told to whoever had the account before.
        let released = match &import.user {
            Some(user) => self.bind(number, user)?,
            None => Released::default(),
        };
        if let Some(tokens) = &import.tokens {
            self.put_tokens(number, &import.account, &tokens.pair, tokens.span, Origin::PutIn)?;
        }
        Ok(Ok(Bound { created: known.is_none(), released }))
    }

    /// Gives a known account another user.
    pub(super) fn set_user(
        &mut self,
        account: &AccountId,
        user: &UserId,
        replace: bool,
    ) -> Result<Result<Bound, AccountRefusal>, Fault> {
        let Some(number) = self.core.accounts.find(account) else { return Ok(Err(AccountRefusal::Unknown)) };
        if let Some(other) = self.other_user(number, user).filter(|_| !replace) {
            return Ok(Err(AccountRefusal::OtherUser(other)));
        }
        let released = self.bind(number, user)?;
        Ok(Ok(Bound { created: false, released }))
    }

    /// Destroys an account with its tokens and keys, and with these its events wherever they lie: nobody reads one from
    /// this commit on. What is left of them goes by [`Batch::drop_events_of`]. Returns the account's number.
    pub(super) fn forget(&mut self, account: &AccountId) -> Result<Result<u32, AccountRefusal>, Fault> {
        let Some(number) = self.core.accounts.find(account) else { return Ok(Err(AccountRefusal::Unknown)) };
        self.destroy_tokens(number)?;
        self.drop_claim(number)?;
        self.tables.keys()?.remove((number, Purpose::Events as u8))?;
        self.core.drop_key(number);
        let gone = AccountRow {
            id: None,
            user: NO_USER,
            state: LinkState::Forgotten,
            created_at: Millis(0),
            linked_at: Millis(0),
            removed_at: Millis(0),
            former: NO_USER,
        };
        self.write_account(number, &gone)?;
        self.core.accounts.forget(number);
        self.core.forgotten.insert(number);
        Ok(Ok(number))
    }

    /// Takes up to `limit` waiting and as many held events of a forgotten account out. Returns whether there may be more.
    pub(super) fn drop_events_of(&mut self, number: u32, limit: usize) -> Result<bool, Fault> {
        let waiting = self.drop_waiting(number, limit)?;
        let held = self.held_of(number, limit)?;
        for &seq in &held {
            self.core.unhold(seq);
            self.take_aside((HELD, u64::from(number), seq, 0))?;
            bump(&self.shared.stats.dropped);
        }
        if waiting == 0 && held.is_empty() {
            self.core.forgotten.remove(&number);
        }
        Ok(waiting == limit || held.len() == limit)
    }

    pub(super) fn add_account(&mut self, id: &AccountId, user: u32, state: LinkState) -> Result<u32, Fault> {
        let number = self.core.accounts.add(id, user, state);
        let never = Millis(0);
        let row = AccountRow {
            id: Some(id.clone()),
            user,
            state,
            created_at: self.now,
            linked_at: never,
            removed_at: never,
            former: NO_USER,
        };
        self.write_account(number, &row)?;
        if state == LinkState::Unclaimed {
            self.open_claim(number, id)?;
        }
        Ok(number)
    }

    fn other_user(&self, number: u32, user: &UserId) -> Option<UserId> {
        let slot = self.core.accounts.get(number)?;
        self.user_name(slot.user).filter(|present| present != user)
    }

    /// Notes the user and lets held events go to the user's queues, before anything that is accepted later.
    fn bind(&mut self, number: u32, user: &UserId) -> Result<Released, Fault> {
        let user_number = self.user_number(user)?;
        let row = self.read_account(number)?.ok_or(Damaged("accounts"))?;
        // Another user is no other link.
        let state = row.state.after(Change::User);
        let linked_at = if row.linked_at == Millis(0) { self.now } else { row.linked_at };
        self.set_link(number, &AccountRow { state, linked_at, ..row.given_to(user_number) })?;
        self.give_claim(number, user_number)?;
        self.release(number, user_number, user)
    }

    /// Lets held events go to the user's queues, in the order in which they came.
    pub(super) fn release(
        &mut self,
        number: u32,
        user_number: u32,
        user: &UserId,
    ) -> Result<Released, Fault> {
        let mut released = Released::default();
        for seq in self.held_of(number, usize::MAX)? {
            failpoint!("store.releasing");
            self.core.unhold(seq);
            let Some(aside) = self.take_aside((HELD, u64::from(number), seq, 0))? else { continue };
            let mut event = match self.open_event(seq, number, &aside.sealed) {
                Ok(Some(event)) => event,
                Ok(None) => continue,
                Err(fault) => {
                    fault.of_one_record()?;
                    bump(&self.shared.stats.damaged);
                    bump(&self.shared.stats.dead);
                    self.bury(Class::Dead, 0, &Aside { detail: "the record is damaged".into(), ..aside })?;
                    released.add(Released { events: 1, dead: 1, ..Released::default() });
                    continue;
                }
            };
            event.user = Some(user.clone());
            event.marks.insert(Mark::Held);
            let queues = self.queues_for(&event, &aside.queues);
            bump(&self.shared.stats.released);
            if !queues.is_empty() {
                released.to_queues(self.core.queue_names(&queues));
                let seq = self.append(number, user_number, &event, queues.clone())?;
                self.publish(seq, &queues, &event);
            } else if aside.queues.is_empty() {
                released.add(Released { events: 1, unrouted: 1, ..Released::default() });
                bump(&self.shared.stats.unrouted);
                self.put_letter(Class::Unrouted, number, user_number, &event, "no queue wants it")?;
            } else {
                released.add(Released { events: 1, delivered_before: 1, ..Released::default() });
            }
        }
        Ok(released)
    }

    fn held_of(&mut self, number: u32, limit: usize) -> Result<Vec<u64>, Fault> {
        if !self.core.held_by_account.contains_key(&number) {
            return Ok(Vec::new());
        }
        let scope = u64::from(number);
        let table = self.tables.aside()?;
        let range = table.range((HELD, scope, 0, 0)..=(HELD, scope, u64::MAX, u32::MAX))?;
        range.take(limit).map(|row| Ok(row?.0.value().2)).collect()
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

    /// Writes how the account is linked, and tells it where it changed.
    pub(super) fn set_link(&mut self, number: u32, row: &AccountRow) -> Result<(), Fault> {
        let before = self.core.accounts.get(number).map(|slot| slot.state);
        self.core.accounts.set_link(number, row.holder(), row.state);
        self.write_account(number, row)?;
        if before == Some(row.state) {
            return Ok(());
        }
        if let (LinkState::Unclaimed, Some(id)) = (row.state, &row.id) {
            self.open_claim(number, id)?;
        }
        self.announce(number, row.state.name(), None)
    }

    /// The number of a user; added when new.
    pub(super) fn user_number(&mut self, user: &UserId) -> Result<u32, Fault> {
        if let Some(number) = self.shared.users().find(user.as_str()) {
            return Ok(number);
        }
        let number = self.shared.users_mut().add(user);
        let mut value = user.as_str().as_bytes().to_vec();
        stamp("users", &number.to_be_bytes(), &mut value);
        self.tables.users()?.insert(number, value.as_slice())?;
        Ok(number)
    }

    pub(super) fn user_name(&self, number: u32) -> Option<UserId> {
        self.shared.users().name(number).and_then(|name| UserId::new(name).ok())
    }

    pub(super) fn write_account(&mut self, number: u32, row: &AccountRow) -> Result<(), Fault> {
        let value = row.encode(number);
        self.tables.accounts()?.insert(number, value.as_slice())?;
        Ok(())
    }

    pub(super) fn read_account(&mut self, number: u32) -> Result<Option<AccountRow>, Fault> {
        let table = self.tables.accounts()?;
        let Some(value) = table.get(number)? else { return Ok(None) };
        Ok(Some(AccountRow::decode(number, value.value())?))
    }
}

/// An account as it rests on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AccountRow {
    /// Nothing once forgotten.
    pub id: Option<AccountId>,
    /// While unclaimed, who had it before the app was removed: see [`AccountRow::holder`].
    pub user: u32,
    pub state: LinkState,
    pub created_at: Millis,
    /// When the present link began; 0 without one.
    pub linked_at: Millis,
    /// When the app was removed last; 0 where it was not.
    pub removed_at: Millis,
    /// Who had the account before that, where somebody has it again.
    pub former: u32,
}

impl AccountRow {
    /// Whose the account is, so who gets its events and tokens.
    pub(super) fn holder(&self) -> u32 {
        if self.state == LinkState::Unclaimed { NO_USER } else { self.user }
    }

    /// The same with another user, who has it after whoever had it before the app was removed.
    pub(super) fn given_to(self, user: u32) -> Self {
        let former =
            if self.removed_at == Millis(0) || self.former != NO_USER { self.former } else { self.user };
        Self { user, former, ..self }
    }

    /// Whose an event is: what happened before the last removal is of whoever had the account then, also when it comes late;
    /// between two links nothing else is anybody's.
    pub(super) fn owner(&self, kind: &str, happened_at: Option<Millis>) -> u32 {
        let before = happened_at.is_some_and(|at| at <= self.removed_at);
        match self.state {
            LinkState::Removed if before || is_farewell(kind) => self.user,
            LinkState::Unclaimed if before => self.user,
            LinkState::Removed | LinkState::Unclaimed => NO_USER,
            _ if before && self.former != NO_USER => self.former,
            _ => self.user,
        }
    }

    pub(super) fn encode(&self, number: u32) -> Vec<u8> {
        let mut out = Vec::with_capacity(96);
        out.put_u8(ACCOUNT_VERSION);
        out.put_u32(self.user);
        out.put_u8(self.state as u8);
        out.put_u64(self.created_at.0);
        out.put_u64(self.linked_at.0);
        out.put_u64(self.removed_at.0);
        out.put_u32(self.former);
        put_text(&mut out, self.id.as_ref().map(AccountId::as_str));
        stamp("accounts", &number.to_be_bytes(), &mut out);
        out
    }

    pub(super) fn decode(number: u32, value: &[u8]) -> Result<Self, Damaged> {
        let body = stamped("accounts", &number.to_be_bytes(), value)?;
        Self::read(body).ok_or(Damaged("accounts"))
    }

    fn read(mut from: &[u8]) -> Option<Self> {
        let version = from.try_get_u8().ok()?;
        if !matches!(version, BEFORE_REMOVALS | ACCOUNT_VERSION) {
            return None;
        }
        let user = from.try_get_u32().ok()?;
        let state = LinkState::from_u8(from.try_get_u8().ok()?)?;
        let (created_at, linked_at) = (Millis(from.try_get_u64().ok()?), Millis(from.try_get_u64().ok()?));
        let (removed_at, former) = match version {
            BEFORE_REMOVALS => (Millis(0), NO_USER),
            _ => (Millis(from.try_get_u64().ok()?), from.try_get_u32().ok()?),
        };
        Some(Self {
            user,
            state,
            created_at,
            linked_at,
            removed_at,
            former,
            id: match get_text(&mut from)? {
                Some(text) => Some(AccountId::new(&text).ok()?),
                None => None,
            },
        })
    }
}

/// What Ring says when the app is removed, and with it.
fn is_farewell(kind: &str) -> bool {
    matches!(kind, "app_integration_removed" | "device_removed")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(state: LinkState) -> AccountRow {
        let id = Some(AccountId::new("a").unwrap());
        let (created_at, linked_at, removed_at) = (Millis(1), Millis(2), Millis(50));
        AccountRow { id, user: 7, state, created_at, linked_at, removed_at, former: 6 }
    }

    #[test]
    fn rows_come_back_also_those_from_before_removals_were_noted() {
        let row = row(LinkState::Removed);
        let value = row.encode(3);
        assert_eq!(AccountRow::decode(3, &value), Ok(row.clone()));
        let mut older = value[..value.len() - 8].to_vec();
        older[0] = BEFORE_REMOVALS;
        older.drain(22..34);
        stamp("accounts", &3_u32.to_be_bytes(), &mut older);
        assert_eq!(
            AccountRow::decode(3, &older),
            Ok(AccountRow { removed_at: Millis(0), former: NO_USER, ..row })
        );
    }

    #[test]
    fn between_two_links_events_are_the_former_users_only_if_they_are_of_the_link_before() {
        let owner = |state, kind, at| row(state).owner(kind, at) == 7;
        for state in [LinkState::Removed, LinkState::Unclaimed] {
            assert!(owner(state, "motion_detected", Some(Millis(50))), "late, and theirs");
            assert!(!owner(state, "device_added", Some(Millis(51))), "of the link that comes");
            assert!(!owner(state, "device_added", None));
        }
        assert!(owner(LinkState::Removed, "device_removed", Some(Millis(60))), "it comes with the removal");
        assert!(!owner(LinkState::Unclaimed, "device_removed", Some(Millis(60))));
        for state in [LinkState::Linked, LinkState::Claiming, LinkState::Refused] {
            assert!(owner(state, "device_added", None));
            assert_eq!(
                row(state).owner("motion_detected", Some(Millis(50))),
                6,
                "late, and of whoever had it"
            );
        }
    }

    #[test]
    fn whoever_had_it_before_the_removal_stays_noted_over_further_hands() {
        let removed = AccountRow { former: NO_USER, ..row(LinkState::Removed) };
        let given = removed.given_to(8);
        assert_eq!((given.user, given.former), (8, 7));
        assert_eq!(given.given_to(9).former, 7);
        let never = AccountRow { removed_at: Millis(0), former: NO_USER, ..row(LinkState::Linked) };
        assert_eq!(never.given_to(8).former, NO_USER);
    }
}
