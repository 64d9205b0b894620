//! Where copies are kept: named objects that are written whole.

use std::io;
use stores_log::Volume;
use words_world::{Boxed, DiskFile};

/// Why a place did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// There is no such object.
    #[error("{0} is not there")]
    NotFound(String),
    /// There is one already, and it was to be new.
    #[error("{0} is there already")]
    Exists(String),
    /// It will not, whatever is tried: a wrong key, no such bucket, a folder that we may not write.
    #[error("{0}")]
    Refused(String),
    /// There is no room.
    #[error("{0}")]
    Full(String),
    /// Not now.
    #[error("{0}")]
    Trouble(String),
}

/// An object as a listing tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its name, parts divided by `/`.
    pub name: String,
    /// Its bytes.
    pub len: u64,
    /// Whether it may belong to a run of another process that has not ended yet.
    pub young: bool,
}

/// Bytes that can be read again from anywhere, so that a write that broke off can be repeated.
pub trait ReadAt: Send + Sync {
    /// Reads up to `into.len()` bytes at `offset`; 0 means the end.
    ///
    /// # Errors
    /// When the disk says no.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize>;

    /// Fills all of `into`.
    ///
    /// # Errors
    /// `UnexpectedEof` when there is less.
    fn fill(&self, mut offset: u64, mut into: &mut [u8]) -> io::Result<()> {
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

impl ReadAt for Volume {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        Volume::read_at(self, offset, into)
    }
}

impl ReadAt for Box<dyn DiskFile> {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        DiskFile::read_at(&**self, offset, into)
    }
}

impl ReadAt for [u8] {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(self.len());
        let count = into.len().min(self.len() - from);
        into[..count].copy_from_slice(&self[from..from + count]);
        Ok(count)
    }
}

impl ReadAt for Vec<u8> {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.as_slice().read_at(offset, into)
    }
}

/// A place for copies. An object is there whole or not at all.
pub trait Place: Send + Sync {
    /// Writes `len` bytes of `source`. With `new` it must not be there yet; without, it is replaced.
    fn put<'a>(
        &'a self,
        name: &'a str,
        source: &'a dyn ReadAt,
        len: u64,
        new: bool,
    ) -> Boxed<'a, Result<(), PlaceError>>;

    /// Up to `most` bytes from `offset` on; fewer only at the end.
    fn get<'a>(&'a self, name: &'a str, offset: u64, most: usize) -> Boxed<'a, Result<Vec<u8>, PlaceError>>;

    /// Everything whose name begins with `prefix`, in order of name.
    fn list<'a>(&'a self, prefix: &'a str) -> Boxed<'a, Result<Vec<Object>, PlaceError>>;

    /// Removes an object; no error when it is gone.
    fn remove<'a>(&'a self, name: &'a str) -> Boxed<'a, Result<(), PlaceError>>;

    /// What a person calls it.
    fn shown(&self) -> String;

    /// Keeps other processes of this machine from writing here until it is dropped, where that can be had.
    ///
    /// # Errors
    /// When another one does.
    fn hold(&self) -> Result<Option<stores_log::DirLock>, PlaceError> {
        Ok(None)
    }
}

/// Bytes asked for at once.
pub(crate) const PIECE: usize = 8 << 20;
/// The longest manifest or page that is believed, bytes.
const TEXT_MAX: usize = 64 << 20;

/// The whole of a small object.
pub(crate) async fn whole(place: &dyn Place, name: &str) -> Result<Vec<u8>, PlaceError> {
    let mut all = Vec::new();
    loop {
        let piece = place.get(name, all.len() as u64, PIECE).await?;
        let ended = piece.len() < PIECE;
        all.extend_from_slice(&piece);
        if ended {
            return Ok(all);
        }
        if all.len() > TEXT_MAX {
            return Err(PlaceError::Refused(format!("{name} is longer than it can be")));
        }
    }
}
