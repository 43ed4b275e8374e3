//! A trace by its id, past the SQL planner and without a time range, unless one is given. Rows come batch by batch, as
//! those of SQL do: a trace may be of any size.
//!
//! ```text
//!  live batches ------------------------------------> rows with the id
//!  files --> filters in memory --> row groups --+--> found before: from memory
//!                                               `--> the id's column, then pages of the rest
//! ```
//!
//! - `index`: which row groups may have a trace, and what was found in them.
//! - `filters`: the filters that tell it, in a bounded number of bytes.
//! - `stored`: the rows of a file, row group by row group.
//! - `ids`: which rows of a row group are the trace's.
//! - `marks`: which pages may have it, once all were looked at.
//! - `chosen`: these rows, and what has to be read for them.
//! - `columns`: how a file's columns are read, worked out once for all files that are alike.
//! - `parts`: the columns of these rows, decoded in parts on several threads.
//! - `texts`, `lengths`: few texts out of large pages.
//! - `chunk`: a column's pages, for the Parquet reader.
//! - `inflate`: decompression.
//! - `pages`: what was read of a file.
//! - `answers`: what was answered before.
//! - `bounded`: the cache under it.
//! - `compact`: rows without the pages that they were read from.

mod answers;
mod bounded;
mod chosen;
mod chunk;
mod columns;
mod compact;
mod filters;
mod ids;
mod index;
mod inflate;
mod lengths;
mod marks;
mod pages;
mod parts;
mod stored;
mod texts;

#[cfg(test)]
mod cost_test;
#[cfg(test)]
mod inflate_test;
#[cfg(test)]
mod lengths_test;
#[cfg(test)]
mod stored_test;
#[cfg(test)]
mod trace_test;

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use datafusion::common::{Result, ScalarValue};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{binary, col, lit};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt, future};
use otlake_base::{Code, DataFile, Error};

use crate::table::{FOOTERS_AT_ONCE, LakeTable, external};
pub(crate) use answers::TraceAnswers;
pub use answers::{TraceEncoding, TraceForm};
use compact::compact;
use filters::Groups;
use index::Found;
pub(crate) use index::TraceIndex;
pub(crate) use stored::Lookup;
use stored::Stored;

pub(crate) const TRACE_ID: &str = "trace_id";
pub(crate) const TRACE_ID_BYTES: usize = 16;
/// Files whose next rows are looked up at once.
const FILES_AT_ONCE: usize = 2;

/// A file that may have spans of the trace.
pub(crate) struct Candidate<'a> {
    pub(crate) file: &'a DataFile,
    groups: Groups,
    rows: Source,
}

/// Where a file's rows of the trace come from.
enum Source {
    /// They were found before.
    Found(Found),
    /// The pages that they are in.
    Stored(Box<Stored>),
    /// A scan of the row groups.
    Scan,
}

impl Candidate<'_> {
    /// Whether the file has to be read.
    pub(crate) fn is_unread(&self) -> bool {
        !matches!(self.rows, Source::Found(_))
    }
}

/// The files that may have spans of the trace; with `times`, in nanoseconds since 1970, of those
/// alone in which spans began within them.
pub(crate) async fn candidates<'a>(
    table: &'a LakeTable,
    index: &TraceIndex,
    trace_id: &[u8; 16],
    times: Option<(i64, i64)>,
) -> Result<Vec<Candidate<'a>>> {
    let mut files = table.files().map_err(external)?;
    if let Some((first, last)) = times {
        files.retain(|file| file.min_time <= last && file.max_time >= first);
    }
    let groups = index.groups(table, files, &[*trace_id]).await?;
    let opens: Vec<_> = groups
        .into_iter()
        .map(async |(file, groups)| {
            let rows = match index.found(&file.path, trace_id) {
                Some(found) => Source::Found(found),
                None => match Stored::open(table, index, file).await? {
                    Some(stored) => Source::Stored(Box::new(stored)),
                    None => Source::Scan,
                },
            };
            Ok(Candidate { file, groups, rows })
        })
        .collect();
    let opens = stream::iter(opens).buffered(FOOTERS_AT_ONCE);
    opens.try_collect().await
}

