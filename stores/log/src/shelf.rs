//! The files of a log as somebody sees them who carries them elsewhere: without keys, while another process writes,
//! and checked all the same, for checksums, hashes and the chain stand in clear.

use crate::body::{BODIES, since_of};
use crate::frame::chain_hash;
use crate::header::{HEADER_LEN, Hash, Header, HeaderError};
use crate::options::LogKind;
use crate::segment::{self, Step, Walk, read_up_to};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use words_mail::Time;
use words_world::{Disk, DiskFile};

/// How many of the bytes of a header's hash name a writing of a segment.
const NAME_LEN: usize = 8;

/// Why a file is no segment that this program can carry.
#[derive(Debug, thiserror::Error)]
pub enum ShelfError {
    /// The disk said no.
    #[error("{0}")]
    Disk(#[from] io::Error),
    /// Neither copy of its header is whole.
    #[error("its header cannot be read")]
    Damaged,
    /// Written by a later version of this program.
    #[error("format version {0} is of a later program")]
    Version(u16),
    /// It belongs to another log.
    #[error("it is part of another log")]
    Foreign,
}

impl From<HeaderError> for ShelfError {
    fn from(error: HeaderError) -> ShelfError {
        match error {
            HeaderError::Version(version) => ShelfError::Version(version),
            HeaderError::Kind(_) => ShelfError::Foreign,
            HeaderError::Damaged | HeaderError::NoKey(_) => ShelfError::Damaged,
        }
    }
}

/// The files of one log.
pub struct Shelf {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    kind: LogKind,
}

/// A long body's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodyFileName {
    /// Its name.
    pub name: String,
    /// Its length in bytes, so far.
    pub len: u64,
}

impl Shelf {
    /// The log in `dir`, which may not have begun.
    pub fn new(disk: Arc<dyn Disk>, dir: &Path, kind: LogKind) -> Shelf {
        Shelf { disk, dir: dir.to_owned(), kind }
    }

    /// The numbers of its segments with the lengths of their files, in order.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn segments(&self) -> io::Result<Vec<(u64, u64)>> {
        let mut found: Vec<(u64, u64)> = self
            .list(&self.dir)?
            .iter()
            .filter_map(|entry| Some((segment::number_of(&entry.name)?, entry.len)))
            .collect();
        found.sort_unstable();
        Ok(found)
    }

    /// Its long bodies, also those being written.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn bodies(&self) -> io::Result<Vec<BodyFileName>> {
        let listed = self.list(&self.dir.join(BODIES))?;
        let bodies = listed.into_iter().filter(|entry| since_of(&entry.name).is_some());
        Ok(bodies.map(|entry| BodyFileName { name: entry.name, len: entry.len }).collect())
    }

    /// One segment. What is read stays the same although the segment is written anew meanwhile. `None` when it is gone,
    /// or its header was never finished.
    ///
    /// # Errors
    /// See [`ShelfError`].
    pub fn open(&self, number: u64) -> Result<Option<Volume>, ShelfError> {
        let file = match self.disk.open(&segment::path(&self.dir, number)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if file.len()? < HEADER_LEN as u64 {
            return Ok(None);
        }
        Volume::of(file, self.kind).map(Some)
    }

    /// The file of a long body.
    ///
    /// # Errors
    /// When the disk says no; `NotFound` when it was let go.
    pub fn open_body(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.disk.open(&self.dir.join(BODIES).join(name))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<words_world::Entry>> {
        match self.disk.list(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            listed => listed,
        }
    }
}

/// The name of a segment's file.
pub fn segment_name(number: u64) -> String {
    let path = segment::path(Path::new(""), number);
    path.to_string_lossy().into_owned()
}

/// The folder of long bodies inside a log's.
pub const BODY_FOLDER: &str = BODIES;

/// What a segment holds, as far as it can be told without its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    /// The segment's number.
    pub segment: u64,
    /// Names this writing of it: the same segment written anew has another.
    pub writing: String,
    /// It was sealed, or written anew without what was erased.
    pub sealed: bool,
    /// The bytes that hold whole records, from the beginning.
    pub bytes: u64,
    /// The sequence number its first record has or would have.
    pub first_seq: u64,
    /// That of its last record; one less than `first_seq` when there is none.
    pub last_seq: u64,
    /// When its last record was written; when it was begun if there is none.
    pub last_at: Time,
    /// Where its last record ended when it was acknowledged.
    pub end: u64,
    /// The segment it goes on from; 0 when there is none.
    pub previous: u64,
    /// Where that one ends.
    pub previous_end: u64,
    /// The chain's value before its first record, hexadecimal.
    pub before: String,
    /// And after its last.
    pub after: String,
    /// The name of the key that its data key is wrapped with, hexadecimal.
    pub key: String,
    /// Which node wrote it.
    pub node: String,
    /// Ranges that hold no whole record, and records that do not follow from the one before.
    #[serde(default)]
    pub faults: u64,
}

