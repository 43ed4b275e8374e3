//! Rows of a row group, and what has to be read of it for them.

use std::ops::Range;

use datafusion::parquet::arrow::arrow_reader::{RowSelection, RowSelectionPolicy};
use datafusion::parquet::file::metadata::ColumnChunkMetaData;
use datafusion::parquet::file::page_index::offset_index::PageLocation;

/// Rows of a row group.
pub(super) struct Chosen {
    pub(super) group: usize,
    /// Rows of the row group.
    pub(super) rows: usize,
    pub(super) runs: Vec<Range<usize>>,
    pub(super) selection: RowSelection,
    /// How many they are.
    pub(super) count: usize,
    /// They are scattered so that the Parquet reader decodes what lies between them, too.
    pub(super) scattered: bool,
}

impl Chosen {
    pub(super) fn new(group: usize, rows: usize, runs: Vec<Range<usize>>) -> Chosen {
        // Each run may stand between two others.
        let changes = 2 * runs.len() + 1;
        let scattered = match RowSelectionPolicy::default() {
            RowSelectionPolicy::Auto { threshold, .. } => rows < changes * threshold,
            RowSelectionPolicy::Selectors => false,
            RowSelectionPolicy::Mask => true,
        };
        Chosen {
            group,
            rows,
            count: runs.iter().map(Range::len).sum(),
            selection: RowSelection::from_consecutive_ranges(runs.iter().cloned(), rows),
            runs,
            scattered,
        }
    }

    /// What has to be read of a leaf for them.
    pub(super) fn ranges(
        &self,
        chunk: &ColumnChunkMetaData,
        places: Option<&[PageLocation]>,
    ) -> Vec<Range<u64>> {
        let whole = whole(chunk);
        match places {
            Some(places @ [first, ..]) if !self.scattered => {
                let mut ranges = self.selection.scan_ranges(places);
                let data = u64::try_from(first.offset).unwrap_or(whole.start);
                if whole.start < data {
                    // What stands before the pages is the dictionary.
                    ranges.push(whole.start..data);
                }
                ranges
            }
            _ => vec![whole],
        }
    }
}

/// Where a chunk is.
pub(super) fn whole(chunk: &ColumnChunkMetaData) -> Range<u64> {
    let (start, length) = chunk.byte_range();
    start..start + length
}

/// Where a page is.
pub(super) fn range(place: &PageLocation) -> Range<u64> {
    let start = u64::try_from(place.offset).unwrap_or(0);
    start..start + u64::try_from(place.compressed_page_size).unwrap_or(0)
}

/// About how many bytes so many of a chunk are, decompressed.
pub(super) fn inflated(bytes: u64, chunk: &ColumnChunkMetaData) -> u64 {
    let whole = chunk.uncompressed_size().max(1).unsigned_abs();
    let compressed = chunk.compressed_size().max(1).unsigned_abs();
    let inflated = u128::from(bytes) * u128::from(whole) / u128::from(compressed);
    u64::try_from(inflated).unwrap_or(u64::MAX)
}
