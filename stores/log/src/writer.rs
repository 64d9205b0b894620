//! The one writer of a log: takes what waits, one append and one sync for all of it, then acknowledges.

use crate::body;
use crate::frame::{Content, Frame, chain_hash};
use crate::header::{HEADER_LEN, Hash, Header};
use crate::keys::DataKey;
use crate::queue::{Entry, Waiting};
use crate::recovery::Tail;
use crate::segment;
use crate::shared::{Shared, is_full};
use crate::{AppendError, Appended, Body, Position};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep_until};
use words_mail::Time;
use words_world::{DiskFile, crash_point};

/// How often a full disk is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The writer loop. The program runs it on a thread of its own, because it blocks on the disk.
pub struct Writer {
    shared: Arc<Shared>,
    active: Option<Active>,
    next_segment: u64,
    seq: u64,
    chain: Hash,
    /// Where the last acknowledged record ends.
    end: Position,
    batch: Vec<u8>,
    bodies_elsewhere: bool,
    /// Whether nothing was acknowledged yet since the log was opened.
    is_first: bool,
    /// Whether it was run to its end.
    finished: bool,
}

/// The segment being written.
struct Active {
    number: u64,
    file: Box<dyn DiskFile>,
    key: DataKey,
    len: u64,
    /// When its first record was written.
    since: Option<Instant>,
}

