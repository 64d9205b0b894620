//! How one log is kept, with every bound by name.

use std::path::PathBuf;
use std::time::Duration;

/// Which of the three logs a directory holds. It stands in every segment's header, so that one is never taken
/// for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogKind {
    /// Every accepted message.
    Journal,
    /// Every fact of a mailbox that a client was told.
    Mailbox,
    /// Observations, orders, settlements.
    Ledger,
}

impl LogKind {
    pub(crate) const fn number(self) -> u8 {
        match self {
            LogKind::Journal => 1,
            LogKind::Mailbox => 2,
            LogKind::Ledger => 3,
        }
    }
}

/// The longest frame that is ever written or believed, bytes.
pub(crate) const FRAME_MAX: usize = 64 << 20;
/// The longest `meta` of a record, bytes.
pub(crate) const META_MAX: usize = 4 << 20;
/// How long a measurement of the free space is believed.
pub(crate) const FREE_BELIEVED: Duration = Duration::from_secs(1);

/// How one log is kept.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// Its directory; made when it is not there.
    pub dir: PathBuf,
    /// Which log it is.
    pub kind: LogKind,
    /// The name of this node, at most 64 bytes.
    pub node: String,
    /// A segment is closed when it has grown to this many bytes.
    pub seal_bytes: u64,
    /// A segment with records is closed when it is this old.
    pub seal_after: Duration,
    /// The most bytes written with one sync. More would let the last of a batch wait too long.
    pub batch_bytes: usize,
    /// The most records written with one sync.
    pub batch_records: usize,
    /// The most records that wait for the writer; beyond it `Busy`.
    pub queue_max: usize,
    /// The most bytes that wait for the writer; beyond it `Busy`.
    pub queue_bytes: usize,
    /// Free space that is never used up, bytes: below it `NoSpace`. Sealing and erasing need room to write copies.
    pub reserve_bytes: u64,
    /// The longest body kept inside its record, bytes; longer ones go to a file of their own.
    pub inline_max: usize,
    /// A body file is synced each time this many bytes were added, so that the last sync is short.
    pub body_sync_every: u64,
    /// The most body files being written at once; beyond it `Busy`.
    pub bodies_max: usize,
    /// How long a record that is not in a hurry may wait for company, while somebody waits for it.
    pub gather_after: Duration,
    /// How long a lazy record may wait for company.
    pub lazy_after: Duration,
    /// Broken on purpose: acknowledges a batch, and syncs it only before the next. A checker that does not catch this
    /// proves nothing.
    #[cfg(any(test, feature = "faults"))]
    pub acknowledge_before_sync: bool,
}

impl LogOptions {
    /// The usual figures for a log in `dir`.
    pub fn new(dir: impl Into<PathBuf>, kind: LogKind, node: &str) -> LogOptions {
        let mut options =
            LogOptions { dir: dir.into(), kind, node: node.to_owned(), ..LogOptions::default() };
        if kind == LogKind::Ledger {
            // Written all day with very little: a segment a minute would make half a million files a year.
            options.seal_after = Duration::from_secs(3_600);
        }
        options
    }
}

impl LogOptions {
    /// Whether this is the build that is broken on purpose.
    pub(crate) const fn syncs_late(&self) -> bool {
        #[cfg(any(test, feature = "faults"))]
        return self.acknowledge_before_sync;
        #[cfg(not(any(test, feature = "faults")))]
        false
    }
}

impl Default for LogOptions {
    fn default() -> LogOptions {
        LogOptions {
            dir: PathBuf::new(),
            kind: LogKind::Journal,
            node: "node".to_owned(),
            seal_bytes: 64 << 20,
            seal_after: Duration::from_secs(60),
            batch_bytes: 1 << 20,
            batch_records: 1024,
            queue_max: 4096,
            queue_bytes: 64 << 20,
            // Room for one copy of a full segment of each log, and as much again.
            reserve_bytes: 256 << 20,
            inline_max: 1 << 20,
            body_sync_every: 2 << 20,
            bodies_max: 1024,
            gather_after: Duration::from_millis(5),
            lazy_after: Duration::from_millis(50),
            #[cfg(any(test, feature = "faults"))]
            acknowledge_before_sync: false,
        }
    }
}
