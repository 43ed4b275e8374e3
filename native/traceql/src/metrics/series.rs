//! Cells by labels and step, and the series that a function makes of them.

use std::collections::{BTreeMap, HashMap};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type};
use datafusion::execution::memory_pool::MemoryReservation;
use otlake_base::limits::{TRACEQL_SAMPLES, TRACEQL_SERIES};
use otlake_base::{Code, Error, Result};
use serde_json::{Value as Json, json};

use crate::chunk::{longs, named};
use crate::json::{double, number_json, plain, text};
use crate::metrics::buckets::{greatest, quantile};
use crate::metrics::exemplars::Exemplar;
use crate::metrics::rows::{Rows, key_values};
use crate::metrics::steps::Steps;
use crate::mistyped;
use crate::spans::fail;
use crate::tree::{Comparison, Metrics, MetricsFunction, SeriesStage};

/// What a cell takes of memory, in bytes.
const CELL_BYTES: usize = 96;
/// The label of a quantile.
const QUANTILE: &str = "p";
/// The label of a bucket.
const BUCKET: &str = "__bucket";

pub(crate) type Labels = Vec<(String, Json)>;

/// What was counted of spans.
#[derive(Clone, Copy, Debug)]
struct Cell {
    count: u64,
    sum: f64,
    min: f64,
    max: f64,
}

/// The cells of one series, by step and power of two.
type CellsOfSeries = BTreeMap<(usize, i64), Cell>;

/// Cells by labels.
#[derive(Debug, Default)]
pub(crate) struct Cells {
    groups: HashMap<String, (Labels, CellsOfSeries)>,
    cells: usize,
}

/// A series.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    pub(crate) labels: Labels,
    /// By step; none where there is nothing to tell.
    pub(crate) values: Vec<Option<f64>>,
}

impl Cells {
    pub(crate) fn new() -> Cells {
        Cells::default()
    }

    /// Takes in what a plan has counted.
    pub(crate) fn take(
        &mut self,
        rows: &Rows,
        batch: &RecordBatch,
        steps: &Steps,
        held: &MemoryReservation,
    ) -> Result<bool> {
        let before = self.cells;
        let numbers =
            |name: &str| Ok::<_, Error>(named(batch, name)?.as_primitive::<Float64Type>());
        let (step, counts) = (longs(batch, "step")?, longs(batch, "count")?);
        let powers = named(batch, "power")?.as_primitive::<Int64Type>();
        let (sums, least, most) = (numbers("sum")?, numbers("min")?, numbers("max")?);
        for row in 0..batch.num_rows() {
            let Some(at) = usize::try_from(step.value(row))
                .ok()
                .filter(|at| *at < steps.count)
            else {
                continue;
            };
            if powers.is_null(row) {
                continue;
            }
            let labels = rows.labels(batch, row)?;
            let key = Json::from_iter(labels.iter().cloned()).to_string();
            let group = self
                .groups
                .entry(key)
                .or_insert_with(|| (labels, BTreeMap::new()));
            let cell = group.1.entry((at, powers.value(row))).or_insert_with(|| {
                self.cells += 1;
                Cell {
                    count: 0,
                    sum: 0.0,
                    min: f64::INFINITY,
                    max: f64::NEG_INFINITY,
                }
            });
            cell.count += counts.value(row) as u64;
            cell.sum += sums.value(row);
            cell.min = cell.min.min(least.value(row));
            cell.max = cell.max.max(most.value(row));
        }
        if self.groups.len() > TRACEQL_SERIES {
            return Err(too_many(format!(
                "it makes more than {TRACEQL_SERIES} series"
            )));
        }
        if self.cells > TRACEQL_SAMPLES {
            return Err(too_many(format!(
                "it makes more than {TRACEQL_SAMPLES} values"
            )));
        }
        held.try_grow((self.cells - before) * CELL_BYTES)
            .map_err(fail)?;
        Ok(true)
    }

