//! Recognising a message that comes back.
//!
//! A loop is the same trace id *and* recipient *and* direction: lists and redirects legitimately carry our id back
//! for somebody else, or the other way. What was accepted lately is remembered in memory; a slower loop, or one that
//! outlives a restart, meets the hop limit.

use std::collections::hash_map::RandomState;
use std::collections::{HashSet, VecDeque};
use std::hash::BuildHasher;
use std::sync::{Mutex, PoisonError};
use words_mail::{Address, Recipient, Source, TraceId};

/// Recipients remembered: about 2 MB.
const REMEMBERED_MAX: usize = 65_536;

/// What was accepted lately.
pub(crate) struct Returned {
    hashing: RandomState,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    seen: HashSet<u64>,
    order: VecDeque<u64>,
}

impl Returned {
    pub(crate) fn new() -> Returned {
        Returned { hashing: RandomState::new(), state: Mutex::default() }
    }

    fn mark(&self, id: TraceId, source: Source, to: &Address) -> u64 {
        self.hashing.hash_one((id, source, to))
    }

    /// Remembers a message that was accepted.
    pub(crate) fn remember(&self, id: TraceId, source: Source, recipients: &[Recipient]) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for recipient in recipients {
            let mark = self.mark(id, source, &recipient.address);
            if state.seen.insert(mark) {
                state.order.push_back(mark);
            }
            if state.order.len() > REMEMBERED_MAX
                && let Some(oldest) = state.order.pop_front()
            {
                state.seen.remove(&oldest);
            }
        }
    }

    /// Whether a message that carries these ids was accepted before for one of these recipients by the same door.
    pub(crate) fn knows(&self, ids: &[TraceId], source: Source, recipients: &[Recipient]) -> bool {
        if ids.is_empty() {
            return false;
        }
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        ids.iter()
            .any(|id| recipients.iter().any(|r| state.seen.contains(&self.mark(*id, source, &r.address))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use words_mail::Time;

    fn to(text: &str) -> Vec<Recipient> {
        vec![Recipient::new(Address::parse(text).unwrap())]
    }

    #[test]
    fn a_loop_is_the_same_id_recipient_and_direction() {
        let returned = Returned::new();
        let id = TraceId::new(Time(0), [1; 10]);
        let other = TraceId::new(Time(0), [2; 10]);
        returned.remember(id, Source::Edge, &to("anna@x.example"));
        assert!(returned.knows(&[other, id], Source::Edge, &to("ANNA@x.example")));
        assert!(!returned.knows(&[id], Source::Edge, &to("berta@x.example")), "a redirect");
        assert!(!returned.knows(&[id], Source::Submission, &to("anna@x.example")), "the other way");
        assert!(!returned.knows(&[other], Source::Edge, &to("anna@x.example")));
        assert!(!returned.knows(&[], Source::Edge, &to("anna@x.example")));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let returned = Returned::new();
        let first = TraceId::new(Time(0), [0; 10]);
        let recipients = to("anna@x.example");
        returned.remember(first, Source::Edge, &recipients);
        for n in 0..REMEMBERED_MAX as u64 {
            let mut random = [1; 10];
            random[..8].copy_from_slice(&n.to_be_bytes());
            returned.remember(TraceId::new(Time(0), random), Source::Edge, &recipients);
        }
        assert!(!returned.knows(&[first], Source::Edge, &recipients));
        assert_eq!(returned.state.lock().unwrap().seen.len(), REMEMBERED_MAX);
    }
}
