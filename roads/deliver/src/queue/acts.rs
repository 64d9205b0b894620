//! What people do to the queue.

use super::{Key, Queue, State};
use crate::lane::{Lane, LaneName};
use tokio::time::Instant;
use words_mail::Destination;

impl Queue {
    /// A person stops or releases an item.
    pub(crate) fn stop(&mut self, key: Key, stop: bool, now: Instant) {
        let Some(item) = self.items.get(&key) else { return };
        match (&item.state, stop) {
            (State::InFlight | State::Settling | State::Doubtful { .. } | State::Stopped, true) => {}
            (_, true) => {
                self.free_trial(key, now);
                self.move_to(key, State::Stopped);
            }
            (State::Stopped, false) => self.move_to(key, State::Ready { fresh: false }),
            (_, false) => {}
        }
    }

    /// A person stops or releases a whole lane.
    pub(crate) fn halt(&mut self, name: &LaneName, halt: bool) {
        let pace = self.rules.pace(name);
        self.lanes.entry(name.clone()).or_insert_with(|| Lane::new(pace)).halted = halt;
        self.ready(name.clone());
    }

    /// A person wants an item tried now.
    pub(crate) fn retry(&mut self, key: Key, now: Instant) {
        let Some(item) = self.items.get_mut(&key) else { return };
        item.tries = 0;
        let name = item.lane.clone();
        let person = item.recipient.key();
        match item.state {
            State::InFlight | State::Settling | State::Doubtful { .. } => return,
            State::Held => {
                // It becomes the one that is tried for the person.
                if let Some(person) = self.lanes.get_mut(&name).and_then(|l| l.persons.get_mut(&person)) {
                    person.trying = Some(key);
                    person.until = now;
                }
                self.move_to(key, State::Ready { fresh: false });
            }
            _ => self.move_to(key, State::Ready { fresh: false }),
        }
        if let Some(lane) = self.lanes.get_mut(&name) {
            lane.seen_well();
        }
        self.ready(name);
    }

    /// The settlement of an item begins: it stands nowhere until [`Queue::settled`]. `false` when it is being handed
    /// over, or settled already.
    pub(crate) fn take(&mut self, key: Key) -> bool {
        match self.items.get(&key) {
            None => false,
            Some(item) if matches!(item.state, State::InFlight | State::Settling) => false,
            Some(_) => {
                self.lift(key);
                true
            }
        }
    }

    /// Puts an item that could not be settled where it waits for a person: sending it would be against what was
    /// decided about it.
    pub(crate) fn put_aside(&mut self, key: Key) {
        if self.items.get(&key).is_some_and(|item| item.state == State::Settling) {
            self.place(key, State::Stopped);
        }
    }

    /// An item goes another way from now on.
    pub(crate) fn redirect(&mut self, key: Key, destination: Destination, lane: LaneName, now: Instant) {
        if !self.take(key) {
            return;
        }
        self.free_trial(key, now);
        if let Some(item) = self.items.get_mut(&key) {
            item.destination = destination;
            item.lane = lane;
            item.tries = 0;
        }
        self.place(key, State::Ready { fresh: false });
    }
}