/// One record of a batch that was put into the buffer.
struct Written {
    done: Option<oneshot::Sender<Result<Appended, AppendError>>>,
    appended: Appended,
    body: Body,
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>, tail: &Tail, end: Position) -> Writer {
        Writer {
            shared,
            active: None,
            next_segment: tail.next_segment,
            seq: tail.seq,
            chain: tail.chain,
            end,
            batch: Vec::new(),
            bodies_elsewhere: false,
            is_first: true,
            finished: false,
        }
    }

    /// The part that writes body files, to be run on another thread, so that long bodies do not delay short
    /// messages. When it is not taken, [`Writer::run`] does its work too.
    pub fn split_bodies(&mut self) -> BodyLoop {
        self.bodies_elsewhere = true;
        BodyLoop { shared: self.shared.clone() }
    }

    /// Writes until `shutdown` says so and everything that waits has been written.
    pub async fn run(mut self, mut shutdown: watch::Receiver<bool>) {
        let mut stop = false;
        loop {
            if !stop && stopping(&mut shutdown) {
                stop = true;
                self.shared.queue.close();
            }
            let worked = self.turn();
            let piece = if self.bodies_elsewhere { None } else { self.shared.queue.take_body() };
            let had_piece = piece.is_some();
            if let Some(job) = piece {
                body::perform(&self.shared, job);
            }
            if worked || had_piece {
                continue;
            }
            if stop && self.shared.queue.is_empty(!self.bodies_elsewhere) {
                break;
            }
            self.wait(&mut shutdown).await;
        }
        self.finished = true;
    }

    async fn wait(&self, shutdown: &mut watch::Receiver<bool>) {
        let shared = self.shared.clone();
        let deadline = self.deadline();
        let timer = async {
            match deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        let bodies = async {
            match self.bodies_elsewhere {
                true => std::future::pending().await,
                false => shared.queue.bodies_wake.notified().await,
            }
        };
        tokio::select! {
            biased;
            () = shared.queue.records_wake.notified() => {}
            () = bodies => {}
            _ = shutdown.changed() => {}
            () = timer => {}
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let options = &self.shared.options;
        let due = self.shared.queue.waiting().1;
        let seal = self.active.as_ref().and_then(|a| a.since).map(|since| since + options.seal_after);
        let full = *self.shared.health.borrow() == crate::LogHealth::NoSpace;
        let look = full.then(|| Instant::now() + LOOK_AGAIN);
        [due, seal, look].into_iter().flatten().min()
    }

    /// Does what is due; `false` when nothing was.
    fn turn(&mut self) -> bool {
        let shared = self.shared.clone();
        let options = &shared.options;
        let due =
            self.active.as_ref().and_then(|a| a.since).is_some_and(|s| s.elapsed() >= options.seal_after);
        if due {
            self.close_segment();
        }
        if *self.shared.health.borrow() == crate::LogHealth::NoSpace {
            self.shared.has_room(0);
        }
        let (urgent, due) = self.shared.queue.waiting();
        let is_due = due.is_some_and(|due| due <= Instant::now());
        let last_call = due.is_some() && self.shared.queue.is_closed();
        if !(urgent || is_due || last_call) {
            return false;
        }
        let records_max = options.batch_records.min(usize::from(u16::MAX));
        let batch = self.shared.queue.take(options.batch_bytes, records_max);
        let mut records = Vec::with_capacity(batch.len());
        let mut roll = None;
        for entry in batch {
            match entry {
                Entry::Record(waiting) => records.push(waiting),
                Entry::Roll(done) => roll = Some(done),
            }
        }
        if !records.is_empty() {
            self.write(records);
        }
        if let Some(done) = roll {
            self.close_segment();
            let _ = done.send(Ok(()));
        }
        true
    }

    /// Writes one batch and answers everybody in it.
    fn write(&mut self, records: Vec<Waiting>) {
        if self.shared.is_failed() {
            return refuse(records, AppendError::Failed);
        }
        let bytes: usize = records.iter().map(Waiting::bytes).sum();
        if !self.shared.has_room((bytes + HEADER_LEN) as u64) {
            return refuse(records, AppendError::NoSpace);
        }
        if self.shared.options.syncs_late()
            && let Some(active) = &self.active
        {
            let _ = active.file.sync();
        }
        if let Err(error) = self.open_segment() {
            return refuse(records, error);
        }
        let Some(active) = &mut self.active else { return refuse(records, AppendError::Failed) };
        self.batch.clear();
        let now = self.shared.world.clock.now();
        let (mut seq, mut chain) = (self.seq, self.chain);
        let mut written = Vec::with_capacity(records.len());
        for (ordinal, record) in records.into_iter().enumerate() {
            seq += 1;
            chain = chain_hash(&chain, seq, &record.content);
            let ordinal = u16::try_from(ordinal).unwrap_or(u16::MAX);
            let place = Place { segment: active.number, offset: active.len, ordinal, seq, at: now, chain };
            written.push(add(record, place, &active.key, &mut self.batch));
        }
        crash_point("log.before_write");
        if let Err(error) = active.file.append(&self.batch) {
            let answer = self.write_failed(&error);
            return answer_all(written, Err(answer));
        }
        crash_point("log.after_write");
        if self.shared.options.syncs_late() {
            // Broken on purpose, for tests of those who judge.
        } else if let Err(error) = active.file.sync() {
            self.shared.fail(&format!("syncing segment {}", active.number), &error);
            self.active = None;
            return answer_all(written, Err(AppendError::Failed));
        }
        crash_point("log.after_sync");
        active.len += self.batch.len() as u64;
        active.since.get_or_insert_with(Instant::now);
        self.seq = seq;
        self.chain = chain;
        self.is_first = false;
        self.end = Position { segment: active.number, offset: active.len };
        let full = active.len >= self.shared.options.seal_bytes;
        self.shared.durable.send_replace(self.end);
        self.shared.count(written.len(), self.batch.len());
        answer_all(written, Ok(()));
        if full {
            self.close_segment();
        }
        // A batch of one very large record must not keep its memory for ever.
        self.batch.shrink_to(2 * self.shared.options.batch_bytes);
    }

    /// After a failed write any part of the batch may be in the file. The segment is left as it is; the header of
    /// the next one says where it ends, so that nothing of the batch counts.
    fn write_failed(&mut self, error: &io::Error) -> AppendError {
        if is_full(error) {
            self.shared.set_space(false);
            self.close_segment();
            return AppendError::NoSpace;
        }
        self.shared.fail("writing a segment", error);
        self.active = None;
        AppendError::Failed
    }

    fn close_segment(&mut self) {
        if let Some(active) = self.active.take() {
            self.shared.writing_from.store(active.number + 1, Ordering::Release);
            self.shared.closed.notify_one();
        }
    }

    /// Makes a segment to write to when there is none: header and name are durable before anything is
    /// acknowledged from it.
    fn open_segment(&mut self) -> Result<(), AppendError> {
        if self.active.is_some() {
            return Ok(());
        }
        let number = self.next_segment;
        self.next_segment += 1;
        self.shared.writing_from.store(number, Ordering::Release);
        let header = Header {
            kind: self.shared.options.kind.number(),
            rewritten: false,
            first: self.is_first,
            segment: number,
            first_seq: self.seq + 1,
            created: self.shared.world.clock.now(),
            previous: self.end.segment,
            previous_end: self.end.offset,
            previous_chain: self.chain,
            node: self.shared.options.node.clone(),
        };
        let made = header.write(&self.shared.keys, &*self.shared.world.random);
        let (bytes, key) = made.ok_or(AppendError::Failed)?;
        let dir = &self.shared.options.dir;
        let path = segment::path(dir, number);
        let disk = &self.shared.world.disk;
        crash_point("log.new_segment.before_create");
        let made = (|| {
            let file = disk.create(&path)?;
            crash_point("log.new_segment.after_create");
            file.append(&bytes)?;
            crash_point("log.new_segment.after_write");
            Ok(file)
        })();
        let file = match made {
            Ok(file) => file,
            Err(error) if is_full(&error) => {
                self.shared.set_space(false);
                // Nothing in it counts; a leftover is passed over by every reader.
                let _ = disk.remove(&path);
                return Err(AppendError::NoSpace);
            }
            Err(error) => {
                self.shared.fail(&format!("making {}", path.display()), &error);
                return Err(AppendError::Failed);
            }
        };
        let synced = file.sync().and_then(|()| {
            crash_point("log.new_segment.after_sync");
            disk.sync_dir(dir)
        });
        if let Err(error) = synced {
            self.shared.fail(&format!("syncing {}", path.display()), &error);
            return Err(AppendError::Failed);
        }
        crash_point("log.new_segment.after_sync_dir");
        self.active = Some(Active { number, file, key, len: HEADER_LEN as u64, since: None });
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.finished {
            self.shared.queue.abandon();
        }
    }
}

/// Writes body files; see [`Writer::split_bodies`].
pub struct BodyLoop {
    shared: Arc<Shared>,
}

impl BodyLoop {
    /// Writes until `shutdown` says so and nothing waits.
    pub async fn run(self, mut shutdown: watch::Receiver<bool>) {
        loop {
            let stop = stopping(&mut shutdown);
            while let Some(job) = self.shared.queue.take_body() {
                body::perform(&self.shared, job);
            }
            if stop {
                self.shared.queue.close();
                if let Some(job) = self.shared.queue.take_body() {
                    body::perform(&self.shared, job);
                    continue;
                }
                return;
            }
            tokio::select! {
                biased;
                () = self.shared.queue.bodies_wake.notified() => {}
                _ = shutdown.changed() => {}
            }
        }
    }
}

/// Whether to end: told so, or nobody is left who could tell.
fn stopping(shutdown: &mut watch::Receiver<bool>) -> bool {
    *shutdown.borrow_and_update() || shutdown.has_changed().is_err()
}

/// Where a record goes.
struct Place {
    segment: u64,
    /// Where the batch begins in the segment.
    offset: u64,
    ordinal: u16,
    seq: u64,
    at: Time,
    chain: Hash,
}

fn add(record: Waiting, place: Place, key: &DataKey, batch: &mut Vec<u8>) -> Written {
    let origin = place.offset + batch.len() as u64;
    let mut body = record.body;
    let content = match &mut body {
        Body::None => Content::None,
        Body::Inline(bytes) if bytes.is_empty() => Content::None,
        Body::Inline(bytes) => Content::Inline(bytes),
        Body::File(stored) => {
            // From here on bytes that refer to the file may reach the disk, whatever is answered.
            stored.keep();
            Content::File(stored.name())
        }
    };
    let frame = Frame {
        kind: record.kind,
        ordinal: place.ordinal,
        seq: place.seq,
        at: place.at,
        origin,
        span: None,
        content: record.content,
        chain: place.chain,
        facts: &record.facts,
        body: content,
        run: false,
    };
    let len = frame.write(key, false, batch);
    let position = Position { segment: place.segment, offset: origin };
    let next = Position { segment: place.segment, offset: origin + u64::from(len) };
    let appended = Appended { seq: place.seq, position, next, at: place.at };
    Written { done: record.done, appended, body }
}

impl Written {
    fn acknowledge(&mut self, result: Result<(), AppendError>) {
        if let Some(done) = self.done.take() {
            let _ = done.send(result.map(|()| self.appended));
        }
    }
}

fn answer_all(written: Vec<Written>, result: Result<(), AppendError>) {
    for mut one in written {
        one.acknowledge(result);
        drop(one.body);
    }
}

fn refuse(records: Vec<Waiting>, error: AppendError) {
    let mut lazy = 0;
    for record in records {
        match record.done {
            Some(done) => {
                let _ = done.send(Err(error));
            }
            None => lazy += 1,
        }
    }
    if lazy > 0 {
        tracing::warn!(records = lazy, why = %error, "records that nobody waits for were not stored");
    }
}
