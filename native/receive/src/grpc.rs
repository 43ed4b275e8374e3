//! OTLP/gRPC: one message each way, framed by hand.
//!
//! ```text
//! request and response:  compressed:u8 length:u32 (big-endian) message
//! ```

use std::collections::VecDeque;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures::FutureExt;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use otlake_base::{Code, Error, Result, Signal};
use prost::Message;

use crate::body::{Encoding, GRPC_PREFIX, Held, message_length};
use crate::config::Ack;
use crate::server::Shared;
use crate::session;
use crate::status::{self, ExportResponse};

const DEADLINE_EXCEEDED: i32 = 4;
const UNIMPLEMENTED: &str = "12";

/// Frames that are all there already.
#[derive(Default)]
pub struct Frames(VecDeque<Frame<Bytes>>);

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }
}

/// Answers one gRPC call of a connection.
pub async fn answer(
    shared: &Shared,
    connection: u64,
    request: Request<Incoming>,
) -> Response<Frames> {
    let is_grpc = request
        .headers()
        .get(http::header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| {
            value == "application/grpc" || value.starts_with("application/grpc+proto")
        });
    if !is_grpc || request.method() != Method::POST {
        // Not gRPC at all: the specification answers in HTTP's own words.
        let mut response = Response::new(Frames::default());
        *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return response;
    }
    if request.uri().path() == "/grpc.health.v1.Health/Check" {
        // `HealthCheckResponse { status }`, SERVING or NOT_SERVING.
        let status = if shared.check_running().is_ok() { 1 } else { 2 };
        return success(&[8, status], None);
    }
    let Some(signal) = signal(request.uri().path()) else {
        let message = format!("there is no method {} here", request.uri().path());
        return failure(UNIMPLEMENTED, &status::shortened(message), None);
    };
    let deadline = request.headers().get("grpc-timeout").and_then(timeout);
    let work = AssertUnwindSafe(export(shared, signal, connection, request)).catch_unwind();
    let finished = match deadline {
        Some(deadline) => tokio::time::timeout(deadline, work).await,
        None => Ok(work.await),
    };
    match finished {
        Err(_) => {
            shared.count(signal, "grpc", Code::IngestTimeout);
            // OTLP lets clients try again after this, too.
            let error = Error::new(Code::IngestTimeout, "the call's deadline passed");
            let mut details = status::status(&error, shared.retry_after);
            details.code = DEADLINE_EXCEEDED;
            failing(&details)
        }
        Ok(Err(_)) => {
            shared.count(signal, "grpc", Code::Internal);
            refuse(
                shared,
                &Error::new(Code::Internal, "handling the request panicked"),
            )
        }
        Ok(Ok(Err(error))) => refuse(shared, &error),
        Ok(Ok(Ok(ack))) => success(
            &ExportResponse::new(&ack).encode_to_vec(),
            ack.session.as_deref(),
        ),
    }
}

async fn export(
    shared: &Shared,
    signal: Signal,
    connection: u64,
    request: Request<Incoming>,
) -> Result<Ack> {
    let covered = session::carried(request.headers());
    let received = receive(shared, connection, request).await;
    let (covered, (tenant, message, _held)) = covered
        .and_then(|covered| Ok((covered, received?)))
        .inspect_err(|error| shared.count(signal, "grpc", error.code))?;
    let stored = shared.ingest(signal, tenant, "grpc", connection, message);
    Ok(session::covering(covered, stored.await?))
}

async fn receive(
    shared: &Shared,
    connection: u64,
    request: Request<Incoming>,
) -> Result<(Arc<str>, Bytes, Held)> {
    shared.check_running()?;
    let tenant = shared.auth.tenant(request.headers())?;
    let mut held = shared.budget.empty(&tenant, connection);
    let (head, body) = request.into_parts();
    // What is not known is refused before its bytes are received.
    let encoding = match head.headers.get("grpc-encoding") {
        None => Encoding::Identity,
        Some(value) => Encoding::from_name(value.to_str().unwrap_or("?"))?,
    };
    let mut message = shared.budget.receive(body, GRPC_PREFIX, &mut held).await?;
    let bad = |what: &str| Error::new(Code::OtlpMalformed, what);
    let Some(length) = message_length(&message) else {
        return Err(bad("the call has no message"));
    };
    if message.len() != GRPC_PREFIX + length {
        return Err(bad("the call does not have exactly one message"));
    }
    let prefix = message.split_to(GRPC_PREFIX);
    match (prefix[0], encoding) {
        (0, _) => Ok((tenant, message, held)),
        (1, Encoding::Identity) => Err(bad("the message is compressed, but not said how")),
        (1, _) => {
            let budget = &shared.budget;
            let message = budget.decompress(encoding, message, &mut held).await?;
            Ok((tenant, message, held))
        }
        _ => Err(bad("the message's framing is not gRPC's")),
    }
}

fn signal(path: &str) -> Option<Signal> {
    match path {
        "/opentelemetry.proto.collector.trace.v1.TraceService/Export" => Some(Signal::Traces),
        "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export" => Some(Signal::Metrics),
        "/opentelemetry.proto.collector.logs.v1.LogsService/Export" => Some(Signal::Logs),
        _ => None,
    }
}

/// `grpc-timeout`: up to eight digits and a unit.
fn timeout(value: &HeaderValue) -> Option<Duration> {
    let text = value.to_str().ok()?;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = number.parse().ok().filter(|_| number.len() <= 8)?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

fn success(message: &[u8], token: Option<&str>) -> Response<Frames> {
    let mut framed = BytesMut::with_capacity(GRPC_PREFIX + message.len());
    framed.put_u8(0);
    framed.put_u32(message.len() as u32);
    framed.put_slice(message);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let frames = [Frame::data(framed.freeze()), Frame::trailers(trailers)];
    let mut response = Response::new(Frames(frames.into()));
    let headers = response.headers_mut();
    headers.insert(
        http::header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    if let Some(token) = token.and_then(|token| HeaderValue::from_str(token).ok()) {
        headers.insert(session::HEADER, token);
    }
    response
}

fn refuse(shared: &Shared, error: &Error) -> Response<Frames> {
    let details = status::status(error, shared.retry_after);
    let mut response = failing(&details);
    if error.code == Code::OtlpEncoding {
        let accepted = HeaderValue::from_static("identity,gzip,zstd");
        response
            .headers_mut()
            .insert("grpc-accept-encoding", accepted);
    }
    response
}

fn failing(details: &status::Status) -> Response<Frames> {
    let code = details.code.to_string();
    failure(&code, &details.message, Some(&details.encode_to_vec()))
}

/// A response without a message: the status stands in its only headers.
fn failure(code: &str, message: &str, details: Option<&[u8]>) -> Response<Frames> {
    let mut response = Response::new(Frames::default());
    let headers = response.headers_mut();
    headers.insert(
        http::header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    let details = details.map(base64);
    for (name, value) in [
        ("grpc-status", Some(code.to_owned())),
        ("grpc-message", Some(percent_encoded(message))),
        ("grpc-status-details-bin", details),
    ] {
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(&value).ok()) {
            headers.insert(name, value);
        }
    }
    response
}

fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if (0x20..0x7f).contains(&byte) && byte != b'%' {
            encoded.push(byte as char);
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// Standard base64 without padding, as gRPC sends binary headers.
fn base64(bytes: &[u8]) -> String {
    let mut text = Vec::new();
    otlake_decode::base64::encode(bytes, &mut text);
    text.retain(|letter| *letter != b'=');
    String::from_utf8(text).unwrap_or_default()
}
