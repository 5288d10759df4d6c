//! Tokens whose account is not known yet. Each is an account under a name of ours until Ring has told its own: so it is
//! refreshed, journalled and guarded like any other.

use data_encoding::HEXLOWER;
use redb::ReadableTable;
use sha2::{Digest, Sha256};

use super::accounts::AccountRow;
use super::batch::Batch;
use super::codec::{Damaged, stamp, stamped};
use super::command::{AccountRefusal, Bound, Import, NewTokens};
use super::error::Fault;
use super::index::NO_USER;
use super::tokens::{Origin, TokenRow};
use crate::domain::arrival::Arrival;
use crate::domain::ids::AccountId;
use crate::domain::link::LinkState;
use crate::domain::refresh::{LIFE, Proof};
use crate::domain::released::Released;
use crate::domain::time::Millis;
use crate::domain::tokens::{Pair, Span};

/// What names of ours begin with. Ring's ids begin otherwise.
const OURS: &str = "ringhookd.arriving.";
/// And what they end with where the account is to be taken over from another user.
const REPLACE: &str = ".replace";
/// Or where Ring gave a code for it.
const BY_CODE: &str = ".code";
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
    pub(super) fn arrive(&mut self, arrival: &Arrival) -> Result<Arrived, Fault> {
        let token = arrival.refresh_token.expose();
        let digest = Sha256::digest(token.as_bytes());
        let plain = format!("{OURS}{}", HEXLOWER.encode(&digest[..16]));
        let name = |text: &str| AccountId::new(text).map_err(|_| Damaged("accounts"));
        let (plain, replacing) = (name(&plain)?, name(&format!("{plain}{REPLACE}"))?);
        for known in [&plain, &replacing] {
            let Some(number) = self.core.accounts.find(known) else { continue };
            if let Some(user) = &arrival.user {
                let row = self.read_account(number)?.ok_or(Damaged("accounts"))?;
                let user = self.user_number(user)?;
                self.set_link(number, &AccountRow { user, ..row })?;
            }
            return Ok(Arrived::Arriving { number, is_new: false });
        }
        if let Some(account) = self.account_of_token(&digest[..16])? {
            let Arrival { user, replace, .. } = arrival;
            let import =
                Import { account: account.clone(), user: user.clone(), tokens: None, replace: *replace };
            return Ok(Arrived::Known(account, self.import(&import)?));
        }
        let name = if arrival.replace { replacing } else { plain };
        let user = arrival.user.as_ref().map_or(Ok(NO_USER), |user| self.user_number(user))?;
        let number = self.add_account(&name, user, LinkState::Arriving)?;
        let span = Span::of_import(None, self.now);
        self.put_tokens(number, &name, &Pair::of(None, token), span, Origin::PutIn)?;
        Ok(Arrived::Arriving { number, is_new: true })
    }

    /// Takes in what OAuth gave for a code that came at `at`.
    pub(super) fn arrive_by_code(&mut self, pair: &Pair, span: Span, at: Millis) -> Result<u32, Fault> {
        let digest = Sha256::digest(pair.refresh_token.expose().as_bytes());
        let name = format!("{OURS}{}{BY_CODE}", HEXLOWER.encode(&digest[..16]));
        let name = AccountId::new(&name).map_err(|_| Damaged("accounts"))?;
        let number = match self.core.accounts.find(&name) {
            Some(number) => number,
            None => self.add_account(&name, NO_USER, LinkState::Arriving)?,
        };
        self.put_tokens(number, &name, pair, span, Origin::Code { at })?;
        Ok(number)
    }

    /// Gives tokens that a code brought to their account, whatever state it is in. It keeps its user.
    fn take_up(&mut self, account: &AccountId, tokens: &NewTokens, at: Millis) -> Result<Bound, Fault> {
        let known = self.core.accounts.find(account);
        let number = match known {
            Some(number) => number,
            None => self.add_account(account, NO_USER, LinkState::Unclaimed)?,
        };
        let before = self.read_account(number)?.ok_or(Damaged("accounts"))?;
        // Another code came later, or the app was removed since: these are of no use any more.
        let (last_code, removed_at) = (self.last_code(number)?, self.believed(before.removed_at));
        let is_late = known.is_some() && (at < self.believed(last_code) || at <= removed_at);
        if !is_late {
            self.put_tokens(number, account, &tokens.pair, tokens.span, Origin::Code { at })?;
            self.code_came(number, account, at, before.linked_at)?;
        }
        Ok(Bound { created: known.is_none(), released: Released::default() })
    }

    pub(super) fn identify(&mut self, number: u32, account: &AccountId) -> Result<Identified, Fault> {
        if self.is_unsettled(number)? {
            return Ok(Identified::Busy);
        }
        let Some(opened) = self.sound_tokens(number)? else { return Ok(Identified::Gone) };
        let Some((name, row)) = self.leave_arrival(number)? else { return Ok(Identified::Gone) };
        let (pair, span) = (opened.pair, opened.row.span);
        if name.as_str().ends_with(BY_CODE) {
            let bound = self.take_up(account, &NewTokens { pair, span }, row.linked_at)?;
            self.note_arrived(&name, account)?;
            return Ok(Identified::Given(Ok(bound)));
        }
        let replace = name.as_str().ends_with(REPLACE);
        let user = self.user_name(row.user);
        let mut import =
            Import { account: account.clone(), user, tokens: Some(NewTokens { pair, span }), replace };
        let done = self.import(&import)?;
        if done.is_err() {
            // OAuth may have replaced the tokens that its user has by these. A link that was removed is nobody's.
            let is_removed = self.state_of(account) == Some(LinkState::Removed);
            match import.tokens.take() {
                Some(tokens) if is_removed => drop(self.take_up(account, &tokens, self.now)?),
                tokens => drop(self.import(&Import { user: None, tokens, ..import })?),
            }
        }
        self.note_honoured(account)?;
        self.note_arrived(&name, account)?;
        Ok(Identified::Given(done))
    }

    /// What arrived was exchanged at OAuth, though it is put in here.
    fn note_honoured(&mut self, account: &AccountId) -> Result<(), Fault> {
        let Some(number) = self.core.accounts.find(account) else { return Ok(()) };
        let row = self.token_row(number).or_else(|fault| fault.of_one_record().map(|_| None))?;
        match row.filter(|row| row.proof == Proof::Untried) {
            Some(row) => self.write_token_row(number, &TokenRow { proof: Proof::Honoured, ..row }),
            None => Ok(()),
        }
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
        let hex = name.as_str().trim_start_matches(OURS).trim_end_matches(REPLACE).trim_end_matches(BY_CODE);
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

    pub(super) fn leave_arrival(&mut self, number: u32) -> Result<Option<(AccountId, AccountRow)>, Fault> {
        let Some(row) = self.read_account(number)? else { return Ok(None) };
        let Some(name) = row.id.clone().filter(|_| row.state == LinkState::Arriving) else { return Ok(None) };
        drop(self.forget(&name)?);
        Ok(Some((name, row)))
    }
}
