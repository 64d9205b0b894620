//! Bodies too long for a record: each in an encrypted file of its own, written in pieces of 64 KiB.
//!
//! Every piece is sealed with its number and, on the last, a mark that it is the last, so that a file cut short or
//! put together anew is noticed.

use crate::header::Hash;
use crate::keys::{DataKey, KEY_ID_LEN, KeyRing, TAG_LEN, UnwrapError, WRAPPED_LEN, nonce};
use crate::queue::BodyJob;
use crate::shared::{Shared, is_full, lock};
use crate::{AppendError, ReadError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::oneshot;
use words_world::{Disk, DiskFile, crash_point};

/// Bytes of a piece before encryption.
const PIECE_LEN: usize = 64 << 10;
/// Pieces handed to the disk at once.
const HAND_OVER: usize = 4 * PIECE_LEN;
const HEADER_LEN: usize = 512;
const MAGIC: &[u8; 8] = b"STORMBDY";
const VERSION: u16 = 1;
const BOUND_LEN: usize = 48;
const CRC_AT: usize = HEADER_LEN - 4;
const PIECE: u8 = 0;
const LAST_PIECE: u8 = 1;
/// The directory of bodies inside a log's.
pub(crate) const BODIES: &str = "bodies";

/// Which file a body is in, how long it is and its hash. This stands, encrypted, in the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredName {
    /// The segment that was next to be written when the body was begun: no earlier one can refer to it.
    pub(crate) since: u64,
    pub(crate) id: [u8; 16],
    pub(crate) len: u64,
    pub(crate) hash: Hash,
}

impl StoredName {
    pub(crate) fn bytes(&self) -> [u8; 64] {
        let mut bytes = [0; 64];
        bytes[..8].copy_from_slice(&self.since.to_le_bytes());
        bytes[8..24].copy_from_slice(&self.id);
        bytes[24..32].copy_from_slice(&self.len.to_le_bytes());
        bytes[32..].copy_from_slice(&self.hash);
        bytes
    }

    pub(crate) fn read(bytes: &[u8]) -> Option<StoredName> {
        let bytes: &[u8; 64] = bytes.try_into().ok()?;
        let eight = |at: usize| {
            let mut number = [0; 8];
            number.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(number)
        };
        let (mut id, mut hash) = ([0; 16], [0; 32]);
        id.copy_from_slice(&bytes[8..24]);
        hash.copy_from_slice(&bytes[32..]);
        Some(StoredName { since: eight(0), id, len: eight(24), hash })
    }

    pub(crate) fn file_name(&self) -> String {
        file_name(self.since, &self.id)
    }
}

fn file_name(since: u64, id: &[u8; 16]) -> String {
    format!("{since:016x}-{:032x}.body", u128::from_be_bytes(*id))
}

/// The segment number at the head of a body's file name.
pub(crate) fn since_of(file_name: &str) -> Option<u64> {
    let (since, rest) = file_name.split_once('-')?;
    rest.strip_suffix(".body")?;
    u64::from_str_radix(since, 16).ok()
}

/// A body that is whole and durable in its own file, waiting to be put into a record. Dropped before that, its file
/// is removed.
pub struct StoredBody {
    pub(crate) name: StoredName,
    guard: Guard,
}

impl StoredBody {
    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        self.name.len
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.name.len == 0
    }

    /// The blake3 hash of its bytes.
    pub fn hash(&self) -> [u8; 32] {
        self.name.hash
    }

    pub(crate) fn name(&self) -> &StoredName {
        &self.name
    }

    /// A record may refer to the file from now on: it stays.
    pub(crate) fn keep(&mut self) {
        self.guard.armed = false;
    }
}

impl std::fmt::Debug for StoredBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StoredBody({}, {} bytes)", self.name.file_name(), self.name.len)
    }
}

/// Removes a body's file when dropped armed, and counts the body as no longer open.
struct Guard {
    shared: Arc<Shared>,
    open: Arc<AtomicUsize>,
    path: PathBuf,
    armed: bool,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::AcqRel);
        if self.armed {
            // By the writer of bodies, after what it still has to write of it. When that has ended, the file is
            // found at the next start.
            let _ = self.shared.queue.push_body(BodyJob::Remove(self.path.clone()));
        }
    }
}

/// A body being received. Call [`BodyWriter::write`] with what comes in, then [`BodyWriter::finish`].
pub struct BodyWriter {
    shared: Arc<Shared>,
    guard: Guard,
    file: Arc<BodyFile>,
    key: DataKey,
    since: u64,
    id: [u8; 16],
    /// The header, until it is handed over with the first piece.
    header: Vec<u8>,
    pending: Vec<u8>,
    pieces: u64,
    len: u64,
    hasher: blake3::Hasher,
    in_flight: Option<oneshot::Receiver<Result<(), AppendError>>>,
}