impl Extent {
    /// Whether this one follows from the one before: what that says of its end is so.
    pub fn follows(&self, before: &Extent) -> bool {
        if self.previous != before.segment || self.previous_end != before.end {
            // Nothing of that one counts, or not all of it: it needs a key to tell more.
            return self.first_seq <= before.last_seq + 1;
        }
        self.before == before.after && self.first_seq == before.last_seq + 1
    }
}

/// A segment's file.
pub struct Volume {
    header: Header,
    writing: String,
    key: String,
    file: Box<dyn DiskFile>,
}

impl Volume {
    /// What `file` holds, wherever it is.
    ///
    /// # Errors
    /// See [`ShelfError`].
    pub fn of(file: Box<dyn DiskFile>, kind: LogKind) -> Result<Volume, ShelfError> {
        let mut bytes = vec![0; HEADER_LEN];
        let got = read_up_to(&*file, 0, &mut bytes)?;
        let (header, key, _) = Header::parse(&bytes[..got], kind.number())?;
        let hash = blake3::hash(&bytes);
        Ok(Volume { header, writing: hex(&hash.as_bytes()[..NAME_LEN]), key: hex(&key), file })
    }

    /// The segment's number.
    pub fn number(&self) -> u64 {
        self.header.segment
    }

    /// See [`Extent::writing`].
    pub fn writing(&self) -> &str {
        &self.writing
    }

    /// See [`Extent::sealed`].
    pub fn is_sealed(&self) -> bool {
        self.header.rewritten
    }

    /// Reads up to `into.len()` bytes.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, into)
    }

    /// Goes through all of it and checks what can be checked.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn measure(&self) -> io::Result<Extent> {
        let header = &self.header;
        let mut walk = Walk::new(header, 0).checking_all();
        let mut extent = Extent {
            segment: header.segment,
            writing: self.writing.clone(),
            sealed: header.rewritten,
            bytes: HEADER_LEN as u64,
            first_seq: header.first_seq,
            last_seq: header.first_seq.saturating_sub(1),
            last_at: header.created,
            end: HEADER_LEN as u64,
            previous: header.previous,
            previous_end: header.previous_end,
            before: hex(&header.previous_chain),
            after: String::new(),
            key: self.key.clone(),
            node: header.node.clone(),
            faults: 0,
        };
        let mut chain: Hash = header.previous_chain;
        loop {
            match walk.next(&*self.file)? {
                Step::Frame(head) => {
                    // Behind a gap the chain cannot be followed, and a run stands for records that are gone.
                    let follows = head.is_run()
                        || head.seq != extent.last_seq + 1
                        || chain_hash(&chain, head.seq, &head.content) == head.chain;
                    extent.faults += u64::from(!follows);
                    chain = head.chain;
                    extent.last_seq = head.seq;
                    extent.last_at = head.at;
                    extent.end = head.origin + u64::from(head.span);
                    extent.bytes = walk.at;
                }
                Step::Damage { .. } => extent.faults += 1,
                Step::End { .. } => break,
            }
        }
        extent.after = hex(&chain);
        Ok(extent)
    }

    /// How many bytes from the beginning hold the records before `end`, as positions count.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn bytes_until(&self, end: u64) -> io::Result<u64> {
        let mut walk = Walk::new(&self.header, 0).checking_all();
        let mut bytes = HEADER_LEN as u64;
        loop {
            match walk.next(&*self.file)? {
                Step::Frame(head) if head.origin >= end => return Ok(bytes),
                Step::Frame(_) => bytes = walk.at,
                Step::Damage { .. } => {}
                Step::End { .. } => return Ok(bytes),
            }
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
