//! A disk in memory that forgets what was not synced, tears writes, refuses syncs and fills up. What it does
//! follows from a seed alone.
//!
//! The rules it is cruel by: bytes appended and not synced may be lost, kept, or kept in part and in any mixture of
//! 512-byte sectors; after a failed sync those bytes are lost at the next crash although reading still shows them
//! and later syncs succeed. Names made, changed or removed since a directory was synced are undone at a crash from
//! some point of time on, as a journaling file system does.

use crate::shared::lock;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use words_world::{Disk, DiskFile, Entry};

const SECTOR: usize = 512;

/// How often each thing was asked of a [`FaultDisk`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls of `append`.
    pub appends: u64,
    /// Calls of `sync`.
    pub syncs: u64,
    /// Calls of `sync_dir`.
    pub dir_syncs: u64,
}

/// A disk that can be crashed. Clones are the same disk.
#[derive(Clone)]
pub struct FaultDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    files: BTreeMap<u64, Inode>,
    next_file: u64,
    names: BTreeMap<PathBuf, u64>,
    /// What is certain to be there after a crash.
    durable_names: BTreeMap<PathBuf, u64>,
    /// What was done to names since, in order.
    pending: Vec<NameChange>,
    dirs: std::collections::BTreeSet<PathBuf>,
    /// Raised at a crash: handles of before do nothing any more.
    life: u64,
    off: bool,
    seed: u64,
    capacity: Option<u64>,
    counts: Counts,
    fail_syncs: Option<u64>,
    fail_appends: Option<u64>,
}

#[derive(Clone)]
enum NameChange {
    Add(PathBuf, u64),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf),
}

#[derive(Clone, Default)]
struct Inode {
    bytes: Vec<u8>,
    /// Bytes that survive for certain.
    synced: usize,
    /// Ranges that a failed sync gave up: zeros after a crash.
    given_up: Vec<(usize, usize)>,
}

impl Inode {
    /// What a failed sync gave up was never on the disk.
    fn lose_given_up(&mut self) {
        for (from, to) in std::mem::take(&mut self.given_up) {
            let to = to.min(self.bytes.len());
            if from < to {
                self.bytes[from..to].fill(0);
            }
        }
    }
}

impl FaultDisk {
    /// An empty disk without limit of size.
    pub fn new(seed: u64) -> FaultDisk {
        let state = State { seed, next_file: 1, ..State::default() };
        FaultDisk { state: Arc::new(Mutex::new(state)) }
    }

    /// From now on every call fails, as for a process whose machine has lost its power. Ends with
    /// [`FaultDisk::restart`].
    pub fn power_off(&self) {
        lock(&self.state).off = true;
    }

    /// Whether the power is off.
    pub fn is_off(&self) -> bool {
        lock(&self.state).off
    }

    /// Loses and tears what was not synced, and starts again. Handles of before stay dead.
    pub fn restart(&self) {
        let mut state = lock(&self.state);
        state.crash();
        state.life += 1;
        state.off = false;
    }

    /// Kills the process only: everything handed to the disk stays as it is, handles of before are dead.
    pub fn kill_process(&self) {
        let mut state = lock(&self.state);
        state.life += 1;
        state.off = false;
    }

    /// The `after`-th sync from now fails (0: the next one), and what it should have made durable is lost at the
    /// next crash.
    pub fn fail_sync(&self, after: u64) {
        lock(&self.state).fail_syncs = Some(after);
    }

    /// The `after`-th append from now fails with an input/output error, leaving a part behind.
    pub fn fail_append(&self, after: u64) {
        lock(&self.state).fail_appends = Some(after);
    }

