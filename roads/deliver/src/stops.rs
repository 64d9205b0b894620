//! Which mail people let wait.
//!
//! A pause has a scope: everything, one destination, one recipient, one message. What is said about the narrower scope
//! counts, as with orders; within one scope the newer word. So a person may resume one primary while all else waits, and
//! what was paused by itself goes on waiting when everything is resumed. An exception belongs to the pause it is made from:
//! it ends with it, and a new pause of a scope forgets the exceptions inside it.

use crate::history::is_about;
use crate::lane::LaneName;
use crate::queue::Queue;
use stores_ledger::{Act, QueueAct};
use words_mail::{Address, Destination, TraceId};

/// Pauses and exceptions remembered at most; a person cannot set more by hand.
const STOPS_MAX: usize = 1_000;

/// Which mail people let wait.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stops {
    /// Pauses, and resumptions that are exceptions to a wider pause, oldest first.
    acts: Vec<QueueAct>,
}

/// How narrow a scope is: a message before a recipient before a destination before everything.
fn narrowness(act: &QueueAct) -> u8 {
    u8::from(act.trace.is_some()) * 4
        + u8::from(act.recipient.is_some()) * 2
        + u8::from(act.destination.is_some())
}

/// Whether all that `inner` is about is also what `outer` is about.
fn contains(outer: &QueueAct, inner: &QueueAct) -> bool {
    outer.trace.is_none_or(|trace| inner.trace == Some(trace))
        && outer.recipient.as_ref().is_none_or(|one| inner.recipient.as_ref() == Some(one))
        && outer.destination.as_ref().is_none_or(|one| inner.destination.as_ref() == Some(one))
}

/// Whether something may be what both are about.
fn meet(one: &QueueAct, other: &QueueAct) -> bool {
    fn agree<T: PartialEq>(one: Option<&T>, other: Option<&T>) -> bool {
        one.zip(other).is_none_or(|(one, other)| one == other)
    }
    agree(one.trace.as_ref(), other.trace.as_ref())
        && agree(one.recipient.as_ref(), other.recipient.as_ref())
        && agree(one.destination.as_ref(), other.destination.as_ref())
}

fn same_scope(one: &QueueAct, other: &QueueAct) -> bool {
    contains(one, other) && contains(other, one)
}

pub(crate) fn lane_of(destination: &Destination) -> LaneName {
    match destination {
        Destination::Primary(primary) => LaneName::Primary(primary.clone()),
        Destination::Internet(domain) => LaneName::Domain(domain.clone()),
        Destination::Mailbox => LaneName::Mailbox,
    }
}

impl Stops {
    /// Remembers a pause, or forgets the one that a resumption ends.
    pub(crate) fn add(&mut self, act: &QueueAct) {
        if !matches!(act.act, Act::Pause | Act::Resume) {
            return;
        }
        self.acts
            .retain(|known| !same_scope(known, act) && (known.act == Act::Pause || !contains(act, known)));
        if act.act == Act::Pause || self.is_exception(act) {
            self.remember(act);
        }
        if act.act == Act::Resume {
            // With a pause its exceptions end.
            let left = self.clone();
            self.acts.retain(|known| known.act == Act::Pause || left.is_exception(known));
        }
    }

    /// Whether a wider pause holds what a resumption is about.
    fn is_exception(&self, resume: &QueueAct) -> bool {
        let wider = |pause: &&QueueAct| pause.act == Act::Pause && narrowness(pause) < narrowness(resume);
        self.acts.iter().filter(wider).any(|pause| meet(pause, resume))
    }

    fn remember(&mut self, act: &QueueAct) {
        if self.acts.len() < STOPS_MAX {
            self.acts.push(act.clone());
        } else {
            tracing::error!("too many pauses of the queue; resume some first");
        }
    }

    /// The pause by which a recipient waits, if one does.
    pub(crate) fn stopped_by(
        &self,
        trace: TraceId,
        recipient: &Address,
        destination: &Destination,
    ) -> Option<&QueueAct> {
        if *destination == Destination::Mailbox {
            return None;
        }
        let about = self.acts.iter().filter(|act| is_about(act, trace, recipient, destination));
        // Of several that are equally narrow the last, which is the newest.
        about.max_by_key(|act| narrowness(act)).filter(|act| act.act == Act::Pause)
    }

    /// The pauses in force, oldest first.
    pub(crate) fn pauses(&self) -> impl Iterator<Item = &QueueAct> {
        self.acts.iter().filter(|act| act.act == Act::Pause)
    }

    /// Whether a recipient waits because a person said so.
    pub(crate) fn is_stopped(&self, trace: TraceId, recipient: &Address, destination: &Destination) -> bool {
        self.stopped_by(trace, recipient, destination).is_some()
    }

    /// Halts the lanes that are paused as a whole, and lets the others go. Where something is excepted each message is
    /// stopped by itself.
    pub(crate) fn halt(&self, queue: &mut Queue, also: Option<&Destination>) {
        let named = self.acts.iter().filter_map(|act| act.destination.as_ref()).chain(also);
        let lanes: Vec<(LaneName, bool)> =
            named.map(|destination| (lane_of(destination), self.is_whole(destination))).collect();
        for (lane, halted) in lanes {
            queue.halt(&lane, halted);
        }
    }

