//! Listening, connections, and stopping in good order.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use otlake_base::{Code, Error, Metrics, Result, Signal};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::auth::Auth;
use crate::body::Budget;
use crate::config::{Ingest, ReceiverConfig};
use crate::{grpc, http};

/// Connections on one port; a further one is closed at once.
const MAX_CONNECTIONS: usize = 10_000;
/// Requests at once on one HTTP/2 connection.
const MAX_STREAMS: u32 = 1024;
/// Bytes of one request's headers.
const MAX_HEADER_BYTES: u32 = 64 * 1024;
/// A client sends a megabyte without waiting for an answer (measured: half the cost of the
/// default window).
const WINDOW_BYTES: u32 = 8 * 1024 * 1024;
const FRAME_BYTES: u32 = 1024 * 1024;
/// How long a connection may take to send its request's headers.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait when the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What every request needs.
pub struct Shared {
    pub ingest: Arc<dyn Ingest>,
    pub auth: Auth,
    pub budget: Budget,
    pub cors_origins: Vec<String>,
    pub retry_after: Duration,
    metrics: Arc<Metrics>,
    stopping: AtomicBool,
}

impl Shared {
    /// Counts a request that never reached the ingest port.
    pub fn count(&self, signal: Signal, transport: &'static str, outcome: &'static str) {
        let labels = vec![
            ("signal", signal.name()),
            ("transport", transport),
            ("outcome", outcome),
        ];
        self.metrics.requests.get_or_create(&labels).inc();
    }

    /// # Errors
    /// `INGEST_STOPPING` once stopping has begun.
    pub fn check_running(&self) -> Result<()> {
        if self.stopping.load(Ordering::Relaxed) {
            return Err(Error::new(Code::IngestStopping, "the node is stopping"));
        }
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Transport {
    Grpc,
    Http,
}

/// The OTLP servers, listening.
pub struct Receiver {
    grpc: Option<SocketAddr>,
    http: Option<SocketAddr>,
    shared: Arc<Shared>,
    stop: CancellationToken,
    abort: CancellationToken,
    loops: Vec<JoinHandle<()>>,
}

impl Receiver {
    /// Binds the ports and begins to take requests.
    ///
    /// # Errors
    /// `NODE_PORT_TAKEN` where an address cannot be listened on.
    pub async fn start(
        config: ReceiverConfig,
        ingest: Arc<dyn Ingest>,
        metrics: Arc<Metrics>,
    ) -> Result<Receiver> {
        let shared = Arc::new(Shared {
            ingest,
            auth: Auth::new(&config.tokens),
            budget: Budget::new(config.max_in_flight_bytes, config.max_request_bytes),
            cors_origins: config.cors_origins,
            retry_after: Duration::from_millis(config.retry_after_ms),
            metrics,
            stopping: AtomicBool::new(false),
        });
        let mut receiver = Receiver {
            grpc: None,
            http: None,
            shared,
            stop: CancellationToken::new(),
            abort: CancellationToken::new(),
            loops: Vec::new(),
        };
        // Both are bound before either takes a request, so that a failure leaves nothing behind.
        let grpc = bind(config.grpc).await?;
        let http = bind(config.http).await?;
        if let Some((listener, address)) = grpc {
            receiver.grpc = Some(address);
            receiver.serve(listener, Transport::Grpc);
        }
        if let Some((listener, address)) = http {
            receiver.http = Some(address);
            receiver.serve(listener, Transport::Http);
        }
        Ok(receiver)
    }

    /// Where OTLP/gRPC is taken.
    pub fn grpc_addr(&self) -> Option<SocketAddr> {
        self.grpc
    }

    /// Where OTLP/HTTP is taken.
    pub fn http_addr(&self) -> Option<SocketAddr> {
        self.http
    }

    /// Takes nothing new, finishes what is in flight, and after `grace` ends the rest.
    pub async fn stop(self, grace: Duration) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        self.stop.cancel();
        let all = futures::future::join_all(self.loops);
        tokio::pin!(all);
        if tokio::time::timeout(grace, &mut all).await.is_err() {
            self.abort.cancel();
            all.await;
        }
    }

    fn serve(&mut self, listener: TcpListener, transport: Transport) {
        let (shared, stop, abort) = (self.shared.clone(), self.stop.clone(), self.abort.clone());
        self.loops.push(tokio::spawn(accept(
            listener, transport, shared, stop, abort,
        )));
    }
}

async fn bind(address: Option<SocketAddr>) -> Result<Option<(TcpListener, SocketAddr)>> {
    let Some(address) = address else {
        return Ok(None);
    };
    let taken = |error: std::io::Error| {
        Error::new(
            Code::NodePortTaken,
            format!("listening on {address}: {error}"),
        )
    };
    let listener = TcpListener::bind(address).await.map_err(taken)?;
    let bound = listener.local_addr().map_err(taken)?;
    Ok(Some((listener, bound)))
}

async fn accept(
    listener: TcpListener,
    transport: Transport,
    shared: Arc<Shared>,
    stop: CancellationToken,
    abort: CancellationToken,
) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            // Closing it is the answer: the client connects again later.
            Ok((stream, _)) if connections.len() >= MAX_CONNECTIONS => drop(stream),
            Ok((stream, _)) => {
                let (shared, stop) = (shared.clone(), stop.clone());
                connections.spawn(connection(stream, transport, shared, stop));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    tokio::select! {
        () = async { while connections.join_next().await.is_some() {} } => {}
        () = abort.cancelled() => connections.shutdown().await,
    }
}

async fn connection(
    stream: TcpStream,
    transport: Transport,
    shared: Arc<Shared>,
    stop: CancellationToken,
) {
    // Small answers must not wait for more to send.
    let _ = stream.set_nodelay(true);
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_BYTES)
        .keep_alive_interval(Some(Duration::from_secs(60)));
    let io = TokioIo::new(stream);
    match transport {
        Transport::Grpc => {
            let builder = builder.http2_only();
            let service = service_fn(move |request| {
                let shared = shared.clone();
                async move { Ok::<_, Infallible>(grpc::answer(&shared, request).await) }
            });
            let served = builder.serve_connection(io, service);
            tokio::pin!(served);
            tokio::select! {
                _ = served.as_mut() => return,
                () = stop.cancelled() => served.as_mut().graceful_shutdown(),
            }
            finish(served).await;
        }
        Transport::Http => {
            let service = service_fn(move |request| {
                let shared = shared.clone();
                async move { Ok::<_, Infallible>(http::answer(&shared, request).await) }
            });
            let served = builder.serve_connection(io, service);
            tokio::pin!(served);
            tokio::select! {
                _ = served.as_mut() => return,
                () = stop.cancelled() => served.as_mut().graceful_shutdown(),
            }
            finish(served).await;
        }
    }
}

/// How a connection ends is the client's to know; here it only matters that it has.
async fn finish<T, E>(served: impl Future<Output = std::result::Result<T, E>>) {
    let _ = served.await;
}
