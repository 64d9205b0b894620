//! What is still owed to the primaries: told to the watch, read from the ledger.

use roads_watch::Owed;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use stores_ledger::{Entry, Ledger};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;
use words_mail::{AccountId, EventId, Evidence, Observation, Plane, PrimaryId, State};

/// The events that were reconciled, each with what the comparison lists for a person, counted in words; `None` when it
/// came out clean. Giving back is over when the comparison stands in the ledger, whichever of the two.
#[derive(Default)]
pub struct Reconciled {
    events: Mutex<BTreeMap<EventId, Option<String>>>,
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
                    Ok(entered) => self.hear(&entered.entry),
                    Err(error) => {
                        tracing::warn!(%error, "the ledger cannot be read; it is tried again when it has grown");
                        break;
                    }
                }
            }
            let woken = async {
                sleep(LOOK_EVERY).await;
                durable.changed().await.is_ok()
            };
            tokio::select! {
                biased;
                _ = shutdown.wait_for(|stop| *stop) => return,
                more = woken => if !more { return },
            }
        }
    }
}

impl Reconciled {
    fn hear(&self, entry: &Entry) {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        match entry {
            Entry::Reconciliation(found) => {
                let listed = || {
                    let report = serde_json::from_value::<roads_mirror::Report>(found.report.clone());
                    report
                        .ok()
                        .and_then(|report| report.listed())
                        .unwrap_or_else(|| "see its report".to_owned())
                };
                events.insert(found.event, (!found.clean).then(listed));
            }
            // A relapse, or a new return: what was compared before says nothing about what was kept since.
            Entry::Order(order) if matches!(order.to, State::Suspect | State::Active | State::Returning) => {
                if let Some(event) = order.event {
                    events.remove(&event);
                }
            }
            _ => {}
        }
    }
}

/// How often the ledger is read at most: under load it grows all the time.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Hands to the watch what other roads saw live and wrote into the ledger, until `shutdown` says so.
pub async fn follow_live(
    ledger: Ledger,
    tell: mpsc::Sender<Observation>,
    mut shutdown: watch::Receiver<bool>,
) {
    let mut durable = ledger.durable();
    let end = *durable.borrow_and_update();
    let mut scan = ledger.reader().scan_observations(Some(end));
    loop {
        // A scan that fails stays where it is; it is tried again when the ledger has grown.
        while let Some(Ok(entered)) = scan.next() {
            if let Entry::Observation(seen) = entered.entry
                && seen.evidence == Evidence::Live
            {
                // When the watch is behind, the newest is as good as the next one.
                let _ = tell.try_send(seen);
            }
        }
        let woken = async {
            sleep(LOOK_EVERY).await;
            durable.changed().await.is_ok()
        };
        tokio::select! {
            biased;
            _ = shutdown.wait_for(|stop| *stop) => return,
            more = woken => if !more { return },
        }
    }
}

impl Owed for Reconciled {
    fn given_back(&self, _: &PrimaryId, _: Plane, _: Option<&AccountId>, event: EventId) -> bool {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&event)
    }

    fn listed(&self, _: &PrimaryId, event: EventId) -> Option<String> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).get(&event).cloned().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stores_ledger::Reconciliation;
    use words_mail::{Order, OrderNumber, Scope, Time};

    fn order(to: State) -> Entry {
        Entry::Order(Order {
            number: OrderNumber(1),
            at: Time::default(),
            primary: PrimaryId("office".into()),
            plane: Plane::Inbound,
            from: State::Ready,
            to,
            on: Vec::new(),
            off: Vec::new(),
            scope: Scope::All,
            event: Some(EventId(7)),
            by: "watch".into(),
            why: String::new(),
            began: None,
            until: None,
            answers: None,
        })
    }

    #[test]
    fn a_relapse_needs_a_proof_of_its_own() {
        let reconciled = Reconciled::default();
        let given_back =
            || reconciled.given_back(&PrimaryId("office".into()), Plane::Inbound, None, EventId(7));
        let proof = Entry::Reconciliation(Reconciliation {
            at: Time::default(),
            event: EventId(7),
            primary: PrimaryId("office".into()),
            clean: true,
            report: serde_json::Value::Null,
        });
        reconciled.hear(&order(State::Returning));
        assert!(!given_back());
        reconciled.hear(&proof);
        assert!(given_back());
        reconciled.hear(&order(State::Active));
        assert!(!given_back());
        reconciled.hear(&order(State::Returning));
        assert!(!given_back());
        reconciled.hear(&proof);
        assert!(given_back());
    }
}
