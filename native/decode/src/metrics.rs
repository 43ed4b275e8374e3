//! `ExportMetricsServiceRequest` to the columns of the five metric tables.
//!
//! A request is walked once; each data point goes to the table of its metric's type. What the
//! points of every type share is `Points`; what is a type's own is in `metric_values.rs`.

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::Int64Type;
use otlake_base::{Result, Table};

use crate::attributes;
use crate::columns::{Arena, micros, numbers, texts};
use crate::decode::Decoded;
use crate::metric_values::{Exponentials, Fields, Histograms, Numbers, Summaries, Values};
use crate::origin::{Origin, OriginColumns};
use crate::rejections::{Place, Refusal, Rejections, check_long, reason};
use crate::series::{Unordered, series_id};
use crate::wire::{Reader, Wire};

#[derive(Default)]
struct Metrics {
    gauge: Points<Numbers>,
    sum: Points<Numbers>,
    histogram: Points<Histograms>,
    exponential: Points<Exponentials>,
    summary: Points<Summaries>,
}

/// The rows of one metric table.
#[derive(Default)]
struct Points<V> {
    arena: Arena,
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

/// A `Metric` without its points.
#[derive(Default)]
struct Head<'a> {
    name: &'a str,
    description: &'a str,
    unit: &'a str,
    metadata: Vec<&'a [u8]>,
    temporality: i32,
    is_monotonic: bool,
}

/// Where the points of one scope come from; a table's views of it are made on first use.
struct Group<'a> {
    reader: Reader<'a>,
    resources: Vec<&'a [u8]>,
    resource_schema_url: &'a str,
    scopes: Vec<&'a [u8]>,
    scope_schema_url: &'a str,
}

pub fn decode(body: &[u8], tenant: &str) -> Result<Decoded> {
    let mut metrics = Metrics::default();
    let mut rejections = Rejections::default();
    metrics.request(Reader::new(body), &mut rejections)?;
    let mut tables = Vec::new();
    metrics
        .gauge
        .finish(Table::MetricsGauge, tenant, &mut tables)?;
    metrics.sum.finish(Table::MetricsSum, tenant, &mut tables)?;
    metrics
        .histogram
        .finish(Table::MetricsHistogram, tenant, &mut tables)?;
    metrics
        .exponential
        .finish(Table::MetricsExponentialHistogram, tenant, &mut tables)?;
    metrics
        .summary
        .finish(Table::MetricsSummary, tenant, &mut tables)?;
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
        let mut resource_index = 0;
        while let Some((number, field)) = request.field()? {
            if number != 1 {
                continue;
            }
            let mut group = request.message(field)?;
            let (mut resources, mut scope_metrics, mut schema_url) = (Vec::new(), Vec::new(), "");
            while let Some((number, field)) = group.field()? {
                match number {
                    1 => resources.push(group.bytes(field)?),
                    2 => scope_metrics.push(group.message(field)?),
                    3 => schema_url = group.text(field)?,
                    _ => {}
                }
            }
            // A resource without metrics must be well-formed, too.
            Origin::resource(&group, &resources, schema_url, &mut Arena::default())?;
            for (scope_index, scope_metrics) in scope_metrics.into_iter().enumerate() {
                let place = Place {
                    signal: "metrics",
                    resource: resource_index,
                    scope: scope_index,
                    record: 0,
                    point: None,
                };
                self.scope(scope_metrics, &resources, schema_url, place, rejections)?;
            }
            resource_index += 1;
        }
        Ok(())
    }

    fn scope<'a>(
        &mut self,
        mut reader: Reader<'a>,
        resources: &[&'a [u8]],
        resource_schema_url: &'a str,
        mut place: Place,
        rejections: &mut Rejections,
    ) -> Wire<()> {
        let (mut scopes, mut metrics, mut scope_schema_url) = (Vec::new(), Vec::new(), "");
        while let Some((number, field)) = reader.field()? {
            match number {
                1 => scopes.push(reader.bytes(field)?),
                2 => metrics.push(reader.message(field)?),
                3 => scope_schema_url = reader.text(field)?,
                _ => {}
            }
        }
        let group = Group {
            reader,
            resources: resources.to_vec(),
            resource_schema_url,
            scopes,
            scope_schema_url,
        };
        // A scope without metrics must be well-formed, too.
        group.origin(&mut Arena::default())?;
        let (mut gauge, mut sum, mut histogram) = (None, None, None);
        let (mut exponential, mut summary) = (None, None);
        for metric in metrics {
            let mut metric = metric;
            let mut head = Head::default();
            let mut data = None;
            while let Some((number, field)) = metric.field()? {
                match number {
                    1 => head.name = metric.text(field)?,
                    2 => head.description = metric.text(field)?,
                    3 => head.unit = metric.text(field)?,
                    5 | 7 | 9 | 10 | 11 => data = Some((number, metric.message(field)?)),
                    12 => head.metadata.push(metric.bytes(field)?),
                    _ => {}
                }
            }
            if let Some((kind, data)) = data {
                let mut points = Vec::new();
                let mut walk = data;
                while let Some((number, field)) = walk.field()? {
                    match number {
                        1 => points.push(walk.message(field)?),
                        2 => head.temporality = walk.int32(field)?,
                        3 => head.is_monotonic = walk.number(field)? != 0,
                        _ => {}
                    }
                }
                let (head, points) = (&head, &points[..]);
                match kind {
                    5 => self
                        .gauge
                        .add(&group, &mut gauge, head, points, place, rejections)?,
                    7 => self
                        .sum
                        .add(&group, &mut sum, head, points, place, rejections)?,
                    9 => self.histogram.add(
                        &group,
                        &mut histogram,
                        head,
                        points,
                        place,
                        rejections,
                    )?,
                    10 => self.exponential.add(
                        &group,
                        &mut exponential,
                        head,
                        points,
                        place,
                        rejections,
                    )?,
                    _ => self
                        .summary
                        .add(&group, &mut summary, head, points, place, rejections)?,
                }
            }
            place.record += 1;
        }
        Ok(())
    }
}

