//! Every accepted message, once.
//!
//! [`Journal::accept`] returns when the message is durable: only then may the sender be told `250`. Whoever
//! delivers follows [`JournalReader::scan`], woken by [`Journal::durable`].

mod export;
mod reader;
mod record;
mod repeats;

pub use export::{ExportError, Exported, erase_offline};
pub use reader::{JournalEntry, JournalReader, JournalScan, Message};
pub use record::Accepted;
pub use stores_log::{
    AppendError, BodyLoop, BodyReader, BodyWriter, Damage, Erased, Erasure, KeyRing, LogError, LogHealth,
    LogOptions, Position, Problem, ReadError, Recovery, StoredBody, Tombstone, Verified, Writer,
};

use record::MESSAGE;
use repeats::{Fingerprint, Repeats};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use stores_log::{Body, Draft, Log, LogKind};
use tokio::sync::watch;
use words_mail::{Envelope, PrimaryId, Tenant, TraceId};
use words_world::World;

/// The body of a message as it came in.
#[derive(Debug)]
pub enum IncomingBody {
    /// In memory.
    Inline(Vec<u8>),
    /// In a file of its own: for what is longer than [`Journal::inline_max`].
    File(StoredBody),
}

impl IncomingBody {
    /// How long it is, bytes.
    #[allow(clippy::len_without_is_empty, reason = "a length in bytes, not a collection")]
    pub fn len(&self) -> u64 {
        match self {
            IncomingBody::Inline(bytes) => bytes.len() as u64,
            IncomingBody::File(stored) => stored.len(),
        }
    }
}

/// A message that is to be accepted.
#[derive(Debug)]
pub struct NewMessage {
    /// Its id, from [`Journal::trace_id`]; it stands in the prefix already.
    pub trace: TraceId,
    /// Whose mail it is.
    pub tenant: Tenant,
    /// The mail system of record behind its recipients, if there is one.
    pub primary: Option<PrimaryId>,
    /// Who sent it to whom.
    pub envelope: Envelope,
    /// What the checks said, with the version of the rules.
    pub verdict: serde_json::Value,
    /// The header lines that go on top, each ended by CRLF.
    pub prefix: String,
    /// The message as received.
    pub body: IncomingBody,
}

/// The proof that a message is durable. Keep it as long as the sender may still hear the `250`: when it is dropped
/// without [`Receipt::heard`] or [`Journal::replied`], the same message sent again within a day is taken for a
/// repeat. While it is kept, an identical transaction of somebody else is a message of its own.
#[must_use = "keep it until the sender is known to have heard the 250"]
#[derive(Debug)]
pub struct Receipt {
    /// The message's id; of a repeat, that of the first.
    pub trace: TraceId,
    /// Where it stands in the journal.
    pub position: Position,
    /// Whether the message had been accepted before, from a sender who did not hear the `250`. Nothing was stored.
    pub repeated: bool,
    hearing: Hearing,
}

impl Receipt {
    /// The sender is known to have heard the `250`: it said something after it.
    pub fn heard(self) {
        self.hearing.journal.replied(self.trace);
    }
}

/// Marks a message as unheard when dropped.
struct Hearing {
    journal: Journal,
    trace: TraceId,
}

impl std::fmt::Debug for Hearing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hearing({})", self.trace)
    }
}

impl Drop for Hearing {
    fn drop(&mut self) {
        self.journal.repeats().let_go(self.trace);
    }
}

/// The journal, as the process that writes it sees it. Cheap to clone.
#[derive(Clone)]
pub struct Journal {
    world: World,
    log: Log,
    repeats: Arc<Mutex<Repeats>>,
}

impl Journal {
    /// Opens the journal in `options.dir`, or begins one. Blocks, but reads only the last segments.
    ///
    /// # Errors
    /// As [`Log::open`].
    pub fn open(
        world: &World,
        keys: KeyRing,
        options: LogOptions,
    ) -> Result<(Journal, Writer, Recovery), LogError> {
        let options = LogOptions { kind: LogKind::Journal, ..options };
        let (log, writer, recovery) = Log::open(world, keys, options)?;
        let repeats = Repeats::rebuild(&log.reader(), world.clock.now());
        let journal = Journal { world: world.clone(), log, repeats: Arc::new(Mutex::new(repeats)) };
        Ok((journal, writer, recovery))
    }

    /// A new id, so that it can be put into the `Received:` line before the message is accepted.
    pub fn trace_id(&self) -> TraceId {
        let mut random = [0; 10];
        self.world.random.fill(&mut random);
        TraceId::new(self.world.clock.now(), random)
    }

