//! What is found when a log is opened. Only the last segment is read; nothing is cut off.

use crate::header::Hash;
use crate::keys::KeyRing;
use crate::options::LogOptions;
use crate::segment::{self, Damage, OpenError, Segment, Step, Walk};
use crate::shared::{LogError, disk};
use crate::{Position, header::HeaderError};
use std::io;
use std::path::Path;
use words_world::World;

/// What was found when a log was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// How many segments there are.
    pub segments: usize,
    /// The sequence number of the last record; 0 when there is none.
    pub last_seq: u64,
    /// The end of the last record.
    pub end: Position,
    /// Records at the tail may be missing: the last segment ends in, or holds, something that is no whole record,
    /// or cannot be read at all. After a crash in the middle of a write this is usual and nothing acknowledged is
    /// missing, but that cannot be told from an acknowledged record that has rotted.
    pub tail_doubtful: bool,
    /// The ranges in question. They are kept.
    pub doubtful: Vec<Damage>,
}

/// Where the writer goes on.
pub(crate) struct Tail {
    pub(crate) next_segment: u64,
    pub(crate) seq: u64,
    pub(crate) chain: Hash,
}

pub(crate) fn recover(
    world: &World,
    keys: &KeyRing,
    options: &LogOptions,
) -> Result<(Recovery, Tail), LogError> {
    let dir = &options.dir;
    let shown = dir.display();
    let all = world.disk.list(dir).map_err(disk(format_args!("listing {shown}")))?;
    for entry in all.iter().filter(|entry| entry.name.ends_with(".new")) {
        // A copy that was not finished: what it was to replace is still there.
        world.disk.remove(&dir.join(&entry.name)).map_err(disk(format_args!("removing {}", entry.name)))?;
    }
    let numbers = segment::list(&*world.disk, dir).map_err(disk(format_args!("listing {shown}")))?;
    let mut recovery = Recovery { segments: numbers.len(), ..Recovery::default() };
    let mut tail = Tail { next_segment: numbers.last().map_or(1, |last| last + 1), seq: 0, chain: [0; 32] };
    for number in numbers.iter().rev() {
        if recover_segment(world, keys, options, *number, &mut recovery, &mut tail)? {
            break;
        }
    }
    recovery.last_seq = tail.seq;
    if recovery.end.segment != 0 && !numbers.contains(&recovery.end.segment) {
        let why = "the last segment with records is missing".to_owned();
        recovery.doubtful.push(Damage { segment: recovery.end.segment, from: 0, to: 0, why });
        recovery.tail_doubtful = true;
    }
    for damage in &recovery.doubtful {
        tracing::warn!(
            dir = %shown, segment = damage.segment, from = damage.from, to = damage.to, why = damage.why,
            "a range of the log is doubtful; it is kept"
        );
    }
    Ok((recovery, tail))
}

/// Looks into one segment; `true` when it told where the log ends.
fn recover_segment(
    world: &World,
    keys: &KeyRing,
    options: &LogOptions,
    number: u64,
    recovery: &mut Recovery,
    tail: &mut Tail,
) -> Result<bool, LogError> {
    let path = segment::path(&options.dir, number);
    let shown = path.display();
    believe_the_disk(world, &path).map_err(disk(format_args!("syncing {shown}")))?;
    let segment = match Segment::open(&*world.disk, keys, &options.dir, options.kind.number(), number) {
        Ok(segment) => segment,
        // Its header was never made durable, so nothing in it was acknowledged.
        Err(OpenError::Missing | OpenError::Damaged { empty: true }) => return Ok(false),
        Err(OpenError::Damaged { empty: false }) => {
            let to = world.disk.open(&path).and_then(|file| file.len()).unwrap_or(0);
            let why = "the header of the segment cannot be read".to_owned();
            recovery.doubtful.push(Damage { segment: number, from: 0, to, why });
            recovery.tail_doubtful = true;
            return Ok(false);
        }
        Err(OpenError::Unreadable(error)) => return Err(unreadable(&shown.to_string(), &error)),
        Err(OpenError::Disk(error)) => return Err(disk(format_args!("reading {shown}"))(error)),
    };
    recovery.end = Position { segment: segment.header.previous, offset: segment.header.previous_end };
    tail.seq = segment.header.first_seq.saturating_sub(1);
    tail.chain = segment.header.previous_chain;
    let mut walk = Walk::new(&segment.header, 0);
    loop {
        let doubtful = match walk.next(&*segment.file).map_err(disk(format_args!("reading {shown}")))? {
            Step::Frame(head) => {
                recovery.end = Position { segment: number, offset: head.origin + u64::from(head.span) };
                tail.seq = head.seq;
                tail.chain = head.chain;
                continue;
            }
            Step::Damage { from, to } => (from, to, "no whole record"),
            Step::End { from, to } if from < to => (from, to, "the end is no whole record"),
            Step::End { .. } => return Ok(true),
        };
        let (from, to, why) = doubtful;
        recovery.doubtful.push(Damage { segment: number, from, to, why: why.to_owned() });
        recovery.tail_doubtful = true;
        if why != "no whole record" {
            return Ok(true);
        }
    }
}

/// What is read here is built upon from now on, so it must be on the disk. A program that died may have left bytes that
/// it never synced: they are synced now. One that was ended because a sync failed has left bytes that no later sync
/// brings to the disk, although they can be read: those must not be seen.
pub(crate) fn believe_the_disk(world: &World, path: &Path) -> io::Result<()> {
    match world.disk.open(path) {
        Ok(file) => {
            file.sync()?;
            file.forget()
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

pub(crate) fn unreadable(path: &str, error: &HeaderError) -> LogError {
    let path = path.to_owned();
    match error {
        HeaderError::NoKey(id) => {
            LogError::NoKey { path, key: id.iter().map(|b| format!("{b:02x}")).collect() }
        }
        HeaderError::Version(version) => {
            LogError::Foreign { path, why: format!("format version {version} is of a later program") }
        }
        HeaderError::Kind(kind) => {
            LogError::Foreign { path, why: format!("it is part of another log ({kind})") }
        }
        HeaderError::Damaged => LogError::Foreign { path, why: "its header cannot be read".to_owned() },
    }
}