    /// The disk holds so many bytes from now on, or any number.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        lock(&self.state).capacity = bytes;
    }

    /// Bytes in files.
    pub fn used(&self) -> u64 {
        lock(&self.state).used()
    }

    /// What was asked so far.
    pub fn counts(&self) -> Counts {
        lock(&self.state).counts
    }

    /// The whole content of a file as it is now.
    pub fn content(&self, path: &Path) -> Option<Vec<u8>> {
        let state = lock(&self.state);
        Some(state.files.get(state.names.get(path)?)?.bytes.clone())
    }

    /// Flips one bit of a file, as rot would.
    pub fn flip(&self, path: &Path, bit: usize) {
        let mut state = lock(&self.state);
        let id = state.names.get(path).copied();
        if let Some(byte) = id.and_then(|id| state.files.get_mut(&id)?.bytes.get_mut(bit / 8)) {
            *byte ^= 1 << (bit % 8);
        }
    }

    /// Cuts a file short, as rot would.
    pub fn truncate(&self, path: &Path, len: usize) {
        let mut state = lock(&self.state);
        let id = state.names.get(path).copied();
        if let Some(file) = id.and_then(|id| state.files.get_mut(&id)) {
            file.bytes.truncate(len);
            file.synced = file.synced.min(len);
        }
    }

    /// Replaces the content of a file, durably.
    pub fn put(&self, path: &Path, bytes: Vec<u8>) {
        let mut state = lock(&self.state);
        let id = match state.names.get(path) {
            Some(id) => *id,
            None => {
                let id = state.next_file;
                state.next_file += 1;
                state.names.insert(path.to_owned(), id);
                state.durable_names.insert(path.to_owned(), id);
                id
            }
        };
        let synced = bytes.len();
        state.files.insert(id, Inode { bytes, synced, given_up: Vec::new() });
    }

    /// The paths of all files.
    pub fn paths(&self) -> Vec<PathBuf> {
        lock(&self.state).names.keys().cloned().collect()
    }
}

impl State {
    fn random(&mut self) -> u64 {
        // SplitMix64.
        self.seed = self.seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.random() % (limit.max(1) as u64)) as usize
    }

    fn used(&self) -> u64 {
        let named: std::collections::BTreeSet<u64> = self.names.values().copied().collect();
        named.iter().filter_map(|id| self.files.get(id)).map(|file| file.bytes.len() as u64).sum()
    }

    fn alive(&self, life: u64) -> io::Result<()> {
        if self.off || life != self.life { Err(io::Error::other("the machine is off")) } else { Ok(()) }
    }

    fn crash(&mut self) {
        let keep = self.below(self.pending.len() + 1);
        let changes: Vec<NameChange> = self.pending.drain(..).take(keep).collect();
        for change in changes {
            apply(&mut self.durable_names, &change);
        }
        self.names = self.durable_names.clone();
        let ids: Vec<u64> = self.files.keys().copied().collect();
        for id in ids {
            if !self.names.values().any(|named| *named == id) {
                self.files.remove(&id);
                continue;
            }
            self.tear(id);
        }
    }

    /// Decides what becomes of the bytes of one file that were not synced.
    fn tear(&mut self, id: u64) {
        let Some(mut file) = self.files.remove(&id) else { return };
        let unsynced = file.bytes.len() - file.synced;
        let kept = match self.below(4) {
            0 => 0,
            1 => unsynced,
            _ => self.below(unsynced + 1),
        };
        file.bytes.truncate(file.synced + kept);
        if kept > 0 && self.below(2) == 0 {
            // The length was written, some of the sectors were not.
            for start in (file.synced..file.bytes.len()).step_by(SECTOR) {
                if self.below(3) == 0 {
                    let end = file.bytes.len().min(start + SECTOR);
                    file.bytes[start..end].fill(0);
                }
            }
        }
        file.lose_given_up();
        file.synced = file.bytes.len();
        self.files.insert(id, file);
    }
}

fn apply(names: &mut BTreeMap<PathBuf, u64>, change: &NameChange) {
    match change {
        NameChange::Add(path, id) => {
            names.insert(path.clone(), *id);
        }
        NameChange::Remove(path) => {
            names.remove(path);
        }
        NameChange::Rename(from, to) => {
            if let Some(id) = names.remove(from) {
                names.insert(to.clone(), id);
            }
        }
    }
}

struct FaultFile {
    disk: FaultDisk,
    id: u64,
    life: u64,
}

impl FaultFile {
    fn with<T>(&self, act: impl FnOnce(&mut State, &mut Inode) -> io::Result<T>) -> io::Result<T> {
        let mut state = lock(&self.disk.state);
        state.alive(self.life)?;
        let mut file = state.files.remove(&self.id).unwrap_or_default();
        let result = act(&mut state, &mut file);
        state.files.insert(self.id, file);
        result
    }
}

/// Counts down to a fault; `true` when it is due.
fn due(countdown: &mut Option<u64>) -> bool {
    match countdown {
        Some(0) => {
            *countdown = None;
            true
        }
        Some(left) => {
            *left -= 1;
            false
        }
        None => false,
    }
}

