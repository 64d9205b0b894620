//! Reading the journal.

use crate::record::{Accepted, MESSAGE};
use std::io::{self, Cursor, Read};
use std::path::Path;
use std::time::Duration;
use stores_log::{BodyReader, Damage, KeyRing, LogKind, Position, ReadError, Reader, Record, Scan};
use tokio::sync::watch;
use words_mail::{Time, TraceId};
use words_world::World;

/// How far a message's time and its segment's may differ when it is looked for.
const CLOCK_SLACK: Duration = Duration::from_secs(60);

/// Reads the journal, in the process that writes it or in another. Cheap to clone; calls block on the disk.
#[derive(Clone)]
pub struct JournalReader {
    reader: Reader,
    durable: bool,
}

/// One message in the journal.
#[derive(Clone, Debug, PartialEq)]
pub struct JournalEntry {
    /// Where it stands.
    pub position: Position,
    /// Where the next record stands.
    pub next: Position,
    /// What is known of it.
    pub accepted: Accepted,
    /// The record it was read from. When its `erased` is set, the body is gone and only what is known is left.
    pub record: Record,
}

impl JournalReader {
    pub(crate) fn new(reader: Reader, durable: bool) -> JournalReader {
        JournalReader { reader, durable }
    }

    /// A reader of the journal in `dir`, whichever process writes it.
    ///
    /// # Errors
    /// As [`Reader::open`].
    pub fn open(world: &World, keys: KeyRing, dir: &Path) -> Result<JournalReader, ReadError> {
        Ok(JournalReader::new(Reader::open(world, keys, dir, LogKind::Journal)?, false))
    }

    /// A reader of a journal that another process writes. `durable` is what that process says is durable; a scan gives
    /// nothing beyond it.
    pub fn following(
        world: &World,
        keys: KeyRing,
        dir: &Path,
        durable: watch::Receiver<Position>,
    ) -> JournalReader {
        JournalReader::new(Reader::following(world, keys, dir, LogKind::Journal, durable), true)
    }

    /// The messages from a position on, or from the first, in order; records of other kinds and erased messages
    /// are passed over. In the process that writes the journal only what is durable is given.
    pub fn scan(&self, from: Option<Position>) -> JournalScan {
        let scan = if self.durable { self.reader.scan_durable(from) } else { self.reader.scan(from) };
        JournalScan { scan, collected: false }
    }

    /// The message at a position.
    ///
    /// # Errors
    /// When there is none, or it was erased or collected, or it cannot be read.
    pub fn read(&self, position: Position) -> Result<JournalEntry, ReadError> {
        let entry = entry(self.reader.read(position)?).filter(|entry| entry.record.erased.is_none());
        entry.ok_or(ReadError::NoRecord(position))
    }

    /// The message as it is handed on: prefix, then body as received.
    ///
    /// # Errors
    /// When the body is missing, was altered, or was collected.
    pub fn message(&self, entry: &JournalEntry) -> Result<Message, ReadError> {
        if entry.record.erased.is_some() {
            return Err(ReadError::NoRecord(entry.position));
        }
        let body = self.reader.body(&entry.record)?;
        Ok(Message {
            len: entry.accepted.prefix.len() as u64 + body.len(),
            prefix: Cursor::new(entry.accepted.prefix.clone().into_bytes()),
            body,
        })
    }

    /// A message and its bytes as they are handed on, looked up once for both.
    ///
    /// # Errors
    /// Those of [`JournalReader::read`] and [`JournalReader::message`].
    pub fn read_with_message(&self, position: Position) -> Result<(JournalEntry, Message), ReadError> {
        let (record, body) = self.reader.read_with_body(position)?;
        let entry = entry(record).filter(|entry| entry.record.erased.is_none());
        let entry = entry.ok_or(ReadError::NoRecord(position))?;
        let prefix = entry.accepted.prefix.clone().into_bytes();
        let message = Message { len: prefix.len() as u64 + body.len(), prefix: Cursor::new(prefix), body };
        Ok((entry, message))
    }

    /// The message with an id. The id tells when it was accepted, so the segments of that time are looked through
    /// first, and all the others after them. Of a collected message what is known is still found.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn find(&self, trace: TraceId) -> Result<Option<JournalEntry>, ReadError> {
        let segments = self.reader.segment_times()?;
        let is_near = |at: usize| {
            let begins_before = segments[at].1.before(CLOCK_SLACK) <= trace.time();
            let ends_after =
                segments.get(at + 1).is_none_or(|next| next.1.after(CLOCK_SLACK) >= trace.time());
            begins_before && ends_after
        };
        let (near, far): (Vec<usize>, Vec<usize>) = (0..segments.len()).partition(|at| is_near(*at));
        for at in near.into_iter().chain(far) {
            let number = segments[at].0;
            let mut scan = self.scan(Some(Position { segment: number, offset: 0 }));
            scan.scan = scan.scan.until(Position { segment: number + 1, offset: 0 });
            scan.collected = true;
            for entry in &mut scan {
                let entry = entry?;
                if entry.accepted.trace == trace {
                    return Ok(Some(entry));
                }
            }
        }
        Ok(None)
    }

    /// A position before every message accepted at `from` or later.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn position_at(&self, from: Time) -> Result<Position, ReadError> {
        let times = self.reader.segment_times()?;
        let wanted = from.before(CLOCK_SLACK);
        let first_inside = times.iter().position(|(_, created)| *created >= wanted).unwrap_or(times.len());
        let number = times.get(first_inside.saturating_sub(1)).map_or(0, |(number, _)| *number);
        Ok(Position { segment: number, offset: 0 })
    }

    /// The log underneath.
    pub fn log_reader(&self) -> &Reader {
        &self.reader
    }
}

fn entry(record: Record) -> Option<JournalEntry> {
    if record.kind != MESSAGE || record.meta.is_empty() {
        return None;
    }
    match serde_json::from_slice(&record.meta) {
        Ok(accepted) => Some(JournalEntry { position: record.position, next: record.next, accepted, record }),
        Err(error) => {
            tracing::warn!(position = %record.position, %error, "a journal record could not be understood");
            None
        }
    }
}

/// Goes through the messages of the journal; at the end it gives `None` and may be asked again later.
pub struct JournalScan {
    scan: Scan,
    /// Whether messages whose body is gone are given too.
    collected: bool,
}

impl JournalScan {
    /// Where the scan goes on: every message that was given stands before it.
    pub fn position(&self) -> Position {
        self.scan.position()
    }

    /// The ranges that were passed over because no whole record is in them.
    pub fn damage(&self) -> &[Damage] {
        self.scan.damage()
    }
}

impl Iterator for JournalScan {
    type Item = Result<JournalEntry, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.scan.next()? {
                Ok(record) => {
                    let given = self.collected || record.erased.is_none();
                    if let Some(entry) = entry(record).filter(|_| given) {
                        return Some(Ok(entry));
                    }
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// The bytes of a message as it is handed on.
pub struct Message {
    len: u64,
    prefix: Cursor<Vec<u8>>,
    body: BodyReader,
}

impl Message {
    /// How many bytes it has.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl Read for Message {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.prefix.read(into)? {
            0 => self.body.read(into),
            count => Ok(count),
        }
    }
}
