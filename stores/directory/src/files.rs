//! How the directory's files are written: JSON, versioned, replaced whole.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use std::path::{Path, PathBuf};
use words_world::{Disk, crash_point};

/// The version of all the directory's file formats. A file of a later version is refused, never half understood.
pub(crate) const FORMAT: u32 = 1;

/// Each file begins with this, so that whether it changed can be asked without reading it whole.
const HEAD_BYTES: usize = 64;

/// Why a file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The disk said no.
    #[error("{}: {error}", path.display())]
    Disk {
        /// Which file.
        path: PathBuf,
        /// Its words.
        error: io::Error,
    },
    /// It is not what it should be.
    #[error("{}: {why}; put back a copy, or move the file away and import the accounts again", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A later Stormpost wrote it.
    #[error("{}: written in format {format} by a later version of Stormpost; this one reads format {FORMAT}", path.display())]
    Later {
        /// Which file.
        path: PathBuf,
        /// Its format.
        format: u32,
    },
}

fn disk_error(path: &Path) -> impl FnOnce(io::Error) -> FileError {
    let path = path.to_owned();
    move |error| FileError::Disk { path, error }
}

/// Reads a file; `None` when there is none.
pub(crate) fn load<T: DeserializeOwned>(disk: &dyn Disk, path: &Path) -> Result<Option<T>, FileError> {
    #[derive(serde::Deserialize)]
    struct Head {
        format: u32,
    }
    let content = match disk.read(path) {
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(disk_error(path)(error)),
    };
    let damaged = |e: serde_json::Error| FileError::Damaged { path: path.to_owned(), why: e.to_string() };
    let head: Head = serde_json::from_slice(&content).map_err(damaged)?;
    if head.format > FORMAT {
        return Err(FileError::Later { path: path.to_owned(), format: head.format });
    }
    serde_json::from_slice(&content).map(Some).map_err(damaged)
}

/// The generation in a file's first line; `None` when there is no file.
pub(crate) fn generation(disk: &dyn Disk, path: &Path) -> Result<Option<u64>, FileError> {
    let file = match disk.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(disk_error(path)(error)),
    };
    let mut head = [0; HEAD_BYTES];
    let read = file.read_at(0, &mut head).map_err(disk_error(path))?;
    let text = String::from_utf8_lossy(&head[..read]);
    let digits = text.split_once("\"generation\":").map(|(_, rest)| rest);
    let digits = digits.and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
    // A file edited by hand may look otherwise; then it counts as changed each time, which is merely slower.
    Ok(Some(digits.and_then(|d| d.parse().ok()).unwrap_or(0)))
}

/// Replaces a file: afterwards, crash or not, it is the old one or this one.
pub(crate) fn save<T: Serialize>(disk: &dyn Disk, path: &Path, content: &T) -> Result<(), FileError> {
    let bytes = serde_json::to_vec(content)
        .map_err(|e| FileError::Damaged { path: path.to_owned(), why: e.to_string() })?;
    crash_point("directory.before_replace");
    disk.replace(path, &bytes).map_err(disk_error(path))?;
    crash_point("directory.after_replace");
    Ok(())
}
