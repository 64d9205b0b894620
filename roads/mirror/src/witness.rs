//! The proof: what we promised, against what stands in the primary's mailboxes.
//!
//! This file shares no identity, merge or state code with what it checks. It compares texts: the value of the header
//! that was put on top of a message, as it stands in the journal, with header values read out of the primary.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use words_mail::{AccountId, Address, EventId, Outcome, PrimaryId, Reply, Time};

/// One promise: a message acknowledged for one recipient of the primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promise {
    /// The value of the trace header that was put on top.
    pub stamp: String,
    /// When it was acknowledged.
    pub at: Time,
    /// Who sent it; empty for `<>`.
    pub from: String,
    /// The envelope recipient.
    pub to: Address,
    /// Whose mailbox it belongs in.
    pub account: AccountId,
    /// The last that delivery wrote down about it, if anything.
    pub last: Option<Outcome>,
    /// Its owner wrote it here: it belongs into the Sent folder there, and delivery says nothing about that.
    pub written_here: bool,
    /// It is not settled, and it is known to wait: it is neither lost nor proved yet.
    pub waits: bool,
}

/// One message met in the primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// In whose mail.
    pub account: AccountId,
    /// In which folder.
    pub folder: String,
    /// The value of its topmost trace header.
    pub stamp: String,
}

/// How an acknowledged message ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "ended")]
pub enum Ended {
    /// It stands in the primary.
    Seen {
        /// In which folder.
        folder: String,
    },
    /// The primary said yes, and it is not there.
    HandedOverNotSeen {
        /// Why that may be.
        why: String,
    },
    /// The primary said no for ever.
    Refused {
        /// Its words.
        reply: String,
    },
    /// It has not ended: it waits here, and is kept.
    Waits {
        /// What is known.
        why: String,
    },
    /// Anything else: a person must look.
    Exception {
        /// What is known.
        why: String,
    },
}

/// One acknowledged message in the report. It holds no subject and no body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The stamp by which it can be traced.
    pub stamp: String,
    /// When it was acknowledged.
    pub at: Time,
    /// Who sent it.
    pub from: String,
    /// To whom.
    pub to: Address,
    /// How it ended.
    #[serde(flatten)]
    pub ended: Ended,
}

/// How far the proof reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// Into the primary's mailboxes.
    Mailbox,
    /// To the primary's `250`, not into the mailbox: no credential to look there was given.
    Reply,
}

impl Reach {
    /// What a person reads in the report.
    pub fn words(self) -> &'static str {
        match self {
            Reach::Mailbox => "proved into the primary's mailboxes",
            Reach::Reply => {
                "proved to the primary's 250, not into the mailbox: no credential to look there is configured"
            }
        }
    }
}

/// The report that closes an event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Which event.
    pub event: EventId,
    /// Of which primary.
    pub primary: PrimaryId,
    /// From when acknowledged messages were looked at.
    pub from: Time,
    /// Until when.
    pub until: Time,
    /// When the mailboxes were looked at.
    pub looked: Time,
    /// How far the proof reaches.
    pub reach: Reach,
    /// Acknowledged, per recipient.
    pub accepted: u64,
    /// Ended: by an outcome of delivery, or found there.
    pub settled: u64,
    /// Found in the primary.
    pub seen: u64,
    /// Refused by the primary.
    pub refused: u64,
    /// Said yes to and not found.
    pub unseen: u64,
    /// Not settled, and known to wait here.
    #[serde(default)]
    pub waiting: u64,
    /// Acknowledged, and neither settled nor found nor waiting.
    pub lost: u64,
    /// Sender transactions that stand more than once in one folder.
    pub doubled: u64,
    /// Everything that did not end as seen, and every double.
    pub lines: Vec<Line>,
    /// Measured times, in seconds, by name.
    #[serde(default)]
    pub measured: BTreeMap<String, f64>,
    /// Changes that people made were not all carried over when this was made; they still are.
    #[serde(default)]
    pub changes_wait: bool,
}

