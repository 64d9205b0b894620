//! Getting messages out again: mbox, single files, verifying, erasing.

use crate::{Journal, JournalEntry, JournalReader, LogError, LogOptions, Position};
use std::io::{self, Read, Write};
use stores_log::{Erased, Erasure, KeyRing, ReadError, Verified};
use words_mail::TraceId;
use words_world::World;

/// Bytes copied at once.
const COPY_AT_ONCE: usize = 64 << 10;

/// Why an export ended early.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The journal could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// What was read could not be written.
    #[error("writing the export: {0}")]
    Write(io::Error),
}

/// What was exported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// How many messages.
    pub messages: u64,
    /// How many bytes of them, as they are handed on.
    pub bytes: u64,
    /// Messages whose body is missing or was altered; they are left out.
    pub unreadable: Vec<TraceId>,
}

impl JournalReader {
    /// Writes the messages that `wanted` picks as one mbox file (RFC 4155; lines that begin with `From ` are quoted
    /// with `>`, and quoted ones once more, so that it can be undone). Lines end in LF, as mbox readers expect; for
    /// the very bytes use [`JournalReader::export_each`]. `progress` is told after every message.
    ///
    /// # Errors
    /// When the journal cannot be read or the output not written.
    pub fn export_mbox(
        &self,
        wanted: &mut dyn FnMut(&JournalEntry) -> bool,
        out: &mut dyn Write,
        progress: &mut dyn FnMut(&Exported),
    ) -> Result<Exported, ExportError> {
        self.export(wanted, progress, &mut |entry, message| {
            let sender = entry.accepted.envelope.sender.address();
            let sender =
                sender.map_or("MAILER-DAEMON".to_owned(), |address| address.to_string().replace(' ', "_"));
            let mut quoting = Quoting { out, line: Line::Start { arrows: 0, matched: 0 }, held_cr: false };
            writeln!(quoting.out, "From {sender} {}", asctime(entry.accepted.at))?;
            copy(message, &mut |bytes| quoting.write(bytes))?;
            quoting.end()
        })
    }

    /// Hands every message that `wanted` picks to the output that `open` gives for it, byte for byte as it is handed
    /// on: for single .eml files.
    ///
    /// # Errors
    /// When the journal cannot be read or an output not written.
    pub fn export_each(
        &self,
        wanted: &mut dyn FnMut(&JournalEntry) -> bool,
        open: &mut dyn FnMut(&JournalEntry) -> io::Result<Box<dyn Write>>,
        progress: &mut dyn FnMut(&Exported),
    ) -> Result<Exported, ExportError> {
        self.export(wanted, progress, &mut |entry, message| {
            let mut out = open(entry)?;
            copy(message, &mut |bytes| out.write_all(bytes))?;
            out.flush()
        })
    }

    fn export(
        &self,
        wanted: &mut dyn FnMut(&JournalEntry) -> bool,
        progress: &mut dyn FnMut(&Exported),
        write: &mut dyn FnMut(&JournalEntry, &mut dyn Read) -> io::Result<()>,
    ) -> Result<Exported, ExportError> {
        let mut exported = Exported::default();
        for entry in self.scan(None) {
            let entry = entry?;
            if !wanted(&entry) {
                continue;
            }
            // Read once in vain first, so that no half message is in the export.
            if !self.is_readable(&entry) {
                exported.unreadable.push(entry.accepted.trace);
                continue;
            }
            let mut message = self.message(&entry)?;
            write(&entry, &mut message).map_err(ExportError::Write)?;
            exported.messages += 1;
            exported.bytes += message.len();
            progress(&exported);
        }
        Ok(exported)
    }

    /// Whether the whole message can be read and is what was received.
    fn is_readable(&self, entry: &JournalEntry) -> bool {
        let Ok(mut body) = self.log_reader().body(&entry.record) else { return false };
        let mut hasher = blake3::Hasher::new();
        let read = copy(&mut body, &mut |bytes| {
            hasher.update(bytes);
            Ok(())
        });
        read.is_ok() && *hasher.finalize().as_bytes() == entry.accepted.content
    }

    /// Reads the whole journal and checks every checksum, hash, body and link of the chain.
    ///
    /// # Errors
    /// When the disk cannot be read or a key is missing.
    pub fn verify(&self, progress: &mut dyn FnMut(&Verified)) -> Result<Verified, ReadError> {
        self.log_reader().verify(progress)
    }

    /// Where messages stand; those that are not found are left out.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn positions(&self, traces: &[TraceId]) -> Result<Vec<(TraceId, Position)>, ReadError> {
        let mut found = Vec::new();
        for trace in traces {
            if let Some(entry) = self.find(*trace)? {
                found.push((*trace, entry.position));
            }
        }
        Ok(found)
    }
}

impl Journal {
    /// Removes messages for good. Their hashes and a note of who, when and why stay, and the chain still holds.
    /// Messages that are not there are passed over.
    ///
    /// # Errors
    /// As [`stores_log::Log::erase`].
    pub async fn erase(&self, traces: &[TraceId], who: &str, why: &str) -> Result<Erased, LogError> {
        let erasure = Erasure { who: who.to_owned(), why: why.to_owned(), keep_meta: false };
        self.remove(traces, &erasure).await
    }

