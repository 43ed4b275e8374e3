//! `ExportMetricsServiceRequest` to the columns of the five metric tables.
//!
//! A request is walked once; each data point goes to the table of its metric's type. What the
//! points of every type share is `Points`; what is a type's own is in `metric_values.rs`.

use arrow::array::ArrayRef;
use arrow::buffer::{Buffer, ScalarBuffer};
use arrow::datatypes::Int64Type;
use otlake_base::{Result, Signal, Table};

use crate::attributes;
use crate::columns::{Numbers, fit, kept_numbers, micros, numbers};
use crate::decode::Tables;
use crate::groups::{Group, Records, Rows, add_row, walk};
use crate::histograms::{Exponentials, Histograms};
use crate::metric_values::{Fields, NumberPoints, Summaries, Values};
use crate::notes::{self, LIMITS};
use crate::origin::{Origin, OriginColumns};
use crate::rejections::{Checked, Refusal, Tally, check_long, or_refused, reason};
use crate::series::{Unordered, name_hash, series_id};
use crate::texts::{Arena, Texts, texts};
use crate::wire::tag::{bytes, varint};
use crate::wire::{Reader, Wire};

/// The numbers of the members of `Metric.data`.
mod data {
    pub const GAUGE: u32 = 5;
    pub const SUM: u32 = 7;
    pub const HISTOGRAM: u32 = 9;
    pub const EXPONENTIAL_HISTOGRAM: u32 = 10;
    pub const SUMMARY: u32 = 11;
}

/// The fields that all data points have under the same number.
mod field {
    use crate::wire::tag::fixed64;

    pub const START: u32 = fixed64(2);
    pub const TIME: u32 = fixed64(3);
}

/// The data points of a request.
#[derive(Default)]
pub struct Metrics<'a> {
    scratch: Scratch<'a>,
    tables: PointTables,
}

/// Its columns.
#[derive(Default)]
struct PointTables {
    /// All tables share it, so that a resource stands once.
    arena: Arena,
    gauge: Points<NumberPoints>,
    sum: Points<NumberPoints>,
    histogram: Points<Histograms>,
    exponential: Points<Exponentials>,
    summary: Points<Summaries>,
}

/// The rows of one metric table.
#[derive(Default)]
struct Points<V> {
    name: Texts,
    description: Texts,
    unit: Texts,
    metadata: Texts,
    series: Vec<i64>,
    start: Vec<i64>,
    time: Vec<i64>,
    flags: Numbers<i64>,
    attributes: Vec<u128>,
    values: V,
    origins: OriginColumns,
}

/// What the points of one metric have in common.
struct Head {
    name_hash: u64,
    name_view: u128,
    description: u128,
    unit: u128,
    metadata: u128,
    temporality: i32,
    is_monotonic: bool,
    group: Group,
}

/// Space that is used again for each metric.
#[derive(Default)]
struct Scratch<'a> {
    metadata: Vec<&'a [u8]>,
    data: Vec<Reader<'a>>,
    points: Vec<Reader<'a>>,
    attributes: Vec<&'a [u8]>,
    /// Rows of data that other data of the same metric has replaced; nobody sees them.
    replaced: PointTables,
}

/// Reads a request.
pub fn read<'a>(request: Reader<'a>, tally: &mut Tally<'_>) -> Wire<Metrics<'a>> {
    let mut metrics = Metrics::default();
    metrics.tables.arena.0.reserve(request.len());
    walk(request, &mut metrics, tally)?;
    Ok(metrics)
}

impl Metrics<'_> {
    /// The rows as batches.
    ///
    /// # Errors
    /// `OTLP_TOO_LARGE` where their text is too long for a batch.
    pub fn finish(self, tenant: &str) -> Result<Tables> {
        let mut points = self.tables;
        let tenant = points.arena.text(tenant);
        let arena = points.arena.finish()?;
        let tables = [
            points.gauge.finish(Table::MetricsGauge, tenant, &arena)?,
            points.sum.finish(Table::MetricsSum, tenant, &arena)?,
            points
                .histogram
                .finish(Table::MetricsHistogram, tenant, &arena)?,
            points
                .exponential
                .finish(Table::MetricsExponentialHistogram, tenant, &arena)?,
            points
                .summary
                .finish(Table::MetricsSummary, tenant, &arena)?,
        ];
        Ok(tables.into_iter().flatten().collect())
    }
}

