//! OTLP/HTTP: protobuf and JSON, CORS for browsers.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use otlake_base::{Code, Error, Result, Signal};
use prost::Message;

use crate::body::{Encoding, Held};
use crate::config::Ack;
use crate::server::Shared;
use crate::session;
use crate::status::{self, ExportResponse};

/// Beyond this many bytes JSON is read on a thread that may be kept busy.
const INLINE_JSON_BYTES: usize = 256 * 1024;

#[derive(Clone, Copy, PartialEq)]
enum Media {
    /// `application/x-protobuf`, which OTLP asks for.
    Protobuf,
    /// `application/protobuf`, the registered name, which some clients send.
    RegisteredProtobuf,
    Json,
}

/// Answers one HTTP request of a connection.
pub async fn answer(
    shared: &Shared,
    connection: u64,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let origin = allowed_origin(shared, request.headers());
    let mut response = route(shared, connection, request).await;
    if let Some(origin) = origin {
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static("otlake-session, retry-after"),
        );
        headers.append(header::VARY, HeaderValue::from_static("origin"));
    }
    response
}

async fn route(
    shared: &Shared,
    connection: u64,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let signal = match request.uri().path() {
        "/v1/traces" => Signal::Traces,
        "/v1/metrics" => Signal::Metrics,
        "/v1/logs" => Signal::Logs,
        _ => {
            let message = "send to /v1/traces, /v1/metrics or /v1/logs";
            let error = Error::new(Code::HttpNotFound, message);
            return refuse(shared, media(request.headers()), &error);
        }
    };
    if request.method() == Method::OPTIONS {
        return preflight(&request);
    }
    if request.method() != Method::POST {
        let error = Error::new(Code::HttpMethod, "send with POST");
        let mut response = refuse(shared, media(request.headers()), &error);
        response
            .headers_mut()
            .insert(header::ALLOW, HeaderValue::from_static("POST, OPTIONS"));
        return response;
    }
    let media = media(request.headers());
    let work = AssertUnwindSafe(export(shared, signal, media, connection, request)).catch_unwind();
    let outcome = work.await.unwrap_or_else(|_| {
        shared.count(signal, "http", Code::Internal);
        Err(Error::new(Code::Internal, "handling the request panicked"))
    });
    match outcome {
        Ok(ack) => success(signal, media.unwrap_or(Media::Protobuf), &ack),
        Err(error) => refuse(shared, media, &error),
    }
}

async fn export(
    shared: &Shared,
    signal: Signal,
    media: Option<Media>,
    connection: u64,
    request: Request<Incoming>,
) -> Result<Ack> {
    let covered = session::carried(request.headers());
    let received = receive(shared, signal, media, connection, request).await;
    let (covered, (tenant, message, _held)) = covered
        .and_then(|covered| Ok((covered, received?)))
        .inspect_err(|error| shared.count(signal, "http", error.code))?;
    let stored = shared.ingest(signal, tenant, "http", connection, message);
    Ok(session::covering(covered, stored.await?))
}

async fn receive(
    shared: &Shared,
    signal: Signal,
    media: Option<Media>,
    connection: u64,
    request: Request<Incoming>,
) -> Result<(Arc<str>, Bytes, Held)> {
    shared.check_running()?;
    let tenant = shared.auth.tenant(request.headers())?;
    let mut held = shared.budget.empty(&tenant, connection);
    let media = media.ok_or_else(|| {
        Error::new(
            Code::OtlpMediaType,
            "the content type is neither protobuf nor JSON",
        )
    })?;
    let (head, body) = request.into_parts();
    // What is not known is refused before its bytes are received.
    let encoding = match head.headers.get(header::CONTENT_ENCODING) {
        None => Encoding::Identity,
        Some(value) => Encoding::from_name(value.to_str().unwrap_or("?"))?,
    };
    let budget = &shared.budget;
    let body = budget.receive(body, 0, &mut held).await?;
    let body = budget.decompress(encoding, body, &mut held).await?;
    if media != Media::Json {
        return Ok((tenant, body, held));
    }
    let read = move |json: &[u8]| otlake_decode::json::to_protobuf(signal, json);
    let protobuf = budget
        .protobuf(body, INLINE_JSON_BYTES, read, &mut held)
        .await?;
    Ok((tenant, protobuf, held))
}

