//! Sets of UIDs, kept as ranges: a mailbox of a hundred thousand messages with few holes takes a few hundred bytes.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A set of UIDs as ascending, disjoint, non-adjacent ranges. Written as IMAP writes it: `1:5,7`.
#[derive(Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UidRanges {
    ranges: Vec<(u32, u32)>,
}

impl UidRanges {
    /// The empty set.
    pub const fn new() -> UidRanges {
        UidRanges { ranges: Vec::new() }
    }

    /// All UIDs from `first` to `last`, both included; empty when `first` is greater.
    pub fn span(first: u32, last: u32) -> UidRanges {
        if first > last { UidRanges::new() } else { UidRanges { ranges: vec![(first, last)] } }
    }

    /// Adds one UID.
    pub fn insert(&mut self, uid: u32) {
        self.insert_span(uid, uid);
    }

    /// Adds all UIDs from `first` to `last`.
    pub fn insert_span(&mut self, first: u32, last: u32) {
        if first > last {
            return;
        }
        // New messages come at the end: the common case costs nothing.
        match self.ranges.last_mut() {
            None => return self.ranges.push((first, last)),
            Some(end) if end.1.checked_add(1) == Some(first) => return end.1 = last,
            Some(end) if end.1 < first => return self.ranges.push((first, last)),
            Some(_) => {}
        }
        let from = self.ranges.partition_point(|r| r.1.saturating_add(1) < first);
        let to = self.ranges.partition_point(|r| r.0 <= last.saturating_add(1));
        let joined = self.ranges[from..to]
            .iter()
            .fold((first, last), |joined, r| (joined.0.min(r.0), joined.1.max(r.1)));
        self.ranges.splice(from..to, [joined]);
    }

    /// Adds all of `other`.
    pub fn insert_all(&mut self, other: &UidRanges) {
        for (first, last) in other.spans() {
            self.insert_span(first, last);
        }
    }

    /// Takes one UID out; whether it was there.
    pub fn remove(&mut self, uid: u32) -> bool {
        let at = self.ranges.partition_point(|r| r.1 < uid);
        let Some(&(first, last)) = self.ranges.get(at) else { return false };
        if uid < first {
            return false;
        }
        let before = (first < uid).then(|| (first, uid - 1));
        let after = (uid < last).then(|| (uid + 1, last));
        self.ranges.splice(at..=at, before.into_iter().chain(after));
        true
    }

    /// Takes all UIDs from `first` to `last` out.
    pub fn remove_span(&mut self, first: u32, last: u32) {
        if first > last {
            return;
        }
        let from = self.ranges.partition_point(|r| r.1 < first);
        let to = self.ranges.partition_point(|r| r.0 <= last);
        if from >= to {
            return;
        }
        let before = self.ranges[from].0;
        let after = self.ranges[to - 1].1;
        let before = (before < first).then(|| (before, first - 1));
        let after = (last < after).then(|| (last + 1, after));
        self.ranges.splice(from..to, before.into_iter().chain(after));
    }

    /// Whether `uid` is in the set.
    pub fn contains(&self, uid: u32) -> bool {
        let at = self.ranges.partition_point(|r| r.1 < uid);
        self.ranges.get(at).is_some_and(|r| r.0 <= uid)
    }

    /// How many UIDs are in the set.
    pub fn count(&self) -> u64 {
        self.ranges.iter().map(|r| u64::from(r.1 - r.0) + 1).sum()
    }

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The least UID.
    pub fn first(&self) -> Option<u32> {
        self.ranges.first().map(|r| r.0)
    }

    /// The greatest UID.
    pub fn last(&self) -> Option<u32> {
        self.ranges.last().map(|r| r.1)
    }

