//! Writing a closed segment anew: compressed when it is sealed, without some contents when records are erased or
//! collected. The old file stands until the new one is durable under its name.

use crate::body::{BODIES, StoredName, since_of};
use crate::copy::{Change, Copy};
use crate::frame::{self, Facts, Head, Tombstone};
use crate::header::Header;
use crate::scan::follower;
use crate::segment::{self, OpenError, Segment, Step, Walk};
use crate::shared::{LogError, Shared, disk, lock};
use crate::verify::{content_of, is_intact};
use crate::{AppendError, Log, Position, ReadError};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use words_mail::Time;
use words_world::crash_point;

/// Names the segment up to which bodies without a record were removed.
const SWEPT: &str = "swept";
/// Says what is being erased, so that a crash in the middle is finished later.
const ERASING: &str = "erasing";
/// How long the sealer rests after an error.
const REST: Duration = Duration::from_secs(10);

/// Who erases, why, and how much.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erasure {
    /// Who asks for it.
    pub who: String,
    /// Why.
    pub why: String,
    /// Whether `meta` stays and only the body goes: what collecting settled messages does.
    pub keep_meta: bool,
}

/// What was sealed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sealed {
    /// How many segments.
    pub segments: u64,
    /// Their bytes before.
    pub before: u64,
    /// Their bytes now.
    pub after: u64,
    /// Segments that were left as they are, because a range in them is doubtful.
    pub left: u64,
}

/// What was erased or collected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Erased {
    /// How many records.
    pub records: u64,
    /// How many body files.
    pub bodies: u64,
}

/// The intent to erase, durable before anything is.
#[derive(Serialize, Deserialize)]
struct Intent {
    what: Vec<Position>,
    erasure: Erasure,
    at: Time,
    bodies: Vec<String>,
}

/// The crash points of one way of rewriting.
struct Points {
    before_create: &'static str,
    after_write: &'static str,
    after_sync: &'static str,
    after_rename: &'static str,
}

const SEAL: Points = Points {
    before_create: "log.seal.before_create",
    after_write: "log.seal.after_write",
    after_sync: "log.seal.after_sync",
    after_rename: "log.seal.after_rename",
};

const ERASE: Points = Points {
    before_create: "log.erase.before_create",
    after_write: "log.erase.after_write",
    after_sync: "log.erase.after_sync",
    after_rename: "log.erase.after_rename",
};

impl Log {
    /// Seals what is closed and not yet sealed, finishes an erasure that a crash cut short, and, once, removes body
    /// files that no record refers to. Blocks for long; run it on a thread of its own, or see [`Log::sealer`].
    ///
    /// # Errors
    /// When the disk says no. What was not sealed stays readable and is tried again.
    pub fn seal_pending(&self) -> Result<Sealed, LogError> {
        let mut rewriting = lock(&self.shared.rewriting);
        self.finish_erasing()?;
        if !rewriting.swept {
            self.sweep()?;
            rewriting.swept = true;
            *lock(&self.shared.begun) = None;
        }
        let mut sealed = Sealed::default();
        let numbers = self.reader.segments().map_err(disk("listing the log"))?;
        for number in numbers {
            if number < rewriting.looked_at || number >= self.shared.writing_from() {
                continue;
            }
            if !self.seal_one(number, &mut sealed)? {
                break;
            }
            rewriting.looked_at = number + 1;
        }
        Ok(sealed)
    }

    /// The loop that seals whenever a segment was closed.
    pub fn sealer(&self) -> Sealer {
        Sealer { log: self.clone() }
    }

    /// Closes the segment that is being written, so that it can be sealed or written anew.
    ///
    /// # Errors
    /// `Closed` when the writer has ended.
    pub async fn roll(&self) -> Result<(), AppendError> {
        self.shared.queue.roll()?.await.unwrap_or(Err(AppendError::Closed))
    }

    /// Removes the content of records. In the place of each stays its hash and a note of who, when and why; `verify`
    /// still passes. Erased records that were erased before are left as they are.
    ///
    /// # Errors
    /// When a record cannot be found or the disk says no. What was begun is finished by the next
    /// [`Log::seal_pending`] or [`Log::erase`].
    pub async fn erase(&self, what: &[Position], erasure: &Erasure) -> Result<Erased, LogError> {
        if what.iter().any(|position| position.segment >= self.shared.writing_from()) {
            self.roll().await?;
        }
        self.erase_closed(what, erasure)
    }

