//! Files, with the durability rules spelled out.

use std::io;
use std::path::{Path, PathBuf};

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The file's name, without its directory.
    pub name: String,
    /// Its length in bytes; 0 for a directory.
    pub len: u64,
    /// Whether it is a directory.
    pub is_dir: bool,
}

/// An open file. Bytes appended are durable only once `sync` has returned `Ok`; the *name* of a new file is durable
/// only once its directory was synced too. All calls block.
#[allow(clippy::len_without_is_empty)] // a file's length is asked of the disk and may fail
pub trait DiskFile: Send + Sync {
    /// Adds bytes at the end. A failure may leave any part of them behind.
    fn append(&self, bytes: &[u8]) -> io::Result<()>;

    /// Makes everything appended so far durable (`fdatasync`). After a failure nothing about this file is believed
    /// any more: a later success would prove nothing.
    fn sync(&self) -> io::Result<()>;

    /// Forgets what the system remembers of this file: what is read from now on is what the disk has. After a sync
    /// that failed the two can differ, and the system does not tell (on Linux the pages count as clean). Bytes that
    /// were never synced are not touched. A disk that remembers nothing has nothing to do.
    fn forget(&self) -> io::Result<()> {
        Ok(())
    }

    /// Reads up to `into.len()` bytes at `offset`; 0 means the end.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize>;

    /// The length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Reads exactly `into.len()` bytes at `offset`.
    ///
    /// # Errors
    /// `UnexpectedEof` when the file ends before that.
    fn read_exact_at(&self, mut offset: u64, mut into: &mut [u8]) -> io::Result<()> {
        while !into.is_empty() {
            match self.read_at(offset, into)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => {
                    into = &mut into[n..];
                    offset += n as u64;
                }
            }
        }
        Ok(())
    }
}

/// A file system. All calls block.
pub trait Disk: Send + Sync {
    /// Makes a new, empty file; `AlreadyExists` when the name is taken.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Opens an existing file for reading.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// The names in a directory, in order of name.
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>>;

    /// Makes a directory and those above it; no error when it exists.
    fn make_dir(&self, dir: &Path) -> io::Result<()>;

    /// Replaces `to` by `from`, at once for every reader; durable after `sync_dir` of the directory.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a name.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Bytes that can still be written to the file system holding `dir`.
    fn free(&self, dir: &Path) -> io::Result<u64>;

    /// Replaces the content of a small file so that after a crash either the old or the new content is there.
    fn replace(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let temporary = PathBuf::from(format!("{}.new", path.display()));
        match self.remove(&temporary) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let file = self.create(&temporary)?;
        file.append(content)?;
        file.sync()?;
        self.rename(&temporary, path)?;
        self.sync_dir(path.parent().unwrap_or(Path::new(".")))
    }

    /// The whole content of a file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = self.open(path)?;
        let len = usize::try_from(file.len()?).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        let mut content = vec![0; len];
        file.read_exact_at(0, &mut content)?;
        Ok(content)
    }
}
