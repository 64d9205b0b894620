//! The report of an event: gathered from the ledger, written as a page for people and as JSON for programs when the event
//! closes, and again when it is reconciled later.

mod follow;
mod page;
#[cfg(test)]
mod tests;

pub use follow::Reports;

use roads_mirror::{Ended, Line, Reach};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Duration;
use stores_ledger::{Entry, LedgerReader, Notice, NoticeResult, Position};
use stores_log::ReadError;
use words_mail::{Event, EventId, Order, OrderKind, State, Time};

/// Notices and late reconciliations of an event may come so long after it was closed.
const AFTER: Duration = Duration::from_secs(3_600);
/// Notices of one event that are shown at most.
const NOTICES_MAX: usize = 10_000;

/// Where the reports stand.
pub fn folder(data: &Path) -> PathBuf {
    data.join("reports")
}

/// Where the page of an event stands, when it was written.
pub fn page_of(data: &Path, event: EventId) -> Option<PathBuf> {
    let path = folder(data).join(format!("event-{event}.html"));
    path.exists().then_some(path)
}

/// Who was told what and when, in a sentence.
pub fn told(notice: &Notice) -> String {
    let Notice { at, channel, to, subject, .. } = notice;
    let what = match &notice.result {
        NoticeResult::Sent => "told".to_owned(),
        NoticeResult::Begun => "perhaps told".to_owned(),
        NoticeResult::Failed { why } => format!("could not be told ({why})"),
        NoticeResult::Held { why } => format!("not told, {why}"),
    };
    format!("{} UTC  {to} by {channel} {what}: {subject}", moment(*at))
}

/// A moment for people, to the second, UTC.
pub(crate) fn moment(at: Time) -> String {
    let (year, month, day, hour, minute, second) = at.civil();
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

/// What the ledger says about an event.
#[derive(Clone, Debug, Default)]
pub struct Gathered {
    /// Its orders, and the doubt before it.
    pub orders: Vec<Order>,
    /// Who was told.
    pub notices: Vec<Notice>,
    /// The newest reconciliation, as its maker wrote it.
    pub reconciliation: Option<serde_json::Value>,
}

/// Gathers what the ledger says about an event. Blocks on the disk.
///
/// # Errors
/// When the ledger cannot be read.
pub fn gather(reader: &LedgerReader, event: &Event) -> Result<Gathered, ReadError> {
    let from = reader.position_at(event.began.min(event.opened))?;
    let over = event.closed.map(|closed| closed.after(AFTER));
    let mut gathered = Gathered::default();
    for entered in reader.scan_notices(Some(from)) {
        let entered = entered?;
        if over.is_some_and(|over| entered.at > over) {
            break;
        }
        match entered.entry {
            Entry::Order(order) if order.event == Some(event.id) || is_doubt(&order, event) => {
                gathered.orders.push(order);
            }
            Entry::Notice(notice)
                if notice.event == Some(event.id)
                    && notice.result != NoticeResult::Begun
                    && gathered.notices.len() < NOTICES_MAX =>
            {
                gathered.notices.push(notice);
            }
            _ => {}
        }
    }
    gathered.reconciliation = reconciled(reader, from, event.id)?;
    Ok(gathered)
}

/// Whether an order is the doubt that came before the event; it belongs to none.
fn is_doubt(order: &Order, event: &Event) -> bool {
    order.event.is_none()
        && order.primary == event.primary
        && order.to == State::Suspect
        && order.at >= event.began
        && order.at <= event.opened
}

/// The newest reconciliation of an event, as its maker wrote it; `from` stands before the event.
fn reconciled(
    reader: &LedgerReader,
    from: Position,
    event: EventId,
) -> Result<Option<serde_json::Value>, ReadError> {
    let mut newest = None;
    for entered in reader.scan_reports(Some(from)) {
        if let Entry::Reconciliation(found) = entered?.entry
            && found.event == event
        {
            newest = Some(found.report);
        }
    }
    Ok(newest)
}

/// What a person has to look at in a reconciliation, each in a sentence. What waits is as it should be while the event is
/// open, and a matter for a person once it is closed.
pub fn exceptions(report: &serde_json::Value, closed: bool) -> Vec<String> {
    let Ok(report) = serde_json::from_value::<roads_mirror::Report>(report.clone()) else {
        return Vec::new();
    };
    let lines = report.lines.iter().filter_map(|line| {
        let why = to_look_at(&report, line, closed)?;
        Some(format!("{} from <{}> to <{}>: {why}", line.stamp, line.from, line.to))
    });
    let changes = (closed && report.changes_wait)
        .then(|| "changes that people made here were not all carried over yet; they still are".to_owned());
    lines.chain(changes).collect()
}

fn to_look_at<'a>(report: &roads_mirror::Report, line: &'a Line, closed: bool) -> Option<&'a str> {
    match &line.ended {
        Ended::Exception { why } => Some(why),
        Ended::Waits { why } if closed => Some(why),
        // Where nobody may look, that it was not seen says nothing.
        Ended::HandedOverNotSeen { why } if report.reach == Reach::Mailbox => Some(why),
        _ => None,
    }
}

