//! Listening, connections, and stopping in good order.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Either;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use otlake_base::metrics::Gauge;
use otlake_base::{Code, Error, Metrics, Result, Signal};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::auth::Auth;
use crate::body::{Budget, Pace};
use crate::config::{Ack, Ingest, ReceiverConfig};
use crate::{grpc, http, status};

/// Connections on one port; a further one is closed at once.
const MAX_CONNECTIONS: usize = 10_000;
/// Requests at once on one HTTP/2 connection.
const MAX_STREAMS: u32 = 1024;
/// Bytes of one request's headers over HTTP/2: gRPC clients send 8 KiB at most.
const MAX_HEADER_BYTES: u32 = 16 * 1024;
/// What an HTTP/1 connection buffers each way, and so also the headers of a request there.
const BUFFER_BYTES: usize = 64 * 1024;
/// A client sends a megabyte without waiting for an answer (measured: half the cost of the
/// default window).
const WINDOW_BYTES: u32 = 8 * 1024 * 1024;
/// A frame is buffered until it is whole; clients send 16 KiB unless told otherwise.
const FRAME_BYTES: u32 = 64 * 1024;
/// What a connection that never had a request is given to say goodbye.
const HANDSHAKE_GRACE: Duration = Duration::from_millis(500);
/// How long to wait when the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What every request needs.
pub struct Shared {
    ingest: Arc<dyn Ingest>,
    pub auth: Auth,
    pub budget: Budget,
    pub cors_origins: Vec<String>,
    pub retry_after: Duration,
    metrics: Arc<Metrics>,
    pace: Pace,
    max_connections: usize,
    /// Names connections, so that each has its share of the budget.
    next_connection: AtomicU64,
    stopping: AtomicBool,
}

impl Shared {
    /// Counts a request that never reached the ingest port.
    pub fn count(&self, signal: Signal, transport: &'static str, code: Code) {
        self.metrics.refused(signal, code);
        let labels = vec![
            ("signal", signal.name()),
            ("transport", transport),
            ("outcome", status::outcome(code.kind())),
        ];
        self.metrics.requests.get_or_create(&labels).inc();
    }

    /// Stores a request that was received whole.
    ///
    /// # Errors
    /// Those of the port; `INGEST_TIMEOUT` where it does not answer in time. What is stored
    /// after that is stored once, whatever the client sends again.
    pub async fn ingest(
        &self,
        signal: Signal,
        tenant: Arc<str>,
        transport: &'static str,
        connection: u64,
        message: Bytes,
    ) -> Result<Ack> {
        let work = self
            .ingest
            .ingest(signal, tenant, transport, connection, message);
        match tokio::time::timeout(self.pace.ack, work).await {
            Ok(ended) => ended,
            Err(_) => {
                self.count(signal, transport, Code::IngestTimeout);
                let message = "the request was not stored in time";
                Err(Error::new(Code::IngestTimeout, message))
            }
        }
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
    /// `NODE_PORT_TAKEN` where an address cannot be listened on; `OTLP_TENANT` for a token of
    /// what is no tenant.
    pub async fn start(
        config: ReceiverConfig,
        ingest: Arc<dyn Ingest>,
        metrics: Arc<Metrics>,
    ) -> Result<Receiver> {
        Self::start_with(config, ingest, metrics, Pace::default(), MAX_CONNECTIONS).await
    }

    /// Starts with limits that a test can reach.
    pub(crate) async fn start_with(
        config: ReceiverConfig,
        ingest: Arc<dyn Ingest>,
        metrics: Arc<Metrics>,
        pace: Pace,
        max_connections: usize,
    ) -> Result<Receiver> {
        let shared = Arc::new(Shared {
            ingest,
            auth: Auth::new(&config.tokens)?,
            budget: Budget::new(
                config.max_in_flight_bytes,
                config.max_request_bytes,
                pace,
                &metrics,
            ),
            cors_origins: config.cors_origins,
            retry_after: Duration::from_millis(config.retry_after_ms),
            metrics,
            pace,
            max_connections,
            next_connection: AtomicU64::new(0),
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
            Ok((stream, _)) if connections.len() >= shared.max_connections => drop(stream),
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

/// Counts a connection while it is open.
struct Open(Gauge);

impl Open {
    fn new(metrics: &Metrics, transport: Transport) -> Self {
        let name = match transport {
            Transport::Grpc => "grpc",
            Transport::Http => "http",
        };
        let labels = vec![("transport", name)];
        let gauge = metrics.connections.get_or_create(&labels).clone();
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

async fn connection(
    stream: TcpStream,
    transport: Transport,
    shared: Arc<Shared>,
    stop: CancellationToken,
) {
    let _open = Open::new(&shared.metrics, transport);
    let name = shared.next_connection.fetch_add(1, Ordering::Relaxed);
    // Small answers must not wait for more to send.
    let _ = stream.set_nodelay(true);
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(shared.pace.headers)
        .max_buf_size(BUFFER_BYTES)
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_BYTES)
        .keep_alive_interval(Some(Duration::from_secs(60)));
    let builder = match transport {
        Transport::Grpc => builder.http2_only(),
        Transport::Http => builder,
    };
    let used = Arc::new(AtomicBool::new(false));
    let headers = shared.pace.headers;
    let service = service_fn({
        let used = used.clone();
        move |request| {
            used.store(true, Ordering::Relaxed);
            let shared = shared.clone();
            async move {
                Ok::<_, Infallible>(match transport {
                    Transport::Grpc => grpc::answer(&shared, name, request).await.map(Either::Left),
                    Transport::Http => http::answer(&shared, name, request)
                        .await
                        .map(Either::Right),
                })
            }
        }
    });
    // hyper's own time-out begins once it knows the protocol: a client that sends less than
    // that, or an HTTP/2 preface and no more, would keep its place for ever.
    let unused = async {
        tokio::time::sleep(headers).await;
        if used.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    };
    let served = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(served);
    // How a connection ends is the client's to know; here it only matters that it has.
    tokio::select! {
        _ = served.as_mut() => return,
        () = stop.cancelled() => {}
        () = unused => {}
    }
    served.as_mut().graceful_shutdown();
    // An HTTP/2 handshake that stands still has nothing in flight, and is not ended by that.
    let ended = tokio::time::timeout(HANDSHAKE_GRACE, served.as_mut()).await;
    if ended.is_err() && used.load(Ordering::Relaxed) {
        let _ = served.await;
    }
}
