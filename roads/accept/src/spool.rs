//! How much mail may wait: over the budget nothing more is taken until some of it has gone.
//!
//! Who takes mail in knows what it has taken; what has gone since, only who delivers knows, and says so from time to
//! time. Dead or hung, it says nothing, and then what is taken is what waits: the budget holds then too.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What waits, as this process knows it.
#[derive(Debug)]
pub struct Spool {
    /// Bytes that may wait.
    budget: u64,
    state: Mutex<State>,
    /// Messages that were not taken because the budget was used up.
    turned_away: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// Bytes made durable since the start of this process.
    stored: u64,
    /// Bytes that are being made durable.
    storing: u64,
    /// What was last said to wait, bytes, …
    waiting: u64,
    /// … when so much had been made durable.
    at: u64,
    /// Whether somebody was turned away since the budget was last met.
    over: bool,
}

impl State {
    fn waiting(&self) -> u64 {
        let since = self.stored.saturating_sub(self.at);
        self.waiting.saturating_add(since).saturating_add(self.storing)
    }
}

/// Room for one message, given back when it was not stored after all.
pub(crate) struct Room<'a> {
    spool: &'a Spool,
    size: u64,
}

impl Room<'_> {
    /// The message is durable.
    pub(crate) fn stored(self) {
        let mut state = self.spool.state();
        state.stored = state.stored.saturating_add(self.size);
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        let mut state = self.spool.state();
        state.storing = state.storing.saturating_sub(self.size);
    }
}

impl Spool {
    pub(crate) fn new(budget: u64) -> Spool {
        Spool { budget, state: Mutex::default(), turned_away: AtomicU64::new(0) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes made durable since the start of this process.
    pub fn stored(&self) -> u64 {
        self.state().stored
    }

    /// Bytes that wait: what was last said, and what was taken since.
    pub fn waiting(&self) -> u64 {
        self.state().waiting()
    }

    /// Whether the budget is used up.
    pub fn is_full(&self) -> bool {
        self.waiting() >= self.budget
    }

    /// Messages not taken for it since the start.
    pub fn turned_away(&self) -> u64 {
        self.turned_away.load(Ordering::Relaxed)
    }

    /// So many bytes waited when [`Spool::stored`] was `at`.
    pub fn told(&self, waiting: u64, at: u64) {
        let mut state = self.state();
        (state.waiting, state.at) = (waiting, at);
        if state.over && state.waiting() < self.budget {
            state.over = false;
            tracing::info!(
                waiting = state.waiting(),
                budget = self.budget,
                "mail is taken again: some of what waited has gone"
            );
        }
    }

    /// Whether a sender must be told to come back.
    pub(crate) fn turns_away(&self) -> bool {
        let mut state = self.state();
        let full = state.waiting() >= self.budget;
        if full {
            self.turn_away(&mut state);
        }
        full
    }

    /// Room for a message that has come in. The last one may be larger than what is left: it is here already.
    pub(crate) fn room(&self, size: u64) -> Option<Room<'_>> {
        let mut state = self.state();
        if state.waiting() >= self.budget {
            self.turn_away(&mut state);
            return None;
        }
        state.storing = state.storing.saturating_add(size);
        Some(Room { spool: self, size })
    }

    /// Room for our own reports and notices, which are few and small and must get through just then.
    pub(crate) fn room_for_our_own(&self, size: u64) -> Room<'_> {
        let mut state = self.state();
        state.storing = state.storing.saturating_add(size);
        Room { spool: self, size }
    }

    fn turn_away(&self, state: &mut State) {
        self.turned_away.fetch_add(1, Ordering::Relaxed);
        if !state.over {
            state.over = true;
            tracing::error!(
                waiting = state.waiting(),
                budget = self.budget,
                "as much mail waits as may wait: senders are told to come back later"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_counts_until_it_is_said_to_have_gone() {
        let spool = Spool::new(1_000);
        spool.room(600).unwrap().stored();
        assert_eq!((spool.waiting(), spool.stored(), spool.is_full()), (600, 600, false));
        spool.room(600).unwrap().stored();
        assert_eq!((spool.waiting(), spool.is_full()), (1_200, true), "one may go beyond");
        assert!(spool.room(1).is_none() && spool.turns_away());
        assert_eq!(spool.turned_away(), 2);
        // Said when only the first was known: the second still counts.
        spool.told(0, 600);
        assert_eq!((spool.waiting(), spool.is_full()), (600, false));
        spool.told(0, 1_200);
        assert_eq!(spool.waiting(), 0);
        assert!(!spool.turns_away());
    }

    #[test]
    fn room_that_is_not_used_comes_back() {
        let spool = Spool::new(1_000);
        let room = spool.room(1_000).unwrap();
        assert!(spool.room(1).is_none(), "while it is being stored it counts");
        drop(room);
        assert_eq!((spool.waiting(), spool.stored()), (0, 0));
        spool.room(1_000).unwrap().stored();
        spool.room_for_our_own(10).stored();
        assert_eq!(spool.waiting(), 1_010, "our own words get through");
    }

    #[test]
    fn what_waited_before_this_process_began_counts_as_soon_as_it_is_said() {
        let spool = Spool::new(1_000);
        assert!(!spool.is_full(), "with nobody to say it, mail is taken");
        spool.told(5_000, 0);
        assert!(spool.turns_away());
        spool.told(10, 0);
        assert!(spool.room(1).is_some());
    }
}