/// Every row of the trace, of the live batches and of these files; `scanning` gives what a scan
/// runs in, where there has to be one.
pub(crate) fn rows(
    table: &LakeTable,
    index: &Arc<TraceIndex>,
    lookup: Lookup,
    candidates: Vec<Candidate<'_>>,
    scanning: impl Fn() -> TaskContext,
) -> Result<SendableRecordBatchStream> {
    let trace_id = lookup.trace_id;
    let live: Vec<_> = table.live().map_err(external)?.cloned().map(Ok).collect();
    let live = with_id(stream::iter(live).boxed(), trace_id);
    let mut parts = vec![live];
    for candidate in candidates {
        let Candidate { file, groups, rows } = candidate;
        let rows = match rows {
            Source::Found(found) => {
                let found: Vec<_> = found.iter().cloned().map(Ok).collect();
                parts.push(stream::iter(found).boxed());
                continue;
            }
            Source::Stored(stored) => stored.rows(index, groups.passing, lookup),
            Source::Scan => {
                let plan = scan(table, file, &groups, &trace_id)?;
                let rows = execute_stream(plan, Arc::new(scanning()))?;
                with_id(rows.boxed(), trace_id)
            }
        };
        parts.push(remembered(
            rows,
            Arc::clone(index),
            file.path.clone(),
            trace_id,
        ));
    }
    let parts = stream::iter(parts).map(begun).buffered(FILES_AT_ONCE);
    let schema = datafusion::catalog::TableProvider::schema(table);
    Ok(Box::pin(RecordBatchStreamAdapter::new(
        schema,
        parts.flatten(),
    )))
}

/// A scan of the row groups for the trace.
fn scan(
    table: &LakeTable,
    file: &DataFile,
    groups: &Groups,
    trace_id: &[u8; 16],
) -> Result<Arc<dyn ExecutionPlan>> {
    let schema = datafusion::catalog::TableProvider::schema(table);
    let id = ScalarValue::FixedSizeBinary(TRACE_ID_BYTES as i32, Some(trace_id.to_vec()));
    let predicate = binary(col(TRACE_ID, &schema)?, Operator::Eq, lit(id), &schema)?;
    table.groups_plan(file, &groups.passing, groups.count, |source| {
        source
            .with_predicate(predicate)
            .with_pushdown_filters(true)
            .with_enable_page_index(true)
    })
}

type Batches = BoxStream<'static, Result<RecordBatch>>;

/// The same rows, once the first are there.
async fn begun(mut rows: Batches) -> Batches {
    match rows.next().await {
        Some(first) => stream::iter([first]).chain(rows).boxed(),
        None => stream::empty().boxed(),
    }
}

/// The rows of the trace among those of a stream.
fn with_id(batches: Batches, trace_id: [u8; 16]) -> Batches {
    batches
        .map(move |batch| matching(&batch?, &trace_id))
        .filter_map(|found| future::ready(found.transpose()))
        .boxed()
}

/// Hands on what was found in a file, and keeps it for the next time if it is not too much.
fn remembered(rows: Batches, index: Arc<TraceIndex>, path: String, trace_id: [u8; 16]) -> Batches {
    let start = (rows, Some((Vec::new(), 0)));
    stream::unfold(start, move |(mut rows, mut kept)| {
        let (index, path) = (Arc::clone(&index), path.clone());
        async move {
            let next = rows.next().await;
            match &next {
                Some(Ok(batch)) => {
                    kept = kept.take().and_then(|(mut batches, bytes)| {
                        let batch = compact(batch).ok()?;
                        let bytes = bytes + batch.get_array_memory_size();
                        batches.push(batch);
                        index.remembers(bytes).then_some((batches, bytes))
                    });
                }
                Some(Err(_)) => kept = None,
                None => {
                    if let Some((batches, _)) = kept.take() {
                        index.remember(path, trace_id, batches);
                    }
                }
            }
            next.map(|next| (next, (rows, kept)))
        }
    })
    .boxed()
}

/// The rows of `batch` that are of the trace; `None` where there are none.
fn matching(batch: &RecordBatch, trace_id: &[u8; 16]) -> Result<Option<RecordBatch>> {
    let runs = runs_of(batch, trace_id)?;
    if runs.is_empty() {
        return Ok(None);
    }
    let rows = runs.into_iter().flatten().map(|row| row as u32);
    let rows = UInt32Array::from_iter_values(rows);
    Ok(Some(take_record_batch(batch, &rows)?))
}

/// Where the rows of the trace are in a batch.
fn runs_of(batch: &RecordBatch, trace_id: &[u8; 16]) -> Result<Vec<Range<usize>>> {
    let column = batch.column_by_name(TRACE_ID);
    let ids = column.and_then(|column| column.as_fixed_size_binary_opt());
    let Some(ids) = ids.filter(|ids| ids.value_length() == TRACE_ID_BYTES as i32) else {
        return Err(external(Error::new(
            Code::Internal,
            "the spans have no fixed-size trace_id",
        )));
    };
    let wanted = u128::from_ne_bytes(*trace_id);
    let (values, _) = ids.value_data().as_chunks::<TRACE_ID_BYTES>();
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (row, id) in values.iter().enumerate() {
        if u128::from_ne_bytes(*id) != wanted || ids.is_null(row) {
            continue;
        }
        add_run(&mut runs, row);
    }
    Ok(runs)
}

/// Adds a row that is behind those of the runs.
fn add_run(runs: &mut Vec<Range<usize>>, row: usize) {
    match runs.last_mut() {
        Some(last) if last.end == row => last.end += 1,
        _ => runs.push(row..row + 1),
    }
}
