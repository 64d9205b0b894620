//! Reading a log, from its directory alone.

use crate::Position;
use crate::body::{FileBody, StoredBody, StoredName};
use crate::frame::{self, Facts, HEAD_LEN, Head, Tombstone};
use crate::header::Hash;
use crate::keys::KeyRing;
use crate::options::LogKind;
use crate::recovery::believe_the_disk;
use crate::scan::Scan;
use crate::segment::{self, OpenError, Segment, Step, Walk, read_up_to};
use crate::shared::{Shared, lock};
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tokio::sync::watch;
use words_mail::Time;
use words_world::{DiskFile, World};

/// As much is read at once of a record that is read with its body: most letters are shorter.
const NEAR_BYTES: usize = 8 * 1024;

/// How many segments' tables of places a reader remembers.
const TABLES_MAX: usize = 32;

/// Why a record could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The disk said no.
    #[error("reading the log: {0}")]
    Disk(#[from] io::Error),
    /// There is no record at that position.
    #[error("there is no record at {0}")]
    NoRecord(Position),
    /// What is there was altered.
    #[error("the record was altered")]
    Damaged,
    /// The file of the body is gone.
    #[error("the body's file {0} is missing")]
    NoBody(PathBuf),
    /// The file of the body was altered.
    #[error("the body's file {0} was altered")]
    BodyDamaged(PathBuf),
    /// The key that it was encrypted with is not in the key file.
    #[error("encrypted with a key that is not in the key file")]
    NoKey,
    /// It is part of another log or was written by a later version of the program.
    #[error("part of another log, or of a later version")]
    Foreign,
}

/// Where a record's body is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodyRef {
    len: u64,
    place: Place,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    None,
    Record,
    File(StoredName),
}

impl BodyRef {
    /// Its length in bytes; 0 when there is none or it was erased.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The file it is in, if it has one of its own.
    pub(crate) fn file(&self) -> Option<&StoredName> {
        match &self.place {
            Place::File(name) => Some(name),
            Place::None | Place::Record => None,
        }
    }
}

/// One record of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where it stands.
    pub position: Position,
    /// Where the next one stands.
    pub next: Position,
    /// Its sequence number.
    pub seq: u64,
    /// When it was written, by the wall clock of then.
    pub at: Time,
    /// What kind of record it is.
    pub kind: u8,
    /// What is told about it; empty when that was erased.
    pub meta: Vec<u8>,
    /// Its body.
    pub body: BodyRef,
    /// Who erased its content, if somebody did.
    pub erased: Option<Tombstone>,
    /// The salted hash of its content, which stays when the content is erased.
    pub content: Hash,
    /// The chain's value after it.
    pub chain: Hash,
}

/// Reads a log from its directory, whether this process writes it, another, or none. Cheap to clone. All calls
/// block on the disk.
#[derive(Clone)]
pub struct Reader {
    inner: Arc<Inner>,
}

struct Inner {
    world: World,
    keys: KeyRing,
    dir: PathBuf,
    kind: u8,
    durable: Option<watch::Receiver<Position>>,
    tables: Mutex<BTreeMap<u64, Arc<Table>>>,
}

/// Where the frames of a rewritten segment are: pairs of their place of old and of now.
struct Table {
    stamp: u32,
    places: Vec<(u64, u64)>,
}

impl Reader {
    /// A reader of the log in `dir`, which may not have begun yet.
    ///
    /// # Errors
    /// None today; kept for readers of stores that are not directories.
    pub fn open(world: &World, keys: KeyRing, dir: &Path, kind: LogKind) -> Result<Reader, ReadError> {
        Ok(Reader {
            inner: Arc::new(Inner {
                world: world.clone(),
                keys,
                dir: dir.to_owned(),
                kind: kind.number(),
                durable: None,
                tables: Mutex::default(),
            }),
        })
    }

    pub(crate) fn of(shared: &Shared) -> Reader {
        Reader {
            inner: Arc::new(Inner {
                world: shared.world.clone(),
                keys: shared.keys.clone(),
                dir: shared.options.dir.clone(),
                kind: shared.options.kind.number(),
                durable: Some(shared.durable.subscribe()),
                tables: Mutex::default(),
            }),
        }
    }

