//! Bringing a copy back: into an empty folder, every object held against its hash before it counts.

use crate::check::Held;
use crate::manifest::{BodyPart, FilePart, LogPart, Manifest, SegmentPart, hash, read_page};
use crate::place::{PIECE, Place, whole};
use crate::{BackupError, Hear, LOGS, disk};
use std::path::{Component, Path};
use stores_log::{BODY_FOLDER, KeyRing, LogKind, Volume, segment_name};
use words_world::{Disk, World};

/// What was brought back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// Objects.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Writes a copy into `into`, which is empty. The key and the format are looked at before anything is written.
///
/// # Errors
/// When a key is missing, an object is not what it was, or somebody's disk says no. What was written stands in `into`,
/// for the caller to remove.
pub async fn fetch(
    place: &dyn Place,
    manifest: &Manifest,
    keys: &KeyRing,
    world: &World,
    into: &Path,
    hear: Hear<'_>,
) -> Result<Fetched, BackupError> {
    if let Some(key) = manifest.keys.iter().find(|key| !keys.has(key)) {
        let words = format!(
            "the backup is encrypted with the key {key}, which is not in the key file; give the key file of the node it is of"
        );
        return Err(BackupError::Wrong(words));
    }
    // Opened before anything is written: who has another key of the same name learns it now.
    let mut files = Vec::new();
    for part in &manifest.files {
        files.push((part, opened(place, part, keys).await?));
    }
    let mut work = Work { place, disk: &*world.disk, into, hear, fetched: Fetched::default() };
    for (part, text) in files {
        let path = into.join(&part.name);
        work.make_dir(path.parent().unwrap_or(into))?;
        world.disk.replace(&path, &text).map_err(disk(path.display()))?;
        work.note(&part.object, text.len() as u64);
    }
    for (name, kind) in LOGS {
        let Some(log) = manifest.logs.get(name) else {
            let why = format!("the {name} is not in it");
            return Err(BackupError::Damaged { object: "the manifest".to_owned(), why });
        };
        work.log(name, kind, log).await?;
    }
    Ok(work.fetched)
}

async fn opened(place: &dyn Place, part: &FilePart, keys: &KeyRing) -> Result<Vec<u8>, BackupError> {
    let damaged = |why: &str| BackupError::Damaged { object: part.object.clone(), why: why.to_owned() };
    if !Path::new(&part.name).components().all(|c| matches!(c, Component::Normal(_))) {
        return Err(damaged("its name leads out of the data folder"));
    }
    let sealed = whole(place, &part.object).await?;
    if hash(&sealed) != part.hash {
        return Err(damaged("it is not what its hash says"));
    }
    keys.unseal(&part.name, &sealed).ok_or_else(|| damaged("the key does not open it"))
}

struct Work<'a, 'h> {
    place: &'a dyn Place,
    disk: &'a dyn Disk,
    into: &'a Path,
    hear: Hear<'h>,
    fetched: Fetched,
}

impl Work<'_, '_> {
    fn make_dir(&self, dir: &Path) -> Result<(), BackupError> {
        self.disk.make_dir(dir).map_err(disk(dir.display()))
    }

    fn note(&mut self, object: &str, bytes: u64) {
        self.fetched.objects += 1;
        self.fetched.bytes += bytes;
        (self.hear)(object, bytes);
    }

    async fn log(&mut self, name: &str, kind: LogKind, log: &LogPart) -> Result<(), BackupError> {
        let dir = self.into.join(name);
        let bodies = dir.join(BODY_FOLDER);
        self.make_dir(&bodies)?;
        for of in &log.pages {
            let page = read_page(self.place, of).await?;
            for part in &page.segments {
                self.segment(&dir, kind, log, part).await?;
            }
            for BodyPart { name, object, bytes, hash } in &page.bodies {
                if Path::new(name).components().count() != 1 || name.starts_with('.') {
                    let why = "its name leads out of the folder".to_owned();
                    return Err(BackupError::Damaged { object: object.clone(), why });
                }
                self.copy(object, *bytes, hash, &bodies.join(name)).await?;
            }
        }
        self.disk.sync_dir(&bodies).map_err(disk(bodies.display()))?;
        self.disk.sync_dir(&dir).map_err(disk(dir.display()))
    }

    /// One segment, up to the end of the log in this copy.
    async fn segment(
        &mut self,
        dir: &Path,
        kind: LogKind,
        log: &LogPart,
        part: &SegmentPart,
    ) -> Result<(), BackupError> {
        let SegmentPart { extent, object, hash } = part;
        let path = dir.join(segment_name(extent.segment));
        let end = log.end;
        if extent.segment < end.segment || (extent.segment == end.segment && extent.end <= end.offset) {
            return self.copy(object, extent.bytes, hash, &path).await;
        }
        // It was written anew after this copy, and holds more.
        let all = self.whole(object, extent.bytes, hash).await?;
        let volume = Volume::of(Box::new(Held(all.clone())), kind)
            .map_err(|error| BackupError::Damaged { object: object.clone(), why: error.to_string() })?;
        let until = if extent.segment == end.segment { end.offset } else { 0 };
        let bytes = volume.bytes_until(until).map_err(disk(object))?;
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX).min(all.len());
        self.disk.replace(&path, &all[..bytes]).map_err(disk(path.display()))?;
        self.note(object, bytes as u64);
        Ok(())
    }

    async fn whole(&self, object: &str, len: u64, hash: &str) -> Result<Vec<u8>, BackupError> {
        let mut all = Vec::new();
        while (all.len() as u64) < len {
            let piece = self.place.get(object, all.len() as u64, PIECE).await?;
            if piece.is_empty() {
                break;
            }
            all.extend_from_slice(&piece);
        }
        held_against(object, (all.len() as u64, &blake3::hash(&all)), (len, hash))?;
        Ok(all)
    }

    async fn copy(&mut self, object: &str, len: u64, hash: &str, path: &Path) -> Result<(), BackupError> {
        let file = self.disk.create(path).map_err(disk(path.display()))?;
        let mut hasher = blake3::Hasher::new();
        let mut at = 0;
        while at < len {
            let piece = self.place.get(object, at, PIECE).await?;
            if piece.is_empty() {
                break;
            }
            hasher.update(&piece);
            file.append(&piece).map_err(disk(path.display()))?;
            at += piece.len() as u64;
        }
        file.sync().map_err(disk(path.display()))?;
        held_against(object, (at, &hasher.finalize()), (len, hash))?;
        self.note(object, at);
        Ok(())
    }
}

fn held_against(
    object: &str,
    (len, hash): (u64, &blake3::Hash),
    (wanted, wanted_hash): (u64, &str),
) -> Result<(), BackupError> {
    let why = match (len == wanted, hash.to_hex().as_str() == wanted_hash) {
        (true, true) => return Ok(()),
        (false, _) => "it is not as long as it was",
        (true, false) => "it is not what its hash says",
    };
    Err(BackupError::Damaged { object: object.to_owned(), why: why.to_owned() })
}
