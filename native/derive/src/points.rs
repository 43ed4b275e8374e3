//! Totals to rows of the metric tables: an OTLP request of delta points, which the decoder reads as
//! it reads anyone's. So a derived row has the columns, the series id and the attributes of a row
//! that came in.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use bytes::Bytes;
use otlake_base::limits::DERIVE_REQUEST_POINTS;
use otlake_base::{Result, Signal, Table};

use crate::DeriveConfig;
use crate::message::Message;
use crate::totals::{Between, Calls, Durations, EdgeTotal, Totals};

/// The names of the series, which are those that Tempo's metrics-generator writes.
pub mod names {
    /// Spans, a sum.
    pub const CALLS: &str = "traces_spanmetrics_calls_total";
    /// Their durations, a histogram in seconds. It has no unit: with one, who makes Prometheus' names
    /// of OTLP's would append it, and Grafana would not find it.
    pub const LATENCY: &str = "traces_spanmetrics_latency";
    /// Calls of one service by another, a sum.
    pub const REQUESTS: &str = "traces_service_graph_request_total";
    /// Those that failed, a sum.
    pub const FAILED: &str = "traces_service_graph_request_failed_total";
    /// How long the called one took, a histogram in seconds.
    pub const SERVER: &str = "traces_service_graph_request_server_seconds";
    /// How long the calling one waited, a histogram in seconds.
    pub const CLIENT: &str = "traces_service_graph_request_client_seconds";
}

/// The scope of every derived point.
const SCOPE: &str = "otlake/derive";
/// The attribute by which OpenTelemetry marks the series of what a limit has left out.
const OVERFLOW: &str = "otel.metric.overflow";
const DELTA: u64 = 1;
const SECOND: f64 = 1e9;

const KINDS: [&str; 6] = [
    "SPAN_KIND_UNSPECIFIED",
    "SPAN_KIND_INTERNAL",
    "SPAN_KIND_SERVER",
    "SPAN_KIND_CLIENT",
    "SPAN_KIND_PRODUCER",
    "SPAN_KIND_CONSUMER",
];
const STATUSES: [&str; 3] = ["STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR"];

fn named<'a>(names: &[&'a str], number: i32) -> &'a str {
    let number = usize::try_from(number).unwrap_or(0);
    names.get(number).copied().unwrap_or(names[0])
}

/// A metric: its name, its unit and what it says of itself.
type Metric = (&'static str, &'static str, &'static str);

const CALLS: Metric = (names::CALLS, "", "Spans");
const LATENCY: Metric = (names::LATENCY, "", "Durations of spans in seconds");
const REQUESTS: Metric = (names::REQUESTS, "", "Calls from one service to another");
const FAILED: Metric = (
    names::FAILED,
    "",
    "Calls from one service to another that failed",
);
const SERVER: Metric = (
    names::SERVER,
    "s",
    "Durations of calls as the server has them",
);
const CLIENT: Metric = (
    names::CLIENT,
    "s",
    "Durations of calls as the client has them",
);

/// Points of one tenant, by the service of their resource and by metric.
type OfTenant = BTreeMap<(Option<String>, Metric), Vec<Vec<u8>>>;

/// A label and its value.
enum Label<'a> {
    Text(&'a str, &'a str),
    True(&'a str),
}

fn attribute(to: &mut Message, field: u32, label: &Label<'_>) {
    to.message(field, |entry| match label {
        Label::Text(key, value) => {
            entry.bytes(1, key.as_bytes());
            entry.message(2, |any| any.bytes(1, value.as_bytes()));
        }
        Label::True(key) => {
            entry.bytes(1, key.as_bytes());
            entry.message(2, |any| any.varint(2, 1));
        }
    });
}

/// The name of a dimension as Prometheus allows it.
fn dimension(name: &str) -> String {
    let allowed = |char: char| char.is_ascii_alphanumeric() || char == '_';
    let mut label: String = name
        .chars()
        .map(|char| if allowed(char) { char } else { '_' })
        .collect();
    if label.starts_with(|first: char| first.is_ascii_digit()) {
        label.insert(0, '_');
    }
    label
}

/// Writes the points of one table.
struct Writer<'a> {
    table: Table,
    config: &'a DeriveConfig,
    dimensions: Vec<String>,
    tenants: BTreeMap<String, OfTenant>,
}

