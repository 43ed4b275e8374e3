//! Series of spans over time, as `tempopb.QueryRangeResponse` and `QueryInstantResponse`.
//!
//! ```text
//!  a plain filter ------------------------------> rows -.
//!  structure, by, filters --> chunks of traces --> rows -+-> group by step, labels (and power of
//!                                                          two) in one plan --> cells --> series
//! ```
//!
//! - `steps`: which step a time is in.
//! - `rows`: what of each span goes into series.
//! - `series`: cells by labels, and series of them.
//! - `buckets`: quantiles and histograms of powers of two.
//! - `compare`: attributes inside and outside a selection.
//! - `exemplars`: spans that stand for others.

mod buckets;
mod compare;
mod exemplars;
mod rows;
mod series;
mod steps;

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::functions_aggregate::expr_fn::{count, max, min, sum};
use datafusion::logical_expr::{LogicalPlanBuilder, lit};
use otlake_base::Result;
use otlake_base::limits::{TRACEQL_CHUNK_TRACES, TRACEQL_EXEMPLARS};
use otlake_query::QueryEngine;
use serde_json::json;

use crate::Answer;
use crate::candidates::{Candidates, extent};
use crate::chunk::{Chunk, own_columns};
use crate::columns::columns_of;
use crate::json::written;
use crate::pipeline::Pipeline;
use crate::request::{MetricsRequest, parse};
use crate::spans::{Part, Spans, Times, WHOLE, column, fail, of_part};
use crate::tree::{Metrics, MetricsFunction};
pub(crate) use buckets::power;
use compare::Compared;
use exemplars::Exemplars;
use rows::Rows;
use series::Cells;
use steps::Steps;

/// What exemplars are of all that is read, where some are wanted: their scans end early.
const EXEMPLARS: Part = (0.9, 1.0);

/// What these are counted as.
const KIND: &str = "traceql_metrics";

/// Series of a query. `request` is `TraceqlScope & { query, stepNs, exemplars }` as JSON; without a
/// step there is one value for the whole time.
///
/// # Errors
/// `TRACEQL_REQUEST`, `TRACEQL_TYPE`, `TRACEQL_REGEX`, `TRACEQL_TOO_LARGE`, and those of queries.
pub async fn metrics(engine: &QueryEngine, request: &str) -> Result<Answer> {
    let request: MetricsRequest = parse(request)?;
    let Some(of) = &request.query.metrics else {
        return Err(crate::invalid(
            "the query makes no series: end it with rate() or the like",
        ));
    };
    let steps = Steps::new(request.scoped.bounds()?, request.step_ns)?;
    let mut pipeline = Pipeline::new(&request.query, false)?;
    let rows = Rows::new(of, &mut pipeline.columns)?;
    let times = steps.times();
    let plain = pipeline.is_plain();
    let columns = pipeline.columns.of_table().into_iter();
    let columns = columns.chain(own_columns().map(str::to_owned));
    let columns = columns.chain(pipeline.leaves.iter().flat_map(columns_of));
    let around = if plain { times } else { times.around() };
    let read = request.scoped.read(KIND, around, columns)?;
    let exemplars = (request.exemplars as usize).min(TRACEQL_EXEMPLARS);
    let (pipeline, rows, steps) = (&pipeline, &rows, &steps);
    let result = engine
        .read(read, |reading| async move {
            let spans = Spans::new(reading, times);
            let work = Work {
                spans: &spans,
                pipeline,
                rows,
                of,
                steps,
            };
            work.answer(plain, exemplars).await
        })
        .await?;
    Ok(Answer::of(result))
}

struct Work<'a> {
    spans: &'a Spans,
    pipeline: &'a Pipeline,
    rows: &'a Rows,
    of: &'a Metrics,
    steps: &'a Steps,
}

/// What rows are made into.
enum Gathered<'a> {
    Cells(Cells),
    Compared(Compared<'a>),
}

