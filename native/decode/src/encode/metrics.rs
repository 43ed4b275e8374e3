//! A data point's row back to its data point message, and its metric.
//!
//! The five kinds share most columns but not their field numbers, hence a writer for each.

use arrow::array::{Array, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch};
use otlake_base::{Result, Table};

use super::attributes::write_attributes;
use super::columns::{Columns, Ids, Lists, Texts};
use super::corrupt;
use super::groups::{Groups, Metric, Origin, ScopeCursor, owned_key};
use super::wire_writer::{WireWriter, zigzag};

/// `data_points` of each kind of metric.
const DATA_POINTS: u32 = 1;

/// Writes each row of a batch of a metrics table into its group.
pub(super) fn encode(table: Table, batch: &RecordBatch, groups: &mut Groups) -> Result<()> {
    let columns = Columns::of(batch);
    let point = PointColumns::of(&columns)?;
    let specific: Box<dyn Specific> = match table {
        Table::MetricsHistogram => Box::new(Histograms::of(&columns)?),
        Table::MetricsExponentialHistogram => Box::new(ExponentialHistograms::of(&columns)?),
        Table::MetricsSummary => Box::new(Summaries::of(&columns)?),
        _ => Box::new(Numbers::of(&columns)?),
    };
    let identity = Identity::of(table, &columns)?;
    let origin = Origin::of(batch)?;

    let mut cursor = ScopeCursor::new(&origin);
    let mut last: Option<(usize, usize, usize)> = None;
    for row in 0..batch.num_rows() {
        let scope = cursor.scope(row, groups)?;
        let metric = match last {
            Some((last_scope, last_row, metric))
                if last_scope == scope && identity.same(last_row, row) =>
            {
                metric
            }
            _ => {
                let key = identity.key(table, row);
                groups.metric(scope, key, || identity.metric(row))?
            }
        };
        last = Some((scope, row, metric));
        let wire = groups.points(metric);
        let mark = wire.begin(DATA_POINTS);
        specific.write(row, &point, wire)?;
        wire.end(mark);
    }
    Ok(())
}

/// The columns of one kind of metric.
trait Specific {
    /// Writes a row's data point.
    fn write(&self, row: usize, point: &PointColumns, wire: &mut WireWriter) -> Result<()>;
}

/// What makes two rows points of the same metric, within a scope.
struct Identity {
    name: Texts,
    description: Texts,
    unit: Texts,
    metadata: Texts,
    temporality: Option<Int32Array>,
    monotonic: Option<BooleanArray>,
    /// The field of `Metric.data`.
    data: u32,
}

impl Identity {
    fn of(table: Table, columns: &Columns<'_>) -> Result<Identity> {
        let (data, has_temporality) = match table {
            Table::MetricsSum => (7, true),
            Table::MetricsHistogram => (9, true),
            Table::MetricsExponentialHistogram => (10, true),
            Table::MetricsSummary => (11, false),
            _ => (5, false),
        };
        Ok(Identity {
            name: columns.texts("name")?,
            description: columns.texts("description")?,
            unit: columns.texts("unit")?,
            metadata: columns.texts("metadata")?,
            temporality: has_temporality
                .then(|| columns.ints("aggregation_temporality"))
                .transpose()?,
            monotonic: (table == Table::MetricsSum)
                .then(|| columns.booleans("is_monotonic"))
                .transpose()?,
            data,
        })
    }

    fn texts(&self, row: usize) -> [&str; 4] {
        let texts = [&self.name, &self.description, &self.unit, &self.metadata];
        texts.map(|column| column.value(row))
    }

    fn temporality(&self, row: usize) -> i32 {
        self.temporality
            .as_ref()
            .map_or(0, |column| column.value(row))
    }

    fn monotonic(&self, row: usize) -> bool {
        self.monotonic
            .as_ref()
            .is_some_and(|column| column.value(row))
    }