impl<'a> Records<'a> for Metrics<'a> {
    const FIELD: &'static str = "metrics";
    const IS_ROW: bool = false;

    fn arena(&mut self) -> &mut Arena {
        &mut self.tables.arena
    }

    fn add(&mut self, mut metric: Reader<'a>, group: &Group, tally: &mut Tally<'_>) -> Wire<()> {
        let (scratch, arena) = (&mut self.scratch, &mut self.tables.arena);
        scratch.metadata.clear();
        scratch.data.clear();
        let mut group = group.clone();
        if group.notes & LIMITS != 0 {
            group
                .refused
                .get_or_insert_with(|| identity("resource or scope"));
        }
        let refused = &mut group.refused;
        let (mut name, mut description, mut unit, mut kind) = ("", "", "", 0);
        while let Some((number, field)) = metric.field()? {
            match number {
                1 => name = or_refused(metric.text(field), refused)?,
                2 => description = or_refused(metric.text(field), refused)?,
                3 => unit = or_refused(metric.text(field), refused)?,
                data::GAUGE
                | data::SUM
                | data::HISTOGRAM
                | data::EXPONENTIAL_HISTOGRAM
                | data::SUMMARY => {
                    if number != kind {
                        replace(kind, scratch)?;
                        kind = number;
                    }
                    metric.keep(&mut scratch.data, metric.message(field)?)?;
                }
                12 => metric.keep(&mut scratch.metadata, metric.bytes(field)?)?,
                notes::REPLACED_FIELD => group.notes |= notes::TEXT_REPLACED,
                _ => {}
            }
        }
        metric.request().set_notes(group.notes);
        let at = arena.0.len();
        let metadata = attributes::write_object(metric, &scratch.metadata, &mut arena.0);
        or_refused(metadata, refused)?;
        group.notes = metric.request().take_notes();
        let head = Head {
            name_hash: name_hash(name),
            metadata: arena.view_from(at),
            name_view: arena.text(name),
            description: arena.optional(description),
            unit: arena.optional(unit),
            temporality: 0,
            is_monotonic: false,
            group,
        };
        self.tables.data(kind, head, scratch, tally)
    }

    /// Each metric's points have their origin already.
    fn end_scope(&mut self, _origin: Origin) {}
}

/// Data that other data of the metric replaces makes no row, but must be well-formed.
fn replace(kind: u32, scratch: &mut Scratch<'_>) -> Wire<()> {
    if scratch.data.is_empty() {
        return Ok(());
    }
    let mut replaced = std::mem::take(&mut scratch.replaced);
    let head = Head {
        name_hash: 0,
        name_view: 0,
        description: 0,
        unit: 0,
        metadata: 0,
        temporality: 0,
        is_monotonic: false,
        group: Group::nobodys(),
    };
    replaced.data(kind, head, scratch, &mut Tally::new(Signal::Metrics, &[]))?;
    scratch.data.clear();
    scratch.replaced = replaced;
    Ok(())
}

/// A data point's attributes, with those of its resource and scope, say which series it is of:
/// cut off, two series could become one.
#[cold]
fn identity(whose: &str) -> Box<Refusal> {
    let what = format!("those of the {whose} go beyond a limit, and a series is known by them");
    Refusal::new(reason::ATTRIBUTES, "attributes", what)
}

impl PointTables {
    /// Adds the points of a metric's data, whose messages are in `scratch`.
    fn data<'a>(
        &mut self,
        kind: u32,
        mut head: Head,
        scratch: &mut Scratch<'a>,
        tally: &mut Tally<'_>,
    ) -> Wire<()> {
        let has_temporality = !matches!(kind, data::GAUGE | data::SUMMARY);
        scratch.points.clear();
        for message in &scratch.data {
            let mut message = *message;
            while let Some((number, field)) = message.field()? {
                match number {
                    1 => message.keep(&mut scratch.points, message.message(field)?)?,
                    2 if has_temporality => head.temporality = message.int32(field)?,
                    3 if kind == data::SUM => head.is_monotonic = message.number(field)? != 0,
                    _ => {}
                }
            }
        }
        let Scratch {
            points,
            attributes: entries,
            ..
        } = scratch;
        let arena = &mut self.arena;
        match kind {
            data::GAUGE => self.gauge.add(head, points, entries, arena, tally),
            data::SUM => self.sum.add(head, points, entries, arena, tally),
            data::HISTOGRAM => self.histogram.add(head, points, entries, arena, tally),
            data::EXPONENTIAL_HISTOGRAM => {
                self.exponential.add(head, points, entries, arena, tally)
            }
            data::SUMMARY => self.summary.add(head, points, entries, arena, tally),
            _ => Ok(()),
        }
    }
}

impl<V: Values> Points<V> {
    /// Adds the points of one metric.
    fn add<'a>(
        &mut self,
        head: Head,
        points: &[Reader<'a>],
        entries: &mut Vec<&'a [u8]>,
        arena: &mut Arena,
        tally: &mut Tally<'_>,
    ) -> Wire<()> {
        if let Some(point) = points.first() {
            tally.receive(point.request(), points.len())?;
        }
        let before = self.time.len();
        self.series.reserve(points.len());
        self.start.reserve(points.len());
        self.time.reserve(points.len());
        self.attributes.reserve(points.len());
        let mut rows = PointRows {
            points: self,
            head: &head,
            entries,
            arena,
        };
        for (index, point) in points.iter().enumerate() {
            add_row(&mut rows, *point, &head.group, Some(index), tally)?;
        }
        let rows = self.time.len() - before;
        self.name.repeat(head.name_view, rows);
        self.description.repeat(head.description, rows);
        self.unit.repeat(head.unit, rows);
        self.metadata.repeat(head.metadata, rows);
        self.origins.push(head.group.origin, rows);
        Ok(())
    }

