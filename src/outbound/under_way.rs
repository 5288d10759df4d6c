//! What is under way at Ring, known in one place: at most one piece of work for each account's tokens, code and claim.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::store::CodeId;

/// What is worked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Item {
    /// The tokens of an account.
    Refresh(u32),
    Code(CodeId),
    /// The claim of an account, and its pause.
    Claim(u32),
}

/// Everything that is under way.
#[derive(Debug, Default)]
pub(super) struct UnderWay(Mutex<BTreeMap<Item, Arc<Notify>>>);

impl UnderWay {
    fn items(&self) -> MutexGuard<'_, BTreeMap<Item, Arc<Notify>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing when the item is under way already.
    pub(super) fn enter(self: &Arc<Self>, item: Item) -> Option<InFlight> {
        let nudge = Arc::new(Notify::new());
        let mut items = self.items();
        if items.contains_key(&item) {
            return None;
        }
        items.insert(item, Arc::clone(&nudge));
        Some(InFlight { of: Arc::clone(self), item, nudge })
    }

    /// Tells whoever works on the item that something about it changed; whether anybody does.
    pub(super) fn nudge(&self, item: Item) -> bool {
        self.items().get(&item).inspect(|nudge| nudge.notify_one()).is_some()
    }

    /// How many codes are under way.
    pub(super) fn codes(&self) -> usize {
        self.items().keys().filter(|item| matches!(item, Item::Code(_))).count()
    }
}

/// An item is under way while this lives, however the work on it ends.
#[derive(Debug)]
pub struct InFlight {
    of: Arc<UnderWay>,
    item: Item,
    nudge: Arc<Notify>,
}

impl InFlight {
    pub fn item(&self) -> Item {
        self.item
    }

    /// Told when something about the item has changed.
    pub fn nudge(&self) -> Arc<Notify> {
        Arc::clone(&self.nudge)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.of.items().remove(&self.item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_under_way_once_until_its_work_is_dropped() {
        let under_way = Arc::new(UnderWay::default());
        let first = under_way.enter(Item::Claim(7)).unwrap();
        assert!(under_way.enter(Item::Claim(7)).is_none() && under_way.nudge(Item::Claim(7)));
        let other = under_way.enter(Item::Refresh(7));
        assert!(other.is_some() && under_way.codes() == 0);
        drop(first);
        assert!(!under_way.nudge(Item::Claim(7)) && under_way.enter(Item::Claim(7)).is_some());
    }
}
