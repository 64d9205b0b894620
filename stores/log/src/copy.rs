//! The new file of a segment that is written anew.

use crate::body::StoredName;
use crate::frame::{Content, Facts, Frame, Head, SALT_LEN, Tombstone};
use crate::keys::DataKey;
use serde::{Deserialize, Serialize};
use std::io;
use words_world::DiskFile;

/// Bytes gathered before they are written.
const WRITE_AT: usize = 1 << 20;

/// What becomes of one record.
pub(crate) enum Change {
    Keep,
    Erase(Tombstone, bool),
    Collect,
}

/// The new file of a segment.
pub(crate) struct Copy {
    pub(crate) file: Box<dyn DiskFile>,
    key: DataKey,
    out: Vec<u8>,
    pub(crate) written: u64,
    pub(crate) changed: u64,
    /// The run of collected records that is being gathered.
    run: Option<Run>,
}

struct Run {
    first: u64,
    head: Head,
    origin: u64,
}

/// What stands in the place of a run.
#[derive(Serialize, Deserialize)]
pub(crate) struct RunNote {
    /// The first sequence number it stands for; the last is the frame's own.
    pub(crate) first: u64,
}

impl Copy {
    /// A copy that begins with `header`.
    pub(crate) fn new(file: Box<dyn DiskFile>, key: DataKey, header: Vec<u8>) -> Copy {
        Copy { file, key, out: header, written: 0, changed: 0, run: None }
    }

    /// Adds a record, or what becomes of it.
    pub(crate) fn add(&mut self, head: &Head, facts: Facts, body: &[u8], change: Change) -> io::Result<()> {
        match change {
            Change::Collect => {
                self.changed += 1;
                let (first, origin) = match self.run.take() {
                    Some(run) => (run.first, run.origin),
                    None => (head.seq, head.origin),
                };
                self.run = Some(Run { first, head: head.clone(), origin });
                return Ok(());
            }
            Change::Erase(tombstone, keep_meta) if !head.is_erased() && !head.is_run() => {
                self.changed += 1;
                self.end_run();
                let meta = if keep_meta { facts.meta } else { Vec::new() };
                // Without the salt nobody can try out what the content may have been.
                let facts = Facts { salt: [0; SALT_LEN], body_len: 0, erased: Some(tombstone), meta };
                self.frame(head, &facts, Content::None);
            }
            Change::Keep | Change::Erase(..) => {
                self.end_run();
                match StoredName::read(body).filter(|_| head.body_in_file()) {
                    Some(name) => self.frame(head, &facts, Content::File(&name)),
                    None if body.is_empty() => self.frame(head, &facts, Content::None),
                    None => self.frame(head, &facts, Content::Inline(body)),
                }
            }
        }
        if self.out.len() >= WRITE_AT { self.flush() } else { Ok(()) }
    }

    fn frame(&mut self, head: &Head, facts: &Facts, body: Content<'_>) {
        let frame = Frame {
            kind: head.kind,
            ordinal: head.ordinal,
            seq: head.seq,
            at: head.at,
            origin: head.origin,
            span: Some(head.span),
            content: head.content,
            chain: head.chain,
            facts,
            body,
            run: head.is_run(),
        };
        frame.write(&self.key, true, &mut self.out);
    }

    fn end_run(&mut self) {
        let Some(Run { first, head, origin }) = self.run.take() else { return };
        let meta = serde_json::to_vec(&RunNote { first }).unwrap_or_default();
        let facts = Facts { salt: [0; SALT_LEN], body_len: 0, erased: None, meta };
        let span = head.origin + u64::from(head.span) - origin;
        let frame = Frame {
            kind: 0,
            ordinal: head.ordinal,
            seq: head.seq,
            at: head.at,
            origin,
            // A segment is far shorter than this can count.
            span: Some(u32::try_from(span).unwrap_or(u32::MAX)),
            content: [0; 32],
            chain: head.chain,
            facts: &facts,
            body: Content::None,
            run: true,
        };
        frame.write(&self.key, true, &mut self.out);
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.append(&self.out)?;
        self.written += self.out.len() as u64;
        self.out.clear();
        Ok(())
    }

    /// Writes what was gathered; returns how many bytes there are.
    pub(crate) fn finish(&mut self) -> io::Result<u64> {
        self.end_run();
        self.flush()?;
        Ok(self.written)
    }
}
