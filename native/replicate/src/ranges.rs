//! Sets of sequences, as ranges.

use std::collections::BTreeMap;

/// A set of sequences: disjoint ranges that do not touch, each by its first and last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges {
    last_by_first: BTreeMap<u64, u64>,
}

impl Ranges {
    /// The set of one range, both ends in it.
    pub fn of(first: u64, last: u64) -> Ranges {
        let mut ranges = Ranges::default();
        ranges.insert_range(first, last);
        ranges
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.last_by_first.is_empty()
    }

    /// Whether `sequence` is in it.
    pub fn contains(&self, sequence: u64) -> bool {
        let before = self.last_by_first.range(..=sequence).next_back();
        before.is_some_and(|(_, last)| *last >= sequence)
    }

    /// Adds one sequence; false where it was in it.
    pub fn insert(&mut self, sequence: u64) -> bool {
        let is_new = !self.contains(sequence);
        if is_new {
            self.insert_range(sequence, sequence);
        }
        is_new
    }

    /// Adds `first` to `last`.
    pub fn insert_range(&mut self, mut first: u64, mut last: u64) {
        if first > last {
            return;
        }
        let touching = last.saturating_add(1);
        while let Some((from, to)) = self.last_by_first.range(..=touching).next_back() {
            let (from, to) = (*from, *to);
            if to.saturating_add(1) < first {
                break;
            }
            first = first.min(from);
            last = last.max(to);
            self.last_by_first.remove(&from);
        }
        self.last_by_first.insert(first, last);
    }

    /// Adds all of another set.
    pub fn extend(&mut self, other: &Ranges) {
        for (first, last) in other.iter() {
            self.insert_range(first, last);
        }
    }

    /// Takes `first` to `last` out.
    pub fn remove_range(&mut self, first: u64, last: u64) {
        if first > last {
            return;
        }
        while let Some((from, to)) = self.last_by_first.range(..=last).next_back() {
            let (from, to) = (*from, *to);
            if to < first {
                break;
            }
            self.last_by_first.remove(&from);
            if to > last {
                self.last_by_first.insert(last + 1, to);
            }
            if from < first {
                self.last_by_first.insert(from, first - 1);
                break;
            }
        }
    }

    /// Takes one sequence out.
    pub fn remove(&mut self, sequence: u64) {
        self.remove_range(sequence, sequence);
    }

    /// Takes everything up to `upto` out.
    pub fn remove_upto(&mut self, upto: u64) {
        self.remove_range(0, upto);
    }

    /// First and last of each range, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.last_by_first
            .iter()
            .map(|(first, last)| (*first, *last))
    }

    /// How many ranges.
    pub fn len(&self) -> usize {
        self.last_by_first.len()
    }

    /// How many sequences.
    pub fn count(&self) -> u64 {
        self.iter().map(|(first, last)| last - first + 1).sum()
    }

    /// The lowest sequence that is not below `from`.
    pub fn next_from(&self, from: u64) -> Option<u64> {
        if self.contains(from) {
            return Some(from);
        }
        self.last_by_first
            .range(from..)
            .next()
            .map(|(first, _)| *first)
    }

    /// The lowest sequence.
    pub fn first(&self) -> Option<u64> {
        self.last_by_first.keys().next().copied()
    }

    /// The highest sequence.
    pub fn last(&self) -> Option<u64> {
        self.last_by_first.values().next_back().copied()
    }

    /// The end of the range that `sequence` is in.
    pub fn end_of(&self, sequence: u64) -> Option<u64> {
        let (_, last) = self.last_by_first.range(..=sequence).next_back()?;
        (*last >= sequence).then_some(*last)
    }
}

impl FromIterator<(u64, u64)> for Ranges {
    fn from_iter<T: IntoIterator<Item = (u64, u64)>>(ranges: T) -> Ranges {
        let mut set = Ranges::default();
        for (first, last) in ranges {
            set.insert_range(first, last);
        }
        set
    }
}
