//! Reading a copy again: every object against its hash, every log against its chain. Needs no key.

use crate::manifest::{Manifest, read_page};
use crate::place::{PIECE, Place, PlaceError};
use crate::{BackupError, Hear, LOGS};
use serde::Serialize;
use std::io;
use stores_log::{Extent, LogKind, Volume};
use words_world::DiskFile;

/// Problems listed at most; all are counted.
const FINDINGS_MAX: usize = 1_000;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// Objects read.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Records, by the numbers in the segments.
    pub records: u64,
    /// How many problems.
    pub problem_count: u64,
    /// What is wrong; the first thousand.
    pub problems: Vec<Finding>,
}

/// Something that is not as it was copied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which object.
    pub object: String,
    /// What is wrong, in words.
    pub why: String,
}

impl Checked {
    fn note(&mut self, object: &str, why: impl Into<String>) {
        self.problem_count += 1;
        if self.problems.len() < FINDINGS_MAX {
            self.problems.push(Finding { object: object.to_owned(), why: why.into() });
        }
    }
}

/// Reads all of a copy again.
///
/// # Errors
/// When the place says no. What is wrong with the copy is in the result.
pub async fn check(place: &dyn Place, manifest: &Manifest, hear: Hear<'_>) -> Result<Checked, BackupError> {
    let mut checked = Checked::default();
    for part in &manifest.files {
        object(place, (&part.object, None, &part.hash), &mut checked, hear).await?;
    }
    for (name, kind) in LOGS {
        let Some(log) = manifest.logs.get(name) else {
            checked.note(name, "the log is not in it");
            continue;
        };
        let mut before: Option<Extent> = None;
        for of in &log.pages {
            let page = match read_page(place, of).await {
                Ok(page) => page,
                Err(BackupError::Damaged { object, why }) => {
                    checked.note(&object, why);
                    continue;
                }
                Err(BackupError::Place(PlaceError::NotFound(_))) => {
                    checked.note(&of.object, "it is missing");
                    continue;
                }
                Err(error) => return Err(error),
            };
            for part in &page.segments {
                let want = (part.object.as_str(), Some(part.extent.bytes), part.hash.as_str());
                let Some(bytes) = object(place, want, &mut checked, hear).await? else { continue };
                match measured(bytes, kind) {
                    Err(why) => checked.note(&part.object, why),
                    Ok(extent) => {
                        if extent != part.extent {
                            checked.note(&part.object, "it holds something else than was written down");
                        }
                        if before.as_ref().is_some_and(|before| !extent.follows(before)) {
                            checked.note(&part.object, "it does not follow from the one before");
                        }
                        checked.records += (extent.last_seq + 1).saturating_sub(extent.first_seq);
                        before = Some(extent);
                    }
                }
            }
            for part in &page.bodies {
                let want = (part.object.as_str(), Some(part.bytes), part.hash.as_str());
                object(place, want, &mut checked, hear).await?;
            }
        }
        if before.is_none_or(|last| last.last_seq < log.last_seq) {
            checked.note(name, "its end is missing");
        }
    }
    Ok(checked)
}

/// The bytes of an object that is what it was; `None` after noting what is wrong.
async fn object(
    place: &dyn Place,
    (name, len, hash): (&str, Option<u64>, &str),
    checked: &mut Checked,
    hear: Hear<'_>,
) -> Result<Option<Vec<u8>>, BackupError> {
    let mut all = Vec::new();
    loop {
        let piece = match place.get(name, all.len() as u64, PIECE).await {
            Err(PlaceError::NotFound(_)) => {
                checked.note(name, "it is missing");
                return Ok(None);
            }
            piece => piece?,
        };
        all.extend_from_slice(&piece);
        if piece.len() < PIECE {
            break;
        }
    }
    checked.objects += 1;
    checked.bytes += all.len() as u64;
    hear(name, all.len() as u64);
    if len.is_some_and(|len| len != all.len() as u64) {
        checked.note(name, "it is not as long as it was");
    } else if crate::manifest::hash(&all) != hash {
        checked.note(name, "it is not what its hash says");
    } else {
        return Ok(Some(all));
    }
    Ok(None)
}

fn measured(bytes: Vec<u8>, kind: LogKind) -> Result<Extent, String> {
    let volume = Volume::of(Box::new(Held(bytes)), kind).map_err(|error| error.to_string())?;
    volume.measure().map_err(|error| error.to_string())
}

/// A file that is in memory, for reading.
pub(crate) struct Held(pub(crate) Vec<u8>);

impl DiskFile for Held {
    fn append(&self, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        crate::place::ReadAt::read_at(&self.0, offset, into)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }
}