    /// The ranges, ascending.
    pub fn spans(&self) -> impl DoubleEndedIterator<Item = (u32, u32)> + ExactSizeIterator + '_ {
        self.ranges.iter().copied()
    }

    /// The UIDs, ascending.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = u32> + '_ {
        self.ranges.iter().flat_map(|r| r.0..=r.1)
    }

    /// What is in both sets.
    pub fn common(&self, other: &UidRanges) -> UidRanges {
        let mut both = UidRanges::new();
        let (mut a, mut b) = (self.spans().peekable(), other.spans().peekable());
        while let (Some(&(a0, a1)), Some(&(b0, b1))) = (a.peek(), b.peek()) {
            both.insert_span(a0.max(b0), a1.min(b1));
            if a1 < b1 {
                a.next();
            } else {
                b.next();
            }
        }
        both
    }

    /// The UIDs of `subset` that are in this set, each with its number here, from 1: IMAP's message numbers.
    pub fn numbered(&self, subset: &UidRanges) -> impl Iterator<Item = (u32, u32)> + use<> {
        let mut spans = Vec::new();
        let (mut at, mut before) = (0, 0u32);
        for (first, last) in self.common(subset).spans() {
            while let Some(span) = self.ranges.get(at).filter(|span| span.1 < first) {
                before += span.1 - span.0 + 1;
                at += 1;
            }
            let start = self.ranges.get(at).map_or(first, |span| span.0);
            spans.push((before + (first - start) + 1, first, last));
        }
        spans.into_iter().flat_map(|(number, first, last)| (number..).zip(first..=last))
    }

    /// The UIDs whose numbers here, from 1, lie in the ascending ranges `numbers`.
    pub fn by_number(&self, numbers: &[(u32, u32)]) -> UidRanges {
        let mut found = UidRanges::new();
        let (mut at, mut before) = (0, 0u64);
        for (low, high) in numbers.iter().map(|(low, high)| (u64::from(*low), u64::from(*high))) {
            let mut low = low.max(1);
            while let Some((first, last)) = self.ranges.get(at).copied().filter(|_| low <= high) {
                let count = u64::from(last - first) + 1;
                if low > before + count {
                    before += count;
                    at += 1;
                    continue;
                }
                let end = high.min(before + count);
                // Both lie within the range, so the offsets fit.
                let offset = |number: u64| first + u32::try_from(number - before - 1).unwrap_or(0);
                found.insert_span(offset(low), offset(end));
                low = end + 1;
            }
        }
        found
    }

    /// The number of a UID in this set, from 1.
    pub fn number_of(&self, uid: u32) -> Option<u32> {
        self.numbered(&UidRanges::span(uid, uid)).next().map(|(number, _)| number)
    }

    /// The set cut into sets of at most `count` UIDs and as many ranges.
    pub fn chunks(&self, count: u32) -> Vec<UidRanges> {
        let mut chunks = Vec::new();
        let (mut open, mut room) = (UidRanges::new(), count.max(1));
        for (mut first, last) in self.spans() {
            while first <= last {
                let end = last.min(first.saturating_add(room - 1));
                open.ranges.push((first, end));
                room -= end - first + 1;
                if room == 0 {
                    chunks.push(std::mem::take(&mut open));
                    room = count.max(1);
                }
                match end.checked_add(1) {
                    Some(next) => first = next,
                    None => break,
                }
            }
        }
        if !open.is_empty() {
            chunks.push(open);
        }
        chunks
    }
}

impl FromIterator<u32> for UidRanges {
    fn from_iter<I: IntoIterator<Item = u32>>(uids: I) -> UidRanges {
        let mut set = UidRanges::new();
        for uid in uids {
            set.insert(uid);
        }
        set
    }
}

impl fmt::Display for UidRanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (first, last)) in self.spans().enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            if first == last {
                write!(f, "{first}")?;
            } else {
                write!(f, "{first}:{last}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for UidRanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{self}}}")
    }
}

impl From<UidRanges> for String {
    fn from(set: UidRanges) -> String {
        set.to_string()
    }
}

