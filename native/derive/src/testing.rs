//! Random spans, and a node's log and tables as plain lists, which can crash between any two steps.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type};
use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use otlake_base::{Clock, Metrics, Position, Signal, StreamId, Table};
use prost::Message;

use crate::{DeriveConfig, Deriver, Prepared, SpanBatch, Watermarks, attribute};

/// Time as a test sets it.
#[derive(Default)]
pub(crate) struct ManualClock(AtomicU64);

impl ManualClock {
    pub(crate) fn advance(&self, by: Duration) {
        self.0.fetch_add(by.as_nanos() as u64, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn unix_nano(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::SeqCst))
    }
}

/// Numbers by a seed.
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Chance {
        Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    pub(crate) fn one_in(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }
}

/// A span as a test writes it down.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plain {
    pub(crate) service: String,
    pub(crate) name: String,
    pub(crate) trace: u128,
    pub(crate) id: u64,
    pub(crate) parent: u64,
    pub(crate) kind: i32,
    pub(crate) status: i32,
    pub(crate) start: u64,
    pub(crate) duration: u64,
    pub(crate) attributes: Vec<(&'static str, String)>,
}

fn text(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.into(),
        value: Some(AnyValue {
            value: Some(any_value::Value::StringValue(value.into())),
        }),
        ..KeyValue::default()
    }
}

/// The rows of spans, as the decoder gives them.
pub(crate) fn rows(spans: &[Plain], tenant: &str) -> Option<RecordBatch> {
    let resource_spans = spans.iter().map(|span| ResourceSpans {
        resource: Some(Resource {
            attributes: vec![text("service.name", &span.service)],
            ..Resource::default()
        }),
        scope_spans: vec![ScopeSpans {
            spans: vec![Span {
                trace_id: span.trace.to_be_bytes().to_vec(),
                span_id: span.id.to_be_bytes().to_vec(),
                parent_span_id: match span.parent {
                    0 => Vec::new(),
                    parent => parent.to_be_bytes().to_vec(),
                },
                name: span.name.clone(),
                kind: span.kind,
                status: Some(Status {
                    code: span.status,
                    ..Status::default()
                }),
                start_time_unix_nano: span.start,
                end_time_unix_nano: span.start + span.duration,
                attributes: span
                    .attributes
                    .iter()
                    .map(|(key, value)| text(key, value))
                    .collect(),
                ..Span::default()
            }],
            ..ScopeSpans::default()
        }],
        ..ResourceSpans::default()
    });
    let request = ExportTraceServiceRequest {
        resource_spans: resource_spans.collect(),
    };
    let bytes = Bytes::from(request.encode_to_vec());
    let decoded = otlake_decode::replay(Signal::Traces, &bytes, tenant).expect("a request");
    assert_eq!(decoded.accepted, spans.len() as u64);
    decoded.tables.into_iter().next().map(|(_, batch)| batch)
}

/// A row of a metric table: tenant, name and labels; its end; how many it counts, the sum of their
/// seconds in microseconds, and its buckets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Series {
    pub(crate) tenant: String,
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) time: i64,
}

/// See [`Series`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Value {
    pub(crate) count: u64,
    pub(crate) micros: u64,
    pub(crate) buckets: Vec<u64>,
}

impl Value {
    pub(crate) fn add(&mut self, other: &Value) {
        self.count += other.count;
        self.micros += other.micros;
        self.buckets
            .resize(self.buckets.len().max(other.buckets.len()), 0);
        for (at, count) in other.buckets.iter().enumerate() {
            self.buckets[at] += count;
        }
    }
}

/// Reads derived rows back, and adds up the deltas.
pub(crate) fn read(table: Table, batches: &[RecordBatch]) -> BTreeMap<Series, Value> {
    let mut series: BTreeMap<Series, Value> = BTreeMap::new();
    for batch in batches {
        let texts = |name| {
            batch
                .column_by_name(name)
                .expect("a column")
                .as_string_view()
        };
        let longs = |name| {
            let column = batch.column_by_name(name).expect("a column");
            column.as_primitive::<Int64Type>().values()
        };
        for row in 0..batch.num_rows() {
            let json = texts("attributes").value(row);
            let label = |value| attribute::label(value).unwrap_or_default().into_owned();
            let labels =
                attribute::entries(json).map(|(key, value)| (key.to_owned(), label(value)));
            let key = Series {
                tenant: texts("tenant").value(row).to_owned(),
                name: texts("name").value(row).to_owned(),
                labels: labels.collect(),
                time: longs("time_unix_nano")[row],
            };
            let value = match table {
                Table::MetricsSum => Value {
                    count: longs("value_int")[row] as u64,
                    ..Value::default()
                },
                _ => {
                    let sum = batch.column_by_name("sum").expect("a sum");
                    let sum = sum.as_primitive::<Float64Type>().value(row);
                    let buckets = batch.column_by_name("bucket_counts").expect("buckets");
                    let buckets = buckets.as_list::<i32>().value(row);
                    let buckets = buckets.as_primitive::<Int64Type>().values().to_vec();
                    Value {
                        count: longs("count")[row] as u64,
                        micros: (sum * 1e6).round() as u64,
                        buckets: buckets.into_iter().map(|count| count as u64).collect(),
                    }
                }
            };
            series.entry(key).or_default().add(&value);
        }
    }
    series
}

