//! The trace ids' filters of files, in a bounded number of bytes.
//!
//! While all of them fit they are as in the files. Where they do not, each in its turn is folded to half its
//! size: it still passes every row group that has the trace, and some more that the filter in
//! the file is asked for then. What was folded twice and has to give more is given up, and its file's filters
//! are asked for each trace. So a lookup in more files than fit takes somewhat longer with each, in place of
//! reading all filters once one does not fit.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;

use datafusion::parquet::bloom_filter::Sbbf;
use otlake_base::Table;
use xxhash_rust::xxh64::xxh64;

/// Bytes of one block of a filter (the Parquet format's `BloomFilter.md`).
const BLOCK_BYTES: usize = 32;
/// What a file takes beside its filters, and a row group, in bytes.
const FILE_BYTES: usize = 256;
const GROUP_BYTES: usize = size_of::<GroupFilter>();
/// False positives that a filter may have after each turn. Writers make filters a power of two large, so
/// that what they asked for is met two to eight times over, and the first turn often keeps to 1%.
const FOLDED: [f64; 2] = [0.05, 0.4];
/// Files that so many lookups did not ask for are forgotten where others do not fit: most are merged and gone.
const FORGOTTEN_AFTER: u64 = 256;

/// A row group's filter.
pub(super) struct GroupFilter {
    /// Where its blocks are in the file.
    place: Range<u64>,
    /// None once it was given up.
    kept: Option<Sbbf>,
}

impl GroupFilter {
    /// A filter that ends at `end` of its file.
    pub(super) fn new(end: u64, filter: Sbbf) -> GroupFilter {
        let bytes = (filter.num_blocks() * BLOCK_BYTES) as u64;
        GroupFilter {
            place: end.saturating_sub(bytes)..end,
            kept: Some(filter),
        }
    }
}

/// The filters of a file's row groups; none where the file has none for it.
pub(super) struct FileFilters {
    groups: Vec<Option<GroupFilter>>,
    /// Turns that they had.
    turns: usize,
    /// What they take, and took when they were whole.
    bytes: usize,
    whole_bytes: usize,
}

/// The row groups of a file that may have spans of a trace.
pub(crate) struct Groups {
    pub(super) passing: Vec<usize>,
    /// Row groups in all.
    pub(super) count: usize,
}

/// What is known of a file without reading it.
pub(super) enum Known {
    /// Row groups that have it, by the filters that are in the file.
    Sure(Groups),
    /// Row groups that may have it, and the places of their filters, which tell; none where the file has none.
    Unsure(Groups, Vec<Option<Range<u64>>>),
    /// Filters have to be read.
    Nothing,
}

impl Known {
    /// Whether the file has none of the traces.
    pub(super) fn is_none(&self) -> bool {
        matches!(self, Known::Sure(groups) if groups.passing.is_empty())
    }
}

impl FileFilters {
    pub(super) fn new(groups: Vec<Option<GroupFilter>>) -> FileFilters {
        let bytes = bytes(&groups);
        FileFilters {
            groups,
            turns: 0,
            bytes,
            whole_bytes: bytes,
        }
    }

    /// The row groups that may have one of the traces.
    pub(super) fn passing(&self, trace_ids: &[[u8; 16]]) -> Groups {
        let may_have = |group: &Option<GroupFilter>| {
            let filter = group.as_ref().and_then(|group| group.kept.as_ref());
            filter.is_none_or(|filter| trace_ids.iter().any(|id| filter.check(&id[..])))
        };
        let groups = self.groups.iter().enumerate();
        Groups {
            passing: groups
                .filter(|(_, group)| may_have(group))
                .map(|(number, _)| number)
                .collect(),
            count: self.groups.len(),
        }
    }

    fn known(&self, trace_ids: &[[u8; 16]]) -> Known {
        let groups = self.passing(trace_ids);
        if self.bytes == self.whole_bytes || groups.passing.is_empty() {
            return Known::Sure(groups);
        }
        let place = |group: &usize| {
            let filter = self.groups[*group].as_ref()?;
            Some(filter.place.clone())
        };
        let places = groups.passing.iter().map(place).collect();
        Known::Unsure(groups, places)
    }

    /// Makes them smaller; false where they cannot be.
    fn shrink(&mut self) -> bool {
        let before = self.bytes;
        while self.bytes == before && self.turns <= FOLDED.len() {
            let target = FOLDED.get(self.turns);
            for group in self.groups.iter_mut().flatten() {
                group.kept = group
                    .kept
                    .take()
                    .and_then(|filter| folded(filter, *target?));
            }
            self.turns += 1;
            self.bytes = bytes(&self.groups);
        }
        self.bytes < before
    }
}

