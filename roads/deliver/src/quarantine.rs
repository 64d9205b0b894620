//! What is kept back: released, deleted, or let go when its time is over.
//!
//! The verdict that keeps a message back stands with it in the journal. Delivery settles it so at once, for each recipient,
//! and lists it; nothing of it is in a mailbox. What a person decides stands in the ledger.

use crate::history::Errand;
use crate::road::Journey;
use crate::route::{Errands, SENT};
use stores_ledger::QueueAct;
use stores_log::Position;
use words_mail::{Outcome, Time};

/// Recipients whose mail is let go at once.
const EXPIRED_MAX: usize = 500;

pub(crate) fn is_kept(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Quarantined { .. })
}

impl Journey {
    /// What was kept back is deleted, whether it would have gone onward or only into a mailbox here.
    pub(crate) fn delete_kept(&mut self, act: &QueueAct) {
        let reason = format!("{}: {}", act.by, act.reason);
        for (errand, position, _, _) in self.listed_for(act) {
            let kept = self.road.listed().get(&errand).is_some_and(|l| is_kept(&l.settlement.outcome));
            if kept {
                self.delete_one(errand, position, &reason);
            }
        }
    }

    /// Settles one errand that is kept back. Its sender is not told: most of them are forged.
    fn delete_one(&mut self, errand: Errand, position: Position, reason: &str) {
        let Ok(entry) = self.road.parts.journal.read(position) else {
            tracing::error!(?errand, "what is in quarantine cannot be read, so it stays listed");
            return;
        };
        self.road.listed().remove(&errand);
        for one in self.errands(&entry) {
            let (Errands::Wait(item) | Errands::Settle(item, _)) = one;
            if Errand::new(entry.accepted.trace, &item.recipient, &item.destination) == errand {
                let outcome = Outcome::Deleted { reason: reason.to_owned() };
                self.add(&entry, Errands::Settle(item, outcome));
            }
        }
    }

    /// Lets go what was kept as long as it is kept.
    pub(crate) fn expire_kept(&mut self, now: Time) {
        let age = self.road.settings.quarantine_age;
        let before = now.before(age);
        let expired: Vec<(Errand, Position)> = {
            let listed = self.road.listed();
            let kept = listed.iter().filter(|(_, l)| is_kept(&l.settlement.outcome));
            let old = kept.filter(|(_, l)| l.accepted.is_some_and(|accepted| accepted < before));
            old.filter_map(|(errand, l)| Some((*errand, l.place?.0))).take(EXPIRED_MAX).collect()
        };
        let reason =
            format!("kept in quarantine for {} days, and nobody released it", age.as_secs() / 86_400);
        for (errand, position) in expired {
            tracing::info!(?errand, reason, "quarantine");
            self.delete_one(errand, position, &reason);
        }
    }

    /// What was kept back goes the ordinary ways of its recipient, as if it had come in now.
    pub(crate) fn release(&mut self, act: &QueueAct) {
        for (errand, position, _, recipient) in self.listed_for(act) {
            let Ok(entry) = self.road.parts.journal.read(position) else {
                tracing::error!(?errand, "what is in quarantine cannot be read, so it is not released");
                continue;
            };
            self.road.listed().remove(&errand);
            for one in self.errands_of(&entry, true) {
                let (Errands::Wait(item) | Errands::Settle(item, _)) = &one;
                if item.recipient == recipient || item.key.index == SENT {
                    self.add(&entry, one);
                }
            }
        }
    }
}