    fn is_whole(&self, destination: &Destination) -> bool {
        let is_lane = |act: &QueueAct| act.trace.is_none() && act.recipient.is_none();
        let of_it = |act: &&QueueAct| act.destination.as_ref().is_none_or(|known| known == destination);
        let mut paused =
            self.acts.iter().filter(of_it).filter(|act| is_lane(act) && act.destination.is_some());
        let paused = paused.next_back().is_some_and(|act| act.act == Act::Pause);
        let excepted = self.acts.iter().filter(of_it).any(|act| act.act == Act::Resume && !is_lane(act));
        paused && !excepted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use words_mail::{PrimaryId, Time};

    const ANNA: &str = "anna@x.example";

    fn trace(n: u8) -> TraceId {
        TraceId::new(Time::from_seconds(1_795_343_827), [n; 10])
    }

    fn office() -> Destination {
        Destination::Primary(PrimaryId("office".into()))
    }

    fn elsewhere() -> Destination {
        Destination::Internet("y.example".into())
    }

    /// A scope as a person names it.
    fn scope(words: &str) -> (Option<TraceId>, Option<Address>, Option<Destination>) {
        let anna = || Address::parse(ANNA).ok();
        match words {
            "all" => (None, None, None),
            "primary" => (None, None, Some(office())),
            "domain" => (None, None, Some(elsewhere())),
            "account" => (None, anna(), None),
            "message" => (Some(trace(1)), anna(), Some(office())),
            other => panic!("{other}"),
        }
    }

    fn after(acts: &[(Act, &str)]) -> Stops {
        let mut stops = Stops::default();
        for (act, words) in acts {
            let (trace, recipient, destination) = scope(words);
            let (at, by, reason) = (Time(0), "anna".to_owned(), String::new());
            stops.add(&QueueAct { at, by, reason, act: act.clone(), trace, recipient, destination });
        }
        stops
    }

    /// Who waits: Anna's message, another of hers, Bert's at the same primary, and one for another organisation.
    fn waits(stops: &Stops) -> [bool; 4] {
        let bert = "bert@x.example";
        let all = [
            (1, ANNA, office()),
            (2, ANNA, office()),
            (3, bert, office()),
            (4, "carl@y.example", elsewhere()),
        ];
        all.map(|(n, who, to)| stops.is_stopped(trace(n), &Address::parse(who).unwrap(), &to))
    }

    #[test]
    fn the_narrower_scope_wins_and_in_one_scope_the_newer_word() {
        use Act::{Pause as P, Resume as R};
        let (yes, no) = (true, false);
        type Said = [(Act, &'static str)];
        let table: &[(&Said, [bool; 4])] = &[
            (&[(P, "all")], [yes; 4]),
            (&[(P, "all"), (R, "all")], [no; 4]),
            (&[(P, "primary")], [yes, yes, yes, no]),
            (&[(P, "domain")], [no, no, no, yes]),
            (&[(P, "account")], [yes, yes, no, no]),
            (&[(P, "message")], [yes, no, no, no]),
            // An exception to something wider.
            (&[(P, "all"), (R, "primary")], [no, no, no, yes]),
            (&[(P, "all"), (R, "domain")], [yes, yes, yes, no]),
            (&[(P, "all"), (R, "account")], [no, no, yes, yes]),
            (&[(P, "all"), (R, "message")], [no, yes, yes, yes]),
            (&[(P, "primary"), (R, "account")], [no, no, yes, no]),
            (&[(P, "primary"), (R, "message")], [no, yes, yes, no]),
            (&[(P, "account"), (R, "message")], [no, yes, no, no]),
            // Something narrower goes on waiting when the wider is resumed.
            (&[(P, "primary"), (R, "all")], [yes, yes, yes, no]),
            (&[(P, "all"), (P, "account"), (R, "all")], [yes, yes, no, no]),
            (&[(P, "all"), (P, "account"), (R, "primary")], [yes, yes, no, yes]),
            (&[(P, "message"), (P, "primary"), (R, "primary")], [yes, no, no, no]),
            (&[(P, "account"), (P, "domain"), (R, "account")], [no, no, no, yes]),
            // Between an account and its primary the account is the narrower.
            (&[(P, "account"), (R, "primary")], [yes, yes, no, no]),
            // An exception to an exception.
            (&[(P, "all"), (R, "primary"), (P, "account")], [yes, yes, no, yes]),
            (&[(P, "all"), (R, "primary"), (P, "account"), (R, "message")], [no, yes, no, yes]),
            // Exceptions end with what they were made from: a new pause is whole.
            (&[(P, "all"), (R, "primary"), (P, "all")], [yes; 4]),
            (&[(P, "all"), (R, "primary"), (R, "all"), (P, "all")], [yes; 4]),
            (&[(R, "primary"), (P, "all")], [yes; 4]),
            (&[(P, "primary"), (R, "message"), (P, "primary")], [yes, yes, yes, no]),
            // Said twice is said once.
            (&[(P, "all"), (P, "all"), (R, "all")], [no; 4]),
        ];
        for (acts, expected) in table {
            assert_eq!(waits(&after(acts)), *expected, "{acts:?}");
        }
    }

    #[test]
    fn what_was_resumed_is_not_remembered() {
        use Act::{Pause as P, Resume as R};
        let done =
            after(&[(P, "all"), (R, "primary"), (R, "message"), (P, "domain"), (R, "domain"), (R, "all")]);
        assert!(done.acts.is_empty(), "{:?}", done.acts);
    }

    #[test]
    fn what_is_full_says_so_and_forgets_no_pause() {
        let mut stops = after(&[(Act::Pause, "primary")]);
        for n in 0..2_000u32 {
            let recipient = Address::parse(&format!("p{n}@x.example")).ok();
            let (at, by, reason) = (Time(0), "anna".to_owned(), String::new());
            let act = Act::Pause;
            stops.add(&QueueAct { at, by, reason, act, trace: None, recipient, destination: None });
        }
        assert_eq!(stops.acts.len(), STOPS_MAX);
        assert!(waits(&stops)[2], "the pause of the primary");
    }
}
