//! Ring's OAuth as a state machine: accounts, one-time codes, and a family of tokens for each account.
//!
//! A refresh token is good until it is exchanged ([`Policy`] says how long after that), until it was not used for
//! [`REFRESH_LIFE`], or until its family goes: with the user's consent, or when a fresh code is exchanged.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use data_encoding::HEXLOWER;
use thiserror::Error;

use super::random::Random;
use crate::domain::time::Millis;

/// Of disuse.
pub const REFRESH_LIFE: Duration = Duration::from_hours(30 * 24);
pub const ACCESS_LIFE: Duration = Duration::from_hours(4);
pub const PLAYGROUND_LIFE: Duration = Duration::from_mins(30);
pub const CODE_LIFE: Duration = Duration::from_mins(1);

const REFRESH: &str = "sim-rt-";
const ACCESS: &str = "sim-at-";
const CODE: &str = "sim-code-";
/// So many tokens of a kind are remembered for an account, whatever they are worth; older ones are unknown.
const REMEMBERED: usize = 16;

/// What becomes of a refresh token that was replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    DeadAtOnce,
    /// It stays good for so long, and each further use yields a new pair again.
    Grace(Duration),
}

/// Why no tokens are given. Each is `invalid_grant`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum Refusal {
    #[error("the refresh token is unknown: never given out, revoked, or of an earlier link")]
    Unknown,
    #[error("the refresh token was replaced when it was exchanged")]
    Replaced,
    #[error(
        "the refresh token was replaced when it was exchanged; as somebody else may hold it, all are revoked"
    )]
    Reused,
    #[error("the refresh token was not used for 30 days")]
    Disused,
    #[error("the code is unknown or was used")]
    UnknownCode,
    #[error("the code is older than 60 seconds")]
    ExpiredCode,
}

/// An access token and the refresh token that is good from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    pub access: String,
    pub refresh: String,
}

/// A pair, and whose it is. The generation counts the refresh tokens of an account from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Granted {
    pub(super) account: Arc<str>,
    pub(super) generation: u32,
    pub(super) pair: Pair,
}

type Key = [u8; 16];

#[derive(Debug)]
struct Account {
    id: Arc<str>,
    generation: u32,
    /// Oldest first; the last one is the current one.
    family: VecDeque<Refresh>,
    access: VecDeque<Key>,
}

#[derive(Debug)]
struct Refresh {
    key: Key,
    generation: u32,
    used_at: Millis,
    replaced_at: Option<Millis>,
}

/// Something that ends by itself.
#[derive(Debug, Clone, Copy)]
struct Expiring {
    account: usize,
    until: Millis,
}

#[derive(Debug)]
pub(super) struct OAuth {
    policy: Policy,
    reuse_revokes: bool,
    random: Random,
    accounts: Vec<Account>,
    by_id: HashMap<Arc<str>, usize>,
    refresh: HashMap<Key, usize>,
    access: HashMap<Key, Expiring>,
    codes: HashMap<Key, Expiring>,
}

impl OAuth {
    /// With `reuse_revokes` a replaced token that comes again takes its whole family with it (RFC 9700).
    pub(super) fn new(policy: Policy, reuse_revokes: bool, random: Random) -> Self {
        Self {
            policy,
            reuse_revokes,
            random,
            accounts: Vec::new(),
            by_id: HashMap::new(),
            refresh: HashMap::new(),
            access: HashMap::new(),
            codes: HashMap::new(),
        }
    }

    /// All accounts, in the order in which they came.
    pub(super) fn accounts(&self) -> impl ExactSizeIterator<Item = &Arc<str>> {
        self.accounts.iter().map(|account| &account.id)
    }

    /// A first pair, or a pair that replaces all earlier ones.
    pub(super) fn link(&mut self, id: &str, now: Millis) -> Granted {
        let account = self.account(id);
        self.end_family(account);
        self.grant(account, true, now)
    }

    /// A one-time code of an account, which need not be known before.
    pub(super) fn new_code(&mut self, id: &str, now: Millis) -> String {
        let account = self.account(id);
        self.codes.retain(|_, code| code.until.plus(CODE_LIFE) > now);
        let key = self.random.draw();
        self.codes.insert(key, Expiring { account, until: now.plus(CODE_LIFE) });
        show(CODE, key)
    }

    /// A token of Ring's Playground: half an hour, no refresh token.
    pub(super) fn playground(&mut self, id: &str, now: Millis) -> String {
        let account = self.account(id);
        self.new_access(account, now.plus(PLAYGROUND_LIFE))
    }

