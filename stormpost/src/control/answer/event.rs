//! Events: the list, and one with everything about it.

use super::{Answers, Caller, Ended, No, off_loop};
use crate::control::protocol::{EventShown, ITEMS_MAX, Item};
use crate::report::{self, Gathered};
use std::path::Path;
use stores_ledger::Ledger;
use words_mail::{Event, EventId};

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
    let Gathered { orders, notices, reconciliation } =
        report::gather(&ledger.reader(), &event).map_err(No::failed)?;
    let closed = event.closed.is_some();
    Ok(EventShown {
        orders: orders.into_iter().filter(|order| order.event == Some(event.id)).collect(),
        notices: notices.iter().map(report::told).collect(),
        exceptions: reconciliation
            .as_ref()
            .map(|found| report::exceptions(found, closed))
            .unwrap_or_default(),
        report: reconciliation,
        page: report::page_of(data, event.id).map(|path| path.display().to_string()),
        event,
    })
}