    /// A reader that follows a log which another process writes. `durable` is what that process says is durable:
    /// [`Reader::scan_durable`] gives nothing beyond it.
    pub fn following(
        world: &World,
        keys: KeyRing,
        dir: &Path,
        kind: LogKind,
        durable: watch::Receiver<Position>,
    ) -> Reader {
        let inner = Inner {
            world: world.clone(),
            keys,
            dir: dir.to_owned(),
            kind: kind.number(),
            durable: Some(durable),
            tables: Mutex::default(),
        };
        Reader { inner: Arc::new(inner) }
    }

    /// How far a log is durable that nobody writes now: the caller holds what keeps writers away. The last segment is
    /// synced, and every whole record in it counts, as when the log is opened.
    ///
    /// # Errors
    /// When the disk says no, or a key is missing.
    pub fn durable_tail(&self) -> Result<Position, ReadError> {
        let inner = &*self.inner;
        for number in self.segments()?.into_iter().rev() {
            believe_the_disk(&inner.world, &segment::path(&inner.dir, number))?;
            let segment = match self.segment(number) {
                Ok(segment) => segment,
                // Nothing in it was acknowledged, or nobody can tell; the one before says where it ends at least.
                Err(OpenError::Missing | OpenError::Damaged { .. }) => continue,
                Err(OpenError::Unreadable(error)) => return Err(error.into()),
                Err(OpenError::Disk(error)) => return Err(ReadError::Disk(error)),
            };
            inner.world.disk.sync_dir(&inner.dir)?;
            let header = &segment.header;
            let mut end = Position { segment: header.previous, offset: header.previous_end };
            let mut walk = Walk::new(header, 0);
            loop {
                match walk.next(&*segment.file)? {
                    Step::Frame(head) => {
                        end = Position { segment: number, offset: head.origin + u64::from(head.span) };
                    }
                    Step::Damage { .. } => {}
                    Step::End { .. } => return Ok(end),
                }
            }
        }
        Ok(Position::default())
    }

