//! What receiving costs with nothing stored: requests of 1,000 spans over real sockets, by
//! transport and compression. What is measured is the CPU time of the server's threads, so that
//! the client beside it does not count.
//!
//! `cargo bench --profile release --bench receive` in `bench/native`; on Linux.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use criterion::{BenchmarkId, Criterion, Throughput};
use futures::FutureExt;
use futures::future::BoxFuture;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use otlake_allocator as _;
use otlake_base::{Clock, Metrics, Result, Signal, SystemClock};
use otlake_receive::{Ack, Ingest, Receiver, ReceiverConfig};
use prost::Message;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};

const SPANS: usize = 1000;
const IN_FLIGHT: usize = 8;
const SERVER: &str = "bench-server";

/// Takes every request and keeps none.
struct Nothing;

impl Ingest for Nothing {
    fn ingest(
        &self,
        _signal: Signal,
        _tenant: Arc<str>,
        _transport: &'static str,
        _connection: u64,
        body: Bytes,
    ) -> BoxFuture<'_, Result<Ack>> {
        assert!(body.len() > SPANS);
        std::future::ready(Ok(Ack {
            accepted: SPANS as u64,
            ..Ack::default()
        }))
        .boxed()
    }
}

fn main() {
    let (server, client) = (runtime(SERVER), runtime("bench-client"));
    let any = Some(([127, 0, 0, 1], 0).into());
    let config = ReceiverConfig {
        grpc: any,
        http: any,
        max_request_bytes: 64 << 20,
        max_in_flight_bytes: 256 << 20,
        cors_origins: Vec::new(),
        tokens: Vec::new(),
        retry_after_ms: 1000,
    };
    let starting = Receiver::start(config, Arc::new(Nothing), Arc::new(Metrics::new()));
    let receiver = server.block_on(server.spawn(starting)).unwrap().unwrap();
    let (grpc, http) = (receiver.grpc_addr().unwrap(), receiver.http_addr().unwrap());

    let plain = spans();
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("receive");
    group.throughput(Throughput::Elements(SPANS as u64));
    for encoding in ["identity", "gzip", "zstd"] {
        let body = compressed(encoding, &plain);
        let framed = framed(encoding != "identity", &body);
        let call =
            Request::post("http://x/opentelemetry.proto.collector.trace.v1.TraceService/Export")
                .header("content-type", "application/grpc")
                .header("te", "trailers")
                .header("grpc-encoding", encoding)
                .body(Full::new(framed))
                .unwrap();
        group.bench_function(BenchmarkId::new("gRPC", encoding), |bencher| {
            bencher.iter_custom(|requests| load(&client, grpc, true, &call, requests));
        });
        let post = Request::post("/v1/traces")
            .header("host", "x")
            .header("content-type", "application/x-protobuf")
            .header("content-encoding", encoding)
            .body(Full::new(body))
            .unwrap();
        group.bench_function(BenchmarkId::new("HTTP", encoding), |bencher| {
            bencher.iter_custom(|requests| load(&client, http, false, &post, requests));
        });
    }
    group.finish();
    criterion.final_summary();
    server.block_on(receiver.stop(Duration::from_secs(1)));
}

fn runtime(name: &str) -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name(name)
        .enable_all()
        .build()
        .unwrap()
}

/// CPU time of the server's threads for so many requests, several of them at once.
fn load(
    client: &Runtime,
    address: SocketAddr,
    http2: bool,
    request: &Request<Full<Bytes>>,
    requests: u64,
) -> Duration {
    let left = Arc::new(AtomicU64::new(requests));
    let another = |left: &AtomicU64| {
        left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
            left.checked_sub(1)
        })
        .is_ok()
    };
    let before = server_time();
    let senders: Vec<_> = (0..IN_FLIGHT)
        .map(|_| {
            let (left, request) = (left.clone(), request.clone());
            client.spawn(async move {
                let stream = TcpStream::connect(address).await.unwrap();
                let io = TokioIo::new(stream);
                // Each sender has a connection of its own, as exporters have.
                if http2 {
                    let (mut sender, connection) = http2::Builder::new(TokioExecutor::new())
                        .handshake(io)
                        .await
                        .unwrap();
                    tokio::spawn(connection);
                    while another(&left) {
                        let answer = sender.send_request(request.clone()).await.unwrap();
                        let body = answer.into_body().collect().await.unwrap();
                        assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
                    }
                } else {
                    let (mut sender, connection) =
                        hyper::client::conn::http1::handshake(io).await.unwrap();
                    tokio::spawn(connection);
                    while another(&left) {
                        sender.ready().await.unwrap();
                        let answer = sender.send_request(request.clone()).await.unwrap();
                        assert_eq!(answer.status(), 200);
                        answer.into_body().collect().await.unwrap();
                    }
                }
            })
        })
        .collect();
    for sender in senders {
        client.block_on(sender).unwrap();
    }
    server_time() - before
}

/// CPU time of the server's threads until now, the ones that decompress included: they have the
/// runtime's name. Only Linux tells.
fn server_time() -> Duration {
    let mut nanos = 0;
    for thread in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
        let read = |file| std::fs::read_to_string(thread.path().join(file)).unwrap_or_default();
        if read("comm").trim_end() == SERVER {
            // The first number is the time on a processor.
            let first = read("schedstat");
            let first = first
                .split_whitespace()
                .next()
                .and_then(|text| text.parse().ok());
            nanos += first.unwrap_or(0);
        }
    }
    Duration::from_nanos(nanos)
}

fn spans() -> Bytes {
    let now = SystemClock.unix_nano();
    let attribute = |key: &str, value: String| KeyValue {
        key: key.into(),
        value: Some(AnyValue {
            value: Some(Value::StringValue(value)),
        }),
        ..Default::default()
    };
    let mut state = 88_172_645_463_325_252_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let span = |index: usize| {
        let (high, low, id) = (random(), random(), random());
        Span {
            trace_id: [high.to_be_bytes(), low.to_be_bytes()].concat(),
            span_id: id.to_be_bytes().into(),
            name: format!("GET /api/orders/{}", index % 50),
            start_time_unix_nano: now + index as u64 * 1000,
            end_time_unix_nano: now + index as u64 * 1000 + id % 1_000_000,
            attributes: vec![
                attribute("http.request.method", "GET".into()),
                attribute("url.path", format!("/api/orders/{}", id % 10_000)),
                attribute("http.route", "/api/orders/{id}".into()),
                attribute("server.address", format!("orders-{}.shop.example", id % 20)),
                attribute("user.id", format!("{:016x}", high ^ low)),
                attribute("db.query.text", "SELECT * FROM orders WHERE id = $1".into()),
                attribute("session.id", format!("{low:016x}{id:016x}")),
            ],
            ..Default::default()
        }
    };
    let spans = (0..SPANS).map(span).collect();
    let request = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            scope_spans: vec![ScopeSpans {
                spans,
                ..Default::default()
            }],
            ..Default::default()
        }],
    };
    request.encode_to_vec().into()
}

fn compressed(encoding: &str, body: &Bytes) -> Bytes {
    match encoding {
        "gzip" => {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(body).unwrap();
            encoder.finish().unwrap().into()
        }
        "zstd" => zstd::bulk::compress(body, 3).unwrap().into(),
        _ => body.clone(),
    }
}

fn framed(compressed: bool, message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(5 + message.len());
    framed.put_u8(u8::from(compressed));
    framed.put_u32(message.len() as u32);
    framed.put_slice(message);
    framed.freeze()
}