    /// Takes a code for good, whether or not it is good still.
    ///
    /// # Errors
    /// [`Refusal`]
    pub(super) fn exchange_code(&mut self, code: &str, now: Millis) -> Result<Granted, Refusal> {
        let code = key(CODE, code).and_then(|key| self.codes.remove(&key)).ok_or(Refusal::UnknownCode)?;
        if now >= code.until {
            return Err(Refusal::ExpiredCode);
        }
        // Where reuse revokes, the tokens of an earlier code count as replaced, which is the harshest that an OAuth may do.
        if self.reuse_revokes {
            self.end_access(code.account);
        } else {
            self.end_family(code.account);
        }
        Ok(self.grant(code.account, true, now))
    }

    /// Exchanges a refresh token; without `rotate` for itself and a new access token.
    ///
    /// # Errors
    /// [`Refusal`]
    pub(super) fn refresh(&mut self, token: &str, rotate: bool, now: Millis) -> Result<Granted, Refusal> {
        let (account, at) = self.find(token).ok_or(Refusal::Unknown)?;
        match self.standing(&self.accounts[account].family[at], now) {
            Err(Refusal::Replaced) if self.reuse_revokes => {
                self.end_family(account);
                return Err(Refusal::Reused);
            }
            standing => standing?,
        }
        Ok(self.grant(account, rotate, now))
    }

    /// Whether an exchange would succeed now.
    pub(super) fn honours(&self, token: &str, now: Millis) -> bool {
        self.find(token)
            .is_some_and(|(account, at)| self.standing(&self.accounts[account].family[at], now).is_ok())
    }

    /// The newest refresh token of an account, unless nothing of it is good any more.
    pub(super) fn live(&self, id: &str, now: Millis) -> Option<String> {
        let newest = self.accounts[*self.by_id.get(id)?].family.back()?;
        self.standing(newest, now).is_ok().then(|| show(REFRESH, newest.key))
    }

    /// Whose refresh token or code this is, and of which generation a refresh token.
    pub(super) fn owner(&self, token: &str) -> Option<(Arc<str>, Option<u32>)> {
        if let Some((account, at)) = self.find(token) {
            let account = &self.accounts[account];
            return Some((Arc::clone(&account.id), Some(account.family[at].generation)));
        }
        let code = self.codes.get(&key(CODE, token)?)?;
        Some((Arc::clone(&self.accounts[code.account].id), None))
    }

    /// Whose access token this is, while it is good.
    pub(super) fn bearer(&self, token: &str, now: Millis) -> Option<Arc<str>> {
        let access = self.access.get(&key(ACCESS, token)?)?;
        (now < access.until).then(|| Arc::clone(&self.accounts[access.account].id))
    }

    /// The user removed the app: nothing of the account is good any more. Whether it was known.
    pub(super) fn revoke(&mut self, id: &str) -> bool {
        let account = self.by_id.get(id).copied();
        if let Some(account) = account {
            self.end_family(account);
            self.codes.retain(|_, code| code.account != account);
        }
        account.is_some()
    }

    fn account(&mut self, id: &str) -> usize {
        if let Some(account) = self.by_id.get(id) {
            return *account;
        }
        let id: Arc<str> = id.into();
        self.by_id.insert(Arc::clone(&id), self.accounts.len());
        self.accounts.push(Account { id, generation: 0, family: VecDeque::new(), access: VecDeque::new() });
        self.accounts.len() - 1
    }

    fn find(&self, token: &str) -> Option<(usize, usize)> {
        let key = key(REFRESH, token)?;
        let account = *self.refresh.get(&key)?;
        let at = self.accounts[account].family.iter().position(|refresh| refresh.key == key)?;
        Some((account, at))
    }

    fn standing(&self, token: &Refresh, now: Millis) -> Result<(), Refusal> {
        let out_of_grace = |replaced_at| match self.policy {
            Policy::DeadAtOnce => true,
            Policy::Grace(grace) => now.since(replaced_at) >= grace,
        };
        if token.replaced_at.is_some_and(out_of_grace) {
            return Err(Refusal::Replaced);
        }
        if now.since(token.used_at) >= REFRESH_LIFE {
            return Err(Refusal::Disused);
        }
        Ok(())
    }

