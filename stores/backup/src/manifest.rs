//! What a run leaves behind: one manifest, and the pages it names.

use crate::place::{Place, whole};
use crate::{BackupError, PlaceError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use stores_log::{Extent, Position};
use words_mail::Time;

/// The format version of manifests and pages. A later one is refused before anything is written.
pub const FORMAT: u32 = 1;
/// Segments, by number, that stand on one page: a year of them would make a manifest of a hundred megabytes.
pub(crate) const PAGE: u64 = 1_000;

/// One whole copy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The format version.
    pub format: u32,
    /// Which version of the program wrote it.
    pub program: String,
    /// Which node it is of.
    pub node: String,
    /// One life of a data folder: what is restored begins another.
    pub line: String,
    /// Its number in this line, from 1.
    pub sequence: u64,
    /// When the run began.
    pub begun: Time,
    /// And ended.
    pub ended: Time,
    /// Whether everything was compared, or only what is usually new.
    pub full: bool,
    /// The logs, by name.
    pub logs: BTreeMap<String, LogPart>,
    /// Small files, encrypted with the key that the logs are encrypted with.
    pub files: Vec<FilePart>,
    /// What is not in it, in words.
    pub left_out: Vec<String>,
    /// The names of the keys without which nothing of it can be read. The keys themselves are not in it.
    pub keys: Vec<String>,
}

/// One log of a copy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LogPart {
    /// Where its last record ends. A segment that was written anew since may hold more; it does not count.
    pub end: Position,
    /// The last sequence number.
    pub last_seq: u64,
    /// When the last record was written.
    pub last_at: Time,
    /// The chain's value after it, hexadecimal.
    pub after: String,
    /// How many segments.
    pub segments: u64,
    /// How many long bodies.
    pub bodies: u64,
    /// Bytes of both.
    pub bytes: u64,
    /// Ranges in it that hold no whole record: the disk it was copied from was damaged there.
    #[serde(default)]
    pub faults: u64,
    /// Where its parts are told.
    pub pages: Vec<PageRef>,
}

/// Where a page is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageRef {
    /// Segments `1000 × number` and those after it.
    pub number: u64,
    /// Its object.
    pub object: String,
    /// The hash of its bytes, hexadecimal.
    pub hash: String,
    /// How many segments it tells of.
    pub segments: u64,
    /// How many long bodies.
    pub bodies: u64,
    /// Bytes of both.
    pub bytes: u64,
    /// See [`LogPart::faults`].
    #[serde(default)]
    pub faults: u64,
}

/// Up to a thousand segments, and the bodies begun with them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Page {
    /// In order.
    pub segments: Vec<SegmentPart>,
    /// In order of name.
    pub bodies: Vec<BodyPart>,
}

/// One segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentPart {
    /// What it holds.
    #[serde(flatten)]
    pub extent: Extent,
    /// Its object.
    pub object: String,
    /// The hash of its bytes, hexadecimal.
    pub hash: String,
}

/// One long body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BodyPart {
    /// Its file's name.
    pub name: String,
    /// Its object.
    pub object: String,
    /// Its bytes.
    pub bytes: u64,
    /// The hash of its bytes, hexadecimal.
    pub hash: String,
}

/// One small file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilePart {
    /// Its path in the data folder; below `restored/` when it was elsewhere.
    pub name: String,
    /// Its object, encrypted under that name.
    pub object: String,
    /// The hash of the object's bytes, hexadecimal.
    pub hash: String,
}

impl Page {
    fn sums(&self) -> PageRef {
        let segments = self.segments.iter().map(|part| part.extent.bytes);
        PageRef {
            number: 0,
            object: String::new(),
            hash: String::new(),
            segments: self.segments.len() as u64,
            bodies: self.bodies.len() as u64,
            bytes: segments.chain(self.bodies.iter().map(|part| part.bytes)).sum(),
            faults: self.segments.iter().map(|part| part.extent.faults).sum(),
        }
    }

    /// The objects it names.
    pub(crate) fn objects(&self) -> impl Iterator<Item = &String> {
        self.segments.iter().map(|part| &part.object).chain(self.bodies.iter().map(|part| &part.object))
    }
}

impl LogPart {
    /// The page with this number.
    pub(crate) fn page(&self, number: u64) -> Option<&PageRef> {
        self.pages.iter().find(|page| page.number == number)
    }
}

/// The object of the manifest with this number.
pub(crate) fn manifest_name(root: &str, sequence: u64) -> String {
    format!("{root}/manifests/{sequence:016}.json")
}

/// The number of a manifest, by its object.
pub(crate) fn sequence_of(object: &str) -> Option<u64> {
    let (dir, name) = object.rsplit_once('/')?;
    dir.ends_with("/manifests").then_some(())?;
    name.strip_suffix(".json").filter(|digits| digits.len() == 16)?.parse().ok()
}

pub(crate) fn hash(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

/// Reads a manifest; one of a later format is refused.
pub(crate) async fn read_manifest(place: &dyn Place, object: &str) -> Result<Manifest, BackupError> {
    #[derive(Deserialize)]
    struct Head {
        format: u32,
    }
    let bytes = whole(place, object).await?;
    let head: Head = understood(object, &bytes)?;
    if head.format > FORMAT {
        let why =
            format!("format {} is of a later version of Stormpost; this one reads {FORMAT}", head.format);
        return Err(BackupError::Damaged { object: object.to_owned(), why });
    }
    understood(object, &bytes)
}

/// Reads a page and holds it against its hash.
pub(crate) async fn read_page(place: &dyn Place, page: &PageRef) -> Result<Page, BackupError> {
    let bytes = whole(place, &page.object).await?;
    if hash(&bytes) != page.hash {
        let why = "it is not what its hash says".to_owned();
        return Err(BackupError::Damaged { object: page.object.clone(), why });
    }
    understood(&page.object, &bytes)
}

/// Writes a page, unless `known` has the very same.
pub(crate) async fn write_page(
    place: &dyn Place,
    (root, log, number): (&str, &str, u64),
    page: &Page,
    known: &[&PageRef],
) -> Result<PageRef, BackupError> {
    let bytes = serde_json::to_vec(page).unwrap_or_default();
    let hash = hash(&bytes);
    if let Some(same) = known.iter().find(|known| known.number == number && known.hash == hash) {
        return Ok((*same).clone());
    }
    let object = format!("{root}/pages/{log}-{number:08}-{}.json", &hash[..16]);
    place.put(&object, &bytes, bytes.len() as u64, false).await?;
    Ok(PageRef { number, object, hash, ..page.sums() })
}

pub(crate) async fn write_manifest(
    place: &dyn Place,
    root: &str,
    manifest: &Manifest,
    new: bool,
) -> Result<(), PlaceError> {
    let bytes = serde_json::to_vec_pretty(manifest).unwrap_or_default();
    place.put(&manifest_name(root, manifest.sequence), &bytes, bytes.len() as u64, new).await
}

fn understood<T: DeserializeOwned>(object: &str, bytes: &[u8]) -> Result<T, BackupError> {
    serde_json::from_slice(bytes)
        .map_err(|error| BackupError::Damaged { object: object.to_owned(), why: error.to_string() })
}
