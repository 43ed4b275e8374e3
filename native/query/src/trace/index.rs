//! Which files have a trace, and what was found in them. A file never changes, so what is known of
//! it never gets old; a file that is gone is not asked for any more, and is forgotten.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::{DataFusionError, Result};
use datafusion::parquet::arrow::arrow_reader::ArrowReaderOptions;
use datafusion::parquet::arrow::async_reader::AsyncFileReader;
use datafusion::parquet::bloom_filter::Sbbf;
use datafusion::parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, RowGroupMetaData};
use futures::{StreamExt, TryStreamExt, stream};
use otlake_base::limits::{TRACE_FILTERS_BYTES, TRACE_MARKS_BYTES, TRACE_ROWS_BYTES};
use otlake_base::{DataFile, Table};
use parking_lot::Mutex;

use super::TRACE_ID;
use super::bounded::Bounded;
use super::columns::Columns;
use super::inflate::Inflaters;
use super::marks::Marks;
use crate::table::{FOOTERS_AT_ONCE, LakeTable};

/// Bytes of one block of a filter (the Parquet format's `BloomFilter.md`).
const FILTER_BLOCK_BYTES: usize = 32;
/// What an entry takes beside what it holds, in bytes.
const ENTRY_BYTES: usize = 256;

/// The bloom filter of each row group; none where the file has none for it.
type Filters = Arc<Vec<Option<Sbbf>>>;
/// A file's rows of one trace.
pub(super) type Found = Arc<Vec<RecordBatch>>;

/// The row groups of a file that may have spans of a trace.
pub(super) struct Groups {
    pub(super) passing: Vec<usize>,
    /// Row groups in all.
    pub(super) count: usize,
}

impl Groups {
    fn of(filters: &[Option<Sbbf>], trace_id: &[u8; 16]) -> Groups {
        let may_have = |filter: &Option<Sbbf>| match filter {
            Some(filter) => filter.check(&trace_id[..]),
            None => true,
        };
        let groups = filters.iter().enumerate();
        Groups {
            passing: groups
                .filter(|(_, filter)| may_have(filter))
                .map(|(group, _)| group)
                .collect(),
            count: filters.len(),
        }
    }
}

/// What lookups have learned.
pub(crate) struct TraceIndex {
    filters: Mutex<Bounded<(Table, String), Filters>>,
    found: Mutex<Bounded<(String, [u8; 16]), Found>>,
    marks: Mutex<Bounded<(String, usize), Arc<Marks>>>,
    /// Those of the file that was read last.
    columns: Mutex<Option<Arc<Columns>>>,
    pub(super) inflaters: Arc<Inflaters>,
}

impl TraceIndex {
    pub(crate) fn new() -> Self {
        Self {
            filters: Mutex::new(Bounded::new(TRACE_FILTERS_BYTES)),
            found: Mutex::new(Bounded::new(TRACE_ROWS_BYTES)),
            marks: Mutex::new(Bounded::new(TRACE_MARKS_BYTES)),
            columns: Mutex::new(None),
            inflaters: Arc::default(),
        }
    }

