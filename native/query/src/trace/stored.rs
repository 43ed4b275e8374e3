//! A file's rows of one trace. The column of ids tells which rows, and of the other columns only
//! the pages with those rows are read; what a row group's statistics tell is not read at all, and
//! what is left is decoded on several threads at once.
//!
//! ```text
//!  row group --> trace_id ----> rows --+--> one value in all rows, or none: from the statistics
//!                (whole column)        `--> pages with the rows --> decoded in shares
//! ```

use std::ops::Range;
use std::sync::Arc;
use std::vec::IntoIter;

use arrow::array::{
    Array, ArrayRef, Date32Array, FixedSizeBinaryArray, RecordBatch, StringViewArray, UInt32Array,
    new_null_array,
};
use arrow::compute::take;
use arrow::datatypes::{Field, SchemaRef};
use datafusion::common::Result;
use datafusion::parquet::arrow::ProjectionMask;
use datafusion::parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use datafusion::parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder, RowSelection, RowSelectionPolicy,
};
use datafusion::parquet::arrow::async_reader::AsyncFileReader;
use datafusion::parquet::file::metadata::{PageIndexPolicy, RowGroupMetaData};
use futures::stream::{self, StreamExt};
use otlake_base::{Code, DataFile, Error};

use super::pages::Pages;
use super::{Batches, TRACE_ID, runs_of};
use crate::table::{LakeTable, external};

/// Rows of one batch of ids.
const ID_ROWS: usize = 8192;
/// What decoding a leaf costs beside its bytes, as so many of them.
const LEAF_BYTES: u64 = 16 * 1024;

/// A file that a trace is looked up in.
pub(super) struct Stored {
    reader: Box<dyn AsyncFileReader + Send>,
    layout: ArrowReaderMetadata,
    /// The table's columns: those of the file, and those that its place tells.
    schema: SchemaRef,
    place: [ArrayRef; 2],
}

/// What is looked for, and how it is read.
#[derive(Clone, Copy)]
pub(crate) struct Lookup {
    pub(crate) trace_id: [u8; 16],
    /// Rows of a batch, at most.
    pub(crate) batch_rows: usize,
    /// Threads that decode at once, at most.
    pub(crate) threads: usize,
}

impl Stored {
    /// The file, open; none where another writer gave its columns other types, which takes a scan.
    pub(super) async fn open(table: &LakeTable, file: &DataFile) -> Result<Option<Stored>> {
        let mut reader = table.open(file)?;
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
        let metadata = reader.get_metadata(Some(&options)).await?;
        let (schema, stored) = table.schemas();
        let layout = ArrowReaderMetadata::try_new(metadata, options.with_schema(stored));
        let place: [ArrayRef; 2] = [
            Arc::new(StringViewArray::from(vec![file.tenant.as_str()])),
            Arc::new(Date32Array::from(vec![file.day])),
        ];
        Ok(layout.ok().map(|layout| Stored {
            reader,
            layout,
            schema,
            place,
        }))
    }

    /// The rows of these row groups, group by group.
    pub(super) fn rows(self, groups: Vec<usize>, lookup: Lookup) -> Batches {
        let reading = Reading {
            file: self,
            lookup,
            groups: groups.into_iter(),
            group: None,
        };
        let rows = stream::try_unfold(reading, |mut reading| async move {
            let batch = reading.next().await?;
            Ok(batch.map(|batch| (batch, reading)))
        });
        rows.boxed()
    }
}

struct Reading {
    file: Stored,
    lookup: Lookup,
    groups: IntoIter<usize>,
    group: Option<Group>,
}

/// A row group with rows of the trace.
struct Group {
    /// By column: the value that all of its rows have, in one row; none where it is decoded.
    known: Vec<Option<ArrayRef>>,
    shares: Vec<Share>,
}

/// Some of the columns, by number, and what decodes them.
struct Share {
    columns: Vec<usize>,
    rows: ParquetRecordBatchReader,
}

