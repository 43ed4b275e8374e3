//! All spans of some traces in memory: sorted by trace, each once, with the values that a query takes
//! of them. What a resend has doubled is dropped here (I3).

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeBinaryArray, Int64Array, RecordBatch, UInt32Array,
};
use arrow::compute::{concat, concat_batches, take, take_record_batch};
use arrow::datatypes::{Field, Int32Type, Int64Type, Schema};
use datafusion::common::DFSchema;
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use otlake_base::limits::TRACEQL_SPANS;
use otlake_base::{Code, Error, Result};
use otlake_query::Reading;

use crate::columns::{Columns, Slot};
use crate::expression::{OF_PARENT, OF_TRACE};
use crate::forest::{Forest, NONE};
use crate::functions::TraceId;
use crate::spans::{Spans, Times, column, compact, defect, fail, in_traces};

/// What every chunk has.
const OWN: [&str; 6] = [
    "trace_id",
    "span_id",
    "parent_span_id",
    "start_time_unix_nano",
    "duration_ns",
    "kind",
];
/// What one has that is shown, or that roots are told of.
const DETAILS: [&str; 3] = ["name", "service_name", "status_code"];

/// Rows whose values are computed before it is looked whether there is time for more: a regular expression takes
/// long for some millions.
const ROWS_AT_ONCE: usize = 32_768;

/// Every column that a chunk may read whatever the query is.
pub(crate) fn own_columns() -> impl Iterator<Item = &'static str> {
    OWN.into_iter().chain(DETAILS)
}

/// The spans of some traces.
pub(crate) struct Chunk {
    pub(crate) ids: Vec<TraceId>,
    pub(crate) forest: Forest,
    /// The table's columns.
    pub(crate) spans: RecordBatch,
    /// The query's values, by number.
    pub(crate) values: Vec<ArrayRef>,
    /// By row: whether it is within the query's times.
    pub(crate) within: Vec<bool>,
    /// Bytes that were read for it.
    pub(crate) bytes: u64,
    reading: Arc<Reading>,
    _held: MemoryReservation,
}

impl Chunk {
    /// Reads the spans of `ids` that start within `times`.
    pub(crate) async fn read(
        spans: &Spans,
        ids: &[TraceId],
        times: Times,
        columns: &Columns,
        details: bool,
    ) -> Result<Chunk> {
        let mut names: BTreeSet<String> = columns.base();
        names.extend(OWN.map(str::to_owned));
        if details || columns.has_late() {
            names.extend(DETAILS.map(str::to_owned));
        }
        let mut projected: Vec<Expr> = names.iter().map(|name| column(name)).collect();
        for (number, slot) in columns.slots().iter().enumerate() {
            if let Slot::Early(expr) = slot {
                projected.push(expr.clone().alias(early(number)));
            }
        }
        let plan = spans.scan(times)?.filter(in_traces(ids)).map_err(fail)?;
        let plan = plan
            .project(projected)
            .map_err(fail)?
            .build()
            .map_err(fail)?;
        let held = spans.held.new_empty();
        let (mut batches, mut rows, mut bytes) = (Vec::new(), 0, 0);
        spans
            .each(&plan, |batch| {
                rows += batch.num_rows();
                if rows > TRACEQL_SPANS {
                    let message = format!("it takes more than {TRACEQL_SPANS} spans at once");
                    return Err(Error::new(Code::TraceqlTooLarge, message));
                }
                let batch = compact(&batch)?;
                let size = batch.get_array_memory_size();
                bytes += size as u64;
                // Once more for the sorted copy.
                held.try_grow(2 * size).map_err(fail)?;
                batches.push(batch);
                Ok(true)
            })
            .await?;
        let schema = match batches.first() {
            Some(first) => first.schema(),
            None => Arc::new(plan.schema().as_arrow().clone()),
        };
        let whole = concat_batches(&schema, &batches).map_err(defect)?;
        drop(batches);
        let reading = Arc::clone(&spans.reading);
        reading.give_way().await?;
        let (whole, traces) = sorted(&whole, ids)?;
        reading.give_way().await?;
        let within = longs(&whole, "start_time_unix_nano")?.values().iter();
        let within = within.map(|start| spans.times.contains(*start)).collect();
        let forest = Forest::new(
            traces,
            &numbers(&whole, "span_id")?,
            numbers(&whole, "parent_span_id")?,
        );
        let mut chunk = Chunk {
            ids: ids.to_vec(),
            forest,
            values: Vec::new(),
            spans: whole,
            within,
            bytes,
            reading,
            _held: held,
        };
        chunk.reading.give_way().await?;
        chunk.values = chunk.computed(spans, columns)?;
        chunk.reading.give_way().await?;
        Ok(chunk)
    }

