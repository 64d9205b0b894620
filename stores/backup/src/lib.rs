//! Copies of what a node remembers, in another place: a folder, or a bucket of an object store.
//!
//! The logs are append-only segments that are never changed but by sealing, erasing and collecting, so a copy is made
//! by copying what is new. A run ends with a manifest, written last: without it the run did not happen, and the one
//! before is as good as ever. `docs/backup.md` says what is kept where, `docs/formats.md` how it is written.

mod bucket;
mod check;
mod copy;
mod fetch;
mod folder;
mod keep;
mod manifest;
mod place;
mod prefix;

pub use bucket::{Bucket, BucketOptions, Dial};
pub use check::{Checked, Finding, check};
pub use copy::{Backup, Copied, Depth, Extra};
pub use fetch::{Fetched, fetch};
pub use folder::Folder;
pub use manifest::{BodyPart, FORMAT, FilePart, LogPart, Manifest, Page, PageRef, SegmentPart};
pub use place::{Object, Place, PlaceError, ReadAt};
pub use prefix::{Found, Line, find, lines};

use stores_log::LogKind;

/// The logs, in the order in which they are copied: the ledger and the mailbox log speak of messages of the journal, so
/// a copy must not have less of that than they speak of.
pub const LOGS: [(&str, LogKind); 3] =
    [("ledger", LogKind::Ledger), ("mailbox", LogKind::Mailbox), ("journal", LogKind::Journal)];

/// Why a copy was not made, checked, or fetched.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The place where the copies are says no.
    #[error("{0}")]
    Place(#[from] PlaceError),
    /// Our own disk does.
    #[error("{path}: {error}")]
    Disk {
        /// Which file.
        path: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// A copy is not what it should be.
    #[error("{object}: {why}")]
    Damaged {
        /// Which object.
        object: String,
        /// What is wrong.
        why: String,
    },
    /// Another run wrote there at the same time.
    #[error("another run wrote there at the same time; nothing is lost, run it again")]
    Raced,
    /// Anything that a person must set right, in words.
    #[error("{0}")]
    Wrong(String),
}

impl BackupError {
    /// Whether doing it again later may help by itself.
    pub fn may_pass(&self) -> bool {
        matches!(
            self,
            BackupError::Place(PlaceError::Trouble(_)) | BackupError::Disk { .. } | BackupError::Raced
        )
    }
}

pub(crate) fn disk(path: impl std::fmt::Display) -> impl FnOnce(std::io::Error) -> BackupError {
    let path = path.to_string();
    move |error| BackupError::Disk { path, error }
}

/// Hears of every object that was copied or checked: its name and its bytes.
pub type Hear<'a> = &'a mut (dyn FnMut(&str, u64) + Send);

#[cfg(test)]
mod tests;
