//! The queue as a person sees it.

use crate::history::{Errand, is_listed};
use crate::lane::LaneName;
use crate::queue::{Key, Queue, State, Way};
use crate::road::{Listed, Road};
use std::collections::BTreeMap;
use std::sync::Arc;
use stores_ledger::QueueAct;
use stores_log::Position;
use tokio::time::Instant;
use words_mail::{AccountId, Address, Destination, Outcome, PrimaryId, Sender, Time, TraceId};

/// How a recipient of a waiting message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// Waits for its turn or its next try.
    Waiting,
    /// Waits because an order or a person paused it.
    Paused,
    /// Being handed over or settled now.
    Trying,
    /// It is not known whether the other side has it.
    Unknown,
    /// Set aside; a person decides.
    Parked,
    /// Refused, kept and listed.
    Refused,
    /// Nobody took it in time; kept and listed.
    Expired,
    /// Kept back before it was delivered; a person releases or deletes it.
    Quarantined,
}

/// One recipient of a message in the queue.
#[derive(Clone, Debug, PartialEq)]
pub struct QueuedRecipient {
    /// Who.
    pub address: Address,
    /// The account here, if there is one.
    pub account: Option<AccountId>,
    /// Where it goes.
    pub destination: Destination,
    /// How it stands.
    pub standing: Standing,
    /// Attempts that reached the final dot.
    pub attempts: u32,
    /// Whether it was, or will be, sent again after an unknown outcome.
    pub possibly_doubled: bool,
    /// When it is tried next, if that is known.
    pub next: Option<Time>,
    /// What was last heard.
    pub last: Option<String>,
}

/// One message in the queue.
#[derive(Clone, Debug, PartialEq)]
pub struct Queued {
    /// Its trace id.
    pub trace: TraceId,
    /// When it was accepted.
    pub at: Time,
    /// The envelope sender.
    pub from: Sender,
    /// Its bytes.
    pub size: u64,
    /// The recipients that are not settled, or are listed.
    pub recipients: Vec<QueuedRecipient>,
}

/// Which messages; every condition given must hold.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// This message.
    pub trace: Option<TraceId>,
    /// For this primary.
    pub primary: Option<PrimaryId>,
    /// For this domain of the internet.
    pub domain: Option<String>,
    /// From this address or `@domain`.
    pub from: Option<String>,
    /// To this address or `@domain`.
    pub to: Option<String>,
    /// Standing so. `None` means everything that is not settled, and what is parked.
    pub standing: Option<Standing>,
}

/// One page of the queue.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// Messages, oldest first.
    pub queued: Vec<Queued>,
    /// Where the next page begins, if there is one.
    pub next: Option<Cursor>,
}

/// A place in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor(TraceId);

/// What waits, in all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    /// Messages that wait for something beyond the mailboxes here.
    pub messages: u64,
    /// Recipients of them.
    pub recipients: u64,
    /// Bytes of everything not settled.
    pub bytes: u64,
    /// When the oldest was accepted.
    pub oldest: Option<Time>,
    /// By primary: messages that wait for it, for one recipient or more.
    pub by_primary: BTreeMap<PrimaryId, u64>,
    /// By primary: when the oldest message that waits for it was accepted.
    pub oldest_for: BTreeMap<PrimaryId, Time>,
    /// Recipients of everything not settled, by where to (all domains of the internet together) and standing.
    pub by_place: BTreeMap<(String, Standing), u64>,
    /// Recipients being handed over now.
    pub in_flight: u64,
    /// Recipients whose outcome is unknown.
    pub unknown: u64,
    /// Recipients set aside.
    pub parked: u64,
    /// Recipients whose mail is kept back.
    pub quarantined: u64,
    /// Recipients refused and listed.
    pub refused: u64,
    /// Settled since the start: handed over to others, into mailboxes here, refused, expired.
    pub handed_over: u64,
    /// Copies put into mailboxes here since the start.
    pub arrived: u64,
    /// Refused since the start.
    pub refused_ever: u64,
    /// Whether everything that was accepted before the start is known.
    pub caught_up: bool,
    /// What is wrong with the spool, in words, if something is.
    pub alarm: Option<String>,
}

/// How one place mail goes to stands.
#[derive(Clone, Debug, PartialEq)]
pub struct LaneView {
    /// Which.
    pub name: LaneName,
    /// Transactions under way.
    pub in_flight: u32,
    /// How many may be.
    pub allowed: u32,
    /// Troubles with the place in a row.
    pub failures: u32,
    /// Its last words in trouble.
    pub last: String,
}