impl Work<'_> {
    async fn answer(&self, plain: bool, wanted: usize) -> Result<String> {
        let mut gathered = match self.of.function {
            MetricsFunction::Compare => Gathered::Compared(Compared::new(self.of, self.steps)),
            _ => Gathered::Cells(Cells::new()),
        };
        let mut exemplars = Exemplars::new(wanted);
        let (mut traces, mut bytes) = (0, 0);
        if plain {
            let has_exemplars = wanted > 0 && self.of.function != MetricsFunction::Compare;
            let part = if has_exemplars {
                (WHOLE.0, EXEMPLARS.0)
            } else {
                WHOLE
            };
            self.spans.reading.part(part);
            self.gather(self.plain(self.spans.times)?, &mut gathered)
                .await?;
            if has_exemplars {
                self.spans.reading.part(EXEMPLARS);
                for part in exemplars.parts(self.spans.times) {
                    let plan = self.plain(part.times)?.limit(0, Some(part.count));
                    let plan = plan.map_err(fail)?.build().map_err(fail)?;
                    let take = |batch: RecordBatch| exemplars.take(self.rows, &batch, part.count);
                    self.spans.each(&plan, take).await?;
                }
            }
        } else {
            let mut candidates =
                Candidates::new(self.spans, &self.pipeline.leaves, &self.pipeline.need);
            for window in self.spans.windows()? {
                self.spans.reading.part(window.step(0, 2));
                let candidates = candidates.of_window(window.times).await?;
                let chunks = candidates.chunks(TRACEQL_CHUNK_TRACES);
                let count = chunks.len() as f64;
                for (number, now) in chunks.enumerate() {
                    let number = number as f64;
                    let second = window.step(1, 2);
                    let part = of_part(second, number / count, (number + 1.0) / count);
                    self.spans.reading.part(part);
                    let around = extent(now).around();
                    let ids: Vec<_> = now.iter().map(|one| one.id).collect();
                    let columns = &self.pipeline.columns;
                    let chunk = Chunk::read(self.spans, &ids, around, columns, false).await?;
                    traces += ids.len();
                    bytes += chunk.bytes;
                    let sets = self.pipeline.evaluate(&chunk)?;
                    let batch = self.rows.of_chunk(&chunk, &sets)?;
                    self.spans.reading.give_way().await?;
                    if batch.num_rows() == 0 {
                        continue;
                    }
                    exemplars.spread(self.rows, &batch)?;
                    let table = MemTable::try_new(batch.schema(), vec![vec![batch]]);
                    let table = provider_as_source(Arc::new(table.map_err(fail)?));
                    let scan = LogicalPlanBuilder::scan("spansets", table, None);
                    self.gather(scan.map_err(fail)?, &mut gathered).await?;
                }
            }
        }
        let in_time = || self.spans.reading.in_time();
        let series = match gathered {
            Gathered::Cells(cells) => cells.series(self.of, self.rows, self.steps, &in_time)?,
            Gathered::Compared(compared) => compared.series(&in_time)?,
        };
        let series = series::staged(series, &self.of.then, &in_time)?;
        let metrics = json!({
            "inspectedTraces": traces,
            "inspectedBytes": bytes.to_string(),
            "completedJobs": 1,
            "totalJobs": 1,
        });
        let exemplars = exemplars.thinned();
        let series = series::shown(series, exemplars, self.rows, self.steps, &in_time)?;
        let answer = json!({ "series": series, "metrics": metrics });
        written(&answer, in_time)
    }

    /// What of the spans that the one condition holds of goes into series.
    fn plain(&self, times: Times) -> Result<LogicalPlanBuilder> {
        let mut scan = self.spans.scan(times)?;
        for leaf in &self.pipeline.leaves {
            scan = scan.filter(leaf.clone()).map_err(fail)?;
        }
        scan.project(self.rows.projected(&self.pipeline.columns))
            .map_err(fail)
    }

    async fn gather(&self, rows: LogicalPlanBuilder, into: &mut Gathered<'_>) -> Result<()> {
        match into {
            Gathered::Compared(compared) => {
                let plan = rows.build().map_err(fail)?;
                let held = &self.spans.held;
                self.spans
                    .each(&plan, |batch| compared.take(&batch, held))
                    .await
            }
            Gathered::Cells(cells) => {
                let counts = vec![
                    count(lit(1_i64)).alias("count"),
                    sum(column("value")).alias("sum"),
                    min(column("value")).alias("min"),
                    max(column("value")).alias("max"),
                ];
                let plan = rows.aggregate(self.rows.groups(self.steps), counts);
                let plan = plan.map_err(fail)?.build().map_err(fail)?;
                let held = &self.spans.held;
                let take = |batch: RecordBatch| cells.take(self.rows, &batch, self.steps, held);
                self.spans.each(&plan, take).await
            }
        }
    }
}
