//! One run: what is new is copied, then the manifest is written.

use crate::keep;
use crate::manifest::{
    BodyPart, FORMAT, FilePart, LogPart, Manifest, PAGE, Page, SegmentPart, hash, manifest_name,
    read_manifest, read_page, sequence_of, write_manifest, write_page,
};
use crate::place::{Place, PlaceError, ReadAt};
use crate::prefix::root_of;
use crate::{BackupError, Hear, LOGS, disk};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use stores_log::{KeyRing, LogKind, Position, Shelf, ShelfError};
use words_mail::Time;
use words_world::{World, crash_point};

/// How often a log is gone through anew because bodies were let go while it was copied.
const ROUNDS: usize = 3;
/// Bytes hashed at once.
const HASH_AT_ONCE: usize = 1 << 20;
/// The file that names one life of a data folder.
pub(crate) const LINE: &str = "backup.line";

/// A small file that is copied, encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extra {
    /// Its name in the copy: a path in the data folder, or below `restored/`.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
}

/// How much is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Everything.
    Full,
    /// What is usually new. What was erased in old segments may stay in the copy until the next full run.
    Quick,
}

/// What a run did.
#[derive(Clone, Debug, PartialEq)]
pub struct Copied {
    /// What it left behind.
    pub manifest: Manifest,
    /// Where: the folder of this line.
    pub root: String,
    /// Objects written.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Earlier copies from which something was taken out that was erased or sealed since.
    pub amended: u64,
    /// Objects removed because no copy needs them any more.
    pub removed: u64,
    /// Copies of former lives of this node that are still there.
    pub former: Vec<String>,
}

/// Makes copies of one data folder.
pub struct Backup {
    /// The outside.
    pub world: World,
    /// What small files are encrypted with.
    pub keys: KeyRing,
    /// The data folder.
    pub data: PathBuf,
    /// The node's name.
    pub node: String,
    /// The version of the program.
    pub program: String,
    /// Small files to copy.
    pub extras: Vec<Extra>,
    /// What is not copied, in words.
    pub left_out: Vec<String>,
    /// How many full copies are kept.
    pub keep: usize,
    /// The small files of the last run: the hash of what they held, and where that is.
    pub copied: HashMap<String, ([u8; 32], FilePart)>,
}

impl Backup {
    /// Copies what is new and writes the manifest. What broke off leaves the copies before as they are.
    ///
    /// # Errors
    /// See [`BackupError`].
    pub async fn run(
        &mut self,
        place: &dyn Place,
        depth: Depth,
        hear: Hear<'_>,
    ) -> Result<Copied, BackupError> {
        let _held = place.hold().map_err(|error| match error {
            PlaceError::Trouble(_) => BackupError::Raced,
            other => other.into(),
        })?;
        let begun = self.world.clock.now();
        let line = line(&self.world, &self.data)?;
        let root = root_of(&self.node, &line);
        let listed = place.list(&format!("{root}/manifests/")).await?;
        let sequences: Vec<u64> = listed.iter().filter_map(|object| sequence_of(&object.name)).collect();
        let before = match sequences.last() {
            Some(last) => Some(read_manifest(place, &manifest_name(&root, *last)).await?),
            None => None,
        };
        let sequence = sequences.last().map_or(1, |last| last + 1);
        let mut round = Round {
            backup: self,
            place,
            root: &root,
            depth,
            hear,
            objects: 0,
            bytes: 0,
            replaced: Vec::new(),
            keys: BTreeSet::new(),
        };
        let mut logs = BTreeMap::new();
        for (name, kind) in LOGS {
            let earlier = before.as_ref().and_then(|before| before.logs.get(name));
            logs.insert(name.to_owned(), round.log(name, kind, earlier).await?);
        }
        let Round { objects, bytes, replaced, keys, .. } = round;
        let (files, written) = self.files(place, &root, sequence).await?;
        let known = before.as_ref().map(|before| before.keys.clone()).unwrap_or_default();
        let keys: BTreeSet<String> = keys.into_iter().chain(known).chain(self.keys.names()).collect();
        let manifest = Manifest {
            format: FORMAT,
            program: self.program.clone(),
            node: self.node.clone(),
            line,
            sequence,
            begun,
            ended: self.world.clock.now(),
            full: depth == Depth::Full,
            logs,
            files,
            left_out: self.left_out.clone(),
            keys: keys.into_iter().collect(),
        };
        crash_point("backup.before_manifest");
        match write_manifest(place, &root, &manifest, true).await {
            Err(PlaceError::Exists(_)) => return Err(BackupError::Raced),
            written => written?,
        }
        crash_point("backup.after_manifest");
        let tidied = keep::tidy(place, &root, &manifest, &sequences, &replaced, self.keep, depth).await?;
        Ok(Copied {
            manifest,
            root,
            objects: objects + written,
            bytes,
            amended: tidied.amended,
            removed: tidied.removed,
            former: tidied.former,
        })
    }