impl DiskFile for FaultFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let used = {
            let state = lock(&self.disk.state);
            if state.capacity.is_some() { state.used() } else { 0 }
        };
        self.with(|state, file| {
            state.counts.appends += 1;
            if due(&mut state.fail_appends) {
                let part = state.below(bytes.len() + 1);
                file.bytes.extend_from_slice(&bytes[..part]);
                return Err(io::Error::from_raw_os_error(5));
            }
            let room = state.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(used));
            if bytes.len() as u64 > room {
                file.bytes.extend_from_slice(&bytes[..room as usize]);
                return Err(io::ErrorKind::StorageFull.into());
            }
            file.bytes.extend_from_slice(bytes);
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.with(|state, file| {
            state.counts.syncs += 1;
            if due(&mut state.fail_syncs) {
                file.given_up.push((file.synced, file.bytes.len()));
                file.synced = file.bytes.len();
                return Err(io::Error::from_raw_os_error(5));
            }
            file.synced = file.bytes.len();
            Ok(())
        })
    }

    fn forget(&self) -> io::Result<()> {
        self.with(|_, file| {
            file.lose_given_up();
            Ok(())
        })
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.with(|_, file| {
            let start = usize::try_from(offset).unwrap_or(usize::MAX).min(file.bytes.len());
            let count = into.len().min(file.bytes.len() - start);
            into[..count].copy_from_slice(&file.bytes[start..start + count]);
            Ok(count)
        })
    }

    fn len(&self) -> io::Result<u64> {
        self.with(|_, file| Ok(file.bytes.len() as u64))
    }
}

impl Disk for FaultDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = lock(&self.state);
        let life = state.life;
        state.alive(life)?;
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if !path.parent().is_none_or(|dir| dir.as_os_str().is_empty() || state.dirs.contains(dir)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if state.capacity.is_some_and(|capacity| state.used() >= capacity) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let id = state.next_file;
        state.next_file += 1;
        state.files.insert(id, Inode::default());
        state.names.insert(path.to_owned(), id);
        state.pending.push(NameChange::Add(path.to_owned(), id));
        Ok(Box::new(FaultFile { disk: self.clone(), id, life }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let state = lock(&self.state);
        let life = state.life;
        state.alive(life)?;
        let id = *state.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(FaultFile { disk: self.clone(), id, life }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let state = lock(&self.state);
        state.alive(state.life)?;
        if !state.dirs.contains(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
        let files =
            state.names.iter().filter(|(path, _)| path.parent() == Some(dir)).filter_map(|(path, id)| {
                let len = state.files.get(id).map_or(0, |file| file.bytes.len() as u64);
                Some(Entry { name: name(path)?, len, is_dir: false })
            });
        let dirs = state.dirs.iter().filter(|path| path.parent() == Some(dir));
        let dirs = dirs.filter_map(|path| Some(Entry { name: name(path)?, len: 0, is_dir: true }));
        let mut entries: Vec<Entry> = files.chain(dirs).collect();
        entries.sort();
        Ok(entries)
    }

    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = lock(&self.state);
        state.alive(state.life)?;
        state.dirs.extend(dir.ancestors().map(Path::to_owned));
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = lock(&self.state);
        state.alive(state.life)?;
        if !state.names.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let change = NameChange::Rename(from.to_owned(), to.to_owned());
        apply(&mut state.names, &change);
        state.pending.push(change);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = lock(&self.state);
        state.alive(state.life)?;
        if state.names.remove(path).is_none() {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.pending.push(NameChange::Remove(path.to_owned()));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = lock(&self.state);
        state.alive(state.life)?;
        state.counts.dir_syncs += 1;
        if due(&mut state.fail_syncs) {
            return Err(io::Error::from_raw_os_error(5));
        }
        let inside = |path: &Path| path.parent() == Some(dir);
        let State { pending, durable_names, .. } = &mut *state;
        pending.retain(|change| {
            let here = match change {
                NameChange::Add(path, _) | NameChange::Remove(path) => inside(path),
                NameChange::Rename(from, to) => inside(from) || inside(to),
            };
            if here {
                apply(durable_names, change);
            }
            !here
        });
        Ok(())
    }

    fn free(&self, _dir: &Path) -> io::Result<u64> {
        let state = lock(&self.state);
        state.alive(state.life)?;
        Ok(state.capacity.map_or(u64::MAX / 2, |capacity| capacity.saturating_sub(state.used())))
    }
}
