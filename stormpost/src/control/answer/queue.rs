//! The queue: looking at it, and acting on it.
//!
//! Delivery shows what waits; acts go through the ledger, where delivery reads them. What a person means by conditions is
//! written down as what it was at that moment: each recipient by itself, unless a whole destination is meant.

use super::{Answers, Caller, Ended, No, off_loop, reason};
use crate::control::protocol::{
    ITEMS_MAX, Item, QueueAct, QueueDeed, QueueQuery, QueueState, Queued, QueuedRecipient,
};
use roads_deliver::{Cursor, Filter, Holds, QueueView, Standing};
use std::time::Duration;
use stores_ledger::{Act, Entry, InForce};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use words_mail::{Address, Destination, Time, TraceId};

/// Messages that are listed at a time.
const PAGE: usize = 1_000;
/// Recipients that one act may name one by one.
const NAMED_MAX: usize = 100_000;
/// Pauses of single recipients that one act may make: delivery keeps each of them in mind.
const PAUSES_MAX: usize = 500;
/// Acts that are written at the same time, so that they share a sync.
const TOGETHER: usize = 256;

/// How long delivery may take to obey what was written down, before people are answered all the same.
const OBEYED_WAIT: Duration = Duration::from_secs(5);
const OBEYED_LOOK: Duration = Duration::from_millis(10);

/// What one entry in the ledger is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct About {
    trace: Option<TraceId>,
    recipient: Option<Address>,
    pub(crate) destination: Option<Destination>,
}

impl Answers {
    pub(crate) async fn queue_list(&self, query: QueueQuery, caller: &Caller) -> Ended {
        let most = query.limit.unwrap_or(ITEMS_MAX).min(ITEMS_MAX);
        let mut told = 0;
        let mut after: Option<Cursor> = None;
        loop {
            let (view, asked) = (self.parts.queue.clone(), query.clone());
            let page = PAGE.min(most - told);
            let (queued, next) = off_loop(move || Ok(page_of(&view, &asked, after, page))).await?;
            for queued in queued {
                caller.item(Item::Queued(queued)).await?;
                told += 1;
            }
            match next {
                Some(next) if told < most => after = Some(next),
                _ => return Ok(String::new()),
            }
        }
    }

    pub(crate) async fn queue_show(&self, trace: TraceId, caller: &Caller) -> Ended {
        let view = self.parts.queue.clone();
        let found = off_loop(move || Ok(view.show(trace).map(queued))).await?;
        let queued = found.ok_or_else(|| {
            No::not_found(format!(
                "{trace} is not in the queue; what became of it says: stormpost trace {trace}"
            ))
        })?;
        caller.item(Item::Queued(queued)).await?;
        Ok(String::new())
    }

    pub(crate) async fn queue_act(&self, act: QueueAct, caller: &Caller) -> Ended {
        let QueueAct { which, deed, reason: why } = act;
        let why = reason(&why)?;
        if let QueueDeed::Redirect(to) = &deed {
            self.check_target(to)?;
        }
        let view = self.parts.queue.clone();
        let (asked, done) = (which.clone(), deed.clone());
        let found = off_loop(move || Ok(meant(&view, &asked, &done))).await?;
        let (abouts, messages) = match whole(&which, &deed) {
            Some(about) => (vec![about], found.messages),
            None => (found.abouts, found.messages),
        };
        if abouts.is_empty() {
            return Err(No::not_found("no message of the queue is meant; nothing was done"));
        }
        let most = if deed == QueueDeed::Pause { PAUSES_MAX } else { NAMED_MAX };
        if abouts.len() > most {
            return Err(No::wrong(format!(
                "{} recipients are meant; at most {most} at once, or a whole destination with --primary, --domain or --all",
                abouts.len()
            )));
        }
        let named = abouts.len();
        let acts: Vec<_> =
            abouts.iter().map(|about| entry(about.clone(), &deed, self.now(), &why, &caller.by)).collect();
        self.write_acts(abouts, &deed, &why, caller).await?;
        let view = self.parts.queue.clone();
        self.until_obeyed(&view).await;
        tracing::info!(by = %caller.by, deed = ?deed, messages, entries = named, "queue act");
        if deed == QueueDeed::Resume {
            let held = off_loop(move || Ok(view.still_paused(&acts))).await?;
            return Ok(resumed(messages, &held, &self.parts.ledger.in_force()));
        }
        Ok(words(&deed, messages, whole(&which, &deed).is_some()))
    }

