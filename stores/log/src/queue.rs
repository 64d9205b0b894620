//! What waits for the writer: records in call order, and pieces of bodies.

use crate::body::BodyFile;
use crate::frame::{Facts, SALT_LEN};
use crate::header::Hash;
use crate::options::LogOptions;
use crate::shared::lock;
use crate::{AppendError, Appended, Body};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

/// A record that waits.
pub(crate) struct Waiting {
    pub(crate) kind: u8,
    pub(crate) facts: Facts,
    pub(crate) content: Hash,
    pub(crate) body: Body,
    /// `None` when nobody waits.
    pub(crate) done: Option<oneshot::Sender<Result<Appended, AppendError>>>,
    pub(crate) haste: Haste,
}

/// How soon a record is written. Whatever its haste, it goes with the next batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Haste {
    /// At once.
    Now,
    /// After `gather_after` at the latest.
    Soon,
    /// After `lazy_after` at the latest.
    Lazy,
}

impl Waiting {
    /// About how many bytes its frame will have; an upper bound.
    pub(crate) fn bytes(&self) -> usize {
        let body = match &self.body {
            Body::Inline(bytes) => bytes.len(),
            Body::None | Body::File(_) => 0,
        };
        self.facts.meta.len() + body + 320 + SALT_LEN
    }
}

/// One thing for the writer. Nearly all are records, so the room for them is not wasted.
#[allow(clippy::large_enum_variant)]
pub(crate) enum Entry {
    Record(Waiting),
    /// Close the segment that is being written, so that it can be written anew.
    Roll(oneshot::Sender<Result<(), AppendError>>),
}

/// One thing for the writer of bodies.
pub(crate) enum BodyJob {
    Write { file: Arc<BodyFile>, bytes: Vec<u8>, last: bool, done: oneshot::Sender<Result<(), AppendError>> },
    Remove(PathBuf),
}

/// The two queues. Records are bounded by number and bytes; bodies by the number of them that may be open at once,
/// each of which has at most one piece waiting.
pub(crate) struct Queue {
    inner: Mutex<Inner>,
    records_max: usize,
    bytes_max: usize,
    gather_after: Duration,
    lazy_after: Duration,
    pub(crate) records_wake: Notify,
    pub(crate) bodies_wake: Notify,
}

#[derive(Default)]
struct Inner {
    records: VecDeque<Entry>,
    bytes: usize,
    /// Records that are to be written at once.
    urgent: usize,
    /// When the others are to be written.
    due: Option<Instant>,
    bodies: VecDeque<BodyJob>,
    closed: bool,
}

impl Queue {
    pub(crate) fn new(options: &LogOptions) -> Queue {
        Queue {
            inner: Mutex::new(Inner::default()),
            records_max: options.queue_max,
            bytes_max: options.queue_bytes,
            gather_after: options.gather_after,
            lazy_after: options.lazy_after,
            records_wake: Notify::new(),
            bodies_wake: Notify::new(),
        }
    }

    /// Puts a record at the end. One larger than the whole queue may be is taken when nothing else waits.
    pub(crate) fn push(&self, waiting: Waiting) -> Result<(), AppendError> {
        let mut inner = lock(&self.inner);
        if inner.closed {
            return Err(AppendError::Closed);
        }
        let bytes = waiting.bytes();
        let full = inner.records.len() >= self.records_max || inner.bytes + bytes > self.bytes_max;
        if full && !inner.records.is_empty() {
            return Err(AppendError::Busy);
        }
        inner.bytes += bytes;
        let after = match waiting.haste {
            Haste::Now => None,
            Haste::Soon => Some(self.gather_after),
            Haste::Lazy => Some(self.lazy_after),
        };
        let mut earlier = true;
        match after.map(|after| Instant::now() + after) {
            None => inner.urgent += 1,
            Some(due) => {
                earlier = inner.due.is_none_or(|known| due < known);
                if earlier {
                    inner.due = Some(due);
                }
            }
        }
        inner.records.push_back(Entry::Record(waiting));
        drop(inner);
        // The writer knows already when it is to write the others.
        if earlier {
            self.records_wake.notify_one();
        }
        Ok(())
    }

    pub(crate) fn roll(&self) -> Result<oneshot::Receiver<Result<(), AppendError>>, AppendError> {
        let mut inner = lock(&self.inner);
        if inner.closed {
            return Err(AppendError::Closed);
        }
        let (done, rolled) = oneshot::channel();
        inner.urgent += 1;
        inner.records.push_back(Entry::Roll(done));
        drop(inner);
        self.records_wake.notify_one();
        Ok(rolled)
    }

    /// The next batch: at least one entry when any waits. A roll ends a batch.
    pub(crate) fn take(&self, bytes_max: usize, records_max: usize) -> Vec<Entry> {
        let mut inner = lock(&self.inner);
        let mut batch = Vec::new();
        let mut bytes = 0;
        while let Some(entry) = inner.records.pop_front() {
            match &entry {
                Entry::Record(waiting) => {
                    let more = waiting.bytes();
                    if !batch.is_empty() && (bytes + more > bytes_max || batch.len() >= records_max) {
                        inner.records.push_front(entry);
                        break;
                    }
                    bytes += more;
                    inner.bytes -= more;
                    inner.urgent -= usize::from(waiting.haste == Haste::Now);
                    batch.push(entry);
                }
                Entry::Roll(_) => {
                    inner.urgent -= 1;
                    batch.push(entry);
                    break;
                }
            }
        }
        if inner.records.is_empty() {
            inner.due = None;
        }
        batch
    }

    /// Whether a record is to be written at once, and when others are.
    pub(crate) fn waiting(&self) -> (bool, Option<Instant>) {
        let inner = lock(&self.inner);
        (inner.urgent > 0, inner.due)
    }

    /// Whether nothing waits; bodies count when asked for.
    pub(crate) fn is_empty(&self, and_bodies: bool) -> bool {
        let inner = lock(&self.inner);
        inner.records.is_empty() && (!and_bodies || inner.bodies.is_empty())
    }

    pub(crate) fn is_closed(&self) -> bool {
        lock(&self.inner).closed
    }

    pub(crate) fn push_body(&self, job: BodyJob) -> Result<(), AppendError> {
        let mut inner = lock(&self.inner);
        if inner.closed {
            return Err(AppendError::Closed);
        }
        inner.bodies.push_back(job);
        drop(inner);
        self.bodies_wake.notify_one();
        Ok(())
    }

    pub(crate) fn take_body(&self) -> Option<BodyJob> {
        lock(&self.inner).bodies.pop_front()
    }

    /// Takes nothing more; what waits is still written.
    pub(crate) fn close(&self) {
        lock(&self.inner).closed = true;
        self.records_wake.notify_one();
        self.bodies_wake.notify_one();
    }

    /// Takes nothing more and forgets what waits: those who wait hear `Closed`.
    pub(crate) fn abandon(&self) {
        let forgotten = {
            let mut inner = lock(&self.inner);
            inner.closed = true;
            inner.bytes = 0;
            inner.urgent = 0;
            (std::mem::take(&mut inner.records), std::mem::take(&mut inner.bodies))
        };
        // Dropped outside the lock: a forgotten body tells this queue to remove its file.
        drop(forgotten);
    }
}
