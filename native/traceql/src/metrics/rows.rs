//! What of each span goes into series: its time, a number, the labels; and for `compare` what its
//! attributes are. The columns are the same whether a scan gives them or a chunk of traces.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, UInt32Array};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::logical_expr::{Expr, cast as cast_expr, lit};
use otlake_base::Result;
use serde_json::{Value as Json, json};

use crate::chunk::{Chunk, named};
use crate::columns::{Columns, Slot};
use crate::expression::{Shown, condition, number, value};
use crate::functions::Function;
use crate::json::{any_value, text};
use crate::metrics::compare;
use crate::metrics::steps::Steps;
use crate::mistyped;
use crate::pipeline::Set;
use crate::spans::{column, defect};
use crate::tree::{Metrics, MetricsFunction};

/// Nanoseconds of a second: durations are seconds in series.
const NANOS: f64 = 1e9;

/// A label of series.
#[derive(Clone, Debug)]
pub(crate) struct Label {
    pub(crate) key: String,
    pub(crate) shown: Shown,
    column: usize,
}

/// Which columns the rows have, and what of the query's values they are.
#[derive(Debug)]
pub(crate) struct Rows {
    function: MetricsFunction,
    value: Option<usize>,
    /// Whether the number is of nanoseconds.
    pub(crate) of_time: bool,
    pub(crate) labels: Vec<Label>,
    /// Columns of `compare`: names with numbers of values.
    compared: Vec<(String, usize)>,
}

impl Rows {
    /// What a metrics stage takes.
    ///
    /// # Errors
    /// `TRACEQL_TYPE`.
    pub(crate) fn new(of: &Metrics, columns: &mut Columns) -> Result<Rows> {
        let takes = !matches!(
            of.function,
            MetricsFunction::Rate | MetricsFunction::CountOverTime | MetricsFunction::Compare
        );
        let (value_column, of_time) = match (&of.argument, takes) {
            (Some(argument), true) => {
                let (expr, of_time) = number(argument)?;
                (Some(columns.add(expr)), of_time)
            }
            (None, true) => {
                return Err(mistyped(format!("{} takes a value", of.function.name())));
            }
            _ => (None, false),
        };
        if of.function == MetricsFunction::QuantileOverTime {
            let are_quantiles = of.quantiles.iter().all(|q| (0.0..=1.0).contains(q));
            if of.quantiles.is_empty() || !are_quantiles {
                return Err(mistyped(
                    "quantiles are from 0 to 1, and there is at least one",
                ));
            }
        }
        let labels = of.by.iter().map(|expression| {
            let (expr, shown) = value(expression)?;
            Ok(Label {
                key: expression.to_string(),
                shown,
                column: columns.add(expr),
            })
        });
        let labels = labels.collect::<Result<_>>()?;
        let mut compared = Vec::new();
        if of.function == MetricsFunction::Compare {
            let mut selected = match &of.selection {
                Some(selection) => condition(selection)?,
                None => lit(true),
            };
            let start = || column("start_time_unix_nano");
            if let (Some(first), Some(end)) = (of.start, of.end) {
                let is_within = start().gt(lit(first)).and(start().lt_eq(lit(end)));
                selected = selected.and(is_within);
            }
            compared.push((compare::SELECTED.to_owned(), columns.add(selected)));
            for name in compare::COLUMNS {
                compared.push((name.to_owned(), columns.add(column(name))));
            }
        }
        Ok(Rows {
            function: of.function,
            value: value_column,
            of_time,
            labels,
            compared,
        })
    }

    /// By name, of which value a column is.
    fn columns(&self) -> impl Iterator<Item = (String, usize)> {
        let labels = self.labels.iter().enumerate();
        let labels = labels.map(|(number, label)| (label_name(number), label.column));
        labels.chain(self.compared.iter().cloned())
    }

    /// The columns as a scan gives them.
    pub(crate) fn projected(&self, columns: &Columns) -> Vec<Expr> {
        let of = |number: usize| {
            let (Slot::Early(expr) | Slot::Late(expr)) = &columns.slots()[number];
            expr.clone()
        };
        let value = match self.value {
            Some(number) => cast_expr(of(number), DataType::Float64),
            None => lit(1.0),
        };
        let mut projected = vec![
            column("trace_id"),
            column("span_id"),
            column("start_time_unix_nano").alias("time"),
            value.alias("value"),
        ];
        projected.extend(self.columns().map(|(name, number)| of(number).alias(name)));
        projected
    }