    /// The small files; how many were written.
    async fn files(
        &mut self,
        place: &dyn Place,
        root: &str,
        sequence: u64,
    ) -> Result<(Vec<FilePart>, u64), BackupError> {
        let mut all = self.extras.clone();
        all.push(Extra { name: "trace.key".to_owned(), path: self.data.join("trace.key") });
        let directory = self.data.join("directory");
        match self.world.disk.list(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            listed => {
                let listed = listed.map_err(disk(directory.display()))?;
                let plain = listed.into_iter().filter(|entry| !entry.is_dir && !entry.name.ends_with(".new"));
                all.extend(plain.map(|entry| Extra {
                    path: directory.join(&entry.name),
                    name: format!("directory/{}", entry.name),
                }));
            }
        }
        let (mut parts, mut written) = (Vec::new(), 0);
        for Extra { name, path } in all {
            let text = match self.world.disk.read(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                read => read.map_err(disk(path.display()))?,
            };
            let held = *blake3::hash(&text).as_bytes();
            if let Some((same, part)) = self.copied.get(&name)
                && *same == held
            {
                parts.push(part.clone());
                continue;
            }
            let sealed = self.keys.seal(&*self.world.random, &name, &text);
            let sealed = sealed.ok_or_else(|| BackupError::Wrong("the key file has no key".to_owned()))?;
            let plain: String = name.chars().map(|c| if c == '/' { '-' } else { c }).collect();
            let object = format!("{root}/files/{sequence:016}-{plain}");
            place.put(&object, &sealed, sealed.len() as u64, false).await?;
            written += 1;
            let part = FilePart { name: name.clone(), object, hash: hash(&sealed) };
            self.copied.insert(name, (held, part.clone()));
            parts.push(part);
        }
        Ok((parts, written))
    }
}

