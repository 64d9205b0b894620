//! Counting, by looking into mailboxes.

use super::observer::Seen;
use super::outside::{Letter, Outbox};
use super::people::{Copy, Done, Sent};
use super::report::{Figures, Seconds, Twin};
use super::stage::Stage;
use crate::control::protocol::EventShown;
use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use words_imap::Flag;
use words_mail::{Address, TraceId};

/// The moments of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// The mail systems were killed.
    pub(super) killed: Instant,
    /// Stormpost was dead from then until then.
    pub(super) dead: (Instant, Instant),
    /// The primary answered again.
    pub(super) returned: Instant,
}

/// Everything promised: by message number and whose mailbox it belongs into, with the trace id in the `250`.
pub(super) type Promised = BTreeMap<(usize, Address), Option<TraceId>>;

/// What was acknowledged to senders and to people.
pub(super) fn promised(outbox: &Outbox, done: &Done) -> Promised {
    let letters = outbox.letters().into_iter().filter(|letter| letter.acknowledged.is_some());
    let mut promised: Promised = letters.map(|letter| ((letter.number, letter.to), letter.trace)).collect();
    for Sent { number, from, to, trace } in &done.sent {
        // Once with the recipient, and once in the sender's own Sent folder.
        promised.insert((*number, to.clone()), *trace);
        promised.insert((*number, from.clone()), *trace);
    }
    promised
}

/// What stands where: every numbered copy, by mailbox and number.
#[derive(Clone, Debug, Default)]
pub(super) struct Found(BTreeMap<Address, BTreeMap<usize, Vec<Copy>>>);

/// What Stormpost itself lists for a person to look at, each beginning with the trace id of a message.
#[derive(Clone, Debug, Default)]
pub(super) struct Listed(Vec<String>);

impl Listed {
    /// What stands in the report of an event.
    pub(super) fn of(event: Option<EventShown>) -> Listed {
        Listed(event.map(|event| event.exceptions).unwrap_or_default())
    }

    fn names(&self, trace: Option<TraceId>) -> bool {
        trace.is_some_and(|trace| {
            let trace = trace.to_string();
            self.0.iter().any(|line| line.starts_with(&trace))
        })
    }
}

/// Something that stands more than once: its number, whose it is, in which folder.
type Double = (usize, Address, String);

impl Found {
    /// Looks into every mailbox of the primary and of the world outside.
    ///
    /// # Errors
    /// When a mailbox cannot be read.
    pub(super) async fn look(stage: &Stage) -> Result<Found> {
        let mut found = BTreeMap::new();
        let primary = stage.primary.desk(&stage.world)?;
        for person in &stage.people {
            let name = || format!("looking into the mail of {} at the primary", person.address);
            found.insert(person.address.clone(), primary.count(person).await.with_context(name)?);
        }
        let outside = stage.outside.desk(&stage.world)?;
        let there = outside.count(&stage.stranger).await.context("looking into the world's mail")?;
        found.insert(stage.stranger.address.clone(), there);
        Ok(Found(found))
    }

    fn copies_of(&self, number: usize, account: &Address) -> &[Copy] {
        self.0.get(account).and_then(|mail| mail.get(&number)).map_or(&[], Vec::as_slice)
    }

    /// Whether everything promised is where it belongs or listed, and everything people did is there.
    pub(super) fn is_whole(&self, promised: &Promised, done: &Done, listed: &Listed) -> bool {
        let is_there = |(number, account): &(usize, Address)| !self.copies_of(*number, account).is_empty();
        promised.iter().all(|(key, trace)| is_there(key) || listed.names(*trace))
            && self.changes(done).1.is_empty()
    }

    /// The figures of the run that are counted in mailboxes. What is not there and listed by Stormpost is kept by it,
    /// and not lost.
    pub(super) fn figures(&self, promised: &Promised, done: &Done, listed: &Listed) -> Figures {
        let mut figures = Figures {
            accepted: promised.len(),
            read_in_outage: done.read.len(),
            sent_in_outage: done.sent.len(),
            ..Figures::default()
        };
        for ((number, account), trace) in promised {
            if !self.copies_of(*number, account).is_empty() {
                figures.seen += 1;
            } else if !listed.names(*trace) {
                figures.lost += 1;
                figures.exceptions.push(format!("message {number} for {account} is not there"));
            }
        }
        for (number, account, folder) in self.doubles().0 {
            figures.doubled += 1;
            figures
                .exceptions
                .push(format!("message {number} stands more than once in {folder} of {account}"));
        }
        figures.exceptions.extend(self.strays(promised));
        let (carried, missing) = self.changes(done);
        figures.changes_replayed = carried;
        figures.exceptions.extend(missing);
        figures.exceptions.extend(self.unexplained(listed));
        figures
    }

    /// What stands more than once in a folder: handed over more than once, and handed over once.
    ///
    /// Postfix that is killed between Dovecot's yes and its own note of it delivers again by itself. Its queue id tells.
    fn doubles(&self) -> (Vec<Double>, Vec<Double>) {
        let (mut by_us, mut by_primary) = (Vec::new(), Vec::new());
        for (account, mail) in &self.0 {
            for (number, copies) in mail {
                let folders: BTreeSet<&String> = copies.iter().map(|copy| &copy.folder).collect();
                for folder in folders {
                    let here: Vec<_> = copies.iter().filter(|copy| copy.folder == *folder).collect();
                    let ids: BTreeSet<_> = here.iter().map(|copy| &copy.carried).collect();
                    let once = ids.len() == 1 && here[0].carried.is_some();
                    let double = (*number, account.clone(), folder.clone());
                    match here.len() {
                        0 | 1 => {}
                        _ if once => by_primary.push(double),
                        _ => by_us.push(double),
                    }
                }
            }
        }
        (by_us, by_primary)
    }

