//! Letting go of what nobody needs any more: bodies of settled mail, bodies removed from mailboxes, old observations.
//!
//! A body leaves only when no queue and no mailbox refers to it and its time has passed. What is known about the
//! message stays, and the chain still holds.

use super::stores::JournalDesk;
use crate::configuration::Retention;
use roads_deliver::QueueView;
use std::time::Duration;
use stores_ledger::Ledger;
use stores_mailbox::Mailboxes;
use tokio::sync::watch;
use tokio::time::sleep;
use words_mail::{Time, TraceId};
use words_world::World;

/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_secs(3_600);
/// After a start everything else comes first.
const FIRST_AFTER: Duration = Duration::from_secs(300);
/// Messages whose bodies are let go at once: each of their segments is written anew.
const AT_ONCE: usize = 10_000;

/// What upkeep works with.
pub struct Upkeep {
    /// The time.
    pub world: World,
    /// Accepted mail.
    pub journal: JournalDesk,
    /// Observations.
    pub ledger: Ledger,
    /// The mailboxes.
    pub mailboxes: Mailboxes,
    /// What still waits.
    pub queue: QueueView,
    /// How long things are kept.
    pub retention: Retention,
}

impl Upkeep {
    /// Looks every hour until `shutdown` says so.
    pub async fn run(self, mut shutdown: watch::Receiver<bool>) {
        let mut rest = FIRST_AFTER;
        loop {
            tokio::select! {
                biased;
                _ = shutdown.wait_for(|stop| *stop) => return,
                () = sleep(rest) => {}
            }
            rest = LOOK_EVERY;
            let round = async {
                self.observations().await;
                self.mailboxes().await;
                self.journal().await;
            };
            tokio::select! {
                biased;
                _ = shutdown.wait_for(|stop| *stop) => return,
                () = round => {}
            }
        }
    }

    async fn observations(&self) {
        let before = self.world.clock.now().before(self.retention.observations);
        let ledger = self.ledger.clone();
        let collected = tokio::task::spawn_blocking(move || ledger.collect(before)).await;
        if let Ok(Err(why)) = collected {
            tracing::warn!(%why, "old observations could not be removed");
        }
    }

    async fn mailboxes(&self) {
        let before = self.world.clock.now().before(self.retention.removed);
        match self.mailboxes.collect(before).await {
            Ok(0) => {}
            Ok(removed) => tracing::info!(removed, "bodies that are in no folder any more were let go"),
            Err(why) => tracing::warn!(%why, "bodies that are in no folder could not be let go"),
        }
    }

    /// Bodies of the journal that are settled, old enough, and in no mailbox.
    async fn journal(&self) {
        let now = self.world.clock.now();
        // Before the queue is rebuilt nobody knows what still waits.
        if !self.queue.counts().caught_up {
            return;
        }
        let (settled_before, removed_since) =
            (now.before(self.retention.settled), now.before(self.retention.removed));
        // It reads the whole journal: sessions go on meanwhile.
        let traces = tokio::task::block_in_place(|| self.unneeded(settled_before, removed_since));
        if traces.is_empty() {
            return;
        }
        match self.journal.collect(&traces, "settled, and kept as long as configured").await {
            Ok(_) => tracing::info!(messages = traces.len(), "bodies of settled mail were let go"),
            Err(why) => tracing::warn!(%why, "bodies of settled mail could not be let go"),
        }
    }

    fn unneeded(&self, settled_before: Time, removed_since: Time) -> Vec<TraceId> {
        let mut traces = Vec::new();
        for entry in self.journal.reader().scan(None) {
            let Ok(entry) = entry else { continue };
            if entry.accepted.at >= settled_before || traces.len() >= AT_ONCE {
                break;
            }
            let trace = entry.accepted.trace;
            let wanted = self.queue.show(trace).is_some()
                // When nobody can tell, it stays.
                || self.mailboxes.refers_to(trace, removed_since).unwrap_or(true);
            if !wanted {
                traces.push(trace);
            }
        }
        traces
    }
}