/// The name of this life of a data folder; made at the first run.
fn line(world: &World, data: &Path) -> Result<String, BackupError> {
    let path = data.join(LINE);
    match world.disk.read(&path) {
        Ok(text) => {
            let text = String::from_utf8_lossy(&text).trim().to_owned();
            if !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Ok(text);
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(disk(path.display())(error)),
    }
    let mut bytes = [0; 4];
    world.random.fill(&mut bytes);
    let text = bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    world.disk.replace(&path, text.as_bytes()).map_err(disk(path.display()))?;
    Ok(text)
}

/// An object that the copy before needed and this one does not.
pub(crate) struct Replaced {
    pub(crate) log: &'static str,
    pub(crate) page: u64,
    pub(crate) object: String,
}

/// A run under way.
struct Round<'a, 'h> {
    backup: &'a Backup,
    place: &'a dyn Place,
    root: &'a str,
    depth: Depth,
    hear: Hear<'h>,
    objects: u64,
    bytes: u64,
    replaced: Vec<Replaced>,
    keys: BTreeSet<String>,
}

/// What stands on one page by the look of the disk.
#[derive(Default)]
struct OnDisk {
    segments: Vec<(u64, u64)>,
    bodies: Vec<(String, u64)>,
}

impl Round<'_, '_> {
    async fn log(
        &mut self,
        name: &'static str,
        kind: LogKind,
        before: Option<&LogPart>,
    ) -> Result<LogPart, BackupError> {
        let dir = self.backup.data.join(name);
        let shelf = Shelf::new(self.backup.world.disk.clone(), &dir, kind);
        for _ in 0..ROUNDS {
            if let Some(part) = self.log_once(name, &shelf, before).await? {
                return Ok(part);
            }
        }
        let words = format!(
            "long bodies of the {name} were let go again and again while it was copied; run it again"
        );
        Err(BackupError::Wrong(words))
    }

    /// `None` when a body was let go meanwhile: its record was written anew then, and must be copied so.
    async fn log_once(
        &mut self,
        name: &'static str,
        shelf: &Shelf,
        before: Option<&LogPart>,
    ) -> Result<Option<LogPart>, BackupError> {
        let told = disk(name);
        let mut on_disk: BTreeMap<u64, OnDisk> = BTreeMap::new();
        for (number, len) in shelf.segments().map_err(told)? {
            on_disk.entry(number / PAGE).or_default().segments.push((number, len));
        }
        let last = on_disk.keys().next_back().copied().unwrap_or_default();
        let mut part = LogPart { pages: Vec::new(), ..before.cloned().unwrap_or_default() };
        // The segments first: what they refer to was there before them.
        let mut copied: BTreeMap<u64, (Page, Page)> = BTreeMap::new();
        let kept = |page: u64| self.depth == Depth::Quick && page + 1 < last;
        let kept: BTreeSet<u64> = on_disk
            .keys()
            .copied()
            .filter(|page| kept(*page) && before.is_some_and(|before| before.page(*page).is_some()))
            .collect();
        for (number, found) in &on_disk {
            if kept.contains(number) {
                continue;
            }
            let old = match before.and_then(|before| before.page(*number)) {
                Some(page) => read_page(self.place, page).await?,
                None => Page::default(),
            };
            let mut page = Page::default();
            for (segment, len) in &found.segments {
                let known = old.segments.iter().find(|part| part.extent.segment == *segment);
                page.segments.extend(self.segment(name, shelf, (*segment, *len), known).await?);
            }
            copied.insert(*number, (old, page));
        }
        for body in shelf.bodies().map_err(disk(name))? {
            let since = u64::from_str_radix(body.name.get(..16).unwrap_or_default(), 16).unwrap_or(0);
            let page = (since / PAGE).min(last);
            if !kept.contains(&page) {
                on_disk.entry(page).or_default().bodies.push((body.name, body.len));
            }
        }
        for (number, (old, page)) in &mut copied {
            for (body, len) in on_disk.remove(number).unwrap_or_default().bodies {
                let known = old.bodies.iter().find(|part| part.name == body && part.bytes == len);
                match self.body(name, shelf, (&body, len), known).await? {
                    Some(part) => page.bodies.push(part),
                    None => return Ok(None),
                }
            }
        }
        self.close(name, before, &kept, copied, &mut part).await?;
        Ok(Some(part))
    }

    /// Writes the pages of a log.
    async fn close(
        &mut self,
        name: &'static str,
        before: Option<&LogPart>,
        kept: &BTreeSet<u64>,
        copied: BTreeMap<u64, (Page, Page)>,
        part: &mut LogPart,
    ) -> Result<(), BackupError> {
        let known: Vec<_> = before.map(|before| before.pages.iter().collect()).unwrap_or_default();
        part.pages
            .extend(known.iter().filter(|page| kept.contains(&page.number)).map(|page| (*page).clone()));
        for (number, (old, page)) in copied {
            let now: BTreeSet<&String> = page.objects().collect();
            let gone = old.objects().filter(|object| !now.contains(object));
            self.replaced.extend(gone.map(|object| Replaced {
                log: name,
                page: number,
                object: object.clone(),
            }));
            for SegmentPart { extent, .. } in &page.segments {
                self.keys.insert(extent.key.clone());
                let end = Position { segment: extent.segment, offset: extent.end };
                if extent.last_seq >= extent.first_seq && end > part.end {
                    part.end = end;
                    part.last_seq = extent.last_seq;
                    part.last_at = extent.last_at;
                    part.after.clone_from(&extent.after);
                }
            }
            part.pages.push(write_page(self.place, (self.root, name, number), &page, &known).await?);
        }
        part.pages.sort_by_key(|page| page.number);
        part.segments = part.pages.iter().map(|page| page.segments).sum();
        part.bodies = part.pages.iter().map(|page| page.bodies).sum();
        part.bytes = part.pages.iter().map(|page| page.bytes).sum();
        part.faults = part.pages.iter().map(|page| page.faults).sum();
        Ok(())
    }

    async fn segment(
        &mut self,
        log: &str,
        shelf: &Shelf,
        (number, len): (u64, u64),
        known: Option<&SegmentPart>,
    ) -> Result<Option<SegmentPart>, BackupError> {
        let quick = |part: &&SegmentPart| part.extent.sealed && part.extent.bytes == len;
        if let Some(part) = known.filter(quick)
            && self.depth == Depth::Quick
        {
            return Ok(Some(part.clone()));
        }
        let name = stores_log::segment_name(number);
        let volume = match shelf.open(number) {
            Ok(Some(volume)) => volume,
            Ok(None) => return Ok(None),
            Err(ShelfError::Disk(error)) => return Err(disk(format_args!("{log}/{name}"))(error)),
            Err(ShelfError::Damaged) => {
                tracing::error!(
                    log,
                    segment = number,
                    "its header cannot be read, so it is not in the backup"
                );
                return Ok(None);
            }
            Err(other) => return Err(BackupError::Wrong(format!("{log}/{name}: {other}"))),
        };
        let same = known.filter(|part| part.extent.writing == volume.writing());
        if let Some(part) = same.filter(|part| part.extent.sealed || part.extent.bytes == len) {
            return Ok(Some(part.clone()));
        }
        let extent = volume.measure().map_err(disk(format_args!("{log}/{name}")))?;
        if let Some(part) = same.filter(|part| part.extent.bytes == extent.bytes) {
            return Ok(Some(part.clone()));
        }
        let bytes = extent.bytes;
        let object = format!("{}/{log}/{number:016x}-{}-{bytes}.seg", self.root, extent.writing);
        let hash = hash_of(&volume, bytes).map_err(disk(format_args!("{log}/{name}")))?;
        self.put(&object, &volume, bytes).await?;
        Ok(Some(SegmentPart { extent, object, hash }))
    }

    async fn body(
        &mut self,
        log: &str,
        shelf: &Shelf,
        (name, len): (&str, u64),
        known: Option<&BodyPart>,
    ) -> Result<Option<BodyPart>, BackupError> {
        if let Some(part) = known {
            return Ok(Some(part.clone()));
        }
        let file = match shelf.open_body(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(disk(name))?,
        };
        let object = format!("{}/{log}/bodies/{name}-{len}", self.root);
        let hash = hash_of(&file, len).map_err(disk(name))?;
        self.put(&object, &file, len).await?;
        Ok(Some(BodyPart { name: name.to_owned(), object, bytes: len, hash }))
    }

    async fn put(&mut self, object: &str, source: &dyn ReadAt, len: u64) -> Result<(), BackupError> {
        self.place.put(object, source, len, false).await?;
        self.objects += 1;
        self.bytes += len;
        (self.hear)(object, len);
        Ok(())
    }
}

fn hash_of(source: &dyn ReadAt, len: u64) -> io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    let mut piece = vec![0; HASH_AT_ONCE];
    let mut at = 0;
    while at < len {
        let count = usize::try_from(len - at).unwrap_or(HASH_AT_ONCE).min(HASH_AT_ONCE);
        source.fill(at, &mut piece[..count])?;
        hasher.update(&piece[..count]);
        at += count as u64;
    }
    Ok(hasher.finalize().to_hex().to_string())
}

/// When the last record of any log of a copy was written.
impl Manifest {
    /// Until when accepted mail is in the copy.
    pub fn until(&self) -> Time {
        // What was durable when the journal was looked at is in it, however long ago the last of it came in.
        self.begun
    }
}
