//! Claims: a partner's web app brings a user who has signed in and the nonce that Ring gave to the browser.

use crate::http::Body;
use hyper::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::Admin;
use super::refusal::{Refusal, Reply};
use super::request::{self, user_id};
use super::session::Session;
use crate::domain::actor::Actor;
use crate::domain::claim::{Bid, Outcome, Told};
use crate::domain::ids::AccountId;
use crate::domain::rights::Call;
use crate::domain::visit::Visit;
use crate::http::{Answer, answer};

/// A masked name is short.
const MOST_IDENTIFIER: usize = 256;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Claim {
    nonce: String,
    time: String,
    user: String,
    account_identifier: Option<String>,
}

impl Admin {
    /// The outcome in a word and in words that a page can show.
    pub(super) async fn claim(&self, session: &Session, by: &Actor, body: Body) -> Reply {
        session.may(Call::LinksClaim, None)?;
        let claim: Claim = request::json(body).await?;
        let user = user_id(&claim.user)?;
        if !session.sees_user(&user) {
            return Err(Refusal::forbidden("this socket sees only some users, and not this one"));
        }
        if claim.account_identifier.as_ref().is_some_and(|text| text.len() > MOST_IDENTIFIER) {
            return Err(Refusal::bad(format!("account_identifier is longer than {MOST_IDENTIFIER} bytes")));
        }
        // A browser brings these: what is wrong with them is no mistake of the web app's.
        let Ok(visit) = Visit::new(&claim.nonce, &claim.time) else {
            return Ok(told(&Told::of(Outcome::NoMatch, None)));
        };
        let identifier = claim.account_identifier.filter(|text| !text.is_empty());
        let bid =
            Bid { visit, user, identifier, accounts: session.selected_accounts().clone(), by: by.clone() };
        Ok(told(&self.links.claim(bid).await?))
    }
}

fn told(Told { outcome, account, released: held }: &Told) -> Answer {
    let status = match outcome {
        Outcome::Linked | Outcome::AlreadyLinked => StatusCode::OK,
        Outcome::Pending(_) => StatusCode::ACCEPTED,
        Outcome::NoMatch => StatusCode::NOT_FOUND,
        Outcome::OtherUser => StatusCode::CONFLICT,
        Outcome::Expired => StatusCode::GONE,
        Outcome::Refused(_) => StatusCode::UNPROCESSABLE_ENTITY,
    };
    let mut document = json!({
        "outcome": outcome.as_str(),
        "message": outcome.words(),
        "account_id": account.as_ref().map(AccountId::as_str),
    });
    if held.events > 0 {
        document["released"] = json!(held);
    }
    match outcome {
        Outcome::Pending(why) => {
            document["reason"] = why.as_str().into();
            document["detail"] = why.words().into();
        }
        Outcome::Refused(why) => {
            document["reason"] = why.as_str().into();
            document["detail"] = why.words().into();
        }
        _ => {}
    }
    answer::json(status, document.to_string())
}