    /// The series of a function.
    pub(crate) fn series(
        self,
        of: &Metrics,
        rows: &Rows,
        steps: &Steps,
        in_time: &impl Fn() -> Result<()>,
    ) -> Result<Vec<Series>> {
        let mut series = Vec::new();
        for (labels, cells) in self.groups.into_values() {
            in_time()?;
            match of.function {
                MetricsFunction::QuantileOverTime => {
                    series.extend(quantiles(&labels, &cells, of, rows, steps));
                }
                MetricsFunction::HistogramOverTime => {
                    series.extend(histogram(&labels, &cells, rows, steps));
                }
                function => {
                    let counts = matches!(
                        function,
                        MetricsFunction::Rate | MetricsFunction::CountOverTime
                    );
                    let mut values = vec![counts.then_some(0.0); steps.count];
                    for ((at, _), cell) in &cells {
                        values[*at] = Some(match function {
                            MetricsFunction::Rate => cell.count as f64 / steps.seconds(),
                            MetricsFunction::MinOverTime => rows.scaled(cell.min),
                            MetricsFunction::MaxOverTime => rows.scaled(cell.max),
                            MetricsFunction::SumOverTime => rows.scaled(cell.sum),
                            MetricsFunction::AvgOverTime => {
                                rows.scaled(cell.sum) / cell.count as f64
                            }
                            _ => cell.count as f64,
                        });
                    }
                    series.push(Series { labels, values });
                }
            }
            if series.len() > TRACEQL_SERIES {
                return Err(too_many(format!(
                    "it makes more than {TRACEQL_SERIES} series"
                )));
            }
            if series.len() * steps.count > TRACEQL_SAMPLES {
                return Err(too_many(format!(
                    "it makes more than {TRACEQL_SAMPLES} values"
                )));
            }
        }
        series.sort_by_cached_key(|series| prometheus(&series.labels));
        Ok(series)
    }
}

fn too_many(message: String) -> Error {
    Error::new(Code::TraceqlTooLarge, message)
}

fn quantiles<'a>(
    labels: &'a Labels,
    cells: &'a BTreeMap<(usize, i64), Cell>,
    of: &'a Metrics,
    rows: &'a Rows,
    steps: &'a Steps,
) -> impl Iterator<Item = Series> + 'a {
    let mut counts: Vec<BTreeMap<i64, u64>> = vec![BTreeMap::new(); steps.count];
    for ((at, power), cell) in cells {
        *counts[*at].entry(*power).or_default() += cell.count;
    }
    of.quantiles.iter().map(move |q| {
        let values = counts.iter().map(|counts| quantile(*q, counts));
        let values = values
            .map(|value| value.map(|value| rows.scaled(value)))
            .collect();
        let mut labels = labels.clone();
        labels.push((QUANTILE.to_owned(), double(*q)));
        Series { labels, values }
    })
}

fn histogram(
    labels: &Labels,
    cells: &BTreeMap<(usize, i64), Cell>,
    rows: &Rows,
    steps: &Steps,
) -> Vec<Series> {
    let mut by_power: BTreeMap<i64, Vec<Option<f64>>> = BTreeMap::new();
    for ((at, power), cell) in cells {
        let values = by_power.entry(*power);
        let values = values.or_insert_with(|| vec![Some(0.0); steps.count]);
        values[*at] = Some(values[*at].unwrap_or(0.0) + cell.count as f64);
    }
    let series = by_power.into_iter().map(|(power, values)| {
        let mut labels = labels.clone();
        labels.push((BUCKET.to_owned(), double(rows.scaled(greatest(power)))));
        Series { labels, values }
    });
    series.collect()
}

/// What stages make of series.
pub(crate) fn staged(
    mut series: Vec<Series>,
    stages: &[SeriesStage],
    in_time: &impl Fn() -> Result<()>,
) -> Result<Vec<Series>> {
    for stage in stages {
        in_time()?;
        match stage {
            SeriesStage::Topk { limit } => ranked(&mut series, *limit as usize, true, in_time)?,
            SeriesStage::Bottomk { limit } => ranked(&mut series, *limit as usize, false, in_time)?,
            SeriesStage::Filter { operator, value } => {
                let is_regex = matches!(operator, Comparison::Matches | Comparison::NotMatches);
                let Some(number) = value.number().filter(|_| !is_regex) else {
                    return Err(mistyped("values of series compare with a number"));
                };
                // Durations are seconds in series.
                let number = match value {
                    crate::tree::Value::Duration(nanos) => *nanos as f64 / 1e9,
                    _ => number,
                };
                for value in series.iter_mut().flat_map(|series| &mut series.values) {
                    *value = value.filter(|value| operator.holds(*value, number));
                }
            }
        }
        series.retain(|series| series.values.iter().any(Option::is_some));
    }
    Ok(series)
}

