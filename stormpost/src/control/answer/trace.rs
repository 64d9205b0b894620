//! What became of messages: found in the journal, followed through settlements and attempts.

use super::{Answers, Caller, Ended, No, off_loop};
use crate::control::protocol::{Erased, Item, Step, TraceQuery, Traced, TracedRecipient};
use mail_parser::MessageParser;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::Read;
use std::time::Duration;
use stores_journal::{JournalEntry, JournalReader};
use stores_ledger::{ContentDeed, Entry, LedgerReader, Settlement};
use stores_mailbox::Mailboxes;
use words_mail::{Action, Address, CheckAnswer, Outcome, Sender, Tenant, Time, TraceId, Verdict};

/// Messages that are traced at once.
const TRACED_MAX: usize = 100_000;
/// The longest header that is looked into, bytes.
const HEADER_MAX: u64 = 256 * 1024;
/// How far times in the journal may be out of order, because clocks jump.
const SLACK: Duration = Duration::from_secs(3_600);
/// Somebody who waits hears of it after so many messages.
const TELL_EVERY: u64 = 50_000;

impl Answers {
    pub(crate) async fn trace(&self, query: TraceQuery, caller: &Caller) -> Ended {
        let wanted = Wanted::new(query)?;
        let journal = self.parts.journal.reader();
        let ledger = self.parts.ledger.reader();
        let mailboxes = self.parts.mailboxes.clone();
        let waits = caller.clone();
        let traced = off_loop(move || {
            let found = find(&journal, &wanted, &waits)?;
            match (wanted.trace, found.is_empty()) {
                (Some(trace), true) => Ok(erased(&ledger, trace)?.into_iter().collect()),
                _ => trace(&ledger, &mailboxes, found),
            }
        });
        for traced in traced.await?.into_iter().rev() {
            caller.item(Item::Traced(traced)).await?;
        }
        Ok(String::new())
    }
}

/// An address, a domain, or nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Meant {
    Nobody,
    Domain(String),
    One(Box<Address>),
}

impl Meant {
    fn read(text: &str) -> Result<Meant, No> {
        let bare = text.trim();
        if bare == "<>" {
            return Ok(Meant::Nobody);
        }
        let bare = bare.strip_prefix('<').and_then(|b| b.strip_suffix('>')).unwrap_or(bare);
        match bare.strip_prefix('@') {
            Some(domain) => Ok(Meant::Domain(domain.to_lowercase())),
            None => Address::parse(bare)
                .map(|address| Meant::One(Box::new(address)))
                .map_err(|why| No::wrong(format!("{text:?} is neither an address nor @domain: {why}"))),
        }
    }

    fn is(&self, address: Option<&Address>) -> bool {
        match (self, address) {
            (Meant::Nobody, None) => true,
            (Meant::Domain(domain), Some(address)) => address.domain() == domain,
            (Meant::One(one), Some(address)) => **one == *address,
            _ => false,
        }
    }
}

/// Which messages.
struct Wanted {
    trace: Option<TraceId>,
    from: Option<Meant>,
    to: Option<Meant>,
    message_id: Option<String>,
    since: Option<Time>,
    until: Option<Time>,
    limit: usize,
}

impl Wanted {
    fn new(query: TraceQuery) -> Result<Wanted, No> {
        let TraceQuery { trace, from, to, message_id, since, until, limit } = query;
        if limit == 0 {
            return Err(No::wrong("the limit must be at least 1"));
        }
        Ok(Wanted {
            trace,
            from: from.as_deref().map(Meant::read).transpose()?,
            to: to.as_deref().map(Meant::read).transpose()?,
            message_id: message_id.map(|id| bare(&id).to_owned()),
            since,
            until,
            limit: limit.min(TRACED_MAX),
        })
    }

    fn is_meant(&self, entry: &JournalEntry) -> bool {
        let accepted = &entry.accepted;
        let envelope = &accepted.envelope;
        self.trace.is_none_or(|trace| trace == accepted.trace)
            && self.since.is_none_or(|since| accepted.at >= since)
            && self.until.is_none_or(|until| accepted.at < until)
            && self.from.as_ref().is_none_or(|from| from.is(envelope.sender.address()))
            && self
                .to
                .as_ref()
                .is_none_or(|to| envelope.recipients.iter().any(|recipient| to.is(Some(&recipient.address))))
    }
}

fn bare(id: &str) -> &str {
    let id = id.trim();
    id.strip_prefix('<').and_then(|id| id.strip_suffix('>')).unwrap_or(id).trim()
}

