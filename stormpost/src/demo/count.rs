//! Counting, by looking into mailboxes.

use super::observer::Seen;
use super::outside::Outbox;
use super::people::{Copy, Done, Notes};
use super::report::{Figures, Seconds, Twin};
use super::stage::Stage;
use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;
use words_imap::Flag;
use words_mail::Address;

/// What was promised to whom, and what stands where.
pub struct Found {
    /// Acknowledged messages: number and whose mailbox.
    promised: BTreeSet<(usize, Address)>,
    /// Every copy at the primary and outside, by mailbox and number.
    copies: BTreeMap<Address, BTreeMap<usize, Vec<Copy>>>,
    /// What else a reader should know.
    pub remarks: Vec<String>,
}

impl Found {
    /// Looks into every mailbox of the primary and of the world outside.
    ///
    /// # Errors
    /// When a mailbox cannot be read.
    pub async fn look(stage: &Stage, outbox: &Outbox, notes: &Notes) -> Result<Found> {
        let mut promised: BTreeSet<(usize, Address)> = outbox
            .letters()
            .into_iter()
            .filter(|letter| letter.acknowledged.is_some())
            .map(|letter| (letter.number, letter.to))
            .collect();
        let done = notes.done();
        for (number, from, to) in &done.sent {
            // Once with the recipient, and once in the sender's own Sent folder.
            promised.insert((*number, to.clone()));
            promised.insert((*number, from.clone()));
        }
        let mut copies = BTreeMap::new();
        let primary = stage.primary.desk(&stage.world)?;
        for person in &stage.people {
            let name = || format!("looking into the mail of {} at the primary", person.address);
            copies.insert(person.address.clone(), primary.count(person).await.with_context(name)?);
        }
        let outside = stage.outside.desk(&stage.world)?;
        let there = outside.count(&stage.stranger).await.context("looking into the world's mail")?;
        copies.insert(stage.stranger.address.clone(), there);
        Ok(Found { promised, copies, remarks: done.failures })
    }

    fn copies_of(&self, number: usize, account: &Address) -> &[Copy] {
        self.copies.get(account).and_then(|mail| mail.get(&number)).map_or(&[], Vec::as_slice)
    }

    /// The figures of the run.
    pub fn figures(&self, seen: &Seen, done: &Done, killed: Instant, returned: Instant) -> Figures {
        let mut figures = Figures { accepted: self.promised.len(), ..Figures::default() };
        for (number, account) in &self.promised {
            let copies = self.copies_of(*number, account);
            if copies.is_empty() {
                figures.lost += 1;
                figures.exceptions.push(format!("message {number} for {account} is not there"));
                continue;
            }
            figures.seen += 1;
            let most = copies.iter().map(|c| copies.iter().filter(|d| d.folder == c.folder).count()).max();
            if most > Some(1) {
                figures.doubled += 1;
                figures.exceptions.push(format!("message {number} stands {most:?} times with {account}"));
            }
        }
        let waiting = seen.last.as_ref().map_or(0, |status| status.queue.messages + status.queue.parked);
        figures.settled = figures.accepted.saturating_sub(usize::try_from(waiting).unwrap_or(usize::MAX));
        if seen.ready.is_none() {
            figures.exceptions.push("the event was not closed".to_owned());
        }
        figures.read_in_outage = done.read.len();
        figures.sent_in_outage = done.sent.len();
        self.changes(done, &mut figures);
        figures.seconds = seconds(seen, done, killed, returned);
        figures
    }

    /// Changes of people, looked for at the primary: messages marked read, messages filed.
    fn changes(&self, done: &Done, figures: &mut Figures) {
        for (account, number) in &done.read {
            let is_read = |copy: &Copy| copy.flags.contains(&Flag::Seen);
            if self.copies_of(*number, account).iter().any(is_read) {
                figures.changes_replayed += 1;
            } else {
                figures
                    .exceptions
                    .push(format!("message {number} was read by {account}, and is unread at the primary"));
            }
        }
        for (account, number) in &done.filed {
            if self.copies_of(*number, account).iter().any(|copy| copy.folder == "Archive") {
                figures.changes_replayed += 1;
            } else {
                figures
                    .exceptions
                    .push(format!("message {number} was filed by {account}, and is not so at the primary"));
            }
        }
    }
}

fn seconds(seen: &Seen, done: &Done, killed: Instant, returned: Instant) -> Seconds {
    let after = |moment: Option<Instant>, from: Option<Instant>| match (moment, from) {
        (Some(moment), Some(from)) => moment.saturating_duration_since(from).as_secs_f64(),
        _ => 0.0,
    };
    Seconds {
        suspect: after(seen.suspect, Some(killed)),
        event_open: after(seen.event, Some(killed)),
        first_read: after(done.first.0, Some(killed)),
        first_send: after(done.first.1, Some(killed)),
        return_detect: after(seen.returning, Some(returned)),
        drain: after(seen.drained, seen.returning),
        reconcile: after(seen.ready, seen.drained),
    }
}

/// The unprotected twin's column.
pub fn twin(outbox: &Outbox, done: &Done, returned: Instant) -> Twin {
    let letters = outbox.letters();
    let late = |letter: &&super::outside::Letter| {
        letter.began < returned && letter.acknowledged.is_none_or(|at| at > returned)
    };
    let waits = letters.iter().filter_map(|l| l.acknowledged.map(|at| at.saturating_duration_since(l.began)));
    Twin {
        waiting_outside: letters.iter().filter(late).count(),
        read_in_outage: done.read.len(),
        sent_in_outage: done.sent.len(),
        longest_wait: waits.max().unwrap_or_default().as_secs_f64(),
    }
}