    /// Copies in the mailbox of somebody to whom nothing of this number was promised.
    fn strays(&self, promised: &Promised) -> Vec<String> {
        let known: BTreeSet<usize> = promised.keys().map(|(number, _)| *number).collect();
        let mut strays = Vec::new();
        for (account, mail) in &self.0 {
            for number in mail.keys() {
                if known.contains(number) && !promised.contains_key(&(*number, account.clone())) {
                    strays.push(format!(
                        "message {number} stands in the mail of {account}, for whom it was not"
                    ));
                }
            }
        }
        strays
    }

    /// Changes of people, looked for at the primary: how many are there, and which are not.
    fn changes(&self, done: &Done) -> (usize, Vec<String>) {
        let (mut there, mut missing) = (0, Vec::new());
        let mut judge = |is_there: bool, words: String| match is_there {
            true => there += 1,
            false => missing.push(words),
        };
        for (account, number) in &done.read {
            let is_read = |copy: &Copy| copy.flags.contains(&Flag::Seen);
            judge(
                self.copies_of(*number, account).iter().any(is_read),
                format!("message {number} was read by {account}, and is unread at the primary"),
            );
        }
        for (account, number) in &done.filed {
            let is_filed = |copy: &Copy| copy.folder == "Archive";
            judge(
                self.copies_of(*number, account).iter().any(is_filed),
                format!("message {number} was filed by {account}, and is not so at the primary"),
            );
        }
        (there, missing)
    }

    /// What Stormpost's own reconciliation lists, apart from what the primary itself delivered twice.
    fn unexplained(&self, listed: &Listed) -> Vec<String> {
        let (_, by_primary) = self.doubles();
        let explained: BTreeSet<&str> = by_primary
            .iter()
            .flat_map(|(number, account, _)| self.copies_of(*number, account))
            .filter_map(|copy| copy.stamp.as_deref())
            .collect();
        let is_explained = |line: &&String| {
            let stamp = line.split(' ').next().unwrap_or_default();
            explained.contains(stamp) && line.contains("it stands")
        };
        let lines = listed.0.iter().filter(|line| !is_explained(line));
        lines.map(|line| format!("the reconciliation lists: {line}")).collect()
    }

    /// What is no exception and should be told all the same.
    pub(super) fn remarks(&self, letters: &[Letter], done: &Done, times: &Times) -> Vec<String> {
        let mut remarks = failures(done, times);
        let refused: Vec<&String> = letters.iter().filter_map(|letter| letter.refused.as_ref()).collect();
        if let Some(first) = refused.first() {
            remarks.push(format!(
                "{} messages were refused for good when they came, so their senders know: {first}",
                refused.len()
            ));
        }
        for (number, account, folder) in self.doubles().1 {
            remarks.push(format!(
                "the mail system delivered message {number} twice into {folder} of {account} by itself: its Postfix got it \
                 once and was killed before it had noted the delivery"
            ));
        }
        remarks
    }
}

/// Tries that failed. Those that met a Stormpost killed on purpose are told together.
fn failures(done: &Done, times: &Times) -> Vec<String> {
    let (from, until) = times.dead;
    let (meanwhile, other): (Vec<_>, Vec<_>) =
        done.failures.iter().partition(|failure| failure.began <= until && failure.ended >= from);
    let mut remarks = Vec::new();
    if !meanwhile.is_empty() {
        remarks.push(format!(
            "{} tries of people failed while Stormpost itself was dead, for {:.1} s; they tried again",
            meanwhile.len(),
            until.saturating_duration_since(from).as_secs_f64()
        ));
    }
    for failure in other {
        let after = failure.ended.saturating_duration_since(times.killed).as_secs_f64();
        remarks.push(format!("{after:.1} s after the kill {}", failure.words));
    }
    remarks
}

/// The measured times.
pub(super) fn seconds(seen: &Seen, done: &Done, times: &Times) -> Seconds {
    let after = |moment: Option<Instant>, from: Option<Instant>| match (moment, from) {
        (Some(moment), Some(from)) => moment.saturating_duration_since(from).as_secs_f64(),
        _ => 0.0,
    };
    let returning = seen.returning.map(|mark| mark.at);
    Seconds {
        suspect: after(seen.suspect, Some(times.killed)),
        event_open: after(seen.event, Some(times.killed)),
        first_read: after(done.first.0, Some(times.killed)),
        first_send: after(done.first.1, Some(times.killed)),
        return_detect: after(returning, Some(times.returned)),
        drain_start: after(seen.draining, returning),
        drain: after(seen.drained, returning),
        reconcile: after(seen.ready, seen.drained),
    }
}

/// A message that was begun so short a time before the return is under way, and not waiting.
const UNDER_WAY_MAX: Duration = Duration::from_secs(2);

/// The unprotected twin's column.
pub(super) fn twin(outbox: &Outbox, done: &Done, times: &Times) -> Twin {
    let letters = outbox.letters();
    let returned = times.returned;
    // Who was refused for good knows it, and waits no longer.
    let waited = letters.iter().filter(|letter| letter.refused.is_none());
    let is_late = |letter: &&Letter| {
        letter.began + UNDER_WAY_MAX < returned && letter.acknowledged.is_none_or(|at| at > returned)
    };
    let waits = waited.clone().map(|letter| {
        let end = letter.acknowledged.unwrap_or_else(Instant::now);
        end.saturating_duration_since(letter.began)
    });
    Twin {
        waiting_outside: waited.filter(is_late).count(),
        read_in_outage: done.read.len(),
        sent_in_outage: done.sent.len(),
        longest_wait: waits.max().unwrap_or_default().as_secs_f64(),
    }
}

#[cfg(test)]
#[path = "count/tests.rs"]
mod tests;