/// What they take in memory.
fn bytes(groups: &[Option<GroupFilter>]) -> usize {
    let kept = groups.iter().flatten();
    let kept = kept.filter_map(|group| group.kept.as_ref());
    let blocks: usize = kept.map(Sbbf::num_blocks).sum();
    FILE_BYTES + groups.len() * GROUP_BYTES + blocks * BLOCK_BYTES
}

/// The filter at the fewest blocks at which it has no more false positives than `target`. One of another writer
/// may have a number of blocks that cannot be halved.
fn folded(mut filter: Sbbf, target: f64) -> Option<Sbbf> {
    let blocks = filter.num_blocks();
    if !blocks.is_power_of_two() {
        return Some(filter);
    }
    filter.fold_to_target_fpp(target);
    // It still has the memory of all its blocks, a copy does not.
    Some(if filter.num_blocks() < blocks {
        filter.clone()
    } else {
        filter
    })
}

struct Entry {
    filters: FileFilters,
    /// The number of the lookup that asked last.
    asked: u64,
}

type Key = (Table, String);

/// The filters that are known.
pub(super) struct KnownFilters {
    entries: HashMap<Key, Entry>,
    /// Whose turn it is to become smaller, by turns that they had: none has its second before all had one.
    turns: [VecDeque<Key>; FOLDED.len() + 2],
    bytes: usize,
    max_bytes: usize,
    lookups: u64,
    /// The number of the lookup at which files were forgotten last.
    forgot: u64,
    /// What that has freed, in bytes: for so much, filters that were folded are read anew. What folding frees
    /// is not for them, or each that is read would have others folded.
    room: usize,
}

impl KnownFilters {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self {
            entries: HashMap::new(),
            turns: Default::default(),
            bytes: 0,
            max_bytes,
            lookups: 0,
            forgot: 0,
            room: 0,
        }
    }

    /// What is known of each of the files, by paths, about the traces.
    pub(super) fn ask<'a>(
        &mut self,
        table: Table,
        paths: impl Iterator<Item = &'a str>,
        trace_ids: &[[u8; 16]],
    ) -> Vec<Known> {
        self.lookups += 1;
        let mut known = |path: &str| {
            let Some(entry) = self.entries.get_mut(&(table, path.to_owned())) else {
                return Known::Nothing;
            };
            entry.asked = self.lookups;
            let missing = entry.filters.whole_bytes - entry.filters.bytes;
            if missing > 0 && missing <= self.room {
                self.room -= missing;
                return Known::Nothing;
            }
            entry.filters.known(trace_ids)
        };
        paths.map(&mut known).collect()
    }

    /// Keeps the filters of a file, and makes room for them.
    pub(super) fn keep(&mut self, table: Table, path: &str, filters: FileFilters) {
        let key = (table, path.to_owned());
        self.bytes += filters.bytes;
        let entry = Entry {
            filters,
            asked: self.lookups,
        };
        if let Some(before) = self.entries.insert(key.clone(), entry) {
            self.bytes -= before.filters.bytes;
            self.turns[before.filters.turns].retain(|other| *other != key);
        }
        self.turns[0].push_back(key);
        if self.bytes > self.max_bytes && self.lookups >= self.forgot + FORGOTTEN_AFTER {
            self.forget();
        }
        while self.bytes > self.max_bytes
            && let Some(key) = self.turns.iter_mut().find_map(VecDeque::pop_front)
        {
            self.room = 0;
            self.shrink(key);
        }
    }

    /// Drops what was not asked for.
    fn forget(&mut self) {
        self.forgot = self.lookups;
        let (entries, bytes) = (&mut self.entries, &mut self.bytes);
        entries.retain(|_, entry| {
            let is_asked = entry.asked + FORGOTTEN_AFTER >= self.lookups;
            if !is_asked {
                *bytes -= entry.filters.bytes;
            }
            is_asked
        });
        for turns in &mut self.turns {
            turns.retain(|key| entries.contains_key(key));
        }
        self.room = self.max_bytes.saturating_sub(self.bytes);
    }

    /// Makes a file's filters smaller; those that cannot be are forgotten.
    fn shrink(&mut self, key: Key) {
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        self.bytes -= entry.filters.bytes;
        if entry.filters.shrink() {
            self.bytes += entry.filters.bytes;
            self.turns[entry.filters.turns].push_back(key);
        } else {
            self.entries.remove(&key);
        }
    }
}