    fn same(&self, a: usize, b: usize) -> bool {
        self.texts(a) == self.texts(b)
            && self.temporality(a) == self.temporality(b)
            && self.monotonic(a) == self.monotonic(b)
    }

    fn key(&self, table: Table, row: usize) -> Vec<u8> {
        let numbers = [
            table as i64,
            self.temporality(row).into(),
            self.monotonic(row).into(),
        ];
        owned_key(&self.texts(row), &numbers)
    }

    fn metric(&self, row: usize) -> Result<Metric> {
        let mut head = WireWriter::default();
        head.bytes_unless_empty(1, self.name.value(row).as_bytes());
        head.bytes_unless_empty(2, self.description.value(row).as_bytes());
        head.bytes_unless_empty(3, self.unit.value(row).as_bytes());
        let mut data_tail = WireWriter::default();
        data_tail.varint_unless_zero(2, self.temporality(row) as u64);
        data_tail.varint_unless_zero(3, self.monotonic(row).into());
        let mut tail = WireWriter::default();
        write_attributes(self.metadata.value(row), 12, &mut tail)
            .map_err(|fault| corrupt("metadata", fault))?;
        Ok(Metric::new(
            head.bytes,
            self.data,
            data_tail.bytes,
            tail.bytes,
        ))
    }
}

/// The columns that every kind of point has; their times have the same numbers in each.
struct PointColumns {
    start_time: Int64Array,
    time: Int64Array,
    flags: Int64Array,
    attributes: Texts,
}

impl PointColumns {
    fn of(columns: &Columns<'_>) -> Result<PointColumns> {
        Ok(PointColumns {
            start_time: columns.longs("start_time_unix_nano")?,
            time: columns.longs("time_unix_nano")?,
            flags: columns.longs("flags")?,
            attributes: columns.texts("attributes")?,
        })
    }

    /// Writes them; `attributes` and `flags` are the numbers of those two fields.
    fn write(&self, row: usize, attributes: u32, flags: u32, wire: &mut WireWriter) -> Result<()> {
        wire.fixed64_unless_zero(2, self.start_time.value(row) as u64);
        wire.fixed64_unless_zero(3, self.time.value(row) as u64);
        write_attributes(self.attributes.value(row), attributes, wire)
            .map_err(|fault| corrupt("attributes", fault))?;
        wire.varint_unless_zero(flags, self.flags.value(row) as u64);
        Ok(())
    }
}

/// A number that is an integer, a double, or not there.
struct Values {
    double: Float64Array,
    integer: Int64Array,
}

impl Values {
    fn of(columns: &Columns<'_>) -> Result<Values> {
        Ok(Values {
            double: columns.doubles("value")?,
            integer: columns.longs("value_int")?,
        })
    }

    /// Writes the oneof whose members have these numbers.
    fn write(&self, row: usize, double: u32, integer: u32, wire: &mut WireWriter) {
        if self.integer.is_valid(row) {
            wire.fixed64_field(integer, self.integer.value(row) as u64);
        } else if self.double.is_valid(row) {
            wire.fixed64_field(double, self.double.value(row).to_bits());
        }
    }
}

/// The elements of `exemplars`.
struct Exemplars {
    lists: Lists,
    time: Int64Array,
    values: Values,
    span_id: Ids,
    trace_id: Ids,
    attributes: Texts,
}

impl Exemplars {
    fn of(columns: &Columns<'_>) -> Result<Exemplars> {
        let lists = columns.lists("exemplars")?;
        let elements = lists.structs("exemplars")?;
        Ok(Exemplars {
            time: elements.longs("time_unix_nano")?,
            values: Values::of(&elements)?,
            span_id: elements.ids("span_id")?,
            trace_id: elements.ids("trace_id")?,
            attributes: elements.texts("filtered_attributes")?,
            lists,
        })
    }