    /// Whether there is time left to work on it.
    ///
    /// # Errors
    /// `QUERY_TIMEOUT`.
    pub(crate) fn in_time(&self) -> Result<()> {
        self.reading.in_time()
    }

    /// The first span without a parent of a trace.
    pub(crate) fn root(&self, trace: usize) -> Option<usize> {
        let parents = self.spans.column_by_name("parent_span_id")?;
        self.forest.traces[trace]
            .clone()
            .find(|row| parents.is_null(*row))
    }

    /// When a trace begins and ends.
    pub(crate) fn extent(&self, trace: usize) -> Result<(i64, i64)> {
        let starts = longs(&self.spans, "start_time_unix_nano")?;
        let durations = longs(&self.spans, "duration_ns")?;
        let (mut first, mut last) = (i64::MAX, i64::MIN);
        for row in self.forest.traces[trace].clone() {
            first = first.min(starts.value(row));
            last = last.max(starts.value(row).saturating_add(durations.value(row)));
        }
        Ok((first, last.max(first)))
    }

    fn computed(&self, spans: &Spans, columns: &Columns) -> Result<Vec<ArrayRef>> {
        let late = match columns.has_late() {
            true => Some(self.of_traces(columns)?),
            false => None,
        };
        let value = |(number, slot): (usize, &Slot)| -> Result<ArrayRef> {
            self.in_time()?;
            match (slot, &late) {
                (Slot::Late(expr), Some(batch)) => evaluate(spans, expr, batch),
                _ => named(&self.spans, &early(number)).cloned(),
            }
        };
        columns.slots().iter().enumerate().map(value).collect()
    }

    /// The table's columns, and those that the whole trace tells.
    fn of_traces(&self, columns: &Columns) -> Result<RecordBatch> {
        let rows = self.spans.num_rows();
        let schema = self.spans.schema();
        let mut fields: Vec<Field> = Vec::new();
        let mut arrays: Vec<ArrayRef> = Vec::new();
        let mut add = |name: String, array: ArrayRef| {
            fields.push(Field::new(name, array.data_type().clone(), true));
            arrays.push(array);
        };
        for (field, array) in schema.fields().iter().zip(self.spans.columns()) {
            add(field.name().clone(), Arc::clone(array));
        }
        let longs = |values: Vec<i64>| -> ArrayRef { Arc::new(Int64Array::from(values)) };
        let forest = &self.forest;
        add(
            format!("{OF_TRACE}child_count"),
            longs(forest.children.clone()),
        );
        add(format!("{OF_TRACE}nested_left"), longs(forest.left.clone()));
        add(
            format!("{OF_TRACE}nested_right"),
            longs(forest.right.clone()),
        );
        add(
            format!("{OF_TRACE}nested_parent"),
            longs(forest.nested_parent()),
        );
        let (mut durations, mut roots) = (vec![0; rows], vec![None; rows]);
        for (number, trace) in forest.traces.iter().enumerate() {
            self.in_time()?;
            let (first, last) = self.extent(number)?;
            durations[trace.clone()].fill(last.saturating_sub(first));
            let root = self.root(number).map(|root| root as u32);
            roots[trace.clone()].fill(root);
        }
        add(format!("{OF_TRACE}trace_duration"), longs(durations));
        let roots = UInt32Array::from(roots);
        for (name, of) in [("root_name", "name"), ("root_service", "service_name")] {
            let taken = take(named(&self.spans, of)?, &roots, None).map_err(defect)?;
            add(format!("{OF_TRACE}{name}"), taken);
        }
        let parents = forest.parent.iter();
        let parents = parents.map(|parent| (*parent != NONE).then_some(*parent));
        let parents = UInt32Array::from_iter(parents);
        for name in columns.of_parents() {
            let taken = take(named(&self.spans, &name)?, &parents, None).map_err(defect)?;
            add(format!("{OF_PARENT}{name}"), taken);
        }
        RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).map_err(defect)
    }
}

