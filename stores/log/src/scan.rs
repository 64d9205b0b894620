//! Going through a log in order.

use crate::frame::{Facts, Head};
use crate::header::HEADER_LEN;
use crate::reader::{Reader, Record, read_body, record};
use crate::segment::{Damage, OpenError, Segment, Step, Walk};
use crate::{Position, ReadError};
use std::cmp::Ordering;

/// How many damaged ranges a scan remembers; more are only logged.
const DAMAGE_MAX: usize = 1_000;

/// Goes through the records of a log in order. At the end it gives `None` and may be asked again later: it goes on
/// where it was. Damaged ranges are passed over, logged, and remembered in [`Scan::damage`].
pub struct Scan {
    reader: Reader,
    next: Position,
    durable: bool,
    current: Option<Current>,
    damage: Vec<Damage>,
    /// The kinds that are given, or all of them.
    kinds: Option<Vec<u8>>,
    /// Records from here on are not given.
    until: Option<Position>,
}

/// The segment that a scan is in.
struct Current {
    segment: Segment,
    walk: Walk,
    /// The segment that follows and where this one ends, once there is one.
    follower: Option<Follower>,
    /// Where the walk may go on after its end was reached, when more has been written.
    ended: bool,
}

impl Scan {
    pub(crate) fn new(reader: Reader, from: Option<Position>, durable: bool) -> Scan {
        Scan {
            reader,
            next: from.unwrap_or_default(),
            durable,
            current: None,
            damage: Vec::new(),
            kinds: None,
            until: None,
        }
    }

    /// Gives only records of these kinds. The others are not even decrypted.
    #[must_use]
    pub fn of_kinds(mut self, kinds: &[u8]) -> Scan {
        self.kinds = Some(kinds.to_vec());
        self
    }

    /// Ends before the record at `end`.
    #[must_use]
    pub fn until(mut self, end: Position) -> Scan {
        self.until = Some(end);
        self
    }

    /// Where the scan goes on: what was read stands before it.
    pub fn position(&self) -> Position {
        self.next
    }

    /// The ranges passed over so far.
    pub fn damage(&self) -> &[Damage] {
        &self.damage
    }

    fn durable_end(&self) -> Option<Position> {
        if self.durable { self.reader.durable_end() } else { None }
    }

    fn step(&mut self) -> Result<Option<Record>, ReadError> {
        let durable_end = self.durable_end();
        if durable_end.is_some_and(|end| self.next >= end) {
            return Ok(None);
        }
        loop {
            if self.current.is_none() && !self.enter(self.next.segment, durable_end)? {
                return Ok(None);
            }
            // Looked at after each record that is not given, too: behind the end of what is durable there is nothing to
            // look for, and to find out that no segment follows takes a look at all the directory.
            if durable_end.into_iter().chain(self.until).any(|end| self.next >= end) {
                return Ok(None);
            }
            let Some(current) = &mut self.current else { return Ok(None) };
            let closed = durable_end.is_some_and(|end| end.segment > current.segment.number);
            if current.follower.is_none() && (current.ended || closed) {
                current.follower = follower(&self.reader, current.segment.number)?;
            }
            current.ended = false;
            match current.walk.next(&*current.segment.file)? {
                Step::Frame(head) if current.is_behind_end(head.origin) => self.leave(),
                Step::Frame(head) => {
                    let here = Position { segment: current.segment.number, offset: head.origin };
                    if durable_end.into_iter().chain(self.until).any(|end| here >= end) {
                        current.walk.at = current.walk.frame_start();
                        return Ok(None);
                    }
                    if let Some(record) = self.take(&head)? {
                        return Ok(Some(record));
                    }
                }
                Step::Damage { from, to } => {
                    if current.follower.is_none() {
                        current.follower = follower(&self.reader, current.segment.number)?;
                    }
                    match current.is_behind_end(from) && !current.segment.header.rewritten {
                        true => self.leave(),
                        false => self.report(from, to, "no whole record"),
                    }
                }
                Step::End { from, to } => match current.follower {
                    None => {
                        current.ended = true;
                        current.follower = follower(&self.reader, current.segment.number)?;
                        if current.follower.is_none() {
                            return Ok(None);
                        }
                        // What was being written a moment ago is whole by now.
                        current.walk.at = from;
                    }
                    Some(follower) => {
                        if from < to && !current.segment.header.rewritten && from < follower.end {
                            self.report(from, to, "the end is no whole record");
                        }
                        self.leave();
                    }
                },
            }
        }
    }

    /// The record whose frame the walk has just passed, when it is one to be given.
    fn take(&mut self, head: &Head) -> Result<Option<Record>, ReadError> {
        let Some(current) = &self.current else { return Ok(None) };
        let segment = current.segment.number;
        if head.origin < self.next.offset && self.next.segment == segment {
            return Ok(None);
        }
        let next = Position { segment, offset: head.origin + u64::from(head.span) };
        let wanted = self.kinds.as_ref().is_none_or(|kinds| kinds.contains(&head.kind));
        if !wanted || head.is_run() {
            self.next = next;
            return Ok(None);
        }
        let record = current.record(head)?;
        if record.is_none() {
            let from = current.walk.frame_start();
            self.report(from, from + u64::from(head.len), "the record was altered");
        }
        self.next = next;
        Ok(record)
    }