    /// Writes a row's exemplars as fields of this number.
    fn write(&self, row: usize, number: u32, wire: &mut WireWriter) -> Result<()> {
        for at in self.lists.range(row).unwrap_or_default() {
            let mark = wire.begin(number);
            wire.fixed64_unless_zero(2, self.time.value(at) as u64);
            self.values.write(at, 3, 6, wire);
            wire.bytes_unless_empty(4, self.span_id.value(at));
            wire.bytes_unless_empty(5, self.trace_id.value(at));
            write_attributes(self.attributes.value(at), 7, wire)
                .map_err(|fault| corrupt("exemplars.filtered_attributes", fault))?;
            wire.end(mark);
        }
        Ok(())
    }
}

struct Numbers {
    values: Values,
    exemplars: Exemplars,
}

impl Numbers {
    fn of(columns: &Columns<'_>) -> Result<Numbers> {
        Ok(Numbers {
            values: Values::of(columns)?,
            exemplars: Exemplars::of(columns)?,
        })
    }
}

impl Specific for Numbers {
    fn write(&self, row: usize, point: &PointColumns, wire: &mut WireWriter) -> Result<()> {
        point.write(row, 7, 8, wire)?;
        self.values.write(row, 4, 6, wire);
        self.exemplars.write(row, 5, wire)
    }
}

/// A list column of 64-bit integers and their elements.
struct LongLists {
    lists: Lists,
    elements: Int64Array,
}

impl LongLists {
    fn of(columns: &Columns<'_>, name: &str) -> Result<LongLists> {
        let lists = columns.lists(name)?;
        Ok(LongLists {
            elements: lists.longs(name)?,
            lists,
        })
    }

    fn values(&self, row: usize) -> &[i64] {
        &self.elements.values()[self.lists.range(row).unwrap_or_default()]
    }
}

struct Histograms {
    count: Int64Array,
    sum: Float64Array,
    min: Float64Array,
    max: Float64Array,
    bucket_counts: LongLists,
    bounds: Lists,
    bound_elements: Float64Array,
    exemplars: Exemplars,
}

impl Histograms {
    fn of(columns: &Columns<'_>) -> Result<Histograms> {
        let bounds = columns.lists("explicit_bounds")?;
        Ok(Histograms {
            count: columns.longs("count")?,
            sum: columns.doubles("sum")?,
            min: columns.doubles("min")?,
            max: columns.doubles("max")?,
            bucket_counts: LongLists::of(columns, "bucket_counts")?,
            bound_elements: bounds.doubles("explicit_bounds")?,
            bounds,
            exemplars: Exemplars::of(columns)?,
        })
    }
}

impl Specific for Histograms {
    fn write(&self, row: usize, point: &PointColumns, wire: &mut WireWriter) -> Result<()> {
        point.write(row, 9, 10, wire)?;
        wire.fixed64_unless_zero(4, self.count.value(row) as u64);
        optional_double(&self.sum, row, 5, wire);
        packed_fixed64(
            6,
            self.bucket_counts
                .values(row)
                .iter()
                .map(|count| *count as u64),
            wire,
        );
        let bounds = &self.bound_elements.values()[self.bounds.range(row).unwrap_or_default()];
        packed_fixed64(7, bounds.iter().map(|bound| bound.to_bits()), wire);
        self.exemplars.write(row, 8, wire)?;
        optional_double(&self.min, row, 11, wire);
        optional_double(&self.max, row, 12, wire);
        Ok(())
    }
}

struct ExponentialHistograms {
    count: Int64Array,
    sum: Float64Array,
    min: Float64Array,
    max: Float64Array,
    scale: Int32Array,
    zero_count: Int64Array,
    zero_threshold: Float64Array,
    positive: Buckets,
    negative: Buckets,
    exemplars: Exemplars,
}

struct Buckets {
    offset: Int32Array,
    counts: LongLists,
}