impl TryFrom<String> for UidRanges {
    type Error = &'static str;

    fn try_from(text: String) -> Result<UidRanges, &'static str> {
        let number = |text: &str| text.parse::<u32>().map_err(|_| "a UID set has a part that is no number");
        let mut set = UidRanges::new();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (first, last) = part.split_once(':').unwrap_or((part, part));
            set.insert_span(number(first)?, number(last)?);
        }
        Ok(set)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn it_behaves_like_a_plain_set(steps in prop::collection::vec((0u32..60, 0u32..8, any::<bool>()), 0..60), size in 1u32..9) {
            let (mut ranges, mut plain) = (UidRanges::new(), BTreeSet::new());
            for (uid, more, add) in steps {
                if !add && more > 0 {
                    ranges.remove_span(uid, uid + more);
                    plain.retain(|u| !(uid..=uid + more).contains(u));
                } else if add {
                    ranges.insert_span(uid, uid + more);
                    plain.extend(uid..=uid + more);
                } else {
                    prop_assert_eq!(ranges.remove(uid), plain.remove(&uid));
                }
                for (a, b) in ranges.spans().zip(ranges.spans().skip(1)) {
                    prop_assert!(a.1 + 1 < b.0, "ranges touch: {:?}", ranges);
                }
            }
            prop_assert_eq!(ranges.iter().collect::<BTreeSet<_>>(), plain.clone());
            prop_assert_eq!(ranges.count(), plain.len() as u64);
            prop_assert_eq!(UidRanges::try_from(ranges.to_string()), Ok(ranges.clone()));
            let chunks = ranges.chunks(size);
            prop_assert!(chunks.iter().all(|c| c.count() <= u64::from(size) && !c.is_empty()));
            prop_assert_eq!(chunks.iter().flat_map(UidRanges::iter).collect::<Vec<_>>(), plain.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn numbers_and_uids_belong_together(all in prop::collection::btree_set(1u32..60, 0..40), some in prop::collection::btree_set(1u32..60, 0..20), spans in prop::collection::vec((1u32..50, 0u32..9), 0..5)) {
            let (set, subset): (UidRanges, UidRanges) = (all.iter().copied().collect(), some.iter().copied().collect());
            let plain = all.iter().copied().collect::<Vec<_>>();
            let expected = (1..).zip(plain.clone()).filter(|(_, uid)| some.contains(uid)).collect::<Vec<(u32, u32)>>();
            prop_assert_eq!(set.numbered(&subset).collect::<Vec<_>>(), expected);
            let mut wanted = UidRanges::new();
            for (first, more) in spans {
                wanted.insert_span(first, first + more);
            }
            let found = set.by_number(&wanted.spans().collect::<Vec<_>>());
            let expected = (1u32..).zip(plain).filter(|(number, _)| wanted.contains(*number)).map(|(_, uid)| uid);
            prop_assert_eq!(found.iter().collect::<Vec<_>>(), expected.collect::<Vec<_>>());
        }

        #[test]
        fn what_is_common_is_in_both(a in prop::collection::btree_set(0u32..50, 0..30), b in prop::collection::btree_set(0u32..50, 0..30)) {
            let (x, y): (UidRanges, UidRanges) = (a.iter().copied().collect(), b.iter().copied().collect());
            prop_assert_eq!(x.common(&y).iter().collect::<BTreeSet<_>>(), a.intersection(&b).copied().collect::<BTreeSet<_>>());
        }
    }

    #[test]
    fn the_greatest_uid_does_not_overflow() {
        let mut set = UidRanges::span(u32::MAX - 1, u32::MAX);
        set.insert(3);
        set.insert_span(2, u32::MAX);
        assert_eq!(set.to_string(), format!("2:{}", u32::MAX));
        assert_eq!(set.chunks(u32::MAX).len(), 1);
        assert!(UidRanges::try_from("1:x".to_owned()).is_err());
    }
}
