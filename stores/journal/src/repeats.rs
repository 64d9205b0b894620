//! A sender who did not hear our `250` sends again: for a day that is answered `250` with the first trace id.
//!
//! Only messages whose sender is not known to have heard the `250` are in the table, so it is small: what is under
//! way now, and what was broken off within a day. A checkpoint in the journal, written about every thousand
//! messages and once in each segment, spares a start from reading a day of journal.

use crate::record::{Accepted, CHECKPOINT, Checkpoint, MESSAGE, REPLIED, Replied, Unheard, replied, write};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use stores_log::{Body, Draft, Position, Reader, Record};
use words_mail::{Envelope, Tenant, Time, TraceId};

/// How long a repeat is recognised.
const WINDOW: Duration = Duration::from_secs(24 * 3_600);
/// The most messages in the table. Beyond it the oldest are forgotten: a repeat of one would be a message anew.
const UNHEARD_MAX: usize = 50_000;
/// The most messages in a checkpoint.
const CHECKPOINT_MAX: usize = 8_000;
/// The fewest messages between two checkpoints in one segment.
const CHECKPOINT_EVERY: usize = 1_000;
/// The most messages whose reply is noted in one record, and how long the first of them may wait for the others.
const HEARD_MAX: usize = 64;
const HEARD_AFTER: Duration = Duration::from_millis(100);

/// What makes two transactions the same: who sent what to whom for which tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The peer does not count: a sender with several machines may try again from another.
    pub(crate) fn of(tenant: &Tenant, envelope: &Envelope, content: &[u8; 32]) -> Fingerprint {
        let mut hasher = blake3::Hasher::new();
        let mut add = |part: &str| {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        };
        add(&tenant.0);
        add(match envelope.source {
            words_mail::Source::Edge => "edge",
            words_mail::Source::Submission => "submission",
            words_mail::Source::Own => "own",
            words_mail::Source::Relay => "relay",
            words_mail::Source::Internal => "internal",
        });
        add(envelope.peer.account.as_ref().map_or("", |account| account.as_str()));
        add(&envelope.sender.address().map(|address| address.key()).unwrap_or_default());
        add(envelope.envid.as_deref().unwrap_or(""));
        let mut recipients: Vec<String> = envelope.recipients.iter().map(|r| r.address.key()).collect();
        recipients.sort_unstable();
        for recipient in &recipients {
            add(recipient);
        }
        hasher.update(content);
        Fingerprint(*hasher.finalize().as_bytes())
    }
}

struct Known {
    fingerprint: Fingerprint,
    at: Time,
    /// What was durable when it went to the log: it stands behind that.
    behind: Position,
    /// `None` until it is known to be durable.
    position: Option<Position>,
    /// How many sessions may still bring their sender the `250`.
    holders: u32,
}

/// The messages whose sender is not known to have heard the `250`.
#[derive(Default)]
pub(crate) struct Repeats {
    /// By id, which is by time of acceptance.
    known: BTreeMap<TraceId, Known>,
    /// Those that nobody holds any more.
    unheard: HashMap<Fingerprint, TraceId>,
    since_checkpoint: usize,
    checkpoint_segment: u64,
    /// Heard, but not yet in the log.
    heard: Vec<TraceId>,
    heard_written: Time,
}

impl Repeats {
    /// A message goes to the log, where `behind` is the end of what is durable; its session waits.
    pub(crate) fn begin(&mut self, fingerprint: Fingerprint, trace: TraceId, at: Time, behind: Position) {
        self.known.insert(trace, Known { fingerprint, at, behind, position: None, holders: 1 });
        while self.known.len() > UNHEARD_MAX {
            if let Some((oldest, known)) = self.known.pop_first() {
                self.unmark(&known.fingerprint, oldest);
            }
        }
    }

    /// It is durable.
    pub(crate) fn stored(&mut self, trace: TraceId, position: Position) {
        if let Some(known) = self.known.get_mut(&trace) {
            known.position = Some(position);
        }
        self.since_checkpoint += 1;
    }

    /// The first acceptance of the same transaction, if its sender did not hear of it. The asking session holds it
    /// from now on.
    pub(crate) fn take_up(&mut self, fingerprint: &Fingerprint, now: Time) -> Option<(TraceId, Position)> {
        let trace = *self.unheard.get(fingerprint)?;
        let known = self.known.get_mut(&trace)?;
        if now.since(known.at) > WINDOW {
            self.forget(trace);
            return None;
        }
        // One whose write was given up on by its session is not durable for certain, and does not count.
        let position = known.position?;
        known.holders += 1;
        self.unheard.remove(fingerprint);
        Some((trace, position))
    }

    /// A session that held the message has ended.
    pub(crate) fn let_go(&mut self, trace: TraceId) {
        let Some(known) = self.known.get_mut(&trace) else { return };
        known.holders = known.holders.saturating_sub(1);
        if known.holders == 0 {
            let fingerprint = known.fingerprint;
            self.unheard.insert(fingerprint, trace);
        }
    }

    /// Its sender heard, or it was not stored; `false` when it was not known.
    pub(crate) fn forget(&mut self, trace: TraceId) -> bool {
        match self.known.remove(&trace) {
            Some(known) => {
                self.unmark(&known.fingerprint, trace);
                true
            }
            None => false,
        }
    }