    /// Opens the segment numbered `wanted` or the first after it; `false` when there is none.
    fn enter(&mut self, wanted: u64, durable_end: Option<Position>) -> Result<bool, ReadError> {
        let mut number = wanted.max(1);
        loop {
            match self.reader.segment(number) {
                Ok(segment) => {
                    let at = match (segment.header.rewritten, self.next.segment == number) {
                        (false, true) => self.next.offset,
                        _ => 0,
                    };
                    if self.next.segment != number {
                        self.next = Position { segment: number, offset: 0 };
                    }
                    // What is durable ends in this segment: none that follows has anything to say about it.
                    let follower = match durable_end.is_some_and(|end| end.segment <= number) {
                        true => None,
                        false => follower(&self.reader, number)?,
                    };
                    let walk = Walk::new(&segment.header, at);
                    self.current = Some(Current { segment, walk, follower, ended: false });
                    return Ok(true);
                }
                Err(OpenError::Missing | OpenError::Damaged { empty: true }) => {}
                Err(OpenError::Damaged { empty: false }) => {
                    self.note(Damage {
                        segment: number,
                        from: 0,
                        to: HEADER_LEN as u64,
                        why: "the header of the segment cannot be read".to_owned(),
                    });
                }
                Err(OpenError::Unreadable(error)) => return Err(error.into()),
                Err(OpenError::Disk(error)) => return Err(ReadError::Disk(error)),
            }
            match self.reader.segments()?.into_iter().find(|n| *n > number) {
                Some(next) => number = next,
                None => return Ok(false),
            }
        }
    }

    /// Goes on to the segment that follows.
    fn leave(&mut self) {
        if let Some(Current { follower: Some(follower), .. }) = self.current.take() {
            self.next = Position { segment: follower.number, offset: 0 };
        }
    }

    fn report(&mut self, from: u64, to: u64, why: &str) {
        let segment = self.current.as_ref().map_or(0, |current| current.segment.number);
        self.note(Damage { segment, from, to, why: why.to_owned() });
    }

    fn note(&mut self, damage: Damage) {
        tracing::warn!(
            dir = %self.reader.dir().display(),
            segment = damage.segment, from = damage.from, to = damage.to, why = damage.why,
            "a range of the log was passed over"
        );
        if self.damage.len() < DAMAGE_MAX && !self.damage.contains(&damage) {
            self.damage.push(damage);
        }
    }
}

impl Current {
    /// Whether a record that stood at `origin` was never acknowledged: the next segment says this one ends before.
    fn is_behind_end(&self, origin: u64) -> bool {
        self.follower.is_some_and(|follower| origin >= follower.end)
    }

    fn record(&self, head: &Head) -> Result<Option<Record>, ReadError> {
        let payload = self.walk.payload();
        let Some(facts) = Facts::read(&self.segment.key, head, self.walk.head_bytes(), payload) else {
            return Ok(None);
        };
        let body = match head.body_in_file() {
            true => read_body(&self.segment, self.walk.frame_start(), &facts)?,
            false => Vec::new(),
        };
        Ok(record(&self.segment, head, facts, &body))
    }
}

impl Iterator for Scan {
    type Item = Result<Record, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}

/// The segment that follows another, and what it says of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Follower {
    pub(crate) number: u64,
    /// Where the one before ends: nothing behind was ever acknowledged.
    pub(crate) end: u64,
    /// Whether the log was opened anew between the two.
    pub(crate) first: bool,
}

/// The next segment after `number` whose header can be read, and where it says that this one ends.
pub(crate) fn follower(reader: &Reader, number: u64) -> Result<Option<Follower>, ReadError> {
    let mut candidate = number + 1;
    loop {
        match reader.segment(candidate) {
            Ok(segment) => {
                let header = &segment.header;
                // One that goes on from an earlier segment says that nothing in this one counts; one that goes
                // on from a later segment, which cannot be read now, says nothing about this one.
                let end = match header.previous.cmp(&number) {
                    Ordering::Less => 0,
                    Ordering::Equal => header.previous_end,
                    Ordering::Greater => u64::MAX,
                };
                return Ok(Some(Follower { number: candidate, end, first: header.first }));
            }
            Err(OpenError::Unreadable(error)) => return Err(error.into()),
            Err(OpenError::Disk(error)) => return Err(ReadError::Disk(error)),
            Err(OpenError::Missing | OpenError::Damaged { .. }) => {}
        }
        match reader.segments()?.into_iter().find(|n| *n > candidate) {
            Some(next) => candidate = next,
            None => return Ok(None),
        }
    }
}
