//! Destroying: the key first, for without it nothing that is left anywhere can be read; then the files.

use crate::command::Failure;
use crate::configuration::Configuration;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use words_world::crash_point;

/// Which key this is, without telling anything about it; none when it is not there, or was written over already.
pub(super) fn fingerprint(path: &Path) -> Result<Option<String>, Failure> {
    match fs::read(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e.into()),
        Ok(key) if key.iter().all(|byte| *byte == 0) => Ok(None),
        Ok(key) => Ok(Some(blake3::hash(&key).to_hex()[..16].to_owned())),
    }
}

/// Destroys the key and removes everything in the data folder; how many files. Repeated, it removes what is left.
pub(super) fn wipe(configuration: &Configuration) -> Result<u64, Failure> {
    let mut removed = destroy(&configuration.node.key_file)?;
    crash_point("retire.key-destroyed");
    let data = &configuration.node.data;
    removed += empty(data)?;
    crash_point("retire.files-removed");
    match fs::read_dir(data).map(|mut left| left.next().is_none()) {
        Ok(true) => Ok(removed),
        Ok(false) => Err(format!("something is left in {}", data.display()).into()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(removed),
        Err(e) => Err(e.into()),
    }
}

/// Writes over a file, makes that durable, and removes it. On a disk that writes elsewhere (flash, copy on write) the old bytes may
/// stay readable to who takes it apart: the receipt says so.
fn destroy(path: &Path) -> Result<u64, Failure> {
    let length = match fs::metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
        other => other?.len(),
    };
    let mut file = fs::OpenOptions::new().write(true).open(path)?;
    file.write_all(&vec![0; usize::try_from(length).unwrap_or(0).min(1 << 20)])?;
    file.sync_all()?;
    drop(file);
    fs::remove_file(path)?;
    if let Some(folder) = path.parent() {
        fs::File::open(folder)?.sync_all()?;
    }
    Ok(1)
}

/// Removes what is in a folder, not the folder itself: it may be a mount point.
fn empty(folder: &Path) -> Result<u64, Failure> {
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
        other => other?,
    };
    let mut removed = 0;
    for entry in entries {
        let entry = entry?;
        // A link is removed, not followed.
        if entry.file_type()?.is_dir() {
            removed += empty(&entry.path())?;
            fs::remove_dir(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
            removed += 1;
        }
    }
    fs::File::open(folder)?.sync_all()?;
    Ok(removed)
}
