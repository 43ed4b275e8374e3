//! What receiving costs with nothing stored: requests of 1,000 spans over real sockets, and the
//! CPU time of the server's one thread, by transport and compression.
//!
//! `cargo run --release -p otlake-receive --example bench-receive [seconds for each]`

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures::FutureExt;
use futures::future::BoxFuture;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use otlake_base::{Clock, Metrics, Result, Signal, SystemClock};
use otlake_receive::{Ack, Ingest, Receiver, ReceiverConfig};
use prost::Message;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};

const SPANS: usize = 1000;
const IN_FLIGHT: usize = 8;
const SERVER: &str = "bench-server";
/// What Linux counts a thread's time in.
const TICKS_PER_SECOND: f64 = 100.0;

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
    let seconds = std::env::args().nth(1).and_then(|text| text.parse().ok());
    let measured = Duration::from_secs_f64(seconds.unwrap_or(5.0));
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
    println!(
        "{SPANS} spans a request, {} bytes a span",
        plain.len() / SPANS
    );
    println!("transport  encoding  requests/s     spans/s  CPU-s per million spans");
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
        report(
            "gRPC",
            encoding,
            measured,
            load(&client, grpc, true, call, measured),
        );
        let post = Request::post("/v1/traces")
            .header("host", "x")
            .header("content-type", "application/x-protobuf")
            .header("content-encoding", encoding)
            .body(Full::new(body))
            .unwrap();
        report(
            "HTTP",
            encoding,
            measured,
            load(&client, http, false, post, measured),
        );
    }
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

/// Requests answered and CPU seconds of the server in the time.
fn load(
    client: &Runtime,
    address: SocketAddr,
    http2: bool,
    request: Request<Full<Bytes>>,
    measured: Duration,
) -> (u64, f64) {
    let (answered, stop) = (
        Arc::new(AtomicU64::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let senders: Vec<_> = (0..IN_FLIGHT)
        .map(|_| {
            let (answered, stop, request) = (answered.clone(), stop.clone(), request.clone());
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
                    while !stop.load(Ordering::Relaxed) {
                        let answer = sender.send_request(request.clone()).await.unwrap();
                        let body = answer.into_body().collect().await.unwrap();
                        assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                } else {
                    let (mut sender, connection) =
                        hyper::client::conn::http1::handshake(io).await.unwrap();
                    tokio::spawn(connection);
                    while !stop.load(Ordering::Relaxed) {
                        sender.ready().await.unwrap();
                        let answer = sender.send_request(request.clone()).await.unwrap();
                        assert_eq!(answer.status(), 200);
                        answer.into_body().collect().await.unwrap();
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    // What the first requests set up is not what is measured.
    std::thread::sleep(Duration::from_millis(500));
    let before = (answered.load(Ordering::Relaxed), server_seconds());
    std::thread::sleep(measured);
    let after = (answered.load(Ordering::Relaxed), server_seconds());
    stop.store(true, Ordering::Relaxed);
    for sender in senders {
        client.block_on(sender).unwrap();
    }
    (after.0 - before.0, after.1 - before.1)
}

fn report(transport: &str, encoding: &str, measured: Duration, (requests, cpu): (u64, f64)) {
    let rate = requests as f64 / measured.as_secs_f64();
    let millions = requests as f64 * SPANS as f64 / 1e6;
    println!(
        "{transport:<9}  {encoding:<8}  {rate:>10.0}  {:>10.0}  {:>10.3}",
        rate * SPANS as f64,
        cpu / millions
    );
}

/// CPU seconds of the server's threads until now, the ones that decompress included: they have
/// the runtime's name. Only Linux tells.
fn server_seconds() -> f64 {
    let mut ticks = 0;
    for thread in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // `pid (name) state …`, in which user and system time are the 12th and 13th after it.
        if let Some((name, rest)) = stat.rsplit_once(')')
            && name.ends_with(SERVER)
        {
            let fields: Vec<&str> = rest.split_whitespace().collect();
            let field = |index: usize| fields[index].parse::<u64>().unwrap_or(0);
            ticks += field(11) + field(12);
        }
    }
    ticks as f64 / TICKS_PER_SECOND
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