    /// The record at a position that was given out before.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub fn read(&self, position: Position) -> Result<Record, ReadError> {
        let (segment, place) = self.locate(position)?;
        let (head, head_bytes) = read_head(&*segment.file, place)?;
        if head.origin != position.offset || head.is_run() {
            return Err(ReadError::NoRecord(position));
        }
        let mut meta = vec![0; head.meta_len()];
        read_whole(&*segment.file, place + HEAD_LEN as u64, &mut meta)?;
        let facts = Facts::read(&segment.key, &head, &head_bytes, &meta).ok_or(ReadError::Damaged)?;
        let body = if head.body_in_file() { read_body(&segment, place, &facts)? } else { Vec::new() };
        record(&segment, &head, facts, &body).ok_or(ReadError::Damaged)
    }

    /// A record and its body: one look at the segment where [`Reader::read`] and [`Reader::body`] take two, and for most
    /// records one read. For those who read very many of them.
    ///
    /// # Errors
    /// Those of [`Reader::read`] and [`Reader::body`]; an erased record has a body without bytes.
    pub fn read_with_body(&self, position: Position) -> Result<(Record, BodyReader), ReadError> {
        let (segment, place) = self.locate(position)?;
        let mut bytes = vec![0; NEAR_BYTES];
        let got = read_up_to(&*segment.file, place, &mut bytes)?;
        bytes.truncate(got);
        let head = Head::read(&bytes).ok_or(ReadError::Damaged)?;
        if head.origin != position.offset || head.is_run() {
            return Err(ReadError::NoRecord(position));
        }
        // Bounded: the head does not read with more than a frame may have.
        let end = HEAD_LEN + head.payload_len();
        bytes.resize(end, 0);
        if got < end {
            read_whole(&*segment.file, place + got as u64, &mut bytes[got..])?;
        }
        let (head_bytes, payload) = bytes.split_at(HEAD_LEN);
        let (meta, sealed) = payload.split_at(head.meta_len());
        let facts = Facts::read(&segment.key, &head, head_bytes, meta).ok_or(ReadError::Damaged)?;
        let body = frame::read_body(&segment.key, &head, head_bytes, sealed, facts.body_len);
        let body = body.ok_or(ReadError::Damaged)?;
        let record = record(&segment, &head, facts, &body).ok_or(ReadError::Damaged)?;
        if matches!(record.body.place, Place::File(_)) {
            let body = self.body(&record)?;
            return Ok((record, body));
        }
        let reader = BodyReader { len: record.body.len, source: Source::Piece, piece: body, at: 0 };
        Ok((record, reader))
    }

    /// All records from a position on, or from the beginning, up to the last whole one. Of a log that this process
    /// writes this may include records that are not durable yet; see [`Reader::scan_durable`].
    pub fn scan(&self, from: Option<Position>) -> Scan {
        Scan::new(self.clone(), from, false)
    }

    /// The same, but of a log that this process writes never a record that is not durable.
    pub fn scan_durable(&self, from: Option<Position>) -> Scan {
        Scan::new(self.clone(), from, true)
    }

    /// The body of a record, to be read from its beginning.
    ///
    /// # Errors
    /// When it is missing or was altered. A change far inside a long body is an error of the reading.
    pub fn body(&self, record: &Record) -> Result<BodyReader, ReadError> {
        let source = match &record.body.place {
            Place::None => Source::Piece,
            Place::Record => {
                let (segment, place) = self.locate(record.position)?;
                let (head, head_bytes) = read_head(&*segment.file, place)?;
                let mut sealed = vec![0; head.body_len()];
                read_whole(&*segment.file, place + (HEAD_LEN + head.meta_len()) as u64, &mut sealed)?;
                let body = frame::read_body(&segment.key, &head, &head_bytes, &sealed, record.body.len)
                    .ok_or(ReadError::Damaged)?;
                return Ok(BodyReader { len: record.body.len, source: Source::Piece, piece: body, at: 0 });
            }
            Place::File(name) => return self.file_body(name),
        };
        Ok(BodyReader { len: record.body.len, source, piece: Vec::new(), at: 0 })
    }

    /// A body that is in its own file and not yet in a record, to be read from its beginning.
    ///
    /// # Errors
    /// As [`Reader::body`].
    pub fn stored(&self, body: &StoredBody) -> Result<BodyReader, ReadError> {
        self.file_body(&body.name)
    }

    pub(crate) fn file_body(&self, name: &StoredName) -> Result<BodyReader, ReadError> {
        let inner = &*self.inner;
        let file = FileBody::open(&*inner.world.disk, &inner.keys, &inner.dir, name)?;
        Ok(BodyReader { len: name.len, source: Source::File(Box::new(file)), piece: Vec::new(), at: 0 })
    }

    /// The end of what is durable, in the process that writes the log.
    pub(crate) fn durable_end(&self) -> Option<Position> {
        self.inner.durable.as_ref().map(|durable| *durable.borrow())
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.inner.dir
    }

    pub(crate) fn segment(&self, number: u64) -> Result<Segment, OpenError> {
        let inner = &*self.inner;
        Segment::open(&*inner.world.disk, &inner.keys, &inner.dir, inner.kind, number)
    }

    /// The numbers of the segments there are, in order.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn segments(&self) -> io::Result<Vec<u64>> {
        match segment::list(&*self.inner.world.disk, &self.inner.dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            other => other,
        }
    }

    /// The segments there are with the time each was begun, in order of their numbers.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn segment_times(&self) -> Result<Vec<(u64, Time)>, ReadError> {
        let mut times = Vec::new();
        for number in self.segments()? {
            match self.segment(number) {
                Ok(segment) => times.push((number, segment.header.created)),
                Err(OpenError::Missing | OpenError::Damaged { .. }) => {}
                Err(OpenError::Unreadable(error)) => return Err(error.into()),
                Err(OpenError::Disk(error)) => return Err(ReadError::Disk(error)),
            }
        }
        Ok(times)
    }

    /// The open segment that holds a position and where in its file the record is now.
    fn locate(&self, position: Position) -> Result<(Segment, u64), ReadError> {
        let segment = match self.segment(position.segment) {
            Ok(segment) => segment,
            Err(OpenError::Missing) => return Err(ReadError::NoRecord(position)),
            Err(OpenError::Damaged { .. }) => return Err(ReadError::Damaged),
            Err(OpenError::Unreadable(error)) => return Err(error.into()),
            Err(OpenError::Disk(error)) => return Err(ReadError::Disk(error)),
        };
        if !segment.header.rewritten {
            return Ok((segment, position.offset));
        }
        let table = self.table(&segment)?;
        let found = table.places.binary_search_by_key(&position.offset, |(origin, _)| *origin);
        match found {
            Ok(at) => Ok((segment, table.places[at].1)),
            Err(_) => Err(ReadError::NoRecord(position)),
        }
    }

    fn table(&self, segment: &Segment) -> Result<Arc<Table>, ReadError> {
        if let Some(table) = lock(&self.inner.tables).get(&segment.number)
            && table.stamp == segment.stamp
        {
            return Ok(table.clone());
        }
        let mut walk = Walk::new(&segment.header, 0);
        let mut places = Vec::new();
        loop {
            match walk.next(&*segment.file)? {
                Step::Frame(head) => places.push((head.origin, walk.frame_start())),
                Step::Damage { .. } => {}
                Step::End { .. } => break,
            }
        }
        let table = Arc::new(Table { stamp: segment.stamp, places });
        let mut tables = lock(&self.inner.tables);
        if tables.len() >= TABLES_MAX {
            tables.pop_first();
        }
        tables.insert(segment.number, table.clone());
        Ok(table)
    }
}