    #[cold]
    fn cut_back(&mut self, rows: usize) {
        for column in [&mut self.series, &mut self.start, &mut self.time] {
            column.truncate(rows);
        }
        self.flags.truncate(rows);
        self.attributes.truncate(rows);
        self.values.truncate(rows);
    }

    /// The table's batch, where it has rows.
    fn finish(self, table: Table, tenant: u128, arena: &Buffer) -> Result<Tables> {
        if self.time.is_empty() {
            return Ok(Vec::new());
        }
        let long = numbers::<Int64Type>;
        let time = ScalarBuffer::from(fit(self.time));
        let mut columns: Vec<ArrayRef> = vec![
            self.name.finish(arena),
            self.description.finish(arena),
            self.unit.finish(arena),
            self.metadata.finish(arena),
            long(self.series),
            micros(&self.start),
            micros(&time),
            long(self.start),
            kept_numbers::<Int64Type>(&time),
            self.flags.finish::<Int64Type>(),
            texts(self.attributes, arena),
        ];
        self.values.finish(table, arena, &mut columns);
        self.origins.finish(tenant, &time, arena, &mut columns);
        crate::decode::batches(table, columns)
    }
}

/// The points of one metric on their way into its table.
struct PointRows<'p, 'a, V> {
    points: &'p mut Points<V>,
    head: &'p Head,
    entries: &'p mut Vec<&'a [u8]>,
    arena: &'p mut Arena,
}

impl<'a, V: Values> Rows<'a> for PointRows<'_, 'a, V> {
    fn rows(&self) -> usize {
        self.points.time.len()
    }

    #[inline(always)]
    fn arena(&mut self) -> &mut Arena {
        self.arena
    }

    #[inline(always)]
    fn row(&mut self, point: Reader<'a>) -> Wire<Checked> {
        let mut point = point;
        let (points, head) = (&mut *self.points, self.head);
        let (entries, arena) = (&mut *self.entries, &mut *self.arena);
        entries.clear();
        let Fields {
            attributes: attributes_field,
            flags: flags_field,
        } = V::FIELDS;
        let (mut start, mut time, mut flags) = (0, 0, 0);
        points.values.begin();
        while let Some(tag) = point.tag()? {
            match tag {
                field::START => start = point.next_fixed64()?,
                field::TIME => time = point.next_fixed64()?,
                _ if tag == bytes(attributes_field) => {
                    let attribute = point.next_bytes()?;
                    point.keep(entries, attribute)?;
                }
                _ if tag == varint(flags_field) => flags = point.next_uint32()?,
                _ => {
                    let field = point.value(tag)?;
                    match tag >> 3 {
                        notes::REPLACED_FIELD => point.request().note(notes::TEXT_REPLACED),
                        number
                            if matches!(number, 2 | 3)
                                || number == attributes_field
                                || number == flags_field =>
                        {
                            return Err(point.wrong_type());
                        }
                        number => points.values.field(number, &point, field, arena)?,
                    }
                }
            }
        }
        let at = arena.0.len();
        let mut hash = Unordered::default();
        // What was noted of exemplars is kept apart.
        let (request, noted) = (point.request(), point.request().take_notes());
        attributes::write_object_with(point, entries, &mut arena.0, |_, _, out, at| {
            hash.add(&out[at..]);
        })?;
        let own = request.take_notes();
        request.set_notes(noted | own);
        points.attributes.push(arena.view_from(at));
        let series = series_id(
            head.name_hash,
            head.group.origin.resource_hash,
            head.group.origin.scope_hash,
            hash.value(),
        );
        points.series.push(series);
        points.flags.push(flags);
        let values = points.values.end(head.temporality, head.is_monotonic);
        let times = check_long("start_time_unix_nano", start, reason::TIME).and_then(|start| {
            points.start.push(start);
            points
                .time
                .push(check_long("time_unix_nano", time, reason::TIME)?);
            Ok(())
        });
        let odd = request.plausible.of_time(time) | notes::of_order(start, time);
        if odd != 0 {
            request.note(odd);
        }
        let attributes = if own & LIMITS == 0 {
            Ok(())
        } else {
            Err(identity("data point"))
        };
        Ok(times.and(values).and(attributes))
    }

    #[inline(always)]
    fn cut_back(&mut self, rows: usize) {
        self.points.cut_back(rows);
    }
}
