//! What of an event is not settled yet, followed as journal and ledger grow: each is read once, and not anew with every
//! look.

use crate::piece::Piece;
use std::collections::HashSet;
use stores_directory::{Resolved, Snapshot};
use stores_journal::{JournalReader, JournalScan, ReadError};
use stores_ledger::{Entry, LedgerReader, LedgerScan};
use words_mail::{Address, Destination, PrimaryId, Time, TraceId};

/// The messages of one primary, accepted from a moment until another, that are not settled. As many as wait for delivery
/// at most, and what was settled since the last look.
pub(crate) struct Unsettled {
    primary: PrimaryId,
    from: Time,
    until: Time,
    messages: JournalScan,
    settlements: LedgerScan,
    open: HashSet<(TraceId, Address)>,
    /// Settled at the last look without being known: accepted while it went on, and seen in the journal at the next.
    early: HashSet<(TraceId, Address)>,
}

impl Unsettled {
    /// Nothing is read yet.
    ///
    /// # Errors
    /// When a directory cannot be read.
    pub(crate) fn new(
        journal: &JournalReader,
        ledger: &LedgerReader,
        primary: &PrimaryId,
        (from, until): (Time, Time),
    ) -> Result<Unsettled, ReadError> {
        Ok(Unsettled {
            primary: primary.clone(),
            from,
            until,
            messages: journal.scan(Some(journal.position_at(from)?)),
            settlements: ledger.scan_settlements(Some(ledger.position_at(from)?)),
            open: HashSet::new(),
            early: HashSet::new(),
        })
    }

    /// Reads what is new, others getting their turns meanwhile, and counts.
    ///
    /// # Errors
    /// When journal or ledger cannot be read; the next look goes on where this one stopped.
    pub(crate) async fn count(&mut self, directory: &Snapshot) -> Result<usize, ReadError> {
        let mut piece = Piece::default();
        // Messages first: of what is settled by the time the ledger is read, nearly all is known then.
        for entry in &mut self.messages {
            piece.step().await;
            let accepted = entry?.accepted;
            if accepted.at < self.from || accepted.at > self.until {
                continue;
            }
            for recipient in accepted.envelope.recipients {
                let resolved = directory.resolve(&recipient.address);
                let key = (accepted.trace, recipient.address);
                if matches!(resolved, Resolved::Account { primary: Some(behind), .. } if behind == self.primary)
                    && !self.early.contains(&key)
                {
                    self.open.insert(key);
                }
            }
        }
        self.early.clear();
        for entered in &mut self.settlements {
            piece.step().await;
            let Entry::Settlement(settlement) = entered?.entry else { continue };
            if settlement.outcome.is_final()
                && settlement.destination == Destination::Primary(self.primary.clone())
            {
                let key = (settlement.trace, settlement.recipient);
                if !self.open.remove(&key) {
                    self.early.insert(key);
                }
            }
        }
        Ok(self.open.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliveries::tests::{Logs, directory, logs, message, settled};
    use words_mail::{Outcome, Reply};

    #[tokio::test(start_paused = true)]
    async fn each_is_counted_until_it_is_settled_however_late_it_is_seen() {
        let Logs { world, journal, ledger, .. } = &logs();
        let directory = directory();
        let yes = || Outcome::HandedOver { reply: Reply::new(250, (2, 0, 0), "ok") };
        let (from, hq) = (Time(0), PrimaryId("hq".into()));
        let accept = async |trace| {
            // Heard, or the next would be taken for a repeat.
            journal.accept(message(trace)).await.unwrap().heard();
            trace
        };
        let (one, two) = (accept(journal.trace_id()).await, accept(journal.trace_id()).await);
        let mut unsettled =
            Unsettled::new(&journal.reader(), &ledger.reader(), &hq, (from, world.clock.now())).unwrap();
        assert_eq!(unsettled.count(&directory).await.unwrap(), 4);
        ledger.append(settled(one, "a", yes())).await.unwrap();
        ledger.append(settled(one, "bert", yes())).await.unwrap();
        ledger.append(settled(two, "a", Outcome::Unknown)).await.unwrap();
        assert_eq!(unsettled.count(&directory).await.unwrap(), 2, "what is not known is not settled");
        // Settled before it is seen in the journal.
        let three = journal.trace_id();
        ledger.append(settled(three, "bert", yes())).await.unwrap();
        assert_eq!(unsettled.count(&directory).await.unwrap(), 2);
        accept(three).await;
        assert_eq!(unsettled.count(&directory).await.unwrap(), 3, "one of its two is settled");
        for (trace, who) in [(two, "a"), (two, "bert"), (three, "a")] {
            ledger.append(settled(trace, who, yes())).await.unwrap();
        }
        assert_eq!(unsettled.count(&directory).await.unwrap(), 0);
        // What comes in after the return is none of it.
        let mut before = Unsettled::new(&journal.reader(), &ledger.reader(), &hq, (from, Time(1))).unwrap();
        accept(journal.trace_id()).await;
        assert_eq!(before.count(&directory).await.unwrap(), 0);
    }
}