/// The part of a filter, whose blocks are at this place of a file, that tells whether its row group may have one
/// of some traces.
pub(super) struct Part {
    pub(super) place: Range<u64>,
    /// The first block of the place, and the blocks of the filter.
    first: usize,
    blocks: usize,
}

impl Part {
    pub(super) fn new(filter: &Range<u64>, trace_ids: &[[u8; 16]]) -> Part {
        let blocks = (filter.end - filter.start) as usize / BLOCK_BYTES;
        let all = trace_ids.iter().map(|id| block(id, blocks));
        let (first, last) = all.fold((blocks, 0), |(first, last), block| {
            (first.min(block), last.max(block))
        });
        let at = |block: usize| filter.start + (block * BLOCK_BYTES) as u64;
        Part {
            place: at(first.min(last))..at(last + 1),
            first,
            blocks,
        }
    }

    /// Whether it may; `bytes` are those at the place.
    pub(super) fn may_have(&self, bytes: &[u8], trace_ids: &[[u8; 16]]) -> bool {
        trace_ids.iter().any(|id| {
            let at = (block(id, self.blocks) - self.first) * BLOCK_BYTES;
            // A filter of the one block that it would look at.
            Sbbf::new(&bytes[at..at + BLOCK_BYTES]).check(&id[..])
        })
    }
}

