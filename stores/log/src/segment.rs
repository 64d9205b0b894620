//! Segment files: their names, and walking through one.

use crate::ReadError;
use crate::frame::{HEAD_LEN, Head, MARK};
use crate::header::{HEADER_LEN, Header, HeaderError};
use crate::keys::{DataKey, KeyRing};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use words_world::{Disk, DiskFile};

const SUFFIX: &str = ".seg";
/// Read ahead while whole frames are checked.
const READ_AHEAD: usize = 256 << 10;
/// Read ahead while bodies are skipped.
const READ_AHEAD_HEADS: usize = 16 << 10;

/// A range of a segment that holds no whole record. It is kept as it is and told to a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damage {
    /// Which segment.
    pub segment: u64,
    /// Where the range begins in the file.
    pub from: u64,
    /// Where it ends.
    pub to: u64,
    /// What is wrong with it, in words.
    pub why: String,
}

/// The path of a segment.
pub(crate) fn path(dir: &Path, segment: u64) -> PathBuf {
    dir.join(format!("{segment:016x}{SUFFIX}"))
}

/// The numbers of the segments in a directory, in order.
pub(crate) fn list(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<u64>> {
    let mut numbers: Vec<u64> = disk.list(dir)?.iter().filter_map(|entry| number_of(&entry.name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

pub(crate) fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX)?;
    if digits.len() == 16 { u64::from_str_radix(digits, 16).ok() } else { None }
}

/// An open segment.
pub(crate) struct Segment {
    pub(crate) number: u64,
    pub(crate) header: Header,
    pub(crate) key: Arc<DataKey>,
    pub(crate) file: Box<dyn DiskFile>,
    /// Tells one writing of the segment from the next: its header holds a new random key each time.
    pub(crate) stamp: u32,
}

/// Why a segment could not be opened.
pub(crate) enum OpenError {
    /// There is no such file.
    Missing,
    /// Its header is cut short or altered. With `true` nothing stands behind where the header should be.
    Damaged { empty: bool },
    /// Not ours to read.
    Unreadable(HeaderError),
    /// The disk said no.
    Disk(io::Error),
}

impl Segment {
    pub(crate) fn open(
        disk: &dyn Disk,
        keys: &KeyRing,
        dir: &Path,
        kind: u8,
        number: u64,
    ) -> Result<Segment, OpenError> {
        let file = match disk.open(&path(dir, number)) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(OpenError::Missing),
            Err(e) => return Err(OpenError::Disk(e)),
        };
        let mut bytes = vec![0; HEADER_LEN];
        let got = read_up_to(&*file, 0, &mut bytes).map_err(OpenError::Disk)?;
        let damaged = |file: &dyn DiskFile| match file.len() {
            Ok(len) => OpenError::Damaged { empty: len <= HEADER_LEN as u64 },
            Err(e) => OpenError::Disk(e),
        };
        match Header::read(&bytes[..got], kind, keys) {
            Ok((header, _)) if header.segment != number => Err(damaged(&*file)),
            Ok((header, key)) => {
                Ok(Segment { number, header, key: Arc::new(key), file, stamp: crc32fast::hash(&bytes) })
            }
            Err(HeaderError::Damaged) => Err(damaged(&*file)),
            Err(other) => Err(OpenError::Unreadable(other)),
        }
    }
}

impl From<HeaderError> for ReadError {
    fn from(error: HeaderError) -> ReadError {
        match error {
            HeaderError::NoKey(_) => ReadError::NoKey,
            HeaderError::Damaged => ReadError::Damaged,
            HeaderError::Version(_) | HeaderError::Kind(_) => ReadError::Foreign,
        }
    }
}

/// Fills as much of `into` as the file has.
pub(crate) fn read_up_to(file: &dyn DiskFile, offset: u64, into: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while got < into.len() {
        match file.read_at(offset + got as u64, &mut into[got..])? {
            0 => break,
            n => got += n,
        }
    }
    Ok(got)
}

/// What stands next in a segment.
pub(crate) enum Step {
    /// A whole frame; its bytes are in [`Walk::head_bytes`] and [`Walk::payload`].
    Frame(Head),
    /// Nothing that makes sense until `to`, where a whole frame begins.
    Damage { from: u64, to: u64 },
    /// The end of the file, or something unfinished from `from` on.
    End { from: u64, to: u64 },
}

/// Goes through a segment from frame to frame and finds the way again after damage.
pub(crate) struct Walk {
    /// Where the next frame begins in the file.
    pub(crate) at: u64,
    /// Whether whole frames are checked, or only heads and first sections (once the segment was written anew, its
    /// frames were all whole).
    whole: bool,
    window: Window,
    frame_start: u64,
    head: usize,
    payload: usize,
}

/// The part of the file in memory.
#[derive(Default)]
struct Window {
    start: u64,
    /// How much of `bytes` is filled.
    len: usize,
    bytes: Vec<u8>,
}

impl Window {
    /// The bytes from `at` on, `want` of them or fewer when the file ends before.
    fn slice(&mut self, file: &dyn DiskFile, at: u64, want: usize, ahead: usize) -> io::Result<&[u8]> {
        let inside = at.checked_sub(self.start).and_then(|skip| usize::try_from(skip).ok());
        let inside = inside.filter(|skip| skip + want <= self.len);
        let skip = match inside {
            Some(skip) => skip,
            None => {
                let left = usize::try_from(file.len()?.saturating_sub(at)).unwrap_or(usize::MAX);
                let wanted = want.max(ahead).min(left);
                if self.bytes.len() < wanted {
                    self.bytes = vec![0; wanted];
                }
                self.len = 0;
                self.len = read_up_to(file, at, &mut self.bytes[..wanted])?;
                self.start = at;
                0
            }
        };
        let end = self.len.min(skip + want);
        Ok(&self.bytes[skip..end])
    }

    /// What is in memory of a range.
    fn get(&self, at: u64, len: usize) -> Option<&[u8]> {
        let start = usize::try_from(at.checked_sub(self.start)?).ok()?;
        self.bytes.get(..self.len)?.get(start..start.checked_add(len)?)
    }
}

impl Walk {
    /// A walk that begins at `at` in the file, or at its first frame.
    pub(crate) fn new(header: &Header, at: u64) -> Walk {
        Walk {
            at: at.max(HEADER_LEN as u64),
            whole: !header.rewritten,
            window: Window::default(),
            frame_start: 0,
            head: 0,
            payload: 0,
        }
    }

    /// Checks whole frames, whatever the segment.
    pub(crate) fn checking_all(mut self) -> Walk {
        self.whole = true;
        self
    }

    /// The next step. After `End` it may be asked again: the file may have grown.
    pub(crate) fn next(&mut self, file: &dyn DiskFile) -> io::Result<Step> {
        match self.frame_at(file, self.at)? {
            Some(head) => {
                self.at += u64::from(head.len);
                Ok(Step::Frame(head))
            }
            None => self.find_again(file),
        }
    }

    /// The frame that begins at `at`, if one does and it is whole.
    fn frame_at(&mut self, file: &dyn DiskFile, at: u64) -> io::Result<Option<Head>> {
        let ahead = if self.whole { READ_AHEAD } else { READ_AHEAD_HEADS };
        let Some(head) = Head::read(self.window.slice(file, at, HEAD_LEN, ahead)?) else { return Ok(None) };
        let len = head.len as usize;
        let want = if self.whole { len } else { HEAD_LEN + head.meta_len() };
        let bytes = self.window.slice(file, at, want, ahead)?;
        if bytes.len() < want || (self.whole && !head.fits(&bytes[HEAD_LEN..])) {
            return Ok(None);
        }
        self.frame_start = at;
        self.head = HEAD_LEN;
        self.payload = want - HEAD_LEN;
        Ok(Some(head))
    }

    /// Looks for the next whole frame behind something that is none.
    fn find_again(&mut self, file: &dyn DiskFile) -> io::Result<Step> {
        let from = self.at;
        let mut look = from + 1;
        loop {
            let bytes = self.window.slice(file, look, READ_AHEAD, READ_AHEAD)?;
            if bytes.len() < MARK.len() {
                let to = look.saturating_sub(1).max(from) + bytes.len() as u64;
                let to = to.max(file.len()?.min(look + bytes.len() as u64));
                return Ok(Step::End { from, to });
            }
            match memchr::memmem::find(bytes, &MARK) {
                Some(skip) => {
                    look += skip as u64;
                    if self.frame_at(file, look)?.is_some() {
                        return self.look_again(file, from, look);
                    }
                    look += 1;
                }
                None => look += (bytes.len() - (MARK.len() - 1)) as u64,
            }
        }
    }

    /// A whole frame stands at `to` and none stood at `from`. What was being written when it was looked at first is whole
    /// by now, as bytes are appended in order; what is still no frame is damage.
    fn look_again(&mut self, file: &dyn DiskFile, from: u64, to: u64) -> io::Result<Step> {
        self.window = Window::default();
        if let Some(head) = self.frame_at(file, from)? {
            self.at = from + u64::from(head.len);
            return Ok(Step::Frame(head));
        }
        self.at = to;
        Ok(Step::Damage { from, to })
    }

    /// The bytes of the last frame's head.
    pub(crate) fn head_bytes(&self) -> &[u8] {
        self.part(0, self.head)
    }

    /// What follows the last frame's head; only its first section when whole frames are not checked.
    pub(crate) fn payload(&self) -> &[u8] {
        self.part(self.head, self.payload)
    }

    /// Where the last frame begins in the file.
    pub(crate) fn frame_start(&self) -> u64 {
        self.frame_start
    }

    fn part(&self, skip: usize, len: usize) -> &[u8] {
        self.window.get(self.frame_start + skip as u64, len).unwrap_or(&[])
    }
}
