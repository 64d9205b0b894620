//! What the logs say is done already, read once at a start.

use crate::stops::Stops;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use stores_ledger::{Act, Entry, Ledger, QueueAct, Restored, Settlement};
use stores_log::Position;
use stores_mailbox::Mailboxes;
use words_mail::{Address, Destination, Outcome, TraceId};

/// One recipient of one message, here or onward. Onward to where does not tell errands apart: a primary that got another
/// name in the configuration must not get all its mail again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Errand {
    pub(crate) trace: TraceId,
    whom: u64,
    here: bool,
}

/// At the end of the words of a mailbox settlement when the message goes nowhere else. At a start it says that a primary
/// which the account has now was not there when the message came, and has no claim to it.
pub(crate) const HERE_ONLY: &str = "its only place";

impl Errand {
    pub(crate) fn new(trace: TraceId, recipient: &Address, destination: &Destination) -> Errand {
        let mut hasher = DefaultHasher::new();
        recipient.key().hash(&mut hasher);
        Errand { trace, whom: hasher.finish(), here: *destination == Destination::Mailbox }
    }

    pub(crate) fn of(settlement: &Settlement) -> Errand {
        Errand::new(settlement.trace, &settlement.recipient, &settlement.destination)
    }
}

/// What is known of an errand that is not done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tried {
    /// The highest number of an attempt.
    pub(crate) number: u32,
    /// Attempts whose outcome nobody knows.
    pub(crate) unknowns: u32,
}

/// What happened before this start.
#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) done: HashSet<Errand>,
    /// Settled, but a person may take it up again: parked, refused without a report, expired.
    pub(crate) listed: BTreeMap<Errand, Settlement>,
    /// Attempts with a known outcome, and those known to be unknown.
    known: HashMap<Errand, (u32, u32)>,
    /// Let out of quarantine, whatever is still to be done about them.
    released: HashSet<Errand>,
    /// Up to where the journal came out of a backup: what is not settled before that may have been.
    restored: Option<Position>,
    /// What an answer was written down for since.
    answered_since: HashSet<Errand>,
    /// Taken up again by a person because its destination lost it; nothing was heard of it since.
    again: HashSet<Errand>,
    tried: HashMap<Errand, Tried>,
    /// What people did to the queue, in order, still to be obeyed by what is not done.
    pub(crate) acts: VecDeque<QueueAct>,
    /// What people let wait.
    pub(crate) stops: Stops,
    /// Where reading the ledger goes on.
    pub(crate) ledger: Option<Position>,
}

/// Whether a person may take a settled errand up again.
pub(crate) fn is_listed(outcome: &Outcome) -> bool {
    matches!(
        outcome,
        Outcome::Parked { .. }
            | Outcome::Quarantined { .. }
            | Outcome::Refused { bounced: false, .. }
            | Outcome::Expired { .. }
    )
}

/// Whether an act is about a recipient of a message at a destination.
pub(crate) fn is_about(
    act: &QueueAct,
    trace: TraceId,
    recipient: &Address,
    destination: &Destination,
) -> bool {
    act.trace.is_none_or(|wanted| wanted == trace)
        && act.recipient.as_ref().is_none_or(|wanted| wanted == recipient)
        && act.destination.as_ref().is_none_or(|wanted| wanted == destination)
}

/// Whether what was done to the queue reaches an errand that is listed so. What is in quarantine comes out of it only by
/// being released or deleted: trying "everything" again must not let a virus in, and giving it back or sending it elsewhere
/// would pass it on.
pub(crate) fn reaches(act: &Act, outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Quarantined { .. } => matches!(act, Act::Release | Act::Delete),
        _ => *act != Act::Release,
    }
}

/// Acts kept at most; older ones were obeyed long ago.
const ACTS_MAX: usize = 10_000;

