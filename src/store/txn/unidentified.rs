//! Tokens whose account is not known yet. Each is an account under a name of ours until Ring has told its own: so it is
//! refreshed, journalled and guarded like any other.

use data_encoding::HEXLOWER;
use std::mem::{replace, take};

use redb::ReadableTable;
use sha2::{Digest, Sha256};

use super::batch::Batch;
use super::journal::Opened;
use crate::domain::arrival::Arrival;
use crate::domain::ids::AccountId;
use crate::domain::link::{Answer, Event, LinkState, Tenure};
use crate::domain::refresh::{LIFE, Proof};
use crate::domain::ring_time::RingTime;
use crate::domain::time::Millis;
use crate::domain::tokens::{Pair, Span};
use crate::store::command::{AccountRefusal, Bound, Import};
use crate::store::kv::error::Fault;
use crate::store::memory::index::NO_USER;
use crate::store::rows::account::{AccountRow, ArrivalRow};
use crate::store::rows::codec::{Damaged, stamp, stamped};

/// What names of ours begin with. Ring's ids begin otherwise.
pub(crate) const OURS: &str = "ringhookd.arriving.";
/// So many accounts pass between two looks for what is too old.
const CLEAN_EVERY: u32 = 256;

/// What a refresh token is taken for.
#[derive(Debug, PartialEq, Eq)]
pub enum Arrived {
    /// The number of the account that stands for its own, and whether it is new.
    Arriving { number: u32, is_new: bool },
    /// It came before, and its account has what OAuth gave for it: it must not be sent again. The account is the user's now, or
    /// another one's still.
    Known(AccountId, Result<Bound, AccountRefusal>),
}

/// What came of giving an arrival to its account.
#[derive(Debug)]
pub enum Identified {
    Given(Result<Bound, AccountRefusal>),
    /// A refresh of it is under way, or its outcome unknown: later.
    Busy,
    /// It is not here any more.
    Gone,
}

