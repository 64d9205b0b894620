//! A folder: another disk, a mounted share.

use crate::place::{Object, Place, PlaceError, ReadAt};
use std::io;
use std::path::{Path, PathBuf};
use stores_log::{DirLock, FileDisk};
use words_world::{Boxed, Disk};

/// Bytes written at once.
const WRITE: usize = 1 << 20;
/// How deep folders are looked into.
const DEEP: usize = 6;
/// What an object is called while it is being written.
const UNFINISHED: &str = ".unfinished";

/// A folder of this machine. Files are durable under their names before anything refers to them.
pub struct Folder {
    root: PathBuf,
}

impl Folder {
    /// The folder at `root`; made when something is written into it.
    pub fn new(root: &Path) -> Folder {
        Folder { root: root.to_owned() }
    }

    fn failed(&self, name: &str, error: &io::Error) -> PlaceError {
        let words = format!("{}: {error}", self.root.join(name).display());
        match error.kind() {
            io::ErrorKind::NotFound => PlaceError::NotFound(words),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => PlaceError::Full(words),
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => PlaceError::Refused(words),
            _ => PlaceError::Trouble(words),
        }
    }

    fn write(&self, name: &str, source: &dyn ReadAt, len: u64) -> io::Result<()> {
        let path = self.root.join(name);
        let dir = path.parent().unwrap_or(&self.root).to_owned();
        FileDisk.make_dir(&dir)?;
        let unfinished = PathBuf::from(format!("{}{UNFINISHED}", path.display()));
        match FileDisk.remove(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let written = (|| {
            let file = FileDisk.create(&unfinished)?;
            let mut piece = vec![0; WRITE];
            let mut at = 0;
            while at < len {
                let count = usize::try_from(len - at).unwrap_or(WRITE).min(WRITE);
                source.fill(at, &mut piece[..count])?;
                file.append(&piece[..count])?;
                at += count as u64;
            }
            file.sync()
        })();
        if let Err(error) = written {
            // What is left of it would only take room.
            let _ = FileDisk.remove(&unfinished);
            return Err(error);
        }
        FileDisk.rename(&unfinished, &path)?;
        FileDisk.sync_dir(&dir)
    }

    fn read(&self, name: &str, offset: u64, most: usize) -> io::Result<Vec<u8>> {
        let file = FileDisk.open(&self.root.join(name))?;
        let left = usize::try_from(file.len()?.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; left.min(most)];
        file.read_exact_at(offset, &mut bytes)?;
        Ok(bytes)
    }

    fn walk(&self, dir: &str, prefix: &str, deep: usize, found: &mut Vec<Object>) -> io::Result<()> {
        let listed = match FileDisk.list(&self.root.join(dir)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            listed => listed?,
        };
        for entry in listed {
            let name = if dir.is_empty() { entry.name } else { format!("{dir}/{}", entry.name) };
            if entry.is_dir {
                let leads = name.starts_with(prefix) || prefix.starts_with(&name);
                if deep < DEEP && leads {
                    self.walk(&name, prefix, deep + 1, found)?;
                }
            } else if name.starts_with(prefix) && name != "lock" {
                found.push(Object { name, len: entry.len, young: false });
            }
        }
        Ok(())
    }
}

impl Place for Folder {
    fn put<'a>(
        &'a self,
        name: &'a str,
        source: &'a dyn ReadAt,
        len: u64,
        new: bool,
    ) -> Boxed<'a, Result<(), PlaceError>> {
        Box::pin(async move {
            // Who writes here holds the folder, so nobody makes it in between.
            if new && self.root.join(name).exists() {
                return Err(PlaceError::Exists(name.to_owned()));
            }
            self.write(name, source, len).map_err(|error| self.failed(name, &error))
        })
    }

    fn get<'a>(&'a self, name: &'a str, offset: u64, most: usize) -> Boxed<'a, Result<Vec<u8>, PlaceError>> {
        Box::pin(async move { self.read(name, offset, most).map_err(|error| self.failed(name, &error)) })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> Boxed<'a, Result<Vec<Object>, PlaceError>> {
        Box::pin(async move {
            let mut found = Vec::new();
            self.walk("", prefix, 0, &mut found).map_err(|error| self.failed(prefix, &error))?;
            found.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(found)
        })
    }

    fn remove<'a>(&'a self, name: &'a str) -> Boxed<'a, Result<(), PlaceError>> {
        Box::pin(async move {
            match FileDisk.remove(&self.root.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.failed(name, &error)),
                _ => Ok(()),
            }
        })
    }

    fn shown(&self) -> String {
        self.root.display().to_string()
    }

    fn hold(&self) -> Result<Option<DirLock>, PlaceError> {
        match FileDisk.lock(&self.root) {
            Ok(lock) => Ok(Some(lock)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let words = format!("another stormpost writes into {} at this moment", self.root.display());
                Err(PlaceError::Trouble(words))
            }
            Err(error) => Err(self.failed("", &error)),
        }
    }
}
