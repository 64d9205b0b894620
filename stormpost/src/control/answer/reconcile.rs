//! Reconciling when a person asks for it.

use super::{Answers, Caller, Ended, No, off_loop};
use crate::control::protocol::Item;
use crate::report;
use roads_mirror::{Progress, Report};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, interval};
use words_mail::{Event, EventId, OrderNumber, PrimaryId, Time};

/// Somebody who waits hears of it at least so often.
const ALIVE: Duration = Duration::from_secs(15);
/// The number of no event.
const NO_EVENT: EventId = EventId(0);
/// And not more often than this.
const CALM: Duration = Duration::from_millis(200);

impl Answers {
    pub(crate) async fn reconcile(
        &self,
        primary: Option<PrimaryId>,
        event: Option<EventId>,
        caller: &Caller,
    ) -> Ended {
        let events = self.to_reconcile(primary, event)?;
        let mut words = Vec::new();
        for event in events {
            words.push(self.reconcile_one(event, caller).await?);
        }
        Ok(words.join("\n"))
    }

    /// Compares what was accepted since then, whether there was an event or not.
    pub(crate) async fn reconcile_since(
        &self,
        primary: Option<PrimaryId>,
        since: Time,
        caller: &Caller,
    ) -> Ended {
        let all = self.parts.configuration.primaries.iter().map(|primary| primary.id.clone());
        let meant = match primary {
            Some(_) => vec![self.primary(primary.as_ref())?],
            None => all.collect(),
        };
        let mut words = Vec::new();
        for primary in meant {
            let event = Event {
                id: NO_EVENT,
                primary,
                opened_by: OrderNumber(0),
                opened: since,
                began: since,
                returned_by: None,
                closed_by: None,
                closed: None,
                planes: Vec::new(),
            };
            words.push(self.reconcile_one(event, caller).await?);
        }
        Ok(words.join("\n"))
    }

    fn to_reconcile(&self, primary: Option<PrimaryId>, event: Option<EventId>) -> Result<Vec<Event>, No> {
        let primary = primary.map(|primary| self.primary(Some(&primary))).transpose()?;
        let in_force = self.parts.ledger.in_force();
        if let Some(id) = event {
            let event = in_force.event(id).ok_or_else(|| No::not_found(format!("there is no event {id}")))?;
            return match primary.filter(|primary| *primary != event.primary) {
                Some(primary) => {
                    Err(No::wrong(format!("event {id} is of {}, not of {primary}", event.primary)))
                }
                None => Ok(vec![event.clone()]),
            };
        }
        let mut latest: Vec<Event> = Vec::new();
        for event in in_force.events().into_iter().rev() {
            let is_meant = primary.as_ref().is_none_or(|primary| *primary == event.primary);
            if is_meant && !latest.iter().any(|known| known.primary == event.primary) {
                latest.push(event);
            }
        }
        if latest.is_empty() {
            return Err(No::not_found("there was no event yet, so there is nothing to compare"));
        }
        Ok(latest)
    }

    async fn reconcile_one(&self, event: Event, caller: &Caller) -> Ended {
        let id = event.id;
        let (say, mut said) = mpsc::unbounded_channel();
        let mut last: Option<Instant> = None;
        let mut hear = |progress: Progress<'_>| {
            let words = match progress {
                Progress::Promised(count) => format!("event {id}: {count} messages to look for"),
                Progress::Looking { nth, of, .. } => {
                    format!("event {id}: looking into mailbox {nth} of {of}")
                }
            };
            // Bounded by time: a thousand small mailboxes are not a thousand lines.
            if last.is_none_or(|last| last.elapsed() >= CALM) {
                last = Some(Instant::now());
                let _ = say.send(words);
            }
        };
        let prover = self.parts.prover.clone();
        let of = event.clone();
        let work = prover.reconcile_now(&of, &mut hear);
        tokio::pin!(work);
        let mut alive = interval(ALIVE);
        alive.reset();
        let report = loop {
            tokio::select! {
                biased;
                Some(words) = said.recv() => caller.progress(words).await?,
                done = &mut work => break done,
                _ = alive.tick() => caller.progress(format!("event {id}: still looking")).await?,
            }
        };
        let report = report.map_err(|why| No::failed(format!("event {id} could not be compared: {why}")))?;
        let (ledger, data) = (self.parts.ledger.clone(), self.parts.configuration.node.data.clone());
        let found = serde_json::to_value(&report).map_err(No::failed)?;
        let closed = event.closed.is_some();
        let mut shown = off_loop(move || super::event::shown(&ledger, &data, event)).await?;
        shown.exceptions = report::exceptions(&found, closed);
        shown.report = Some(found);
        let listed = shown.exceptions.len();
        caller.item(Item::EventShown(shown)).await?;
        Ok(words(id, closed, &report, listed))
    }
}

/// What came of a comparison, in a sentence.
fn words(id: EventId, closed: bool, report: &Report, listed: usize) -> String {
    let Report { accepted, settled, waiting, lost, .. } = report;
    let look = match listed {
        0 => String::new(),
        listed => format!("; a person must look at what is listed ({listed})"),
    };
    if id == NO_EVENT {
        let Report { doubled, primary, .. } = report;
        return format!(
            "{primary}: of {accepted} messages {settled} are settled, {waiting} wait, {lost} are lost, {doubled} are doubled{look}"
        );
    }
    match (closed, report.is_clean()) {
        (true, true) => format!("event {id}: all {accepted} messages are accounted for"),
        (true, false) => format!(
            "event {id}: of {accepted} messages {settled} are settled, {waiting} still wait, {lost} are lost{look}"
        ),
        (false, _) => format!(
            "event {id} is still open, so this is how it stands and not its proof: of {accepted} messages {settled} are \
             settled, {waiting} wait, {lost} are lost{look}"
        ),
    }
}