    /// Removes the bodies of messages that nobody needs any more, and keeps what is known about them.
    ///
    /// # Errors
    /// As [`stores_log::Log::erase`].
    pub async fn collect(&self, traces: &[TraceId], why: &str) -> Result<Erased, LogError> {
        let erasure = Erasure { who: "stormpost".to_owned(), why: why.to_owned(), keep_meta: true };
        self.remove(traces, &erasure).await
    }

    async fn remove(&self, traces: &[TraceId], erasure: &Erasure) -> Result<Erased, LogError> {
        let positions = self.reader().positions(traces).map_err(unreadable)?;
        for (trace, _) in &positions {
            // A repeat of an erased message is a message anew.
            self.repeats().forget(*trace);
        }
        let positions: Vec<Position> = positions.into_iter().map(|(_, position)| position).collect();
        self.log().erase(&positions, erasure).await
    }
}

/// Removes messages from a journal that nobody writes now; see [`Journal::erase`]. Blocks.
///
/// # Errors
/// As [`stores_log::Log::erase`].
pub fn erase_offline(
    world: &World,
    keys: KeyRing,
    options: LogOptions,
    traces: &[TraceId],
    erasure: &Erasure,
) -> Result<Erased, LogError> {
    let (journal, _writer, _) = Journal::open(world, keys, options)?;
    let positions = journal.reader().positions(traces).map_err(unreadable)?;
    let positions: Vec<Position> = positions.into_iter().map(|(_, position)| position).collect();
    journal.log().erase_closed(&positions, erasure)
}

fn unreadable(error: ReadError) -> LogError {
    LogError::Disk { what: "reading the journal".to_owned(), error: io::Error::other(error) }
}

fn copy(from: &mut dyn Read, to: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut bytes = vec![0; COPY_AT_ONCE];
    loop {
        match from.read(&mut bytes)? {
            0 => return Ok(()),
            count => to(&bytes[..count])?,
        }
    }
}

/// The moment as C's `asctime` writes it, for the line between messages.
fn asctime(at: words_mail::Time) -> String {
    let text = at.rfc5322();
    // "Sun, 22 Nov 2026 10:42:07 +0000" has all the words, in another order.
    let words: Vec<&str> = text.split([',', ' ']).filter(|word| !word.is_empty()).collect();
    match words[..] {
        [weekday, day, month, year, time, _] => format!("{weekday} {month} {day:>2} {time} {year}"),
        _ => text,
    }
}

/// Writes a message into an mbox: LF at the ends of lines, `>` before lines that look like the line between messages.
struct Quoting<'a> {
    out: &'a mut dyn Write,
    line: Line,
    held_cr: bool,
}

enum Line {
    /// So many `>` and so many letters of `From ` were seen at the beginning of the line, and nothing else.
    Start { arrows: usize, matched: usize },
    /// Somewhere in a line that needs no quoting any more.
    Inside,
}

const FROM: &[u8] = b"From ";

impl Quoting<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut plain = Vec::with_capacity(bytes.len() + 16);
        for byte in bytes {
            self.byte(*byte, &mut plain);
        }
        self.out.write_all(&plain)
    }

    fn byte(&mut self, byte: u8, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.held_cr) && byte != b'\n' {
            self.put(b'\r', out);
        }
        match byte {
            b'\r' => self.held_cr = true,
            b'\n' => {
                self.release(out);
                out.push(b'\n');
                self.line = Line::Start { arrows: 0, matched: 0 };
            }
            byte => self.put(byte, out),
        }
    }

    fn put(&mut self, byte: u8, out: &mut Vec<u8>) {
        match &mut self.line {
            Line::Start { arrows, matched: 0 } if byte == b'>' => *arrows += 1,
            Line::Start { matched, .. } if byte == FROM[*matched] => {
                *matched += 1;
                if *matched == FROM.len() {
                    out.push(b'>');
                    self.release(out);
                }
            }
            Line::Start { .. } => {
                self.release(out);
                out.push(byte);
            }
            Line::Inside => out.push(byte),
        }
    }

    /// Writes what was held back at the beginning of a line.
    fn release(&mut self, out: &mut Vec<u8>) {
        if let Line::Start { arrows, matched } = self.line {
            out.extend(std::iter::repeat_n(b'>', arrows));
            out.extend_from_slice(&FROM[..matched]);
            self.line = Line::Inside;
        }
    }

    /// Ends the message with an empty line.
    fn end(&mut self) -> io::Result<()> {
        let mut rest = Vec::new();
        if std::mem::take(&mut self.held_cr) {
            self.put(b'\r', &mut rest);
        }
        let at_start = matches!(self.line, Line::Start { arrows: 0, matched: 0 });
        self.release(&mut rest);
        if !at_start {
            rest.push(b'\n');
        }
        rest.push(b'\n');
        self.out.write_all(&rest)
    }
}
