//! Open connections, kept a while for the next message.

use crate::lane::LaneName;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use stores_primary::smtp::Session;
use tokio::time::Instant;

#[derive(Default)]
pub(crate) struct Pool {
    idle: Mutex<BTreeMap<LaneName, Vec<(Instant, Session)>>>,
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<LaneName, Vec<(Instant, Session)>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection of a lane; the one used last, since it is the least likely to have been closed.
    pub(crate) fn take(&self, lane: &LaneName) -> Option<Session> {
        self.lock().get_mut(lane)?.pop().map(|(_, session)| session)
    }

    /// Keeps a connection, if it is good for another message.
    pub(crate) fn keep(&self, lane: &LaneName, session: Session, messages_most: u32) -> Option<Session> {
        if !session.is_usable() {
            return None;
        }
        if session.begun() >= messages_most {
            return Some(session);
        }
        self.lock().entry(lane.clone()).or_default().push((Instant::now(), session));
        None
    }

    /// Takes out what was idle for so long, to be closed with good manners.
    pub(crate) fn stale(&self, idle: Duration) -> Vec<Session> {
        let mut stale = Vec::new();
        let mut lanes = self.lock();
        for sessions in lanes.values_mut() {
            // In the order they were put back: the oldest stand first.
            let keep = sessions.iter().position(|(at, _)| at.elapsed() < idle).unwrap_or(sessions.len());
            stale.extend(sessions.drain(..keep).map(|(_, session)| session));
        }
        lanes.retain(|_, sessions| !sessions.is_empty());
        stale
    }

    /// Whether no connection is kept.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Forgets every connection of a lane that failed: its others are most likely dead too.
    pub(crate) fn forget(&self, lane: &LaneName) {
        self.lock().remove(lane);
    }
}