/// The spans of one record, all of them a tenant's.
fn batch(position: Position, tenant: &Arc<str>, spans: &[Plain]) -> SpanBatch {
    let rows = rows(spans, tenant).into_iter();
    SpanBatch {
        position,
        spans: rows.map(|rows| (Arc::clone(tenant), rows)).collect(),
        bytes: 1,
    }
}

/// Where a flush ends before its end.
pub(crate) const STEPS: u64 = 5;

/// A node by itself: log, tables, and what a start makes of them.
pub(crate) struct Node {
    config: DeriveConfig,
    pub(crate) clock: Arc<ManualClock>,
    deriver: Deriver,
    stream: StreamId,
    sequence: u64,
    log: Vec<(Position, Arc<str>, Vec<Plain>)>,
    live: Vec<SpanBatch>,
    spans: Watermarks,
    tables: HashMap<Table, (Watermarks, Vec<RecordBatch>)>,
}

impl Node {
    pub(crate) fn new(config: DeriveConfig) -> Node {
        let clock = Arc::new(ManualClock::default());
        let of = Arc::clone(&clock) as Arc<dyn Clock>;
        Node {
            deriver: Deriver::new(config.clone(), of, Arc::new(Metrics::strict())),
            config,
            clock,
            stream: StreamId(1),
            sequence: 0,
            log: Vec::new(),
            live: Vec::new(),
            spans: Watermarks::new(),
            tables: Table::DERIVED
                .map(|table| (table, Default::default()))
                .into(),
        }
    }

    /// A request of these spans is acknowledged.
    pub(crate) fn take(&mut self, tenant: &str, spans: Vec<Plain>) {
        self.sequence += 1;
        let position = Position {
            stream: self.stream,
            sequence: self.sequence,
        };
        let tenant: Arc<str> = tenant.into();
        self.live.push(batch(position, &tenant, &spans));
        self.log.push((position, tenant, spans));
    }

    pub(crate) fn log_len(&self) -> usize {
        self.log.len()
    }

    /// Flushes the first `count` live batches; ends after `steps` of its steps, as a crash does.
    pub(crate) fn flush(&mut self, count: usize, steps: u64) {
        let count = count.min(self.live.len());
        let batches: Vec<SpanBatch> = self.live.drain(..count).collect();
        let watermarks = Table::DERIVED.map(|table| self.tables[&table].0.clone());
        let is_earlier = |batch: &SpanBatch| batch.position.stream != self.stream;
        let follows = self.live.iter().any(is_earlier);
        let prepared = self.deriver.prepare(batches.clone(), &watermarks, follows);
        let mut prepared = prepared.expect("spans");
        for (step, table) in Table::DERIVED.into_iter().enumerate() {
            if steps <= step as u64 {
                return;
            }
            self.commit(&mut prepared, table);
        }
        if steps <= 2 {
            return;
        }
        for batch in &batches {
            let upto = self.spans.entry(batch.position.stream).or_insert(0);
            *upto = (*upto).max(batch.position.sequence);
        }
        if steps <= 3 {
            return;
        }
        let mut forgotten = self.deriver.done(&prepared);
        if !self.config.service_graph {
            forgotten = batches.iter().map(|batch| batch.position).collect();
        }
        for of in forgotten {
            let stays = |position: Position| {
                position.stream != of.stream || position.sequence > of.sequence
            };
            self.log.retain(|(position, ..)| stays(*position));
        }
    }

    fn commit(&mut self, prepared: &mut Prepared, table: Table) {
        let (watermarks, held) = self.tables.get_mut(&table).expect("a table");
        let marks = prepared.marks(watermarks);
        if marks.is_empty() {
            return;
        }
        held.extend(
            self.deriver
                .rows(prepared, table, watermarks)
                .expect("rows"),
        );
        for (_, mark) in marks {
            let upto = watermarks.entry(mark.stream).or_insert(0);
            assert!(*upto < mark.sequence, "a watermark goes back");
            *upto = mark.sequence;
        }
    }

    /// Ends, and begins again with what log and tables hold.
    pub(crate) fn restart(&mut self) {
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        self.deriver = Deriver::new(self.config.clone(), clock, Arc::new(Metrics::strict()));
        self.stream = StreamId(self.stream.0 + 1);
        self.sequence = 0;
        let of_log = self.log.iter();
        let of_log = of_log.map(|(position, tenant, spans)| batch(*position, tenant, spans));
        self.live = of_log.collect();
    }

    /// What a table holds.
    pub(crate) fn read(&self, table: Table) -> BTreeMap<Series, Value> {
        read(table, &self.tables[&table].1)
    }
}