    /// The row groups of files that may have spans of the trace, and the files whose filters are
    /// not known yet.
    pub(super) fn groups<'a>(
        &self,
        table: Table,
        files: &[&'a DataFile],
        trace_id: &[u8; 16],
    ) -> (Vec<(&'a DataFile, Groups)>, Vec<&'a DataFile>) {
        let (mut of_known, mut unknown) = (Vec::new(), Vec::new());
        let mut known = self.filters.lock();
        for file in files {
            match known.get(&(table, file.path.clone())) {
                None => unknown.push(*file),
                Some(filters) => {
                    let groups = Groups::of(&filters, trace_id);
                    if !groups.passing.is_empty() {
                        of_known.push((*file, groups));
                    }
                }
            }
        }
        (of_known, unknown)
    }

    /// As `groups` of these files, in their order, after reading their filters.
    pub(super) async fn read_groups(
        &self,
        table: &LakeTable,
        files: &[&DataFile],
        trace_id: &[u8; 16],
    ) -> Result<Vec<Groups>> {
        let reads: Vec<_> = files
            .iter()
            .map(|file| self.read_groups_of(table, file, trace_id))
            .collect();
        let reads = stream::iter(reads).buffered(FOOTERS_AT_ONCE);
        reads.try_collect().await
    }

    async fn read_groups_of(
        &self,
        table: &LakeTable,
        file: &DataFile,
        trace_id: &[u8; 16],
    ) -> Result<Groups> {
        let filters = Arc::new(read(table.open(file)?).await?);
        let bytes: usize = filters
            .iter()
            .flatten()
            .map(|filter| filter.num_blocks() * FILTER_BLOCK_BYTES)
            .sum();
        let groups = Groups::of(&filters, trace_id);
        let mut known = self.filters.lock();
        known.put(
            (table.table(), file.path.clone()),
            filters,
            bytes + ENTRY_BYTES,
        );
        Ok(groups)
    }

    /// Those of the files that may have spans of one of these traces.
    pub(crate) async fn with_any<'a>(
        &self,
        table: &LakeTable,
        mut files: Vec<&'a DataFile>,
        trace_ids: &[[u8; 16]],
    ) -> Result<Vec<&'a DataFile>> {
        let Some(first) = trace_ids.first() else {
            return Ok(Vec::new());
        };
        let (_, unknown) = self.groups(table.table(), &files, first);
        self.read_groups(table, &unknown, first).await?;
        let mut known = self.filters.lock();
        files.retain(|file| {
            let Some(filters) = known.get(&(table.table(), file.path.clone())) else {
                // Those of others were read since.
                return true;
            };
            let mut trace_ids = trace_ids.iter();
            trace_ids.any(|trace_id| !Groups::of(&filters, trace_id).passing.is_empty())
        });
        Ok(files)
    }

    /// How the columns of a file with this footer are read; none where it takes a scan.
    pub(super) fn columns(
        &self,
        metadata: &Arc<ParquetMetaData>,
        stored: SchemaRef,
    ) -> Result<Option<Arc<Columns>>> {
        let known = self.columns.lock().clone();
        let known = known.filter(|columns| columns.are_of(metadata, &stored));
        if known.is_some() {
            return Ok(known);
        }
        let columns = Columns::of(metadata, stored)?.map(Arc::new);
        if columns.is_some() {
            self.columns.lock().clone_from(&columns);
        }
        Ok(columns)
    }

    /// Which pages of a row group may have a trace; none where its ids were not looked at yet.
    pub(super) fn marks(&self, path: &str, group: usize) -> Option<Arc<Marks>> {
        self.marks.lock().get(&(path.to_owned(), group))
    }

    /// Keeps these.
    pub(super) fn keep_marks(&self, path: String, group: usize, marks: Marks) {
        let bytes = marks.bytes() + ENTRY_BYTES;
        let mut known = self.marks.lock();
        known.put((path, group), Arc::new(marks), bytes);
    }

    /// What was found of the trace in a file; none where it is not known.
    pub(super) fn found(&self, path: &str, trace_id: &[u8; 16]) -> Option<Found> {
        self.found.lock().get(&(path.to_owned(), *trace_id))
    }

    /// Bytes of rows that are worth being gathered for `remember`.
    pub(super) fn remembers(&self, bytes: usize) -> bool {
        self.found.lock().takes(bytes + ENTRY_BYTES)
    }

    /// Keeps what was found of the trace in a file.
    pub(super) fn remember(&self, path: String, trace_id: [u8; 16], rows: Vec<RecordBatch>) {
        let bytes: usize = rows.iter().map(RecordBatch::get_array_memory_size).sum();
        let mut found = self.found.lock();
        found.put((path, trace_id), Arc::new(rows), bytes + ENTRY_BYTES);
    }
}

/// The trace ids' filters of a file.
async fn read(mut reader: Box<dyn AsyncFileReader + Send>) -> Result<Vec<Option<Sbbf>>> {
    // As the scan reads it, so that it is one entry of the cache.
    let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Skip);
    let metadata = reader.get_metadata(Some(&options)).await?;
    let places = places(&metadata);
    let known: Vec<_> = places.iter().flatten().cloned().collect();
    let mut parts = reader.get_byte_ranges(known).await?.into_iter();
    let filter = |place: Option<_>| -> Result<Option<Sbbf>> {
        let Some(bytes) = place.and_then(|_| parts.next()) else {
            return Ok(None);
        };
        let filter = Sbbf::from_bytes(&bytes);
        Ok(Some(filter.map_err(DataFusionError::from)?))
    };
    places.into_iter().map(filter).collect()
}

/// Where the filter of each row group is in the file.
fn places(metadata: &ParquetMetaData) -> Vec<Option<std::ops::Range<u64>>> {
    let place = |group: &RowGroupMetaData| {
        let mut columns = group.columns().iter();
        let column = columns.find(|column| column.column_path().string() == TRACE_ID)?;
        let start = u64::try_from(column.bloom_filter_offset()?).ok()?;
        let length = u64::try_from(column.bloom_filter_length()?).ok()?;
        Some(start..start + length)
    };
    metadata.row_groups().iter().map(place).collect()
}
