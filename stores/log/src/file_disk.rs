//! The real disk.

use rustix::fs::{Advice, FlockOperation, fadvise, fdatasync, flock, statvfs};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;
use words_world::{Disk, DiskFile, Entry};

/// The file systems of this machine. Files and directories it makes are readable by their owner alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct FileDisk;

/// A directory held by this process; let go when dropped, and by the system when the process dies.
#[derive(Debug)]
pub struct DirLock {
    _file: File,
}

impl FileDisk {
    /// Holds a directory, so that no second process writes the logs in it.
    ///
    /// # Errors
    /// `WouldBlock` when another process holds it.
    pub fn lock(&self, dir: &Path) -> io::Result<DirLock> {
        self.make_dir(dir)?;
        let path = dir.join("lock");
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        // For whoever wants to know; the lock itself is what counts.
        let _ = file.set_len(0).and_then(|()| writeln!(&file, "{}", std::process::id()));
        Ok(DirLock { _file: file })
    }

    /// The process that held a directory last, as it said itself; while somebody holds it, that is the one.
    pub fn holder(&self, dir: &Path) -> Option<u32> {
        fs::read_to_string(dir.join("lock")).ok()?.trim().parse().ok()
    }
}

struct RealFile(File);

impl DiskFile for RealFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        (&self.0).write_all(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(fdatasync(&self.0)?)
    }

    fn forget(&self) -> io::Result<()> {
        Ok(fadvise(&self.0, 0, None, Advice::DontNeed)?)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(into, offset)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

impl Disk for FileDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).append(true).create_new(true).mode(0o600);
        Ok(Box::new(RealFile(options.open(path)?)))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(RealFile(File::open(path)?)))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            // A name that is not UTF-8 is none of ours.
            let Ok(name) = entry.file_name().into_string() else { continue };
            match entry.metadata() {
                Ok(facts) => {
                    let is_dir = facts.is_dir();
                    entries.push(Entry { name, len: if is_dir { 0 } else { facts.len() }, is_dir });
                }
                // Removed or renamed since the directory was read.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
        entries.sort();
        Ok(entries)
    }

    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        if dir.is_dir() {
            return Ok(());
        }
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        // The names of all that were made must survive as well.
        for above in dir.ancestors().skip(1) {
            let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
            match self.sync_dir(above) {
                // A directory that we may not open was not made by us.
                Err(e) if e.kind() == io::ErrorKind::PermissionDenied => break,
                other => other?,
            }
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn free(&self, dir: &Path) -> io::Result<u64> {
        let facts = statvfs(dir)?;
        Ok(facts.f_bavail.saturating_mul(facts.f_frsize))
    }
}
