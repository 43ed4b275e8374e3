//! A trace by its id, with no time range and past the SQL planner: live batches are filtered
//! directly, files by a hand-made scan whose bloom filters and page indexes leave out what
//! cannot hold the id. Rows come batch by batch, as those of SQL do: a trace may be of any size.

use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use datafusion::common::{Result, ScalarValue};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{binary, col, lit};
use datafusion::physical_plan::execute_stream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, future, stream};
use otlake_base::{Code, Error};

use crate::table::{LakeTable, external};

const TRACE_ID: &str = "trace_id";
const TRACE_ID_BYTES: i32 = 16;

/// Every row of the trace.
pub(crate) async fn rows(
    table: &LakeTable,
    trace_id: [u8; 16],
    partitions: usize,
    context: TaskContext,
) -> Result<SendableRecordBatchStream> {
    let live: Vec<_> = table.live().map_err(external)?.cloned().map(Ok).collect();
    let schema = datafusion::catalog::TableProvider::schema(table);
    let files = table.files().map_err(external)?;
    let stored = if files.is_empty() {
        stream::empty().boxed()
    } else {
        let id = ScalarValue::FixedSizeBinary(TRACE_ID_BYTES, Some(trace_id.to_vec()));
        let predicate = binary(col(TRACE_ID, &schema)?, Operator::Eq, lit(id), &schema)?;
        let plan = table.files_plan(&files, None, None, partitions, |source| {
            source
                .with_predicate(predicate)
                .with_pushdown_filters(true)
                .with_enable_page_index(true)
                .with_bloom_filter_on_read(true)
        })?;
        execute_stream(plan, Arc::new(context))?.boxed()
    };
    let found = stream::iter(live)
        .chain(stored)
        .map(move |batch| matching(&batch?, &trace_id))
        .filter_map(|found| future::ready(found.transpose()));
    Ok(Box::pin(RecordBatchStreamAdapter::new(schema, found)))
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
