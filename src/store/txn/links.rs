//! A link inside a transaction: loaded, told what happened, written, and its effects performed. What they are decides
//! `domain::link`.

use redb::ReadableTable;

use super::batch::{Batch, HELD, Staged};
use crate::domain::cloudevent::Mark;
use crate::domain::event::Event as Webhook;
use crate::domain::ids::AccountId;
use crate::domain::link::{Claiming, Effects, Event, Link, LinkState, Now, Owner, Tenure};
use crate::domain::released::Released;
use crate::failpoint;
use crate::logging::audit::{Entry, What};
use crate::store::command::Class;
use crate::store::kv::error::Fault;
use crate::store::memory::index::NO_USER;
use crate::store::memory::shared::bump;
use crate::store::rows::account::AccountRow;
use crate::store::rows::claim::ClaimRow;
use crate::store::rows::codec::{Aside, Damaged};

impl Batch<'_> {
    /// Tells the link of the account what happened.
    pub(crate) fn on_link(&mut self, number: u32, event: Event) -> Result<Effects, Fault> {
        let row = self.read_account(number)?.ok_or(Damaged("accounts"))?;
        let claim = self.claim_row(number)?;
        let is_forgotten = matches!(event, Event::Forget);
        let claiming = claim.as_ref().map(|claim| claim.claiming.clone()).unwrap_or_default();
        let link = Link { tenure: row.tenure.clone(), claiming };
        let (Link { tenure, claiming }, effects) = link.on(event, self.link_now());
        if let Some(id) = &row.id {
            let code_came = tenure.code_at != row.tenure.code_at;
            self.write_claiming(number, id, claim.as_ref(), claiming, code_came)?;
            self.note_link(id, &row.tenure, &tenure)?;
        }
        let state = tenure.state;
        if tenure != row.tenure {
            let id = row.id.filter(|_| !is_forgotten);
            self.write_account(number, &AccountRow { id, tenure, ..row })?;
        }
        if effects.destroy_tokens {
            self.destroy_tokens(number)?;
        }
        if effects.tell {
            self.announce(number, state.name(), None)?;
        }
        if effects.release {
            self.release(number)?;
        }
        Ok(effects)
    }

    /// Tells the log of a link that is another than before.
    fn note_link(&mut self, id: &AccountId, before: &Tenure, after: &Tenure) -> Result<(), Fault> {
        use LinkState::{Arriving, Claiming, Forgotten, Linked, Refused, Removed, Unclaimed};
        let (former, holder) = (before.holder(), after.holder());
        let moved = former != NO_USER && holder != NO_USER && holder != former;
        let what = match after.state {
            Arriving | Forgotten => return Ok(()),
            state if state == before.state && moved => What::LinkMoved,
            state if state == before.state => return Ok(()),
            Linked => What::LinkMade,
            Claiming => What::LinkClaimed,
            Refused => What::LinkRefused,
            Removed => What::LinkRemoved,
            Unclaimed if matches!(before.state, Linked | Claiming | Refused) => What::LinkRemoved,
            Unclaimed => return Ok(()),
        };
        self.note(what, |batch, entry| {
            let user = if holder == NO_USER { former } else { holder };
            let former = if moved { batch.user_name(former) } else { None };
            Ok(Entry { account: Some(id.clone()), user: batch.user_name(user), former, ..entry })
        })
    }

    /// The clocks as this transaction reads them.
    pub(crate) fn link_now(&self) -> Now {
        Now { ring: self.ring, wall: self.now }
    }

    /// A new account that nobody has.
    pub(crate) fn add_unclaimed(&mut self, id: &AccountId) -> Result<u32, Fault> {
        let Link { tenure, claiming } = Link::unclaimed();
        let number = self.add_account(&AccountRow::new(id, tenure, self.now))?;
        self.write_claiming(number, id, None, claiming, false)?;
        Ok(number)
    }

    fn write_claiming(
        &mut self,
        number: u32,
        account: &AccountId,
        before: Option<&ClaimRow>,
        claiming: Claiming,
        code_came: bool,
    ) -> Result<(), Fault> {
        if !claiming.open && claiming.last.is_none() {
            return if before.is_some() { self.drop_claim(number) } else { Ok(()) };
        }
        let row = ClaimRow { account: account.clone(), claiming };
        let value = row.encode(number);
        if !code_came && before.is_some_and(|before| before.encode(number) == value) {
            return Ok(());
        }
        self.tables.claims()?.insert(number, value.as_slice())?;
        self.staged.push(Staged::Claim { account: number });
        Ok(())
    }

    /// Lets held events go to whom they belong to, in the order in which they came; before anything that is accepted later.
    fn release(&mut self, number: u32) -> Result<(), Fault> {
        if !self.core.held_by_account.contains_key(&number) {
            return Ok(());
        }
        let Some(row) = self.read_account(number)? else { return Ok(()) };
        for seq in self.held_of(number, usize::MAX)? {
            self.release_one(number, seq, &row.tenure, false)?;
        }
        Ok(())
    }

    /// The same for one. Where the hold `is_over`, no further link is waited for. Whether a user has it now.
    pub(crate) fn release_one(
        &mut self,
        number: u32,
        seq: u64,
        tenure: &Tenure,
        is_over: bool,
    ) -> Result<bool, Fault> {
        let Some(aside) = self.read_aside((HELD, u64::from(number), seq, 0))? else {
            self.core.unhold(seq);
            return Ok(false);
        };
        let event = match self.open_event(seq, number, &aside.sealed) {
            Ok(Some(event)) => event,
            Ok(None) => {
                self.take_held(number, seq)?;
                return Ok(false);
            }
            Err(fault) => {
                fault.of_one_record()?;
                bump(&self.shared.stats.damaged);
                self.released.add(Released { events: 1, dead: 1, ..Released::default() });
                return self.bury_held(seq, "the record is damaged").map(|()| false);
            }
        };
        match tenure.whose(&event.kind, self.plausible(event.time)) {
            Owner::User(user) => self.hand_over(number, seq, user, event, &aside)?,
            Owner::NextOr(user) if is_over && user != NO_USER => {
                self.hand_over(number, seq, user, event, &aside)?;
            }
            Owner::Nobody => {
                self.bury_held(seq, "its link ended before anybody claimed it")?;
                return Ok(false);
            }
            Owner::Next | Owner::NextOr(_) => return Ok(false),
        }
        Ok(true)
    }

    fn hand_over(
        &mut self,
        number: u32,
        seq: u64,
        user: u32,
        mut event: Webhook,
        aside: &Aside,
    ) -> Result<(), Fault> {
        failpoint!("store.releasing");
        self.take_held(number, seq)?;
        event.user = self.user_name(user);
        event.marks.insert(Mark::Held);
        let queues = self.queues_for(&event, &aside.queues);
        self.counts.released += 1;
        if !queues.is_empty() {
            self.released.to_queues(self.core.queue_names(&queues));
            let seq = self.append(number, user, &event, queues.clone())?;
            self.publish(seq, &queues, &event);
        } else if aside.queues.is_empty() {
            self.released.add(Released { events: 1, unrouted: 1, ..Released::default() });
            self.counts.unrouted += 1;
            self.put_letter(Class::Unrouted, number, user, &event, "no queue wants it")?;
        } else {
            self.released.add(Released { events: 1, delivered_before: 1, ..Released::default() });
        }
        Ok(())
    }

    /// Takes a held event out for good.
    pub(crate) fn take_held(&mut self, number: u32, seq: u64) -> Result<(), Fault> {
        self.core.unhold(seq);
        self.take_aside((HELD, u64::from(number), seq, 0))?;
        Ok(())
    }

    pub(crate) fn held_of(&mut self, number: u32, limit: usize) -> Result<Vec<u64>, Fault> {
        if !self.core.held_by_account.contains_key(&number) {
            return Ok(Vec::new());
        }
        let scope = u64::from(number);
        let table = self.tables.aside()?;
        let range = table.range((HELD, scope, 0, 0)..=(HELD, scope, u64::MAX, u32::MAX))?;
        range.take(limit).map(|row| Ok(row?.0.value().2)).collect()
    }
}