impl BodyWriter {
    pub(crate) fn begin(shared: &Arc<Shared>, open: &Arc<AtomicUsize>) -> Result<BodyWriter, AppendError> {
        if shared.is_failed() {
            return Err(AppendError::Failed);
        }
        if !shared.has_room(0) {
            return Err(AppendError::NoSpace);
        }
        if open.fetch_add(1, Ordering::AcqRel) >= shared.options.bodies_max {
            open.fetch_sub(1, Ordering::AcqRel);
            return Err(AppendError::Busy);
        }
        let mut id = [0; 16];
        shared.world.random.fill(&mut id);
        let since = shared.writing_from();
        let name = file_name(since, &id);
        let path = shared.options.dir.join(BODIES).join(&name);
        if let Some(begun) = &mut *lock(&shared.begun) {
            begun.insert(name);
        }
        let guard = Guard { shared: shared.clone(), open: open.clone(), path: path.clone(), armed: true };
        let (header, key) = write_header(&id, shared).ok_or(AppendError::Failed)?;
        Ok(BodyWriter {
            shared: shared.clone(),
            guard,
            file: Arc::new(BodyFile { path, state: Mutex::default(), broken: AtomicBool::new(false) }),
            key,
            since,
            id,
            header,
            pending: Vec::new(),
            pieces: 0,
            len: 0,
            hasher: blake3::Hasher::new(),
            in_flight: None,
        })
    }

    /// Adds bytes. Returns when at most half a megabyte of them is not yet handed to the disk.
    ///
    /// # Errors
    /// As for any append; after one the body is lost and its file removed.
    pub async fn write(&mut self, mut bytes: &[u8]) -> Result<(), AppendError> {
        self.hasher.update(bytes);
        self.len += bytes.len() as u64;
        while self.pending.len() + bytes.len() > HAND_OVER {
            let (now, later) = bytes.split_at(HAND_OVER - self.pending.len());
            self.pending.extend_from_slice(now);
            bytes = later;
            self.hand_over(false).await?;
        }
        self.pending.extend_from_slice(bytes);
        Ok(())
    }

    /// Bytes so far.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing was written yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Ends the body; on return file and directory are durable.
    ///
    /// # Errors
    /// As for any append; the file is removed then.
    pub async fn finish(mut self) -> Result<StoredBody, AppendError> {
        self.hand_over(true).await?;
        self.landed().await?;
        let name = StoredName {
            since: self.since,
            id: self.id,
            len: self.len,
            hash: *self.hasher.finalize().as_bytes(),
        };
        Ok(StoredBody { name, guard: self.guard })
    }

    /// Encrypts what is pending and hands it to the writer of bodies, when that has finished what came before.
    async fn hand_over(&mut self, last: bool) -> Result<(), AppendError> {
        self.landed().await?;
        let mut bytes = std::mem::take(&mut self.header);
        bytes.reserve(self.pending.len() + (self.pending.len() / PIECE_LEN + 1) * TAG_LEN);
        let count = self.pending.len().div_ceil(PIECE_LEN).max(usize::from(last));
        for at in 0..count {
            let text = &self.pending[at * PIECE_LEN..self.pending.len().min((at + 1) * PIECE_LEN)];
            let part = if last && at + 1 == count { LAST_PIECE } else { PIECE };
            let start = bytes.len();
            bytes.extend_from_slice(text);
            let tag = self.key.seal(nonce(part, self.pieces), &self.id, &mut bytes[start..]);
            bytes.extend_from_slice(&tag);
            self.pieces += 1;
        }
        self.pending.clear();
        let (done, landed) = oneshot::channel();
        self.shared.queue.push_body(BodyJob::Write { file: self.file.clone(), bytes, last, done })?;
        self.in_flight = Some(landed);
        Ok(())
    }

    async fn landed(&mut self) -> Result<(), AppendError> {
        match self.in_flight.take() {
            Some(landed) => landed.await.unwrap_or(Err(AppendError::Closed)),
            None => Ok(()),
        }
    }
}

fn write_header(id: &[u8; 16], shared: &Shared) -> Option<(Vec<u8>, DataKey)> {
    let mut header = Vec::with_capacity(HEADER_LEN);
    header.extend_from_slice(MAGIC);
    header.extend_from_slice(&VERSION.to_le_bytes());
    header.resize(16, 0);
    header.extend_from_slice(id);
    header.extend_from_slice(&shared.keys.present_id());
    header.extend_from_slice(&shared.world.clock.now().0.to_le_bytes());
    let (key, wrapped) = shared.keys.new_data_key(&*shared.world.random, &header)?;
    header.extend_from_slice(&wrapped);
    header.resize(CRC_AT, 0);
    let crc = crc32fast::hash(&header);
    header.extend_from_slice(&crc.to_le_bytes());
    Some((header, key))
}

/// The disk's side of a body being written.
pub(crate) struct BodyFile {
    path: PathBuf,
    state: Mutex<BodyState>,
    broken: AtomicBool,
}

#[derive(Default)]
struct BodyState {
    file: Option<Box<dyn DiskFile>>,
    unsynced: u64,
}