impl Reading {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(group) = &mut self.group {
                if let Some(columns) = group.next().await? {
                    let schema = Arc::clone(&self.file.schema);
                    return Ok(Some(RecordBatch::try_new(schema, columns)?));
                }
                self.group = None;
            }
            let Some(group) = self.groups.next() else {
                return Ok(None);
            };
            self.group = self.open(group).await?;
        }
    }

    /// Finds the rows of the trace in a row group, and reads the pages that they are in.
    async fn open(&mut self, group: usize) -> Result<Option<Group>> {
        let layout = self.file.layout.clone();
        let metadata = layout.metadata();
        let chunks = metadata.row_group(group);
        let leaves = layout.parquet_schema().columns();
        let id = leaves
            .iter()
            .position(|leaf| leaf.path().string() == TRACE_ID);
        let id = id.ok_or_else(|| external(Error::new(Code::TableCorrupt, "no trace_id")))?;
        let (start, length) = chunks.column(id).byte_range();
        let end = start + length;
        let pages = self.read(vec![Range { start, end }]).await?;
        let Some(selection) = self.select(group, id, pages)? else {
            return Ok(None);
        };

        let fields = self.file.schema.fields();
        let mut known: Vec<Option<ArrayRef>> = vec![None; fields.len()];
        let own = FixedSizeBinaryArray::try_from_iter([self.lookup.trace_id].into_iter())?;
        let stored = fields.len() - self.file.place.len();
        known[stored..].clone_from_slice(&self.file.place.clone().map(Some));
        let offsets = metadata
            .offset_index()
            .and_then(|offsets| offsets.get(group));
        let mut ranges = Vec::new();
        let mut decoded: Vec<(u64, usize)> = Vec::new();
        let mut leaf = 0;
        for column in 0..stored {
            let first = leaf;
            let is_own =
                |leaf: &usize| layout.parquet_schema().get_column_root_idx(*leaf) == column;
            leaf += (first..leaves.len()).take_while(is_own).count();
            known[column] = match column {
                // At least one column is decoded, which tells how many rows there are.
                _ if column + 1 == stored && decoded.is_empty() => None,
                _ if first == id => Some(Arc::new(own.clone()) as ArrayRef),
                _ if leaf == first + 1 => constant(&fields[column], &layout, chunks, first),
                _ => None,
            };
            if known[column].is_some() {
                continue;
            }
            let mut bytes = 0;
            for leaf in first..leaf {
                let (start, length) = chunks.column(leaf).byte_range();
                let before = ranges.len();
                match offsets.and_then(|offsets| offsets.get(leaf)) {
                    Some(index) if !index.page_locations().is_empty() => {
                        let locations = index.page_locations();
                        let pages = selection.scan_ranges(locations);
                        let data = u64::try_from(locations[0].offset).unwrap_or(start);
                        // What stands before the pages is the dictionary.
                        ranges.extend((start < data).then_some(start..data));
                        ranges.extend(pages);
                    }
                    _ => ranges.push(start..start + length),
                }
                let read = ranges[before..].iter().map(|range| range.end - range.start);
                bytes += LEAF_BYTES + read.sum::<u64>();
            }
            decoded.push((bytes, column));
        }
        let pages = self.read(ranges).await?;
        let shares = shares(decoded, self.lookup.threads)
            .into_iter()
            .map(|columns| {
                let mask = ProjectionMask::roots(layout.parquet_schema(), columns.iter().copied());
                let rows = ParquetRecordBatchReaderBuilder::new_with_metadata(
                    pages.clone(),
                    layout.clone(),
                )
                .with_row_groups(vec![group])
                .with_projection(mask)
                .with_row_selection(selection.clone())
                // The other way of skipping rows decodes pages that were not read.
                .with_row_selection_policy(RowSelectionPolicy::Selectors)
                .with_batch_size(self.lookup.batch_rows)
                .build()?;
                Ok(Share { columns, rows })
            });
        let shares = shares.collect::<Result<_>>()?;
        Ok(Some(Group { known, shares }))
    }

    async fn read(&mut self, ranges: Vec<Range<u64>>) -> Result<Pages> {
        let read = self.file.reader.get_byte_ranges(ranges.clone()).await?;
        Ok(Pages::new(&ranges, read))
    }

    /// The rows of the trace; none where there are none.
    fn select(&self, group: usize, id: usize, pages: Pages) -> Result<Option<RowSelection>> {
        let layout = self.file.layout.clone();
        let mask = ProjectionMask::leaves(layout.parquet_schema(), [id]);
        let ids = ParquetRecordBatchReaderBuilder::new_with_metadata(pages, layout)
            .with_row_groups(vec![group])
            .with_projection(mask)
            .with_batch_size(ID_ROWS)
            .build()?;
        let (mut runs, mut rows) = (Vec::new(), 0);
        for batch in ids {
            let batch = batch?;
            let found = runs_of(&batch, &self.lookup.trace_id)?;
            runs.extend(
                found
                    .into_iter()
                    .map(|run| rows + run.start..rows + run.end),
            );
            rows += batch.num_rows();
        }
        let selection = || RowSelection::from_consecutive_ranges(runs.iter().cloned(), rows);
        Ok((!runs.is_empty()).then(selection))
    }
}

