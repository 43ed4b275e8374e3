//! What is a metric type's own: the fields of its data points, and their columns. Here are
//! numbers and summaries; `histograms.rs` has the two kinds of histogram.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray};
use arrow::buffer::Buffer;
use arrow::datatypes::{Float64Type, Int32Type, Int64Type};
use otlake_base::Table;

use crate::columns::{Offsets, Optional, numbers};
use crate::exemplars::{Exemplars, Number};
use crate::rejections::{Checked, check_long, reason};
use crate::schema;
use crate::texts::Arena;
use crate::wire::{Reader, Value, Wire};

/// The numbers of the fields that every data point has, but not under the same number.
pub struct Fields {
    pub attributes: u32,
    pub flags: u32,
}

/// The columns of one type of data point.
pub trait Values: Default {
    const FIELDS: Fields;
    /// A point begins.
    fn begin(&mut self);
    /// A field of the point that is not every point's.
    fn field<'a>(
        &mut self,
        number: u32,
        point: &Reader<'a>,
        value: Value<'a>,
        arena: &mut Arena,
    ) -> Wire<()>;
    /// The point ends: its row is complete, or refused and cut back by the caller.
    fn end(&mut self, temporality: i32, is_monotonic: bool) -> Checked;
    fn truncate(&mut self, rows: usize);
    /// The type's columns, in the schema's order.
    fn finish(self, table: Table, arena: &Buffer, columns: &mut Vec<ArrayRef>);
}

/// `NumberDataPoint`: gauges and sums.
#[derive(Default)]
pub struct NumberPoints {
    number: Number,
    value: Optional<f64>,
    value_int: Optional<i64>,
    exemplars: Exemplars,
    temporality: Vec<i32>,
    is_monotonic: Vec<bool>,
}

impl Values for NumberPoints {
    const FIELDS: Fields = Fields {
        attributes: 7,
        flags: 8,
    };

    fn begin(&mut self) {
        self.number = Number::default();
        self.exemplars.begin();
    }

    fn field<'a>(
        &mut self,
        number: u32,
        point: &Reader<'a>,
        value: Value<'a>,
        arena: &mut Arena,
    ) -> Wire<()> {
        match number {
            4 => self.number = Number::double(point.double(value)?),
            5 => self.exemplars.push(point.message(value)?, arena)?,
            6 => self.number = Number::int(point.fixed64(value)?),
            _ => {}
        }
        Ok(())
    }

    #[inline(always)]
    fn end(&mut self, temporality: i32, is_monotonic: bool) -> Checked {
        self.value.push(self.number.double);
        self.value_int.push(self.number.int);
        self.temporality.push(temporality);
        self.is_monotonic.push(is_monotonic);
        self.exemplars.end()
    }

    fn truncate(&mut self, rows: usize) {
        self.value.truncate(rows);
        self.value_int.truncate(rows);
        self.temporality.truncate(rows);
        self.is_monotonic.truncate(rows);
        self.exemplars.truncate(rows);
    }

    fn finish(self, table: Table, arena: &Buffer, columns: &mut Vec<ArrayRef>) {
        columns.extend([
            self.value.finish::<Float64Type>(),
            self.value_int.finish::<Int64Type>(),
            self.exemplars.finish(arena),
        ]);
        if table == Table::MetricsSum {
            columns.push(numbers::<Int32Type>(self.temporality));
            columns.push(Arc::new(BooleanArray::from(self.is_monotonic)));
        }
    }
}

/// `SummaryDataPoint`.
#[derive(Default)]
pub struct Summaries {
    point_count: u64,
    point_sum: f64,
    count: Vec<i64>,
    sum: Vec<f64>,
    offsets: Offsets,
    quantile: Vec<f64>,
    value: Vec<f64>,
}

impl Values for Summaries {
    const FIELDS: Fields = Fields {
        attributes: 7,
        flags: 8,
    };

    fn begin(&mut self) {
        (self.point_count, self.point_sum) = (0, 0.0);
    }

    fn field<'a>(
        &mut self,
        number: u32,
        point: &Reader<'a>,
        value: Value<'a>,
        _arena: &mut Arena,
    ) -> Wire<()> {
        match number {
            4 => self.point_count = point.fixed64(value)?,
            5 => self.point_sum = point.double(value)?,
            6 => {
                let mut at = point.message(value)?;
                let (mut quantile, mut value) = (0.0, 0.0);
                while let Some((number, field)) = at.field()? {
                    match number {
                        1 => quantile = at.double(field)?,
                        2 => value = at.double(field)?,
                        _ => {}
                    }
                }
                at.request().count_records(1)?;
                self.quantile.push(quantile);
                self.value.push(value);
            }
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self, _temporality: i32, _is_monotonic: bool) -> Checked {
        self.count.push(self.point_count as i64);
        self.sum.push(self.point_sum);
        self.offsets.push(self.quantile.len());
        check_long("count", self.point_count, reason::COUNT).map(|_| ())
    }

    fn truncate(&mut self, rows: usize) {
        self.count.truncate(rows);
        self.sum.truncate(rows);
        self.offsets.truncate(rows);
        let elements = self.offsets.end();
        self.quantile.truncate(elements);
        self.value.truncate(elements);
    }

    fn finish(self, _table: Table, _arena: &Buffer, columns: &mut Vec<ArrayRef>) {
        let values = vec![
            numbers::<Float64Type>(self.quantile),
            numbers::<Float64Type>(self.value),
        ];
        columns.extend([
            numbers::<Int64Type>(self.count),
            numbers::<Float64Type>(self.sum),
            self.offsets.finish_structs(&schema::QUANTILE, values),
        ]);
    }
}