impl Report {
    /// Whether a person has nothing to look at.
    pub fn is_clean(&self) -> bool {
        let open = self.lost + self.doubled + self.unseen + self.waiting;
        open == 0 && !self.changes_wait && self.exceptions().next().is_none()
    }

    /// What a person must look at, counted in words; `None` when it is clean.
    pub fn listed(&self) -> Option<String> {
        if self.is_clean() {
            return None;
        }
        // Each lost and each doubled one has a line of its own among the exceptions.
        let others = (self.exceptions().count() as u64).saturating_sub(self.lost + self.doubled);
        let counts = [
            (self.lost, "lost"),
            (self.doubled, "doubled"),
            (self.unseen, "handed over and not found there"),
            (self.waiting, "still waiting here"),
            (others, "set aside, expired, removed, or of unknown fate"),
        ];
        let counted = counts.iter().filter(|(count, _)| *count > 0);
        let mut words: Vec<String> = counted.map(|(count, what)| format!("{count} {what}")).collect();
        if self.changes_wait {
            words.push("people's changes not all carried over yet".to_owned());
        }
        Some(words.join(", "))
    }

    /// The lines that a person must look at.
    pub fn exceptions(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(|line| matches!(line.ended, Ended::Exception { .. }))
    }
}

/// What is being reconciled.
#[derive(Clone, Debug)]
pub struct Case {
    /// Which event.
    pub event: EventId,
    /// Of which primary.
    pub primary: PrimaryId,
    /// From when on acknowledged messages count.
    pub from: Time,
    /// Until when.
    pub until: Time,
    /// When the mailboxes were looked at.
    pub looked: Time,
}

/// Compares promises with sightings. `sightings` is `None` when nobody may look.
pub fn reconcile(case: &Case, promises: &[Promise], sightings: Option<&[Sighting]>) -> Report {
    let mut there: HashMap<(&AccountId, &str), Vec<&str>> = HashMap::new();
    for sighting in sightings.unwrap_or_default() {
        there.entry((&sighting.account, &sighting.stamp)).or_default().push(&sighting.folder);
    }
    let mut report = Report {
        event: case.event,
        primary: case.primary.clone(),
        from: case.from,
        until: case.until,
        looked: case.looked,
        reach: if sightings.is_some() { Reach::Mailbox } else { Reach::Reply },
        accepted: 0,
        settled: 0,
        seen: 0,
        refused: 0,
        unseen: 0,
        waiting: 0,
        lost: 0,
        doubled: 0,
        lines: Vec::new(),
        measured: BTreeMap::new(),
        changes_wait: false,
    };
    let mut asked_for: HashMap<(&AccountId, &str), usize> = HashMap::new();
    for promise in promises {
        *asked_for.entry((&promise.account, &promise.stamp)).or_default() += 1;
    }
    for promise in promises {
        let key = (&promise.account, promise.stamp.as_str());
        let folders = there.get(&key).map(Vec::as_slice).unwrap_or_default();
        judge(&mut report, promise, folders, asked_for.get(&key).copied().unwrap_or(1));
    }
    report
}

/// `expected` is in how many recipients one account stands in one transaction (its aliases): a primary may deliver to each.
fn judge(report: &mut Report, promise: &Promise, folders: &[&str], expected: usize) {
    report.accepted += 1;
    if !folders.is_empty() || promise.last.as_ref().is_some_and(Outcome::is_final) {
        report.settled += 1;
    }
    let ended = match folders.first() {
        Some(folder) => {
            report.seen += 1;
            Ended::Seen { folder: (*folder).to_owned() }
        }
        None if promise.waits && !promise.last.as_ref().is_some_and(Outcome::is_final) => {
            report.waiting += 1;
            Ended::Waits { why: waits(promise.last.as_ref()) }
        }
        None => unseen(report, promise.last.as_ref()),
    };
    let most = folders.iter().map(|f| folders.iter().filter(|g| *g == f).count()).max().unwrap_or(0);
    let line = |ended| Line {
        stamp: promise.stamp.clone(),
        at: promise.at,
        from: promise.from.clone(),
        to: promise.to.clone(),
        ended,
    };
    if most > expected {
        report.doubled += 1;
        report
            .lines
            .push(line(Ended::Exception { why: format!("it stands {most} times in {:?}", folders[0]) }));
    } else if !matches!(ended, Ended::Seen { .. }) {
        report.lines.push(line(ended));
    }
}

