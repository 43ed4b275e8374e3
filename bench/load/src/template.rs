//! A request built once, with the places of its ids and times, so that sending a new one means
//! writing over a few bytes of each record.

use std::collections::HashMap;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use otlake_base::Signal;
use prost::Message;

use crate::random::{Random, mix};

/// Spans of one trace in a request.
const TRACE_SPANS: usize = 10;
/// The time of the first record in the template; `fill` moves all times by the same amount.
const BASE_TIME: u64 = 1_700_000_000_000_000_000;

/// An encoded request and the places to write over.
#[derive(Clone)]
pub struct Template {
    bytes: Vec<u8>,
    /// Offset and template value of each id; 16-byte ids stand as two halves.
    ids: Vec<(usize, u64)>,
    /// Offset and distance from `BASE_TIME` of each time.
    times: Vec<(usize, u64)>,
    /// The halves of the first trace's id; without meaning where there are no traces.
    trace: [u64; 2],
    seed: u64,
}

/// Where each of these stands, by its bytes.
fn places(bytes: &[u8], wanted: impl Iterator<Item = ([u8; 8], u64)>) -> Vec<(usize, u64)> {
    let wanted: HashMap<[u8; 8], u64> = wanted.collect();
    let windows = bytes.windows(8).enumerate();
    windows
        .filter_map(|(at, window)| wanted.get(window).map(|value| (at, *value)))
        .collect()
}

impl Template {
    /// A request of `records` records.
    pub fn new(signal: Signal, records: usize, seed: u64) -> Template {
        let mut random = Random::new(mix(seed ^ 0x9E37_79B9_7F4A_7C15));
        let mut build = Build {
            random: &mut random,
            ids: Vec::new(),
            times: Vec::new(),
        };
        let bytes = match signal {
            Signal::Traces => build.traces(records),
            Signal::Metrics => build.metrics(records),
            Signal::Logs => build.logs(records),
        };
        let (ids, times) = (build.ids, build.times);
        let half = |index: usize| ids.get(index).copied().unwrap_or_default();
        let trace = [half(0), half(1)];
        // Every id and time is unique in the template, so its bytes are found where they stand.
        let ids = places(&bytes, ids.into_iter().map(|id| (id.to_be_bytes(), id)));
        let encoded = |time: u64| (BASE_TIME + time).to_le_bytes();
        let times = places(&bytes, times.into_iter().map(|time| (encoded(time), time)));
        Template {
            bytes,
            ids,
            times,
            trace,
            seed: mix(seed),
        }
    }

    /// The encoded request.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Makes it request `number`, beginning at `unix_nano`.
    pub fn fill(&mut self, number: u64, unix_nano: u64) {
        let salt = self.salt(number);
        for (at, id) in &self.ids {
            let fresh = fresh(*id, salt);
            self.bytes[*at..at + 8].copy_from_slice(&fresh.to_be_bytes());
        }
        for (at, time) in &self.times {
            self.bytes[*at..at + 8].copy_from_slice(&(unix_nano + time).to_le_bytes());
        }
    }

    /// The id of the first trace of request `number`, in hexadecimal; of a request of traces.
    pub fn trace_id(&self, number: u64) -> String {
        let salt = self.salt(number);
        self.trace
            .map(|half| format!("{:016x}", fresh(half, salt)))
            .concat()
    }

    fn salt(&self, number: u64) -> u64 {
        mix(number.wrapping_add(self.seed)) | 1
    }
}

/// The same template id gives the same new one, so parents and traces stay together.
fn fresh(id: u64, salt: u64) -> u64 {
    mix(id ^ salt) | 1
}

struct Build<'a> {
    random: &'a mut Random,
    ids: Vec<u64>,
    times: Vec<u64>,
}

pub(crate) fn text(key: &str, value: impl Into<String>) -> KeyValue {
    attribute(key, Value::StringValue(value.into()))
}

pub(crate) fn int(key: &str, value: u64) -> KeyValue {
    attribute(key, Value::IntValue(value as i64))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..Default::default()
    }
}

const SERVICES: [&str; 8] = [
    "frontend",
    "cart",
    "checkout",
    "payment",
    "shipping",
    "catalogue",
    "email",
    "ads",
];
const ROUTES: [&str; 6] = [
    "/api/cart",
    "/api/products/{id}",
    "/api/checkout",
    "/api/ads",
    "/",
    "/api/currency",
];