    fn grant(&mut self, account: usize, rotate: bool, now: Millis) -> Granted {
        let access = self.new_access(account, now.plus(ACCESS_LIFE));
        let fresh = rotate.then(|| self.random.draw());
        let of = &mut self.accounts[account];
        if let Some(key) = fresh {
            for old in &mut of.family {
                old.replaced_at.get_or_insert(now);
            }
            of.generation += 1;
            of.family.push_back(Refresh { key, generation: of.generation, used_at: now, replaced_at: None });
            self.refresh.insert(key, account);
            if of.family.len() > REMEMBERED
                && let Some(old) = of.family.pop_front()
            {
                self.refresh.remove(&old.key);
            }
        }
        let Some(current) = of.family.back_mut() else { unreachable!("only a token of the family is kept") };
        current.used_at = now;
        let pair = Pair { access, refresh: show(REFRESH, current.key) };
        Granted { account: Arc::clone(&of.id), generation: of.generation, pair }
    }

    fn new_access(&mut self, account: usize, until: Millis) -> String {
        let key = self.random.draw();
        self.access.insert(key, Expiring { account, until });
        let of = &mut self.accounts[account].access;
        of.push_back(key);
        if of.len() > REMEMBERED
            && let Some(old) = of.pop_front()
        {
            self.access.remove(&old);
        }
        show(ACCESS, key)
    }

    fn end_family(&mut self, account: usize) {
        for token in self.accounts[account].family.drain(..) {
            self.refresh.remove(&token.key);
        }
        self.end_access(account);
    }

    fn end_access(&mut self, account: usize) {
        for token in self.accounts[account].access.drain(..) {
            self.access.remove(&token);
        }
    }
}

fn show(prefix: &str, key: Key) -> String {
    format!("{prefix}{}", HEXLOWER.encode(&key))
}

fn key(prefix: &str, token: &str) -> Option<Key> {
    HEXLOWER.decode(token.strip_prefix(prefix)?.as_bytes()).ok()?.try_into().ok()
}

