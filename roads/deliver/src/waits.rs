//! Whether a message still waits, and why: asked by those who compare promises with what became of them, and by people.

use crate::history::is_about;
use crate::queue::Way;
use crate::view::QueueView;
use std::collections::HashSet;
use stores_ledger::{Position, QueueAct};
use words_mail::{AccountId, Address, Destination, PrimaryId, TraceId};

/// Reasons that are told at most.
const HOLDS_MAX: usize = 100;

/// Why messages wait after a person resumed them.
#[derive(Clone, Debug, PartialEq)]
pub enum Holds {
    /// An order pauses deliveries: for everybody at the primary, or for one account of it.
    Order(PrimaryId, Option<AccountId>),
    /// A person's pause of another scope.
    Pause(QueueAct),
}

impl QueueView {
    /// Up to where in the ledger people's acts were obeyed.
    pub fn obeyed(&self) -> Position {
        self.road.obeyed()
    }

    /// What still holds the messages that some resumptions were about, and how many messages each holds. Messages are
    /// counted once for each that holds them.
    pub fn still_paused(&self, resumed: &[QueueAct]) -> Vec<(Holds, usize)> {
        let stops = self.road.stops().clone();
        let in_force = self.road.parts.ledger.in_force();
        let named: HashSet<TraceId> = resumed.iter().filter_map(|act| act.trace).collect();
        let wide: Vec<&QueueAct> = resumed.iter().filter(|act| act.trace.is_none()).collect();
        let mut held: Vec<(Holds, usize)> = Vec::new();
        let mut last = None;
        let queue = self.road.queue();
        for (key, item, mail) in queue.items().filter(|(key, ..)| key.way == Way::Onward) {
            let (trace, to, at) = (mail.trace, &item.recipient, &item.destination);
            if !named.contains(&trace) && !wide.iter().any(|act| is_about(act, trace, to, at)) {
                continue;
            }
            let by = match (stops.stopped_by(trace, to, at), at) {
                (Some(act), _) => Holds::Pause(act.clone()),
                (None, Destination::Primary(primary)) if in_force.paused(primary, item.account.as_ref()) => {
                    let alone = item.account.clone().filter(|_| !in_force.paused(primary, None));
                    Holds::Order(primary.clone(), alone)
                }
                _ => continue,
            };
            let known = held.iter().position(|(known, _)| *known == by);
            let place = known.unwrap_or(held.len());
            if known.is_none() {
                if held.len() >= HOLDS_MAX {
                    continue;
                }
                held.push((by, 0));
            }
            if last.replace((key.position, place)) != Some((key.position, place)) {
                held[place].1 += 1;
            }
        }
        held
    }

    /// Whether a message is still to be delivered to a recipient beyond the mailboxes here. `None` while that is not
    /// known: the queue is being read after a start, or there is more in the journal than it may hold.
    pub fn waits(&self, trace: TraceId, recipient: &Address) -> Option<bool> {
        let queue = self.road.queue();
        let stands = queue.find(trace).is_some_and(|position| {
            let keys = queue.of_mail(position).into_iter().filter(|key| key.way == Way::Onward);
            keys.filter_map(|key| queue.item(&key)).any(|item| item.recipient == *recipient)
        });
        // What did not fit is taken in as soon as there is room, so a queue that is half empty has all of it.
        let is_whole = queue.len() < self.road.settings.queue_most / 2;
        drop(queue);
        if stands { Some(true) } else { (is_whole && self.road.knows_all()).then_some(false) }
    }
}