impl Group<'_> {
    fn origin(&self, arena: &mut Arena) -> Wire<Origin> {
        Origin::resource(
            &self.reader,
            &self.resources,
            self.resource_schema_url,
            arena,
        )?
        .with_scope(&self.reader, &self.scopes, self.scope_schema_url, arena)
    }
}

impl<V: Values> Points<V> {
    /// Adds the points of one metric.
    fn add<'a>(
        &mut self,
        group: &Group<'a>,
        origin: &mut Option<Origin>,
        head: &Head<'a>,
        points: &[Reader<'a>],
        mut place: Place,
        rejections: &mut Rejections,
    ) -> Wire<()> {
        let origin = match origin {
            Some(origin) => *origin,
            None => *origin.insert(group.origin(&mut self.arena)?),
        };
        let at = self.arena.0.len();
        attributes::write_object(&group.reader, &head.metadata, &mut self.arena.0)?;
        let metadata = self.arena.view_from(at);
        let name = self.arena.text(head.name);
        let description = self.arena.optional(head.description);
        let unit = self.arena.optional(head.unit);
        let before = self.time.len();
        let mut entries = Vec::new();
        for (index, point) in points.iter().enumerate() {
            let (rows, text) = (self.time.len(), self.arena.0.len());
            point.check_records(rows + self.values.elements())?;
            match self.point(*point, head, origin, &mut entries)? {
                Ok(()) => {
                    self.name.push(name);
                    self.description.push(description);
                    self.unit.push(unit);
                    self.metadata.push(metadata);
                }
                Err(refusal) => {
                    self.cut_back(rows, text);
                    place.point = Some(index);
                    rejections.add(place, &refusal);
                }
            }
        }
        self.origins.push(origin, self.time.len() - before);
        Ok(())
    }

    fn point<'a>(
        &mut self,
        mut point: Reader<'a>,
        head: &Head<'a>,
        origin: Origin,
        entries: &mut Vec<&'a [u8]>,
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
                _ if number == attributes_field => entries.push(point.bytes(field)?),
                _ if number == flags_field => flags = point.uint32(field)?,
                _ => self.values.field(number, &point, field, &mut self.arena)?,
            }
        }
        let at = self.arena.0.len();
        let mut hash = Unordered::default();
        attributes::write_object_with(&point, entries, &mut self.arena.0, |_, _, text| {
            hash.add(text);
        })?;
        self.attributes.push(self.arena.view_from(at));
        let series = series_id(
            head.name,
            origin.resource_hash,
            origin.scope_hash,
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
    fn cut_back(&mut self, rows: usize, text: usize) {
        self.arena.0.truncate(text);
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

    fn finish(
        mut self,
        table: Table,
        tenant: &str,
        tables: &mut Vec<(Table, RecordBatch)>,
    ) -> Result<()> {
        if self.time.is_empty() {
            return Ok(());
        }
        let tenant = self.arena.text(tenant);
        let arena = self.arena.finish();
        let long = numbers::<Int64Type>;
        let mut columns: Vec<ArrayRef> = vec![
            texts(self.name, &arena),
            texts(self.description, &arena),
            texts(self.unit, &arena),
            texts(self.metadata, &arena),
            long(self.series),
            micros(&self.start),
            micros(&self.time),
            long(self.start),
            long(self.time.clone()),
            long(self.flags),
            texts(self.attributes, &arena),
        ];
        self.values.finish(table, &arena, &mut columns);
        self.origins
            .finish(tenant, &self.time, &arena, &mut columns);
        tables.push((table, crate::decode::batch(table, columns)?));
        Ok(())
    }
}
