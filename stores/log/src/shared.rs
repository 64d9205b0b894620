//! What the handles, the writer and the readers of one log have in common.

use crate::keys::KeyRing;
use crate::options::{FREE_BELIEVED, LogOptions};
use crate::queue::Queue;
use crate::{AppendError, Position};
use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use words_world::World;

/// How a log is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogHealth {
    /// It takes records.
    Open,
    /// The disk is nearly full: nothing is taken until there is room again, which is looked for every second.
    NoSpace,
    /// The disk did not confirm. Nothing more is taken until the program is started again.
    Failed(String),
}

/// Why a log could not be opened or changed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The disk said no.
    #[error("{what}: {error}")]
    Disk {
        /// What was tried.
        what: String,
        /// What the system said.
        error: io::Error,
    },
    /// A segment needs a key that the key file does not have.
    #[error("{path} is encrypted with key {key}, which is not in the key file")]
    NoKey {
        /// Which file.
        path: String,
        /// The name of the key.
        key: String,
    },
    /// A segment belongs to another log or to a later version.
    #[error("{path}: {why}")]
    Foreign {
        /// Which file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// The key ring is empty.
    #[error("there is no key to encrypt with")]
    NoKeys,
    /// The log takes nothing more.
    #[error(transparent)]
    Append(#[from] AppendError),
}

/// An error of the disk with what was being done.
pub(crate) fn disk(what: impl std::fmt::Display) -> impl FnOnce(io::Error) -> LogError {
    move |error| LogError::Disk { what: what.to_string(), error }
}

/// Whether the disk said that it is full, as opposed to broken.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

/// What a log has written since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogCounts {
    /// Records that were made durable.
    pub records: u64,
    /// Their bytes in the segments; bodies in files of their own are not in it.
    pub bytes: u64,
    /// Syncs that did it; the fewer for many records, the better they were gathered.
    pub syncs: u64,
}

pub(crate) struct Shared {
    pub(crate) world: World,
    pub(crate) keys: KeyRing,
    pub(crate) options: LogOptions,
    pub(crate) queue: Queue,
    pub(crate) durable: watch::Sender<Position>,
    pub(crate) health: watch::Sender<LogHealth>,
    /// Segments from this number on belong to the writer; those below are never appended to again.
    pub(crate) writing_from: AtomicU64,
    /// The first segment of this life of the log: everything below was there when it was opened.
    pub(crate) opened_at: u64,
    /// Held while a segment is written anew, so that sealing and erasing never do it at once.
    pub(crate) rewriting: Mutex<Rewriting>,
    /// Told when a segment was closed and waits to be sealed.
    pub(crate) closed: Notify,
    /// The bodies begun in this life of the log, until those of former lives were looked through.
    pub(crate) begun: Mutex<Option<BTreeSet<String>>>,
    pub(crate) counts: Mutex<LogCounts>,
    space: Mutex<Space>,
}

/// What is known of the segments that wait to be sealed.
#[derive(Default)]
pub(crate) struct Rewriting {
    /// Segments below this number were looked at: they are sealed, or cannot be.
    pub(crate) looked_at: u64,
    /// Whether bodies that nothing refers to were looked for.
    pub(crate) swept: bool,
}

#[derive(Default)]
struct Space {
    measured: Option<(Instant, u64)>,
    used_since: u64,
}

/// Locks without fear of a panic elsewhere: everything behind these locks is whole between statements.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn new(
        world: World,
        keys: KeyRing,
        options: LogOptions,
        end: Position,
        writing_from: u64,
    ) -> Shared {
        Shared {
            world,
            keys,
            queue: Queue::new(&options),
            options,
            durable: watch::Sender::new(end),
            health: watch::Sender::new(LogHealth::Open),
            writing_from: AtomicU64::new(writing_from),
            opened_at: writing_from,
            rewriting: Mutex::new(Rewriting { looked_at: 0, swept: false }),
            closed: Notify::new(),
            begun: Mutex::new(Some(BTreeSet::new())),
            counts: Mutex::new(LogCounts::default()),
            space: Mutex::new(Space::default()),
        }
    }

    /// Whether `bytes` more can be written without touching the reserve. Sets the health accordingly.
    pub(crate) fn has_room(&self, bytes: u64) -> bool {
        let mut space = lock(&self.space);
        let now = Instant::now();
        let free = match space.measured {
            Some((when, free)) if now.duration_since(when) < FREE_BELIEVED => free,
            _ => {
                // A disk that cannot even say how full it is will answer for itself at the next write.
                let free = self.world.disk.free(&self.options.dir).unwrap_or(u64::MAX);
                *space = Space { measured: Some((now, free)), used_since: 0 };
                free
            }
        };
        let wanted = space.used_since.saturating_add(bytes);
        // Once full, room for a whole batch is waited for, or the log would open and close with every record.
        let was_full = *self.health.borrow() == LogHealth::NoSpace;
        let more = if was_full { self.options.batch_bytes as u64 } else { 0 };
        let enough = free.saturating_sub(wanted.max(more)) >= self.options.reserve_bytes;
        if enough {
            space.used_since = wanted;
        }
        drop(space);
        self.set_space(enough);
        enough
    }

    /// Notes whether there is room. A failed log stays failed.
    pub(crate) fn set_space(&self, enough: bool) {
        self.health.send_if_modified(|health| match (&health, enough) {
            (LogHealth::NoSpace, true) => {
                tracing::info!(dir = %self.options.dir.display(), "there is room on the disk again");
                *health = LogHealth::Open;
                true
            }
            (LogHealth::Open, false) => {
                tracing::warn!(
                    dir = %self.options.dir.display(),
                    reserve = self.options.reserve_bytes,
                    "the disk is nearly full: new records are refused until there is room"
                );
                *health = LogHealth::NoSpace;
                true
            }
            _ => false,
        });
    }

    /// Counts a batch that is durable.
    pub(crate) fn count(&self, records: usize, bytes: usize) {
        let mut counts = lock(&self.counts);
        counts.records += records as u64;
        counts.bytes += bytes as u64;
        counts.syncs += 1;
    }

    /// Believes nothing more of this disk until the program is started again.
    pub(crate) fn fail(&self, what: &str, error: &io::Error) {
        let why = format!("{what}: {error}");
        self.health.send_if_modified(|health| {
            if matches!(health, LogHealth::Failed(_)) {
                return false;
            }
            tracing::error!(dir = %self.options.dir.display(), why, "the disk did not confirm: the log is closed");
            *health = LogHealth::Failed(why);
            true
        });
    }

    pub(crate) fn is_failed(&self) -> bool {
        matches!(*self.health.borrow(), LogHealth::Failed(_))
    }

    pub(crate) fn writing_from(&self) -> u64 {
        self.writing_from.load(Ordering::Acquire)
    }
}
