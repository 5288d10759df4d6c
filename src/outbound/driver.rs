//! Runs the work on items, each in a task of its own, and tells how each ended.

use std::collections::HashMap;

use tokio::task::{Id, JoinSet};

use super::under_way::{InFlight, Item};

/// The work on an item ended in a panic; what it left is on disk, and is taken up again.
#[derive(Debug)]
pub struct Panicked;

/// Tasks that work on items. They end with it.
#[derive(Debug)]
pub struct Driver<T> {
    tasks: JoinSet<T>,
    items: HashMap<Id, Item>,
}

impl<T> Default for Driver<T> {
    fn default() -> Self {
        Self { tasks: JoinSet::new(), items: HashMap::new() }
    }
}

impl<T: Send + 'static> Driver<T> {
    /// Begins the work on an item.
    pub fn start(&mut self, in_flight: InFlight, work: impl Future<Output = T> + Send + 'static) {
        let item = in_flight.item();
        let task = self.tasks.spawn(async move {
            let _in_flight = in_flight;
            work.await
        });
        self.items.insert(task.id(), item);
    }

    /// The next item whose work ended, and what it brought. Nothing while none is worked on.
    pub async fn ended(&mut self) -> Option<(Item, Result<T, Panicked>)> {
        let (id, brought) = match self.tasks.join_next_with_id().await? {
            Ok((id, brought)) => (id, Ok(brought)),
            Err(error) => {
                tracing::error!(%error, "work on what goes to Ring ended in a panic; it is taken up again");
                (error.id(), Err(Panicked))
            }
        };
        Some((self.items.remove(&id)?, brought))
    }

    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }
}