    /// The same for a log that nobody writes now. Blocks.
    ///
    /// # Errors
    /// As [`Log::erase`]; `Closed` when a record is in the segment being written.
    pub fn erase_closed(&self, what: &[Position], erasure: &Erasure) -> Result<Erased, LogError> {
        if what.iter().any(|position| position.segment >= self.shared.writing_from()) {
            return Err(LogError::Append(AppendError::Closed));
        }
        let _rewriting = lock(&self.shared.rewriting);
        self.finish_erasing()?;
        let mut bodies = Vec::new();
        for position in what {
            let record = self.reader.read(*position).map_err(read_error)?;
            bodies.extend(record.body.file().map(StoredName::file_name));
        }
        let at = self.shared.world.clock.now();
        let intent = Intent { what: what.to_vec(), erasure: erasure.clone(), at, bodies };
        let text = serde_json::to_vec(&intent).unwrap_or_default();
        let path = self.shared.options.dir.join(ERASING);
        self.shared.world.disk.replace(&path, &text).map_err(disk("noting what is erased"))?;
        crash_point("log.erase.after_intent");
        self.carry_out(&intent)
    }

    /// Collects records of the kinds that `keep` refuses, written before `before`, from segments all of whose
    /// records are that old. Nothing stays of them but their number and the chain's value. Blocks.
    ///
    /// # Errors
    /// When the disk says no; what was done stays done.
    pub fn collect(&self, before: Time, keep: &dyn Fn(u8) -> bool) -> Result<Erased, LogError> {
        let _rewriting = lock(&self.shared.rewriting);
        let mut collected = Erased::default();
        for number in self.reader.segments().map_err(disk("listing the log"))? {
            if number >= self.shared.writing_from() {
                break;
            }
            let Some(segment) = self.open_closed(number)? else { continue };
            if !all_old_and_some_unwanted(&segment, before, keep)? {
                continue;
            }
            let mut change = |head: &Head| match head.is_run() || keep(head.kind) {
                true => Change::Keep,
                false => Change::Collect,
            };
            if let Done::Written { changed, .. } = self.rewrite(&segment, &mut change, true, &ERASE)? {
                collected.records += changed;
            }
        }
        Ok(collected)
    }

    /// Seals one segment; `false` when there is no room for the copy now.
    fn seal_one(&self, number: u64, sealed: &mut Sealed) -> Result<bool, LogError> {
        let Some(segment) = self.open_closed(number)? else { return Ok(true) };
        if segment.header.rewritten {
            return Ok(true);
        }
        let len = segment.file.len().map_err(disk("measuring a segment"))?;
        if self.shared.world.disk.free(&self.shared.options.dir).is_ok_and(|free| free < len) {
            return Ok(false);
        }
        match self.rewrite(&segment, &mut |_| Change::Keep, false, &SEAL)? {
            Done::Written { len: after, .. } => {
                sealed.segments += 1;
                sealed.before += len;
                sealed.after += after;
            }
            Done::Doubtful => sealed.left += 1,
            Done::Empty => {}
        }
        Ok(true)
    }

    /// A segment that nobody appends to any more; `None` when it has no readable header.
    fn open_closed(&self, number: u64) -> Result<Option<Segment>, LogError> {
        let path = segment::path(&self.shared.options.dir, number);
        match self.reader.segment(number) {
            Ok(segment) => Ok(Some(segment)),
            Err(OpenError::Missing | OpenError::Damaged { .. }) => Ok(None),
            Err(OpenError::Unreadable(e)) => {
                Err(crate::recovery::unreadable(&path.display().to_string(), &e))
            }
            Err(OpenError::Disk(e)) => Err(disk(format_args!("reading {}", path.display()))(e)),
        }
    }