impl Build<'_> {
    fn id(&mut self) -> u64 {
        let id = self.random.next() | 1;
        self.ids.push(id);
        id
    }

    fn trace_id(&mut self) -> Vec<u8> {
        let (high, low) = (self.id(), self.id());
        [high.to_be_bytes(), low.to_be_bytes()].concat()
    }

    /// A time after the base that no other record has.
    fn time(&mut self, index: usize) -> u64 {
        let time = index as u64 * 20_000 + self.random.below(10_000);
        self.times.push(time);
        BASE_TIME + time
    }

    fn resource(&mut self, service: &str) -> Resource {
        Resource {
            attributes: vec![
                text("service.name", service),
                text("service.version", "1.4.2"),
                text("deployment.environment.name", "production"),
                text(
                    "k8s.pod.name",
                    format!("{service}-7d9f8b6c5-{:05}", self.random.below(3)),
                ),
                text("host.name", format!("node-{}", self.random.below(12))),
                text("telemetry.sdk.language", "go"),
            ],
            ..Default::default()
        }
    }

    fn groups(records: usize) -> usize {
        records.div_ceil(125).min(SERVICES.len())
    }

    fn traces(&mut self, records: usize) -> Vec<u8> {
        let groups = Self::groups(records);
        let mut index = 0;
        let mut trace_id = Vec::new();
        let mut parent = None;
        let resource_spans = (0..groups)
            .map(|group| {
                let count = records / groups + usize::from(group < records % groups);
                let spans = (0..count)
                    .map(|_| {
                        if index % TRACE_SPANS == 0 {
                            trace_id = self.trace_id();
                            parent = None;
                        }
                        let span = self.span(index, &trace_id, parent);
                        parent = parent.or(Some(u64::from_be_bytes(
                            span.span_id.clone().try_into().unwrap_or_default(),
                        )));
                        index += 1;
                        span
                    })
                    .collect();
                ResourceSpans {
                    resource: Some(self.resource(SERVICES[group])),
                    scope_spans: vec![ScopeSpans {
                        scope: Some(scope("io.opentelemetry.http", "2.1.0")),
                        spans,
                        schema_url: String::new(),
                    }],
                    schema_url: "https://opentelemetry.io/schemas/1.27.0".into(),
                }
            })
            .collect();
        ExportTraceServiceRequest { resource_spans }.encode_to_vec()
    }

    fn span(&mut self, index: usize, trace_id: &[u8], parent: Option<u64>) -> Span {
        let span_id = self.id().to_be_bytes().to_vec();
        let start = self.time(index);
        let end = start + 200_000 + self.random.below(50_000_000);
        self.times.push(end - BASE_TIME);
        let route = ROUTES[self.random.below(ROUTES.len() as u64) as usize];
        let status = [200, 200, 200, 200, 200, 204, 404, 500][self.random.below(8) as usize];
        let mut attributes = vec![
            text(
                "http.request.method",
                ["GET", "POST"][self.random.below(2) as usize],
            ),
            text("http.route", route),
            int("http.response.status_code", status),
            text(
                "url.path",
                route.replace("{id}", &format!("{}", self.random.below(5000))),
            ),
            text(
                "client.address",
                format!("10.4.{}.{}", self.random.below(256), self.random.below(256)),
            ),
            int("http.response.body.size", self.random.below(20_000)),
            text("user_agent.original", "Mozilla/5.0 (X11; Linux x86_64)"),
            int("thread.id", self.random.below(64)),
        ];
        if self.random.below(2) == 0 {
            attributes.push(text(
                "enduser.id",
                format!("user-{}", self.random.below(100_000)),
            ));
            attributes.push(attribute("app.retry", Value::BoolValue(false)));
        }
        let mut events = Vec::new();
        if self.random.below(5) == 0 {
            events.push(Event {
                time_unix_nano: start + 100_000,
                name: "cache.miss".into(),
                attributes: vec![text(
                    "cache.key",
                    format!("product:{}", self.random.below(5000)),
                )],
                dropped_attributes_count: 0,
            });
            self.times.push(start + 100_000 - BASE_TIME);
        }
        let mut links = Vec::new();
        if self.random.below(20) == 0 {
            links.push(Link {
                trace_id: self.trace_id(),
                span_id: self.id().to_be_bytes().to_vec(),
                ..Default::default()
            });
        }
        Span {
            trace_id: trace_id.to_vec(),
            span_id,
            parent_span_id: parent
                .map(|id| id.to_be_bytes().to_vec())
                .unwrap_or_default(),
            flags: 1,
            name: format!("GET {route}"),
            kind: 2,
            start_time_unix_nano: start,
            end_time_unix_nano: end,
            attributes,
            events,
            links,
            status: (status >= 500).then(|| Status {
                message: "upstream failed".into(),
                code: 2,
            }),
            ..Default::default()
        }
    }

    fn logs(&mut self, records: usize) -> Vec<u8> {
        let groups = Self::groups(records);
        let mut index = 0;
        let resource_logs = (0..groups)
            .map(|group| {
                let count = records / groups + usize::from(group < records % groups);
                let log_records = (0..count)
                    .map(|_| {
                        let time = self.time(index);
                        index += 1;
                        LogRecord {
                            time_unix_nano: time,
                            observed_time_unix_nano: time,
                            severity_number: 9,
                            severity_text: "INFO".into(),
                            body: Some(AnyValue {
                                value: Some(Value::StringValue(format!(
                                    "order {} placed in {} ms, {} items, total {} EUR",
                                    self.random.below(1_000_000),
                                    self.random.below(900),
                                    self.random.below(12),
                                    self.random.below(500),
                                ))),
                            }),
                            attributes: vec![
                                text("code.function.name", "place_order"),
                                int("code.line.number", self.random.below(400)),
                                text("thread.name", format!("worker-{}", self.random.below(16))),
                                text("order.currency", "EUR"),
                                int("order.items", self.random.below(12)),
                            ],
                            trace_id: self.trace_id(),
                            span_id: self.id().to_be_bytes().to_vec(),
                            flags: 1,
                            ..Default::default()
                        }
                    })
                    .collect();
                ResourceLogs {
                    resource: Some(self.resource(SERVICES[group])),
                    scope_logs: vec![ScopeLogs {
                        scope: Some(scope("shop.orders", "1.4.2")),
                        log_records,
                        schema_url: String::new(),
                    }],
                    schema_url: String::new(),
                }
            })
            .collect();
        ExportLogsServiceRequest { resource_logs }.encode_to_vec()
    }

    fn metrics(&mut self, records: usize) -> Vec<u8> {
        let groups = Self::groups(records);
        let start = self.time(0);
        let mut index = 1;
        let resource_metrics = (0..groups)
            .map(|group| {
                let count = records / groups + usize::from(group < records % groups);
                let data_points = (0..count)
                    .map(|_| {
                        let time = self.time(index);
                        index += 1;
                        NumberDataPoint {
                            attributes: vec![
                                text("http.route", ROUTES[self.random.below(6) as usize]),
                                text("http.request.method", "GET"),
                                int("http.response.status_code", 200 + self.random.below(5)),
                                int("worker", self.random.below(1000)),
                            ],
                            start_time_unix_nano: start,
                            time_unix_nano: time,
                            value: Some(number_data_point::Value::AsInt(
                                self.random.below(1_000_000) as i64,
                            )),
                            ..Default::default()
                        }
                    })
                    .collect();
                ResourceMetrics {
                    resource: Some(self.resource(SERVICES[group])),
                    scope_metrics: vec![ScopeMetrics {
                        scope: Some(scope("shop.http", "1.4.2")),
                        metrics: vec![Metric {
                            name: "http.server.requests".into(),
                            description: "Requests answered".into(),
                            unit: "{request}".into(),
                            data: Some(metric::Data::Sum(Sum {
                                data_points,
                                aggregation_temporality: 2,
                                is_monotonic: true,
                            })),
                            ..Default::default()
                        }],
                        schema_url: String::new(),
                    }],
                    schema_url: String::new(),
                }
            })
            .collect();
        ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()
    }
}

pub(crate) fn scope(name: &str, version: &str) -> InstrumentationScope {
    InstrumentationScope {
        name: name.into(),
        version: version.into(),
        ..Default::default()
    }
}