/// The block of a filter of so many that has a trace (the Parquet format's `BloomFilter.md`).
fn block(trace_id: &[u8; 16], blocks: usize) -> usize {
    let high = xxh64(trace_id, 0) >> 32;
    ((high * blocks as u64) >> 32) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample_test::{Random, seeded};

    const GROUPS: usize = 4;
    const TRACES: u64 = 2_000;

    fn id(random: &mut Random) -> [u8; 16] {
        let (low, high) = (random.below(u64::MAX), random.below(u64::MAX));
        (u128::from(high) << 64 | u128::from(low)).to_ne_bytes()
    }

    /// A file of four row groups, and an id of each.
    fn file(random: &mut Random) -> (FileFilters, Vec<[u8; 16]>) {
        let mut ids = Vec::new();
        let mut group = |number: usize| {
            let mut filter = Sbbf::new_with_ndv_fpp(TRACES, 0.001).unwrap();
            for _ in 1..TRACES {
                filter.insert(&id(random)[..]);
            }
            ids.push(id(random));
            filter.insert(&ids[number][..]);
            Some(GroupFilter::new((number + 1) as u64 * 10_000, filter))
        };
        let groups = (0..GROUPS).map(&mut group).collect();
        (FileFilters::new(groups), ids)
    }

    /// Files that wait for a turn.
    fn queued(known: &KnownFilters) -> usize {
        known.turns.iter().map(VecDeque::len).sum()
    }

    /// Row groups that may have a trace that none has, of those of `files`.
    fn passed(known: &mut KnownFilters, files: usize, random: &mut Random) -> usize {
        let paths: Vec<String> = (0..files).map(|file| file.to_string()).collect();
        let of = |known: &Known| match known {
            Known::Sure(groups) | Known::Unsure(groups, _) => groups.passing.len(),
            Known::Nothing => panic!("it was kept"),
        };
        let asked = known.ask(
            Table::Spans,
            paths.iter().map(String::as_str),
            &[id(random)],
        );
        asked.iter().map(of).sum()
    }

    #[test]
    fn i5_filters_of_more_files_than_fit_are_folded_and_none_is_read_again() {
        let mut random = seeded();
        let one = file(&mut random).0.bytes;
        let mut known = KnownFilters::new(one * 16);
        let mut ids = Vec::new();
        for number in 0..48 {
            let (filters, own) = file(&mut random);
            known.keep(Table::Spans, &number.to_string(), filters);
            ids.push(own);
            assert!(known.bytes <= known.max_bytes);
            assert_eq!(known.entries.len(), queued(&known));
            let bytes: usize = known
                .entries
                .values()
                .map(|entry| entry.filters.bytes)
                .sum();
            assert_eq!(known.bytes, bytes);
            let all = (number + 1) * GROUPS * 50;
            let passed: usize = (0..50)
                .map(|_| passed(&mut known, number + 1, &mut random))
                .sum();
            // Whole, folded once, folded twice.
            let most = [0.002, 0.05, 0.4][number / 16];
            assert!(
                passed as f64 <= 5.0 + all as f64 * most,
                "{passed} of {all} with {number}"
            );
        }
        // What a file has passes, and the places tell which filter to ask.
        for (number, ids) in ids.iter().enumerate() {
            for (group, id) in ids.iter().enumerate() {
                let path = number.to_string();
                let asked = known.ask(Table::Spans, [&path[..]].into_iter(), &[*id]);
                let [Known::Unsure(groups, places)] = &asked[..] else {
                    panic!("file {number} is not folded");
                };
                let at = groups.passing.iter().position(|passing| *passing == group);
                let place = places[at.unwrap()].clone().unwrap();
                assert_eq!(place.end, (group + 1) as u64 * 10_000);
            }
        }
    }

    #[test]
    fn i5_beyond_all_folding_filters_are_given_up_and_no_bound_is_passed() {
        let mut random = seeded();
        let one = file(&mut random).0.bytes;
        let mut known = KnownFilters::new(one);
        for number in 0..40 {
            known.keep(Table::Spans, &number.to_string(), file(&mut random).0);
            assert!(known.bytes <= known.max_bytes);
        }
        assert_eq!(known.entries.len(), queued(&known));
        let given_up = known.entries.values();
        let given_up = given_up.filter(|entry| entry.filters.turns > FOLDED.len());
        assert!(given_up.count() > 0);
    }

    /// How often what is known of a file was folded; none where its filters have to be read.
    fn turns(known: &mut KnownFilters, path: &str) -> Option<usize> {
        match known.ask(Table::Spans, [path].into_iter(), &[[0; 16]])[0] {
            Known::Nothing => None,
            _ => Some(
                known.entries[&(Table::Spans, path.to_owned())]
                    .filters
                    .turns,
            ),
        }
    }

    #[test]
    fn files_that_are_gone_are_forgotten_and_what_was_folded_is_read_again() {
        let mut random = seeded();
        let one = file(&mut random).0.bytes;
        let mut known = KnownFilters::new(one * 16);
        for number in 0..24 {
            known.keep(Table::Spans, &number.to_string(), file(&mut random).0);
        }
        // The others are gone: a merge has made one of them.
        for _ in 0..=FORGOTTEN_AFTER {
            assert_eq!(turns(&mut known, "0"), Some(1));
        }
        let mut number = 0;
        while known.entries.len() > 20 {
            known.keep(
                Table::Spans,
                &format!("merged {number}"),
                file(&mut random).0,
            );
            number += 1;
            assert!(number <= 16, "none is forgotten");
        }
        assert!(known.bytes <= one * 14 && queued(&known) == known.entries.len());
        for merged in 0..number {
            assert_eq!(turns(&mut known, &format!("merged {merged}")), Some(0));
        }
        assert_eq!(turns(&mut known, "0"), None);
        known.keep(Table::Spans, "0", file(&mut random).0);
        assert_eq!(turns(&mut known, "0"), Some(0));
    }

    #[test]
    fn a_part_of_a_filter_tells_what_the_whole_does() {
        let mut random = seeded();
        for ids in [1, 2, 40, 3_000] {
            let mut filter = Sbbf::new_with_ndv_fpp(ids, 0.1).unwrap();
            let own: Vec<_> = (0..ids).map(|_| id(&mut random)).collect();
            own.iter().for_each(|id| filter.insert(&id[..]));
            let mut bytes = Vec::new();
            filter.write_bitset(&mut bytes).unwrap();
            let filter_at = 100..100 + bytes.len() as u64;
            for count in [1, 1, 1, 2, 7] {
                for _ in 0..200 {
                    let mut asked: Vec<_> = (0..count).map(|_| id(&mut random)).collect();
                    if random.below(2) == 0 {
                        asked[0] = own[random.below(ids) as usize];
                    }
                    let part = Part::new(&filter_at, &asked);
                    let place = part.place.start as usize - 100..part.place.end as usize - 100;
                    assert!(count > 1 || place.len() == BLOCK_BYTES);
                    let may_have = asked.iter().any(|id| filter.check(&id[..]));
                    assert_eq!(part.may_have(&bytes[place], &asked), may_have);
                }
            }
        }
    }

    #[test]
    fn a_filter_whose_blocks_cannot_be_halved_is_given_up_whole() {
        let filter = Sbbf::new(&[0x11; 3 * BLOCK_BYTES]);
        let group = GroupFilter::new(100, filter);
        let mut filters = FileFilters::new(vec![Some(group), None]);
        assert!(filters.shrink());
        assert!(filters.groups[0].as_ref().unwrap().kept.is_none());
        assert!(!filters.shrink());
        let Known::Unsure(groups, places) = filters.known(&[[7; 16]]) else {
            panic!("nothing is known without them");
        };
        assert_eq!(groups.passing, [0, 1]);
        assert_eq!(places, [Some(4..100), None]);
    }
}
