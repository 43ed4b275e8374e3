//! `compare`: how often each value of each attribute is there, inside a selection and outside.

use std::collections::HashMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Int32Type;
use datafusion::execution::memory_pool::MemoryReservation;
use otlake_base::limits::TRACEQL_COMPARED;
use otlake_base::{Code, Error, Result};
use otlake_query::attribute::{Entries, unescape};
use serde_json::Value as Json;

use crate::chunk::{longs, named};
use crate::json::{raw, text};
use crate::metrics::series::Series;
use crate::metrics::steps::Steps;
use crate::spans::fail;
use crate::tree::{KINDS, Metrics, STATUSES};

/// The column that tells what is selected.
pub(crate) const SELECTED: &str = "selected";
/// Columns of the table that are compared.
pub(crate) const COLUMNS: [&str; 5] = [
    "name",
    "kind",
    "status_code",
    "attributes",
    "resource_attributes",
];
/// Columns of JSON objects, and what stands before the keys in them.
const OBJECTS: [(&str, &str); 2] = [
    ("attributes", "span."),
    ("resource_attributes", "resource."),
];
/// What a value takes of memory beside its text and its steps, in bytes.
const VALUE_BYTES: usize = 128;
/// The label that tells what a series is of.
const META: &str = "__meta_type";
/// Values of an attribute that are told where the query does not say.
const TOP: usize = 10;

/// By step: spans outside and inside.
type Counts = Vec<[u32; 2]>;

/// What was counted.
pub(crate) struct Compared<'a> {
    steps: &'a Steps,
    top: usize,
    /// By key, and by value's JSON text.
    values: HashMap<String, HashMap<String, Counts>>,
    distinct: usize,
}

impl<'a> Compared<'a> {
    pub(crate) fn new(of: &Metrics, steps: &'a Steps) -> Compared<'a> {
        Compared {
            steps,
            top: if of.top == 0 { TOP } else { of.top as usize },
            values: HashMap::new(),
            distinct: 0,
        }
    }

    /// Counts the rows of a batch.
    pub(crate) fn take(&mut self, batch: &RecordBatch, held: &MemoryReservation) -> Result<bool> {
        let before = self.distinct;
        let times = longs(batch, "time")?;
        let selected = named(batch, SELECTED)?.as_boolean();
        let names = named(batch, "name")?.as_string_view();
        let numbers = |name: &str| Ok::<_, Error>(named(batch, name)?.as_primitive::<Int32Type>());
        let (kinds, statuses) = (numbers("kind")?, numbers("status_code")?);
        let mut texts = Vec::new();
        let mut objects = Vec::new();
        for (column, prefix) in OBJECTS {
            objects.push((named(batch, column)?.as_string_view(), prefix));
        }
        for row in 0..batch.num_rows() {
            let step = self.steps.of(times.value(row));
            let inside = usize::from(selected.is_valid(row) && selected.value(row));
            texts.clear();
            texts.push(("name", Json::from(names.value(row)).to_string()));
            let named = |names: &[&str], number: i32| {
                let name = usize::try_from(number).ok().and_then(|at| names.get(at));
                format!("\"{}\"", name.unwrap_or(&""))
            };
            texts.push(("kind", named(&KINDS, kinds.value(row))));
            texts.push(("status", named(&STATUSES, statuses.value(row))));
            for (key, value) in &texts {
                self.count(key, value, step, inside);
            }
            for (column, prefix) in &objects {
                for (key, value) in Entries::new(column.value(row)).into_iter().flatten() {
                    if value != "null" {
                        self.count(&format!("{prefix}{}", unescape(key)), value, step, inside);
                    }
                }
            }
        }
        if self.distinct > TRACEQL_COMPARED {
            let message = format!("attributes have more than {TRACEQL_COMPARED} values");
            return Err(Error::new(Code::TraceqlTooLarge, message));
        }
        let bytes = VALUE_BYTES + self.steps.count * size_of::<[u32; 2]>();
        held.try_grow((self.distinct - before) * bytes)
            .map_err(fail)?;
        Ok(true)
    }

    fn count(&mut self, key: &str, value: &str, step: usize, inside: usize) {
        if !self.values.contains_key(key) {
            self.values.insert(key.to_owned(), HashMap::new());
        }
        let Some(values) = self.values.get_mut(key) else {
            return;
        };
        if let Some(counts) = values.get_mut(value) {
            counts[step][inside] += 1;
            return;
        }
        self.distinct += 1;
        let mut counts = vec![[0, 0]; self.steps.count];
        counts[step][inside] = 1;
        values.insert(value.to_owned(), counts);
    }

    /// Series of the values that are there most, and of each attribute's totals.
    pub(crate) fn series(self, in_time: &impl Fn() -> Result<()>) -> Result<Vec<Series>> {
        let mut series = Vec::new();
        let mut keys: Vec<_> = self.values.into_iter().collect();
        keys.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        for (key, values) in keys {
            let mut totals = vec![[0_u32, 0]; self.steps.count];
            for counts in values.values() {
                in_time()?;
                for (total, count) in totals.iter_mut().zip(counts) {
                    total[0] += count[0];
                    total[1] += count[1];
                }
            }
            for (side, name) in ["baseline", "selection"].into_iter().enumerate() {
                let of_side = |counts: &Counts| {
                    counts
                        .iter()
                        .map(|count| u64::from(count[side]))
                        .sum::<u64>()
                };
                let counted = values.iter();
                let counted = counted.map(|(value, counts)| (of_side(counts), value, counts));
                let mut ranked: Vec<_> = counted.filter(|(count, ..)| *count > 0).collect();
                in_time()?;
                ranked.sort_unstable_by(|(count, a, _), (other, b, _)| {
                    other.cmp(count).then_with(|| a.cmp(b))
                });
                for (_, value, counts) in ranked.into_iter().take(self.top) {
                    let value = raw(value).unwrap_or_else(|| text("nil"));
                    series.push(one(name, &key, value, counts, side));
                }
                if of_side(&totals) > 0 {
                    let total = format!("{name}_total");
                    series.push(one(&total, &key, text("nil"), &totals, side));
                }
            }
        }
        Ok(series)
    }
}

fn one(name: &str, key: &str, value: Json, counts: &Counts, side: usize) -> Series {
    Series {
        labels: vec![(META.to_owned(), text(name)), (key.to_owned(), value)],
        values: counts
            .iter()
            .map(|count| Some(f64::from(count[side])))
            .collect(),
    }
}
