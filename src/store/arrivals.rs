//! Refresh tokens whose account is not known yet, from before they are exchanged until their account has them.

use bytes::{Buf, BufMut};
use sha2::{Digest, Sha256};

use super::batch::Batch;
use super::codec::{Damaged, stamp, stamped};
use super::command::{AccountRefusal, Bound, Import, NewTokens};
use super::error::Fault;
use super::index::NO_ACCOUNT;
use super::shared::Shared;
use super::tables::{ARRIVALS, KEYS, begin_read};
use super::tokens::{fields, read_fields};
use super::{Store, StoreError};
use crate::domain::arrival::Arrival;
use crate::domain::ids::{AccountId, UserId};
use crate::domain::secret::Secret;
use crate::domain::time::Millis;
use crate::domain::tokens::{Pair, Span};
use crate::vault::{DataKey, Purpose, SEAL_OVERHEAD};

const VERSION: u8 = 1;

/// Names an arrival: a hash of its refresh token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ArrivalKey([u8; 16]);

impl ArrivalKey {
    /// Of this refresh token.
    pub fn of(token: &Secret<String>) -> Self {
        let digest = Sha256::digest(token.expose().as_bytes());
        let mut key = [0; 16];
        key.copy_from_slice(&digest[..16]);
        Self(key)
    }
}

/// How far an arrival is.
#[derive(Debug)]
pub enum Stage {
    /// It may have been sent to OAuth.
    Sent(Secret<String>),
    /// OAuth gave a pair; its access token will tell the account.
    Given(Secret<String>),
}

/// An arrival that is not settled.
#[derive(Debug)]
pub struct Waiting {
    pub key: ArrivalKey,
    pub stage: Stage,
}

/// A row of `arrivals`, opened.
struct Row {
    user: Option<UserId>,
    replace: bool,
    pair: Pair,
    /// Nothing before OAuth gave the pair; until then it is what was put in.
    span: Option<Span>,
}

impl Store {
    /// Notes a refresh token that is about to be exchanged; one that is noted already stays as it is.
    ///
    /// # Errors
    /// When it could not be made durable: nothing may be sent.
    pub async fn arrive(&self, arrival: Arrival) -> Result<Waiting, StoreError> {
        self.write(move |batch| batch.arrive(&arrival)).await
    }

    /// Keeps the pair that OAuth gave for an arrival.
    ///
    /// # Errors
    /// When it could not be made durable; it may be said again.
    pub async fn arrival_given(
        &self,
        key: ArrivalKey,
        tokens: std::sync::Arc<NewTokens>,
    ) -> Result<(), StoreError> {
        self.write(move |batch| batch.arrival_given(key, &tokens)).await
    }

    /// Gives an arrival's tokens to their account, and the account to the arrival's user, unless another one has it. Nothing when there
    /// is no such arrival any more.
    ///
    /// # Errors
    /// When it could not be made durable.
    pub async fn settle_arrival(
        &self,
        key: ArrivalKey,
        account: AccountId,
    ) -> Result<Option<Result<Bound, AccountRefusal>>, StoreError> {
        self.write(move |batch| batch.settle_arrival(key, &account)).await
    }

    /// Forgets an arrival that OAuth does not honour, or that never was sent.
    ///
    /// # Errors
    /// When it could not be made durable.
    pub async fn drop_arrival(&self, key: ArrivalKey) -> Result<(), StoreError> {
        self.write(move |batch| Ok(batch.tables.arrivals()?.remove(&key.0[..]).map(drop)?)).await
    }

    /// Arrivals that are not settled, at most `limit`.
    ///
    /// # Errors
    /// When the file can't be read. Blocks for a short read.
    pub fn arrivals(&self, limit: usize) -> Result<Vec<Waiting>, StoreError> {
        Ok(read(&self.shared, limit)?)
    }
}

