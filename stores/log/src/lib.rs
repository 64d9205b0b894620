//! One append-only log in segment files: group commit, encryption, a hash chain, sealing, erasing.
//!
//! The journal, the mailbox log and the ledger are three of these. Producers hand over records; one writer takes
//! what waits, appends it in one piece, syncs once, and then acknowledges all of it. Readers work from the
//! directory alone. The format is described in `docs/formats.md`, every state that a crash can leave in
//! `docs/crash-states.md`.

mod body;
mod copy;
#[cfg(any(test, feature = "faults"))]
mod fault_disk;
#[cfg(any(test, feature = "faults"))]
mod fault_world;
mod file_disk;
mod frame;
mod header;
mod keys;
mod options;
mod pack;
mod queue;
mod reader;
mod recovery;
mod rewrite;
mod scan;
mod segment;
mod shared;
mod shelf;
mod verify;
mod writer;

pub use body::{BodyWriter, StoredBody};
#[cfg(any(test, feature = "faults"))]
pub use fault_disk::{Counts, FaultDisk};
#[cfg(any(test, feature = "faults"))]
pub use fault_world::{SeededRandom, TestClock, fault_world};
pub use file_disk::{DirLock, FileDisk};
pub use frame::Tombstone;
pub use keys::{KeyError, KeyRing};
pub use options::{LogKind, LogOptions};
pub use reader::{BodyReader, BodyRef, ReadError, Reader, Record};
pub use recovery::Recovery;
pub use rewrite::{Erased, Erasure, Sealed, Sealer};
pub use scan::Scan;
pub use segment::Damage;
pub use shared::{LogCounts, LogError, LogHealth};
pub use shelf::{BODY_FOLDER, BodyFileName, Extent, Shelf, ShelfError, Volume, segment_name};
pub use verify::{Problem, Verified};
pub use writer::{BodyLoop, Writer};

use body::BODIES;
use frame::{Facts, SALT_LEN, content_hash};
use options::{FRAME_MAX, META_MAX};
use queue::{Haste, Waiting};
use serde::{Deserialize, Serialize};
use shared::{Shared, disk};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task::{Context, Poll};
use tokio::sync::{oneshot, watch};
use words_mail::Time;
use words_world::World;

/// Where a record stands. Positions of one log are in the order of its records, and stay what they are when a
/// segment is sealed or records are erased from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// The segment's number, from 1.
    pub segment: u64,
    /// Where the record began in the segment when it was acknowledged, bytes.
    pub offset: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.segment, self.offset)
    }
}

/// The body of a record that is to be written.
#[derive(Debug)]
pub enum Body {
    /// There is none.
    None,
    /// Bytes that go into the record itself.
    Inline(Vec<u8>),
    /// A file that is durable already.
    File(StoredBody),
}

/// A record that is to be written.
#[derive(Debug)]
pub struct Draft {
    /// What kind of record it is: a number of the log's owner, from 1.
    pub kind: u8,
    /// What is told about it, usually JSON; at most 4 MiB.
    pub meta: Vec<u8>,
    /// The body.
    pub body: Body,
}

/// A record that is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Its sequence number: one more than that of the record before it.
    pub seq: u64,
    /// Where it stands.
    pub position: Position,
    /// Where the next one stands.
    pub next: Position,
    /// When it was written, by the wall clock.
    pub at: Time,
}

/// Why a record was not taken. Whatever the reason, nothing was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The disk is nearly full (`452 4.3.1`).
    #[error("not enough room on the disk")]
    NoSpace,
    /// The disk did not confirm (`451 4.3.0`).
    #[error("the disk did not confirm; nothing was stored")]
    Failed,
    /// Too much waits already (`451 4.3.2`).
    #[error("too much is waiting to be stored")]
    Busy,
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
    /// Longer than a record may be; a long body belongs into a file of its own.
    #[error("longer than a record may be")]
    TooLarge,
}

/// A record on its way to the disk. Dropping it does not take the record back.
#[derive(Debug)]
pub struct Pending(oneshot::Receiver<Result<Appended, AppendError>>);

impl Future for Pending {
    type Output = Result<Appended, AppendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|answer| answer.unwrap_or(Err(AppendError::Closed)))
    }
}

/// A handle to a log that this process writes. Cheap to clone.
#[derive(Clone)]
pub struct Log {
    shared: Arc<Shared>,
    bodies_open: Arc<AtomicUsize>,
    reader: Reader,
}

impl Log {
    /// Opens the log in `options.dir`, or begins one there. Reads only its last segment. The log takes records as
    /// soon as the [`Writer`] runs; one process writes a log (see [`FileDisk::lock`]). Blocks.
    ///
    /// # Errors
    /// When the disk says no, or a segment's key is missing, or the directory holds something else.
    pub fn open(
        world: &World,
        keys: KeyRing,
        options: LogOptions,
    ) -> Result<(Log, Writer, Recovery), LogError> {
        let dir = options.dir.clone();
        let shown = dir.display();
        let made = |dir: &std::path::Path| {
            world.disk.make_dir(dir).map_err(disk(format_args!("making {}", dir.display())))
        };
        made(&dir)?;
        made(&dir.join(BODIES))?;
        let (recovery, tail) = recovery::recover(world, &keys, &options)?;
        world.disk.sync_dir(&dir).map_err(disk(format_args!("syncing {shown}")))?;
        let end = recovery.end;
        let shared = Arc::new(Shared::new(world.clone(), keys, options, end, tail.next_segment));
        let writer = Writer::new(shared.clone(), &tail, end);
        let reader = Reader::of(&shared);
        Ok((Log { shared, bodies_open: Arc::default(), reader }, writer, recovery))
    }

