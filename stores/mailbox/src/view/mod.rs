//! The mailboxes as SQLite tables: derived from the log, never the truth. The file can be deleted at any moment.
//!
//! One connection writes; it applies events in the order of the log, many in one transaction, and the position it
//! has come to is written in the same transaction. Readers have connections of their own, so that nobody who looks
//! at mail waits for a checkpoint.

mod apply;
mod dump;
mod mirror;
mod read;
mod schema;

pub(crate) use apply::{Effect, Entry, Stamp};
pub use read::{Changed, Message, Snapshot};

use crate::MailboxError;
use rusqlite::Connection;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use stores_log::Position;

/// Connections that only read.
const READERS: usize = 4;

/// Where the view is kept.
#[derive(Clone, Debug)]
pub enum ViewPlace {
    /// In this file.
    File(PathBuf),
    /// In memory: gone at the end of the process, made anew from the log at the next start.
    Memory,
}

/// What is kept of messages although it could be found out again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Derived {
    /// Envelope and structure.
    Facts,
    /// What messages are put in order by.
    Keys,
}

/// Something that was found out about a message.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) what: Derived,
    pub(crate) own: bool,
    pub(crate) position: Position,
    pub(crate) content: Vec<u8>,
}

/// How far the log has been applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Applied {
    /// The sequence number of the last record applied.
    pub(crate) seq: u64,
    /// Where it stands.
    pub(crate) position: Position,
}

pub(crate) struct View {
    place: ViewPlace,
    writer: Mutex<Connection>,
    readers: Vec<Mutex<Connection>>,
    next: AtomicUsize,
}

fn lock(mutex: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl View {
    /// Opens the view; a file that is damaged or of another form is thrown away and begun anew.
    pub(crate) fn open(place: ViewPlace) -> Result<View, MailboxError> {
        match View::try_open(&place) {
            Ok(view) => Ok(view),
            Err(error) => {
                tracing::warn!(%error, "the mailbox view cannot be used and is made anew from the log");
                remove(&place)?;
                Ok(View::try_open(&place)?)
            }
        }
    }

    fn try_open(place: &ViewPlace) -> Result<View, rusqlite::Error> {
        let (mut writer, count) = match place {
            ViewPlace::File(path) => (Connection::open(path)?, READERS),
            ViewPlace::Memory => (Connection::open_in_memory()?, 0),
        };
        schema::prepare(&mut writer)?;
        let mut readers = Vec::with_capacity(count);
        if let ViewPlace::File(path) = place {
            for _ in 0..count {
                readers.push(Mutex::new(schema::reader(path)?));
            }
        }
        Ok(View { place: place.clone(), writer: Mutex::new(writer), readers, next: AtomicUsize::new(0) })
    }

    /// The same place, emptied: for when the view has nothing to do with the log beside it.
    pub(crate) fn anew(self) -> Result<View, MailboxError> {
        let place = self.place.clone();
        drop(self);
        remove(&place)?;
        Ok(View::try_open(&place)?)
    }

    /// Throws the file away, because SQLite says that it is damaged; the next start makes it anew.
    pub(crate) fn discard(&self) -> Result<(), MailboxError> {
        remove(&self.place)
    }

    /// Reads in one snapshot.
    pub(crate) fn read<T>(
        &self,
        look: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, MailboxError> {
        let connection = self.reader();
        let snapshot = connection.unchecked_transaction()?;
        let seen = look(&snapshot)?;
        snapshot.finish()?;
        Ok(seen)
    }

    fn reader(&self) -> MutexGuard<'_, Connection> {
        for reader in &self.readers {
            match reader.try_lock() {
                Ok(guard) => return guard,
                Err(TryLockError::Poisoned(poisoned)) => return poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => {}
            }
        }
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        lock(self.readers.get(turn % self.readers.len().max(1)).unwrap_or(&self.writer))
    }

    /// Writes in one transaction.
    pub(crate) fn write<T>(
        &self,
        act: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, rusqlite::Error> {
        let mut connection = lock(&self.writer);
        let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let done = act(&transaction)?;
        words_world::crash_point("mailbox.view-before-commit");
        transaction.commit()?;
        Ok(done)
    }

    /// How far the log has been applied; `None` when nothing has.
    pub(crate) fn applied(&self) -> Result<Option<Applied>, MailboxError> {
        self.read(schema::applied)
    }

    /// Which log the view is of: the hash of that log's first record. `None` for a view that has applied nothing.
    pub(crate) fn log(&self) -> Result<Option<Vec<u8>>, MailboxError> {
        self.read(schema::log)
    }

    pub(crate) fn set_log(&self, log: &[u8]) -> Result<(), rusqlite::Error> {
        self.write(|sql| schema::set_log(sql, log))
    }

    /// Every row that is derived from the log, as text: two views of the same log are equal.
    pub(crate) fn dump(&self) -> Result<String, MailboxError> {
        self.read(dump::dump)
    }
}

/// The view is the one file here that does not go through the world: SQLite opens it itself.
fn remove(place: &ViewPlace) -> Result<(), MailboxError> {
    let ViewPlace::File(path) = place else { return Ok(()) };
    for end in ["", "-wal", "-shm"] {
        let path = format!("{}{end}", path.display());
        match std::fs::remove_file(Path::new(&path)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(MailboxError::View(format!("{path} cannot be removed: {error}")));
            }
            _ => {}
        }
    }
    Ok(())
}