/// Does one job. Blocks.
pub(crate) fn perform(shared: &Shared, job: BodyJob) {
    match job {
        BodyJob::Write { file, bytes, last, done } => {
            let result = write_pieces(shared, &file, &bytes, last);
            if result.is_err() {
                file.broken.store(true, Ordering::Release);
            }
            let _ = done.send(result);
        }
        BodyJob::Remove(path) => match shared.world.disk.remove(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), error = %e, "an unfinished body could not be removed");
            }
            _ => {}
        },
    }
}

fn write_pieces(shared: &Shared, file: &BodyFile, bytes: &[u8], last: bool) -> Result<(), AppendError> {
    if shared.is_failed() || file.broken.load(Ordering::Acquire) {
        return Err(AppendError::Failed);
    }
    if !shared.has_room(bytes.len() as u64) {
        return Err(AppendError::NoSpace);
    }
    let failed = |what: &str, error: io::Error| {
        if is_full(&error) {
            shared.set_space(false);
            return AppendError::NoSpace;
        }
        shared.fail(&format!("{what} {}", file.path.display()), &error);
        AppendError::Failed
    };
    let mut state = lock(&file.state);
    if state.file.is_none() {
        crash_point("log.body.before_create");
        state.file = Some(shared.world.disk.create(&file.path).map_err(|e| failed("making", e))?);
    }
    let BodyState { file: Some(open), unsynced } = &mut *state else { return Err(AppendError::Failed) };
    open.append(bytes).map_err(|e| failed("writing", e))?;
    crash_point("log.body.after_write");
    *unsynced += bytes.len() as u64;
    if last || *unsynced >= shared.options.body_sync_every {
        open.sync().map_err(|e| {
            // Unlike a full disk met while writing, a failed sync says nothing about what is on the disk.
            shared.fail(&format!("syncing {}", file.path.display()), &e);
            AppendError::Failed
        })?;
        *unsynced = 0;
        crash_point("log.body.after_sync");
    }
    if last {
        let dir = shared.options.dir.join(BODIES);
        shared.world.disk.sync_dir(&dir).map_err(|e| {
            shared.fail(&format!("syncing {}", dir.display()), &e);
            AppendError::Failed
        })?;
        crash_point("log.body.after_sync_dir");
    }
    Ok(())
}

/// Reads a body's file from its beginning, piece by piece.
pub(crate) struct FileBody {
    file: Box<dyn DiskFile>,
    key: DataKey,
    id: [u8; 16],
    len: u64,
    next_piece: u64,
}

impl FileBody {
    pub(crate) fn open(
        disk: &dyn Disk,
        keys: &KeyRing,
        dir: &Path,
        name: &StoredName,
    ) -> Result<FileBody, ReadError> {
        let path = dir.join(BODIES).join(name.file_name());
        let file = match disk.open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(ReadError::NoBody(path)),
            Err(e) => return Err(ReadError::Disk(e)),
        };
        let mut header = [0; HEADER_LEN];
        let damaged = || ReadError::BodyDamaged(path.clone());
        match file.read_exact_at(0, &mut header) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Err(damaged()),
            other => other.map_err(ReadError::Disk)?,
        }
        let whole = &header[..8] == MAGIC
            && header[16..32] == name.id
            && crc32fast::hash(&header[..CRC_AT]).to_le_bytes() == header[CRC_AT..];
        if !whole {
            return Err(damaged());
        }
        let mut key_id = [0; KEY_ID_LEN];
        key_id.copy_from_slice(&header[32..40]);
        let mut wrapped = [0; WRAPPED_LEN];
        wrapped.copy_from_slice(&header[BOUND_LEN..BOUND_LEN + WRAPPED_LEN]);
        let key = keys.data_key(&key_id, &wrapped, &header[..BOUND_LEN]).map_err(|e| match e {
            UnwrapError::NoKey => ReadError::NoKey,
            UnwrapError::Damaged => damaged(),
        })?;
        Ok(FileBody { file, key, id: name.id, len: name.len, next_piece: 0 })
    }

    /// The next piece; `None` after the last.
    pub(crate) fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let count = self.len.div_ceil(PIECE_LEN as u64).max(1);
        if self.next_piece >= count {
            return Ok(None);
        }
        let number = self.next_piece;
        let rest = self.len - number * PIECE_LEN as u64;
        let text_len = usize::try_from(rest).unwrap_or(PIECE_LEN).min(PIECE_LEN);
        let mut sealed = vec![0; text_len + TAG_LEN];
        let at = HEADER_LEN as u64 + number * (PIECE_LEN + TAG_LEN) as u64;
        self.file.read_exact_at(at, &mut sealed)?;
        let part = if number + 1 == count { LAST_PIECE } else { PIECE };
        if self.key.open(nonce(part, number), &self.id, &mut sealed).is_none() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a piece of the body was altered"));
        }
        sealed.truncate(text_len);
        self.next_piece += 1;
        Ok(Some(sealed))
    }
}
