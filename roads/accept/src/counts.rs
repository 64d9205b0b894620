//! Numbers for the metrics page.

use std::sync::atomic::{AtomicU64, Ordering};

/// What the road has done since it started.
#[derive(Debug, Default)]
pub struct Counts {
    /// Connections taken.
    pub connections: AtomicU64,
    /// Connections turned away because there were too many.
    pub turned_away: AtomicU64,
    /// Messages made durable.
    pub accepted: AtomicU64,
    /// Messages that were repeats of one made durable before.
    pub repeated: AtomicU64,
    /// Messages refused for good after they were sent.
    pub refused: AtomicU64,
    /// Messages not taken now; their senders try again.
    pub deferred: AtomicU64,
    /// Recipients refused for good.
    pub recipients_refused: AtomicU64,
    /// Messages parked because they go round in a loop.
    pub parked: AtomicU64,
    /// Messages delivered with a mark.
    pub tagged: AtomicU64,
    /// Messages kept back.
    pub quarantined: AtomicU64,
    /// Messages taken although a scanner that should have looked at them did not answer.
    pub unscanned: AtomicU64,
    /// Sign-ins that failed.
    pub sign_ins_failed: AtomicU64,
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
