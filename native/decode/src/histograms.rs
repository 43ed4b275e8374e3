//! Data points of histograms, with explicit and with exponential buckets, and their columns.

use arrow::array::ArrayRef;
use arrow::buffer::Buffer;
use arrow::datatypes::{Float64Type, Int32Type, Int64Type};
use otlake_base::Table;

use crate::columns::{Offsets, Optional, numbers};
use crate::exemplars::Exemplars;
use crate::metric_values::{Fields, Values};
use crate::rejections::{Checked, Refusal, check_long, reason};
use crate::schema;
use crate::texts::Arena;
use crate::wire::{Reader, Value, Wire};

/// The count and the statistics of both kinds of histogram.
#[derive(Default)]
struct Moments {
    point_count: u64,
    point: [Option<f64>; 3],
    count: Vec<i64>,
    sum: Optional<f64>,
    min: Optional<f64>,
    max: Optional<f64>,
}

impl Moments {
    fn begin(&mut self) {
        self.point_count = 0;
        self.point = [None; 3];
    }

    fn end(&mut self) -> Checked {
        let [sum, min, max] = self.point;
        self.sum.push(sum);
        self.min.push(min);
        self.max.push(max);
        self.count.push(self.point_count as i64);
        check_long("count", self.point_count, reason::COUNT).map(|_| ())
    }

    fn truncate(&mut self, rows: usize) {
        self.count.truncate(rows);
        self.sum.truncate(rows);
        self.min.truncate(rows);
        self.max.truncate(rows);
    }

    fn finish(self, columns: &mut Vec<ArrayRef>) {
        columns.extend([
            numbers::<Int64Type>(self.count),
            self.sum.finish::<Float64Type>(),
            self.min.finish::<Float64Type>(),
            self.max.finish::<Float64Type>(),
        ]);
    }
}

/// A list of unsigned counts that must fit signed columns.
#[derive(Default)]
struct Counts {
    offsets: Offsets,
    values: Vec<i64>,
    too_large: Option<u64>,
}

impl Counts {
    fn begin(&mut self) {
        self.too_large = None;
    }

    fn add(&mut self, value: u64) {
        if i64::try_from(value).is_err() {
            self.too_large.get_or_insert(value);
        }
        self.values.push(value as i64);
    }

    fn in_point(&self) -> usize {
        self.values.len() - self.offsets.end()
    }

    fn end(&mut self, field: &str) -> Checked {
        self.offsets.push(self.values.len());
        match self.too_large.take() {
            Some(value) => check_long(field, value, reason::COUNT).map(|_| ()),
            None => Ok(()),
        }
    }

    fn truncate(&mut self, rows: usize) {
        self.offsets.truncate(rows);
        self.values.truncate(self.offsets.end());
    }

    fn finish(self, present: Option<Vec<bool>>) -> ArrayRef {
        self.offsets
            .finish(&schema::COUNT, numbers::<Int64Type>(self.values), present)
    }
}

/// `HistogramDataPoint`.
#[derive(Default)]
pub struct Histograms {
    moments: Moments,
    bucket_counts: Counts,
    bounds_offsets: Offsets,
    bounds: Vec<f64>,
    exemplars: Exemplars,
    temporality: Vec<i32>,
}

impl Values for Histograms {
    const FIELDS: Fields = Fields {
        attributes: 9,
        flags: 10,
    };

    fn begin(&mut self) {
        self.moments.begin();
        self.bucket_counts.begin();
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
            4 => self.moments.point_count = point.fixed64(value)?,
            5 => self.moments.point[0] = Some(point.double(value)?),
            6 => point.each_fixed64(value, |count| self.bucket_counts.add(count))?,
            7 => point.each_fixed64(value, |bits| self.bounds.push(f64::from_bits(bits)))?,
            8 => self.exemplars.push(point.message(value)?, arena)?,
            11 => self.moments.point[1] = Some(point.double(value)?),
            12 => self.moments.point[2] = Some(point.double(value)?),
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self, temporality: i32, _is_monotonic: bool) -> Checked {
        let buckets = self.bucket_counts.in_point();
        let bounds = self.bounds.len() - self.bounds_offsets.end();
        self.bounds_offsets.push(self.bounds.len());
        self.temporality.push(temporality);
        let counts = self.bucket_counts.end("bucket_counts");
        let moments = self.moments.end();
        let exemplars = self.exemplars.end();
        // OTLP: both are empty, or there is one bucket more than there are bounds.
        let consistent = if buckets == 0 || buckets == bounds + 1 {
            Ok(())
        } else {
            let what = format!("must be {} for {bounds} bounds, got {buckets}", bounds + 1);
            Err(Refusal::new(reason::BUCKETS, "bucket_counts", what))
        };
        moments.and(counts).and(consistent).and(exemplars)
    }