type Found = VecDeque<(JournalEntry, Option<String>)>;

/// The newest messages that are meant, oldest first.
fn find(journal: &JournalReader, wanted: &Wanted, caller: &Caller) -> Result<Found, No> {
    let mut found = Found::new();
    let mut take = |entry: JournalEntry| -> Result<(), No> {
        if !wanted.is_meant(&entry) {
            return Ok(());
        }
        let id = message_id(journal, &entry);
        let is_it = |wanted: &String| id.as_deref().is_some_and(|id| id.eq_ignore_ascii_case(wanted));
        if wanted.message_id.as_ref().is_none_or(is_it) {
            found.push_back((entry, id));
            if found.len() > wanted.limit {
                found.pop_front();
            }
        }
        Ok(())
    };
    if let Some(trace) = wanted.trace {
        if let Some(entry) = journal.find(trace).map_err(No::failed)? {
            take(entry)?;
        }
        return Ok(found);
    }
    let from = wanted.since.map(|since| journal.position_at(since)).transpose().map_err(No::failed)?;
    for (entry, nth) in journal.scan(from).zip(1u64..) {
        let entry = entry.map_err(No::failed)?;
        if wanted.until.is_some_and(|until| entry.accepted.at > until.after(SLACK)) {
            break;
        }
        take(entry)?;
        if nth.is_multiple_of(TELL_EVERY) {
            caller.progress_blocking(format!("{nth} messages looked at"))?;
        }
    }
    Ok(found)
}

/// The `Message-ID:` of a message, without its angle brackets.
fn message_id(journal: &JournalReader, entry: &JournalEntry) -> Option<String> {
    let mut header = Vec::new();
    let mut message = journal.message(entry).ok()?.take(HEADER_MAX);
    let mut piece = [0; 4_096];
    loop {
        match message.read(&mut piece) {
            Ok(0) | Err(_) => break,
            Ok(read) => {
                let seen = header.len().saturating_sub(3);
                header.extend_from_slice(&piece[..read]);
                if header[seen..].windows(4).any(|four| four == b"\r\n\r\n") {
                    break;
                }
            }
        }
    }
    Some(MessageParser::default().parse_headers(&header)?.message_id()?.to_owned())
}

/// Follows messages through settlements and attempts.
fn trace(ledger: &LedgerReader, mailboxes: &Mailboxes, found: Found) -> Result<Vec<Traced>, No> {
    let Some(oldest) = found.iter().map(|(entry, _)| entry.accepted.at).min() else { return Ok(Vec::new()) };
    let mut settlements: HashMap<TraceId, Vec<Settlement>> =
        found.iter().map(|(entry, _)| (entry.accepted.trace, Vec::new())).collect();
    let from = ledger.position_at(oldest).map_err(No::failed)?;
    for settlement in ledger.settlements(Some(from)) {
        if let Some(of_it) = settlements.get_mut(&settlement.trace) {
            of_it.push(settlement);
        }
    }
    let mut traced = Vec::new();
    for (entry, message_id) in found {
        let of_it = settlements.remove(&entry.accepted.trace).unwrap_or_default();
        traced.push(one(mailboxes, &entry, message_id, of_it));
    }
    Ok(traced)
}

fn one(
    mailboxes: &Mailboxes,
    entry: &JournalEntry,
    message_id: Option<String>,
    settlements: Vec<Settlement>,
) -> Traced {
    let accepted = &entry.accepted;
    let mut order: Vec<Address> = Vec::new();
    let mut steps: BTreeMap<usize, Vec<Step>> = BTreeMap::new();
    for recipient in &accepted.envelope.recipients {
        order.push(recipient.address.clone());
    }
    let mut add = |address: &Address, step: Step| {
        let at = order.iter().position(|known| known == address).unwrap_or_else(|| {
            order.push(address.clone());
            order.len() - 1
        });
        steps.entry(at).or_default().push(step);
    };
    // An attempt that nothing more is known of reached the final dot, or is on its way there now.
    let attempts = mailboxes.attempts_of(accepted.trace).unwrap_or_default();
    for (attempt, at) in attempts {
        let is_told = settlements.iter().any(|s| {
            s.recipient == attempt.recipient
                && s.destination == attempt.destination
                && s.attempt >= attempt.number
        });
        if !is_told {
            let step = Step {
                at,
                destination: attempt.destination,
                outcome: Outcome::Unknown,
                attempt: attempt.number,
            };
            add(&attempt.recipient, step);
        }
    }
    for Settlement { recipient, destination, outcome, at, attempt, .. } in settlements {
        add(&recipient, Step { at, destination, outcome, attempt });
    }
    let recipients = order.into_iter().enumerate().map(|(at, address)| {
        let mut steps = steps.remove(&at).unwrap_or_default();
        steps.sort_by_key(|step| step.at);
        TracedRecipient { address, steps }
    });
    let recipients = recipients.collect();
    let peer = &accepted.envelope.peer;
    let who = peer.account.as_ref().map_or_else(String::new, |account| format!(", signed in as {account}"));
    Traced {
        trace: accepted.trace,
        at: accepted.at,
        tenant: accepted.tenant.clone(),
        from: accepted.envelope.sender.clone(),
        message_id,
        size: accepted.size,
        peer: format!("{} [{}] by {}{who}", peer.helo, peer.ip, peer.protocol),
        verdict: verdict(&accepted.verdict),
        checks: checks(&accepted.verdict),
        recipients,
        erased: None,
    }
}