/// One line of the time line.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Moment {
    pub(crate) at: Time,
    /// Seconds since the first failed observation.
    pub(crate) seconds: f64,
    pub(crate) what: String,
}

/// How many messages ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Outcomes {
    pub(crate) accepted: u64,
    pub(crate) seen: u64,
    pub(crate) handed_over_not_seen: u64,
    pub(crate) refused: u64,
    pub(crate) waiting: u64,
    pub(crate) exceptions: u64,
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
}

/// Measured times in seconds; what did not happen is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Measured {
    /// From the first failed observation to the doubt: mail queues from then on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) suspect: Option<f64>,
    /// From the first failed observation to the order by which we carried the mail.
    pub(crate) rto: f64,
    /// From the first failed observation to the order that began the return.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) outage: Option<f64>,
    /// From that order to the end of the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) returning: Option<f64>,
    /// Acknowledged messages that were lost: the measured RPO, in messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rpo_messages: Option<u64>,
}

/// The report of one event. It holds no subject and no body.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Told {
    pub(crate) node: String,
    pub(crate) made: Time,
    pub(crate) event: Event,
    pub(crate) sentences: [String; 3],
    pub(crate) measured: Measured,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) outcomes: Option<Outcomes>,
    pub(crate) timeline: Vec<Moment>,
    pub(crate) notices: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reconciliation: Option<roads_mirror::Report>,
}

impl Told {
    pub(crate) fn new(node: &str, made: Time, event: Event, gathered: Gathered) -> Told {
        let Gathered { orders, notices, reconciliation } = gathered;
        let reconciliation = reconciliation.and_then(|value| serde_json::from_value(value).ok());
        let outcomes = reconciliation.as_ref().map(outcomes);
        let measured = measured(&event, &orders, outcomes.as_ref());
        let timeline = timeline(&event, &orders, reconciliation.as_ref());
        let sentences = sentences(&event, &measured, outcomes.as_ref(), reconciliation.as_ref());
        let notices = notices.iter().map(told).collect();
        let node = node.to_owned();
        Told { node, made, event, sentences, measured, outcomes, timeline, notices, reconciliation }
    }
}

fn outcomes(report: &roads_mirror::Report) -> Outcomes {
    let count = |is: fn(&Ended) -> bool| report.lines.iter().filter(|line| is(&line.ended)).count() as u64;
    Outcomes {
        accepted: report.accepted,
        seen: report.seen,
        handed_over_not_seen: count(|ended| matches!(ended, Ended::HandedOverNotSeen { .. })),
        refused: report.refused,
        waiting: report.waiting,
        exceptions: count(|ended| matches!(ended, Ended::Exception { .. })),
        lost: report.lost,
        doubled: report.doubled,
    }
}

fn measured(event: &Event, orders: &[Order], outcomes: Option<&Outcomes>) -> Measured {
    // After a relapse the last return is the one that led to the end.
    let returned = orders.iter().rfind(|o| o.to == State::Returning && o.from != State::Returning);
    let suspect = orders.iter().find(|order| order.to == State::Suspect);
    let since_began = |at: Time| at.since(event.began).as_secs_f64();
    Measured {
        suspect: suspect.map(|order| since_began(order.at)),
        rto: since_began(event.opened),
        outage: returned.map(|order| since_began(order.at)),
        returning: returned.zip(event.closed).map(|(order, closed)| closed.since(order.at).as_secs_f64()),
        rpo_messages: outcomes.map(|outcomes| outcomes.lost),
    }
}

