//! The demo's last part: a user adds the app in Ring, signs in with the partner, and has the account; removes it, and links it anew.

use crate::clock;
use crate::domain::actor::Actor;
use crate::domain::claim::{Bid, Outcome};
use crate::domain::routing::Selection;
use crate::domain::visit::Visit;
use crate::sim::{CodeSender, CodeShape, Partner, Peer, Sender};
use crate::store::LinkState;

use super::{DemoError, KEY, PATH, PATIENCE, Stage, UNCLAIMED, account_id, broken, line, user_id};

const CODE_PATH: &str = "/ring/token";
const USER: &str = "user-3";

impl Stage<'_> {
    /// As Ring does it by itself: codes and events are the simulated Ring's own.
    pub(super) async fn link(&mut self) -> Result<(), DemoError> {
        let to = self.daemon.address();
        self.oauth.set_partner(Partner {
            webhook: Some(Sender::new(to, PATH, KEY.as_bytes())),
            codes: Some(CodeSender::new(Peer { to, path: CODE_PATH.into() }, CodeShape::Form)),
            link_url: None,
        });
        let (account, _) = UNCLAIMED;
        self.say(format_args!(
            "\n  {account} has had one event already, which nobody gets yet. Its user adds the app in Ring:\n"
        ))?;
        self.install().await?;
        self.sign_in().await?;
        // What was held from before, both devices, and Ring's word that the link is complete.
        self.events(&["device_added", "device_added", "device_added", "app_integration_added"]).await?;

        self.say(format_args!("\n  {USER} removes the app:\n"))?;
        if !self.oauth.revoke(account) {
            return Err(broken("Ring knows no such account"));
        }
        self.events(&["app_integration_removed", "device_removed", "device_removed"]).await?;
        self.is(LinkState::Removed, false).await?;
        self.say(format_args!("  unlinked  {account}: its tokens are destroyed"))?;

        self.say(format_args!("\n  {USER} adds it again:\n"))?;
        self.install().await?;
        self.sign_in().await?;
        self.events(&["device_added", "device_added", "app_integration_added"]).await
    }

    /// Ring sends what it has to, in its own order, and brings a code; nobody is told whose the account is.
    async fn install(&mut self) -> Result<(), DemoError> {
        let (account, _) = UNCLAIMED;
        self.oauth.install(account).map_err(broken)?;
        self.is(LinkState::Unclaimed, true).await?;
        self.say(format_args!(
            "  unclaimed {account}: Ring's code came, its tokens are here; its events are held"
        ))?;
        Ok(())
    }

    /// The browser comes to the partner's web app with Ring's nonce, and its user signs in there.
    async fn sign_in(&mut self) -> Result<(), DemoError> {
        let (account, _) = UNCLAIMED;
        let visit = self.oauth.visit(account).ok_or_else(|| broken("Ring sends no browser"))?;
        self.say(format_args!(
            "  sign-in   the browser arrives with nonce={}…&time={}",
            &visit.nonce[..8],
            visit.time
        ))?;
        let bid = Bid {
            visit: Visit::new(&visit.nonce, &visit.time).map_err(broken)?,
            user: user_id(USER)?,
            identifier: Some("u***3@example.com".into()),
            accounts: Selection::All,
            by: Actor::Daemon,
        };
        let told = self.daemon.linking().claim(bid).await.map_err(broken)?;
        self.say(format_args!("  claimed   {account} by {USER}: {}", told.outcome.words()))?;
        if told.outcome == Outcome::Linked { Ok(()) } else { Err(broken(told.outcome.as_str())) }
    }

    /// Waits until the account is so.
    async fn is(&self, state: LinkState, has_tokens: bool) -> Result<(), DemoError> {
        let deadline = clock::ticks() + PATIENCE;
        while clock::ticks() < deadline {
            let view = self.daemon.store().links().account(account_id(UNCLAIMED.0)?).await?;
            if view.is_some_and(|view| view.state == state && view.tokens.is_some() == has_tokens) {
                return Ok(());
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        Err(broken(format!("the account is not {}", state.name())))
    }

    /// What Ring sent comes out of the user's queue; the order of what it sends at once is not promised.
    async fn events(&mut self, kinds: &[&str]) -> Result<(), DemoError> {
        let mut came = Vec::new();
        for _ in kinds {
            let arrival = self.arrival().await?;
            self.say(format_args!("{:50}accepted   queue {}: {}", "", arrival.queue, line(&arrival.event)))?;
            if arrival.queue != USER {
                return Err(broken(format!("it was {USER}'s")));
            }
            came.push(arrival.event.event.kind.clone());
        }
        let mut expected: Vec<_> = kinds.iter().map(ToString::to_string).collect();
        came.sort();
        expected.sort();
        if came == expected { Ok(()) } else { Err(broken(format!("{expected:?} were due, not {came:?}"))) }
    }
}
