//! Sequence sets as clients write them (RFC 3501 §9 `sequence-set`), and sets of numbers as we keep them.

use std::fmt;

/// A sequence set, in the order it was written: `1:5,9,12:*`. Message numbers or UIDs, the command tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct SequenceSet {
    /// Pairs as written; 0 stands for `*`, which no message can be numbered.
    ranges: Vec<(u32, u32)>,
}

impl SequenceSet {
    /// Reads a set; `None` when it is not one.
    pub fn parse(text: &[u8]) -> Option<SequenceSet> {
        let mut ranges = Vec::new();
        for range in text.split(|b| *b == b',') {
            let mut ends = range.splitn(2, |b| *b == b':');
            let first = end(ends.next()?)?;
            let last = ends.next().map_or(Some(first), end)?;
            ranges.push((first, last));
        }
        Some(SequenceSet { ranges })
    }

    /// The set of one number.
    pub fn one(number: u32) -> SequenceSet {
        SequenceSet { ranges: vec![(number.max(1), number.max(1))] }
    }

    /// `first:*`.
    pub fn starting(first: u32) -> SequenceSet {
        SequenceSet { ranges: vec![(first.max(1), 0)] }
    }

    /// The numbers the set means when `*` is `highest`: the highest number in use, 0 in an empty mailbox.
    ///
    /// A range with `*` always holds the highest, also when its other end is above it (RFC 3501 §6.4.8).
    pub fn resolve(&self, highest: u32) -> Ranges {
        let star = |n: u32| if n == 0 { highest } else { n };
        let pairs = self.ranges.iter().map(|(a, b)| (star(*a).min(star(*b)), star(*a).max(star(*b))));
        Ranges::of(pairs.filter(|(_, last)| *last > 0).map(|(first, last)| (first.max(1), last)).collect())
    }

    /// The numbers one by one in the order written, at most `limit`; `None` when there are more or a `*` is in it.
    ///
    /// For APPENDUID and COPYUID, where order is meaning (RFC 4315 §3).
    pub fn in_order(&self, limit: usize) -> Option<Vec<u32>> {
        let mut numbers = Vec::new();
        for (first, last) in &self.ranges {
            if *first == 0 || *last == 0 {
                return None;
            }
            let count = first.abs_diff(*last) as usize;
            if count >= limit.saturating_sub(numbers.len()) {
                return None;
            }
            if first <= last {
                numbers.extend(*first..=*last);
            } else {
                numbers.extend((*last..=*first).rev());
            }
        }
        Some(numbers)
    }

    /// A set of the numbers in the given order, neighbours drawn together; `None` when there are none.
    pub fn of(numbers: impl IntoIterator<Item = u32>) -> Option<SequenceSet> {
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        for number in numbers.into_iter().filter(|n| *n > 0) {
            match ranges.last_mut() {
                Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
                _ => ranges.push((number, number)),
            }
        }
        (!ranges.is_empty()).then_some(SequenceSet { ranges })
    }
}

impl From<&Ranges> for SequenceSet {
    fn from(ranges: &Ranges) -> SequenceSet {
        SequenceSet { ranges: ranges.ranges.clone() }
    }
}

fn end(text: &[u8]) -> Option<u32> {
    match text {
        b"*" => Some(0),
        [b'1'..=b'9', ..] => std::str::from_utf8(text).ok()?.parse().ok(),
        _ => None,
    }
}

impl fmt::Display for SequenceSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (first, last)) in self.ranges.iter().enumerate() {
            let gap = if at == 0 { "" } else { "," };
            match (first, last) {
                (0, 0) => write!(f, "{gap}*")?,
                (0, n) => write!(f, "{gap}*:{n}")?,
                (n, 0) => write!(f, "{gap}{n}:*")?,
                (a, b) if a == b => write!(f, "{gap}{a}")?,
                (a, b) => write!(f, "{gap}{a}:{b}")?,
            }
        }
        Ok(())
    }
}

/// A set of numbers above zero, kept as sorted ranges that neither touch nor overlap.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ranges {
    ranges: Vec<(u32, u32)>,
}