impl Group {
    /// The columns of the next batch; none at the end.
    async fn next(&mut self) -> Result<Option<Vec<ArrayRef>>> {
        let mut shares = std::mem::take(&mut self.shares).into_iter();
        let mut first = shares.next();
        let others: Vec<_> = shares
            .map(|mut share| {
                tokio::task::spawn_blocking(move || {
                    let batch = share.rows.next().transpose();
                    (share, batch)
                })
            })
            .collect();
        let mut decoded = Vec::with_capacity(others.len() + 1);
        if let Some(share) = &mut first {
            let batch = share.rows.next().transpose();
            decoded.extend(first.map(|share| (share, batch)));
        }
        for other in others {
            let ended = |error| external(Error::new(Code::QueryFailed, error));
            decoded.push(other.await.map_err(ended)?);
        }
        let mut columns = self.known.clone();
        let mut rows = None;
        for (share, batch) in decoded {
            if let Some(batch) = batch? {
                rows = Some(batch.num_rows());
                for (column, array) in share.columns.iter().zip(batch.columns()) {
                    columns[*column] = Some(Arc::clone(array));
                }
            }
            self.shares.push(share);
        }
        let Some(rows) = rows else {
            return Ok(None);
        };
        let all_alike = UInt32Array::from(vec![0; rows]);
        let columns = columns.into_iter().zip(&self.known).map(|(column, known)| {
            let column = column.ok_or_else(|| {
                external(Error::new(
                    Code::Internal,
                    "columns of a row group end apart",
                ))
            })?;
            match known {
                Some(value) => Ok(take(value, &all_alike, None)?),
                None => Ok(column),
            }
        });
        Ok(Some(columns.collect::<Result<_>>()?))
    }
}

/// The columns in shares of like cost, for at most so many threads; each in order.
fn shares(mut decoded: Vec<(u64, usize)>, threads: usize) -> Vec<Vec<usize>> {
    decoded.sort_unstable_by(|a, b| b.cmp(a));
    let mut shares: Vec<(u64, Vec<usize>)> = vec![(0, Vec::new()); threads.max(1)];
    for (bytes, column) in decoded {
        if let Some(least) = shares.iter_mut().min_by_key(|(bytes, _)| *bytes) {
            least.0 += bytes;
            least.1.push(column);
        }
    }
    let columns = shares.into_iter().map(|(_, mut columns)| {
        columns.sort_unstable();
        columns
    });
    columns.filter(|columns| !columns.is_empty()).collect()
}

/// The value that a column has in all rows of a row group, in one row; none where they differ or
/// the statistics do not tell.
fn constant(
    field: &Field,
    layout: &ArrowReaderMetadata,
    group: &RowGroupMetaData,
    leaf: usize,
) -> Option<ArrayRef> {
    let statistics = group.column(leaf).statistics()?;
    let nulls = statistics.null_count_opt()?;
    if nulls > 0 {
        let all = nulls == u64::try_from(group.num_rows()).ok()?;
        return all.then(|| new_null_array(field.data_type(), 1));
    }
    let is_exact = statistics.min_is_exact() && statistics.max_is_exact();
    // Statistics leave out what is not a number, and hold one zero for both.
    let is_ordered = !field.data_type().is_floating() && !field.data_type().is_nested();
    let least = statistics.min_bytes_opt()?;
    if !is_exact || !is_ordered || Some(least) != statistics.max_bytes_opt() {
        return None;
    }
    let schema = layout.schema();
    let converter = StatisticsConverter::try_new(field.name(), schema, layout.parquet_schema());
    let value = converter.ok()?.row_group_mins([group]).ok()?;
    let is_same = value.is_valid(0) && value.data_type() == field.data_type();
    is_same.then_some(value)
}
