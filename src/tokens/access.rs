//! Hands out access tokens that live long enough; whoever asks meanwhile shares the one refresh that brings them.

use std::sync::Arc;
use std::time::Duration;

use super::context::Context;
use crate::clock;
use crate::domain::access_token::{AccessRequest, AccessToken, Denied, Reason};
use crate::domain::refresh::{Decision, End};
use crate::domain::time::Millis;
use crate::store::Access;
use crate::telemetry::AccessOutcome;

/// An answer comes within this.
const PATIENCE: Duration = Duration::from_millis(9500);
/// A token that is younger than this was not refused for its age.
const YOUNG: Duration = Duration::from_secs(30);
/// This part of its life a token is kept, however long a life is asked for.
const NOT_BEFORE: u32 = 8;
/// When to ask again where nobody knows better.
const SOON: Duration = Duration::from_secs(5);

/// The access tokens of all accounts.
#[derive(Debug)]
pub struct AccessTokens {
    pub(super) context: Arc<Context>,
}

impl AccessTokens {
    /// An access token for a worker, within 10 s.
    ///
    /// # Errors
    /// Why there is none, and when to ask again.
    pub async fn get(&self, ask: &AccessRequest) -> Result<AccessToken, Denied> {
        let token = self.find(ask).await;
        self.context.metrics.access_asked(match &token {
            Ok(_) => AccessOutcome::Given,
            Err(Denied { retry_after: Some(_), .. }) => AccessOutcome::Later,
            Err(_) => AccessOutcome::Denied,
        });
        token
    }

    async fn find(&self, ask: &AccessRequest) -> Result<AccessToken, Denied> {
        let until = clock::ticks() + PATIENCE;
        let mut renewed = false;
        loop {
            let access = match self.context.store.links().access(ask.account.clone()).await {
                Ok(Some(access)) => access,
                Ok(None) => return Err(Denied::for_good(Reason::NoTokens)),
                Err(_) => return Err(Denied::for_now(Reason::Store, SOON)),
            };
            let number = access.number;
            let good_for = self.context.schedule.access_left(&access);
            let access = match serve(ask, access, good_for, self.context.schedule.now()) {
                Ok(token) => return Ok(token),
                Err(access) => access,
            };
            if renewed {
                return Err(Denied::for_good(Reason::TooLong));
            }
            self.may_refresh(ask, &access, good_for)?;
            let outcome = self.context.schedule.wait_for(number);
            let planned = self.context.schedule.plan_if_new(number).await;
            planned.map_err(|_| Denied::for_now(Reason::Store, SOON))?;
            let asked = self.context.schedule.ask(number);
            asked.map_err(|wait| Denied::for_now(self.context.schedule.why_failing(number), wait))?;
            match tokio::time::timeout_at(until, outcome).await {
                Ok(Ok(Some(Decision::Retry { within }))) => return Err(self.why_later(number, within)),
                Ok(Ok(Some(Decision::Renewed))) => renewed = true,
                // It ended, or has other tokens now: what is on disk tells.
                Ok(_) if clock::ticks() < until => {}
                Ok(_) | Err(_) => return Err(Denied::for_now(Reason::UnderWay, SOON)),
            }
        }
    }

    fn may_refresh(&self, ask: &AccessRequest, access: &Access, left: Duration) -> Result<(), Denied> {
        match access.end {
            Some(End::Lapsed) => return Err(Denied::for_good(Reason::Lapsed)),
            Some(End::Revoked) => return Err(Denied::for_good(Reason::Revoked)),
            None => {}
        }
        if !self.context.api.is_there() {
            return Err(Denied::for_good(Reason::NotConfigured));
        }
        if self.context.guard.is_guarded() {
            return Err(Denied::for_good(Reason::Guarded));
        }
        not_again(ask, access, left, self.context.schedule.now())?;
        let standing = self.context.schedule.trouble();
        match standing {
            Some((reason, wait)) => Err(Denied::for_now(reason, wait)),
            None => Ok(()),
        }
    }

    fn why_later(&self, number: u32, within: Duration) -> Denied {
        let schedule = &self.context.schedule;
        let reason = match schedule.why_failing(number) {
            Reason::Failing => schedule.trouble().map_or(Reason::Failing, |(reason, _)| reason),
            own => own,
        };
        Denied::for_now(reason, within.max(Duration::from_secs(1)))
    }
}

/// A refresh is a rotation, which may go wrong: nobody gets one for the asking while the token that is there is good.
fn not_again(ask: &AccessRequest, access: &Access, left: Duration, now: Millis) -> Result<(), Denied> {
    let (life, age) =
        (access.span.expires_at.since(access.span.renewed_at), now.since(access.span.renewed_at));
    if access.token.is_none() || left.is_zero() {
        return Ok(());
    }
    if ask.refused.is_some_and(|refused| refused >= access.generation) {
        let wait = YOUNG.saturating_sub(age);
        return if wait.is_zero() { Ok(()) } else { Err(Denied::for_now(Reason::JustRenewed, wait)) };
    }
    if ask.min_life > life {
        return Err(Denied::for_good(Reason::TooLong));
    }
    let wait = (life / NOT_BEFORE).saturating_sub(age);
    if wait.is_zero() { Ok(()) } else { Err(Denied::for_now(Reason::TooLong, wait)) }
}

/// The token that is there, if it serves.
fn serve(ask: &AccessRequest, access: Access, left: Duration, now: Millis) -> Result<AccessToken, Access> {
    let refused = ask.refused.is_some_and(|refused| access.generation <= refused);
    match access {
        Access { token: Some(token), span, generation, .. }
            if !refused && left >= ask.min_life && !left.is_zero() =>
        {
            let expires_at = span.expires_at.min(now.plus(left));
            Ok(AccessToken { token, expires_at, expires_in: expires_at.since(now), generation })
        }
        other => Err(other),
    }
}
