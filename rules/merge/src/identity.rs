//! Which message here is which message there.

use crate::ContentHash;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, VecDeque};
use words_mail::TraceId;

/// What a message is known by. A `Message-ID` alone is no identity: it only makes one suspect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// K0: our trace id, from the topmost trace header that our key made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceId>,
    /// K1: the content; `None` when it was not read. An unread content equals nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<ContentHash>,
}

/// What [`pair`] found, by index into the two lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pairing {
    /// Here and there.
    pub both: Vec<(usize, usize)>,
    /// Only here.
    pub here: Vec<usize>,
    /// Only there.
    pub there: Vec<usize>,
}

/// Pairs the messages of one account here with those there, as multisets: nothing is paired twice, and two equal
/// messages here need two there.
///
/// First those whose trace id *and* content agree, then those whose trace id agrees (mail systems add disclaimers),
/// then those whose content agrees and of which at most one carries a trace id of ours: two different trace ids are
/// two acceptances, however equal the words. Among equals the earlier are paired first, so lists are given in order
/// of UID.
pub fn pair(here: &[Identity], there: &[Identity]) -> Pairing {
    let mut left =
        Left { here: (0..here.len()).collect(), there: (0..there.len()).collect(), both: Vec::new() };
    let whole = |id: &Identity| Some(Key(Some(id.trace?), Some(id.content?)));
    let by_trace = |id: &Identity| Some(Key(Some(id.trace?), None));
    left.pass(here, there, &whole, &whole);
    left.pass(here, there, &by_trace, &by_trace);
    let content = |id: &Identity, traced: bool| {
        let content = id.content.filter(|_| id.trace.is_some() == traced)?;
        Some(Key(None, Some(content)))
    };
    // One that carries no trace id prefers another that carries none.
    for (traced_here, traced_there) in [(false, false), (false, true), (true, false)] {
        left.pass(here, there, &|id| content(id, traced_here), &|id| content(id, traced_there));
    }
    left.both.sort_unstable();
    Pairing { both: left.both, here: left.here, there: left.there }
}

#[derive(PartialEq, Eq, Hash)]
struct Key(Option<TraceId>, Option<ContentHash>);

/// What is not paired yet, and what is.
struct Left {
    here: Vec<usize>,
    there: Vec<usize>,
    both: Vec<(usize, usize)>,
}

type KeyOf<'a> = &'a dyn Fn(&Identity) -> Option<Key>;

impl Left {
    /// Pairs what has the same key, the earlier first.
    fn pass(&mut self, here: &[Identity], there: &[Identity], key_here: KeyOf<'_>, key_there: KeyOf<'_>) {
        let mut waiting: HashMap<Key, VecDeque<usize>> = HashMap::new();
        for index in &self.there {
            if let Some(key) = key_there(&there[*index]) {
                waiting.entry(key).or_default().push_back(*index);
            }
        }
        let mut taken = vec![false; there.len()];
        self.here.retain(|index| {
            let found = key_here(&here[*index]).and_then(|key| waiting.get_mut(&key)?.pop_front());
            if let Some(other) = found {
                taken[other] = true;
                self.both.push((*index, other));
            }
            found.is_none()
        });
        self.there.retain(|index| !taken[*index]);
    }
}