impl Buckets {
    fn write(&self, row: usize, number: u32, wire: &mut WireWriter) {
        if self.offset.is_null(row) {
            return;
        }
        let mark = wire.begin(number);
        wire.varint_unless_zero(1, zigzag(self.offset.value(row)));
        let counts = self.counts.values(row);
        if !counts.is_empty() {
            let packed = wire.begin(2);
            counts.iter().for_each(|count| wire.varint(*count as u64));
            wire.end(packed);
        }
        wire.end(mark);
    }
}

impl ExponentialHistograms {
    fn of(columns: &Columns<'_>) -> Result<ExponentialHistograms> {
        Ok(ExponentialHistograms {
            count: columns.longs("count")?,
            sum: columns.doubles("sum")?,
            min: columns.doubles("min")?,
            max: columns.doubles("max")?,
            scale: columns.ints("scale")?,
            zero_count: columns.longs("zero_count")?,
            zero_threshold: columns.doubles("zero_threshold")?,
            positive: Buckets {
                offset: columns.ints("positive_offset")?,
                counts: LongLists::of(columns, "positive_bucket_counts")?,
            },
            negative: Buckets {
                offset: columns.ints("negative_offset")?,
                counts: LongLists::of(columns, "negative_bucket_counts")?,
            },
            exemplars: Exemplars::of(columns)?,
        })
    }
}

impl Specific for ExponentialHistograms {
    fn write(&self, row: usize, point: &PointColumns, wire: &mut WireWriter) -> Result<()> {
        point.write(row, 1, 10, wire)?;
        wire.fixed64_unless_zero(4, self.count.value(row) as u64);
        optional_double(&self.sum, row, 5, wire);
        wire.varint_unless_zero(6, zigzag(self.scale.value(row)));
        wire.fixed64_unless_zero(7, self.zero_count.value(row) as u64);
        self.positive.write(row, 8, wire);
        self.negative.write(row, 9, wire);
        self.exemplars.write(row, 11, wire)?;
        optional_double(&self.min, row, 12, wire);
        optional_double(&self.max, row, 13, wire);
        wire.fixed64_unless_zero(14, self.zero_threshold.value(row).to_bits());
        Ok(())
    }
}

struct Summaries {
    count: Int64Array,
    sum: Float64Array,
    lists: Lists,
    quantile: Float64Array,
    value: Float64Array,
}

impl Summaries {
    fn of(columns: &Columns<'_>) -> Result<Summaries> {
        let lists = columns.lists("quantile_values")?;
        let elements = lists.structs("quantile_values")?;
        Ok(Summaries {
            count: columns.longs("count")?,
            sum: columns.doubles("sum")?,
            quantile: elements.doubles("quantile")?,
            value: elements.doubles("value")?,
            lists,
        })
    }
}

impl Specific for Summaries {
    fn write(&self, row: usize, point: &PointColumns, wire: &mut WireWriter) -> Result<()> {
        point.write(row, 7, 8, wire)?;
        wire.fixed64_unless_zero(4, self.count.value(row) as u64);
        wire.fixed64_unless_zero(5, self.sum.value(row).to_bits());
        for at in self.lists.range(row).unwrap_or_default() {
            let mark = wire.begin(6);
            wire.fixed64_unless_zero(1, self.quantile.value(at).to_bits());
            wire.fixed64_unless_zero(2, self.value.value(at).to_bits());
            wire.end(mark);
        }
        Ok(())
    }
}

fn optional_double(column: &Float64Array, row: usize, number: u32, wire: &mut WireWriter) {
    if column.is_valid(row) {
        wire.fixed64_field(number, column.value(row).to_bits());
    }
}

fn packed_fixed64(number: u32, values: impl ExactSizeIterator<Item = u64>, wire: &mut WireWriter) {
    if values.len() > 0 {
        let mark = wire.begin(number);
        values.for_each(|value| wire.bytes.extend_from_slice(&value.to_le_bytes()));
        wire.end(mark);
    }
}
