//! The table of spans within a range of time, and windows of it from the newest to the oldest.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::DataType;
use datafusion::common::{Column, ScalarValue};
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, lit};
use futures::StreamExt;
use otlake_base::limits::{TRACEQL_TRACE_AROUND_MS, TRACEQL_WINDOW_ROWS};
use otlake_base::{Code, Error, Result};
use otlake_query::{FileTimes, Reading, from_datafusion};

use crate::functions::{Function, TraceId, Traces};

const NANOS_PER_MS: i64 = 1_000_000;
/// Ids that a scan looks up by themselves, with the files' filters; beyond it, by their set.
const LISTED_IDS: usize = 256;

/// Nanoseconds since 1970, from the first to the last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) first: i64,
    pub(crate) last: i64,
}

impl Times {
    /// All there are.
    pub(crate) const ALL: Times = Times {
        first: i64::MIN,
        last: i64::MAX,
    };

    /// The same, and so much on both sides as a trace's other spans are looked for.
    pub(crate) fn around(self) -> Times {
        let nanos = TRACEQL_TRACE_AROUND_MS as i64 * NANOS_PER_MS;
        Times {
            first: self.first.saturating_sub(nanos),
            last: self.last.saturating_add(nanos),
        }
    }

    pub(crate) fn contains(self, time: i64) -> bool {
        self.first <= time && time <= self.last
    }
}

/// From one share of what there is to read to another, 0 to 1.
pub(crate) type Part = (f64, f64);

/// All of it.
pub(crate) const WHOLE: Part = (0.0, 1.0);

/// A part of the times.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Window {
    pub(crate) times: Times,
    /// What it is of all windows, by the rows of the files that it comes to.
    pub(crate) part: Part,
}

impl Window {
    /// The part of a step in it, of as many as there are.
    pub(crate) fn step(&self, number: usize, of: usize) -> Part {
        of_part(
            self.part,
            number as f64 / of.max(1) as f64,
            (number + 1) as f64 / of.max(1) as f64,
        )
    }
}

/// A part of a part.
pub(crate) fn of_part((from, to): Part, first: f64, last: f64) -> Part {
    (from + (to - from) * first, from + (to - from) * last)
}

/// Spans to be read.
pub(crate) struct Spans {
    pub(crate) reading: Arc<Reading>,
    pub(crate) times: Times,
    /// What is held of them beside the plans' own memory.
    pub(crate) held: MemoryReservation,
}

impl Spans {
    pub(crate) fn new(reading: Arc<Reading>, times: Times) -> Spans {
        Spans {
            held: reading.reservation("traceql"),
            reading,
            times,
        }
    }

    /// A scan of the spans that start within some times.
    pub(crate) fn scan(&self, times: Times) -> Result<LogicalPlanBuilder> {
        let mut scan = self.reading.scan()?;
        let start = || column("start_time_unix_nano");
        if times.first != i64::MIN {
            scan = scan.filter(start().gt_eq(lit(times.first))).map_err(fail)?;
        }
        if times.last != i64::MAX {
            scan = scan.filter(start().lt_eq(lit(times.last))).map_err(fail)?;
        }
        Ok(scan)
    }

    /// Shows every batch of a plan to `each`, which says whether to go on.
    pub(crate) async fn each(
        &self,
        plan: &LogicalPlan,
        mut each: impl FnMut(RecordBatch) -> Result<bool>,
    ) -> Result<()> {
        let mut batches = self.reading.run(plan).await?;
        while let Some(batch) = batches.next().await {
            self.reading.in_time()?;
            if !each(batch.map_err(|error| from_datafusion(&error))?)? {
                break;
            }
        }
        Ok(())
    }

    /// Parts of the times, the newest first, that have more and more rows in files.
    pub(crate) fn windows(&self) -> Result<Vec<Window>> {
        Ok(windows(self.reading.file_times()?, self.times))
    }
}

fn windows(mut files: Vec<FileTimes>, times: Times) -> Vec<Window> {
    files.retain(|file| file.least <= times.last && file.most >= times.first);
    files.sort_unstable_by_key(|file| std::cmp::Reverse(file.most));
    let (mut windows, mut last) = (Vec::new(), times.last);
    let (mut rows, mut wanted) = (0, TRACEQL_WINDOW_ROWS);
    // The live rows are in the first one, and any window takes some time.
    let of = |rows: u64| (rows + 1) as f64;
    for file in files {
        rows += file.rows;
        let first = file.least;
        if rows >= wanted && first > times.first && first <= last {
            windows.push((Times { first, last }, of(rows)));
            last = first - 1;
            rows = 0;
            wanted = wanted.saturating_mul(2);
        }
    }
    let first = times.first;
    windows.push((Times { first, last }, of(rows)));
    let all: f64 = windows.iter().map(|(_, rows)| rows).sum();
    let mut before = 0.0;
    let placed = windows.into_iter().map(|(times, rows)| {
        let part = (before / all, (before + rows) / all);
        before += rows;
        Window { times, part }
    });
    placed.collect()
}

/// Whether a span is of one of these traces.
pub(crate) fn in_traces(ids: &[TraceId]) -> Expr {
    let id = column("trace_id");
    if ids.len() <= LISTED_IDS {
        let listed = ids.iter().map(|id| {
            let bytes = ScalarValue::FixedSizeBinary(id.len() as i32, Some(id.to_vec()));
            lit(bytes)
        });
        return id.in_list(listed.collect(), false);
    }
    let set: HashSet<TraceId> = ids.iter().copied().collect();
    Function::Traces(Traces(Arc::new(set))).of(vec![id])
}

/// A column of the table, or of a plan over it.
pub(crate) fn column(name: &str) -> Expr {
    Expr::Column(Column::new_unqualified(name))
}

/// An error of DataFusion's as ours.
pub(crate) fn fail(error: datafusion::common::DataFusionError) -> Error {
    from_datafusion(&error)
}

/// An error of Arrow's as ours: the columns are of our own making.
pub(crate) fn defect(error: arrow::error::ArrowError) -> Error {
    Error::new(Code::Internal, error)
}

/// The same rows without the pages that their text was read from.
pub(crate) fn compact(batch: &RecordBatch) -> Result<RecordBatch> {
    let columns = batch.columns().iter().map(|column| -> ArrayRef {
        match column.data_type() {
            DataType::Utf8View => Arc::new(column.as_string_view().gc()),
            _ => Arc::clone(column),
        }
    });
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(batch.schema(), columns.collect(), &options).map_err(defect)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_the_whole_range_from_the_newest_on() {
        let file = |least, most, rows| FileTimes { least, most, rows };
        let files = vec![
            file(0, 99, 2 * TRACEQL_WINDOW_ROWS),
            file(100, 199, TRACEQL_WINDOW_ROWS),
            file(150, 250, 1),
        ];
        let all = windows(files, Times::ALL);
        assert_eq!(all.len(), 3);
        let times: Vec<_> = all
            .iter()
            .map(|window| (window.times.first, window.times.last))
            .collect();
        assert_eq!(times, [(100, i64::MAX), (0, 99), (i64::MIN, -1)]);
        assert_eq!((all[0].part.0, all[2].part.1), (0.0, 1.0));
        assert!(all.windows(2).all(|two| two[0].part.1 == two[1].part.0));
        assert!(all[1].part.1 - all[1].part.0 > 0.6, "{all:?}");
        let bounded = Times {
            first: 10,
            last: 20,
        };
        let one = Window {
            times: bounded,
            part: WHOLE,
        };
        assert_eq!(windows(Vec::new(), bounded), [one]);
    }
}