    /// Hands a record over. Records are written in the order of these calls.
    ///
    /// # Errors
    /// `Busy`, `Closed`, `TooLarge`, or `Failed` once the disk has failed.
    pub fn enqueue(&self, draft: Draft) -> Result<Pending, AppendError> {
        let body_hash = body_hash(&draft.body);
        self.enqueue_hashed(draft, body_hash)
    }

    /// The same for one who has the blake3 hash of the body already. A wrong one is found by `verify`, and keeps
    /// the segment from being sealed.
    ///
    /// # Errors
    /// As [`Log::enqueue`].
    pub fn enqueue_hashed(&self, draft: Draft, body_hash: [u8; 32]) -> Result<Pending, AppendError> {
        let (done, pending) = oneshot::channel();
        self.push(draft, body_hash, Some(done), Haste::Now)?;
        Ok(Pending(pending))
    }

    /// Hands a record over that is in no hurry, and waits until it is durable: it rides with the next batch, or is
    /// written after `gather_after`, so that several need one sync and keep nobody else from the disk.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub async fn append_soon(&self, draft: Draft) -> Result<Appended, AppendError> {
        let (done, pending) = oneshot::channel();
        let body_hash = body_hash(&draft.body);
        self.push(draft, body_hash, Some(done), Haste::Soon)?;
        Pending(pending).await
    }

    /// Hands a record over and waits until it is durable.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub async fn append(&self, draft: Draft) -> Result<Appended, AppendError> {
        self.enqueue(draft)?.await
    }

    /// Hands over a record that nobody waits for: it rides with the next batch, or is written after
    /// `lazy_after`. When the log takes nothing, it is dropped with a warning.
    pub fn append_lazy(&self, draft: Draft) {
        let body_hash = body_hash(&draft.body);
        if let Err(error) = self.push(draft, body_hash, None, Haste::Lazy) {
            tracing::warn!(why = %error, "a record that nobody waits for was not stored");
        }
    }

    /// Begins a body that is too long for a record.
    ///
    /// # Errors
    /// `NoSpace`, `Failed`, or `Busy` when too many are open.
    pub async fn begin_body(&self) -> Result<BodyWriter, AppendError> {
        BodyWriter::begin(&self.shared, &self.bodies_open)
    }

    /// The end of what is durable, told anew after every batch: the wake-up for those who follow the log.
    pub fn durable(&self) -> watch::Receiver<Position> {
        self.shared.durable.subscribe()
    }

    /// A reader in this process.
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// How the log is.
    pub fn health(&self) -> LogHealth {
        self.shared.health.borrow().clone()
    }

    /// How the log is, and every change of it.
    pub fn watch_health(&self) -> watch::Receiver<LogHealth> {
        self.shared.health.subscribe()
    }

    /// What was written since the log was opened.
    pub fn counts(&self) -> LogCounts {
        *shared::lock(&self.shared.counts)
    }

    /// The longest body that goes into a record; a longer one needs [`Log::begin_body`].
    pub fn inline_max(&self) -> usize {
        self.shared.options.inline_max
    }

    fn push(
        &self,
        draft: Draft,
        body_hash: [u8; 32],
        done: Option<oneshot::Sender<Result<Appended, AppendError>>>,
        haste: Haste,
    ) -> Result<(), AppendError> {
        if self.shared.is_failed() {
            return Err(AppendError::Failed);
        }
        let mut salt = [0; SALT_LEN];
        self.shared.world.random.fill(&mut salt);
        let body_len = match &draft.body {
            Body::None => 0,
            Body::Inline(bytes) if bytes.len() > FRAME_MAX / 2 => return Err(AppendError::TooLarge),
            Body::Inline(bytes) => bytes.len() as u64,
            Body::File(stored) => stored.len(),
        };
        if draft.meta.len() > META_MAX {
            return Err(AppendError::TooLarge);
        }
        // Hashed here, on the producer's thread: the writer has only the chain to do.
        let content = content_hash(&salt, draft.kind, &draft.meta, body_len, &body_hash);
        let facts = Facts { salt, body_len, erased: None, meta: draft.meta };
        self.shared.queue.push(Waiting { kind: draft.kind, facts, content, body: draft.body, done, haste })
    }
}

fn body_hash(body: &Body) -> [u8; 32] {
    match body {
        Body::None => *blake3::hash(b"").as_bytes(),
        Body::Inline(bytes) => *blake3::hash(bytes).as_bytes(),
        Body::File(stored) => stored.hash(),
    }
}

#[cfg(test)]
mod tests;