/// A message that is not in the journal any more, because a person erased it: who, when, why, and what became of it.
fn erased(ledger: &LedgerReader, trace: TraceId) -> Result<Option<Traced>, No> {
    let accepted = ledger.position_at(trace.time()).map_err(No::failed)?;
    let mut found = None;
    for entered in ledger.scan_content(Some(accepted)) {
        if let Entry::ContentAct(act) = entered.map_err(No::failed)?.entry
            && act.deed == ContentDeed::Erased
            && act.trace == Some(trace)
        {
            found = Some(Erased { at: act.at, by: act.by, reason: act.reason });
        }
    }
    let Some(erased) = found else { return Ok(None) };
    let mut recipients: Vec<TracedRecipient> = Vec::new();
    for settlement in ledger.settlements(Some(accepted)).filter(|settlement| settlement.trace == trace) {
        let Settlement { recipient, destination, outcome, at, attempt, .. } = settlement;
        let step = Step { at, destination, outcome, attempt };
        match recipients.iter_mut().find(|known| known.address == recipient) {
            Some(known) => known.steps.push(step),
            None => recipients.push(TracedRecipient { address: recipient, steps: vec![step] }),
        }
    }
    Ok(Some(Traced {
        trace,
        at: trace.time(),
        tenant: Tenant(String::new()),
        from: Sender::NOBODY,
        message_id: None,
        size: 0,
        peer: String::new(),
        verdict: String::new(),
        checks: Vec::new(),
        recipients,
        erased: Some(erased),
    }))
}

/// What each check answered.
fn checks(value: &serde_json::Value) -> Vec<CheckAnswer> {
    serde_json::from_value::<Verdict>(value.clone()).map(|verdict| verdict.checks).unwrap_or_default()
}

/// What was judged, in a line.
fn verdict(value: &serde_json::Value) -> String {
    let Ok(verdict) = serde_json::from_value::<Verdict>(value.clone()) else { return String::new() };
    let findings = verdict.findings();
    let Verdict { rules, action, may_bounce, spf, dkim, dmarc, .. } = verdict;
    let mut words = format!("rules {rules}, spf {spf}, dkim {dkim}, dmarc {dmarc}");
    if findings != "-" {
        words.push_str(&format!("; found: {findings}"));
    }
    if !may_bounce {
        words.push_str("; its sender is not believed, so nothing is bounced to it");
    }
    match action {
        Action::Deliver => {}
        Action::Tag { reason } => words.push_str(&format!("; delivered with a mark: {reason}")),
        Action::Quarantine { reason } => words.push_str(&format!("; kept in quarantine: {reason}")),
        Action::Park { reason } => words.push_str(&format!("; set aside: {reason}")),
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senders_and_recipients_are_meant_by_address_domain_or_nobody() {
        let anna = Address::parse("Anna@example.org").unwrap();
        for (text, who, meant) in [
            ("anna@example.org", Some(&anna), true),
            ("<ANNA@example.org>", Some(&anna), true),
            ("@Example.org", Some(&anna), true),
            ("@ample.org", Some(&anna), false),
            ("bert@example.org", Some(&anna), false),
            ("<>", None, true),
            ("<>", Some(&anna), false),
            ("anna@example.org", None, false),
        ] {
            assert_eq!(Meant::read(text).unwrap().is(who), meant, "{text}");
        }
        assert!(Meant::read("no address").is_err());
    }

    #[test]
    fn a_message_id_is_the_same_with_and_without_brackets() {
        for id in ["<a@b>", " a@b ", "< a@b >"] {
            assert_eq!(bare(id), "a@b");
        }
    }
}
