//! Reading everything and checking that it is what was written, in the order in which it was written.

use crate::body::StoredName;
use crate::copy::RunNote;
use crate::frame::{self, Facts, Head, chain_hash, content_hash};
use crate::header::Hash;
use crate::reader::Reader;
use crate::scan::follower;
use crate::segment::{Damage, OpenError, Segment, Step, Walk};
use crate::{Position, ReadError};
use std::io::Read;

/// The most problems that are listed; all are counted.
const PROBLEMS_MAX: usize = 10_000;
/// Bytes of a body file read at once.
const READ_AT_ONCE: usize = 64 << 10;

/// What a check found so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Segments read.
    pub segments: u64,
    /// Records whose content is what was written.
    pub records: u64,
    /// Records whose content was erased; hash and chain are right.
    pub erased: u64,
    /// Records that were collected and of which only the chain's value is left.
    pub collected: u64,
    /// Body files that are what was written.
    pub bodies: u64,
    /// Ranges of writes that were cut short and never acknowledged. They are no fault.
    pub torn: u64,
    /// The first sequence number there is; above 1 when the beginning was removed.
    pub first_seq: u64,
    /// The last one.
    pub last_seq: u64,
    /// How many problems there are, not counting a tail.
    pub problem_count: u64,
    /// The problems, the first ten thousand of them.
    pub problems: Vec<Problem>,
}

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// A range holds no whole record.
    Damaged(Damage),
    /// The last segment ends in something that is no whole record: a write cut short, or rot.
    Tail(Damage),
    /// Records are missing.
    Missing {
        /// The first missing sequence number.
        from: u64,
        /// The last one.
        to: u64,
    },
    /// A record's content is not what its hash says.
    Altered {
        /// Its sequence number.
        seq: u64,
        /// Where it stands.
        position: Position,
        /// What is wrong, in words.
        why: String,
    },
    /// A record does not follow from the one before it.
    Chain {
        /// Its sequence number.
        seq: u64,
        /// Where it stands.
        position: Position,
    },
    /// The file of a body is missing or was altered.
    Body {
        /// The record's sequence number.
        seq: u64,
        /// Where it stands.
        position: Position,
        /// What is wrong, in words.
        why: String,
    },
}

impl Verified {
    /// Whether everything is as it was written. A write cut short at the very end is told but is no fault: it may
    /// be going on right now, and unless it has rotted nothing there was acknowledged.
    pub fn is_clean(&self) -> bool {
        self.problem_count == 0
    }

    fn note(&mut self, problem: Problem) {
        self.problem_count += u64::from(!matches!(problem, Problem::Tail(_)));
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem);
        }
    }
}

impl Reader {
    /// Reads the whole log and checks every checksum, hash, body and link of the chain. `progress` is told after
    /// every segment. Blocks for long.
    ///
    /// # Errors
    /// When the disk cannot be read or a key is missing. What is wrong with the log itself is in the result.
    pub fn verify(&self, progress: &mut dyn FnMut(&Verified)) -> Result<Verified, ReadError> {
        let mut check = Check { reader: self, verified: Verified::default(), before: None };
        for number in self.segments()? {
            check.segment(number)?;
            progress(&check.verified);
        }
        Ok(check.verified)
    }
}

/// What was found missing in one segment, each with the first sequence number that is.
struct Gaps {
    /// The first sequence number of the last batch in the segment.
    last_batch: u64,
    found: Vec<(u64, Problem)>,
}

struct Check<'a> {
    reader: &'a Reader,
    verified: Verified,
    /// Sequence number and chain after the last record; `None` before the first.
    before: Option<(u64, Hash)>,
}

