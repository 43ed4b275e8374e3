//! What decoding costs by how many spans there are together: `cargo test --release -p otlake-decode --lib
//! cost -- --ignored --nocapture`.

use bytes::Bytes;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, TracesData};
use otlake_base::Signal;
use otlake_base::limits::RecordLimits;
use prost::Message;

use crate::{Decoded, decode};

const SERVICES: u64 = 8;
/// Spans of a request: as many of each service.
const SPANS: u64 = 1_000;
const TRACE_SPANS: u64 = 10;
const TIME: u64 = 1_767_225_600_000_000_000;
/// Decoded batches that are kept before the oldest of them go, as in memory before a flush.
const KEPT: usize = 1_000;
const ROUNDS: usize = 7;
const REQUESTS: usize = 300;

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.into(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.into()))
}

fn span(number: u64) -> Span {
    let id = |number: u64| (number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let place = number % TRACE_SPANS;
    Span {
        trace_id: [id(number / TRACE_SPANS), 7].map(u64::to_be_bytes).concat(),
        span_id: id(number).to_be_bytes().into(),
        parent_span_id: match place {
            0 => Vec::new(),
            _ => id(number - place).to_be_bytes().into(),
        },
        name: format!("GET /api/products/{}", number % 6),
        kind: 2,
        start_time_unix_nano: TIME + number * 20_000,
        end_time_unix_nano: TIME + number * 20_000 + 1_234_567,
        attributes: vec![
            text("http.request.method", "GET"),
            text("http.route", "/api/products/{id}"),
            attribute("http.response.status_code", Value::IntValue(200)),
            text("url.path", &format!("/api/products/{number}")),
            text("server.address", "shop.example.com"),
            text("client.address", &format!("10.1.{}.7", number % 250)),
            text("user_agent.original", "Mozilla/5.0 (X11; Linux x86_64)"),
            attribute("thread.id", Value::IntValue((number % 64) as i64)),
        ],
        ..Span::default()
    }
}

/// A request of several services with those spans whose trace is of one of `parts` parts.
fn request(part: u64, parts: u64) -> Bytes {
    let of_service = |service: u64| {
        let name = format!("service-{service}");
        let first = service * SPANS / SERVICES;
        let spans = first..first + SPANS / SERVICES;
        ResourceSpans {
            resource: Some(Resource {
                attributes: vec![
                    text("service.name", &name),
                    text("service.version", "1.4.2"),
                    text("deployment.environment.name", "production"),
                    text("k8s.pod.name", &format!("{name}-7d9f8b6c5-00001")),
                    text("host.name", "node-7"),
                    text("telemetry.sdk.language", "go"),
                ],
                ..Resource::default()
            }),
            scope_spans: vec![ScopeSpans {
                scope: Some(InstrumentationScope {
                    name: "io.opentelemetry.http".into(),
                    version: "2.1.0".into(),
                    ..InstrumentationScope::default()
                }),
                spans: spans
                    .filter(|number| number / TRACE_SPANS % parts == part)
                    .map(span)
                    .collect(),
                ..ScopeSpans::default()
            }],
            schema_url: "https://opentelemetry.io/schemas/1.27.0".into(),
        }
    };
    let resource_spans = (0..SERVICES).map(of_service).collect();
    TracesData { resource_spans }.encode_to_vec().into()
}

/// Processor time of this thread in nanoseconds (`proc(5)`: the first number of `schedstat`).
fn processor_nanos() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    stat.split(' ').next().unwrap().parse().unwrap()
}

#[test]
#[ignore = "it measures; it asserts nothing about time"]
fn cost_of_decoding_by_parts_of_a_request() {
    for parts in [1, 3, 9, 27] {
        let bodies: Vec<Bytes> = (0..parts).map(|part| request(part, parts)).collect();
        let limits = RecordLimits::default();
        let mut least = u64::MAX;
        for _ in 0..ROUNDS {
            // What is decoded is let go of by another thread, as it is after a flush.
            let (sender, receiver) = std::sync::mpsc::sync_channel::<Vec<Decoded>>(1);
            let frees = std::thread::spawn(move || receiver.into_iter().for_each(drop));
            let (mut kept, mut spans) = (Vec::new(), 0);
            let before = processor_nanos();
            for body in bodies.iter().cycle().take(REQUESTS * bodies.len()) {
                let decoded = decode(Signal::Traces, body, "default", &limits).unwrap();
                spans += decoded.accepted;
                kept.push(decoded);
                if kept.len() == KEPT {
                    sender.send(std::mem::take(&mut kept)).unwrap();
                }
            }
            least = least.min((processor_nanos() - before) / spans);
            drop(sender);
            frees.join().unwrap();
        }
        println!("{parts} parts of a request of {SPANS} spans: {least} ns a span");
    }
}