    /// Waits until delivery has done what is written down: what is told afterwards is so.
    async fn until_obeyed(&self, view: &QueueView) {
        let written = *self.parts.ledger.durable().borrow();
        let obeyed = async {
            while view.obeyed() < written {
                sleep(OBEYED_LOOK).await;
            }
        };
        if timeout(OBEYED_WAIT, obeyed).await.is_err() {
            tracing::warn!("delivery has not come to what was asked of the queue yet");
        }
    }

    /// Mail must not be sent where nobody here may send to.
    fn check_target(&self, to: &Address) -> Result<(), No> {
        use stores_directory::Resolved;
        match self.parts.directory.snapshot().resolve(to) {
            Resolved::Unknown { .. } => Err(No::not_found(format!("nobody here has the address {to}"))),
            _ => Ok(()),
        }
    }

    async fn write_acts(
        &self,
        abouts: Vec<About>,
        deed: &QueueDeed,
        why: &str,
        caller: &Caller,
    ) -> Result<(), No> {
        let at = self.now();
        let mut left = abouts.into_iter();
        loop {
            let mut writing = JoinSet::new();
            for about in left.by_ref().take(TOGETHER) {
                let entry = Entry::QueueAct(entry(about, deed, at, why, &caller.by));
                let ledger = self.parts.ledger.clone();
                writing.spawn(async move { ledger.append(entry).await });
            }
            if writing.is_empty() {
                return Ok(());
            }
            while let Some(written) = writing.join_next().await {
                written.map_err(No::failed)?.map_err(|error| {
                    No::failed(format!(
                        "it could not be written down, so not all of it was done ({error}); it may be repeated"
                    ))
                })?;
            }
        }
    }
}

fn entry(about: About, deed: &QueueDeed, at: Time, why: &str, by: &str) -> stores_ledger::QueueAct {
    stores_ledger::QueueAct {
        at,
        by: by.to_owned(),
        reason: why.to_owned(),
        act: match deed {
            QueueDeed::Pause => Act::Pause,
            QueueDeed::Resume => Act::Resume,
            QueueDeed::Retry => Act::Retry,
            QueueDeed::Redirect(to) => Act::Redirect { to: to.clone() },
            QueueDeed::Release => Act::Release,
            QueueDeed::Delete => Act::Delete,
            QueueDeed::Bounce => Act::Bounce,
        },
        trace: about.trace,
        recipient: about.recipient,
        destination: about.destination,
    }
}

/// The destination, or everything, when that is what is paused or resumed: also what comes later.
pub(crate) fn whole(which: &QueueQuery, deed: &QueueDeed) -> Option<About> {
    if !matches!(deed, QueueDeed::Pause | QueueDeed::Resume) {
        return None;
    }
    let QueueQuery { trace: None, primary, domain, from: None, to, state: None, limit: None } = which else {
        return None;
    };
    let destination = match (primary, domain) {
        (Some(primary), None) => Some(Destination::Primary(primary.clone())),
        (None, Some(domain)) => Some(Destination::Internet(domain.to_lowercase())),
        (None, None) => None,
        (Some(_), Some(_)) => return None,
    };
    // Everybody of a domain is no scope of its own: those are named one by one.
    let recipient = match to.as_deref() {
        None => None,
        Some(domain) if domain.starts_with('@') => return None,
        Some(one) => Some(Address::parse(one).ok()?),
    };
    Some(About { trace: None, recipient, destination })
}

struct Meant {
    abouts: Vec<About>,
    messages: usize,
}

