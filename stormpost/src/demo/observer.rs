//! Watches Stormpost from outside, by the same command that people use, and notes when what was seen first.

use crate::control::client::{Told, call};
use crate::control::protocol::{EventShown, Item, Lag, PrimaryStatus, Request, Status};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use words_mail::{State, Time};

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A moment, with how far the primary was behind then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    /// When.
    pub(super) at: Instant,
    /// The same by the node's clock.
    pub(super) now: Time,
    /// What it had not got.
    pub(super) lag: Lag,
}

/// What was seen first when, and what was seen last.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// The first moment in which the primary was not READY.
    pub(super) suspect: Option<Instant>,
    /// The first moment with an open event.
    pub(super) event: Option<Instant>,
    /// The first moment in RETURNING.
    pub(super) returning: Option<Mark>,
    /// The first moment after that in which less waited than then.
    pub(super) draining: Option<Instant>,
    /// The first moment after that in which nothing waited that was accepted before the return.
    pub(super) drained: Option<Instant>,
    /// The last change from an open event, or a doubt, to READY.
    pub(super) ready: Option<Instant>,
    /// The last answer.
    pub(super) last: Option<Status>,
}

impl Seen {
    /// Whether the primary is READY, and no event is open.
    pub(super) fn is_ready(&self) -> bool {
        let primary = self.last.as_ref().and_then(|status| status.primaries.values().next());
        primary.is_some_and(is_ready)
    }

    /// How many messages wait, and changes of people.
    pub(super) fn waiting(&self) -> (u64, u64) {
        let Some(status) = &self.last else { return (0, 0) };
        let changes = status.primaries.values().map(|primary| primary.lag.changes).sum();
        (status.queue.messages, changes)
    }

    fn note(&mut self, status: Status, at: Instant) {
        if let Some(primary) = status.primaries.values().next() {
            self.note_primary(primary, Mark { at, now: status.now, lag: primary.lag });
        }
        self.last = Some(status);
    }

    fn note_primary(&mut self, primary: &PrimaryStatus, mark: Mark) {
        if primary.state != State::Ready {
            self.suspect.get_or_insert(mark.at);
        }
        if primary.event.is_some() {
            self.event.get_or_insert(mark.at);
        }
        if self.event.is_some() && primary.state == State::Returning {
            self.returning.get_or_insert(mark);
        }
        if let Some(returning) = &self.returning {
            let older = |than: Option<Time>| match (mark.lag.oldest, than) {
                (Some(oldest), Some(than)) => oldest > than,
                (None, _) => true,
                (Some(_), None) => false,
            };
            if mark.lag.messages < returning.lag.messages || older(returning.lag.oldest) {
                self.draining.get_or_insert(mark.at);
            }
            if older(Some(returning.now)) {
                self.drained.get_or_insert(mark.at);
            }
        }
        if self.suspect.is_some() && is_ready(primary) {
            if !self.is_ready() {
                self.ready = Some(mark.at);
            }
        } else {
            self.ready = None;
        }
    }
}

fn is_ready(primary: &PrimaryStatus) -> bool {
    primary.state == State::Ready && primary.event.is_none()
}

/// The observer. Clones share what was seen.
#[derive(Clone)]
pub(super) struct Observer {
    socket: PathBuf,
    seen: Arc<Mutex<Seen>>,
}

impl Observer {
    /// An observer of the node with this control socket.
    pub(super) fn new(socket: PathBuf) -> Observer {
        Observer { socket, seen: Arc::default() }
    }

    /// What was seen so far.
    pub(super) fn seen(&self) -> Seen {
        self.inner().clone()
    }

    fn inner(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks until it is dropped.
    pub(super) async fn run(self) {
        loop {
            self.look().await;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Looks once; whether there was an answer.
    pub(super) async fn look(&self) -> bool {
        for item in self.ask(Request::Status).await {
            if let Item::Status(status) = item {
                self.inner().note(status, Instant::now());
                return true;
            }
        }
        false
    }

    /// The latest event, with what Stormpost's own reconciliation says of it.
    pub(super) async fn event(&self) -> Option<EventShown> {
        let items = self.ask(Request::EventShow { event: None }).await;
        items.into_iter().find_map(|item| match item {
            Item::EventShown(shown) => Some(shown),
            _ => None,
        })
    }

    /// Everything that is answered; nothing when nobody answers.
    async fn ask(&self, request: Request) -> Vec<Item> {
        let socket = self.socket.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let mut items = Vec::new();
            let ended = call(&socket, request, |told| {
                if let Told::Item(item) = told {
                    items.push(*item);
                }
            });
            ended.map(|_| items)
        });
        match asked.await {
            Ok(Ok(items)) => items,
            Ok(Err(why)) => {
                tracing::debug!(%why, "the node was asked and did not answer");
                Vec::new()
            }
            Err(_) => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::protocol::Lag;
    use std::collections::BTreeMap;
    use words_mail::{EventId, Mode};

    fn status(state: State, event: bool, messages: u64, oldest: i64, now: i64) -> Status {
        let primary = PrimaryStatus {
            state,
            words: String::new(),
            mode: Mode::Automatic,
            planes: BTreeMap::new(),
            event: event.then_some(EventId(1)),
            on: Vec::new(),
            lag: Lag { messages, changes: 0, oldest: (messages > 0).then(|| Time::from_seconds(oldest)) },
            pinned: None,
            proved: None,
        };
        Status {
            now: Time::from_seconds(now),
            primaries: BTreeMap::from([("office".to_owned(), primary)]),
            ..Status::default()
        }
    }

    #[test]
    fn an_outage_is_seen_step_by_step() {
        let began = Instant::now();
        let mut seen = Seen::default();
        let steps = [
            status(State::Ready, false, 0, 0, 0),
            status(State::Suspect, false, 3, 1, 1),
            status(State::Active, true, 9, 1, 2),
            status(State::Returning, true, 20, 1, 3),
            status(State::Returning, true, 12, 2, 4),
            // New mail keeps coming: what waits now came after the return.
            status(State::Returning, true, 2, 5, 5),
            status(State::Ready, false, 1, 6, 6),
            status(State::Ready, false, 0, 0, 7),
        ];
        for (n, step) in steps.into_iter().enumerate() {
            seen.note(step, began + Duration::from_secs(n as u64));
        }
        let second = |at: Option<Instant>| at.map(|at| (at - began).as_secs());
        assert_eq!(second(seen.suspect), Some(1));
        assert_eq!(second(seen.event), Some(2));
        assert_eq!(second(seen.returning.map(|mark| mark.at)), Some(3));
        assert_eq!(second(seen.draining), Some(4));
        assert_eq!(second(seen.drained), Some(5));
        assert_eq!(second(seen.ready), Some(6));
        assert!(seen.is_ready());
    }

    #[test]
    fn a_relapse_is_not_taken_for_the_end() {
        let began = Instant::now();
        let mut seen = Seen::default();
        seen.note(status(State::Suspect, false, 0, 0, 1), began);
        seen.note(status(State::Ready, false, 0, 0, 2), began);
        assert!(seen.ready.is_some());
        seen.note(status(State::Suspect, false, 0, 0, 3), began);
        assert!(seen.ready.is_none() && !seen.is_ready());
    }
}