/// Looks at the queue while it runs. Cheap to clone.
#[derive(Clone)]
pub struct QueueView {
    pub(crate) road: Arc<Road>,
}

impl Filter {
    fn fits_mail(&self, trace: TraceId, from: &Sender) -> bool {
        self.trace.is_none_or(|wanted| wanted == trace)
            && self.from.as_ref().is_none_or(|wanted| from.address().is_some_and(|a| fits(a, wanted)))
    }

    fn fits_recipient(&self, recipient: &QueuedRecipient) -> bool {
        let standing = match self.standing {
            Some(wanted) => recipient.standing == wanted,
            None => {
                !matches!(recipient.standing, Standing::Refused | Standing::Expired | Standing::Quarantined)
                    || self.trace.is_some()
            }
        };
        standing
            && self.to.as_ref().is_none_or(|wanted| fits(&recipient.address, wanted))
            && self.primary.as_ref().is_none_or(
                |wanted| matches!(&recipient.destination, Destination::Primary(primary) if primary == wanted),
            )
            && self.domain.as_ref().is_none_or(
                |wanted| matches!(&recipient.destination, Destination::Internet(domain) if domain == wanted),
            )
    }
}

fn fits(address: &Address, wanted: &str) -> bool {
    match wanted.strip_prefix('@') {
        Some(domain) => address.domain().eq_ignore_ascii_case(domain),
        None => address.key() == wanted.to_lowercase(),
    }
}

impl QueueView {
    /// Messages that fit, oldest first, at most `most` from `after` on.
    pub fn list(&self, filter: &Filter, after: Option<Cursor>, most: usize) -> Page {
        let mut all = self.gather(filter);
        if let Some(Cursor(after)) = after {
            all = all.split_off(&after);
            all.remove(&after);
        }
        let mut queued: Vec<Queued> = all.into_values().take(most.saturating_add(1)).collect();
        let next = (queued.len() > most).then(|| {
            queued.truncate(most);
            queued.last().map(|last| Cursor(last.trace))
        });
        Page { queued, next: next.flatten() }
    }

    /// One message, with everything that is not settled or listed of it.
    pub fn show(&self, trace: TraceId) -> Option<Queued> {
        self.gather(&Filter { trace: Some(trace), ..Filter::default() }).remove(&trace)
    }

    /// By trace id, which is by time of acceptance.
    fn gather(&self, filter: &Filter) -> BTreeMap<TraceId, Queued> {
        let mut found: BTreeMap<TraceId, Queued> = BTreeMap::new();
        let now = (Instant::now(), self.road.parts.world.clock.now());
        let mut add = |trace, at, from: &Sender, size, recipient: QueuedRecipient| {
            if filter.fits_mail(trace, from) && filter.fits_recipient(&recipient) {
                let queued = found.entry(trace).or_insert_with(|| Queued {
                    trace,
                    at,
                    from: from.clone(),
                    size,
                    recipients: Vec::new(),
                });
                queued.recipients.push(recipient);
            }
        };
        {
            let queue = self.road.queue();
            match filter.trace.map(|trace| queue.find(trace)) {
                Some(None) => {}
                Some(Some(position)) => {
                    for key in queue.of_mail(position) {
                        if let (Some(item), Some(mail)) = (queue.item(&key), queue.mail(&position)) {
                            add(
                                mail.trace,
                                mail.at,
                                &mail.sender,
                                mail.size,
                                recipient(&queue, &key, item, now),
                            );
                        }
                    }
                }
                None => {
                    for (key, item, mail) in queue.items() {
                        add(mail.trace, mail.at, &mail.sender, mail.size, recipient(&queue, key, item, now));
                    }
                }
            }
        }
        for listed in self.road.listed().values() {
            let from = listed.from.clone().unwrap_or(Sender::NOBODY);
            let at = listed.accepted.unwrap_or(listed.settlement.at);
            add(listed.settlement.trace, at, &from, listed.size, listed_recipient(listed));
        }
        found
    }

    /// What waits, in all.
    pub fn counts(&self) -> Counts {
        self.road.count()
    }

    /// Bytes of everything not settled, and up to where in the journal that is known. `None` while the queue is still
    /// being read after a start, or when nobody says how far the journal goes.
    pub fn waiting(&self) -> Option<(u64, Position)> {
        let through = self.road.through()?;
        // Looked at later: what came meanwhile is in it, and at worst counted twice for a moment.
        Some((self.road.queue().bytes(), through))
    }

    /// The pauses that people set and nobody has ended, oldest first.
    pub fn pauses(&self) -> Vec<QueueAct> {
        self.road.stops().pauses().cloned().collect()
    }