    /// The columns of the spans of these spansets.
    pub(crate) fn of_chunk(&self, chunk: &Chunk, sets: &[Set]) -> Result<RecordBatch> {
        let mut rows: Vec<u32> = sets.iter().flat_map(|set| &set.rows).copied().collect();
        rows.sort_unstable();
        rows.dedup();
        let rows = UInt32Array::from(rows);
        let taken = |array: &ArrayRef| take(array, &rows, None).map_err(defect);
        let mut fields = Vec::new();
        let mut arrays: Vec<ArrayRef> = Vec::new();
        let mut add = |name: &str, array: ArrayRef| {
            fields.push(Field::new(name, array.data_type().clone(), true));
            arrays.push(array);
        };
        add("trace_id", taken(named(&chunk.spans, "trace_id")?)?);
        add("span_id", taken(named(&chunk.spans, "span_id")?)?);
        add("time", taken(named(&chunk.spans, "start_time_unix_nano")?)?);
        let value: ArrayRef = match self.value {
            Some(number) => {
                let of = taken(&chunk.values[number])?;
                cast(&of, &DataType::Float64).map_err(defect)?
            }
            None => Arc::new(Float64Array::from_value(1.0, rows.values().len())),
        };
        add("value", value);
        for (name, number) in self.columns() {
            add(&name, taken(&chunk.values[number])?);
        }
        RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).map_err(defect)
    }

    /// What rows are grouped by: the step, the labels, and of buckets the power of two.
    pub(crate) fn groups(&self, steps: &Steps) -> Vec<Expr> {
        let since = column("time") - lit(steps.before + 1);
        let mut groups = vec![(since / lit(steps.step)).alias("step")];
        groups.extend((0..self.labels.len()).map(|number| column(&label_name(number))));
        let power = match self.is_bucketed() {
            true => Function::Power.of(vec![column("value")]),
            false => lit(0_i64),
        };
        // Of what has no number, nothing is made.
        let power = match self.value {
            Some(_) => datafusion::logical_expr::when(column("value").is_not_null(), power).end(),
            None => Ok(power),
        };
        if let Ok(power) = power {
            groups.push(power.alias("power"));
        }
        groups
    }

    /// Whether numbers are told apart by powers of two.
    pub(crate) fn is_bucketed(&self) -> bool {
        matches!(
            self.function,
            MetricsFunction::QuantileOverTime | MetricsFunction::HistogramOverTime
        )
    }

    /// Whether spans have numbers, not only counts.
    pub(crate) fn takes_values(&self) -> bool {
        self.value.is_some()
    }

    /// A number as series have it.
    pub(crate) fn scaled(&self, number: f64) -> f64 {
        if self.of_time { number / NANOS } else { number }
    }

    /// The labels of a row. What is missing is left out, unless everything is.
    pub(crate) fn labels(&self, batch: &RecordBatch, row: usize) -> Result<Vec<(String, Json)>> {
        let mut labels = Vec::with_capacity(self.labels.len());
        for (number, label) in self.labels.iter().enumerate() {
            let column = named(batch, &label_name(number))?;
            if let Some(value) = any_value(label.shown, column, row) {
                labels.push((label.key.clone(), value));
            }
        }
        if labels.is_empty() {
            match self.labels.first() {
                Some(first) => labels.push((first.key.clone(), text("nil"))),
                None if self.is_bucketed() => {}
                None => labels.push(("__name__".to_owned(), text(self.function.name()))),
            }
        }
        Ok(labels)
    }
}

fn label_name(number: usize) -> String {
    format!("label_{number}")
}

/// Labels as Tempo's messages have them.
pub(crate) fn key_values(labels: &[(String, Json)]) -> Vec<Json> {
    let labels = labels.iter();
    labels
        .map(|(key, value)| json!({ "key": key, "value": value }))
        .collect()
}
