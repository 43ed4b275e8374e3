//! What the tests of both transports share: a receiver on free ports over a fake port to storage.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use otlake_base::{Code, Error, Metrics, Result, Signal};
use parking_lot::Mutex;
use prost::Message;
use tokio::sync::{OwnedRwLockWriteGuard, RwLock};

use crate::body::Pace;
use crate::{Ack, Ingest, Receiver, ReceiverConfig};

/// Storage that keeps what it is given and answers as it is told.
#[derive(Default)]
pub struct Fake {
    pub connections: Mutex<Vec<u64>>,
    pub received: Mutex<Vec<(Signal, Arc<str>, Bytes)>>,
    pub refuse: Mutex<Option<Code>>,
    pub rejected: Mutex<u64>,
    /// Whether records are changed, of which clients are told, too.
    pub changes: Mutex<bool>,
    pub delay: Mutex<Duration>,
    pub panics: Mutex<bool>,
    /// Requests that have come so far.
    begun: AtomicUsize,
    gate: Arc<RwLock<()>>,
}

impl Fake {
    /// Holds up whatever comes, until what this gives is dropped.
    pub async fn close(&self) -> OwnedRwLockWriteGuard<()> {
        Arc::clone(&self.gate).write_owned().await
    }

    /// Waits until so many requests have come.
    pub async fn begun(&self, count: usize) {
        while self.begun.load(Ordering::SeqCst) < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Ingest for Fake {
    fn ingest(
        &self,
        signal: Signal,
        tenant: Arc<str>,
        _transport: &'static str,
        connection: u64,
        body: Bytes,
    ) -> BoxFuture<'_, Result<Ack>> {
        async move {
            self.begun.fetch_add(1, Ordering::SeqCst);
            drop(self.gate.read().await);
            let delay = *self.delay.lock();
            tokio::time::sleep(delay).await;
            assert!(!*self.panics.lock(), "told to panic");
            if let Some(code) = *self.refuse.lock() {
                return Err(Error::new(code, "told to refuse"));
            }
            self.connections.lock().push(connection);
            self.received.lock().push((signal, tenant, body));
            let rejected = *self.rejected.lock();
            Ok(Ack {
                accepted: 1,
                rejected,
                message: if rejected > 0 {
                    Some("spans[0].trace_id: bad".to_owned())
                } else {
                    self.changes.lock().then(|| "records changed: 1".to_owned())
                },
                session: Some("00000000000000000000000000000001:1".to_owned()),
            })
        }
        .boxed()
    }
}

pub fn config() -> ReceiverConfig {
    let any = Some(([127, 0, 0, 1], 0).into());
    ReceiverConfig {
        grpc: any,
        http: any,
        max_request_bytes: 100_000,
        max_in_flight_bytes: 1_000_000,
        cors_origins: Vec::new(),
        tokens: Vec::new(),
        retry_after_ms: 1500,
    }
}

/// How long what a test waits for may take beside others.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A receiver whose clients may be as slow as this, with a few connections.
pub async fn start_at(pace: Pace) -> (Arc<Fake>, Receiver) {
    let fake = Arc::new(Fake::default());
    let metrics = Arc::new(Metrics::new());
    let receiver = Receiver::start_with(config(), fake.clone(), metrics, pace, 3)
        .await
        .unwrap();
    (fake, receiver)
}

pub async fn start(config: ReceiverConfig) -> (Arc<Fake>, Receiver) {
    let fake = Arc::new(Fake::default());
    let receiver = Receiver::start(config, fake.clone(), Arc::new(Metrics::new()))
        .await
        .unwrap();
    (fake, receiver)
}

/// A request of one span whose name has `length` bytes.
pub fn request(length: usize) -> Vec<u8> {
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            scope_spans: vec![ScopeSpans {
                spans: vec![Span {
                    trace_id: vec![1; 16],
                    span_id: vec![2; 8],
                    name: "n".repeat(length),
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        }],
    }
    .encode_to_vec()
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(bytes, 1).unwrap()
}
