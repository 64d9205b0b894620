//! A disk in memory that forgets at a crash what was not synced, and can be made to fail from some operation on.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use words_mail::Time;
use words_world::{
    Boxed, Clock, Disk, DiskFile, Entry, Listener, Mx, NameError, Names, Net, Random, Stream, World,
};

#[derive(Default)]
struct Content {
    bytes: Vec<u8>,
    synced: usize,
}

type Shared = Arc<Mutex<Content>>;

#[derive(Default)]
struct State {
    names: BTreeMap<PathBuf, Shared>,
    durable: BTreeMap<PathBuf, Shared>,
    operations_left: Option<usize>,
}

#[derive(Default)]
pub(crate) struct MemoryDisk(Arc<Mutex<State>>);

struct MemoryFile {
    content: Shared,
    state: Arc<Mutex<State>>,
}

fn may(state: &Mutex<State>) -> io::Result<()> {
    match &mut state.lock().unwrap().operations_left {
        Some(0) => Err(io::Error::other("crashed")),
        Some(left) => {
            *left -= 1;
            Ok(())
        }
        None => Ok(()),
    }
}

impl MemoryDisk {
    pub(crate) fn new() -> Arc<MemoryDisk> {
        Arc::default()
    }

    /// Lets so many writing operations through and fails every later one.
    pub(crate) fn fail_after(&self, operations: usize) {
        self.0.lock().unwrap().operations_left = Some(operations);
    }

    /// Unsynced bytes and names are gone; the disk works again.
    pub(crate) fn crash(&self) {
        let mut state = self.0.lock().unwrap();
        state.names = state.durable.clone();
        state.operations_left = None;
        for content in state.names.values() {
            let mut content = content.lock().unwrap();
            let synced = content.synced;
            content.bytes.truncate(synced);
        }
    }

    fn find(&self, path: &Path) -> io::Result<Shared> {
        self.0.lock().unwrap().names.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl DiskFile for MemoryFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        may(&self.state)?;
        self.content.lock().unwrap().bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        may(&self.state)?;
        let mut content = self.content.lock().unwrap();
        content.synced = content.bytes.len();
        Ok(())
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let content = self.content.lock().unwrap();
        let rest = content.bytes.get(offset as usize..).unwrap_or(&[]);
        let n = rest.len().min(into.len());
        into[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.content.lock().unwrap().bytes.len() as u64)
    }
}

impl Disk for MemoryDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        may(&self.0)?;
        let content = Shared::default();
        let mut state = self.0.lock().unwrap();
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.names.insert(path.to_owned(), content.clone());
        Ok(Box::new(MemoryFile { content, state: self.0.clone() }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(MemoryFile { content: self.find(path)?, state: self.0.clone() }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let state = self.0.lock().unwrap();
        let of_dir = state.names.iter().filter(|(path, _)| path.parent() == Some(dir));
        Ok(of_dir
            .map(|(path, content)| Entry {
                name: path.file_name().unwrap().to_string_lossy().into_owned(),
                len: content.lock().unwrap().bytes.len() as u64,
                is_dir: false,
            })
            .collect())
    }

    fn make_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        may(&self.0)?;
        let mut state = self.0.lock().unwrap();
        let content = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), content);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        may(&self.0)?;
        let removed = self.0.lock().unwrap().names.remove(path);
        removed.map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        may(&self.0)?;
        let mut state = self.0.lock().unwrap();
        state.durable = state.names.clone();
        Ok(())
    }

    fn free(&self, _dir: &Path) -> io::Result<u64> {
        Ok(1 << 30)
    }
}

pub(crate) struct FixedClock;

impl FixedClock {
    pub(crate) const START: Time = Time::from_seconds(1_800_000_000);
}

impl Clock for FixedClock {
    fn now(&self) -> Time {
        FixedClock::START
    }
}

struct Counting(Mutex<u8>);

impl Random for Counting {
    fn fill(&self, bytes: &mut [u8]) {
        let mut state = self.0.lock().unwrap();
        for byte in bytes {
            *state = state.wrapping_mul(13).wrapping_add(7);
            *byte = *state;
        }
    }
}

struct Nowhere;

impl Net for Nowhere {
    fn connect(&self, _to: std::net::SocketAddr) -> Boxed<'_, io::Result<Box<dyn Stream>>> {
        Box::pin(async { Err(io::ErrorKind::ConnectionRefused.into()) })
    }

    fn listen(&self, _at: std::net::SocketAddr) -> Boxed<'_, io::Result<Box<dyn Listener>>> {
        Box::pin(async { Err(io::ErrorKind::AddrNotAvailable.into()) })
    }

    fn connect_local<'a>(&'a self, _to: &'a Path) -> Boxed<'a, io::Result<Box<dyn Stream>>> {
        Box::pin(async { Err(io::ErrorKind::ConnectionRefused.into()) })
    }

    fn listen_local<'a>(&'a self, _at: &'a Path) -> Boxed<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async { Err(io::ErrorKind::AddrNotAvailable.into()) })
    }
}

impl Names for Nowhere {
    fn mx<'a>(&'a self, _domain: &'a str) -> Boxed<'a, Result<Vec<Mx>, NameError>> {
        Box::pin(async { Err(NameError::NotFound) })
    }

    fn addresses<'a>(&'a self, _host: &'a str) -> Boxed<'a, Result<Vec<std::net::IpAddr>, NameError>> {
        Box::pin(async { Err(NameError::NotFound) })
    }
}

pub(crate) fn world(disk: &Arc<MemoryDisk>) -> World {
    World {
        clock: Arc::new(FixedClock),
        random: Arc::new(Counting(Mutex::new(1))),
        disk: disk.clone(),
        net: Arc::new(Nowhere),
        names: Arc::new(Nowhere),
    }
}