    /// Its sender heard. Gives a record when it is time for one: at once while little happens.
    pub(crate) fn heard(&mut self, trace: TraceId, now: Time) -> Option<Draft> {
        if self.forget(trace) {
            self.heard.push(trace);
        }
        let waited = now.since(self.heard_written) >= HEARD_AFTER || now < self.heard_written;
        if self.heard.is_empty() || (self.heard.len() < HEARD_MAX && !waited) {
            return None;
        }
        self.heard_written = now;
        Some(replied(std::mem::take(&mut self.heard)))
    }

    fn unmark(&mut self, fingerprint: &Fingerprint, trace: TraceId) {
        if self.unheard.get(fingerprint) == Some(&trace) {
            self.unheard.remove(fingerprint);
        }
    }

    pub(crate) fn checkpoint_is_due(&self, position: Position) -> bool {
        // The more there is to write down, the rarer: its cost stays small beside that of the messages.
        let every = self.known.len().max(CHECKPOINT_EVERY);
        self.since_checkpoint >= every || position.segment != self.checkpoint_segment
    }

    /// The record of all messages unheard now, when what stands before `durable` is durable.
    pub(crate) fn checkpoint(&mut self, durable: Position, now: Time) -> Draft {
        let expired: Vec<TraceId> = {
            let old = self.known.iter().filter(|(_, known)| now.since(known.at) > WINDOW);
            old.filter(|(_, known)| known.holders == 0).map(|(trace, _)| *trace).collect()
        };
        for trace in expired {
            self.forget(trace);
        }
        // A message may be durable already without its session having been told.
        let under_way = self.known.values().filter(|known| known.position.is_none());
        let since = under_way.map(|known| known.behind).min().unwrap_or(durable).min(durable);
        let durable_ones = self.known.iter().rev().filter_map(|(trace, known)| {
            let position = known.position?;
            let Fingerprint(fingerprint) = known.fingerprint;
            Some(Unheard { fingerprint, trace: *trace, position, at: known.at })
        });
        let unheard = durable_ones.take(CHECKPOINT_MAX).collect();
        let heard = std::mem::take(&mut self.heard);
        self.since_checkpoint = 0;
        self.checkpoint_segment = durable.segment;
        Draft { kind: CHECKPOINT, meta: write(&Checkpoint { since, unheard, heard }), body: Body::None }
    }

    /// The table as it was when the journal was last written, from its last checkpoint on. What cannot be read is
    /// missing from it: a repeat is then stored twice, which is better than not at all.
    pub(crate) fn rebuild(reader: &Reader, now: Time) -> Repeats {
        let mut repeats = Repeats::default();
        let segments = reader.segments().unwrap_or_default();
        let mut from = None;
        for segment in segments.iter().rev() {
            let start = Position { segment: *segment, offset: 0 };
            let mut newest = None;
            // A segment without records says nothing about its time.
            let mut old = false;
            let end = Position { segment: segment + 1, offset: 0 };
            for record in reader.scan(Some(start)).until(end).map_while(Result::ok) {
                old = now.since(record.at) > WINDOW;
                if record.kind == CHECKPOINT {
                    newest = serde_json::from_slice::<Checkpoint>(&record.meta).ok().or(newest);
                }
            }
            from = Some(start);
            if let Some(checkpoint) = newest {
                from = Some(checkpoint.since);
                checkpoint.unheard.into_iter().for_each(|unheard| repeats.remember(unheard));
                break;
            }
            if old {
                break;
            }
        }
        if let Some(from) = from {
            // A scan that fails stays where it is and fails again: reading ends there.
            reader.scan(Some(from)).map_while(Result::ok).for_each(|record| repeats.replay(&record));
        }
        let old: Vec<TraceId> =
            repeats.known.iter().filter(|(_, k)| now.since(k.at) > WINDOW).map(|(trace, _)| *trace).collect();
        for trace in old {
            repeats.forget(trace);
        }
        repeats
    }

    fn replay(&mut self, record: &Record) {
        match record.kind {
            MESSAGE if record.erased.is_none() => {
                if let Ok(accepted) = serde_json::from_slice::<Accepted>(&record.meta) {
                    let Fingerprint(fingerprint) =
                        Fingerprint::of(&accepted.tenant, &accepted.envelope, &accepted.content);
                    let (trace, at) = (accepted.trace, accepted.at);
                    self.remember(Unheard { fingerprint, trace, position: record.position, at });
                }
            }
            REPLIED => {
                if let Ok(replied) = serde_json::from_slice::<Replied>(&record.meta) {
                    for trace in replied.traces {
                        self.forget(trace);
                    }
                }
            }
            CHECKPOINT => {
                if let Ok(checkpoint) = serde_json::from_slice::<Checkpoint>(&record.meta) {
                    for trace in checkpoint.heard {
                        self.forget(trace);
                    }
                }
            }
            _ => {}
        }
    }

    fn remember(&mut self, unheard: Unheard) {
        let fingerprint = Fingerprint(unheard.fingerprint);
        self.begin(fingerprint, unheard.trace, unheard.at, unheard.position);
        self.stored(unheard.trace, unheard.position);
        self.let_go(unheard.trace);
    }
}
