//! Who writes the journal: whoever holds `edge.lock`. The file says which process that is.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How often a lock that somebody else holds is tried again.
const TRY_EVERY: Duration = Duration::from_millis(5);

/// The right to write the journal; let go when dropped, and by the system when the process dies.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
    path: PathBuf,
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

impl Lock {
    /// Takes it; `None` when somebody else has it.
    pub(crate) fn try_take(path: &Path) -> io::Result<Option<Lock>> {
        let mut file = open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        file.set_len(0)?;
        file.seek(SeekFrom::Start(0))?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Some(Lock { file, path: path.to_owned() }))
    }

    /// Takes it as soon as nobody else has it, within `patience`.
    pub(crate) async fn take(path: &Path, patience: Duration) -> io::Result<Option<Lock>> {
        let until = Instant::now() + patience;
        loop {
            match Lock::try_take(path)? {
                None if Instant::now() < until => sleep(TRY_EVERY).await,
                other => return Ok(other),
            }
        }
    }

    /// Whether the file is still the one in the data folder. When it was removed, somebody else may hold another one by
    /// now, and two would write the journal.
    pub(crate) fn stands(&self) -> bool {
        let ours = self.file.metadata().map(|facts| (facts.dev(), facts.ino()));
        match std::fs::metadata(&self.path) {
            Ok(there) => ours.is_ok_and(|ours| ours == (there.dev(), there.ino())),
            // A disk that does not answer has not removed anything.
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        }
    }

    /// The process that has it now. A process that has just taken it may not have said its name yet: then 0.
    pub(crate) fn holder(path: &Path) -> Option<u32> {
        let mut file = open(path).ok()?;
        // Shared, so that two who ask do not take each other for the holder.
        if !matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)) {
            return None;
        }
        let mut text = String::new();
        file.read_to_string(&mut text).ok()?;
        Some(text.trim().parse().unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_writes_and_is_known_by_name_until_it_lets_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("edge.lock");
        assert_eq!(Lock::holder(&path), None);
        let lock = Lock::try_take(&path).unwrap().unwrap();
        assert_eq!(Lock::holder(&path), Some(std::process::id()));
        assert!(Lock::take(&path, Duration::from_millis(20)).await.unwrap().is_none());
        let later = async {
            sleep(Duration::from_millis(20)).await;
            drop(lock);
        };
        let (taken, ()) = tokio::join!(Lock::take(&path, Duration::from_secs(5)), later);
        assert!(taken.unwrap().is_some());
        assert_eq!(Lock::holder(&path), None);
    }

    #[test]
    fn a_lock_whose_file_was_removed_or_replaced_stands_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("edge.lock");
        let lock = Lock::try_take(&path).unwrap().unwrap();
        assert!(lock.stands());
        std::fs::remove_file(&path).unwrap();
        assert!(!lock.stands());
        let _other = Lock::try_take(&path).unwrap().unwrap();
        assert!(!lock.stands());
    }
}