    /// The longest body that is kept in memory; a longer one needs [`Journal::begin_body`].
    pub fn inline_max(&self) -> usize {
        self.log.inline_max()
    }

    /// Begins a body that is too long for memory.
    ///
    /// # Errors
    /// As [`Log::begin_body`].
    pub async fn begin_body(&self) -> Result<BodyWriter, AppendError> {
        self.log.begin_body().await
    }

    /// Makes a message durable. A repeat of one whose sender did not hear the `250` stores nothing and gives the
    /// first one's receipt.
    ///
    /// # Errors
    /// See [`AppendError`]: nothing was acknowledged, and the sender must be told to try again.
    pub async fn accept(&self, message: NewMessage) -> Result<Receipt, AppendError> {
        let NewMessage { trace, tenant, primary, envelope, verdict, prefix, body } = message;
        let (content, body_len) = match &body {
            IncomingBody::Inline(bytes) => (*blake3::hash(bytes).as_bytes(), bytes.len() as u64),
            IncomingBody::File(stored) => (stored.hash(), stored.len()),
        };
        let now = self.world.clock.now();
        let fingerprint = Fingerprint::of(&tenant, &envelope, &content);
        let pending = {
            let mut repeats = self.repeats();
            if let Some((first, position)) = repeats.take_up(&fingerprint, now) {
                drop(repeats);
                return Ok(self.receipt(first, position, true));
            }
            let size = prefix.len() as u64 + body_len;
            let accepted =
                Accepted { trace, at: now, tenant, primary, envelope, verdict, prefix, size, content };
            let body = match body {
                IncomingBody::Inline(bytes) => Body::Inline(bytes),
                IncomingBody::File(stored) => Body::File(stored),
            };
            let draft = Draft { kind: MESSAGE, meta: record::write(&accepted), body };
            // Under the lock, so that a checkpoint knows of every message that stands before it in the log.
            let behind = *self.log.durable().borrow();
            let pending = self.log.enqueue_hashed(draft, content)?;
            repeats.begin(fingerprint, trace, now, behind);
            pending
        };
        // Held across the wait: when this future is dropped the message may still become durable, unheard.
        let hearing = Hearing { journal: self.clone(), trace };
        match pending.await {
            Ok(appended) => {
                let mut repeats = self.repeats();
                repeats.stored(trace, appended.position);
                if repeats.checkpoint_is_due(appended.position) {
                    let durable = *self.log.durable().borrow();
                    self.log.append_lazy(repeats.checkpoint(durable, now));
                }
                drop(repeats);
                Ok(Receipt { trace, position: appended.position, repeated: false, hearing })
            }
            Err(error) => {
                self.repeats().forget(trace);
                Err(error)
            }
        }
    }

    /// The sender of a message is known to have heard the `250`. Written down with a later batch; under load for
    /// several messages at once.
    pub fn replied(&self, trace: TraceId) {
        let now = self.world.clock.now();
        let record = self.repeats().heard(trace, now);
        if let Some(record) = record {
            self.log.append_lazy(record);
        }
    }

    /// Notes whose senders are not known to have heard the `250`, with the next batch. The journal does so by
    /// itself from time to time; before a shutdown it keeps the next start from guessing.
    pub fn checkpoint(&self) {
        let durable = *self.log.durable().borrow();
        let mut repeats = self.repeats();
        self.log.append_lazy(repeats.checkpoint(durable, self.world.clock.now()));
    }

    /// Reads the journal.
    pub fn reader(&self) -> JournalReader {
        JournalReader::new(self.log.reader(), true)
    }

    /// The end of what is durable: the wake-up for those who deliver.
    pub fn durable(&self) -> watch::Receiver<Position> {
        self.log.durable()
    }

    /// How the journal is.
    pub fn health(&self) -> LogHealth {
        self.log.health()
    }

    /// How the journal is, and every change of it.
    pub fn watch_health(&self) -> watch::Receiver<LogHealth> {
        self.log.watch_health()
    }

    /// The log underneath: for sealing, erasing and verifying.
    pub fn log(&self) -> &Log {
        &self.log
    }

    fn receipt(&self, trace: TraceId, position: Position, repeated: bool) -> Receipt {
        Receipt { trace, position, repeated, hearing: Hearing { journal: self.clone(), trace } }
    }

    fn repeats(&self) -> MutexGuard<'_, Repeats> {
        self.repeats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