fn waits(last: Option<&Outcome>) -> String {
    match last {
        Some(Outcome::Deferred { reply }) => format!("it waits; last heard: {reply}"),
        Some(_) => "the connection broke after the final dot; it is asked about".to_owned(),
        None => "it waits".to_owned(),
    }
}

fn unseen(report: &mut Report, last: Option<&Outcome>) -> Ended {
    let words = |reply: &Reply| reply.to_string();
    match (last, report.reach) {
        (Some(Outcome::Seen { folder }), Reach::Reply) => {
            report.seen += 1;
            Ended::Seen { folder: folder.clone() }
        }
        (Some(Outcome::HandedOver { reply }), Reach::Reply) => Ended::HandedOverNotSeen {
            why: format!("the primary said {}; nobody may look further", words(reply)),
        },
        (Some(Outcome::HandedOver { reply }), Reach::Mailbox) => {
            report.unseen += 1;
            let why = format!(
                "the primary said {} and it is in none of its folders: filed elsewhere by a rule, removed there, or lost there",
                words(reply)
            );
            Ended::HandedOverNotSeen { why }
        }
        (Some(Outcome::Seen { folder }), Reach::Mailbox) => {
            report.unseen += 1;
            Ended::HandedOverNotSeen { why: format!("it was seen in {folder:?} before and is not there now") }
        }
        (Some(Outcome::Refused { reply, .. }), _) => {
            report.refused += 1;
            Ended::Refused { reply: words(reply) }
        }
        (Some(Outcome::Expired { reply }), _) => {
            Ended::Exception { why: format!("nobody took it in time; last heard: {}", words(reply)) }
        }
        (Some(Outcome::Quarantined { reason }), _) => {
            Ended::Exception { why: format!("kept in quarantine: {reason}") }
        }
        (Some(Outcome::Parked { reason }), _) => Ended::Exception { why: format!("set aside: {reason}") },
        (Some(Outcome::Deleted { reason }), _) => {
            Ended::Exception { why: format!("removed by a person: {reason}") }
        }
        (Some(Outcome::Unknown), _) => Ended::Exception {
            why: "the connection broke after the final dot, and it is not there".to_owned(),
        },
        (Some(Outcome::Deferred { reply }), _) => {
            Ended::Exception { why: format!("still waiting; last heard: {}", words(reply)) }
        }
        (None, _) => {
            report.lost += 1;
            Ended::Exception { why: "acknowledged, and neither settled nor found".to_owned() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case() -> Case {
        let time = Time::from_seconds;
        Case {
            event: EventId(1),
            primary: PrimaryId("main".into()),
            from: time(1),
            until: time(2),
            looked: time(3),
        }
    }

    fn promise(stamp: &str, last: Option<Outcome>) -> Promise {
        Promise {
            stamp: stamp.into(),
            at: Time::from_seconds(1),
            from: "x@outside.example".into(),
            to: Address::parse("anna@company.example").unwrap(),
            account: AccountId::new("anna@company.example"),
            last,
            written_here: false,
            waits: false,
        }
    }

    fn sighting(stamp: &str, folder: &str) -> Sighting {
        Sighting {
            account: AccountId::new("anna@company.example"),
            folder: folder.into(),
            stamp: stamp.into(),
        }
    }

    fn yes() -> Option<Outcome> {
        Some(Outcome::HandedOver { reply: Reply::new(250, (2, 0, 0), "queued") })
    }

    #[test]
    fn a_message_that_stands_in_the_primary_is_proved() {
        let report = reconcile(&case(), &[promise("a", yes())], Some(&[sighting("a", "INBOX")]));
        assert_eq!((report.accepted, report.settled, report.seen), (1, 1, 1));
        assert!(report.is_clean() && report.lines.is_empty());
    }

    #[test]
    fn a_message_the_primary_acknowledged_and_lost_is_named() {
        let report = reconcile(&case(), &[promise("a", yes())], Some(&[]));
        assert_eq!((report.unseen, report.lost), (1, 0));
        assert!(!report.is_clean());
        assert!(matches!(report.lines[0].ended, Ended::HandedOverNotSeen { .. }));
    }

    #[test]
    fn a_message_nobody_settled_is_lost() {
        let report = reconcile(&case(), &[promise("a", None)], Some(&[]));
        assert_eq!(report.lost, 1);
        assert!(!report.is_clean());
    }

    #[test]
    fn a_message_that_waits_is_neither_lost_nor_proved() {
        let later = Outcome::Deferred { reply: Reply::new(451, (4, 3, 0), "later") };
        let waits = |stamp, last| Promise { waits: true, ..promise(stamp, last) };
        let all = [
            waits("a", None),
            waits("b", Some(later)),
            waits("c", Some(Outcome::Unknown)),
            // Found, or settled a moment before it was asked about: that is the end, whatever was thought of it.
            waits("d", None),
            waits("e", yes()),
            promise("f", None),
        ];
        let report = reconcile(&case(), &all, Some(&[sighting("d", "INBOX"), sighting("e", "INBOX")]));
        assert_eq!((report.accepted, report.settled, report.waiting, report.lost), (6, 2, 3, 1));
        assert_eq!(report.exceptions().count(), 1, "only what is lost: {:?}", report.lines);
        assert_eq!(report.listed().as_deref(), Some("1 lost, 3 still waiting here"));
        let waiting = reconcile(&case(), &[waits("a", None)], None);
        assert!(!waiting.is_clean(), "waiting is no proof");
    }

    #[test]
    fn twice_in_one_folder_is_doubled_and_a_copy_by_a_rule_is_not() {
        let twice = [sighting("a", "INBOX"), sighting("a", "INBOX")];
        assert_eq!(reconcile(&case(), &[promise("a", yes())], Some(&twice)).doubled, 1);
        let copied = [sighting("a", "INBOX"), sighting("a", "Projects")];
        assert_eq!(reconcile(&case(), &[promise("a", yes())], Some(&copied)).doubled, 0);
    }

    #[test]
    fn a_person_addressed_under_two_names_may_have_two_copies() {
        let both = [promise("a", yes()), promise("a", yes())];
        let twice = [sighting("a", "INBOX"), sighting("a", "INBOX")];
        assert_eq!(reconcile(&case(), &both, Some(&twice)).doubled, 0);
    }

    #[test]
    fn without_a_credential_the_report_says_how_far_the_proof_reaches() {
        let report = reconcile(&case(), &[promise("a", yes())], None);
        assert_eq!(report.reach, Reach::Reply);
        assert!(report.reach.words().contains("not into the mailbox"));
        assert_eq!((report.lost, report.unseen), (0, 0));
    }

    #[test]
    fn a_refusal_is_a_settlement_and_a_found_message_needs_none() {
        let refused = Some(Outcome::Refused { reply: Reply::new(554, (5, 7, 1), "spam"), bounced: false });
        let report =
            reconcile(&case(), &[promise("a", refused), promise("b", None)], Some(&[sighting("b", "INBOX")]));
        assert_eq!((report.refused, report.seen, report.lost), (1, 1, 0));
        assert!(report.is_clean());
    }
}