fn timeline(event: &Event, orders: &[Order], report: Option<&roads_mirror::Report>) -> Vec<Moment> {
    let mut moments = vec![(event.began, "the first observation failed".to_owned())];
    for order in orders {
        let switched = |kinds: &[OrderKind], word: &str| match kinds {
            [] => String::new(),
            kinds => format!("; {word}: {}", kinds.iter().map(switch).collect::<Vec<_>>().join(", ")),
        };
        moments.push((
            order.at,
            format!(
                "order {}: {} {} \u{2192} {}, {}{}{}",
                order.number,
                order.plane,
                order.from,
                order.to,
                order.why,
                switched(&order.on, "on"),
                switched(&order.off, "off")
            ),
        ));
    }
    if let Some(report) = report {
        moments.push((report.looked, format!("reconciled: {}", report.reach.words())));
    }
    moments.sort_by_key(|(at, _)| *at);
    let seconds = |at: Time| at.since(event.began).as_secs_f64();
    moments.into_iter().map(|(at, what)| Moment { at, seconds: seconds(at), what }).collect()
}

fn switch(kind: &OrderKind) -> &'static str {
    match kind {
        OrderKind::PauseDeliveries => "mail waits here",
        OrderKind::PauseReplay => "changes wait here",
        OrderKind::OutboundDirect => "people's mail leaves from here",
        OrderKind::CapturedSignIn => "captured passwords let people in",
        OrderKind::ExpandLists => "lists are expanded here",
        OrderKind::Bypass => "senders go round us",
    }
}

/// What is said of messages that were handed over and not seen: where nobody may look, that is no fault.
fn not_seen(report: Option<&roads_mirror::Report>) -> &'static str {
    match report.map(|report| report.reach) {
        Some(Reach::Reply) => "were taken by it with a 250",
        _ => "were handed over and not seen there",
    }
}

fn sentences(
    event: &Event,
    measured: &Measured,
    outcomes: Option<&Outcomes>,
    report: Option<&roads_mirror::Report>,
) -> [String; 3] {
    let planes = event.planes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let ended = match event.closed {
        Some(closed) => format!("until {} UTC", moment(closed)),
        None => "and still does".to_owned(),
    };
    let first = format!(
        "{} counted as down ({planes}) from {} UTC {ended}; Stormpost carried its mail from {} after the first failed \
         observation on, and took in mail all the time.",
        event.primary,
        moment(event.began),
        length(measured.rto),
    );
    let second = match outcomes {
        None => "What was accepted meanwhile has not been compared with its mailboxes yet.".to_owned(),
        Some(o) => {
            let count = |n: u64, words: &str| (n > 0).then(|| format!("{n} {words}"));
            let parts = [
                count(o.seen, "stand in its mailboxes"),
                count(o.handed_over_not_seen, not_seen(report)),
                count(o.refused, "were refused by it"),
                count(o.waiting, "still wait here"),
                count(o.exceptions, "need a look"),
            ];
            let parts: Vec<String> = parts.into_iter().flatten().collect();
            let ended = if parts.is_empty() { String::new() } else { format!(" {},", parts.join(", ")) };
            format!(
                "Of {} messages accepted for it,{ended} {} were lost and {} arrived twice.",
                o.accepted, o.lost, o.doubled
            )
        }
    };
    let third = match report {
        None => "See again when it was reconciled.".to_owned(),
        Some(report) if report.is_clean() && report.reach == Reach::Mailbox => {
            "Every one of them was looked for in the primary's mailboxes; nobody needs to do anything."
                .to_owned()
        }
        Some(report) if report.is_clean() => format!("This is {}.", report.reach.words()),
        Some(_) => "What is listed below needs a person's look.".to_owned(),
    };
    [first, second, third]
}

/// So long, in words: `3.5 s`, `4 min 12 s`, `2 h 5 min`.
pub(crate) fn length(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{seconds:.1} s"),
        60..3_600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3_600, whole % 3_600 / 60),
    }
}