/// Of each step the so many greatest or least values are kept; of equal ones, those of the first
/// series.
fn ranked(
    series: &mut [Series],
    limit: usize,
    greatest: bool,
    in_time: &impl Fn() -> Result<()>,
) -> Result<()> {
    let steps = series.first().map_or(0, |series| series.values.len());
    for step in 0..steps {
        in_time()?;
        let values = series.iter().enumerate();
        let values = values.filter_map(|(at, series)| series.values[step].map(|value| (value, at)));
        let mut values: Vec<(f64, usize)> = values.collect();
        values.sort_by(|(a, at), (b, other)| {
            let order = if greatest {
                b.total_cmp(a)
            } else {
                a.total_cmp(b)
            };
            order.then(at.cmp(other))
        });
        for (_, at) in values.into_iter().skip(limit) {
            series[at].values[step] = None;
        }
    }
    Ok(())
}

/// Labels as Prometheus writes them.
fn prometheus(labels: &Labels) -> String {
    let mut texts: Vec<String> = labels
        .iter()
        .map(
            |(key, value)| match key.starts_with("__") || key == QUANTILE {
                true => format!("{key}={}", json!(plain(value))),
                false => format!("{}={}", json!(key), json!(plain(value))),
            },
        )
        .collect();
    texts.sort_unstable();
    format!("{{{}}}", texts.join(", "))
}

/// Series as Tempo's messages have them, with the exemplars that are theirs.
pub(crate) fn shown(
    series: Vec<Series>,
    exemplars: Vec<Exemplar>,
    rows: &Rows,
    steps: &Steps,
    in_time: &impl Fn() -> Result<()>,
) -> Result<Vec<Json>> {
    let mut by_series: Vec<Vec<Json>> = vec![Vec::new(); series.len()];
    for exemplar in exemplars {
        in_time()?;
        let step = steps.of(exemplar.time);
        if let Some(at) = exemplar.series(&series, rows, step) {
            let value = match rows.takes_values() {
                true => Some(rows.scaled(exemplar.value)),
                false => series[at].values[step],
            };
            by_series[at].push(json!({
                "labels": [{ "key": "trace:id", "value": text(exemplar.trace_id) }],
                "value": number_json(value.unwrap_or(0.0)),
                "timestampMs": exemplar.time.div_euclid(1_000_000).to_string(),
            }));
        }
    }
    let series = series.into_iter().zip(by_series);
    let series = series.map(|(series, exemplars)| -> Result<Json> {
        in_time()?;
        let mut shown = json!({
            "labels": key_values(&series.labels),
            "promLabels": prometheus(&series.labels),
        });
        if steps.is_instant {
            shown["value"] = number_json(series.values[0].unwrap_or(0.0));
            return Ok(shown);
        }
        let samples = series.values.iter().enumerate().filter_map(|(at, value)| {
            Some(json!({
                "timestampMs": steps.timestamp_ms(at).to_string(),
                "value": number_json((*value)?),
            }))
        });
        shown["samples"] = samples.collect();
        shown["exemplars"] = Json::Array(exemplars);
        Ok(shown)
    });
    series.collect()
}

/// Whether a series has these labels, whatever it has beside them.
pub(crate) fn has(series: &Series, labels: &Labels) -> bool {
    labels.iter().all(|label| series.labels.contains(label))
}

/// The number of a label.
pub(crate) fn number(series: &Series, key: &str) -> Option<f64> {
    let label = series.labels.iter().find(|(known, _)| known == key)?;
    label.1.get("doubleValue")?.as_f64()
}

/// The greatest value of a histogram's bucket.
pub(crate) fn bucket(series: &Series) -> Option<f64> {
    number(series, BUCKET)
}
