//! Events: the list, and one with everything about it.

use super::{Answers, Caller, Ended, No, off_loop};
use crate::control::protocol::{EventShown, ITEMS_MAX, Item};
use crate::report;
use std::path::Path;
use std::time::Duration;
use stores_ledger::{Entry, Ledger, NoticeResult};
use words_mail::{Event, EventId};

/// Reports and notices may come so long after an event was closed.
const AFTER: Duration = Duration::from_secs(3_600);
/// Notices that are shown at most.
const NOTICES_MAX: usize = 10_000;

impl Answers {
    pub(crate) async fn event_list(&self, limit: usize, caller: &Caller) -> Ended {
        let events = self.parts.ledger.in_force().events();
        for event in events.into_iter().rev().take(limit.min(ITEMS_MAX)) {
            caller.item(Item::Event(event)).await?;
        }
        Ok(String::new())
    }

    pub(crate) async fn event_show(&self, wanted: Option<EventId>, caller: &Caller) -> Ended {
        let in_force = self.parts.ledger.in_force();
        let found = match wanted {
            Some(id) => in_force.event(id).cloned(),
            None => in_force.events().pop(),
        };
        let event = found.ok_or_else(|| match wanted {
            Some(id) => No::not_found(format!("there is no event {id}")),
            None => No::not_found("there was no event yet"),
        })?;
        let ledger = self.parts.ledger.clone();
        let data = self.parts.configuration.node.data.clone();
        let shown = off_loop(move || shown(&ledger, &data, event)).await?;
        caller.item(Item::EventShown(shown)).await?;
        Ok(String::new())
    }
}

/// An event with everything about it. Blocks on the disk.
pub(crate) fn shown(ledger: &Ledger, data: &Path, event: Event) -> Result<EventShown, No> {
    let reader = ledger.reader();
    let from = reader.position_at(event.began.min(event.opened)).map_err(No::failed)?;
    let over = event.closed.map(|closed| closed.after(AFTER));
    let mut shown = EventShown {
        orders: Vec::new(),
        notices: Vec::new(),
        report: None,
        page: report::page_of(data, event.id).map(|path| path.display().to_string()),
        exceptions: Vec::new(),
        event,
    };
    let id = shown.event.id;
    for entered in reader.scan_notices(Some(from)) {
        let entered = entered.map_err(No::failed)?;
        if over.is_some_and(|over| entered.at > over) {
            break;
        }
        match entered.entry {
            Entry::Order(order) if order.event == Some(id) => shown.orders.push(order),
            Entry::Notice(notice)
                if notice.event == Some(id)
                    && notice.result != NoticeResult::Begun
                    && shown.notices.len() < NOTICES_MAX =>
            {
                shown.notices.push(report::told(&notice));
            }
            _ => {}
        }
    }
    let found = report::reconciled(&reader, from, id).map_err(No::failed)?;
    if let Some(report) = found {
        shown.exceptions = report::exceptions(&report);
        shown.report = Some(report);
    }
    Ok(shown)
}