    fn finish_erasing(&self) -> Result<(), LogError> {
        let path = self.shared.options.dir.join(ERASING);
        let text = match self.shared.world.disk.read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(disk("reading what was being erased")(e)),
        };
        match serde_json::from_slice::<Intent>(&text) {
            Ok(intent) => self.carry_out(&intent).map(drop),
            Err(error) => Err(LogError::Foreign { path: path.display().to_string(), why: error.to_string() }),
        }
    }

    fn carry_out(&self, intent: &Intent) -> Result<Erased, LogError> {
        let mut by_segment: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
        for position in &intent.what {
            by_segment.entry(position.segment).or_default().insert(position.offset);
        }
        let mut erased = Erased::default();
        let Erasure { who, why, keep_meta } = &intent.erasure;
        let tombstone = Tombstone { who: who.clone(), at: intent.at, why: why.clone() };
        for (number, offsets) in by_segment {
            let Some(segment) = self.open_closed(number)? else { continue };
            let mut change = |head: &Head| match offsets.contains(&head.origin) {
                true => Change::Erase(tombstone.clone(), *keep_meta),
                false => Change::Keep,
            };
            if let Done::Written { changed, .. } = self.rewrite(&segment, &mut change, true, &ERASE)? {
                erased.records += changed;
            }
        }
        let world_disk = &self.shared.world.disk;
        let bodies = self.shared.options.dir.join(BODIES);
        for name in &intent.bodies {
            match world_disk.remove(&bodies.join(name)) {
                Ok(()) => erased.bodies += 1,
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(disk(format_args!("removing the body {name}"))(e)),
            }
        }
        world_disk.sync_dir(&bodies).map_err(disk("syncing the bodies"))?;
        crash_point("log.erase.after_bodies");
        let dir = &self.shared.options.dir;
        world_disk.remove(&dir.join(ERASING)).map_err(disk("ending an erasure"))?;
        world_disk.sync_dir(dir).map_err(disk("ending an erasure"))?;
        Ok(erased)
    }

    /// Writes a segment anew. With `through_damage` doubtful ranges are put into files of their own first; without
    /// it such a segment is left alone.
    fn rewrite(
        &self,
        segment: &Segment,
        change: &mut dyn FnMut(&Head) -> Change,
        through_damage: bool,
        points: &Points,
    ) -> Result<Done, LogError> {
        let path = segment::path(&self.shared.options.dir, segment.number);
        let failed = |e| disk(format_args!("rewriting {}", path.display()))(e);
        let end = match follower(&self.reader, segment.number).map_err(read_error)? {
            Some(follower) if !segment.header.rewritten => follower.end,
            _ => u64::MAX,
        };
        let temporary = PathBuf::from(format!("{}.new", path.display()));
        let world = &self.shared.world;
        crash_point(points.before_create);
        match world.disk.remove(&temporary) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(e)),
            _ => {}
        }
        let header = Header { rewritten: true, ..segment.header.clone() };
        let made = header.write(&self.shared.keys, &*world.random);
        let (bytes, key) = made.ok_or(LogError::NoKeys)?;
        let file = world.disk.create(&temporary).map_err(failed)?;
        let mut copy = Copy::new(file, key, bytes);
        let whole = self.copy_frames(segment, end, change, through_damage, &mut copy);
        let whole = whole.and_then(|whole| copy.finish().map(|len| (whole, len)));
        let (whole, len) = match whole {
            Ok(done) => done,
            Err(error) => {
                let _ = world.disk.remove(&temporary);
                return Err(failed(error));
            }
        };
        if !whole || copy.written == crate::header::HEADER_LEN as u64 {
            world.disk.remove(&temporary).map_err(failed)?;
            return Ok(if whole { Done::Empty } else { Done::Doubtful });
        }
        crash_point(points.after_write);
        copy.file.sync().map_err(failed)?;
        crash_point(points.after_sync);
        world.disk.rename(&temporary, &path).map_err(failed)?;
        crash_point(points.after_rename);
        world.disk.sync_dir(&self.shared.options.dir).map_err(failed)?;
        Ok(Done::Written { len, changed: copy.changed })
    }

    /// Copies what counts; `false` when a doubtful range was met and is not to be passed.
    fn copy_frames(
        &self,
        segment: &Segment,
        end: u64,
        change: &mut dyn FnMut(&Head) -> Change,
        through_damage: bool,
        copy: &mut Copy,
    ) -> io::Result<bool> {
        let mut walk = Walk::new(&segment.header, 0).checking_all();
        loop {
            let (from, to) = match walk.next(&*segment.file)? {
                Step::Frame(head) if head.origin >= end => return Ok(true),
                Step::Frame(head) => match read_parts(segment, &head, &walk) {
                    Some((facts, body)) => {
                        copy.add(&head, facts, &body, change(&head))?;
                        continue;
                    }
                    None => (walk.frame_start(), walk.at),
                },
                Step::Damage { from, to } => (from, to),
                Step::End { from, to } if from == to => return Ok(true),
                Step::End { from, to } => (from, to),
            };
            // Behind its end nothing was acknowledged, so nothing doubtful is lost there.
            if from >= end {
                return Ok(true);
            }
            if !through_damage {
                return Ok(false);
            }
            self.set_aside(segment, from, to)?;
            if walk.at <= from {
                return Ok(true);
            }
        }
    }

    /// Puts a doubtful range into a file of its own, so that rewriting loses nothing.
    fn set_aside(&self, segment: &Segment, from: u64, to: u64) -> io::Result<()> {
        let dir = &self.shared.options.dir;
        let path = dir.join(format!("{:016x}-{from:016x}.doubtful", segment.number));
        let len = usize::try_from(to - from).map_err(io::Error::other)?;
        let mut bytes = vec![0; len];
        let got = segment::read_up_to(&*segment.file, from, &mut bytes)?;
        match self.shared.world.disk.create(&path) {
            Ok(file) => {
                file.append(&bytes[..got])?;
                file.sync()?;
                self.shared.world.disk.sync_dir(dir)
            }
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Removes body files that no record refers to: left by a crash between body and record. Only bodies begun
    /// before this life of the log are looked at, and none is removed while a range that might refer to it cannot
    /// be read.
    fn sweep(&self) -> Result<(), LogError> {
        let shared = &self.shared;
        let bodies = shared.options.dir.join(BODIES);
        let marker = shared.options.dir.join(SWEPT);
        let swept: u64 = match shared.world.disk.read(&marker) {
            Ok(text) => String::from_utf8_lossy(&text).trim().parse().unwrap_or(0),
            Err(e) if e.kind() == io::ErrorKind::NotFound => 0,
            Err(e) => return Err(disk("reading the sweep mark")(e)),
        };
        let listed = shared.world.disk.list(&bodies).map_err(disk("listing the bodies"))?;
        let begun = lock(&shared.begun).clone().unwrap_or_default();
        let mut orphans: BTreeMap<String, u64> = listed
            .into_iter()
            .filter_map(|entry| Some((since_of(&entry.name)?, entry.name)))
            .filter(|(since, name)| (swept..=shared.opened_at).contains(since) && !begun.contains(name))
            .map(|(since, name)| (name, since))
            .collect();
        let Some(first) = orphans.values().min().copied() else { return Ok(()) };
        let mut scan = self.reader.scan(Some(Position { segment: first, offset: 0 }));
        scan = scan.until(Position { segment: shared.opened_at, offset: 0 });
        for record in &mut scan {
            if let Some(name) = record.map_err(read_error)?.body.file() {
                orphans.remove(&name.file_name());
            }
        }
        if !scan.damage().is_empty() {
            tracing::warn!(
                bodies = orphans.len(),
                "bodies without a record are kept: a range of the log is doubtful"
            );
            return Ok(());
        }
        crash_point("log.sweep.before_remove");
        for name in orphans.keys() {
            tracing::info!(name, "a body without a record is removed");
            shared.world.disk.remove(&bodies.join(name)).map_err(disk("removing a body"))?;
        }
        shared.world.disk.sync_dir(&bodies).map_err(disk("syncing the bodies"))?;
        crash_point("log.sweep.after_remove");
        let text = shared.opened_at.to_string();
        shared.world.disk.replace(&marker, text.as_bytes()).map_err(disk("setting the sweep mark"))
    }
}

/// How a rewriting ended.
enum Done {
    Written {
        len: u64,
        changed: u64,
    },
    /// A range is doubtful; the segment was left as it is.
    Doubtful,
    /// There is no record in it.
    Empty,
}

/// Both sections of a frame, decrypted and unpacked; `None` when they are not what they were.
fn read_parts(segment: &Segment, head: &Head, walk: &Walk) -> Option<(Facts, Vec<u8>)> {
    let facts = Facts::read(&segment.key, head, walk.head_bytes(), walk.payload())?;
    let sealed = walk.payload().get(head.meta_len()..)?;
    let body = frame::read_body(&segment.key, head, walk.head_bytes(), sealed, facts.body_len)?;
    is_intact(head, &facts, &content_of(head, &facts, &body)?).then_some((facts, body))
}

fn all_old_and_some_unwanted(
    segment: &Segment,
    before: Time,
    keep: &dyn Fn(u8) -> bool,
) -> Result<bool, LogError> {
    let mut walk = Walk::new(&segment.header, 0);
    let mut unwanted = false;
    loop {
        match walk.next(&*segment.file).map_err(disk("reading a segment"))? {
            Step::Frame(head) if head.at >= before => return Ok(false),
            Step::Frame(head) => unwanted |= !head.is_run() && !keep(head.kind),
            Step::Damage { .. } => {}
            Step::End { .. } => return Ok(unwanted),
        }
    }
}

fn read_error(error: ReadError) -> LogError {
    match error {
        ReadError::Disk(error) => disk("reading the log")(error),
        other => LogError::Foreign { path: "the log".to_owned(), why: other.to_string() },
    }
}

/// Seals segments as they are closed. Blocks while it does; the program runs it on a thread of its own.
pub struct Sealer {
    log: Log,
}

impl Sealer {
    /// Seals until `shutdown` says so.
    pub async fn run(self, mut shutdown: watch::Receiver<bool>) {
        loop {
            if *shutdown.borrow_and_update() || shutdown.has_changed().is_err() {
                return;
            }
            let rest = match self.log.seal_pending() {
                Ok(_) => None,
                Err(error) => {
                    tracing::warn!(%error, "sealing failed; it is tried again");
                    Some(REST)
                }
            };
            let shared: &Arc<Shared> = &self.log.shared;
            let timer = async {
                match rest {
                    Some(rest) => tokio::time::sleep(rest).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                _ = shutdown.changed() => {}
                () = shared.closed.notified() => {}
                () = timer => {}
            }
        }
    }
}