    /// Every place mail goes to at the moment.
    pub fn lanes(&self) -> Vec<LaneView> {
        let now = Instant::now();
        let queue = self.road.queue();
        let mut lanes: Vec<LaneView> = queue
            .lanes()
            .map(|(name, lane)| LaneView {
                name: name.clone(),
                in_flight: lane.in_flight,
                allowed: lane.allowed(now),
                failures: lane.failures(),
                last: lane.said.clone(),
            })
            .collect();
        lanes.sort_by(|a, b| a.name.cmp(&b.name));
        lanes
    }

    /// A primary was seen well: what rests for it is tried at once. Only a hint; the ledger says the same a moment later.
    pub fn seen_well(&self, primary: &PrimaryId) {
        self.road.queue().seen_well(&LaneName::Primary(primary.clone()));
        self.road.wake.notify_one();
    }
}

/// Where an item goes, for counting; the domains of the internet are without number and count together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Toward<'a> {
    Primary(&'a PrimaryId),
    Internet,
    Mailbox,
}

impl<'a> Toward<'a> {
    pub(crate) fn of(destination: &'a Destination) -> Toward<'a> {
        match destination {
            Destination::Primary(primary) => Toward::Primary(primary),
            Destination::Internet(_) => Toward::Internet,
            Destination::Mailbox => Toward::Mailbox,
        }
    }
}

impl std::fmt::Display for Toward<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Toward::Primary(primary) => primary.fmt(f),
            Toward::Internet => f.write_str("internet"),
            Toward::Mailbox => f.write_str("mailbox"),
        }
    }
}

pub(crate) fn standing(queue: &Queue, item: &crate::queue::Item) -> Standing {
    match &item.state {
        State::Ready { .. } if queue.lane(&item.lane).is_some_and(|lane| lane.halted) => Standing::Paused,
        State::Ready { .. } | State::Later(_) | State::Held => Standing::Waiting,
        State::Paused | State::Stopped => Standing::Paused,
        State::InFlight | State::Settling => Standing::Trying,
        State::Doubtful { .. } => Standing::Unknown,
    }
}

fn recipient(queue: &Queue, key: &Key, item: &crate::queue::Item, now: (Instant, Time)) -> QueuedRecipient {
    let lane = queue.lane(&item.lane);
    let at = |at: Instant| now.1.after(at.saturating_duration_since(now.0));
    let next = match &item.state {
        State::Ready { .. } if lane.is_some_and(|lane| lane.halted) => None,
        State::Ready { .. } => {
            lane.and_then(|lane| lane.rests_until()).filter(|until| *until > now.0).map(at)
        }
        State::Later(due) => Some(at(*due)),
        State::Held => lane.and_then(|lane| lane.persons.get(&item.recipient.key())).map(|p| at(p.until)),
        State::Doubtful { next, .. } => Some(at(*next)),
        State::Paused | State::Stopped | State::InFlight | State::Settling => None,
    };
    debug_assert!(key.way == Way::Here || item.destination != Destination::Mailbox);
    QueuedRecipient {
        address: item.recipient.clone(),
        account: item.account.clone(),
        destination: item.destination.clone(),
        standing: standing(queue, item),
        attempts: item.number,
        possibly_doubled: item.unknowns > 0 && !matches!(item.state, State::Doubtful { .. })
            || item.unknowns > 1,
        next,
        last: (!item.said.is_empty()).then(|| item.said.clone()),
    }
}

fn listed_recipient(listed: &Listed) -> QueuedRecipient {
    let settlement = &listed.settlement;
    debug_assert!(is_listed(&settlement.outcome));
    let (standing, last) = match &settlement.outcome {
        Outcome::Refused { reply, .. } => (Standing::Refused, reply.to_string()),
        Outcome::Expired { reply } => (Standing::Expired, reply.to_string()),
        Outcome::Parked { reason } => (Standing::Parked, reason.clone()),
        Outcome::Quarantined { reason } => (Standing::Quarantined, reason.clone()),
        _ => (Standing::Parked, String::new()),
    };
    QueuedRecipient {
        address: settlement.recipient.clone(),
        account: None,
        destination: settlement.destination.clone(),
        standing,
        attempts: settlement.attempt,
        possibly_doubled: false,
        next: None,
        last: Some(last),
    }
}

/// Finds a listed errand of a message.
pub(crate) fn listed_of(listed: &BTreeMap<Errand, Listed>, trace: TraceId) -> Vec<Errand> {
    listed.iter().filter(|(_, l)| l.settlement.trace == trace).map(|(errand, _)| *errand).collect()
}
