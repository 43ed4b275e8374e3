//! An error in the words of each transport, and the response of a success.

use std::time::Duration;

use http::StatusCode;
use otlake_base::{Code, Error, Kind};
use prost::Message;

use crate::config::Ack;

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
pub struct Status {
    #[prost(int32, tag = "1")]
    pub code: i32,
    #[prost(string, tag = "2")]
    pub message: String,
    #[prost(message, repeated, tag = "3")]
    pub details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
pub struct Any {
    #[prost(string, tag = "1")]
    pub type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

/// `google.rpc.RetryInfo`, whose only field is a duration.
#[derive(Clone, PartialEq, Message)]
pub struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    pub retry_delay: Option<Delay>,
}

/// `google.rpc.ErrorInfo`, without metadata: the stable code for programs to act on.
#[derive(Clone, PartialEq, Message)]
pub struct ErrorInfo {
    #[prost(string, tag = "1")]
    pub reason: String,
    #[prost(string, tag = "2")]
    pub domain: String,
}

/// `google.protobuf.Duration`.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Delay {
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

/// `ExportTraceServiceResponse` and its like: all three have the same wire form.
#[derive(Clone, PartialEq, Message)]
pub struct ExportResponse {
    #[prost(message, optional, tag = "1")]
    pub partial_success: Option<PartialSuccess>,
}

/// `ExportTracePartialSuccess` and its like.
#[derive(Clone, PartialEq, Message)]
pub struct PartialSuccess {
    #[prost(int64, tag = "1")]
    pub rejected: i64,
    #[prost(string, tag = "2")]
    pub error_message: String,
}

impl ExportResponse {
    /// Full success says nothing; partial success counts what was refused and names the first,
    /// and tells, as OTLP allows where nothing was refused, too, what was changed.
    pub fn new(ack: &Ack) -> Self {
        let told = ack.rejected > 0 || ack.message.is_some();
        let partial_success = told.then(|| PartialSuccess {
            rejected: i64::try_from(ack.rejected).unwrap_or(i64::MAX),
            error_message: ack.message.clone().unwrap_or_default(),
        });
        Self { partial_success }
    }
}

pub const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";
pub const ERROR_INFO: &str = "type.googleapis.com/google.rpc.ErrorInfo";
const DOMAIN: &str = "otlake";
/// A gRPC error stands in headers twice, percent-encoded and as base64, and clients take as
/// little as 8 KiB of them.
const MAX_MESSAGE_BYTES: usize = 1024;

/// The gRPC status code of an error: a passing fault is always one that clients try again.
pub fn grpc_code(error: &Error) -> i32 {
    match (error.code, error.kind()) {
        // OTLP's word for a compression or service that is not here.
        (Code::OtlpEncoding, _) => 12,
        (_, Kind::Invalid) => 3,
        (_, Kind::Denied) => 16,
        (_, Kind::NotFound) => 5,
        (_, Kind::Exhausted) => 8,
        (_, Kind::Unavailable | Kind::Corrupt) => 14,
        (_, Kind::Cancelled) => 4,
        (_, Kind::Internal) => 13,
    }
}

/// The HTTP status of an error.
pub fn http_status(error: &Error) -> StatusCode {
    match (error.code, error.kind()) {
        (Code::OtlpMediaType | Code::OtlpEncoding, _) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        (Code::HttpMethod, _) => StatusCode::METHOD_NOT_ALLOWED,
        (Code::IngestOverloaded, _) => StatusCode::TOO_MANY_REQUESTS,
        (_, Kind::Invalid) => StatusCode::BAD_REQUEST,
        (_, Kind::Denied) => StatusCode::UNAUTHORIZED,
        (_, Kind::NotFound) => StatusCode::NOT_FOUND,
        (_, Kind::Exhausted) => StatusCode::PAYLOAD_TOO_LARGE,
        (_, Kind::Unavailable | Kind::Corrupt | Kind::Cancelled) => StatusCode::SERVICE_UNAVAILABLE,
        (_, Kind::Internal) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Whether the client is to try again, and so is told when.
pub fn is_retryable(error: &Error) -> bool {
    matches!(
        error.kind(),
        Kind::Unavailable | Kind::Corrupt | Kind::Cancelled
    )
}

/// What the client is told: the code that the documentation lists, and what happened.
pub fn message(error: &Error) -> String {
    shortened(format!("{}: {}", error.code.as_str(), error.message))
}

/// The beginning of a message that may quote what a client sent.
pub fn shortened(mut message: String) -> String {
    if message.len() > MAX_MESSAGE_BYTES {
        message.truncate(message.floor_char_boundary(MAX_MESSAGE_BYTES));
        message.push('…');
    }
    message
}

/// The error as `google.rpc.Status`.
pub fn status(error: &Error, retry_after: Duration) -> Status {
    let reason = Any {
        type_url: ERROR_INFO.into(),
        value: ErrorInfo {
            reason: error.code.as_str().into(),
            domain: DOMAIN.into(),
        }
        .encode_to_vec(),
    };
    let retry = is_retryable(error).then(|| Any {
        type_url: RETRY_INFO.into(),
        value: RetryInfo {
            retry_delay: Some(Delay {
                seconds: i64::try_from(retry_after.as_secs()).unwrap_or(i64::MAX),
                nanos: retry_after.subsec_nanos() as i32,
            }),
        }
        .encode_to_vec(),
    });
    Status {
        code: grpc_code(error),
        message: message(error),
        details: std::iter::once(reason).chain(retry).collect(),
    }
}

/// The error as the JSON form of `google.rpc.Status`.
pub fn status_json(error: &Error, retry_after: Duration) -> Vec<u8> {
    let mut details = vec![serde_json::json!({
        "@type": ERROR_INFO,
        "reason": error.code.as_str(),
        "domain": DOMAIN,
    })];
    if is_retryable(error) {
        details.push(serde_json::json!({
            "@type": RETRY_INFO,
            "retryDelay": format!("{}s", retry_after.as_secs_f64()),
        }));
    }
    serde_json::json!({
        "code": grpc_code(error),
        "message": message(error),
        "details": details,
    })
    .to_string()
    .into_bytes()
}

/// The outcome's label in the metrics.
pub fn outcome(kind: Kind) -> &'static str {
    match kind {
        Kind::Invalid | Kind::NotFound => "invalid",
        Kind::Denied => "denied",
        Kind::Exhausted => "exhausted",
        Kind::Unavailable | Kind::Corrupt | Kind::Cancelled => "unavailable",
        Kind::Internal => "internal",
    }
}