/// Every recipient that is meant, one by one; copies for the mailboxes here are nobody's to act on.
fn meant(view: &QueueView, query: &QueueQuery, deed: &QueueDeed) -> Meant {
    let mut found = Meant { abouts: Vec::new(), messages: 0 };
    let mut after = None;
    let most = query.limit.unwrap_or(ITEMS_MAX);
    while found.messages < most && found.abouts.len() <= NAMED_MAX {
        let (page, next) = page_of(view, query, after, PAGE.min(most - found.messages));
        for queued in page {
            let before = found.abouts.len();
            for recipient in queued.recipients {
                let paused = recipient.state == QueueState::Paused;
                let kept = recipient.state == QueueState::Quarantined;
                let is_meant = (recipient.destination != Destination::Mailbox || kept)
                    && match deed {
                        QueueDeed::Release => kept,
                        // Whoever empties the queue does not mean what is kept back; that is named.
                        QueueDeed::Delete => !kept || query.state == Some(QueueState::Quarantined),
                        _ => !kept,
                    }
                    && (*deed != QueueDeed::Resume || paused)
                    && (*deed != QueueDeed::Pause || recipient.state < QueueState::Parked);
                if is_meant {
                    found.abouts.push(About {
                        trace: Some(queued.trace),
                        recipient: Some(recipient.address),
                        destination: Some(recipient.destination),
                    });
                }
            }
            found.messages += usize::from(found.abouts.len() > before);
        }
        match next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    found
}

/// What a resumption did, and what still holds some of it.
pub(crate) fn resumed(messages: usize, held: &[(Holds, usize)], in_force: &InForce) -> String {
    let waiting: usize = held.iter().map(|(_, count)| count).sum();
    // A message with two recipients may be held by two pauses.
    let free = messages.saturating_sub(waiting);
    let count = |messages: usize| match messages {
        1 => "1 message".to_owned(),
        many => format!("{many} messages"),
    };
    if held.is_empty() {
        return format!("{} {}", count(messages), if messages == 1 { "goes on" } else { "go on" });
    }
    let mut lines =
        vec![format!("{free} of {} {}", count(messages), if free == 1 { "goes on" } else { "go on" })];
    for (by, messages) in held {
        let by = match by {
            Holds::Order(primary, account) => {
                let whose = account
                    .as_ref()
                    .map_or_else(|| primary.to_string(), |who| format!("{primary} for {who}"));
                let event = in_force.open_event(primary).map(|event| format!(" (event {})", event.id));
                format!(
                    "an order pauses deliveries to {whose}{}; see: stormpost status",
                    event.unwrap_or_default()
                )
            }
            Holds::Pause(act) => paused(act),
        };
        lines.push(format!("{} still paused: {by}", count(*messages)));
    }
    lines.join("\n")
}

/// Who paused what and why, and how it is ended.
pub(crate) fn paused(act: &stores_ledger::QueueAct) -> String {
    let reason = if act.reason.is_empty() { String::new() } else { format!(" ({})", act.reason) };
    let (what, end) = scope(act);
    format!("{} paused {what}{reason}; end it with: stormpost queue resume {end}", act.by)
}

/// What a pause is about, in words and as the command line names it.
fn scope(act: &stores_ledger::QueueAct) -> (String, String) {
    let (what, end) = match (&act.trace, &act.recipient, &act.destination) {
        (Some(trace), ..) => (format!("message {trace}"), trace.to_string()),
        (None, Some(who), _) => (format!("what is for {who}"), format!("--to {who}")),
        (None, None, Some(Destination::Primary(primary))) => {
            (format!("what is for {primary}"), format!("--primary {primary}"))
        }
        (None, None, Some(Destination::Internet(domain))) => {
            (format!("what is for {domain}"), format!("--domain {domain}"))
        }
        (None, None, _) => ("everything".to_owned(), "--all".to_owned()),
    };
    match (&act.trace, &act.recipient, &act.destination) {
        (None, Some(_), Some(Destination::Primary(primary))) => (what, format!("{end} --primary {primary}")),
        (None, Some(_), Some(Destination::Internet(domain))) => (what, format!("{end} --domain {domain}")),
        _ => (what, end),
    }
}

fn words(deed: &QueueDeed, messages: usize, is_whole: bool) -> String {
    let (count, s) = match messages {
        1 => ("1 message".to_owned(), "s"),
        many => (format!("{many} messages"), ""),
    };
    match (deed, is_whole) {
        (QueueDeed::Pause, true) => format!("{count} now, and what comes later, wait until resumed"),
        (QueueDeed::Pause, false) => format!("{count} wait{s} until resumed"),
        (QueueDeed::Resume, _) => resumed(messages, &[], &InForce::default()),
        (QueueDeed::Retry, _) => format!("{count} tried again now"),
        (QueueDeed::Redirect(to), _) => format!("{count} redirected to {to}"),
        (QueueDeed::Delete, _) => {
            format!("{count} taken out of the queue; the journal still has the content")
        }
        (QueueDeed::Release, _) => format!("{count} released, and delivered now"),
        (QueueDeed::Bounce, _) => format!("{count} given back to the sender"),
    }
}

/// One page of what a query means.
fn page_of(
    view: &QueueView,
    query: &QueueQuery,
    after: Option<Cursor>,
    most: usize,
) -> (Vec<Queued>, Option<Cursor>) {
    // Nobody's mail (`<>`) has no address to compare.
    let from_nobody = query.from.as_deref().is_some_and(|from| from.trim().is_empty() || from.trim() == "<>");
    let filter = Filter {
        trace: query.trace,
        primary: query.primary.clone(),
        domain: query.domain.as_ref().map(|domain| domain.to_lowercase()),
        from: query.from.clone().filter(|_| !from_nobody),
        to: query.to.clone(),
        standing: query.state.map(standing),
    };
    let page = view.list(&filter, after, most);
    let is_meant = |queued: &roads_deliver::Queued| !from_nobody || queued.from.address().is_none();
    (page.queued.into_iter().filter(is_meant).map(queued).collect(), page.next)
}

fn queued(queued: roads_deliver::Queued) -> Queued {
    let recipients: Vec<QueuedRecipient> = queued.recipients.into_iter().map(recipient).collect();
    // What a person should look at first stands last in the order of states.
    let open = recipients.iter().filter(|r| r.destination != Destination::Mailbox);
    let worst = open.map(|r| r.state).max().or_else(|| recipients.iter().map(|r| r.state).max());
    Queued {
        trace: queued.trace,
        at: queued.at,
        from: queued.from,
        size: queued.size,
        state: worst.unwrap_or(QueueState::Waiting),
        recipients,
    }
}

fn recipient(recipient: roads_deliver::QueuedRecipient) -> QueuedRecipient {
    let mut last = recipient.last;
    if recipient.possibly_doubled {
        let words = last.unwrap_or_default();
        last = Some(
            format!("{words} (sent once more after an unknown outcome: possibly doubled)").trim().to_owned(),
        );
    }
    QueuedRecipient {
        address: recipient.address,
        destination: recipient.destination,
        state: state(recipient.standing),
        attempts: recipient.attempts,
        next: recipient.next,
        last,
    }
}

pub(crate) fn state(standing: Standing) -> QueueState {
    match standing {
        Standing::Waiting => QueueState::Waiting,
        Standing::Paused => QueueState::Paused,
        Standing::Trying => QueueState::Trying,
        Standing::Unknown => QueueState::Unknown,
        Standing::Parked => QueueState::Parked,
        Standing::Refused => QueueState::Refused,
        Standing::Expired => QueueState::Expired,
        Standing::Quarantined => QueueState::Quarantined,
    }
}

fn standing(state: QueueState) -> Standing {
    match state {
        QueueState::Waiting => Standing::Waiting,
        QueueState::Paused => Standing::Paused,
        QueueState::Trying => Standing::Trying,
        QueueState::Unknown => Standing::Unknown,
        QueueState::Parked => Standing::Parked,
        QueueState::Refused => Standing::Refused,
        QueueState::Expired => Standing::Expired,
        QueueState::Quarantined => Standing::Quarantined,
    }
}
