//! `ExportMetricsServiceRequest` to the columns of the five metric tables.
//!
//! A request is walked once; each data point goes to the table of its metric's type. What the
//! points of every type share is `Points`; what is a type's own is in `metric_values.rs`.

use arrow::array::{ArrayRef, RecordBatch};
use arrow::buffer::Buffer;
use arrow::datatypes::Int64Type;
use otlake_base::{Result, Table};

use crate::attributes;
use crate::columns::{Arena, micros, numbers, texts};
use crate::decode::Decoded;
use crate::histograms::{Exponentials, Histograms};
use crate::metric_values::{Fields, Numbers, Summaries, Values};
use crate::origin::{Origin, OriginColumns};
use crate::rejections::{Place, Refusal, Rejections, check_long, reason};
use crate::series::{Unordered, series_id};
use crate::wire::{Reader, Wire};

/// The numbers of the members of `Metric.data`.
mod data {
    pub const GAUGE: u32 = 5;
    pub const SUM: u32 = 7;
    pub const HISTOGRAM: u32 = 9;
    pub const EXPONENTIAL_HISTOGRAM: u32 = 10;
    pub const SUMMARY: u32 = 11;
}

#[derive(Default)]
struct Metrics {
    /// All tables share it, so that a resource stands once.
    arena: Arena,
    gauge: Points<Numbers>,
    sum: Points<Numbers>,
    histogram: Points<Histograms>,
    exponential: Points<Exponentials>,
    summary: Points<Summaries>,
}

/// The rows of one metric table.
#[derive(Default)]
struct Points<V> {
    name: Vec<u128>,
    description: Vec<u128>,
    unit: Vec<u128>,
    metadata: Vec<u128>,
    series: Vec<i64>,
    start: Vec<i64>,
    time: Vec<i64>,
    flags: Vec<i64>,
    attributes: Vec<u128>,
    values: V,
    origins: OriginColumns,
}

/// What the points of one metric have in common.
struct Head<'a> {
    name: &'a str,
    name_view: u128,
    description: u128,
    unit: u128,
    metadata: u128,
    temporality: i32,
    is_monotonic: bool,
    origin: Origin,
    place: Place,
    /// Records of the request in other tables.
    elsewhere: usize,
}

/// Space that is used again for each metric.
#[derive(Default)]
struct Scratch<'a> {
    metadata: Vec<&'a [u8]>,
    data: Vec<Reader<'a>>,
    points: Vec<Reader<'a>>,
    attributes: Vec<&'a [u8]>,
    /// Rows of data that other data of the same metric has replaced; nobody sees them.
    replaced: Option<Box<Metrics>>,
}

pub fn decode(body: &[u8], tenant: &str) -> Result<Decoded> {
    let mut metrics = Metrics::default();
    metrics.arena.0.reserve(body.len());
    let mut rejections = Rejections::default();
    metrics.request(Reader::new(body), &mut rejections)?;
    let tenant = metrics.arena.text(tenant);
    let arena = metrics.arena.finish()?;
    let mut tables = Vec::new();
    for batch in [
        metrics.gauge.finish(Table::MetricsGauge, tenant, &arena)?,
        metrics.sum.finish(Table::MetricsSum, tenant, &arena)?,
        metrics
            .histogram
            .finish(Table::MetricsHistogram, tenant, &arena)?,
        metrics
            .exponential
            .finish(Table::MetricsExponentialHistogram, tenant, &arena)?,
        metrics
            .summary
            .finish(Table::MetricsSummary, tenant, &arena)?,
    ] {
        tables.extend(batch);
    }
    let accepted = tables
        .iter()
        .map(|(_, batch)| batch.num_rows() as u64)
        .sum();
    Ok(Decoded {
        tables,
        accepted,
        rejections,
    })
}

impl Metrics {
    fn request(&mut self, mut request: Reader<'_>, rejections: &mut Rejections) -> Wire<()> {
        let mut scratch = Scratch::default();
        let mut resource_index = 0;
        while let Some((number, field)) = request.field()? {
            if number != 1 {
                continue;
            }
            let mut group = request.message(field)?;
            let (mut resources, mut scope_metrics, mut schema_url) = (Vec::new(), Vec::new(), "");
            while let Some((number, field)) = group.field()? {
                match number {
                    1 => group.keep(&mut resources, group.bytes(field)?)?,
                    2 => group.keep(&mut scope_metrics, group.message(field)?)?,
                    3 => schema_url = group.text(field)?,
                    _ => {}
                }
            }
            let origin = Origin::resource(&group, &resources, schema_url, &mut self.arena)?;
            for (scope_index, scope_metrics) in scope_metrics.into_iter().enumerate() {
                let place = Place {
                    signal: "metrics",
                    resource: resource_index,
                    scope: scope_index,
                    record: 0,
                    point: None,
                };
                self.scope(scope_metrics, origin, place, &mut scratch, rejections)?;
            }
            resource_index += 1;
        }
        Ok(())
    }