/// Whether this is a refresh token by its looks, good or not.
pub(super) fn is_refresh_token(token: &str) -> bool {
    token.starts_with(REFRESH)
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Millis = Millis(1_700_000_000_000);
    const MINUTE: Duration = Duration::from_mins(1);
    const LAST: Duration = Duration::from_millis(1);

    fn oauth(policy: Policy, reuse_revokes: bool) -> (OAuth, Pair) {
        let mut oauth = OAuth::new(policy, reuse_revokes, Random::new(7));
        let pair = oauth.link("a", T0).pair;
        (oauth, pair)
    }

    #[test]
    fn a_replaced_token_is_dead_at_once() {
        let (mut oauth, first) = oauth(Policy::DeadAtOnce, false);
        let second = oauth.refresh(&first.refresh, true, T0).unwrap();
        assert_eq!((second.generation, &*second.account), (2, "a"));
        assert!(!oauth.honours(&first.refresh, T0) && oauth.honours(&second.pair.refresh, T0));
        assert_eq!(oauth.refresh(&first.refresh, true, T0), Err(Refusal::Replaced));
        assert_eq!(oauth.live("a", T0), Some(second.pair.refresh.clone()), "nothing was revoked");
        assert!(first.refresh.starts_with("sim-rt-") && first.access.starts_with("sim-at-"));
    }

    #[test]
    fn within_its_grace_a_replaced_token_yields_another_pair() {
        let (mut oauth, first) = oauth(Policy::Grace(MINUTE), false);
        let lost = oauth.refresh(&first.refresh, true, T0).unwrap().pair;
        let again = oauth.refresh(&first.refresh, true, T0.plus(MINUTE / 2)).unwrap().pair;
        assert_ne!(lost, again);
        assert!(oauth.honours(&lost.refresh, T0.plus(MINUTE)), "its own grace began when it was replaced");
        assert!(!oauth.honours(&lost.refresh, T0.plus(MINUTE / 2 * 3)));
        assert_eq!(oauth.refresh(&first.refresh, true, T0.plus(MINUTE)), Err(Refusal::Replaced));
        assert_eq!(oauth.live("a", T0.plus(MINUTE * 2)), Some(again.refresh));
    }

    #[test]
    fn reuse_takes_the_family_where_that_is_the_rule() {
        let (mut oauth, first) = oauth(Policy::Grace(MINUTE), true);
        let second = oauth.refresh(&first.refresh, true, T0).unwrap().pair;
        assert!(oauth.bearer(&second.access, T0).is_some());
        assert_eq!(oauth.refresh(&first.refresh, true, T0.plus(MINUTE)), Err(Refusal::Reused));
        assert_eq!(oauth.refresh(&second.refresh, true, T0.plus(MINUTE)), Err(Refusal::Unknown));
        assert_eq!((oauth.live("a", T0), oauth.bearer(&second.access, T0)), (None, None));
    }

    #[test]
    fn where_reuse_revokes_the_tokens_of_an_earlier_code_end_the_later_ones() {
        let (mut oauth, _) = oauth(Policy::DeadAtOnce, true);
        let [first, second] = [(); 2].map(|()| {
            let code = oauth.new_code("a", T0);
            oauth.exchange_code(&code, T0).unwrap().pair
        });
        assert!(oauth.honours(&second.refresh, T0) && !oauth.honours(&first.refresh, T0));
        assert_eq!(oauth.bearer(&first.access, T0), None);
        assert_eq!(oauth.refresh(&first.refresh, true, T0), Err(Refusal::Reused));
        assert!(!oauth.honours(&second.refresh, T0));
    }

    #[test]
    fn tokens_grow_old_by_the_clock() {
        let (mut oauth, first) = oauth(Policy::DeadAtOnce, false);
        assert!(oauth.bearer(&first.access, T0.plus(ACCESS_LIFE).minus(LAST)).is_some());
        assert!(oauth.bearer(&first.access, T0.plus(ACCESS_LIFE)).is_none());
        assert!(oauth.bearer(&first.refresh, T0).is_none());
        let used = T0.plus(REFRESH_LIFE).minus(LAST);
        let second = oauth.refresh(&first.refresh, true, used).unwrap().pair;
        assert!(
            oauth.honours(&second.refresh, used.plus(REFRESH_LIFE).minus(LAST)),
            "a use begins 30 days anew"
        );
        let late = used.plus(REFRESH_LIFE);
        assert_eq!(oauth.refresh(&second.refresh, true, late), Err(Refusal::Disused));
        let playground = oauth.playground("a", T0);
        assert!(oauth.bearer(&playground, T0.plus(PLAYGROUND_LIFE).minus(LAST)).is_some());
        assert!(oauth.bearer(&playground, T0.plus(PLAYGROUND_LIFE)).is_none());
    }

    #[test]
    fn a_code_is_good_once_and_for_a_minute() {
        let (mut oauth, first) = oauth(Policy::DeadAtOnce, false);
        let (code, late) = (oauth.new_code("a", T0), oauth.new_code("b", T0));
        assert_eq!(oauth.owner(&code), Some(("a".into(), None)));
        assert_eq!(oauth.exchange_code(&late, T0.plus(CODE_LIFE)), Err(Refusal::ExpiredCode));
        assert!(oauth.exchange_code(&code, T0.plus(CODE_LIFE).minus(LAST)).is_ok());
        assert_eq!(oauth.exchange_code(&code, T0), Err(Refusal::UnknownCode));
        assert!(!oauth.honours(&first.refresh, T0), "a new link ends the old one");
        assert_eq!(oauth.exchange_code("sim-code-x", T0), Err(Refusal::UnknownCode));
    }

    #[test]
    fn without_rotation_the_token_lives_on() {
        let (mut oauth, first) = oauth(Policy::DeadAtOnce, false);
        let later = T0.plus(REFRESH_LIFE / 2);
        let same = oauth.refresh(&first.refresh, false, later).unwrap();
        assert_eq!((same.generation, &same.pair.refresh), (1, &first.refresh));
        assert!(oauth.honours(&first.refresh, T0.plus(REFRESH_LIFE)));
    }

    #[test]
    fn a_removed_app_has_nothing_left_and_can_come_again() {
        let (mut oauth, first) = oauth(Policy::DeadAtOnce, false);
        let code = oauth.new_code("a", T0);
        assert!(oauth.revoke("a") && !oauth.revoke("b"));
        assert!(!oauth.honours(&first.refresh, T0) && oauth.bearer(&first.access, T0).is_none());
        assert_eq!(oauth.exchange_code(&code, T0), Err(Refusal::UnknownCode));
        let code = oauth.new_code("a", T0);
        assert!(oauth.exchange_code(&code, T0).is_ok());
    }

    #[test]
    fn memory_does_not_grow_with_the_exchanges_and_a_seed_repeats() {
        let run = || {
            let (mut oauth, mut pair) = oauth(Policy::DeadAtOnce, false);
            for _ in 0..100 {
                pair = oauth.refresh(&pair.refresh, true, T0).unwrap().pair;
            }
            assert_eq!((oauth.refresh.len(), oauth.access.len()), (REMEMBERED, REMEMBERED));
            pair
        };
        assert_eq!(run(), run());
    }
}