    fn truncate(&mut self, rows: usize) {
        self.moments.truncate(rows);
        self.bucket_counts.truncate(rows);
        self.bounds_offsets.truncate(rows);
        self.bounds.truncate(self.bounds_offsets.end());
        self.exemplars.truncate(rows);
        self.temporality.truncate(rows);
    }

    fn finish(self, _table: Table, arena: &Buffer, columns: &mut Vec<ArrayRef>) {
        self.moments.finish(columns);
        columns.extend([
            self.bucket_counts.finish(None),
            self.bounds_offsets
                .finish(&schema::BOUND, numbers::<Float64Type>(self.bounds), None),
            self.exemplars.finish(arena),
            numbers::<Int32Type>(self.temporality),
        ]);
    }
}

/// `ExponentialHistogramDataPoint`.
#[derive(Default)]
pub struct Exponentials {
    moments: Moments,
    point_scale: i32,
    point_zero_count: u64,
    point_zero_threshold: f64,
    scale: Vec<i32>,
    zero_count: Vec<i64>,
    zero_threshold: Vec<f64>,
    positive: Buckets,
    negative: Buckets,
    exemplars: Exemplars,
    temporality: Vec<i32>,
}

/// One side's `Buckets`.
#[derive(Default)]
struct Buckets {
    point_offset: Option<i32>,
    offset: Optional<i32>,
    counts: Counts,
    present: Vec<bool>,
}

impl Buckets {
    fn begin(&mut self) {
        self.point_offset = None;
        self.counts.begin();
    }

    fn read(&mut self, mut buckets: Reader<'_>) -> Wire<()> {
        let mut offset = self.point_offset.unwrap_or(0);
        while let Some((number, field)) = buckets.field()? {
            match number {
                1 => offset = buckets.sint32(field)?,
                2 => buckets.each_varint(field, |count| self.counts.add(count))?,
                _ => {}
            }
        }
        self.point_offset = Some(offset);
        Ok(())
    }

    fn end(&mut self, field: &str) -> Checked {
        self.offset.push(self.point_offset);
        self.present.push(self.point_offset.is_some());
        self.counts.end(field)
    }

    fn truncate(&mut self, rows: usize) {
        self.offset.truncate(rows);
        self.present.truncate(rows);
        self.counts.truncate(rows);
    }

    fn finish(self, columns: &mut Vec<ArrayRef>) {
        columns.push(self.offset.finish::<Int32Type>());
        columns.push(self.counts.finish(Some(self.present)));
    }
}

impl Values for Exponentials {
    const FIELDS: Fields = Fields {
        attributes: 1,
        flags: 10,
    };

    fn begin(&mut self) {
        self.moments.begin();
        (
            self.point_scale,
            self.point_zero_count,
            self.point_zero_threshold,
        ) = (0, 0, 0.0);
        self.positive.begin();
        self.negative.begin();
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
            4 => self.moments.point_count = point.fixed64(value)?,
            5 => self.moments.point[0] = Some(point.double(value)?),
            6 => self.point_scale = point.sint32(value)?,
            7 => self.point_zero_count = point.fixed64(value)?,
            8 => self.positive.read(point.message(value)?)?,
            9 => self.negative.read(point.message(value)?)?,
            11 => self.exemplars.push(point.message(value)?, arena)?,
            12 => self.moments.point[1] = Some(point.double(value)?),
            13 => self.moments.point[2] = Some(point.double(value)?),
            14 => self.point_zero_threshold = point.double(value)?,
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self, temporality: i32, _is_monotonic: bool) -> Checked {
        self.scale.push(self.point_scale);
        self.zero_count.push(self.point_zero_count as i64);
        self.zero_threshold.push(self.point_zero_threshold);
        self.temporality.push(temporality);
        let zero = check_long("zero_count", self.point_zero_count, reason::COUNT).map(|_| ());
        let moments = self.moments.end();
        let positive = self.positive.end("positive.bucket_counts");
        let negative = self.negative.end("negative.bucket_counts");
        moments
            .and(zero)
            .and(positive)
            .and(negative)
            .and(self.exemplars.end())
    }

    fn truncate(&mut self, rows: usize) {
        self.moments.truncate(rows);
        self.scale.truncate(rows);
        self.zero_count.truncate(rows);
        self.zero_threshold.truncate(rows);
        self.positive.truncate(rows);
        self.negative.truncate(rows);
        self.exemplars.truncate(rows);
        self.temporality.truncate(rows);
    }

    fn finish(self, _table: Table, arena: &Buffer, columns: &mut Vec<ArrayRef>) {
        self.moments.finish(columns);
        columns.extend([
            numbers::<Int32Type>(self.scale),
            numbers::<Int64Type>(self.zero_count),
            numbers::<Float64Type>(self.zero_threshold),
        ]);
        self.positive.finish(columns);
        self.negative.finish(columns);
        columns.push(self.exemplars.finish(arena));
        columns.push(numbers::<Int32Type>(self.temporality));
    }
}