    fn scope<'a>(
        &mut self,
        mut group: Reader<'a>,
        origin: Origin,
        mut place: Place,
        scratch: &mut Scratch<'a>,
        rejections: &mut Rejections,
    ) -> Wire<()> {
        // A series is known by its scope, which may follow its metrics.
        let (mut scopes, mut metrics, mut schema_url) = (Vec::new(), Vec::new(), "");
        while let Some((number, field)) = group.field()? {
            match number {
                1 => group.keep(&mut scopes, group.bytes(field)?)?,
                2 => group.keep(&mut metrics, group.message(field)?)?,
                3 => schema_url = group.text(field)?,
                _ => {}
            }
        }
        let origin = origin.with_scope(&group, &scopes, schema_url, &mut self.arena)?;
        for metric in metrics {
            self.metric(metric, origin, place, scratch, rejections)?;
            place.record += 1;
        }
        Ok(())
    }

    fn metric<'a>(
        &mut self,
        mut metric: Reader<'a>,
        origin: Origin,
        place: Place,
        scratch: &mut Scratch<'a>,
        rejections: &mut Rejections,
    ) -> Wire<()> {
        scratch.metadata.clear();
        scratch.data.clear();
        let (mut name, mut description, mut unit, mut kind) = ("", "", "", 0);
        while let Some((number, field)) = metric.field()? {
            match number {
                1 => name = metric.text(field)?,
                2 => description = metric.text(field)?,
                3 => unit = metric.text(field)?,
                data::GAUGE
                | data::SUM
                | data::HISTOGRAM
                | data::EXPONENTIAL_HISTOGRAM
                | data::SUMMARY => {
                    if number != kind {
                        self.replace(kind, origin, place, scratch)?;
                        kind = number;
                    }
                    metric.keep(&mut scratch.data, metric.message(field)?)?;
                }
                12 => metric.keep(&mut scratch.metadata, metric.bytes(field)?)?,
                _ => {}
            }
        }
        let at = self.arena.0.len();
        attributes::write_object(&metric, &scratch.metadata, &mut self.arena.0)?;
        let head = Head {
            name,
            metadata: self.arena.view_from(at),
            name_view: self.arena.text(name),
            description: self.arena.optional(description),
            unit: self.arena.optional(unit),
            temporality: 0,
            is_monotonic: false,
            origin,
            place,
            elsewhere: 0,
        };
        self.data(kind, head, scratch, rejections)
    }

    /// Data that other data of the metric replaces makes no row, but must be well-formed.
    fn replace<'a>(
        &self,
        kind: u32,
        origin: Origin,
        place: Place,
        scratch: &mut Scratch<'a>,
    ) -> Wire<()> {
        if scratch.data.is_empty() {
            return Ok(());
        }
        let mut replaced = scratch.replaced.take().unwrap_or_default();
        let head = Head {
            name: "",
            name_view: 0,
            description: 0,
            unit: 0,
            metadata: 0,
            temporality: 0,
            is_monotonic: false,
            origin,
            place,
            elsewhere: self.records(),
        };
        replaced.data(kind, head, scratch, &mut Rejections::default())?;
        scratch.data.clear();
        scratch.replaced = Some(replaced);
        Ok(())
    }

    /// Adds the points of a metric's data, whose messages are in `scratch`.
    fn data<'a>(
        &mut self,
        kind: u32,
        mut head: Head<'a>,
        scratch: &mut Scratch<'a>,
        rejections: &mut Rejections,
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
        head.elsewhere += self.records();
        let arena = &mut self.arena;
        match kind {
            data::GAUGE => self.gauge.add(head, points, entries, arena, rejections),
            data::SUM => self.sum.add(head, points, entries, arena, rejections),
            data::HISTOGRAM => self.histogram.add(head, points, entries, arena, rejections),
            data::EXPONENTIAL_HISTOGRAM => self
                .exponential
                .add(head, points, entries, arena, rejections),
            data::SUMMARY => self.summary.add(head, points, entries, arena, rejections),
            _ => Ok(()),
        }
    }

    /// Rows of all tables, and the elements within them.
    fn records(&self) -> usize {
        self.gauge.records()
            + self.sum.records()
            + self.histogram.records()
            + self.exponential.records()
            + self.summary.records()
    }
}

