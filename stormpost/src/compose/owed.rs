//! What is still owed to the primaries: told to the watch, read from the ledger.

use roads_watch::Owed;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use stores_ledger::{Entry, Ledger};
use tokio::sync::watch;
use words_mail::{AccountId, EventId, Plane, PrimaryId};

/// The events that were reconciled. Giving back is over when the comparison stands in the ledger, whether it came out
/// clean or lists what a person must look at.
#[derive(Default)]
pub struct Reconciled {
    events: Mutex<BTreeSet<EventId>>,
}

impl Reconciled {
    /// Follows the ledger until `shutdown` says so.
    pub async fn follow(self: Arc<Reconciled>, ledger: Ledger, mut shutdown: watch::Receiver<bool>) {
        let mut durable = ledger.durable();
        let mut scan = ledger.scan(
            ledger
                .in_force()
                .open_events()
                .map(|event| event.opened)
                .min()
                .and_then(|oldest| ledger.reader().position_at(oldest).ok()),
        );
        loop {
            for entered in &mut scan {
                match entered {
                    Ok(entered) => {
                        if let Entry::Reconciliation(found) = entered.entry {
                            let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
                            events.insert(found.event);
                        }
                    }
                    Err(error) => tracing::warn!(%error, "an entry of the ledger cannot be read"),
                }
            }
            tokio::select! {
                biased;
                _ = shutdown.wait_for(|stop| *stop) => return,
                changed = durable.changed() => if changed.is_err() { return },
            }
        }
    }
}

impl Owed for Reconciled {
    fn given_back(&self, _: &PrimaryId, _: Plane, _: Option<&AccountId>, event: EventId) -> bool {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).contains(&event)
    }
}