impl Writer<'_> {
    fn times(&self, point: &mut Message, end: i64) {
        let interval = self.config.interval_ms.saturating_mul(1_000_000);
        let end = u64::try_from(end).unwrap_or(0);
        point.fixed64(2, end.saturating_sub(interval));
        point.fixed64(3, end);
    }

    fn push(&mut self, tenant: &str, service: Option<&str>, metric: Metric, point: Message) {
        let of = self.tenants.entry(tenant.to_owned()).or_default();
        let key = (service.map(str::to_owned), metric);
        of.entry(key).or_default().push(point.0);
    }

    fn number(
        &mut self,
        (tenant, service, end): (&str, Option<&str>, i64),
        metric: Metric,
        labels: &[Label<'_>],
        value: u64,
    ) {
        if self.table != Table::MetricsSum || value == 0 {
            return;
        }
        let mut point = Message::default();
        for label in labels {
            attribute(&mut point, 7, label);
        }
        self.times(&mut point, end);
        point.fixed64(6, value);
        self.push(tenant, service, metric, point);
    }

    fn histogram(
        &mut self,
        (tenant, service, end): (&str, Option<&str>, i64),
        metric: Metric,
        labels: &[Label<'_>],
        of: &Durations,
    ) {
        if self.table != Table::MetricsHistogram || of.count == 0 {
            return;
        }
        let mut point = Message::default();
        for label in labels {
            attribute(&mut point, 9, label);
        }
        self.times(&mut point, end);
        point.fixed64(4, of.count);
        point.double(5, of.sum as f64 / SECOND);
        point.packed(6, of.buckets.iter().copied());
        point.packed(7, self.config.bounds.iter().map(|bound| bound.to_bits()));
        let example = of.example;
        point.message(8, |exemplar| {
            exemplar.fixed64(2, u64::try_from(example.time).unwrap_or(0));
            exemplar.double(3, of.max as f64 / SECOND);
            exemplar.bytes(4, &example.span);
            exemplar.bytes(5, &example.trace);
        });
        point.double(11, of.min as f64 / SECOND);
        point.double(12, of.max as f64 / SECOND);
        self.push(tenant, service, metric, point);
    }

    fn calls(&mut self, key: &Calls<'_>, total: &Durations) {
        let dimensions = std::mem::take(&mut self.dimensions);
        let mut labels = vec![
            Label::Text("service", &key.service),
            Label::Text("span_name", &key.name),
            Label::Text("span_kind", named(&KINDS, key.kind)),
            Label::Text("status_code", named(&STATUSES, key.status)),
        ];
        let values = dimensions.iter().zip(&key.dimensions);
        let present = values.filter_map(|(name, value)| Some(Label::Text(name, value.as_ref()?)));
        labels.extend(present);
        let of = (&*key.tenant, Some(&*key.service), key.time);
        self.number(of, CALLS, &labels, total.count);
        self.histogram(of, LATENCY, &labels, total);
        drop(labels);
        self.dimensions = dimensions;
    }

    fn edge(&mut self, of: (&str, i64), labels: &[Label<'_>], total: &EdgeTotal) {
        let of = (of.0, None, of.1);
        self.number(of, REQUESTS, labels, total.requests);
        self.number(of, FAILED, labels, total.failed);
        self.histogram(of, SERVER, labels, &total.server);
        self.histogram(of, CLIENT, labels, &total.client);
    }

    fn between(&mut self, key: &Between<'_>, total: &EdgeTotal) {
        let mut labels = vec![
            Label::Text("client", &key.client),
            Label::Text("server", &key.server),
        ];
        let connection = key.connection.label();
        labels.extend(connection.map(|name| Label::Text("connection_type", name)));
        self.edge((&key.tenant, key.time), &labels, total);
    }
}

/// The rows of one table that totals come to.
#[derive(Default)]
pub(crate) struct Rows {
    pub(crate) batches: Vec<RecordBatch>,
    /// Points that OTLP does not allow, as with a time beyond its range.
    pub(crate) refused: u64,
}

/// Makes the rows of `table`.
///
/// # Errors
/// `INTERNAL` where the decoder does not read what is written here.
pub(crate) fn rows(totals: &Totals, table: Table, config: &DeriveConfig) -> Result<Rows> {
    let mut writer = Writer {
        table,
        config,
        dimensions: config
            .dimensions
            .iter()
            .map(|name| dimension(name))
            .collect(),
        tenants: BTreeMap::new(),
    };
    for (key, total) in &totals.calls {
        writer.calls(key, total);
    }
    for (key, total) in &totals.edges {
        writer.between(key, total);
    }
    let overflow = [Label::True(OVERFLOW)];
    for ((tenant, end), total) in &totals.other_calls {
        let of = (&**tenant, None, *end);
        writer.number(of, CALLS, &overflow, total.count);
        writer.histogram(of, LATENCY, &overflow, total);
    }
    for ((tenant, end), total) in &totals.other_edges {
        writer.edge((tenant, *end), &overflow, total);
    }
    let mut rows = Rows::default();
    for (tenant, points) in writer.tenants {
        for request in requests(table, points) {
            let decoded = otlake_decode::replay(Signal::Metrics, &Bytes::from(request), &tenant)?;
            rows.refused += decoded.rejections.count;
            let ours = decoded.tables.into_iter().filter(|(of, _)| *of == table);
            rows.batches.extend(ours.map(|(_, batch)| batch));
        }
    }
    Ok(rows)
}

/// `ExportMetricsServiceRequest`s of these points, none of too many.
fn requests(table: Table, points: OfTenant) -> Vec<Vec<u8>> {
    let (mut requests, mut request, mut held) = (Vec::new(), Message::default(), 0);
    for ((service, (name, unit, description)), points) in points {
        for points in points.chunks(DERIVE_REQUEST_POINTS) {
            if held + points.len() > DERIVE_REQUEST_POINTS {
                requests.push(std::mem::take(&mut request).0);
                held = 0;
            }
            held += points.len();
            request.message(1, |of_resource| {
                if let Some(service) = &service {
                    of_resource.message(1, |resource| {
                        attribute(resource, 1, &Label::Text("service.name", service));
                    });
                }
                of_resource.message(2, |of_scope| {
                    of_scope.message(1, |scope| scope.bytes(1, SCOPE.as_bytes()));
                    of_scope.message(2, |metric| {
                        metric.bytes(1, name.as_bytes());
                        metric.bytes(2, description.as_bytes());
                        metric.bytes(3, unit.as_bytes());
                        let is_sum = table == Table::MetricsSum;
                        metric.message(if is_sum { 7 } else { 9 }, |data| {
                            for point in points {
                                data.bytes(1, point);
                            }
                            data.varint(2, DELTA);
                            if is_sum {
                                data.varint(3, 1);
                            }
                        });
                    });
                });
            });
        }
    }
    if held > 0 {
        requests.push(request.0);
    }
    requests
}
