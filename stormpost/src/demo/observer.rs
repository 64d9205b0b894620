//! Watches Stormpost from outside, by the same command that people use, and notes when what was seen first.

use crate::control::client::{Told, call};
use crate::control::protocol::{Item, PrimaryStatus, Request, Status};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use words_mail::State;

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What was seen first when, and what was seen last.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The first moment in which the primary was not READY.
    pub suspect: Option<Instant>,
    /// The first moment with an open event.
    pub event: Option<Instant>,
    /// The first moment in RETURNING.
    pub returning: Option<Instant>,
    /// The first moment with an empty queue after that.
    pub drained: Option<Instant>,
    /// The first moment in which all was READY again after that.
    pub ready: Option<Instant>,
    /// The last answer.
    pub last: Option<Status>,
    /// Why there was none, if there was none last time.
    pub silent: Option<String>,
}

/// The observer. Clones share what was seen.
#[derive(Clone)]
pub struct Observer {
    socket: PathBuf,
    seen: Arc<Mutex<Seen>>,
}

impl Observer {
    /// An observer of the node with this control socket.
    pub fn new(socket: PathBuf) -> Observer {
        Observer { socket, seen: Arc::default() }
    }

    /// What was seen so far.
    pub fn seen(&self) -> Seen {
        self.inner().clone()
    }

    fn inner(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks until it is dropped.
    pub async fn run(self) {
        loop {
            let socket = self.socket.clone();
            let looked = tokio::task::spawn_blocking(move || {
                let mut status = None;
                let ended = call(&socket, Request::Status, |told| {
                    if let Told::Item(item) = told
                        && let Item::Status(found) = *item
                    {
                        status = Some(found);
                    }
                });
                ended.map(|_| status)
            });
            match looked.await {
                Ok(Ok(Some(status))) => self.note(status),
                Ok(Err(why)) => self.inner().silent = Some(why.to_string()),
                Ok(Ok(None)) | Err(_) => {}
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn note(&self, status: Status) {
        let now = Instant::now();
        let mut seen = self.inner();
        seen.silent = None;
        if let Some(primary) = status.primaries.values().next() {
            note_primary(&mut seen, primary, status.queue.messages, now);
        }
        seen.last = Some(status);
    }
}

fn note_primary(seen: &mut Seen, primary: &PrimaryStatus, queued: u64, now: Instant) {
    if primary.state != State::Ready {
        seen.suspect.get_or_insert(now);
    }
    if primary.event.is_some() {
        seen.event.get_or_insert(now);
    }
    if seen.event.is_some() && primary.state == State::Returning {
        seen.returning.get_or_insert(now);
    }
    if seen.returning.is_some() && queued == 0 {
        seen.drained.get_or_insert(now);
    }
    if seen.returning.is_some() && primary.event.is_none() && primary.state == State::Ready {
        seen.ready.get_or_insert(now);
    }
}