impl History {
    /// Reads ledger and attempts. Blocks on the disk.
    ///
    /// # Errors
    /// When one of them cannot be read, in words: delivery must not begin then, for it could double.
    pub(crate) fn read(
        ledger: &Ledger,
        mailboxes: &Mailboxes,
        listed_most: usize,
    ) -> Result<History, String> {
        let mut history = History::default();
        let mut scan = ledger.reader().scan_settlements(None);
        for entered in &mut scan {
            match entered.map_err(|e| format!("the ledger cannot be read: {e}"))?.entry {
                Entry::Settlement(settlement) => history.settlement(settlement, listed_most),
                Entry::QueueAct(act) => history.act(act),
                Entry::Restored(restored) => history.restored(&restored),
                _ => {}
            }
        }
        history.ledger = Some(scan.position());
        let attempts =
            mailboxes.attempts().map_err(|e| format!("the delivery attempts cannot be read: {e}"))?;
        for (attempt, _) in attempts {
            let errand = Errand::new(attempt.trace, &attempt.recipient, &attempt.destination);
            if !history.done.contains(&errand) {
                history.attempt(errand, attempt.number);
            }
        }
        for (errand, (number, unknowns)) in std::mem::take(&mut history.known) {
            let tried = history.tried.entry(errand).or_default();
            tried.number = tried.number.max(number);
            tried.unknowns += unknowns;
        }
        Ok(history)
    }

    fn settlement(&mut self, settlement: Settlement, listed_most: usize) {
        let errand = Errand::of(&settlement);
        if settlement.outcome != Outcome::Unknown {
            if self.restored.is_some() {
                self.answered_since.insert(errand);
            }
            self.again.remove(&errand);
        }
        if !settlement.outcome.is_final() {
            let known = self.known.entry(errand).or_default();
            known.0 = known.0.max(settlement.attempt);
            known.1 += u32::from(settlement.outcome == Outcome::Unknown);
            return;
        }
        self.known.remove(&errand);
        self.done.insert(errand);
        if let Outcome::HandedOver { reply } = &settlement.outcome
            && errand.here
            && reply.text.ends_with(HERE_ONLY)
        {
            self.done.insert(Errand { here: false, ..errand });
        }
        if is_listed(&settlement.outcome) {
            // A person may take it up again; then these attempts are no mystery.
            self.known.insert(errand, (settlement.attempt, 0));
            self.listed.insert(errand, settlement);
            while self.listed.len() > listed_most {
                self.listed.pop_first();
            }
        } else {
            self.listed.remove(&errand);
        }
    }

    fn restored(&mut self, restored: &Restored) {
        self.restored = Some(restored.journal);
        self.answered_since.clear();
    }

    fn act(&mut self, act: QueueAct) {
        if matches!(act.act, Act::Redeliver { .. })
            && let (Some(trace), Some(recipient), Some(destination)) =
                (act.trace, &act.recipient, &act.destination)
        {
            let errand = Errand::new(trace, recipient, destination);
            self.listed.remove(&errand);
            self.done.remove(&errand);
            self.again.insert(errand);
        }
        if matches!(act.act, Act::Retry | Act::Release) {
            let again: Vec<Errand> = self
                .listed
                .iter()
                .filter(|(_, s)| is_about(&act, s.trace, &s.recipient, &s.destination))
                .filter(|(_, s)| reaches(&act.act, &s.outcome))
                .map(|(errand, _)| *errand)
                .collect();
            for errand in again {
                self.listed.remove(&errand);
                self.done.remove(&errand);
                if act.act == Act::Release {
                    self.released.insert(Errand { here: false, ..errand });
                }
            }
        }
        self.stops.add(&act);
        if matches!(act.act, Act::Delete | Act::Bounce | Act::Redirect { .. }) {
            self.acts.push_back(act);
            if self.acts.len() > ACTS_MAX {
                self.acts.pop_front();
            }
        }
    }

    fn attempt(&mut self, errand: Errand, number: u32) {
        let answered = self.known.get(&errand).map_or(0, |(number, _)| *number);
        let tried = self.tried.entry(errand).or_default();
        tried.number = tried.number.max(number);
        // Recorded before the final dot, and nothing was heard of it since: it may be there.
        tried.unknowns += u32::from(number > answered);
    }

    /// Whether a message was let out of quarantine for a recipient.
    pub(crate) fn is_released(&self, trace: TraceId, recipient: &Address) -> bool {
        let destination = Destination::Internet(String::new());
        !self.released.is_empty() && self.released.contains(&Errand::new(trace, recipient, &destination))
    }

    /// What is known of an errand that is not done, of a message that stands at `position` in the journal.
    pub(crate) fn tried(&self, errand: &Errand, position: Position) -> Tried {
        let mut tried = self.tried.get(errand).copied().unwrap_or_default();
        let before = self.restored.is_some_and(|until| position < until);
        if self.again.contains(errand) {
            // What was tried before it was settled is no mystery.
            tried.unknowns = 1;
        } else if before && !self.answered_since.contains(errand) {
            // It may have been handed over after the backup was made.
            tried.unknowns = tried.unknowns.max(1);
        }
        tried
    }
}
