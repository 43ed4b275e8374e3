//! Spans that stand for the others of a series: a few of each part of the time.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Float64Type;
use otlake_base::Result;
use otlake_query::to_hex;

use crate::chunk::{ids, longs, named};
use crate::metrics::buckets::{greatest, power};
use crate::metrics::rows::Rows;
use crate::metrics::series::{Labels, Series, bucket, has};
use crate::spans::Times;

/// Parts of the time that exemplars are taken of, at most.
const PARTS: usize = 16;

/// A span.
#[derive(Clone, Debug)]
pub(crate) struct Exemplar {
    pub(crate) trace_id: String,
    /// In ns.
    pub(crate) time: i64,
    pub(crate) value: f64,
    labels: Labels,
}

/// A part of the time, and how many are wanted of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub(crate) times: Times,
    pub(crate) count: usize,
}

/// Those that were taken.
#[derive(Debug)]
pub(crate) struct Exemplars {
    wanted: usize,
    taken: Vec<Exemplar>,
}

impl Exemplars {
    pub(crate) fn new(wanted: usize) -> Exemplars {
        Exemplars {
            wanted,
            taken: Vec::new(),
        }
    }

    /// Parts of these times that together give as many as are wanted.
    pub(crate) fn parts(&self, times: Times) -> Vec<Part> {
        let parts = PARTS.min(self.wanted) as i64;
        let length = times.last.saturating_sub(times.first) / parts.max(1) + 1;
        let part = |number: i64| {
            let first = times.first.saturating_add(length * number);
            Part {
                times: Times {
                    first,
                    last: first.saturating_add(length - 1).min(times.last),
                },
                count: self.wanted.div_ceil(parts as usize),
            }
        };
        (0..parts).map(part).collect()
    }

    /// Takes the first rows.
    pub(crate) fn take(&mut self, rows: &Rows, batch: &RecordBatch, count: usize) -> Result<bool> {
        self.add(rows, batch, (0..batch.num_rows()).take(count))?;
        Ok(true)
    }

    /// Takes rows from all over a batch.
    pub(crate) fn spread(&mut self, rows: &Rows, batch: &RecordBatch) -> Result<()> {
        if self.wanted == 0 {
            return Ok(());
        }
        let apart = batch.num_rows().div_ceil(self.wanted).max(1);
        self.add(rows, batch, (0..batch.num_rows()).step_by(apart))
    }

    fn add(
        &mut self,
        rows: &Rows,
        batch: &RecordBatch,
        of: impl Iterator<Item = usize>,
    ) -> Result<()> {
        let traces = ids(batch, "trace_id")?;
        let times = longs(batch, "time")?;
        let values = named(batch, "value")?.as_primitive::<Float64Type>();
        for row in of.filter(|row| values.is_valid(*row)) {
            self.taken.push(Exemplar {
                trace_id: to_hex(traces.value(row)),
                time: times.value(row),
                value: values.value(row),
                labels: rows.labels(batch, row)?,
            });
        }
        Ok(())
    }

    /// As many as are wanted, from the whole time.
    pub(crate) fn thinned(mut self) -> Vec<Exemplar> {
        self.taken.sort_by_key(|exemplar| exemplar.time);
        let apart = self.taken.len().div_ceil(self.wanted.max(1)).max(1);
        self.taken.into_iter().step_by(apart).collect()
    }
}

impl Exemplar {
    /// The series that it is of, in a step: of quantiles, the least that is not below it.
    pub(crate) fn series(&self, series: &[Series], rows: &Rows, step: usize) -> Option<usize> {
        let with_labels = series.iter().enumerate();
        let with_labels = with_labels.filter(|(_, series)| has(series, &self.labels));
        let mut with_labels = with_labels.filter(|(_, series)| series.values[step].is_some());
        if !rows.is_bucketed() {
            return with_labels.next().map(|(at, _)| at);
        }
        let (value, of_power) = (rows.scaled(self.value), power(self.value)?);
        let of_bucket = rows.scaled(greatest(of_power));
        let all: Vec<(usize, &Series)> = with_labels.collect();
        if let Some((at, _)) = all
            .iter()
            .find(|(_, series)| bucket(series) == Some(of_bucket))
        {
            return Some(*at);
        }
        let mut quantiles = all.iter().filter(|(_, series)| bucket(series).is_none());
        let above = quantiles
            .clone()
            .filter(|(_, series)| series.values[step] >= Some(value));
        let nearest = above.min_by(|(_, a), (_, b)| {
            let (a, b) = (a.values[step].unwrap_or(0.0), b.values[step].unwrap_or(0.0));
            a.total_cmp(&b)
        });
        nearest.or_else(|| quantiles.next_back()).map(|(at, _)| *at)
    }
}