impl Batch<'_> {
    fn arrive(&mut self, arrival: &Arrival) -> Result<Waiting, Fault> {
        let key = ArrivalKey::of(&arrival.refresh_token);
        if let Some(row) = self.arrival(key)? {
            return Ok(Waiting { key, stage: row.stage() });
        }
        let pair = Pair::of(None, arrival.refresh_token.expose());
        let row = Row { user: arrival.user.clone(), replace: arrival.replace, pair, span: None };
        self.write_arrival(key, &row)?;
        Ok(Waiting { key, stage: row.stage() })
    }

    fn arrival_given(&mut self, key: ArrivalKey, tokens: &NewTokens) -> Result<(), Fault> {
        let Some(before) = self.arrival(key)? else { return Ok(()) };
        let access = tokens.pair.access_token.as_ref().map(|token| token.expose().as_str());
        let mut pair = Pair::of(access, tokens.pair.refresh_token.expose());
        pair.scope.clone_from(&tokens.pair.scope);
        self.write_arrival(key, &Row { pair, span: Some(tokens.span), ..before })
    }

    fn settle_arrival(
        &mut self,
        key: ArrivalKey,
        account: &AccountId,
    ) -> Result<Option<Result<Bound, AccountRefusal>>, Fault> {
        let Some(Row { user, replace, pair, span }) = self.arrival(key)? else { return Ok(None) };
        let Some(span) = span else { return Ok(None) };
        let mut import =
            Import { account: account.clone(), user, tokens: Some(NewTokens { pair, span }), replace };
        let mut done = self.import(&import)?;
        if done.is_err() {
            // OAuth replaced the tokens that its user has: these are the ones that live.
            import.user = None;
            let refused = std::mem::replace(&mut done, self.import(&import)?);
            done = refused;
        }
        self.tables.arrivals()?.remove(&key.0[..])?;
        Ok(Some(done))
    }

    fn arrival(&mut self, key: ArrivalKey) -> Result<Option<Row>, Fault> {
        let table = self.tables.arrivals()?;
        let Some(value) = redb::ReadableTable::get(table, &key.0[..])?.map(|v| v.value().to_vec()) else {
            return Ok(None);
        };
        let Some(data_key) = self.token_key(NO_ACCOUNT)? else { return Err(Damaged("keys").into()) };
        Ok(Some(Row::open(&data_key, key, &value)?))
    }

    fn write_arrival(&mut self, key: ArrivalKey, row: &Row) -> Result<(), Fault> {
        let data_key = match self.token_key(NO_ACCOUNT)? {
            Some(data_key) => data_key,
            None => self.fresh_key(NO_ACCOUNT, Purpose::Tokens)?,
        };
        let value = row.seal(&data_key, key)?;
        self.tables.arrivals()?.insert(&key.0[..], value.as_slice())?;
        Ok(())
    }
}

impl Row {
    fn stage(&self) -> Stage {
        let copy = |token: &Secret<String>| Secret::new(token.expose().clone());
        match (&self.span, &self.pair.access_token) {
            (Some(_), Some(access_token)) => Stage::Given(copy(access_token)),
            _ => Stage::Sent(copy(&self.pair.refresh_token)),
        }
    }

    fn seal(&self, data_key: &DataKey, key: ArrivalKey) -> Result<Vec<u8>, Fault> {
        let replace = self.replace.then_some("");
        let plain = fields(&[
            self.user.as_ref().map(UserId::as_str),
            replace,
            self.pair.access_token.as_ref().map(|token| token.expose().as_str()),
            Some(self.pair.refresh_token.expose().as_str()),
            self.pair.scope.as_deref(),
        ]);
        let span = self.span.unwrap_or(Span { renewed_at: Millis(0), expires_at: Millis(0) });
        let mut out = Vec::with_capacity(32 + plain.len() + SEAL_OVERHEAD);
        out.put_u8(VERSION);
        out.put_u8(u8::from(self.span.is_some()));
        out.put_u64(span.renewed_at.0);
        out.put_u64(span.expires_at.0);
        data_key.seal(&aad(key), &plain, &mut out)?;
        stamp("arrivals", &key.0, &mut out);
        Ok(out)
    }

    fn open(data_key: &DataKey, key: ArrivalKey, value: &[u8]) -> Result<Self, Fault> {
        let body = stamped("arrivals", &key.0, value)?;
        Ok(Self::read(data_key, key, body).ok_or(Damaged("arrivals"))?)
    }

    fn read(data_key: &DataKey, key: ArrivalKey, mut from: &[u8]) -> Option<Self> {
        if from.try_get_u8().ok()? != VERSION {
            return None;
        }
        let given = from.try_get_u8().ok()? != 0;
        let span = Span {
            renewed_at: Millis(from.try_get_u64().ok()?),
            expires_at: Millis(from.try_get_u64().ok()?),
        };
        let plain = zeroize::Zeroizing::new(data_key.open(&aad(key), from).ok()?);
        let [user, replace, access, refresh, scope] = read_fields(&plain)?;
        let user = match user {
            Some(name) => Some(UserId::new(&name).ok()?),
            None => None,
        };
        let pair =
            Pair { access_token: access.map(Secret::new), refresh_token: Secret::new(refresh?), scope };
        Some(Self { user, replace: replace.is_some(), pair, span: given.then_some(span) })
    }
}

fn aad(key: ArrivalKey) -> Vec<u8> {
    let mut aad = b"ringhookd/arrival/v1\0".to_vec();
    aad.extend_from_slice(&key.0);
    aad
}

fn read(shared: &Shared, limit: usize) -> Result<Vec<Waiting>, Fault> {
    let txn = shared.with_db(begin_read)?;
    let table = txn.open_table(ARRIVALS)?;
    let keys = txn.open_table(KEYS)?;
    let Some(wrapped) = keys.get((NO_ACCOUNT, Purpose::Tokens as u8))? else { return Ok(Vec::new()) };
    let data_key = shared.vault.unwrap(NO_ACCOUNT, Purpose::Tokens, wrapped.value())?;
    let mut waiting = Vec::new();
    for row in redb::ReadableTable::iter(&table)?.take(limit) {
        let (key, value) = row?;
        let key = ArrivalKey(key.value().try_into().map_err(|_| Damaged("arrivals"))?);
        waiting.push(Waiting { key, stage: Row::open(&data_key, key, value.value())?.stage() });
    }
    Ok(waiting)
}