fn early(number: usize) -> String {
    format!("value_{number}")
}

fn evaluate(spans: &Spans, expr: &Expr, batch: &RecordBatch) -> Result<ArrayRef> {
    let schema = Arc::new(DFSchema::try_from(batch.schema()).map_err(fail)?);
    let state = spans.reading.state();
    // Some functions are there only to be simplified to others.
    let context = SimplifyContext::builder()
        .with_schema(Arc::clone(&schema))
        .build();
    let simplifier = ExprSimplifier::new(context);
    let expr = simplifier.coerce(expr.clone(), &schema).map_err(fail)?;
    let expr = simplifier.simplify(expr).map_err(fail)?;
    let expr = state.create_physical_expr(expr, &schema).map_err(fail)?;
    let mut parts: Vec<ArrayRef> = Vec::new();
    let mut first = 0;
    while first < batch.num_rows() || parts.is_empty() {
        spans.reading.in_time()?;
        let rows = ROWS_AT_ONCE.min(batch.num_rows() - first);
        let value = expr.evaluate(&batch.slice(first, rows)).map_err(fail)?;
        parts.push(value.into_array(rows).map_err(fail)?);
        first += rows;
    }
    match &parts[..] {
        [whole] => Ok(Arc::clone(whole)),
        _ => {
            let parts: Vec<&dyn Array> = parts.iter().map(|part| &**part).collect();
            concat(&parts).map_err(defect)
        }
    }
}

/// A column by its name.
pub(crate) fn named<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef> {
    let column = batch.column_by_name(name);
    column.ok_or_else(|| Error::new(Code::Internal, format!("there is no column `{name}`")))
}

/// A column of `Int64`.
pub(crate) fn longs<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a Int64Array> {
    let column = named(batch, name)?.as_primitive_opt::<Int64Type>();
    column.ok_or_else(|| Error::new(Code::Internal, format!("`{name}` is no column of integers")))
}

/// A column of ids.
pub(crate) fn ids<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a FixedSizeBinaryArray> {
    let column = named(batch, name)?.as_fixed_size_binary_opt();
    column.ok_or_else(|| Error::new(Code::Internal, format!("`{name}` is no column of ids")))
}

/// The ids of spans as numbers, 0 for none.
fn numbers(batch: &RecordBatch, name: &str) -> Result<Vec<u64>> {
    let ids = ids(batch, name)?.iter();
    let number = |id: Option<&[u8]>| {
        id.and_then(|id| id.try_into().ok())
            .map_or(0, u64::from_be_bytes)
    };
    Ok(ids.map(number).collect())
}

/// The rows by trace and start, each once; and where each trace is.
fn sorted(whole: &RecordBatch, of: &[TraceId]) -> Result<(RecordBatch, Vec<Range<usize>>)> {
    let number: HashMap<&[u8], u32> = of.iter().map(<[u8; 16]>::as_slice).zip(0..).collect();
    let traces = ids(whole, "trace_id")?;
    let (spans, parents) = (
        numbers(whole, "span_id")?,
        numbers(whole, "parent_span_id")?,
    );
    let starts = longs(whole, "start_time_unix_nano")?.values();
    let durations = longs(whole, "duration_ns")?.values();
    let kinds = named(whole, "kind")?.as_primitive::<Int32Type>().values();
    let key = |row: u32| {
        let row = row as usize;
        let trace = number.get(traces.value(row)).copied().unwrap_or(NONE);
        let span = (spans[row], parents[row], durations[row], kinds[row]);
        (trace, starts[row], span)
    };
    let mut keyed: Vec<_> = (0..whole.num_rows() as u32)
        .map(|row| (key(row), row))
        .collect();
    keyed.sort_unstable();
    keyed.dedup_by(|next, before| next.0 == before.0);
    let mut ranges = vec![0..0; of.len()];
    for (at, ((trace, ..), _)) in keyed.iter().enumerate() {
        if let Some(range) = ranges.get_mut(*trace as usize) {
            if range.start == range.end {
                range.start = at;
            }
            range.end = at + 1;
        }
    }
    let order = UInt32Array::from_iter_values(keyed.into_iter().map(|(_, row)| row));
    let batch = take_record_batch(whole, &order).map_err(defect)?;
    Ok((batch, ranges))
}
