//! Spans as a test writes them down, a clock that it sets, and numbers by a seed.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arrow::array::{Array, AsArray, RecordBatch};
use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use otlake_base::disk::real;
use otlake_base::{Clock, Metrics, Position, Signal, StreamId};
use prost::Message;

use crate::{Batch, Condition, Counts, Policy, SampleConfig, Sampler, Sealed};

pub(crate) const START: u64 = 1_767_225_600_000_000_000;
pub(crate) const MS: u64 = 1_000_000;

/// Time as a test sets it.
#[derive(Default)]
pub(crate) struct ManualClock(AtomicU64);

impl ManualClock {
    pub(crate) fn at(&self, time: Duration) {
        self.0.store(time.as_nanos() as u64, Ordering::SeqCst);
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

    pub(crate) fn number(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        (self.number() >> 11) % end
    }

    pub(crate) fn one_in(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }
}

/// An attribute's value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Text(&'static str),
    Int(i64),
    Bool(bool),
}

/// A span.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plain {
    pub(crate) trace: u128,
    pub(crate) id: u64,
    pub(crate) state: String,
    pub(crate) status: i32,
    /// Milliseconds after `START`.
    pub(crate) start: u64,
    /// Milliseconds.
    pub(crate) duration: u64,
    pub(crate) attributes: Vec<(&'static str, Value)>,
    pub(crate) resource: Vec<(&'static str, Value)>,
}

fn attributes(attributes: &[(&'static str, Value)]) -> Vec<KeyValue> {
    let attribute = |(key, value): &(&'static str, Value)| KeyValue {
        key: (*key).into(),
        value: Some(AnyValue {
            value: Some(match value {
                Value::Text(text) => any_value::Value::StringValue((*text).into()),
                Value::Int(number) => any_value::Value::IntValue(*number),
                Value::Bool(flag) => any_value::Value::BoolValue(*flag),
            }),
        }),
        ..KeyValue::default()
    };
    attributes.iter().map(attribute).collect()
}

/// The rows of spans, as the decoder gives them.
pub(crate) fn rows(spans: &[Plain], tenant: &str) -> RecordBatch {
    let resource_spans = spans.iter().map(|span| ResourceSpans {
        resource: Some(Resource {
            attributes: attributes(&span.resource),
            ..Resource::default()
        }),
        scope_spans: vec![ScopeSpans {
            spans: vec![Span {
                trace_id: span.trace.to_be_bytes().to_vec(),
                span_id: span.id.to_be_bytes().to_vec(),
                trace_state: span.state.clone(),
                name: "a span".into(),
                status: Some(Status {
                    code: span.status,
                    ..Status::default()
                }),
                start_time_unix_nano: START + span.start * MS,
                end_time_unix_nano: START + (span.start + span.duration) * MS,
                attributes: attributes(&span.attributes),
                ..Span::default()
            }],
            ..ScopeSpans::default()
        }],
        ..ResourceSpans::default()
    });
    let resource_spans = resource_spans.collect();
    let body = Bytes::from(ExportTraceServiceRequest { resource_spans }.encode_to_vec());
    let limits = otlake_base::limits::RecordLimits::default();
    let decoded = otlake_decode::decode(Signal::Traces, &body, tenant, &limits).expect("spans");
    assert_eq!(decoded.accepted, spans.len() as u64, "all are valid");
    let tables = decoded.tables.into_iter();
    let (_, rows) = tables.into_iter().next().expect("one table");
    rows
}

/// A batch of a tenant.
pub(crate) fn batch_of(sequence: u64, tenant: &str, spans: &[Plain], arrived: Duration) -> Batch {
    Batch {
        position: Position {
            stream: StreamId(1),
            sequence,
        },
        tenant: tenant.into(),
        rows: rows(spans, tenant),
        arrived,
    }
}

/// A batch.
pub(crate) fn batch(sequence: u64, spans: &[Plain]) -> Batch {
    batch_of(sequence, "default", spans, Duration::from_secs(1))
}

/// A policy.
pub(crate) fn policy(name: &str, conditions: Vec<Condition>) -> Policy {
    Policy {
        name: name.to_owned(),
        conditions,
    }
}

/// A sampler, its clock and its counters.
pub(crate) struct Node {
    pub(crate) sampler: Sampler,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) metrics: Arc<Metrics>,
}

pub(crate) fn config(policies: Vec<Policy>) -> SampleConfig {
    SampleConfig {
        policies,
        ..SampleConfig::default()
    }
}

impl Node {
    pub(crate) fn open(folder: &Path, config: &SampleConfig) -> Node {
        let clock = Arc::new(ManualClock::default());
        clock.at(Duration::from_secs(100));
        let metrics = Arc::new(Metrics::strict());
        let sampler = Sampler::open(
            config,
            real(),
            &folder.join("sampling"),
            Arc::clone(&clock) as Arc<dyn Clock>,
            Arc::clone(&metrics),
        );
        Node {
            sampler: sampler.expect("it opens"),
            clock,
            metrics,
        }
    }

    /// Flushes batches beside which others are live, and gives the spans that are written: of each its
    /// id and its trace state.
    pub(crate) fn flush(&self, sealed: &[Batch], others: &[Batch]) -> Vec<(u64, String)> {
        self.flush_at(sealed, others, None)
    }

    pub(crate) fn flush_at(
        &self,
        sealed: &[Batch],
        others: &[Batch],
        early: Option<crate::Early>,
    ) -> Vec<(u64, String)> {
        let live = [sealed, others].concat();
        let at = self.clock.monotonic();
        let verdicts = self.sampler.decide(sealed, &live, Sealed { at, early });
        let verdicts = verdicts.expect("they are spans");
        self.sampler.save().expect("a disk with room");
        let mut counts: Counts = verdicts.counts();
        let mut written = Vec::new();
        for batch in sealed {
            let rows = verdicts.rows(batch, &mut counts).expect("its rows");
            written.extend(rows.iter().flat_map(ids_and_states));
        }
        self.sampler.written(&counts);
        written
    }

    /// The ids alone.
    pub(crate) fn kept(&self, sealed: &[Batch], others: &[Batch]) -> Vec<u64> {
        let written = self.flush(sealed, others);
        written.into_iter().map(|(id, _)| id).collect()
    }

    /// A counter as it is told.
    pub(crate) fn counted(&self, name: &str, labels: &[&str]) -> u64 {
        let text = self.metrics.encode();
        let mut lines = text.lines().filter(|line| {
            line.starts_with(&format!("otlake_sampling_{name}"))
                && labels.iter().all(|label| line.contains(label))
        });
        let line = lines.next().unwrap_or_else(|| panic!("{name} {labels:?}"));
        line.rsplit(' ')
            .next()
            .and_then(|value| value.parse().ok())
            .expect("a number")
    }
}

pub(crate) fn ids_and_states(rows: &RecordBatch) -> Vec<(u64, String)> {
    let ids = rows.column_by_name("span_id").expect("ids");
    let ids = ids.as_fixed_size_binary();
    let states = rows.column_by_name("trace_state").expect("states");
    let states = states.as_string_view();
    let row = |row| {
        let id = u64::from_be_bytes(ids.value(row).try_into().expect("8 bytes"));
        let state = match states.is_valid(row) {
            true => states.value(row).to_owned(),
            false => String::new(),
        };
        (id, state)
    };
    (0..rows.num_rows()).map(row).collect()
}