fn read_head(file: &dyn DiskFile, place: u64) -> Result<(Head, Vec<u8>), ReadError> {
    let mut bytes = vec![0; HEAD_LEN];
    read_whole(file, place, &mut bytes)?;
    Ok((Head::read(&bytes).ok_or(ReadError::Damaged)?, bytes))
}

fn read_whole(file: &dyn DiskFile, at: u64, into: &mut [u8]) -> Result<(), ReadError> {
    match read_up_to(file, at, into)? {
        got if got == into.len() => Ok(()),
        _ => Err(ReadError::Damaged),
    }
}

/// The decrypted second section of the frame at `place`.
pub(crate) fn read_body(segment: &Segment, place: u64, facts: &Facts) -> Result<Vec<u8>, ReadError> {
    let (head, head_bytes) = read_head(&*segment.file, place)?;
    let mut sealed = vec![0; head.body_len()];
    read_whole(&*segment.file, place + (HEAD_LEN + head.meta_len()) as u64, &mut sealed)?;
    frame::read_body(&segment.key, &head, &head_bytes, &sealed, facts.body_len).ok_or(ReadError::Damaged)
}

pub(crate) fn record(segment: &Segment, head: &Head, facts: Facts, body: &[u8]) -> Option<Record> {
    let place = match (head.body_in_file(), head.body_len()) {
        (true, _) => Place::File(StoredName::read(body)?),
        (false, 0) => Place::None,
        (false, _) => Place::Record,
    };
    let len = if place == Place::None { 0 } else { facts.body_len };
    let number = segment.number;
    Some(Record {
        position: Position { segment: number, offset: head.origin },
        next: Position { segment: number, offset: head.origin + u64::from(head.span) },
        seq: head.seq,
        at: head.at,
        kind: head.kind,
        meta: facts.meta,
        body: BodyRef { len, place },
        erased: facts.erased,
        content: head.content,
        chain: head.chain,
    })
}

/// The bytes of a body, in order. Memory stays bounded whatever its length.
pub struct BodyReader {
    len: u64,
    source: Source,
    piece: Vec<u8>,
    at: usize,
}

enum Source {
    /// Everything is in `piece`.
    Piece,
    File(Box<FileBody>),
}

impl BodyReader {
    /// The length of the whole body in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether the body has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl Read for BodyReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.at == self.piece.len()
            && let Source::File(file) = &mut self.source
        {
            match file.next()? {
                Some(piece) => {
                    self.piece = piece;
                    self.at = 0;
                }
                None => return Ok(0),
            }
        }
        let count = into.len().min(self.piece.len() - self.at);
        into[..count].copy_from_slice(&self.piece[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}
