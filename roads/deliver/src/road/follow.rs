//! What others wrote: accepted mail, orders, settlements of the mirror, acts of people.

use super::{FOLLOW_BATCH, Journey, lock};
use crate::history::History;
use crate::lane::LaneName;
use crate::queue::{Key, NewItem, Way};
use crate::route::{Errands, Map};
use std::sync::Arc;
use stores_journal::JournalEntry;
use stores_ledger::{Entry, Settlement};
use tokio::time::Instant;
use words_mail::{Destination, Evidence, Finding, OrderKind, Plane};

impl Journey {
    /// Takes in what was accepted. `true` when there is more at once.
    pub(super) fn follow(&mut self) -> bool {
        // Looked at first: what the scan finds goes at least so far.
        let end = self.road.parts.arrivals.as_ref().map(|arrivals| *arrivals.borrow());
        for _ in 0..FOLLOW_BATCH {
            if self.road.queue().len() >= self.road.settings.queue_most {
                return false;
            }
            match self.scan.next() {
                Some(Ok(entry)) => self.take_in(&entry),
                Some(Err(error)) => {
                    tracing::error!(%error, "the journal cannot be read; trying again");
                    return false;
                }
                None => {
                    if let Some(end) = end {
                        lock(&self.road.totals).through = end;
                    }
                    if !self.caught_up {
                        self.caught_up = true;
                        lock(&self.road.totals).caught_up = true;
                        // Everything accepted from now on is new: nothing of it can be done already.
                        self.history = History::default();
                        tracing::info!(waiting = self.road.queue().len(), "the queue is rebuilt");
                    }
                    return false;
                }
            }
        }
        true
    }

    fn take_in(&mut self, entry: &JournalEntry) {
        let trace = entry.accepted.trace;
        if !self.caught_up {
            self.place_listed(entry);
        }
        let errands = self.errands(entry);
        for errand in errands {
            self.add(entry, errand);
        }
        let stops = self.road.stops();
        let mut queue = self.road.queue();
        for key in queue.of_mail(entry.position) {
            let stopped = queue
                .item(&key)
                .is_some_and(|item| stops.is_stopped(trace, &item.recipient, &item.destination));
            if stopped {
                queue.stop(key, true, Instant::now());
            }
        }
    }

    pub(crate) fn errands(&self, entry: &JournalEntry) -> Vec<Errands> {
        self.errands_of(entry, false)
    }

    /// As [`Journey::errands`]; `release` lets it out of quarantine.
    pub(crate) fn errands_of(&self, entry: &JournalEntry, release: bool) -> Vec<Errands> {
        let directory = self.road.parts.directory.borrow().clone();
        let map = Map {
            settings: &self.road.settings,
            directory: &directory,
            orders: &self.orders,
            history: &self.history,
            now: self.road.parts.world.clock.now(),
            fresh: self.caught_up && !release,
            release,
        };
        map.errands(entry)
    }

    pub(crate) fn add(&mut self, entry: &JournalEntry, errand: Errands) {
        let accepted = &entry.accepted;
        let mail = (accepted.trace, accepted.at, accepted.size, accepted.envelope.sender.clone());
        match errand {
            Errands::Wait(item) => self.road.queue().add(mail, vec![item], Instant::now()),
            Errands::Settle(item, outcome) => {
                let key = item.key;
                let item = NewItem { unknowns: 0, ..item };
                self.road.queue().add(mail, vec![item], Instant::now());
                self.settle_item(key, outcome, false, Some(Arc::new(entry.clone())));
            }
        }
    }

    /// Fills in what the ledger does not say of listed errands.
    fn place_listed(&mut self, entry: &JournalEntry) {
        let accepted = &entry.accepted;
        let mut listed = self.road.listed();
        let of_this = crate::view::listed_of(&listed, accepted.trace);
        for errand in of_this {
            let Some(listed) = listed.get_mut(&errand) else { continue };
            let wanted = &listed.settlement.recipient;
            let index = accepted.envelope.recipients.iter().position(|r| r.address == *wanted);
            let way =
                if listed.settlement.destination == Destination::Mailbox { Way::Here } else { Way::Onward };
            let index = index.and_then(|index| u32::try_from(index).ok());
            listed.place = index.map(|index| (entry.position, index, way));
            listed.from = Some(accepted.envelope.sender.clone());
            listed.accepted = Some(accepted.at);
            listed.size = accepted.size;
        }
    }

    pub(super) fn follow_ledger(&mut self) {
        self.read_ledger();
        lock(&self.road.totals).obeyed = self.ledger.position();
    }

    fn read_ledger(&mut self) {
        let now = Instant::now();
        for _ in 0..FOLLOW_BATCH * 16 {
            let entered = match self.ledger.next() {
                None => return,
                Some(Err(error)) => {
                    tracing::error!(%error, "the ledger cannot be read; trying again");
                    return;
                }
                Some(Ok(entered)) => entered,
            };
            match entered.entry {
                Entry::Observation(seen)
                    if seen.plane == Plane::Inbound
                        && seen.finding == Finding::Up
                        && seen.evidence != Evidence::Live
                        && seen.account.is_none() =>
                {
                    self.road.queue().seen_well(&LaneName::Primary(seen.primary));
                }
                Entry::Settlement(settlement) => self.settled_by_others(&settlement, now),
                Entry::QueueAct(act) => self.obey(&act),
                _ => {}
            }
        }
        // There is more: come back soon.
        self.next_ledger = now;
    }

    /// The mirror may have found a message whose fate we do not know.
    fn settled_by_others(&mut self, settlement: &Settlement, now: Instant) {
        if !settlement.outcome.is_final() {
            return;
        }
        let mut queue = self.road.queue();
        let Some(position) = queue.find(settlement.trace) else { return };
        for key in queue.of_mail(position) {
            let same = queue.item(&key).is_some_and(|item| {
                item.recipient == settlement.recipient && item.destination == settlement.destination
            });
            if same && queue.take(key) {
                queue.settled(key, now);
            }
        }
    }

    pub(super) fn orders_are(&mut self) {
        self.orders = self.orders_changed.borrow_and_update().clone();
        let mut queue = self.road.queue();
        queue.orders_changed(self.orders.as_ref(), Instant::now());
        // What was to leave through a primary that is down leaves from here.
        let relays: Vec<(Key, Destination)> = queue
            .items()
            .filter(|(_, item, _)| match &item.lane {
                LaneName::Relay(primary) => self.orders.on(OrderKind::OutboundDirect, primary, None),
                _ => false,
            })
            .map(|(key, item, _)| (*key, item.destination.clone()))
            .collect();
        for (key, destination) in relays {
            let Destination::Internet(domain) = &destination else { continue };
            let lane = match &self.road.settings.internet.smart_host {
                Some(_) => LaneName::SmartHost,
                None => LaneName::Domain(domain.clone()),
            };
            queue.redirect(key, destination, lane, Instant::now());
        }
    }
}
