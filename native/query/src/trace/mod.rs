//! A trace by its id, with no time range and past the SQL planner. Rows come batch by batch, as
//! those of SQL do: a trace may be of any size.
//!
//! ```text
//!  live batches ------------------------------------> rows with the id
//!  files --> filters in memory --> row groups --+--> found before: from memory
//!                                               `--> scan: the id's column, then pages of the rest
//! ```
//!
//! - `index`: which row groups may have a trace, and what was found in them.
//! - `bounded`: the cache under it.
//! - `compact`: rows without the pages that they were read from.

mod bounded;
mod compact;
mod index;
#[cfg(test)]
mod trace_test;

use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use datafusion::common::{Result, ScalarValue};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{binary, col, lit};
use datafusion::physical_plan::execute_stream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt, future};
use otlake_base::{Code, DataFile, Error};

use crate::table::{FOOTERS_AT_ONCE, LakeTable, external};
use compact::compact;
pub(crate) use index::TraceIndex;
use index::{Found, Groups};

const TRACE_ID: &str = "trace_id";
const TRACE_ID_BYTES: i32 = 16;

/// A file that may have spans of the trace.
pub(crate) struct Candidate<'a> {
    pub(crate) file: &'a DataFile,
    groups: Groups,
    /// What it has, where that is known.
    found: Option<Found>,
}

impl Candidate<'_> {
    /// Whether the file has to be read.
    pub(crate) fn is_unread(&self) -> bool {
        self.found.is_none()
    }
}

/// The files that may have spans of the trace.
pub(crate) async fn candidates<'a>(
    table: &'a LakeTable,
    index: &TraceIndex,
    trace_id: &[u8; 16],
) -> Result<Vec<Candidate<'a>>> {
    let mut known = Vec::new();
    let mut unknown = Vec::new();
    for file in table.files().map_err(external)? {
        match index.groups(&file.path, trace_id) {
            Some(groups) => known.push((file, groups)),
            None => unknown.push(file),
        }
    }
    let reads: Vec<_> = unknown
        .iter()
        .map(|file| index.read_groups(table, file, trace_id))
        .collect();
    let reads = stream::iter(reads).buffered(FOOTERS_AT_ONCE);
    let read: Vec<Groups> = reads.try_collect().await?;
    let read = unknown.into_iter().zip(read);
    let candidates = known.into_iter().chain(read);
    Ok(candidates
        .filter(|(_, groups)| !groups.passing.is_empty())
        .map(|(file, groups)| Candidate {
            file,
            groups,
            found: index.found(&file.path, trace_id),
        })
        .collect())
}

/// Every row of the trace, of the live batches and of these files.
pub(crate) fn rows(
    table: &LakeTable,
    index: &Arc<TraceIndex>,
    trace_id: [u8; 16],
    candidates: Vec<Candidate<'_>>,
    context: TaskContext,
) -> Result<SendableRecordBatchStream> {
    let live: Vec<_> = table.live().map_err(external)?.cloned().map(Ok).collect();
    let live = with_id(stream::iter(live).boxed(), trace_id);
    let context = Arc::new(context);
    let schema = datafusion::catalog::TableProvider::schema(table);
    let id = ScalarValue::FixedSizeBinary(TRACE_ID_BYTES, Some(trace_id.to_vec()));
    let predicate = binary(col(TRACE_ID, &schema)?, Operator::Eq, lit(id), &schema)?;
    let mut parts = vec![live];
    for candidate in candidates {
        if let Some(found) = candidate.found {
            let found: Vec<_> = found.iter().cloned().map(Ok).collect();
            parts.push(stream::iter(found).boxed());
            continue;
        }
        let Groups { passing, count } = candidate.groups;
        let predicate = Arc::clone(&predicate);
        let plan = table.groups_plan(candidate.file, &passing, count, |source| {
            source
                .with_predicate(predicate)
                .with_pushdown_filters(true)
                .with_enable_page_index(true)
        })?;
        let stored = execute_stream(plan, Arc::clone(&context))?.boxed();
        parts.push(remembered(
            with_id(stored, trace_id),
            Arc::clone(index),
            candidate.file.path.clone(),
            trace_id,
        ));
    }
    let rows = stream::iter(parts).flatten();
    Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
}

type Batches = BoxStream<'static, Result<RecordBatch>>;

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
    let column = batch.column_by_name(TRACE_ID);
    let Some(ids) = column.and_then(|column| column.as_fixed_size_binary_opt()) else {
        return Err(external(Error::new(
            Code::Internal,
            "the spans have no fixed-size trace_id",
        )));
    };
    let mask: BooleanArray = (0..ids.len())
        .map(|row| Some(ids.is_valid(row) && ids.value(row) == trace_id))
        .collect();
    if mask.true_count() == 0 {
        return Ok(None);
    }
    Ok(Some(filter_record_batch(batch, &mask)?))
}
