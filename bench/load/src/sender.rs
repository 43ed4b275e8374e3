//! OTLP over hyper's client: gRPC with framing of its own, and HTTP/1.1.

use bytes::{BufMut, Bytes, BytesMut};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use otlake_base::Signal;
use tokio::net::TcpStream;

use crate::options::Options;

const WINDOW: u32 = 8 * 1024 * 1024;

/// What became of a request.
pub enum Outcome {
    /// Success, in full.
    Acknowledged,
    /// A retryable refusal.
    Refused,
    /// Anything else.
    Failed(String),
}

#[derive(Clone)]
enum Connection {
    Grpc(http2::SendRequest<Full<Bytes>>),
    /// HTTP/1.1 carries one request at a time, so the workers of a connection take turns.
    Http(std::sync::Arc<tokio::sync::Mutex<http1::SendRequest<Full<Bytes>>>>),
}

/// Whether a response says that all was accepted: it is empty, or its `partial_success` is, which
/// is how servers in Go say the same.
fn is_whole(response: &[u8]) -> bool {
    matches!(response, [] | [0x0a, 0])
}

/// One connection.
#[derive(Clone)]
pub struct Sender {
    connection: Connection,
    uri: String,
    authority: String,
}

impl Sender {
    /// Connects to the server that the options name.
    pub async fn connect(options: &Options) -> Result<Sender, String> {
        let say = |error: &dyn std::fmt::Display| format!("{}: {error}", options.address);
        let stream = TcpStream::connect(options.address)
            .await
            .map_err(|error| say(&error))?;
        stream.set_nodelay(true).map_err(|error| say(&error))?;
        let io = TokioIo::new(stream);
        let authority = options.address.to_string();
        if options.grpc {
            let (sender, connection) = http2::Builder::new(TokioExecutor::new())
                .initial_stream_window_size(WINDOW)
                .initial_connection_window_size(WINDOW)
                .max_frame_size(1024 * 1024)
                .max_send_buf_size(WINDOW as usize)
                .handshake(io)
                .await
                .map_err(|error| say(&error))?;
            tokio::spawn(connection);
            let service = match options.signal {
                Signal::Traces => "trace.v1.TraceService",
                Signal::Metrics => "metrics.v1.MetricsService",
                Signal::Logs => "logs.v1.LogsService",
            };
            let uri = format!("http://{authority}/opentelemetry.proto.collector.{service}/Export");
            Ok(Sender {
                connection: Connection::Grpc(sender),
                uri,
                authority,
            })
        } else {
            let (sender, connection) = http1::handshake(io).await.map_err(|error| say(&error))?;
            tokio::spawn(connection);
            let uri = format!("{}/v1/{}", options.path, options.signal.name());
            let sender = std::sync::Arc::new(tokio::sync::Mutex::new(sender));
            Ok(Sender {
                connection: Connection::Http(sender),
                uri,
                authority,
            })
        }
    }

    /// Whether the server has ended the connection.
    pub fn is_closed(&self) -> bool {
        match &self.connection {
            Connection::Grpc(sender) => sender.is_closed(),
            Connection::Http(sender) => sender.try_lock().is_ok_and(|sender| sender.is_closed()),
        }
    }

    /// Sends one request and waits for its answer.
    pub async fn send(&mut self, body: &[u8]) -> Outcome {
        match self.attempt(body).await {
            Ok(outcome) => outcome,
            Err(message) => Outcome::Failed(message),
        }
    }

    async fn attempt(&mut self, body: &[u8]) -> Result<Outcome, String> {
        match &mut self.connection {
            Connection::Grpc(sender) => {
                let mut framed = BytesMut::with_capacity(5 + body.len());
                framed.put_u8(0);
                framed.put_u32(u32::try_from(body.len()).map_err(|error| error.to_string())?);
                framed.put_slice(body);
                let request = Request::post(&self.uri)
                    .header("content-type", "application/grpc")
                    .header("te", "trailers")
                    .body(Full::new(framed.freeze()))
                    .map_err(|error| error.to_string())?;
                let response = sender
                    .send_request(request)
                    .await
                    .map_err(|error| error.to_string())?;
                let (head, body) = response.into_parts();
                let body = body.collect().await.map_err(|error| error.to_string())?;
                let status = head
                    .headers
                    .get("grpc-status")
                    .or_else(|| {
                        body.trailers()
                            .and_then(|trailers| trailers.get("grpc-status"))
                    })
                    .and_then(|status| status.to_str().ok())
                    .unwrap_or("none")
                    .to_owned();
                let message = body.to_bytes();
                let message = message.get(5..).unwrap_or_default();
                Ok(match status.as_str() {
                    "0" if is_whole(message) => Outcome::Acknowledged,
                    "8" | "14" => Outcome::Refused,
                    other => Outcome::Failed(format!("grpc-status {other}")),
                })
            }
            Connection::Http(sender) => {
                let request = Request::post(&self.uri)
                    .header("host", &self.authority)
                    .header("content-type", "application/x-protobuf")
                    .body(Full::new(Bytes::copy_from_slice(body)))
                    .map_err(|error| error.to_string())?;
                let mut sender = sender.lock().await;
                sender.ready().await.map_err(|error| error.to_string())?;
                let response = sender
                    .send_request(request)
                    .await
                    .map_err(|error| error.to_string())?;
                let status = response.status();
                let body = response
                    .into_body()
                    .collect()
                    .await
                    .map_err(|error| error.to_string())?;
                Ok(match status {
                    StatusCode::OK if is_whole(&body.to_bytes()) => Outcome::Acknowledged,
                    StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                        Outcome::Refused
                    }
                    other => Outcome::Failed(format!("status {other}")),
                })
            }
        }
    }
}