impl<V: Values> Points<V> {
    fn records(&self) -> usize {
        self.time.len() + self.values.elements()
    }

    /// Adds the points of one metric.
    fn add<'a>(
        &mut self,
        mut head: Head<'a>,
        points: &[Reader<'a>],
        entries: &mut Vec<&'a [u8]>,
        arena: &mut Arena,
        rejections: &mut Rejections,
    ) -> Wire<()> {
        head.elsewhere -= self.records();
        let before = self.time.len();
        for (index, point) in points.iter().enumerate() {
            let (rows, text) = (self.time.len(), arena.0.len());
            let outcome = self.point(*point, &head, entries, arena)?;
            point.check_records(head.elsewhere + self.records())?;
            if let Err(refusal) = outcome {
                self.cut_back(rows);
                arena.0.truncate(text);
                let place = Place {
                    point: Some(index),
                    ..head.place
                };
                rejections.add(place, &refusal);
            }
        }
        let rows = self.time.len();
        self.name.resize(rows, head.name_view);
        self.description.resize(rows, head.description);
        self.unit.resize(rows, head.unit);
        self.metadata.resize(rows, head.metadata);
        self.origins.push(head.origin, rows - before);
        Ok(())
    }

    fn point<'a>(
        &mut self,
        mut point: Reader<'a>,
        head: &Head<'a>,
        entries: &mut Vec<&'a [u8]>,
        arena: &mut Arena,
    ) -> Wire<Result<(), Refusal>> {
        entries.clear();
        let Fields {
            attributes: attributes_field,
            flags: flags_field,
        } = V::FIELDS;
        let (mut start, mut time, mut flags) = (0, 0, 0);
        self.values.begin();
        while let Some((number, field)) = point.field()? {
            match number {
                2 => start = point.fixed64(field)?,
                3 => time = point.fixed64(field)?,
                _ if number == attributes_field => point.keep(entries, point.bytes(field)?)?,
                _ if number == flags_field => flags = point.uint32(field)?,
                _ => self.values.field(number, &point, field, arena)?,
            }
        }
        let at = arena.0.len();
        let mut hash = Unordered::default();
        attributes::write_object_with(&point, entries, &mut arena.0, |_, _, text| {
            hash.add(text);
        })?;
        self.attributes.push(arena.view_from(at));
        let series = series_id(
            head.name,
            head.origin.resource_hash,
            head.origin.scope_hash,
            hash.value(),
        );
        self.series.push(series);
        self.flags.push(flags);
        let values = self.values.end(head.temporality, head.is_monotonic);
        let times = check_long("start_time_unix_nano", start, reason::TIME).and_then(|start| {
            self.start.push(start);
            self.time
                .push(check_long("time_unix_nano", time, reason::TIME)?);
            Ok(())
        });
        Ok(times.and(values))
    }

    #[cold]
    fn cut_back(&mut self, rows: usize) {
        for column in [
            &mut self.series,
            &mut self.start,
            &mut self.time,
            &mut self.flags,
        ] {
            column.truncate(rows);
        }
        self.attributes.truncate(rows);
        self.values.truncate(rows);
    }

    /// The table's batch, where it has rows.
    fn finish(
        self,
        table: Table,
        tenant: u128,
        arena: &Buffer,
    ) -> Result<Option<(Table, RecordBatch)>> {
        if self.time.is_empty() {
            return Ok(None);
        }
        let long = numbers::<Int64Type>;
        let mut columns: Vec<ArrayRef> = vec![
            texts(self.name, arena),
            texts(self.description, arena),
            texts(self.unit, arena),
            texts(self.metadata, arena),
            long(self.series),
            micros(&self.start),
            micros(&self.time),
            long(self.start),
            long(self.time.clone()),
            long(self.flags),
            texts(self.attributes, arena),
        ];
        self.values.finish(table, arena, &mut columns);
        self.origins.finish(tenant, &self.time, arena, &mut columns);
        Ok(Some((table, crate::decode::batch(table, columns)?)))
    }
}
