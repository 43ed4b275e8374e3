//! Least and greatest values of pages, by the order of the dictionary's values.

use parquet::basic::BoundaryOrder;
use parquet::errors::Result;
use parquet::file::metadata::ColumnIndexBuilder;
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::schema::types::ColumnDescPtr;

use super::value::Value;

/// The values of a dictionary in order, so that a row costs no comparison of text.
pub(super) struct Ranks<V> {
    sorted: Vec<V>,
    /// The rank of each value of the dictionary.
    ranks: Vec<u32>,
}

impl<V: Value> Ranks<V> {
    pub(super) fn of(values: &[V]) -> Ranks<V> {
        let mut order: Vec<u32> = (0..values.len() as u32).collect();
        order.sort_unstable_by_key(|key| values[*key as usize]);
        let mut ranks = vec![0; values.len()];
        for (rank, key) in order.iter().enumerate() {
            ranks[*key as usize] = rank as u32;
        }
        Ranks {
            sorted: order.iter().map(|key| values[*key as usize]).collect(),
            ranks,
        }
    }

    /// The least and the greatest of these values.
    pub(super) fn range(&self, indices: &[u32]) -> Option<(V, V)> {
        let ranks = indices.iter().map(|key| self.ranks[*key as usize]);
        let (least, greatest) = ranks.fold((u32::MAX, 0), |(least, greatest), rank| {
            (least.min(rank), greatest.max(rank))
        });
        (!indices.is_empty()).then(|| (self.sorted[least as usize], self.sorted[greatest as usize]))
    }

    /// The least and the greatest of all values: each of them stands in some row.
    pub(super) fn whole(&self) -> Option<(V, V)> {
        Some((*self.sorted.first()?, *self.sorted.last()?))
    }
}

/// The ranges of a chunk's pages.
pub(super) struct PageRanges<V: Value> {
    builder: ColumnIndexBuilder,
    last: Option<(V::Bound, V::Bound)>,
    ascending: bool,
    descending: bool,
}

impl<V: Value> PageRanges<V> {
    pub(super) fn new(leaf: &ColumnDescPtr) -> PageRanges<V> {
        PageRanges {
            builder: ColumnIndexBuilder::new(leaf.physical_type()),
            last: None,
            ascending: true,
            descending: true,
        }
    }

    /// The next page; `range` is none where all its values are null.
    pub(super) fn add(&mut self, range: Option<(V, V)>, nulls: usize) {
        let Some((least, greatest)) = range else {
            self.builder
                .append(true, Vec::new(), Vec::new(), nulls as i64);
            return;
        };
        let (least, greatest) = (least.below(), greatest.above());
        self.builder
            .append(false, V::bytes(&least), V::bytes(&greatest), nulls as i64);
        if let Some((low, high)) = &self.last {
            self.ascending &= *low <= least && *high <= greatest;
            self.descending &= *low >= least && *high >= greatest;
        }
        self.last = Some((least, greatest));
    }

    pub(super) fn build(mut self) -> Result<ColumnIndexMetaData> {
        self.builder
            .set_boundary_order(match (self.ascending, self.descending) {
                (true, _) => BoundaryOrder::ASCENDING,
                (false, true) => BoundaryOrder::DESCENDING,
                (false, false) => BoundaryOrder::UNORDERED,
            });
        self.builder.build()
    }
}