impl Batch<'_> {
    pub(crate) fn arrive(&mut self, arrival: &Arrival) -> Result<Arrived, Fault> {
        let token = arrival.refresh_token.expose();
        let digest = Sha256::digest(token.as_bytes());
        let name = our_name(&digest)?;
        let user = arrival.user.as_ref().map_or(Ok(NO_USER), |user| self.user_number(user))?;
        let (replace, expects) = (arrival.replace, arrival.expects.clone());
        if let Some(number) = self.core.accounts.find(&name) {
            // Whoever asks again corrects what was said before.
            let row = self.read_account(number)?.ok_or(Damaged("accounts"))?;
            if user != NO_USER && !matches!(row.arrival, Some(ArrivalRow::Code(_))) {
                let tenure = Tenure::new(LinkState::Arriving, user);
                let arrival = Some(ArrivalRow::PutIn { replace, expects });
                self.write_account(number, &AccountRow { tenure, arrival, ..row })?;
            }
            return Ok(Arrived::Arriving { number, is_new: false });
        }
        if let Some(account) = self.account_of_token(&digest[..16])? {
            let bound = if expects.is_none_or(|expects| expects == account) {
                let user = arrival.user.clone();
                self.import(&Import { account: account.clone(), user, tokens: None, replace })?
            } else {
                Err(AccountRefusal::AnotherAccount)
            };
            return Ok(Arrived::Known(account, bound));
        }
        let tenure = Tenure::new(LinkState::Arriving, user);
        let arrived = Some(ArrivalRow::PutIn { replace, expects });
        let row = AccountRow { arrival: arrived, ..AccountRow::new(&name, tenure, self.now) };
        let number = self.add_account(&row)?;
        self.put_tokens(
            number,
            &name,
            &Pair::of(None, token),
            Span::of_import(None, self.now),
            Proof::Untried,
        )?;
        Ok(Arrived::Arriving { number, is_new: true })
    }

    /// Takes in what OAuth gave for a code that came then.
    pub(crate) fn arrive_by_code(&mut self, pair: &Pair, span: Span, came: RingTime) -> Result<u32, Fault> {
        let name = our_name(&Sha256::digest(pair.refresh_token.expose().as_bytes()))?;
        let number = if let Some(number) = self.core.accounts.find(&name) {
            number
        } else {
            let tenure = Tenure::new(LinkState::Arriving, NO_USER);
            let arrival = Some(ArrivalRow::Code(came));
            self.add_account(&AccountRow { arrival, ..AccountRow::new(&name, tenure, self.now) })?
        };
        self.put_tokens(number, &name, pair, span, Proof::Honoured)?;
        Ok(number)
    }

    /// Gives tokens that a code brought to their account, whatever state it is in. It keeps its user.
    fn take_up(&mut self, account: &AccountId, opened: Opened, came: RingTime) -> Result<Bound, Fault> {
        let known = self.core.accounts.find(account);
        let number = match known {
            Some(number) => number,
            None => self.add_unclaimed(account)?,
        };
        let before = take(&mut self.released);
        // The app was removed since: these are of no use any more.
        if self.on_link(number, Event::Code { came })?.answer != Answer::Old {
            self.add_tokens(number, account, opened)?;
        }
        Ok(Bound { created: known.is_none(), released: replace(&mut self.released, before) })
    }

    pub(crate) fn identify(&mut self, number: u32, account: &AccountId) -> Result<Identified, Fault> {
        if self.is_unsettled(number)? {
            return Ok(Identified::Busy);
        }
        let Some(opened) = self.sound_tokens(number)? else { return Ok(Identified::Gone) };
        let Some((name, row)) = self.leave_arrival(number)? else { return Ok(Identified::Gone) };
        let (replace, expects) = match row.arrival {
            Some(ArrivalRow::Code(came)) => {
                let bound = self.take_up(account, opened, came)?;
                self.note_arrived(&name, account)?;
                return Ok(Identified::Given(Ok(bound)));
            }
            Some(ArrivalRow::PutIn { replace, expects }) => (replace, expects),
            None => (false, None),
        };
        let user = self.user_name(row.tenure.holder());
        let is_expected = expects.is_none_or(|expects| expects == *account);
        let done = if is_expected {
            let import = Import { account: account.clone(), user, tokens: None, replace };
            self.import(&import)?
        } else {
            Err(AccountRefusal::AnotherAccount)
        };
        // OAuth may have replaced the tokens that the account's user has by these, whoever brought them. A link that was removed
        // is nobody's.
        let is_removed = self.state_of(account) == Some(LinkState::Removed);
        if done.is_err() && is_removed {
            self.take_up(account, opened, self.ring)?;
        } else {
            let number = match self.core.accounts.find(account) {
                Some(number) => number,
                None => self.add_unclaimed(account)?,
            };
            if self.add_tokens(number, account, opened)? {
                self.on_link(number, Event::PutIn)?;
            }
        }
        self.note_arrived(&name, account)?;
        Ok(Identified::Given(done))
    }

    fn state_of(&self, account: &AccountId) -> Option<LinkState> {
        let number = self.core.accounts.find(account)?;
        self.core.accounts.get(number).map(|slot| slot.state)
    }

    /// Whose a refresh token is that came before, while its link lives.
    fn account_of_token(&mut self, digest: &[u8]) -> Result<Option<AccountId>, Fault> {
        let number = {
            let table = self.tables.arrived()?;
            let Some(value) = table.get(digest)? else { return Ok(None) };
            let known = stamped("arrived", digest, value.value()).ok();
            known.and_then(|body| body.first_chunk::<4>()).map(|number| u32::from_be_bytes(*number))
        };
        let Some(number) = number else { return Ok(None) };
        let lives = self.sound_tokens(number)?.is_some_and(|opened| opened.row.end.is_none());
        if lives { Ok(self.read_account(number)?.and_then(|row| row.id)) } else { Ok(None) }
    }

    /// Kept for as long as a refresh token may live; what is older goes now and then.
    fn note_arrived(&mut self, name: &AccountId, account: &AccountId) -> Result<(), Fault> {
        let hex = name.as_str().trim_start_matches(OURS);
        let Ok(digest) = HEXLOWER.decode(hex.as_bytes()) else { return Ok(()) };
        let Some(number) = self.core.accounts.find(account) else { return Ok(()) };
        let mut value = number.to_be_bytes().to_vec();
        value.extend_from_slice(&self.now.0.to_be_bytes());
        stamp("arrived", &digest, &mut value);
        let before = self.now.minus(LIFE);
        let mut table = self.tables.arrived()?;
        table.insert(digest.as_slice(), value.as_slice())?;
        if number % CLEAN_EVERY == 0 {
            let at =
                |value: &[u8]| value.get(4..12).and_then(|at| at.try_into().ok()).map(u64::from_be_bytes);
            table.retain(|_, value| at(value).is_some_and(|at| Millis(at) >= before))?;
        }
        Ok(())
    }

    pub(crate) fn leave_arrival(&mut self, number: u32) -> Result<Option<(AccountId, AccountRow)>, Fault> {
        let Some(row) = self.read_account(number)? else { return Ok(None) };
        let Some(name) = row.id.clone().filter(|_| row.tenure.state == LinkState::Arriving) else {
            return Ok(None);
        };
        drop(self.forget(&name)?);
        Ok(Some((name, row)))
    }
}

/// What stands for the account until its id is known, after the hash of its refresh token.
fn our_name(digest: &[u8]) -> Result<AccountId, Damaged> {
    AccountId::new(&format!("{OURS}{}", HEXLOWER.encode(&digest[..16]))).map_err(|_| Damaged("accounts"))
}
