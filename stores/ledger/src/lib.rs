//! What was seen, asked, decided, told and settled: the record that reports and uptime are computed from, and that
//! the roads obey.

mod entry;
mod in_force;
mod reader;

pub use entry::{
    Act, ContentAct, ContentDeed, Entry, EventReport, Heartbeat, Notice, NoticeResult, QueueAct,
    Reconciliation, Restored, Settlement,
};
pub use in_force::InForce;
pub use reader::{Entered, LedgerReader, LedgerScan};
pub use stores_log::{
    AppendError, Damage, Erased, KeyRing, LogError, LogHealth, LogOptions, Position, ReadError, Recovery,
    Writer,
};

use entry::kind;
use reader::Checkpoint;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use stores_log::{Body, Draft, Log, LogKind};
use tokio::sync::watch;
use words_mail::Time;
use words_world::World;

/// Orders and requests between two checkpoints.
const CHECKPOINT_EVERY: u32 = 500;

/// The ledger, as the process that writes it sees it. Cheap to clone.
#[derive(Clone)]
pub struct Ledger {
    log: Log,
    reader: LedgerReader,
    derived: Arc<Mutex<Derived>>,
    orders: Arc<watch::Sender<Arc<InForce>>>,
}

/// What was derived from the ledger, and from how much of it.
struct Derived {
    in_force: InForce,
    /// What stands before this is in it.
    read_to: Position,
    since_checkpoint: u32,
    checkpoint_segment: u64,
}

impl Ledger {
    /// Opens the ledger in `options.dir`, or begins one. Blocks, but reads only back to the last checkpoint.
    ///
    /// # Errors
    /// As [`Log::open`], and when what is in force cannot be read.
    pub fn open(
        world: &World,
        keys: KeyRing,
        options: LogOptions,
    ) -> Result<(Ledger, Writer, Recovery), LogError> {
        let options = LogOptions { kind: LogKind::Ledger, ..options };
        let shown = options.dir.display().to_string();
        let (log, writer, recovery) = Log::open(world, keys, options)?;
        let reader = LedgerReader::new(log.reader());
        let (in_force, read_to) = reader.in_force().map_err(|error| LogError::Disk {
            what: format!("reading the orders in {shown}"),
            error: std::io::Error::other(error),
        })?;
        let orders = watch::Sender::new(Arc::new(in_force.clone()));
        let derived = Derived { in_force, read_to, since_checkpoint: 0, checkpoint_segment: 0 };
        let ledger = Ledger { log, reader, derived: Arc::new(Mutex::new(derived)), orders: Arc::new(orders) };
        Ok((ledger, writer, recovery))
    }

    /// Writes an entry and returns its sequence number when it is durable. An order is in force from then on, and
    /// not before. A settlement says what has happened: it waits a few milliseconds for others, so that one sync does
    /// for them all.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub async fn append(&self, entry: Entry) -> Result<u64, AppendError> {
        let is_followed = matches!(entry, Entry::Order(_) | Entry::Request(_));
        let draft = draft(&entry);
        let appended = match entry {
            Entry::Settlement(_) => self.log.append_soon(draft).await?,
            _ => self.log.append(draft).await?,
        };
        if is_followed {
            self.follow();
        }
        self.note_checkpoint(appended.position.segment);
        Ok(appended.seq)
    }

    /// Writes an entry that nobody waits for: observations and heartbeats. It is durable within a moment, unless the
    /// disk takes nothing.
    pub fn note(&self, entry: Entry) {
        self.log.append_lazy(draft(&entry));
        let segment = self.log.durable().borrow().segment;
        self.note_checkpoint(segment);
    }

    /// What is in force, told anew after every order.
    pub fn orders(&self) -> watch::Receiver<Arc<InForce>> {
        // Whoever wrote the last order may have been dropped before saying so.
        self.follow();
        self.orders.subscribe()
    }

    /// What is in force now.
    pub fn in_force(&self) -> Arc<InForce> {
        self.follow();
        self.orders.borrow().clone()
    }

    /// All entries from a position on that are durable.
    pub fn scan(&self, from: Option<Position>) -> LedgerScan {
        self.reader.scan(from)
    }

    /// Reads the ledger.
    pub fn reader(&self) -> LedgerReader {
        self.reader.clone()
    }

    /// The end of what is durable: the wake-up for those who follow the ledger.
    pub fn durable(&self) -> watch::Receiver<Position> {
        self.log.durable()
    }

    /// How the ledger is.
    pub fn health(&self) -> LogHealth {
        self.log.health()
    }

    /// The log underneath: for sealing, collecting and verifying.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Removes raw observations and heartbeats of before a moment. Everything else stays. Blocks.
    ///
    /// # Errors
    /// As [`Log::collect`].
    pub fn collect(&self, before: Time) -> Result<Erased, LogError> {
        let raw = [kind::OBSERVATION, kind::HEARTBEAT, kind::CHECKPOINT];
        self.log.collect(before, &|kind| !raw.contains(&kind))
    }

    /// Brings what is derived up to what is durable. There is no other way anything comes to be in force.
    fn follow(&self) {
        let mut derived = self.derived();
        let Derived { in_force, read_to, .. } = &mut *derived;
        let before = in_force.clone();
        match self.reader.advance(in_force, *read_to) {
            Ok(position) => *read_to = position,
            Err(error) => {
                // Nothing half read is kept: the next call reads it again.
                *in_force = before;
                tracing::error!(%error, "the orders in force could not be read");
                return;
            }
        }
        if *in_force != before {
            derived.since_checkpoint += 1;
            self.orders.send_replace(Arc::new(derived.in_force.clone()));
        }
    }

    /// Adds a checkpoint when a new segment was begun, or after many orders.
    fn note_checkpoint(&self, segment: u64) {
        let mut derived = self.derived();
        if derived.checkpoint_segment >= segment && derived.since_checkpoint < CHECKPOINT_EVERY {
            return;
        }
        derived.checkpoint_segment = segment;
        derived.since_checkpoint = 0;
        let checkpoint = Checkpoint { since: derived.read_to, in_force: derived.in_force.clone() };
        drop(derived);
        let meta = serde_json::to_vec(&checkpoint).unwrap_or_default();
        self.log.append_lazy(Draft { kind: kind::CHECKPOINT, meta, body: Body::None });
    }

    fn derived(&self) -> MutexGuard<'_, Derived> {
        self.derived.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn draft(entry: &Entry) -> Draft {
    // Plain data with string keys always becomes JSON.
    let meta = serde_json::to_vec(entry).unwrap_or_default();
    Draft { kind: entry.kind(), meta, body: Body::None }
}

#[cfg(test)]
mod tests;