impl Ranges {
    /// The set of all numbers in the pairs (first, last), in any order; pairs the wrong way round are empty.
    pub fn of(mut pairs: Vec<(u32, u32)>) -> Ranges {
        pairs.retain(|(first, last)| first <= last && *last > 0);
        pairs.sort_unstable();
        let mut ranges: Vec<(u32, u32)> = Vec::with_capacity(pairs.len().min(1_024));
        for (first, last) in pairs {
            match ranges.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
                _ => ranges.push((first.max(1), last)),
            }
        }
        Ranges { ranges }
    }

    /// Adds a number; cheap when it is above all the others.
    pub fn insert(&mut self, number: u32) {
        match self.ranges.last_mut() {
            Some((first, last)) if (*first..=*last).contains(&number) => {}
            Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
            Some((_, last)) if *last > number => {
                let mut pairs = std::mem::take(&mut self.ranges);
                pairs.push((number, number));
                *self = Ranges::of(pairs);
            }
            _ if number > 0 => self.ranges.push((number, number)),
            _ => {}
        }
    }

    /// Whether `number` is in the set.
    pub fn contains(&self, number: u32) -> bool {
        let after = self.ranges.partition_point(|(first, _)| *first <= number);
        after > 0 && number <= self.ranges[after - 1].1
    }

    /// Whether nothing is in the set.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// How many numbers are in the set.
    pub fn len(&self) -> u64 {
        self.ranges.iter().map(|(first, last)| u64::from(last - first) + 1).sum()
    }

    /// The ranges, each (first, last), ascending.
    pub fn ranges(&self) -> &[(u32, u32)] {
        &self.ranges
    }

    /// The numbers, ascending. A client can write `1:4294967295`: go through what exists and ask
    /// [`Ranges::contains`] rather than through this.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.ranges.iter().flat_map(|(first, last)| *first..=*last)
    }
}

impl FromIterator<u32> for Ranges {
    fn from_iter<I: IntoIterator<Item = u32>>(numbers: I) -> Ranges {
        let mut pairs: Vec<(u32, u32)> = Vec::new();
        for number in numbers {
            match pairs.last_mut() {
                Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
                _ => pairs.push((number, number)),
            }
        }
        Ranges::of(pairs)
    }
}

impl fmt::Display for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SequenceSet::from(self).fmt(f)
    }
}

impl SequenceSet {
    /// Reads a set at a cursor.
    pub(crate) fn scan(c: &mut crate::scan::Cursor<'_>) -> crate::scan::Parsed<SequenceSet> {
        let run = c.run(|b| b.is_ascii_digit() || matches!(b, b'*' | b':' | b','));
        SequenceSet::parse(run)
            .ok_or(crate::scan::Problem::bad("a set of message numbers is missing or wrong"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_mean_what_the_rfc_says() {
        for (text, highest, meaning) in [
            ("1", 9, "1"),
            ("2,4:7,9,12:*", 15, "2,4:7,9,12:15"),
            ("*:4,5:7", 10, "4:10"),
            ("559:*", 12, "12:559"),
            ("*", 3, "3"),
            ("5:3,4", 9, "3:5"),
            ("1:3,4:6", 9, "1:6"),
            ("*", 0, ""),
            ("4294967295", 1, "4294967295"),
        ] {
            let set = SequenceSet::parse(text.as_bytes()).unwrap();
            assert_eq!(set.to_string(), text);
            assert_eq!(set.resolve(highest).to_string(), meaning, "{text}");
        }
    }

    #[test]
    fn what_is_no_set_is_refused() {
        for text in ["", "0", "1,", ",1", "1:", ":1", "01", "1::2", "1:2:3", "-1", "4294967296", "$", "1 2"] {
            assert_eq!(SequenceSet::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn order_is_kept_where_it_is_meaning() {
        let set = SequenceSet::parse(b"7,3:5,12:10").unwrap();
        assert_eq!(set.in_order(100), Some(vec![7, 3, 4, 5, 12, 11, 10]));
        assert_eq!(set.in_order(6), None);
        assert_eq!(SequenceSet::parse(b"1:4294967295").unwrap().in_order(1_000), None);
        assert_eq!(SequenceSet::of([7, 3, 4, 5]).unwrap().to_string(), "7,3:5");
        assert_eq!(SequenceSet::of([]), None);
    }

    proptest::proptest! {
        #[test]
        fn a_range_set_holds_exactly_what_was_put_in(numbers in proptest::collection::vec(1u32..200, 0..80)) {
            let mut grown = Ranges::default();
            for n in &numbers {
                grown.insert(*n);
            }
            let at_once: Ranges = numbers.iter().copied().collect();
            let mut sorted = numbers.clone();
            sorted.sort_unstable();
            sorted.dedup();
            proptest::prop_assert_eq!(&grown, &at_once);
            proptest::prop_assert_eq!(grown.iter().collect::<Vec<_>>(), sorted.clone());
            proptest::prop_assert_eq!(grown.len(), sorted.len() as u64);
            for n in 1..200 {
                proptest::prop_assert_eq!(grown.contains(n), sorted.contains(&n));
            }
        }
    }
}