fn media(headers: &HeaderMap) -> Option<Media> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let essence = value.split(';').next()?.trim();
    match essence.to_ascii_lowercase().as_str() {
        "application/x-protobuf" => Some(Media::Protobuf),
        "application/protobuf" => Some(Media::RegisteredProtobuf),
        "application/json" => Some(Media::Json),
        _ => None,
    }
}

fn success(signal: Signal, media: Media, ack: &Ack) -> Response<Full<Bytes>> {
    let body = match media {
        Media::Protobuf | Media::RegisteredProtobuf => ExportResponse::new(ack).encode_to_vec(),
        Media::Json if ack.rejected == 0 && ack.message.is_none() => b"{}".to_vec(),
        Media::Json => {
            let name = match signal {
                Signal::Traces => "rejectedSpans",
                Signal::Metrics => "rejectedDataPoints",
                Signal::Logs => "rejectedLogRecords",
            };
            serde_json::json!({ "partialSuccess": {
                name: ack.rejected.to_string(),
                "errorMessage": ack.message.clone().unwrap_or_default(),
            }})
            .to_string()
            .into_bytes()
        }
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type(media));
    let token = ack
        .session
        .as_deref()
        .and_then(|value| HeaderValue::from_str(value).ok());
    if let Some(token) = token {
        response.headers_mut().insert(session::HEADER, token);
    }
    response
}

fn refuse(shared: &Shared, media: Option<Media>, error: &Error) -> Response<Full<Bytes>> {
    let media = media.unwrap_or(Media::Json);
    let body = match media {
        Media::Json => status::status_json(error, shared.retry_after),
        Media::Protobuf | Media::RegisteredProtobuf => {
            status::status(error, shared.retry_after).encode_to_vec()
        }
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status::http_status(error);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type(media));
    if status::is_retryable(error) {
        // Whole seconds, and never 0: a client may take that for at once.
        let seconds = shared.retry_after.as_secs_f64().ceil().max(1.0) as u64;
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    match error.code {
        Code::OtlpEncoding => {
            headers.insert(
                header::ACCEPT_ENCODING,
                HeaderValue::from_static("gzip, zstd"),
            );
        }
        Code::OtlpUnauthenticated => {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        _ => {}
    }
    response
}

fn content_type(media: Media) -> HeaderValue {
    HeaderValue::from_static(match media {
        Media::Protobuf => "application/x-protobuf",
        Media::RegisteredProtobuf => "application/protobuf",
        Media::Json => "application/json",
    })
}

fn allowed_origin(shared: &Shared, headers: &HeaderMap) -> Option<HeaderValue> {
    let origin = headers.get(header::ORIGIN)?;
    let allowed = |configured: &String| {
        configured == "*" || origin.to_str().is_ok_and(|origin| origin == configured)
    };
    shared
        .cors_origins
        .iter()
        .any(allowed)
        .then(|| origin.clone())
}

/// The answer to a browser that asks first. Without an allowed origin it lacks the header that
/// would let the browser go on, which `answer` adds.
fn preflight(request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::new()));
    *response.status_mut() = StatusCode::NO_CONTENT;
    let asked = HeaderName::from_static("access-control-request-headers");
    let wanted = request.headers().get(asked).cloned();
    let headers = response.headers_mut();
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("POST"),
    );
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        wanted.unwrap_or(HeaderValue::from_static("content-type, content-encoding")),
    );
    headers.insert(
        header::ACCESS_CONTROL_MAX_AGE,
        HeaderValue::from_static("86400"),
    );
    response
}