impl Check<'_> {
    fn segment(&mut self, number: u64) -> Result<(), ReadError> {
        let segment = match self.reader.segment(number) {
            Ok(segment) => segment,
            Err(OpenError::Missing | OpenError::Damaged { empty: true }) => return Ok(()),
            Err(OpenError::Damaged { empty: false }) => {
                let why = "the header of the segment cannot be read".to_owned();
                self.verified.note(Problem::Damaged(Damage { segment: number, from: 0, to: 0, why }));
                return Ok(());
            }
            Err(OpenError::Unreadable(error)) => return Err(error.into()),
            Err(OpenError::Disk(error)) => return Err(ReadError::Disk(error)),
        };
        self.verified.segments += 1;
        let header = &segment.header;
        match self.before {
            None => {
                self.verified.first_seq = header.first_seq;
                self.before = Some((header.first_seq.saturating_sub(1), header.previous_chain));
            }
            Some((seq, _)) if seq + 1 < header.first_seq => {
                self.verified.note(Problem::Missing { from: seq + 1, to: header.first_seq - 1 });
                self.before = Some((header.first_seq - 1, header.previous_chain));
            }
            Some((seq, chain)) if seq + 1 == header.first_seq && chain != header.previous_chain => {
                let position = Position { segment: number, offset: 0 };
                self.verified.note(Problem::Chain { seq: header.first_seq, position });
                self.before = Some((seq, header.previous_chain));
            }
            Some(_) => {}
        }
        self.frames(&segment)
    }

    fn frames(&mut self, segment: &Segment) -> Result<(), ReadError> {
        let next = follower(self.reader, segment.number)?;
        let end = match next {
            Some(follower) if !segment.header.rewritten => follower.end,
            _ => u64::MAX,
        };
        let mut gaps = Gaps { last_batch: 0, found: Vec::new() };
        let mut walk = Walk::new(&segment.header, 0).checking_all();
        loop {
            let (from, to, at_end) = match walk.next(&*segment.file)? {
                Step::Frame(head) if head.origin >= end => break,
                Step::Frame(head) => {
                    gaps.last_batch = gaps.last_batch.max(head.batch_start());
                    self.frame(segment, &head, &walk, &mut gaps)?;
                    continue;
                }
                Step::Damage { from, .. } if from >= end => break,
                Step::End { from, to } if from == to || from >= end => break,
                Step::Damage { from, to } => (from, to, false),
                Step::End { from, to } => (from, to, true),
            };
            let why = "no whole record".to_owned();
            let damage = Damage { segment: segment.number, from, to, why };
            if at_end {
                let is_tail = next.is_none();
                self.verified.note(if is_tail { Problem::Tail(damage) } else { Problem::Damaged(damage) });
                break;
            }
            let seq = self.before.map_or(0, |(seq, _)| seq);
            gaps.found.push((seq + 1, Problem::Damaged(damage)));
        }
        // A write is begun only after the one before it was synced. So what is missing from the last batch of a
        // segment was never acknowledged, if the log was then opened anew instead of going on.
        let cut_short = next.is_none_or(|follower| follower.first);
        for (seq, problem) in gaps.found {
            if cut_short && seq >= gaps.last_batch {
                self.verified.torn += u64::from(matches!(problem, Problem::Damaged(_)));
            } else {
                self.verified.note(problem);
            }
        }
        Ok(())
    }

    fn frame(
        &mut self,
        segment: &Segment,
        head: &Head,
        walk: &Walk,
        gaps: &mut Gaps,
    ) -> Result<(), ReadError> {
        let position = Position { segment: segment.number, offset: head.origin };
        let (mut seq, mut chain) = self.before.unwrap_or_default();
        let facts = Facts::read(&segment.key, head, walk.head_bytes(), walk.payload());
        let run = facts.as_ref().filter(|_| head.is_run());
        let first = match run {
            Some(facts) => serde_json::from_slice::<RunNote>(&facts.meta).map_or(head.seq, |note| note.first),
            None => head.seq,
        };
        if first > seq + 1 {
            gaps.found.push((seq + 1, Problem::Missing { from: seq + 1, to: first - 1 }));
        }
        // Behind a gap the chain cannot be followed; it goes on from what the record itself says.
        let follows =
            first != seq + 1 || head.is_run() || chain_hash(&chain, head.seq, &head.content) == head.chain;
        if !follows || head.seq <= seq {
            self.verified.note(Problem::Chain { seq: head.seq, position });
        }
        (seq, chain) = (head.seq, head.chain);
        self.before = Some((seq, chain));
        self.verified.last_seq = seq;
        let altered = |why: &str| Problem::Altered { seq, position, why: why.to_owned() };
        let Some(facts) = facts else {
            self.verified.note(altered("it cannot be decrypted"));
            return Ok(());
        };
        if head.is_run() {
            self.verified.collected += head.seq + 1 - first;
            return Ok(());
        }
        if head.is_erased() {
            self.verified.erased += 1;
            return Ok(());
        }
        let sealed = walk.payload().get(head.meta_len()..).unwrap_or_default();
        let body = frame::read_body(&segment.key, head, walk.head_bytes(), sealed, facts.body_len);
        let content = body.as_ref().and_then(|body| content_of(head, &facts, body));
        match (&body, content) {
            (Some(_), Some(content)) if is_intact(head, &facts, &content) => {}
            _ => {
                self.verified.note(altered("its content is not what its hash says"));
                return Ok(());
            }
        }
        self.verified.records += 1;
        if let Some(name) = body.as_deref().and_then(StoredName::read).filter(|_| head.body_in_file()) {
            match self.body_problem(&name)? {
                None => self.verified.bodies += 1,
                Some(why) => self.verified.note(Problem::Body { seq, position, why }),
            }
        }
        Ok(())
    }

    /// Reads a body file to its end; what is wrong with it, if anything.
    fn body_problem(&self, name: &StoredName) -> Result<Option<String>, ReadError> {
        let mut body = match self.reader.file_body(name) {
            Ok(body) => body,
            Err(error @ (ReadError::NoBody(_) | ReadError::BodyDamaged(_))) => {
                return Ok(Some(error.to_string()));
            }
            Err(error) => return Err(error),
        };
        let mut hasher = blake3::Hasher::new();
        let mut bytes = vec![0; READ_AT_ONCE];
        loop {
            match body.read(&mut bytes) {
                Ok(0) => break,
                Ok(count) => drop(hasher.update(&bytes[..count])),
                Err(error) => return Ok(Some(error.to_string())),
            }
        }
        let same = *hasher.finalize().as_bytes() == name.hash;
        Ok((!same).then(|| "it is not what its hash says".to_owned()))
    }
}

/// Length and hash of the body that a record's second section holds or names.
pub(crate) fn content_of(head: &Head, facts: &Facts, body: &[u8]) -> Option<(u64, Hash)> {
    if head.body_in_file() {
        let name = StoredName::read(body)?;
        return Some((name.len, name.hash));
    }
    (body.len() as u64 == facts.body_len).then(|| (facts.body_len, *blake3::hash(body).as_bytes()))
}

/// Whether the content is what the hash in the head says. Of erased records only the head is left.
pub(crate) fn is_intact(head: &Head, facts: &Facts, body: &(u64, Hash)) -> bool {
    head.is_erased()
        || head.is_run()
        || content_hash(&facts.salt, head.kind, &facts.meta, body.0, &body.1) == head.content
}
